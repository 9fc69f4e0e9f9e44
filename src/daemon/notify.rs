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

#[cfg(test)]
mod tests {
    use std::{env, fs, os::unix::net::UnixDatagram, process::Command};

    use super::*;

    #[test]
    fn the_service_manager_hears_all_of_it() {
        let path = env::temp_dir().join(format!("hirte-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "daemon::notify::tests::child"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "3000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        let hear = || {
            let mut buffer = [0; 256];
            let length = manager.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!(hear(), "READY=1\n");
        assert_eq!(hear(), "STATUS=2 of 3 nodes\n");
        assert_eq!(hear(), "WATCHDOG=1\n");
        let reloading = hear();
        assert!(
            reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{reloading}"
        );
        assert_eq!(hear(), "STOPPING=1\n");
        fs::remove_file(path).unwrap();
    }

    #[test]
    #[ignore = "run by the_service_manager_hears_all_of_it"]
    fn child() {
        Notify.ready();
        Notify.status("2 of 3 nodes\nMAINPID=1");
        Notify.watchdog();
        Notify.reloading();
        Notify.stopping();
        assert_eq!(Notify.watchdog_interval(), Some(Duration::from_secs(3)));
    }
}
