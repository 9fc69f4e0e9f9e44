//! The transient units that streams come from, as systemd's `StartTransientUnit` takes them.
//!
//! The agent runs nothing itself: it could give away the rights of its own that systemd's limits
//! leave to it, and its limits would bind the commands. systemd starts them as it starts any service.

use super::dispatch::unreadable;
use crate::{
    bus::{
        Body, CallError, Value,
        body::{Entry, Marshal},
        error_name,
        marshal::{Reader, Writer},
        names::is_unit_name,
    },
    limits,
};

/// Prefix of the names of all units of streams.
const PREFIX: &str = "hirte-stream-";
const SUFFIX: &str = ".service";

/// The unit of the source of this number.
pub(super) fn unit_name(number: u64) -> String {
    format!("{PREFIX}{number}{SUFFIX}")
}

/// Whether a unit is that of a stream.
pub(super) fn is_of_stream(unit: &str) -> bool {
    let number = unit.strip_prefix(PREFIX);
    let number = number.and_then(|rest| rest.strip_suffix(SUFFIX));
    number.is_some_and(|number| number.parse::<u64>().is_ok())
}

/// What a unit of a stream runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// For people, in lists of units.
    pub(super) description: String,
    /// Words of the command line, for `/bin/sh` or by way of it: the shell looks for programs in
    /// the `PATH` of the node's services and tells by its exit status that there is none.
    pub(super) words: Vec<String>,
    /// Whether it is the agent's own tool, which needs nothing but to read and to write to its
    /// pipes, and whose start and end are no news.
    pub(super) is_tool: bool,
}

impl Program {
    /// A command of a user: one word for the shell, or a program and its arguments.
    pub(super) fn of_command(command: Vec<String>) -> Result<Self, CallError> {
        let bytes: usize = command.iter().map(String::len).sum();
        if command.len() > limits::MAX_COMMAND_WORDS || bytes > limits::MAX_COMMAND_BYTES {
            let text = "The command is too long";
            return Err(CallError::new(error_name::LIMITS_EXCEEDED, text));
        }
        let first = command.first().filter(|word| !word.is_empty());
        let Some(first) = first else {
            return Err(CallError::new(
                error_name::INVALID_ARGS,
                "The command is empty",
            ));
        };
        let mut name: String = first.chars().filter(|c| !c.is_control()).collect();
        name.truncate(name.floor_char_boundary(limits::CONFIG_QUOTED_CHARS));
        let description = format!("Command of hirte: {name}");
        let words = match <[String; 1]>::try_from(command) {
            Ok([script]) => vec!["/bin/sh".into(), "-c".into(), script],
            Err(command) => by_shell(command),
        };
        Ok(Self {
            description,
            words,
            is_tool: false,
        })
    }

    /// The reader of the journal.
    pub(super) fn of_log(log: &Log, is_of_user: bool) -> Self {
        Self {
            description: format!("Log of {} for hirte", log.unit),
            words: by_shell(log.journalctl(is_of_user)),
            is_tool: true,
        }
    }
}

fn by_shell(command: Vec<String>) -> Vec<String> {
    let shell = ["/bin/sh", "-c", "exec \"$@\"", "sh"];
    let shell = shell.into_iter().map(str::to_owned);
    shell.chain(command).collect()
}

/// Which part of a journal is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) unit: String,
    lines: Option<u32>,
    follow: bool,
    /// Options of journalctl and their values.
    choices: Vec<(&'static str, String)>,
}

