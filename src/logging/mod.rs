//! The log of the daemons: levels, targets, and where a message goes.
//!
//! Messages come through the [`log`] crate's macros. They go to the journal's own socket, each as one
//! entry with its priority, or to standard error through [`env_logger`].
//!
//! Messages carry names that others chose, so control characters and the characters that reverse the
//! direction of text are escaped, and only a line feed stays what it is. In the journal it can not
//! start a field, because such a message is sent with its length; on standard error every line after
//! the first is indented, so that it can not pass for a message of its own.
//!
//! Times on standard error are in UTC (`+0000`): local time needs the time zone database, and a crate
//! for it is larger than all else in the log. The journal shows local time by itself.

mod journal;
mod stderr;

use std::{
    fmt::Write,
    path::Path,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use log::{LevelFilter, Log, Metadata, Record};

pub(crate) use self::stderr::civil_date;
use self::{
    journal::{Journal, Sent},
    stderr::{Format, Stderr},
};
use crate::{core::Level, limits::LOG_MESSAGE_BYTES};

/// Where the log goes; the words of `LogTarget=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// The journal; standard error where there is none.
    Journald,
    /// Standard error, with time and level.
    Stderr,
    /// Standard error, with time, level and the place in the source.
    StderrFull,
}

impl LogTarget {
    /// Reads a target as it is written in configuration files, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Journald, Self::Stderr, Self::StderrFull]
            .into_iter()
            .find(|target| target.name().eq_ignore_ascii_case(text))
    }

    /// The target as it is written in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Journald => "journald",
            Self::Stderr => "stderr",
            Self::StderrFull => "stderr-full",
        }
    }
}

/// How a daemon logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `LogLevel=`: the least level that is logged.
    pub level: Level,
    /// `LogTarget=`: where the log goes.
    pub target: LogTarget,
    /// `LogIsQuiet=`: nothing is logged at all.
    pub quiet: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: Level::Info,
            target: LogTarget::Journald,
            quiet: false,
        }
    }
}

/// The level of syslog(3), by which the journal sorts and colours.
const fn priority(level: Level) -> u8 {
    match level {
        Level::Debug => 7,
        Level::Info => 6,
        Level::Warn => 4,
        Level::Error => 3,
    }
}

const fn from_log(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug | log::Level::Trace => Level::Debug,
    }
}

/// Sets up the log of this process under the name `identifier` (`SYSLOG_IDENTIFIER` in the journal).
///
/// A second call keeps the identifier and sets the rest. Without a call nothing is logged.
pub fn init(identifier: &str, settings: LogSettings) {
    let logger = LOGGER.get_or_init(|| Logger::new(identifier, Path::new(journal::SOCKET)));
    logger.change(settings);
    // Fails where a logger is set, which is ours unless a test has its own.
    let _ = log::set_logger(logger);
}

/// Sets the least level that is logged; nothing happens before [`init`].
pub fn set_level(level: Level) {
    if let (Some(logger), Some(settings)) = (LOGGER.get(), settings()) {
        logger.change(LogSettings { level, ..settings });
    }
}

/// How this process logs; `None` before [`init`].
#[must_use]
pub fn settings() -> Option<LogSettings> {
    LOGGER.get().map(|logger| logger.state().settings)
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    stderr: Stderr,
    state: Mutex<State>,
}

struct State {
    settings: LogSettings,
    journal: Journal,
}

impl Logger {
    fn new(identifier: &str, socket: &Path) -> Self {
        Self {
            stderr: Stderr::new(),
            state: Mutex::new(State {
                settings: LogSettings::default(),
                journal: Journal::new(identifier, socket),
            }),
        }
    }

    /// The state stays whole whatever a thread that held it died of: every change is one assignment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, settings: LogSettings) {
        let mut state = self.state();
        state.settings = settings;
        log::set_max_level(if settings.quiet {
            LevelFilter::Off
        } else {
            log::Level::from(settings.level).to_level_filter()
        });
    }

    /// Writes one record; gives back the format in which it must go to standard error, if it must.
    fn write(&self, record: &Record<'_>, message: &str) -> Option<Format> {
        let mut state = self.state();
        match state.settings.target {
            LogTarget::Stderr => Some(Format::Plain),
            LogTarget::StderrFull => Some(Format::Full),
            LogTarget::Journald => match state.journal.send(record, message) {
                Sent::Accepted => None,
                // Standard error leads to the same journal, and writing there would wait for it.
                Sent::Stalled if self.stderr.is_journal() => {
                    state.journal.count_lost();
                    None
                }
                Sent::NoJournal | Sent::Stalled => Some(Format::Fallback),
            },
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Before the lock: an argument's `Display` may log.
        let message = readable(&record.args().to_string());
        if let Some(format) = self.write(record, &message) {
            self.stderr.write(record, &message, format);
        }
    }

    fn flush(&self) {}
}

/// The message without anything that acts on a terminal, and not longer than the limit.
fn readable(message: &str) -> String {
    let message = message.trim_end_matches('\n');
    let (message, rest) = message.split_at(message.floor_char_boundary(LOG_MESSAGE_BYTES));
    let mut readable = String::with_capacity(message.len());
    for character in message.chars() {
        if is_harmless(character) {
            readable.push(character);
        } else {
            readable.extend(character.escape_default());
        }
    }
    if !rest.is_empty() {
        // Writing to a String does not fail.
        let _ = write!(readable, "… ({} bytes cut)", rest.len());
    }
    readable
}

