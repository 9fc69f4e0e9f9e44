//! The command line of `hirte-agent`.

use std::path::PathBuf;

use argh::FromArgs;

use crate::{cmdline::ValueOptions, config::AgentOptions};

/// The options that take a value.
pub(super) const VALUE_OPTIONS: ValueOptions = ValueOptions {
    long: &["host", "port", "address", "name", "interval", "config"],
    short: &['H', 'p', 'a', 'n', 'i', 'c'],
};

/// Agent of hirte: controls the systemd of this machine for a hirte manager.
#[derive(FromArgs)]
pub(super) struct Arguments {
    /// address or name of the manager's host
    #[argh(option, short = 'H', arg_name = "HOST")]
    host: Option<String>,
    /// TCP port of the manager
    #[argh(option, short = 'p', arg_name = "PORT")]
    port: Option<String>,
    /// address of the manager in D-Bus form (tcp:host=HOST,port=PORT), instead of host and port
    #[argh(option, short = 'a', arg_name = "ADDRESS")]
    address: Option<String>,
    /// name of this node
    #[argh(option, short = 'n', arg_name = "NAME")]
    name: Option<String>,
    /// time between heartbeats, such as 2s; a bare number is milliseconds, from 1 to 99 seconds
    #[argh(option, short = 'i', arg_name = "INTERVAL")]
    interval: Option<String>,
    /// configuration file to read after the others
    #[argh(option, short = 'c', arg_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// control the systemd of the user who runs this, not that of the machine
    #[argh(switch, short = 'u')]
    pub(super) user: bool,
    /// print the version
    #[argh(switch, short = 'v')]
    pub(super) version: bool,
}

impl Arguments {
    /// What replaces the configuration.
    pub(super) fn into_options(self) -> AgentOptions {
        AgentOptions {
            name: self.name,
            host: self.host,
            port: self.port,
            address: self.address,
            interval: self.interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdline::parse;

    #[test]
    fn options_are_read_in_every_form() {
        let args = ["-Hlocalhost", "--port=1842", "-n", "rpi4", "-uvi", "2s"];
        let args = args.into_iter().map(Into::into);
        let arguments: Arguments = parse("hirte-agent", args, &VALUE_OPTIONS).unwrap();
        assert!(arguments.version && arguments.user && arguments.config.is_none());
        let options = arguments.into_options();
        assert_eq!(options.host.as_deref(), Some("localhost"));
        assert_eq!(options.port.as_deref(), Some("1842"));
        assert_eq!(options.name.as_deref(), Some("rpi4"));
        assert_eq!(options.interval.as_deref(), Some("2s"));
        assert_eq!(options.address, None);
    }
}