impl Log {
    /// Reads a name and `a{sv}`.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, CallError> {
        let unit = reader.str().map_err(|error| unreadable(&error))?.to_owned();
        if !is_unit_name(&unit) {
            let text = format!("No unit can have the name {unit:?}");
            return Err(CallError::new(error_name::INVALID_ARGS, text));
        }
        let mut log = Self {
            unit,
            ..Self::default()
        };
        let mut entries = reader.array(8).map_err(|error| unreadable(&error))?;
        while !entries.is_at_end() {
            log.read_option(&mut entries)?;
        }
        Ok(log)
    }

    fn read_option<'a>(&mut self, entries: &mut Reader<'a>) -> Result<(), CallError> {
        let read = |entries: &mut Reader<'a>| {
            entries.align(8)?;
            let name = entries.str()?;
            let (signature, value) = entries.variant()?;
            Ok((name, signature, value))
        };
        let (name, signature, mut value) = read(entries).map_err(|error| unreadable(&error))?;
        let known = match (name, signature) {
            ("lines", "u") => {
                self.lines = Some(value.u32().map_err(|error| unreadable(&error))?);
                return Ok(());
            }
            ("follow", "b") => {
                self.follow = value.bool().map_err(|error| unreadable(&error))?;
                return Ok(());
            }
            ("since", "s") => "--since",
            ("until", "s") => "--until",
            ("priority", "s") => "--priority",
            _ => {
                let text = format!("Option {name:?} of type '{signature}' is not known");
                return Err(CallError::new(error_name::INVALID_ARGS, text));
            }
        };
        let text = value.str().map_err(|error| unreadable(&error))?;
        if text.len() > limits::MAX_LOG_OPTION {
            let text = format!("The value of {name} has {} bytes", text.len());
            return Err(CallError::new(error_name::LIMITS_EXCEEDED, text));
        }
        self.choices.push((known, text.to_owned()));
        Ok(())
    }

    /// The command. Values are joined to their options, so that none is taken for another option.
    fn journalctl(&self, is_of_user: bool) -> Vec<String> {
        let unit = if is_of_user { "--user-unit" } else { "--unit" };
        let mut words = vec![
            "journalctl".to_owned(),
            "--quiet".to_owned(),
            "--no-pager".to_owned(),
            "--all".to_owned(),
            "--output=json".to_owned(),
            format!("{unit}={}", self.unit),
        ];
        words.extend(self.lines.map(|lines| format!("--lines={lines}")));
        words.extend(self.follow.then(|| "--follow".to_owned()));
        let choices = self.choices.iter();
        words.extend(choices.map(|(option, value)| format!("{option}={value}")));
        words
    }
}

/// The arguments of `StartTransientUnit` for a unit that writes to these pipes.
pub(super) fn start_arguments(unit: &str, program: &Program, pipes: &[String; 2]) -> Body {
    let mut properties = vec![
        Entry("Description", Property::Text(program.description.clone())),
        Entry("CollectMode", Property::Text("inactive-or-failed".into())),
        Entry("Type", Property::Text("simple".into())),
        Entry("StandardInput", Property::Text("null".into())),
        Entry("StandardOutputFile", Property::Text(pipes[0].clone())),
        Entry("StandardErrorFile", Property::Text(pipes[1].clone())),
        Entry("IgnoreSIGPIPE", Property::Flag(false)),
        Entry(
            "TimeoutStopUSec",
            Property::Time(micros(limits::COMMAND_STOP)),
        ),
    ];
    if program.is_tool {
        properties.extend(tool_properties());
    }
    properties.push(Entry("ExecStart", Property::Command(program.words.clone())));
    let properties: Vec<_> = properties
        .into_iter()
        .map(|Entry(name, value)| (name, value))
        .collect();
    let others: Vec<(String, Vec<(String, Value)>)> = Vec::new();
    Body::of(&(unit, "fail", properties, others))
}

/// Limits of the tool, of the kind that the systemd of a user can set as well. systemd's own lines
/// on its start and end would fill the journal that is read.
fn tool_properties() -> Vec<Entry<&'static str, Property>> {
    const WARNING: i32 = 4;
    let mut properties = vec![Entry("LogLevelMax", Property::Number(WARNING))];
    for name in [
        "NoNewPrivileges",
        "LockPersonality",
        "MemoryDenyWriteExecute",
        "RestrictRealtime",
        "RestrictSUIDSGID",
    ] {
        properties.push(Entry(name, Property::Flag(true)));
    }
    properties
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The value of one of systemd's properties.
#[derive(Clone, Debug)]
enum Property {
    Text(String),
    Flag(bool),
    Number(i32),
    Time(u64),
    /// `a(sasb)`: path, words, whether failure is ignored.
    Command(Vec<String>),
}

