//! The command line as users of the C programs write it, brought into the form that argh reads.
//!
//! argh knows neither `--name=value` nor `-nVALUE` nor grouped switches (`-vh`), and stops the
//! process by itself when something is wrong. [`parse`] accepts the forms of `getopt_long(3)` and
//! leaves it to the caller what to print and how to end.

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use argh::FromArgs;

/// The options of a program that take a value; whatever else begins with `-` is a switch.
#[derive(Clone, Copy, Debug)]
pub struct ValueOptions {
    /// Their long names without the dashes, such as `port`.
    pub long: &'static [&'static str],
    /// Their short names, such as `p`.
    pub short: &'static [char],
}

/// Why a command line does not lead to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Help was asked for: the text for standard output; the program ends with success.
    Help(String),
    /// The arguments are wrong: what is wrong with them, in one or more lines without a final line
    /// break, for standard error.
    Usage(String),
}

/// Reads the arguments of a daemon. Help, its version (when `wants_version` says so of what was
/// read) and what is wrong with the arguments are printed here; then the error is how to end.
pub fn parse_or_exit<T: FromArgs>(
    program: &str,
    args: impl IntoIterator<Item = OsString>,
    options: &ValueOptions,
    wants_version: impl FnOnce(&T) -> bool,
) -> Result<T, ExitCode> {
    match parse(program, args, options) {
        Ok(arguments) if wants_version(&arguments) => Err(print(env!("CARGO_PKG_VERSION"))),
        Ok(arguments) => Ok(arguments),
        Err(Stop::Help(text)) => Err(print(text.trim_end())),
        Err(Stop::Usage(text)) => Err(complain(program, &text)),
    }
}

/// Prints what was asked for. A reader that had enough is no failure.
fn print(text: &str) -> ExitCode {
    let mut output = io::stdout();
    let printed = writeln!(output, "{text}").and_then(|()| output.flush());
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// Tells on standard error why the program ends, and returns the status with which it does.
pub fn complain(program: &str, reason: &dyn fmt::Display) -> ExitCode {
    // Where this can not be written there is nowhere to say so.
    let _ = writeln!(io::stderr(), "{program}: {reason}");
    ExitCode::FAILURE
}

/// Reads the arguments of a program (without its own name, which is `program`).
///
/// `-h` is `--help` for every program.
pub fn parse<T: FromArgs>(
    program: &str,
    args: impl IntoIterator<Item = OsString>,
    options: &ValueOptions,
) -> Result<T, Stop> {
    parse_normalized(program, &normalize(args, options)?)
}

/// The second half of [`parse`], for a program that looks at the arguments in between.
pub fn parse_normalized<T: FromArgs>(program: &str, args: &[String]) -> Result<T, Stop> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    T::from_args(&[program], &args).map_err(|exit| match exit.status {
        Ok(()) => Stop::Help(exit.output),
        Err(()) => Stop::Usage(exit.output.trim_end().to_owned()),
    })
}

/// Splits `--name=value`, `-nVALUE` and groups of switches into single arguments and turns `-h`
/// into `--help`. Values, and all that follows `--`, stay as they are.
pub fn normalize(
    args: impl IntoIterator<Item = OsString>,
    options: &ValueOptions,
) -> Result<Vec<String>, Stop> {
    let mut args = args.into_iter().map(|arg| {
        arg.into_string().map_err(|arg| {
            Stop::Usage(format!(
                "Argument '{}' is not valid UTF-8",
                arg.to_string_lossy()
            ))
        })
    });
    let mut normalized = Vec::new();
    while let Some(arg) = args.next() {
        let arg = arg?;
        let value_follows = if arg == "--" {
            normalized.push(arg);
            for rest in args {
                normalized.push(rest?);
            }
            return Ok(normalized);
        } else if let Some(long) = arg.strip_prefix("--") {
            split_long(long, options, &mut normalized)
        } else if let Some(group) = arg.strip_prefix('-').filter(|group| !group.is_empty()) {
            split_group(group, options, &mut normalized)
        } else {
            normalized.push(arg);
            false
        };
        if value_follows && let Some(value) = args.next() {
            normalized.push(value?);
        }
    }
    Ok(normalized)
}

