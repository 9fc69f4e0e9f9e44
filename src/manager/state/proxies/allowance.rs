//! How many proxies a node may announce: each is work for another node.

use std::collections::BTreeMap;

use crate::{core::Instant, limits};

/// What each source may still announce. It comes back with time.
#[derive(Debug, Default)]
pub(super) struct Allowances {
    by_source: BTreeMap<usize, Allowance>,
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    /// Up to when what came back is in `left`.
    counted: Instant,
    /// That nothing is left was logged.
    is_logged: bool,
}

/// Whether a source may announce one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    /// The first one too many, which is worth a line of the log.
    FirstTooMany,
    TooMany,
}

impl Allowances {
    pub(super) fn take(&mut self, source: usize, now: Instant) -> Verdict {
        let most = limits::MAX_PROXIES_ANNOUNCED;
        let allowance = self.by_source.entry(source).or_insert(Allowance {
            left: most,
            counted: now,
            is_logged: false,
        });
        let each = limits::PROXY_ALLOWANCE / most;
        let passed = now.since(allowance.counted).as_micros() / each.as_micros();
        if let Some(back) = u32::try_from(passed).ok().filter(|back| *back < most) {
            allowance.left = allowance.left.saturating_add(back).min(most);
            allowance.counted = allowance.counted + each * back;
        } else {
            allowance.left = most;
            allowance.counted = now;
        }
        if let Some(left) = allowance.left.checked_sub(1) {
            allowance.left = left;
            // Not at once, or who goes on would be logged for each that comes back.
            allowance.is_logged &= left < most / 2;
            return Verdict::Allowed;
        }
        if std::mem::replace(&mut allowance.is_logged, true) {
            Verdict::TooMany
        } else {
            Verdict::FirstTooMany
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_used_up_comes_back_with_time() {
        let most = limits::MAX_PROXIES_ANNOUNCED;
        let mut all = Allowances::default();
        let mut now = Instant(7);
        for _ in 0..most {
            assert_eq!(all.take(1, now), Verdict::Allowed);
        }
        assert_eq!(all.take(1, now), Verdict::FirstTooMany);
        assert_eq!(all.take(1, now), Verdict::TooMany);
        assert_eq!(all.take(2, now), Verdict::Allowed);
        now = now + limits::PROXY_ALLOWANCE / most;
        assert_eq!(all.take(1, now), Verdict::Allowed);
        assert_eq!(all.take(1, now), Verdict::TooMany);
        now = now + Duration::from_hours(1);
        for _ in 0..most {
            assert_eq!(all.take(1, now), Verdict::Allowed);
        }
        assert_eq!(all.take(1, now), Verdict::FirstTooMany);
    }
}
