//! POSIX signals as events.

use std::io;

use async_signal::Signals;
use smol::{LocalExecutor, stream::StreamExt};

use crate::wire::Inbox;

/// What the system asks of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM` or `SIGINT`: end.
    Stop,
    /// `SIGHUP`: read the configuration again.
    Reload,
}

/// Turns signals into events from here on. (`SIGPIPE` needs nothing: every Rust program ignores
/// it.)
pub fn signals<E: 'static>(
    executor: &LocalExecutor<'static>,
    inbox: &Inbox<E>,
    wrap: impl Fn(Signal) -> E + 'static,
) -> io::Result<()> {
    use async_signal::Signal::{Hup, Int, Term};
    let mut signals = Signals::new([Term, Int, Hup])?;
    let inbox = inbox.clone();
    executor
        .spawn(async move {
            while let Some(Ok(signal)) = signals.next().await {
                inbox.push(wrap(match signal {
                    Hup => Signal::Reload,
                    _ => Signal::Stop,
                }));
            }
        })
        .detach();
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Posix, getpid, kill_process};

    use super::*;

    #[test]
    fn signals_become_events() {
        let executor = LocalExecutor::new();
        let inbox = Inbox::new();
        signals(&executor, &inbox, |signal| signal).unwrap();
        smol::block_on(executor.run(async {
            for (posix, event) in [
                (Posix::HUP, Signal::Reload),
                (Posix::TERM, Signal::Stop),
                (Posix::INT, Signal::Stop),
            ] {
                kill_process(getpid(), posix).unwrap();
                assert_eq!(inbox.next().await, event);
            }
        }));
    }
}
