//! The command line of hirtectl.

use std::ffi::OsString;

use argh::FromArgs;

use super::state::arguments::State;
use crate::cmdline::{self, Stop, ValueOptions};

/// The program's name in its messages.
pub(super) const PROGRAM: &str = "hirtectl";

const OPTIONS: ValueOptions = ValueOptions {
    long: &["filter", "node", "timeout"],
    short: &['f'],
};

/// Of `logs`, whose `-f` has no value.
const LOGS_OPTIONS: ValueOptions = ValueOptions {
    long: &["lines", "since", "until", "priority", "output"],
    short: &['n', 'S', 'U', 'p', 'o'],
};

/// Control systemd units on the nodes that the hirte manager of this computer knows.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(
    help_triggers("-h", "--help"),
    note = "'hirtectl help COMMAND' tells more about a command.",
    note = "A unit whose name begins with '-' stands behind '--': hirtectl start NODE -- -.mount",
    note = "The manager is reached by its private socket, /run/hirte/private, or else over the \
            system bus. Where DBUS_SYSTEM_BUS_ADDRESS is set, that bus alone is tried.",
    error_code(0, "what was asked for happened"),
    error_code(1, "it was refused or failed, or was done only in part"),
    error_code(2, "the command line or the state file is wrong"),
    error_code(3, "there is no manager that answers, or no way to it"),
    error_code(4, "the node is offline, or was lost before its job had ended"),
    error_code(5, "there is no such node or unit")
)]
struct Arguments {
    /// print the version
    #[argh(switch, short = 'v')]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

/// A command and its arguments.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand)]
pub(super) enum Command {
    ListUnits(ListUnits),
    ListNodes(ListNodes),
    Start(Start),
    Stop(StopUnit),
    Restart(Restart),
    Reload(Reload),
    Status(Status),
    Enable(Enable),
    Disable(Disable),
    DaemonReload(DaemonReload),
    Logs(Logs),
    Exec(Exec),
    State(State),
    Version(Version),
}

/// List the loaded units of a node, or of all nodes that are online.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "list-units", help_triggers("-h", "--help"))]
pub(super) struct ListUnits {
    /// list only units whose names match this pattern (* any characters, ? one character)
    #[argh(option, short = 'f', arg_name = "glob")]
    pub filter: Option<String>,
    /// the node; without it, all nodes
    #[argh(positional)]
    pub node: Option<String>,
}

/// List the nodes, whether they are online, and when they were last heard of.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "list-nodes", help_triggers("-h", "--help"))]
pub(super) struct ListNodes {}

/// Start a unit and wait until its job has ended.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "start", help_triggers("-h", "--help"))]
pub(super) struct Start {
    /// the node
    #[argh(positional)]
    pub node: String,
    /// the unit, with its suffix: httpd.service
    #[argh(positional)]
    pub unit: String,
}

/// Stop a unit and wait until its job has ended.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "stop", help_triggers("-h", "--help"))]
pub(super) struct StopUnit {
    /// the node
    #[argh(positional)]
    pub node: String,
    /// the unit, with its suffix: httpd.service
    #[argh(positional)]
    pub unit: String,
}

/// Restart a unit and wait until its job has ended.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "restart", help_triggers("-h", "--help"))]
pub(super) struct Restart {
    /// the node
    #[argh(positional)]
    pub node: String,
    /// the unit, with its suffix: httpd.service
    #[argh(positional)]
    pub unit: String,
}

/// Have a unit reload its configuration and wait until its job has ended.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "reload", help_triggers("-h", "--help"))]
pub(super) struct Reload {
    /// the node
    #[argh(positional)]
    pub node: String,
    /// the unit, with its suffix: httpd.service
    #[argh(positional)]
    pub unit: String,
}

/// Show all nodes, one node, or units of a node. That a node is offline or a unit not running is no
/// failure; that a unit does not exist is one.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(
    subcommand,
    name = "status",
    help_triggers("-h", "--help"),
    usage = "[--] [<node> [<units...>]]"
)]
pub(super) struct Status {
    /// the node, without which all nodes are shown, and units of it
    #[argh(positional, arg_name = "node, units")]
    pub node_and_units: Vec<String>,
}

/// Have units start by themselves as their unit files say, then reload the node's unit files.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "enable", help_triggers("-h", "--help"))]
pub(super) struct Enable {
    /// the node
    #[argh(positional)]
    pub node: String,
    /// the units
    #[argh(positional)]
    pub units: Vec<String>,
}

