//! What systemd is told of a daemon (`sd_notify(3)`).

use std::time::Duration;

use log::debug;
use sd_notify::NotifyState;

/// Tells the service manager how the daemon is doing. Without one (`NOTIFY_SOCKET` is not set) its
/// methods do nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notify;

impl Notify {
    /// Start-up, or a reload, is complete.
    pub fn ready(self) {
        send(&[NotifyState::Ready]);
    }

    /// One line for `systemctl status`.
    pub fn status(self, status: &str) {
        // A line feed would begin another assignment.
        send(&[NotifyState::Status(
            status.lines().next().unwrap_or_default(),
        )]);
    }

    /// The configuration is being read again; [`ready`](Self::ready) follows.
    pub fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(time) => send(&[NotifyState::Reloading, time]),
            Err(error) => debug!("Can't tell the service manager about the reload: {error}"),
        }
    }

    /// The daemon is ending.
    pub fn stopping(self) {
        send(&[NotifyState::Stopping]);
    }

    /// The daemon is alive.
    pub fn watchdog(self) {
        send(&[NotifyState::Watchdog]);
    }

    /// The time in which the service manager expects [`watchdog`](Self::watchdog), if it does
    /// (`WatchdogSec=`). It is to be called twice in this time.
    #[must_use]
    pub fn watchdog_interval(self) -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("Can't reach the service manager: {error}");
    }
}
