//! When a failed connection is tried again, and which of many failures the log shows.

use std::time::Duration;

use crate::{
    core::{Instant, retry_delay},
    limits::QUIET_RETRY_LOG,
};

/// Attempts that follow a loss: the first at once, the second `first` after it, and then twice as
/// long each time up to `longest`.
///
/// Times are counted from the start of one attempt to the start of the next: an attempt that
/// itself took long delays nothing further.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    first: Duration,
    longest: Duration,
    /// Failed attempts in a row that are each logged.
    loud: u32,
    /// Failed attempts since the last success.
    failures: u32,
    /// Connections in a row that were lost soon after they stood: these count as failures, so
    /// that a peer which takes and drops us at once is not called in a tight loop.
    flaps: u32,
    started: Instant,
    logged: Instant,
    is_loud: bool,
    last_reason: String,
}

impl Retry {
    pub(super) fn new(first: Duration, longest: Duration, loud: u32) -> Self {
        Self {
            first,
            longest: longest.max(first),
            loud,
            failures: 0,
            flaps: 0,
            started: Instant::default(),
            logged: Instant::default(),
            is_loud: true,
            last_reason: String::new(),
        }
    }

    /// What the configuration says has changed.
    pub(super) fn set(&mut self, longest: Duration, loud: u32) {
        self.longest = longest.max(self.first);
        self.loud = loud;
    }

    /// An attempt starts: how many have failed before it.
    pub(super) fn start(&mut self, now: Instant) -> u32 {
        self.started = now;
        self.is_loud = self.failures <= self.loud || now.since(self.logged) >= QUIET_RETRY_LOG;
        if self.is_loud {
            self.logged = now;
        }
        self.failures
    }

    /// Whether the log should show this attempt.
    pub(super) const fn is_loud(&self) -> bool {
        self.is_loud
    }

    /// Whether the log should show this reason of a failure: it is another one, or the attempt is
    /// shown and the reason was not for a while.
    pub(super) fn is_news(&mut self, reason: &str) -> bool {
        let is_other = self.last_reason != reason;
        if is_other {
            reason.clone_into(&mut self.last_reason);
        }
        is_other || (self.is_loud && self.failures > self.loud)
    }

    /// The attempt failed: when the next one starts.
    pub(super) fn failed(&mut self) -> Instant {
        self.failures = self.failures.saturating_add(1);
        self.started + self.delay()
    }

    /// The peer stands but refuses us: when it is asked again.
    pub(super) fn refused(&mut self) -> Instant {
        self.failures = self.failures.saturating_add(1);
        self.started + self.longest
    }

    /// The attempt succeeded.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.last_reason.clear();
    }

    /// A connection that stood since `since` is lost: when the first attempt starts.
    pub(super) fn lost(&mut self, since: Instant, now: Instant) -> Instant {
        if now.since(since) < self.longest {
            self.flaps = self.flaps.saturating_add(1);
        } else {
            self.flaps = 0;
        }
        self.failures = self.flaps.saturating_sub(1);
        self.started + self.delay()
    }

    fn delay(&self) -> Duration {
        retry_delay(self.failures, self.first, self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(2);

    #[test]
    fn delays_double_up_to_the_longest_and_count_from_the_start() {
        let mut retry = Retry::new(FIRST, LONGEST, 10);
        let start = Instant(5_000_000);
        retry.start(start);
        let delays: Vec<u128> = (0..7)
            .map(|_| retry.failed().since(start).as_millis())
            .collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn a_connection_that_lasted_is_tried_again_at_once_and_a_flapping_one_is_not() {
        let mut retry = Retry::new(FIRST, LONGEST, 10);
        let mut now = Instant(1_000_000);
        retry.start(now);
        retry.succeeded();
        let later = now + Duration::from_mins(1);
        assert!(retry.lost(now, later) <= later);
        for expected in [0, 100, 200, 400] {
            retry.start(now);
            retry.succeeded();
            let next = retry.lost(now, now);
            assert_eq!(next.since(now).as_millis(), expected);
            now = next;
        }
    }

    #[test]
    fn the_log_shows_ten_retries_and_then_one_a_minute() {
        let mut retry = Retry::new(FIRST, LONGEST, 10);
        let mut now = Instant(0);
        let mut shown = 0;
        for _ in 0..100 {
            retry.start(now);
            shown += u32::from(retry.is_loud());
            now = retry.failed();
        }
        // The first attempt, ten retries in about 13 s, and three more in the remaining 178 s.
        assert_eq!(shown, 1 + 10 + 2);
        assert!(retry.is_news("no route") && !retry.is_news("no route"));
    }

    #[test]
    fn the_number_of_shown_retries_is_a_setting() {
        for loud in [0, 3] {
            let mut retry = Retry::new(FIRST, LONGEST, loud);
            let mut shown = 0;
            for _ in 0..20 {
                retry.start(Instant(1_000_000));
                shown += u32::from(retry.is_loud());
                retry.failed();
            }
            assert_eq!(shown, 1 + loud);
        }
    }
}
