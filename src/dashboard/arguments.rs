//! The command line of `hirte-dashboard`.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use argh::FromArgs;

use crate::cmdline::{self, ValueOptions};

/// The name of the program, also in the log.
pub(super) const PROGRAM: &str = "hirte-dashboard";

/// The port that is listened on unless said otherwise: the manager's, and a zero.
const PORT: u16 = 8420;

const VALUE_OPTIONS: ValueOptions = ValueOptions {
    long: &["host", "listen"],
    short: &['H', 'l'],
};

/// Show the nodes, units, jobs and events of the fleet on a web page.
#[derive(Debug, FromArgs)]
struct Arguments {
    /// address and port to listen on (127.0.0.1:8420)
    #[argh(option, short = 'l')]
    listen: Option<SocketAddr>,
    /// name by which browsers may ask for the page, beside addresses and localhost; may be repeated
    #[argh(option, short = 'H')]
    host: Vec<String>,
    /// show buttons to start, stop and restart units
    #[argh(switch)]
    allow_control: bool,
    /// print the version
    #[argh(switch, short = 'v')]
    version: bool,
}

/// What the program is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Where it listens, unless systemd passes sockets.
    pub listen: SocketAddr,
    /// Further names of this host.
    pub hosts: Vec<String>,
    /// Whether jobs can be requested.
    pub allow_control: bool,
}

/// Reads the arguments, without the program's name. The error is how to end when something was only
/// printed.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Options, ExitCode> {
    let is_version = |arguments: &Arguments| arguments.version;
    let arguments = cmdline::parse_or_exit(PROGRAM, args, &VALUE_OPTIONS, is_version)?;
    let default = (Ipv4Addr::LOCALHOST, PORT).into();
    Ok(Options {
        listen: arguments.listen.unwrap_or(default),
        hosts: arguments.host,
        allow_control: arguments.allow_control,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(args: &[&str]) -> Options {
        parse(args.iter().map(OsString::from)).unwrap()
    }

    #[test]
    fn it_listens_on_loopback_and_shows_only_unless_told() {
        let Options {
            listen,
            hosts,
            allow_control,
        } = of(&[]);
        assert_eq!(listen.to_string(), "127.0.0.1:8420");
        assert!(hosts.is_empty() && !allow_control);
    }

    #[test]
    fn options_are_taken() {
        let options = of(&[
            "--listen=[::1]:80",
            "-Ha.example",
            "--host",
            "b.example",
            "--allow-control",
        ]);
        assert_eq!(options.listen.to_string(), "[::1]:80");
        assert_eq!(options.hosts, ["a.example", "b.example"]);
        assert!(options.allow_control);
    }
}
