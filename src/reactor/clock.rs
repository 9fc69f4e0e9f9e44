//! Readings of the clocks.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::core::{Instant, Now};

/// Reads all clocks.
#[must_use]
pub fn now() -> Now {
    Now {
        monotonic: monotonic(),
        boottime: Instant(micros(clock_gettime(ClockId::Boottime))),
        realtime_us: micros(clock_gettime(ClockId::Realtime)),
    }
}

/// Reads the clock of deadlines.
#[must_use]
pub fn monotonic() -> Instant {
    Instant(micros(clock_gettime(ClockId::Monotonic)))
}

/// Microseconds; a time before 1970 is 0.
fn micros(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000) + nanos / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_and_agree_with_the_system() {
        let earlier = now();
        let later = now();
        assert!(earlier.monotonic <= later.monotonic && earlier.monotonic.0 > 0);
        assert!(earlier.boottime >= earlier.monotonic);
        let system = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        assert!(system.as_micros().abs_diff(later.realtime_us.into()) < 1_000_000);
    }

    #[test]
    fn times_are_microseconds() {
        let time = |tv_sec, tv_nsec| micros(Timespec { tv_sec, tv_nsec });
        assert_eq!(time(3, 4_999), 3_000_004);
        assert_eq!(time(-1, 0), 0);
    }
}