/// Appends one long option; true when its value is the next argument.
fn split_long(long: &str, options: &ValueOptions, normalized: &mut Vec<String>) -> bool {
    match long.split_once('=') {
        Some((name, value)) if options.long.contains(&name) => {
            normalized.extend([format!("--{name}"), value.to_owned()]);
            false
        }
        // argh names the whole of it when it refuses it.
        _ => {
            normalized.push(format!("--{long}"));
            options.long.contains(&long)
        }
    }
}

/// Appends the short options of one argument; true when the value of the last one is the next
/// argument.
fn split_group(group: &str, options: &ValueOptions, normalized: &mut Vec<String>) -> bool {
    for (index, short) in group.char_indices() {
        if short == 'h' && !options.short.contains(&'h') {
            normalized.push("--help".to_owned());
            continue;
        }
        normalized.push(format!("-{short}"));
        if options.short.contains(&short) {
            let value = &group[index + short.len_utf8()..];
            if value.is_empty() {
                return true;
            }
            normalized.push(value.to_owned());
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    const OPTIONS: ValueOptions = ValueOptions {
        long: &["port", "config"],
        short: &['p', 'c'],
    };

    /// A program with the options of the manager.
    #[derive(Debug, PartialEq, FromArgs)]
    struct Program {
        /// port
        #[argh(option, short = 'p')]
        port: Option<u16>,
        /// file
        #[argh(option, short = 'c')]
        config: Option<String>,
        /// version
        #[argh(switch, short = 'v')]
        version: bool,
        /// names
        #[argh(positional)]
        names: Vec<String>,
    }

    fn split(args: &[&str]) -> Vec<String> {
        normalize(args.iter().map(OsString::from), &OPTIONS).unwrap()
    }

    fn run(args: &[&str]) -> Result<Program, Stop> {
        parse("program", args.iter().map(OsString::from), &OPTIONS)
    }

    #[test]
    fn options_are_split_as_getopt_long_does() {
        for (given, normalized) in [
            (&["--port=842"][..], &["--port", "842"][..]),
            (&["--port", "842"], &["--port", "842"]),
            (&["--config="], &["--config", ""]),
            (&["--config=a=b"], &["--config", "a=b"]),
            (&["-p842"], &["-p", "842"]),
            (&["-p", "842"], &["-p", "842"]),
            (&["-c/x"], &["-c", "/x"]),
            (&["-vp842"], &["-v", "-p", "842"]),
            (&["-vh"], &["-v", "--help"]),
            (&["-"], &["-"]),
            (&["--version=1"], &["--version=1"]),
            (&["-cäö"], &["-c", "äö"]),
        ] {
            assert_eq!(split(given), normalized, "{given:?}");
        }
    }

    #[test]
    fn values_and_all_after_two_dashes_stay_as_they_are() {
        assert_eq!(split(&["-c", "-vh", "-v"]), ["-c", "-vh", "-v"]);
        assert_eq!(
            split(&["--config", "--", "-vv"]),
            ["--config", "--", "-v", "-v"]
        );
        assert_eq!(split(&["--", "--port=1", "-vh"]), ["--", "--port=1", "-vh"]);
    }

    #[test]
    fn argh_reads_what_comes_out() {
        let program = run(&["-vp842", "--config=a b", "x", "--", "-y"]).unwrap();
        let expected = Program {
            port: Some(842),
            config: Some("a b".to_owned()),
            version: true,
            names: vec!["x".to_owned(), "-y".to_owned()],
        };
        assert_eq!(program, expected);
    }

    #[test]
    fn wrong_arguments_are_told_and_help_is_no_error() {
        let usage = |args: &[&str]| match run(args) {
            Err(Stop::Usage(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(usage(&["--bogus"]), "Unrecognized argument: --bogus");
        assert_eq!(usage(&["--bogus=1"]), "Unrecognized argument: --bogus=1");
        assert_eq!(usage(&["-p"]), "No value provided for option '-p'.");
        assert!(usage(&["-px"]).contains("'-p' with value 'x'"));
        assert!(
            matches!(run(&["-h"]), Err(Stop::Help(text)) if text.starts_with("Usage: program"))
        );
        assert!(matches!(run(&["--help"]), Err(Stop::Help(_))));
    }

    #[test]
    fn arguments_are_text() {
        let args = [OsString::from_vec(vec![b'a', 0xff])];
        let Err(Stop::Usage(text)) = normalize(args, &OPTIONS) else {
            panic!()
        };
        assert_eq!(text, "Argument 'a\u{fffd}' is not valid UTF-8");
    }
}
