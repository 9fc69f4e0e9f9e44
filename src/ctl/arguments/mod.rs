//! The command line of hirtectl.

pub(super) mod commands;
mod help;
pub(super) mod read;
pub(super) mod table;
pub(super) mod words;

use std::ffi::OsString;

pub(super) use self::commands::Command;
use self::read::Words;
use super::output::Form;
use crate::{cmdline::Stop, config::similar};

/// The program's name in its messages.
pub(super) const PROGRAM: &str = "hirtectl";
/// The command by which shells ask what can stand in place of the last word. It is for their scripts
/// alone, so help is silent about it.
const COMPLETE: &str = "__complete";

/// What hirtectl is to do.
#[derive(Debug, PartialEq)]
pub(super) enum Task {
    /// A command, and the form in which it prints data.
    Command(Command, Form),
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
    let text = |arg: OsString| {
        let not_text = |arg: OsString| format!("Argument '{}' is not valid UTF-8", arg.display());
        arg.into_string().map_err(not_text)
    };
    let args: Result<Vec<String>, String> = args.into_iter().map(text).collect();
    let args = args.map_err(Stop::Usage)?;
    if let Some(kind) = read::helped_kind(&args) {
        return Err(Stop::Help(help::of_kind(kind)));
    }
    let words = Words::read(&args).map_err(Stop::Usage)?;
    match words.command {
        Some(spec) if spec.name == "help" => return Err(help(&words.arguments)),
        Some(spec) if read::wants_help(&words) => return Err(Stop::Help(help::about(spec))),
        None if read::wants_help(&words) => return Err(Stop::Help(help::overview())),
        _ if words.has("version") => return Ok(Task::Command(Command::Version, Form::Text)),
        None => return Err(Stop::Usage("No command given".to_owned())),
        Some(_) => {}
    }
    words.check_count().map_err(Stop::Usage)?;
    let (command, form) = Command::of(&words).map_err(Stop::Usage)?;
    Ok(Task::Command(command, form))
}

/// The help about hirtectl or one command, or that there is no such command.
fn help(words: &[String]) -> Stop {
    match (words, read::find(words)) {
        ([], _) => Stop::Help(help::overview()),
        (_, Some(spec)) => Stop::Help(help::about(spec)),
        ([kind], None) if read::kind(kind).next().is_some() => Stop::Help(help::of_kind(kind)),
        (_, None) => Stop::Usage(read::unknown(words)),
    }
}