/// Have units no longer start by themselves, then reload the node's unit files.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "disable", help_triggers("-h", "--help"))]
pub(super) struct Disable {
    /// the node
    #[argh(positional)]
    pub node: String,
    /// the units
    #[argh(positional)]
    pub units: Vec<String>,
}

/// Have a node's systemd read its unit files again.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "daemon-reload", help_triggers("-h", "--help"))]
pub(super) struct DaemonReload {
    /// the node
    #[argh(positional)]
    pub node: String,
}

/// Show what a node's journal has of a unit. For root only.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "logs", help_triggers("-h", "--help"))]
pub(super) struct Logs {
    /// show only so many of the latest entries
    #[argh(option, short = 'n')]
    pub lines: Option<u32>,
    /// go on with what comes, until Ctrl-C
    #[argh(switch, short = 'f')]
    pub follow: bool,
    /// not before this time, as journalctl takes it: "2026-01-31 12:00", yesterday, -1h
    #[argh(option, short = 'S')]
    pub since: Option<String>,
    /// not after this time
    #[argh(option, short = 'U')]
    pub until: Option<String>,
    /// only entries of this priority and more severe ones: err, warning, 0..3
    #[argh(option, short = 'p')]
    pub priority: Option<String>,
    /// how: short (default), short-precise, short-iso, short-unix, cat, json
    #[argh(option, short = 'o', default = "String::from(\"short\")")]
    pub output: String,
    /// print the node's lines of JSON, as -o json
    #[argh(switch)]
    pub json: bool,
    /// the node
    #[argh(positional)]
    pub node: String,
    /// the unit, with its suffix: httpd.service
    #[argh(positional)]
    pub unit: String,
}

/// Run a command on a node, show what it writes, and end with its exit status. For root only, and
/// only where the node's agent has AllowExec=yes.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "exec", help_triggers("-h", "--help"))]
pub(super) struct Exec {
    /// the node
    #[argh(positional)]
    pub node: String,
    /// a program and its arguments, or one word for /bin/sh -c
    #[argh(positional)]
    pub command: Vec<String>,
}

/// Print the version.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "version", help_triggers("-h", "--help"))]
pub(super) struct Version {}

/// Reads the command line, without the program's name.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Stop> {
    let args = apart(args.into_iter().collect());
    let is_logs = args.first().is_some_and(|command| command == "logs");
    let options = if is_logs { &LOGS_OPTIONS } else { &OPTIONS };
    let args = cmdline::normalize(args, options)?;
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        // argh can not have a command of this name, and does not pass `--help` on to a command.
        ["help" | "--help"] => return Err(help(None)),
        ["help" | "--help", command, ..] => return Err(help(Some(command))),
        [command, ..] if !command.starts_with('-') && !is_command(command) => {
            return Err(unknown(command));
        }
        _ => {}
    }
    let Arguments { version, command } = cmdline::parse_normalized(PROGRAM, &args)?;
    match command {
        Some(Command::Enable(Enable { units, .. }) | Command::Disable(Disable { units, .. }))
            if units.is_empty() =>
        {
            Err(Stop::Usage(
                "Required positional arguments not provided:\n    units".to_owned(),
            ))
        }
        Some(Command::Exec(Exec { command, .. })) if command.is_empty() => Err(Stop::Usage(
            "Required positional arguments not provided:\n    command".to_owned(),
        )),
        _ if version => Ok(Command::Version(Version {})),
        Some(command) => Ok(command),
        None => Err(Stop::Usage("No command given".to_owned())),
    }
}

/// What follows the node of `exec` belongs to the command, options and all.
fn apart(mut args: Vec<OsString>) -> Vec<OsString> {
    let is_option = |arg: &OsString| arg.as_encoded_bytes().starts_with(b"-");
    if let [command, node, first, ..] = &args[..]
        && command == "exec"
        && !is_option(node)
        && first != "--"
    {
        args.insert(2, "--".into());
    }
    args
}

/// The help about hirtectl or one command, or that there is no such command.
fn help(command: Option<&str>) -> Stop {
    let args: Vec<String> = match command {
        None | Some("help" | "--help") => vec!["--help".to_owned()],
        Some(command) if !is_command(command) => return unknown(command),
        Some(command) => vec![command.to_owned(), "--help".to_owned()],
    };
    match cmdline::parse_normalized::<Arguments>(PROGRAM, &args) {
        Err(stop) => stop,
        Ok(arguments) => unreachable!("--help never parses as {arguments:?}"),
    }
}

