//! What can be wrong with a configuration, and where.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::limits::CONFIG_QUOTED_CHARS;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, counted from 1.
    File {
        /// The file, as it was opened.
        path: Arc<Path>,
        /// The line on which the value starts.
        line: u32,
    },
    /// A variable of the environment.
    Environment(&'static str),
    /// An option of the command line, such as `--port`.
    CommandLine(&'static str),
    /// The name of this machine, which is a node's name where none is configured.
    HostName,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) | Self::CommandLine(name) => f.write_str(name),
            Self::HostName => f.write_str("the host name"),
        }
    }
}

/// Something that the administrator should see and that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where it was found.
    pub origin: Origin,
    /// What was found, and what becomes of it.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

/// Why a configuration can not be used.
#[derive(Debug)]
pub enum ConfigError {
    /// A file or folder exists, or was asked for, and can not be read.
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than any configuration.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes allowed.
        limit: usize,
    },
    /// A folder has more drop-in files than any configuration.
    TooManyDropIns {
        /// The folder.
        path: PathBuf,
        /// Files allowed.
        limit: usize,
    },
    /// A line does not follow the format of the files.
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u32,
        /// What the line says.
        found: String,
        /// What it could say.
        expected: String,
    },
    /// A value is not what its key takes.
    Value {
        /// Where the value was given.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What the key takes.
        expected: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => {
                write!(f, "{}: can not be read: {source}", path.display())
            }
            Self::TooLarge { path, limit } => write!(
                f,
                "{}: is larger than {limit} bytes: expected a configuration file",
                path.display()
            ),
            Self::TooManyDropIns { path, limit } => write!(
                f,
                "{}: holds more than {limit} configuration files",
                path.display()
            ),
            Self::Syntax {
                path,
                line,
                found,
                expected,
            } => write!(
                f,
                "{}:{line}: '{}': expected {expected}",
                path.display(),
                shorten(found)
            ),
            Self::Value {
                origin,
                key,
                value,
                expected,
            } => {
                let value = shorten(value);
                match origin {
                    Origin::File { .. } => {
                        write!(f, "{origin}: {key}={value}: expected {expected}")
                    }
                    Origin::Environment(_) | Origin::CommandLine(_) => {
                        write!(f, "{origin}={value}: expected {expected}")
                    }
                    Origin::HostName => write!(
                        f,
                        "{origin} '{value}' can not be the node's name: set {key}: expected {expected}"
                    ),
                }
            }
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The text as an error shows it: control characters escaped, and cut where it is too long to be
/// read.
pub(super) fn shorten(text: &str) -> String {
    let mut short = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == CONFIG_QUOTED_CHARS {
            short.push('…');
            break;
        }
        if character.is_control() {
            short.extend(character.escape_default());
        } else {
            short.push(character);
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_place_value_and_expectation() {
        let value = |origin| ConfigError::Value {
            origin,
            key: "ManagerPort",
            value: "abc".to_owned(),
            expected: "a port".to_owned(),
        };
        let file = Origin::File {
            path: Path::new("/etc/hirte/hirte.conf").into(),
            line: 3,
        };
        for (origin, text) in [
            (
                file,
                "/etc/hirte/hirte.conf:3: ManagerPort=abc: expected a port",
            ),
            (
                Origin::Environment("HIRTE_X"),
                "HIRTE_X=abc: expected a port",
            ),
            (Origin::CommandLine("--port"), "--port=abc: expected a port"),
            (
                Origin::HostName,
                "the host name 'abc' can not be the node's name: set ManagerPort: expected a port",
            ),
        ] {
            assert_eq!(value(origin).to_string(), text);
        }
    }

    #[test]
    fn wrong_texts_are_cut_and_escaped() {
        assert_eq!(shorten("a\u{1b}b"), "a\\u{1b}b");
        let long = "x".repeat(CONFIG_QUOTED_CHARS);
        assert_eq!(shorten(&long), long);
        assert_eq!(shorten(&format!("{long}y")), format!("{long}…"));
    }
}