impl Marshal for Property {
    fn signature(signature: &mut String) {
        signature.push('v');
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Text(text) => variant(writer, text),
            Self::Flag(flag) => variant(writer, flag),
            Self::Number(number) => variant(writer, number),
            Self::Time(time) => variant(writer, time),
            Self::Command(words) => {
                // systemd replaces $NAME in words, and $$ by one $.
                let words: Vec<String> = words.iter().map(|word| word.replace('$', "$$")).collect();
                let path = words.first().cloned().unwrap_or_default();
                variant(writer, &vec![(path, words, false)]);
            }
        }
    }
}

fn variant<T: Marshal>(writer: &mut Writer, value: &T) {
    let mut signature = String::new();
    T::signature(&mut signature);
    writer.signature(&signature);
    value.write(writer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::marshal::validate;

    fn words(program: &Program) -> Vec<&str> {
        program.words.iter().map(String::as_str).collect()
    }

    fn command(words: &[&str]) -> Result<Program, CallError> {
        Program::of_command(words.iter().map(|&word| word.to_owned()).collect())
    }

    fn log(unit: &str, options: Vec<Entry<&'static str, Value>>) -> Result<Log, CallError> {
        Log::read(&mut Body::of(&(unit, options)).reader())
    }

    #[test]
    fn one_word_is_a_script_and_several_are_a_program() {
        let script = command(&["pg_isready -U postgres"]).unwrap();
        assert_eq!(words(&script), ["/bin/sh", "-c", "pg_isready -U postgres"]);
        let program = command(&["echo", "a b", "$HOME"]).unwrap();
        assert_eq!(
            words(&program),
            ["/bin/sh", "-c", "exec \"$@\"", "sh", "echo", "a b", "$HOME"]
        );
        for none in [&[][..], &[""]] {
            assert_eq!(command(none).unwrap_err().name, error_name::INVALID_ARGS);
        }
        let long = "x".repeat(limits::MAX_COMMAND_BYTES + 1);
        let many = vec!["x"; limits::MAX_COMMAND_WORDS + 1];
        for error in [command(&[&long]), command(&many)] {
            assert_eq!(error.unwrap_err().name, error_name::LIMITS_EXCEEDED);
        }
    }

    #[test]
    fn what_is_sent_to_systemd_is_valid() {
        let pipes = ["/run/a.1".to_owned(), "/run/a.2".to_owned()];
        for program in [
            command(&["echo ${A} %n"]).unwrap(),
            Program::of_log(&log("a.service", Vec::new()).unwrap(), false),
        ] {
            let body = start_arguments(&unit_name(7), &program, &pipes);
            assert_eq!(body.signature, "ssa(sv)a(sa(sv))");
            validate(&body.signature, &body.bytes, body.endian).unwrap();
        }
        assert!(is_of_stream(&unit_name(7)));
        for other in ["hirte-stream-x.service", "hirte-agent.service"] {
            assert!(!is_of_stream(other));
        }
    }

    #[test]
    fn options_of_a_log_become_words_of_journalctl() {
        let chosen = log(
            "a-b@c\\x2d.service",
            vec![
                Entry("lines", Value::U32(5)),
                Entry("follow", Value::Bool(true)),
                Entry("since", Value::Str("--yesterday".into())),
            ],
        );
        let program = Program::of_log(&chosen.unwrap(), false);
        assert_eq!(
            words(&program)[4..],
            [
                "journalctl",
                "--quiet",
                "--no-pager",
                "--all",
                "--output=json",
                "--unit=a-b@c\\x2d.service",
                "--lines=5",
                "--follow",
                "--since=--yesterday",
            ]
        );
        for (unit, option) in [
            ("*.service", Entry("lines", Value::U32(5))),
            ("a.service", Entry("lines", Value::Str("5".into()))),
            ("a.service", Entry("directory", Value::Str("/tmp".into()))),
        ] {
            let error = log(unit, vec![option]).unwrap_err();
            assert_eq!(error.name, error_name::INVALID_ARGS);
        }
        let long = Value::Str("x".repeat(limits::MAX_LOG_OPTION + 1));
        let error = log("a.service", vec![Entry("until", long)]).unwrap_err();
        assert_eq!(error.name, error_name::LIMITS_EXCEEDED);
    }
}