fn unknown(command: &str) -> Stop {
    Stop::Usage(format!("Unknown command '{command}'"))
}

fn is_command(word: &str) -> bool {
    <Command as argh::SubCommands>::COMMANDS
        .iter()
        .any(|command| command.name == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Command, Stop> {
        parse(args.iter().map(OsString::from))
    }

    fn usage(args: &[&str]) -> String {
        match run(args) {
            Err(Stop::Usage(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    fn help_text(args: &[&str]) -> String {
        match run(args) {
            Err(Stop::Help(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_stand_anywhere_in_every_form() {
        let expected = Command::ListUnits(ListUnits {
            filter: Some("http*".to_owned()),
            node: Some("rpi4".to_owned()),
        });
        for args in [
            &["list-units", "rpi4", "--filter=http*"][..],
            &["list-units", "--filter", "http*", "rpi4"],
            &["list-units", "-fhttp*", "rpi4"],
            &["list-units", "-f", "http*", "--", "rpi4"],
        ] {
            assert_eq!(run(args).as_ref(), Ok(&expected), "{args:?}");
        }
    }

    #[test]
    fn units_may_be_called_anything() {
        let start = |node: &str, unit: &str| {
            Ok(Command::Start(Start {
                node: node.to_owned(),
                unit: unit.to_owned(),
            }))
        };
        assert_eq!(
            run(&["start", "rpi4", "-.mount"]),
            Err(Stop::Usage("Unrecognized argument: -.".to_owned()))
        );
        assert_eq!(
            run(&["start", "rpi4", "--", "-.mount"]),
            start("rpi4", "-.mount")
        );
        assert_eq!(run(&["start", "help", "help"]), start("help", "help"));
    }

    #[test]
    fn options_behind_the_node_of_exec_are_those_of_the_command() {
        for args in [
            &["exec", "rpi4", "ls", "-l", "--", "a"][..],
            &["exec", "rpi4", "--", "ls", "-l", "--", "a"],
        ] {
            let command = ["ls", "-l", "--", "a"].map(str::to_owned).to_vec();
            let node = "rpi4".to_owned();
            assert_eq!(run(args), Ok(Command::Exec(Exec { node, command })));
        }
        assert!(help_text(&["exec", "--help"]).contains("AllowExec"));
        assert!(usage(&["exec", "rpi4"]).ends_with("command"));
    }

    #[test]
    fn the_log_is_followed_without_a_value() {
        let Ok(Command::Logs(logs)) = run(&["logs", "rpi4", "a.service", "-fn5", "--since=-1h"])
        else {
            panic!("no command");
        };
        assert!(logs.follow);
        assert_eq!((logs.lines, logs.since.as_deref()), (Some(5), Some("-1h")));
    }

    #[test]
    fn help_is_found_in_every_way() {
        for args in [&["help"][..], &["--help"], &["-h"], &["-vh"]] {
            let text = help_text(args);
            assert!(text.starts_with("Usage: hirtectl "), "{text}");
            assert!(text.contains("daemon-reload") && text.contains("\n  5 there is no such"));
        }
        for args in [
            &["help", "start"][..],
            &["start", "--help"],
            &["start", "-h"],
            &["--help", "start"],
        ] {
            assert!(
                help_text(args).starts_with("Usage: hirtectl start "),
                "{args:?}"
            );
        }
    }

    #[test]
    fn wrong_use_is_told() {
        assert_eq!(usage(&["bogus"]), "Unknown command 'bogus'");
        assert_eq!(usage(&["help", "bogus"]), "Unknown command 'bogus'");
        assert_eq!(usage(&["--help", "bogus"]), "Unknown command 'bogus'");
        assert_eq!(
            usage(&["--bogus", "start"]),
            "Unrecognized argument: --bogus"
        );
        assert_eq!(usage(&[]), "No command given");
        assert!(usage(&["start", "rpi4"]).ends_with("    unit"));
        assert!(usage(&["enable", "rpi4"]).ends_with("    units"));
        assert_eq!(usage(&["start", "a", "b", "c"]), "Unrecognized argument: c");
    }

    #[test]
    fn the_version_is_a_command_and_a_switch() {
        for args in [
            &["version"][..],
            &["--version"],
            &["-v"],
            &["--version", "list-nodes"],
        ] {
            assert_eq!(run(args), Ok(Command::Version(Version {})));
        }
    }
}
