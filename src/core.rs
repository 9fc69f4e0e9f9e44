//! What the two pure state machines share: readings of the clocks, times of retries, who calls,
//! lines of the log.
//!
//! The core never asks for the time. The edge that calls it passes a [`Now`] with every event, so
//! that the same events with the same readings give the same actions.

use std::{fmt, ops::Add, time::Duration};

use serde::{Deserialize, Serialize};

/// A point on the monotonic clock (`CLOCK_MONOTONIC`), in microseconds.
///
/// Deadlines and liveness are judged on this clock, because it never jumps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instant(pub u64);

impl Instant {
    /// The time from `earlier` to this point; zero when `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// How long after the start of an attempt the next one starts when `failures` in a row have failed:
/// at once after none, `first` after one, then twice as long each time up to `longest`.
#[must_use]
pub fn retry_delay(failures: u32, first: Duration, longest: Duration) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => first
            .saturating_mul(2_u32.saturating_pow(n - 1))
            .min(longest),
    }
}

/// One reading of the machine's clocks, taken by the edge for one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// `CLOCK_MONOTONIC`: what deadlines and liveness are judged on.
    pub monotonic: Instant,
    /// `CLOCK_BOOTTIME`, which also counts the time in suspend: a jump of it against the
    /// monotonic clock tells that the machine slept.
    pub boottime: Instant,
    /// Microseconds since 1970 (`CLOCK_REALTIME`): for people only, nothing is decided on it.
    pub realtime_us: u64,
}

/// Who stands behind a name on a bus, or at the other end of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User of the process.
    pub uid: u32,
    /// The process.
    pub pid: u32,
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}, pid {}", self.uid, self.pid)
    }
}

/// How much a line of the log matters; the words of `LogLevel=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Every message and decision.
    Debug,
    /// What an administrator wants to have seen.
    Info,
    /// Something is wrong, and the program goes on as configured.
    Warn,
    /// Something asked for could not be done.
    Error,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// Reads a level as it is written in configuration files, in any case; `WARNING` is `WARN`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("WARNING") {
            return Some(Self::Warn);
        }
        Self::ALL
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(text))
    }

    /// The level as it is written in configuration files, in the log and on D-Bus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

impl From<Level> for log::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_they_are_written() {
        for level in Level::ALL {
            assert_eq!(Level::parse(level.name()), Some(level));
            assert_eq!(Level::parse(&level.name().to_lowercase()), Some(level));
        }
        assert_eq!(Level::parse("warning"), Some(Level::Warn));
        assert_eq!(Level::parse("trace"), None);
        assert_eq!(Level::parse(""), None);
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let ms = Duration::from_millis;
        for (failures, delay) in [
            (0, 0),
            (1, 100),
            (2, 200),
            (3, 400),
            (5, 1600),
            (6, 2000),
            (u32::MAX, 2000),
        ] {
            assert_eq!(retry_delay(failures, ms(100), ms(2000)), ms(delay));
        }
    }
}
