//! Reads the words of a command line by the table of commands, in the forms of `getopt_long(3)`.

use std::{fmt::Display, str::FromStr};

use super::{
    meant,
    table::{COMMANDS, HELP, OPTIONS, Opt, Spec},
};

/// A command line that fits the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// The command; without one only hirtectl's own options are there.
    pub command: Option<&'static Spec>,
    options: Vec<(&'static str, String)>,
    pub arguments: Vec<String>,
}

impl Words {
    /// Reads the words after the program's name. Options of a command may stand before it, too.
    pub fn read(words: &[String]) -> Result<Self, String> {
        let mut read = Self {
            command: None,
            options: Vec::new(),
            arguments: Vec::new(),
        };
        let (command, rest) = take_command(words)?;
        read.command = command;
        let mut words = rest.into_iter();
        let with_options = command.map_or(usize::MAX, |spec| spec.with_options);
        while let Some(word) = words.next() {
            if word == "--" {
                read.arguments.extend(words.by_ref().cloned());
            } else if read.arguments.len() >= with_options {
                read.arguments.push(word.clone());
                read.arguments.extend(words.by_ref().cloned());
            } else if let Some(long) = word.strip_prefix("--") {
                read.long(long, &mut words)?;
            } else if let Some(group) = word.strip_prefix('-').filter(|group| !group.is_empty()) {
                read.group(group, &mut words)?;
            } else {
                read.arguments.push(word.clone());
            }
        }
        Ok(read)
    }

    /// Whether there are too few or too many arguments.
    pub fn check_count(&self) -> Result<(), String> {
        let Some(spec) = self.command else {
            return Ok(());
        };
        let count = self.arguments.len();
        if count < spec.least {
            let missing = spec.arguments.split(' ').skip(count);
            let missing: Vec<&str> = missing.collect();
            return Err(format!("Missing argument: {}", missing.join(" ")));
        }
        match self.arguments.get(spec.most) {
            Some(argument) => Err(format!("Unexpected argument '{argument}'")),
            None => Ok(()),
        }
    }

    /// Whether an option was given.
    pub fn has(&self, long: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long)
    }

    /// The value of an option; the last one if it was given several times.
    pub fn value(&self, long: &str) -> Option<&str> {
        let mut values = self.options.iter().rev();
        values
            .find(|(name, _)| *name == long)
            .map(|(_, value)| value.as_str())
    }

    /// The value of an option as what it stands for.
    pub fn parsed<T: FromStr<Err: Display>>(&self, long: &str) -> Result<Option<T>, String> {
        let Some(text) = self.value(long) else {
            return Ok(None);
        };
        let parsed = text.parse().map(Some);
        parsed.map_err(|error| format!("--{long}={text}: {error}"))
    }

    fn known(&self) -> impl Iterator<Item = &'static Opt> {
        let of_command = self.command.map_or(OPTIONS, |spec| spec.options);
        of_command.iter().chain(OPTIONS)
    }

    fn long<'w>(
        &mut self,
        long: &str,
        rest: &mut impl Iterator<Item = &'w String>,
    ) -> Result<(), String> {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let Some(option) = self.known().find(|option| option.long == name) else {
            let dashed: Vec<String> = self.known().map(|o| format!("--{}", o.long)).collect();
            let word = format!("--{name}");
            let hint = meant(&word, dashed.iter().map(String::as_str));
            return Err(format!("Unknown option '{word}'{hint}"));
        };
        let value = match (option.value, value) {
            (None, Some(_)) => return Err(format!("Option '--{name}' takes no value")),
            (None, None) => String::new(),
            (Some(_), Some(value)) => value.to_owned(),
            (Some(_), None) => next_value(&format!("--{name}"), rest)?,
        };
        self.options.push((option.long, value));
        Ok(())
    }

    fn group<'w>(
        &mut self,
        group: &str,
        rest: &mut impl Iterator<Item = &'w String>,
    ) -> Result<(), String> {
        for (index, short) in group.char_indices() {
            let Some(option) = self.known().find(|option| option.short == Some(short)) else {
                return Err(format!("Unknown option '-{short}'"));
            };
            if option.value.is_none() {
                self.options.push((option.long, String::new()));
                continue;
            }
            let value = match &group[index + short.len_utf8()..] {
                "" => next_value(&format!("-{short}"), rest)?,
                value => value.to_owned(),
            };
            self.options.push((option.long, value));
            return Ok(());
        }
        Ok(())
    }
}

fn next_value<'w>(
    option: &str,
    rest: &mut impl Iterator<Item = &'w String>,
) -> Result<String, String> {
    let value = rest.next();
    value
        .cloned()
        .ok_or_else(|| format!("Option '{option}' needs a value"))
}

/// Finds the command, and the words around its name. Before it only options without a value can
/// stand, because only it says which options have one.
fn take_command(words: &[String]) -> Result<(Option<&'static Spec>, Vec<&String>), String> {
    let Some(at) = words.iter().position(|word| !word.starts_with('-')) else {
        return Ok((None, words.iter().collect()));
    };
    if words[..at].iter().any(|word| word == "--") {
        return Err(format!("Unknown command '{}'", words[at]));
    }
    let spec = find(&words[at..]).ok_or_else(|| unknown(&words[at..]))?;
    let after = at + spec.name.split(' ').count();
    let rest = words[..at].iter().chain(&words[after..]);
    Ok((Some(spec), rest.collect()))
}

/// The command whose name these words begin with.
pub(in crate::ctl) fn find(words: &[String]) -> Option<&'static Spec> {
    COMMANDS.iter().find(|spec| {
        let mut name = spec.name.split(' ').enumerate();
        name.all(|(index, part)| words.get(index).is_some_and(|word| word == part))
    })
}

/// The commands whose names begin with `word` and go on.
pub(in crate::ctl) fn kind(word: &str) -> impl Iterator<Item = &'static Spec> {
    COMMANDS.iter().filter(move |spec| {
        spec.name
            .split_once(' ')
            .is_some_and(|(first, _)| first == word)
    })
}

/// That these words name no command.
pub(super) fn unknown(words: &[String]) -> String {
    let word = words.first().map(String::as_str).unwrap_or_default();
    let of_kind: Vec<&str> = kind(word).map(|spec| spec.name).collect();
    let second = words.get(1).filter(|second| !second.starts_with('-'));
    let name = match second {
        _ if of_kind.is_empty() => word.to_owned(),
        Some(second) => format!("{word} {second}"),
        None => return format!("Incomplete command '{word}': {}", of_kind.join(", ")),
    };
    let hint = meant(&name, COMMANDS.iter().map(|spec| spec.name));
    format!("Unknown command '{name}'{hint}")
}

/// The first word of several commands about all of which help is asked for, by an option.
pub(super) fn helped_kind(words: &[String]) -> Option<&str> {
    let is_help = |word: &String| word == "-h" || word == "--help";
    let (options, names): (Vec<&String>, Vec<&String>) =
        words.iter().partition(|word| word.starts_with('-'));
    let [name] = names[..] else {
        return None;
    };
    let is_asked = options.into_iter().any(is_help) && kind(name).next().is_some();
    is_asked.then_some(name)
}

/// Whether help is asked for.
pub(super) fn wants_help(words: &Words) -> bool {
    words.has(HELP.long)
}
