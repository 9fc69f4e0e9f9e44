//! The command line of hirtectl.

pub(super) mod commands;
pub(super) mod words;

use std::ffi::OsString;

use argh::{ArgsInfo, CommandInfoWithArgs, FromArgs};

pub(super) use self::commands::Command;
use crate::{
    cmdline::{self, Stop, ValueOptions},
    config::similar,
};

/// The program's name in its messages.
pub(super) const PROGRAM: &str = "hirtectl";
/// The command by which shells ask what can stand in place of the last word. It is for their scripts
/// alone, so help is silent about it.
const COMPLETE: &str = "__complete";

/// The options with a value, of the command that is called `command`. One letter can be an option
/// with a value of one command and a switch of another.
const fn value_options(command: &str) -> ValueOptions {
    match command.as_bytes() {
        b"list-units" | b"list-unit-files" => ValueOptions {
            long: &["filter"],
            short: &['f'],
        },
        b"kill" => ValueOptions {
            long: &["kill-whom", "signal"],
            short: &['s'],
        },
        b"start" | b"stop" | b"restart" | b"reload" => ValueOptions {
            long: &["job-mode"],
            short: &[],
        },
        b"is-online" => ValueOptions {
            long: &["wait"],
            short: &[],
        },
        _ => ValueOptions {
            long: &[],
            short: &[],
        },
    }
}

/// Control systemd units on the nodes that the hirte manager of this computer knows.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    note = "'hirtectl help COMMAND' tells more about a command.",
    note = "A unit whose name begins with '-' stands behind '--': hirtectl start NODE -- -.mount",
    note = "The manager is reached over the system bus (DBUS_SYSTEM_BUS_ADDRESS overrides its \
            address).",
    error_code(0, "what was asked for happened"),
    error_code(1, "it was refused or failed, or was done only in part"),
    error_code(2, "the command line is wrong"),
    error_code(3, "there is no bus, or no manager that answers on it"),
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

/// What hirtectl is to do.
#[derive(Debug, PartialEq)]
pub(super) enum Task {
    /// A command.
    Command(Command),
    /// To tell a shell what can stand in place of the last of these words.
    Complete(Vec<String>),
}

/// Reads the command line, without the program's name.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Task, Stop> {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.first().is_some_and(|arg| arg == COMPLETE) {
        let words = args.into_iter().skip(1).skip_while(|arg| arg == "--");
        let words = words.map(|word| word.to_string_lossy().into_owned());
        return Ok(Task::Complete(words.collect()));
    }
    let is_word = |arg: &&str| !arg.starts_with('-');
    let command = args.iter().filter_map(|arg| arg.to_str()).find(is_word);
    let args = cmdline::normalize(args.iter().cloned(), &value_options(command.unwrap_or("")))?;
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
    let Arguments { version, command } = cmdline::parse_normalized(PROGRAM, &args)
        .map_err(|stop| with_similar_option(stop, words.first().copied()))?;
    match command {
        _ if version => Ok(Task::Command(Command::Version(commands::Version {
            json: false,
        }))),
        Some(command) => match command.missing() {
            Some(missing) => Err(Stop::Usage(format!(
                "Required positional arguments not provided:\n    {missing}"
            ))),
            None => Ok(Task::Command(command)),
        },
        None => Err(Stop::Usage("No command given".to_owned())),
    }
}

/// All that is known of the command line.
pub(super) fn info() -> CommandInfoWithArgs {
    Arguments::get_args_info()
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
    let hint = meant(command, command_names().chain(["help"]));
    Stop::Usage(format!("Unknown command '{command}'{hint}"))
}