/// `, did you mean 'x'?` when one of the candidates is close to the word.
fn meant<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match similar(word, candidates) {
        Some(candidate) => format!(", did you mean '{candidate}'?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        commands::{Job, List, Units},
        words::{JobMode, LogFormat},
        *,
    };
    use crate::bus::JobKind;

    fn run(args: &[&str]) -> Result<Command, Stop> {
        match parse(args.iter().map(OsString::from))? {
            Task::Command(command, _) => Ok(command),
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
        let expected = Command::ListUnits(List {
            filter: Some("http*".to_owned()),
            node: Some("rpi4".to_owned()),
        });
        for args in [
            &["list-units", "rpi4", "--filter=http*"][..],
            &["list-units", "--filter", "http*", "rpi4"],
            &["list-units", "-fhttp*", "rpi4"],
            &["list-units", "-f", "http*", "--", "rpi4"],
            &["--filter=http*", "list-units", "rpi4"],
            &["list-units", "-f", "x", "rpi4", "-f", "http*"],
        ] {
            assert_eq!(run(args).as_ref(), Ok(&expected), "{args:?}");
        }
    }

    #[test]
    fn units_may_be_called_anything() {
        let start = |node: &str, unit: &str| {
            Ok(Command::Job(Job {
                kind: JobKind::Start,
                of: Units {
                    node: node.to_owned(),
                    units: vec![unit.to_owned()],
                },
                mode: JobMode("replace"),
                no_block: false,
            }))
        };
        assert_eq!(usage(&["start", "rpi4", "-.mount"]), "Unknown option '-.'");
        assert_eq!(
            run(&["start", "rpi4", "--", "-.mount"]),
            start("rpi4", "-.mount")
        );
        assert_eq!(
            run(&["start", "help", "help"]),
            start("help", "help.service")
        );
    }

    #[test]
    fn options_behind_the_node_of_exec_are_those_of_the_command() {
        for args in [
            &["exec", "rpi4", "ls", "-l", "--help", "--", "a"][..],
            &["exec", "rpi4", "--", "ls", "-l", "--help", "--", "a"],
            &["exec", "--", "rpi4", "ls", "-l", "--help", "--", "a"],
        ] {
            let command = ["ls", "-l", "--help", "--", "a"].map(str::to_owned);
            let (node, command) = ("rpi4".to_owned(), command.to_vec());
            assert_eq!(run(args), Ok(Command::Exec { node, command }));
        }
        assert!(help_text(&["exec", "--help"]).contains("AllowExec"));
        assert_eq!(usage(&["exec", "rpi4"]), "Missing argument: COMMAND...");
    }

    #[test]
    fn the_log_is_followed_without_a_value() {
        let Ok(Command::Logs(logs)) = run(&["logs", "rpi4", "a", "-fn5", "--since=-1h"]) else {
            panic!("no command");
        };
        assert!(logs.follow);
        assert_eq!(logs.unit, "a.service");
        assert_eq!((logs.lines, logs.since.as_deref()), (Some(5), Some("-1h")));
        assert_eq!(logs.format, LogFormat::Short);
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
            &["help", "start", "of", "what"],
        ] {
            assert!(
                help_text(args).starts_with("Usage: hirtectl start "),
                "{args:?}"
            );
        }
        for args in [
            &["help", "state"][..],
            &["state", "--help"],
            &["-h", "state"],
        ] {
            let text = help_text(args);
            assert!(text.starts_with("Usage: hirtectl state COMMAND "), "{text}");
            assert!(text.contains("\n  state presets "), "{text}");
        }
        for spec in table::COMMANDS {
            let name: Vec<&str> = spec.name.split(' ').collect();
            let text = help_text(&[&["help"], &name[..]].concat());
            assert!(
                text.lines().all(|line| line.chars().count() <= 80),
                "{text}"
            );
        }
    }

    #[test]
    fn wrong_use_is_told() {
        for (args, complaint) in [
            (&["frobnicate"][..], "Unknown command 'frobnicate'"),
            (&["help", "frobnicate"], "Unknown command 'frobnicate'"),
            (&["--help", "frobnicate"], "Unknown command 'frobnicate'"),
            (&["--frobnicate", "start"], "Unknown option '--frobnicate'"),
            (&["--", "start"], "Unknown command 'start'"),
            (&[], "No command given"),
            (&["start", "rpi4"], "Missing argument: UNIT..."),
            (&["start"], "Missing argument: NODE UNIT..."),
            (&["is-online", "node"], "Missing argument: NAME"),
            (&["is-online", "agent", "x"], "Unexpected argument 'x'"),
            (&["daemon-reload", "a", "b"], "Unexpected argument 'b'"),
            (&["cancel", "x"], "'x' is no number of a job"),
            (&["list-units", "-f"], "Option '-f' needs a value"),
            (
                &["list-units", "--filter"],
                "Option '--filter' needs a value",
            ),
            (
                &["enable", "--force=yes", "n", "u"],
                "Option '--force' takes no value",
            ),
            (
                &["lst-units"],
                "Unknown command 'lst-units', did you mean 'list-units'?",
            ),
            (
                &["state"],
                "Incomplete command 'state': state show, state diff, state apply, state presets",
            ),
            (
                &["state", "dif", "file"],
                "Unknown command 'state dif', did you mean 'state diff'?",
            ),
            (&["state", "diff"], "Missing argument: FILE"),
            (&["state", "presets", "file"], "Missing option: --node NODE"),
            (
                &["state", "apply", "file", "--timeout=never"],
                "--timeout=never: expected a time such as 30s or 2min, up to 7d",
            ),
            (
                &["Start", "n", "u"],
                "Unknown command 'Start', did you mean 'start'?",
            ),
            (
                &["list-units", "--fliter=x"],
                "Unknown option '--fliter', did you mean '--filter'?",
            ),
            (
                &["kill", "n", "u", "--signal=TRM"],
                "--signal=TRM: there is no such signal, did you mean 'TERM'?",
            ),
        ] {
            assert_eq!(usage(args), complaint, "{args:?}");
        }
    }

    #[test]
    fn the_version_is_a_command_and_a_switch() {
        for args in [
            &["version"][..],
            &["--version"],
            &["-v"],
            &["--version", "list-nodes"],
        ] {
            assert_eq!(run(args), Ok(Command::Version));
        }
    }

    #[test]
    fn data_have_the_form_that_is_asked_for() {
        for (args, expected) in [
            (&["list-nodes"][..], Form::Text),
            (&["list-nodes", "--json"], Form::Document),
            (&["monitor", "--json"], Form::Lines),
            (&["status", "-w", "--json"], Form::Lines),
            (&["status", "--json"], Form::Document),
            (&["metrics", "listen", "--json"], Form::Lines),
        ] {
            let task = parse(args.iter().map(OsString::from));
            assert!(
                matches!(task, Ok(Task::Command(_, form)) if form == expected),
                "{args:?}"
            );
        }
    }

    #[test]
    fn shells_ask_with_words_that_are_no_arguments() {
        let args = ["__complete", "--", "start", "--jo"].map(OsString::from);
        let words = ["start", "--jo"].map(str::to_owned);
        assert_eq!(parse(args), Ok(Task::Complete(words.to_vec())));
    }
}
