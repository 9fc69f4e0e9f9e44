//! POSIX signals as events.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    rc::Rc,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    low_level::pipe,
};
use smol::LocalExecutor;

use crate::{limits::SIGNALS_AT_ONCE, reactor::Async, wire::Inbox};

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
    let wrap = Rc::new(wrap);
    for (number, signal) in [
        (SIGTERM, Signal::Stop),
        (SIGINT, Signal::Stop),
        (SIGHUP, Signal::Reload),
    ] {
        // What a signal handler may do is little: it writes a byte.
        let (reads, writes) = UnixStream::pair()?;
        pipe::register(number, writes)?;
        let (reads, inbox, wrap) = (Async::new(reads)?, inbox.clone(), Rc::clone(&wrap));
        executor
            .spawn(async move {
                while let Ok(1..) = reads
                    .read_with(|mut pipe| pipe.read(&mut [0; SIGNALS_AT_ONCE]))
                    .await
                {
                    inbox.push(wrap(signal));
                }
            })
            .detach();
    }
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
        crate::reactor::block_on(&executor, async {
            for (posix, event) in [
                (Posix::HUP, Signal::Reload),
                (Posix::TERM, Signal::Stop),
                (Posix::INT, Signal::Stop),
            ] {
                kill_process(getpid(), posix).unwrap();
                assert_eq!(inbox.next().await, event);
            }
        });
    }
}
