//! Every deadline there is.

use crate::core::Instant;

/// A deadline of the agent.
///
/// When several are due they are served in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The periodic wake-up: watchdog, heartbeat, asking a silent manager. First, because it
    /// notices that the daemon itself stood still.
    Tick,
    /// The next heartbeat, when the interval is shorter than the tick.
    Heartbeat,
    /// A silent manager is asked whether it lives, when the threshold is too short for the tick.
    Ping,
    /// A manager silent this long is taken for lost.
    ManagerSilence,
    /// The attempt to connect to the manager is given up.
    ManagerConnect,
    /// The answer to `Register` is overdue.
    Registration,
    /// The next attempt to connect to the manager.
    ManagerRetry,
    /// The attempt to connect to systemd, with all that is asked first, is given up.
    SystemdConnect,
    /// The oldest answer of systemd is overdue.
    SystemdAnswer,
    /// The next attempt to connect to systemd.
    SystemdRetry,
    /// The attempt to get our name on the message bus has failed.
    BusConnect,
    /// The next attempt to get our name on the message bus.
    BusRetry,
    /// Units that were started for other nodes and are not wanted any more are stopped.
    Remainders,
    /// Who waited for a proxy when the bus was lost has asked again, or has given up.
    Callers,
}

impl Timer {
    const ALL: [Self; 14] = [
        Self::Tick,
        Self::Heartbeat,
        Self::Ping,
        Self::ManagerSilence,
        Self::ManagerConnect,
        Self::Registration,
        Self::ManagerRetry,
        Self::SystemdConnect,
        Self::SystemdAnswer,
        Self::SystemdRetry,
        Self::BusConnect,
        Self::BusRetry,
        Self::Remainders,
        Self::Callers,
    ];
}

/// The deadlines that are set.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    at: [Option<Instant>; Timer::ALL.len()],
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize] = Some(at);
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.at[timer as usize] = None;
    }

    pub(super) fn clear_all(&mut self) {
        *self = Self::default();
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.at.iter().flatten().min().copied()
    }

    /// Takes the first timer that is due, with its deadline.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(Timer, Instant)> {
        Timer::ALL.into_iter().find_map(|timer| {
            let at = self.at[timer as usize].filter(|at| *at <= now)?;
            self.clear(timer);
            Some((timer, at))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_are_taken_once_and_in_order() {
        for (index, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, index);
        }
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::SystemdRetry, Instant(1));
        timers.set(Timer::Tick, Instant(2));
        timers.set(Timer::ManagerRetry, Instant(9));
        assert_eq!(timers.next(), Some(Instant(1)));
        assert_eq!(timers.take_due(Instant(2)), Some((Timer::Tick, Instant(2))));
        let second = timers.take_due(Instant(2));
        assert_eq!(second, Some((Timer::SystemdRetry, Instant(1))));
        assert_eq!(timers.take_due(Instant(2)), None);
        assert_eq!(timers.next(), Some(Instant(9)));
    }
}