fn is_harmless(character: char) -> bool {
    match character {
        '\n' | '\t' => true,
        // Line and paragraph separators; marks that reverse the direction of the text after them.
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
        _ => !character.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        fs::{self, File},
        os::unix::fs::MetadataExt,
        process,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[test]
    fn targets_are_read_as_they_are_written() {
        for target in [
            LogTarget::Journald,
            LogTarget::Stderr,
            LogTarget::StderrFull,
        ] {
            assert_eq!(
                LogTarget::parse(&target.name().to_uppercase()),
                Some(target)
            );
        }
        assert_eq!(LogTarget::parse("stdout"), None);
    }

    #[test]
    fn messages_can_not_act_on_a_terminal() {
        assert_eq!(
            readable("a\u{1b}[2Jb\rc\0\u{85}"),
            "a\\u{1b}[2Jb\\rc\\u{0}\\u{85}"
        );
        assert_eq!(
            readable("x\u{202e}y\u{2066}z\u{2028}"),
            "x\\u{202e}y\\u{2066}z\\u{2028}"
        );
        assert_eq!(
            readable("tab\tümlaut 'ok' \\\nline\n"),
            "tab\tümlaut 'ok' \\\nline"
        );
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let whole = "x".repeat(LOG_MESSAGE_BYTES);
        assert_eq!(readable(&whole), whole);
        let long = format!("{}üyz", "x".repeat(LOG_MESSAGE_BYTES - 1));
        let kept = "x".repeat(LOG_MESSAGE_BYTES - 1);
        assert_eq!(readable(&long), format!("{kept}… (4 bytes cut)"));
    }

    #[test]
    fn targets_decide_where_a_message_goes() {
        let logger = Logger::new("hirte", Path::new("/nowhere/socket"));
        let record = Record::builder().level(log::Level::Info).build();
        for (target, format) in [
            (LogTarget::Journald, Format::Fallback),
            (LogTarget::Stderr, Format::Plain),
            (LogTarget::StderrFull, Format::Full),
        ] {
            logger.state().settings.target = target;
            assert_eq!(logger.write(&record, "m"), Some(format));
        }
    }

    /// Also run in a process of its own by the test below; no other test touches the process's logger.
    #[test]
    fn the_log_can_be_changed_while_it_runs() {
        set_level(Level::Debug);
        assert_eq!(settings(), None);
        log::error!("before the log is set up");
        let set = |level, target, quiet| {
            let settings = LogSettings {
                level,
                target,
                quiet,
            };
            init("hirte", settings);
        };

        set(Level::Info, LogTarget::Stderr, false);
        assert_eq!(log::max_level(), LevelFilter::Info);
        log::debug!("below the level");
        log::info!("two\nlines \x1b[2J");

        set(Level::Debug, LogTarget::StderrFull, false);
        assert_eq!(log::max_level(), LevelFilter::Debug);
        log::debug!("with its place");

        set_level(Level::Error);
        assert_eq!(log::max_level(), LevelFilter::Error);
        let expected = LogSettings {
            level: Level::Error,
            target: LogTarget::StderrFull,
            quiet: false,
        };
        assert_eq!(settings(), Some(expected));

        set(Level::Warn, LogTarget::StderrFull, true);
        assert_eq!(log::max_level(), LevelFilter::Off);
        log::error!("while the log is quiet");

        set(Level::Warn, LogTarget::StderrFull, false);
        assert_eq!(log::max_level(), LevelFilter::Warn);
    }

    /// What the test above writes to standard error, without times and line numbers.
    fn standard_error(journal_stream: impl Fn(&fs::Metadata) -> String) -> Vec<String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("hirte-stderr-{}-{count}", process::id()));
        let file = File::create(&path).unwrap();
        let status = process::Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("logging::tests::the_log_can_be_changed_while_it_runs")
            .env("JOURNAL_STREAM", journal_stream(&file.metadata().unwrap()))
            .stdout(process::Stdio::null())
            .stderr(file)
            .status();
        let written = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(status.unwrap().success(), "{written}");
        written
            .lines()
            .map(|line| {
                let time = line.find("+0000").unwrap();
                let start = line.find("20").unwrap();
                assert_eq!(time - start, "2026-11-22 01:00:46,407".len(), "{line}");
                let line = format!("{}{}", &line[..start], &line[time + "+0000 ".len()..]);
                match line.split_once("mod.rs:") {
                    Some((start, rest)) => {
                        format!("{start}mod.rs{}", rest.trim_start_matches(char::is_numeric))
                    }
                    None => line,
                }
            })
            .collect()
    }

    #[test]
    fn standard_error_gets_each_line_with_its_beginning() {
        assert_eq!(
            standard_error(|_| "1:1".to_owned()),
            [
                "INFO\t: two",
                "INFO\t:     lines \\u{1b}[2J",
                "DEBUG\tsrc/logging/mod.rs\tmsg=\"with its place\"",
            ]
        );
    }

    #[test]
    fn standard_error_that_is_the_journal_gets_priorities() {
        assert_eq!(
            standard_error(|file| format!("{}:{}", file.dev(), file.ino())),
            [
                "<6>INFO\t: two",
                "<6>INFO\t:     lines \\u{1b}[2J",
                "<7>DEBUG\tsrc/logging/mod.rs\tmsg=\"with its place\"",
            ]
        );
    }
}
