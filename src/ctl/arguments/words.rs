//! Arguments that are one of a few words, or a number or time.

use std::{str::FromStr, time::Duration};

use rustix::process::Signal as Posix;

use super::meant;
use crate::config::value;

/// Words that an argument can be.
pub(in crate::ctl) const JOB_MODES: [&str; 6] = [
    "replace",
    "fail",
    "isolate",
    "replace-irreversibly",
    "ignore-dependencies",
    "ignore-requirements",
];
/// Which processes of a unit a signal is for (`KillUnit` in org.freedesktop.systemd1(5)).
pub(in crate::ctl) const WHOM: [&str; 3] = ["main", "control", "all"];
/// What `metrics` can do.
pub(in crate::ctl) const METRICS: [&str; 3] = ["enable", "disable", "listen"];
/// Whose state `is-online` tells.
pub(in crate::ctl) const ONLINE: [&str; 3] = ["agent", "node", "system"];

/// The signals by the names of signal(7), without `SIG`.
pub(in crate::ctl) const SIGNALS: [(&str, Posix); 30] = [
    ("HUP", Posix::HUP),
    ("INT", Posix::INT),
    ("QUIT", Posix::QUIT),
    ("ILL", Posix::ILL),
    ("TRAP", Posix::TRAP),
    ("ABRT", Posix::ABORT),
    ("BUS", Posix::BUS),
    ("FPE", Posix::FPE),
    ("KILL", Posix::KILL),
    ("USR1", Posix::USR1),
    ("SEGV", Posix::SEGV),
    ("USR2", Posix::USR2),
    ("PIPE", Posix::PIPE),
    ("ALRM", Posix::ALARM),
    ("TERM", Posix::TERM),
    ("STKFLT", Posix::STKFLT),
    ("CHLD", Posix::CHILD),
    ("CONT", Posix::CONT),
    ("STOP", Posix::STOP),
    ("TSTP", Posix::TSTP),
    ("TTIN", Posix::TTIN),
    ("TTOU", Posix::TTOU),
    ("URG", Posix::URG),
    ("XCPU", Posix::XCPU),
    ("XFSZ", Posix::XFSZ),
    ("VTALRM", Posix::VTALARM),
    ("PROF", Posix::PROF),
    ("WINCH", Posix::WINCH),
    ("IO", Posix::IO),
    ("PWR", Posix::POWER),
];
/// The signals for programs' own use, as the C library numbers them; it keeps 32 and 33 for itself.
const REALTIME: std::ops::RangeInclusive<i32> = 34..=64;

/// The word itself, or which ones there are.
fn one_of(text: &str, words: &[&'static str]) -> Result<&'static str, String> {
    let found = words.iter().find(|word| **word == text);
    found.copied().ok_or_else(|| {
        let hint = meant(text, words.iter().copied());
        format!("'{text}' is not one of {}{hint}", words.join(", "))
    })
}

macro_rules! word {
    ($(#[$doc:meta])* $type:ident of $words:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::ctl) struct $type(pub &'static str);

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                one_of(text, &$words).map(Self)
            }
        }
    };
}

word! {
    /// How a job deals with jobs that are queued (`StartUnit` in org.freedesktop.systemd1(5)).
    JobMode of JOB_MODES
}
word! {
    /// One of [`WHOM`].
    Whom of WHOM
}
word! {
    /// One of [`METRICS`].
    MetricsAction of METRICS
}
word! {
    /// One of [`ONLINE`].
    Whose of ONLINE
}

impl Default for JobMode {
    /// As with `systemctl`.
    fn default() -> Self {
        Self(JOB_MODES[0])
    }
}

impl Default for Whom {
    /// As with `systemctl`.
    fn default() -> Self {
        Self("all")
    }
}

/// How entries of a log are shown, by the words of `journalctl -o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ctl) enum LogFormat {
    /// As syslog files.
    #[default]
    Short,
    /// The same, with microseconds.
    ShortPrecise,
    /// With the date and the offset of the time zone.
    ShortIso,
    /// Seconds since 1970, with microseconds.
    ShortUnix,
    /// Messages only.
    Cat,
    /// The lines of the node, unchanged.
    Json,
}