/// Adds to argh's complaint of an option the one that was probably meant.
fn with_similar_option(stop: Stop, command: Option<&str>) -> Stop {
    const COMPLAINT: &str = "Unrecognized argument: --";
    let Stop::Usage(text) = stop else {
        return stop;
    };
    let Some(option) = text.strip_prefix(COMPLAINT) else {
        return Stop::Usage(text);
    };
    let name = format!("--{}", option.split('=').next().unwrap_or_default());
    let of_command = info()
        .commands
        .into_iter()
        .find(|of| Some(of.name) == command);
    let flags = of_command.map_or(&[][..], |of| of.command.flags);
    let hint = match flags.iter().find(|flag| flag.long == name) {
        Some(_) => format!(", {name} takes no value"),
        None => meant(&name, flags.iter().map(|flag| flag.long)),
    };
    Stop::Usage(format!("{text}{hint}"))
}

/// `, did you mean 'x'?` when one of the candidates is close to the word.
pub(super) fn meant<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match similar(word, candidates) {
        Some(candidate) => format!(", did you mean '{candidate}'?"),
        None => String::new(),
    }
}

fn command_names() -> impl Iterator<Item = &'static str> {
    let commands = <Command as argh::SubCommands>::COMMANDS;
    commands.iter().map(|command| command.name)
}

fn is_command(word: &str) -> bool {
    command_names().any(|name| name == word)
}

#[cfg(test)]
mod tests {
    use argh::FlagInfoKind;

    use super::{
        commands::{ListUnits, Start, Version},
        *,
    };

    fn run(args: &[&str]) -> Result<Command, Stop> {
        match parse(args.iter().map(OsString::from))? {
            Task::Command(command) => Ok(command),
            Task::Complete(words) => panic!("{words:?}"),
        }
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
            json: false,
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
                job_mode: None,
                no_block: false,
                json: false,
                node: node.to_owned(),
                units: vec![unit.to_owned()],
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
        assert!(usage(&["start", "rpi4"]).ends_with("    units"));
        assert!(usage(&["enable", "rpi4"]).ends_with("    units"));
        assert_eq!(
            usage(&["daemon-reload", "a", "b"]),
            "Unrecognized argument: b"
        );
        assert!(usage(&["is-online", "node"]).ends_with("    name"));
        assert!(usage(&["cancel", "x"]).contains("with value 'x'"));
    }

    #[test]
    fn the_version_is_a_command_and_a_switch() {
        for args in [
            &["version"][..],
            &["--version"],
            &["-v"],
            &["--version", "list-nodes"],
        ] {
            assert_eq!(run(args), Ok(Command::Version(Version { json: false })));
        }
    }

    #[test]
    fn what_was_probably_meant_is_told() {
        for (args, complaint) in [
            (
                &["lst-units"][..],
                "Unknown command 'lst-units', did you mean 'list-units'?",
            ),
            (
                &["Start", "n", "u"],
                "Unknown command 'Start', did you mean 'start'?",
            ),
            (
                &["list-units", "--fliter=x"],
                "Unrecognized argument: --fliter=x, did you mean '--filter'?",
            ),
            (
                &["enable", "--force=yes", "n", "u"],
                "Unrecognized argument: --force=yes, --force takes no value",
            ),
        ] {
            assert_eq!(usage(args), complaint, "{args:?}");
        }
    }

    #[test]
    fn each_command_has_its_options_with_a_value() {
        let mut seen = 0;
        for of in info().commands {
            let flags = of.command.flags.iter();
            let flags = flags.filter(|flag| matches!(flag.kind, FlagInfoKind::Option { .. }));
            let options = value_options(of.name);
            let long: Vec<&str> = flags
                .clone()
                .map(|flag| flag.long.trim_start_matches('-'))
                .collect();
            let short: Vec<char> = flags.filter_map(|flag| flag.short).collect();
            assert_eq!(
                (&long[..], &short[..]),
                (options.long, options.short),
                "{}",
                of.name
            );
            seen += long.len();
        }
        assert!(seen > 5);
    }

    #[test]
    fn shells_ask_with_words_that_are_no_arguments() {
        let args = ["__complete", "--", "start", "--jo"].map(OsString::from);
        let words = ["start", "--jo"].map(str::to_owned);
        assert_eq!(parse(args), Ok(Task::Complete(words.to_vec())));
    }
}