/// The words of [`LogFormat`].
pub(in crate::ctl) const LOG_FORMATS: [(&str, LogFormat); 6] = [
    ("short", LogFormat::Short),
    ("short-precise", LogFormat::ShortPrecise),
    ("short-iso", LogFormat::ShortIso),
    ("short-unix", LogFormat::ShortUnix),
    ("cat", LogFormat::Cat),
    ("json", LogFormat::Json),
];

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const WORDS: [&str; LOG_FORMATS.len()] = names(&LOG_FORMATS);
        let word = one_of(text, &WORDS)?;
        let found = LOG_FORMATS.iter().find(|(known, _)| *known == word);
        Ok(found.map(|(_, format)| *format).unwrap_or_default())
    }
}

/// The words of a list of words and what they stand for.
pub(in crate::ctl) const fn names<T, const N: usize>(
    words: &[(&'static str, T); N],
) -> [&'static str; N] {
    let mut names = [""; N];
    let mut index = 0;
    while index < N {
        names[index] = words[index].0;
        index += 1;
    }
    names
}

/// The number of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ctl) struct Signal(pub i32);

impl Default for Signal {
    /// As with `systemctl`.
    fn default() -> Self {
        Self(Posix::TERM.as_raw())
    }
}

impl FromStr for Signal {
    type Err = String;

    /// Reads `SIGTERM`, `TERM`, `15`, `RTMIN+1` and `RTMAX-1`, in any case.
    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let named = SIGNALS.iter().find(|(known, _)| *known == name);
        let offset = |rest: &str, sign| match rest.strip_prefix(sign) {
            Some(offset) => offset.parse::<i32>().ok(),
            None => rest.is_empty().then_some(0),
        };
        let number = match named {
            Some((_, signal)) => Some(signal.as_raw()),
            None => match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
                (Some(rest), _) => offset(rest, '+')
                    .and_then(|offset| REALTIME.start().checked_add(offset))
                    .filter(|number| REALTIME.contains(number)),
                (_, Some(rest)) => offset(rest, '-')
                    .and_then(|offset| REALTIME.end().checked_sub(offset))
                    .filter(|number| REALTIME.contains(number)),
                _ => text
                    .parse()
                    .ok()
                    .filter(|number| (1..=*REALTIME.end()).contains(number)),
            },
        };
        number.map(Self).ok_or_else(|| {
            let hint = meant(name, SIGNALS.iter().map(|(known, _)| *known));
            format!("there is no such signal{hint}")
        })
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ctl) struct Wait(pub Duration);

impl FromStr for Wait {
    type Err = String;

    /// Reads what times in the configuration are; a bare number is milliseconds.
    fn from_str(text: &str) -> Result<Self, String> {
        match value::threshold(text) {
            Ok(parsed) => Ok(Self(parsed.value.unwrap_or_default())),
            Err(rule) => Err(format!("expected {rule}")),
        }
    }
}

/// How long something may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ctl) struct Limit(pub Duration);

impl FromStr for Limit {
    type Err = String;

    /// Reads what timeouts in the configuration are; a bare number is seconds.
    fn from_str(text: &str) -> Result<Self, String> {
        match value::timeout(text) {
            Ok(parsed) => Ok(Self(parsed.value)),
            Err(rule) => Err(format!("expected {rule}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("KILL", 9),
            ("sigusr1", 10),
            ("1", 1),
            ("64", 64),
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(text.parse(), Ok(Signal(number)), "{text}");
        }
        for text in ["", "SIG", "0", "65", "-1", "RTMIN-1", "RTMIN+31", "RTMAX+1"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
        assert_eq!(
            "SIGTRM".parse::<Signal>(),
            Err("there is no such signal, did you mean 'TERM'?".to_owned())
        );
    }

    #[test]
    fn words_are_told_where_another_stands() {
        assert_eq!("fail".parse(), Ok(JobMode("fail")));
        let error = "fial".parse::<JobMode>().unwrap_err();
        assert!(
            error.ends_with("ignore-requirements, did you mean 'fail'?"),
            "{error}"
        );
        for (word, format) in LOG_FORMATS {
            assert_eq!(word.parse(), Ok(format));
        }
        assert!("verbose".parse::<LogFormat>().is_err());
        assert_eq!("500".parse(), Ok(Wait(Duration::from_millis(500))));
        assert_eq!("0".parse(), Ok(Wait(Duration::ZERO)));
        assert!(
            "soon"
                .parse::<Wait>()
                .unwrap_err()
                .starts_with("expected 0 or a time")
        );
    }
}
