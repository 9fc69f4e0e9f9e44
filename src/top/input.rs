//! Keys and signals, as they come.

use std::{
    io::{self, Read},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use rustix::event::{Timespec, epoll};
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH},
    low_level::pipe,
};
use smol::{LocalExecutor, future::or};

use super::key::{Key, Keys};
use crate::{
    limits,
    reactor::{Async, sleep},
    wire::Inbox,
};

/// What the terminal and the system tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Key(Key),
    /// The terminal has another size, or another program was on it.
    Redraw,
    /// The process was stopped and goes on.
    Continued,
    /// A signal of this number wants the process to end; the terminal's end is `SIGHUP`.
    End(i32),
}

/// Tells keys and signals from here on.
pub(super) fn watch<E: 'static>(
    executor: &LocalExecutor<'static>,
    inbox: &Inbox<E>,
    wrap: impl Fn(Input) -> E + Clone + 'static,
) -> io::Result<()> {
    for (number, input) in [
        (SIGTERM, Input::End(SIGTERM)),
        (SIGINT, Input::End(SIGINT)),
        (SIGHUP, Input::End(SIGHUP)),
        (SIGQUIT, Input::End(SIGQUIT)),
        (SIGWINCH, Input::Redraw),
        (SIGCONT, Input::Continued),
    ] {
        // What a signal handler may do is little: it writes a byte.
        let (reads, writes) = UnixStream::pair()?;
        pipe::register(number, writes)?;
        let (reads, inbox, wrap) = (Async::new(reads)?, inbox.clone(), wrap.clone());
        let pass_on = async move {
            let read = |mut pipe: &UnixStream| pipe.read(&mut [0; limits::SIGNALS_AT_ONCE]);
            while let Ok(1..) = reads.read_with(read).await {
                inbox.push(wrap(input));
            }
        };
        executor.spawn(pass_on).detach();
    }
    let (stdin, inbox) = (stdin_has_input()?, inbox.clone());
    let pass_on = async move {
        let mut keys = Keys::default();
        loop {
            let read = stdin.read_with(read);
            let late = async {
                sleep(limits::TOP_ESCAPE).await;
                Ok(None)
            };
            let read = if keys.is_open() {
                or(read, late).await
            } else {
                read.await
            };
            match read {
                Ok(Some(bytes)) => {
                    keys.add(&bytes, |key| inbox.push(wrap(Input::Key(key))));
                }
                Ok(None) => {
                    if let Some(key) = keys.end() {
                        inbox.push(wrap(Input::Key(key)));
                    }
                }
                Err(_) => return inbox.push(wrap(Input::End(SIGHUP))),
            }
        }
    };
    executor.spawn(pass_on).detach();
    Ok(())
}

/// What can be read when standard input has something. It is a descriptor of its own, because others
/// have the terminal too and want it to block.
fn stdin_has_input() -> io::Result<Async<OwnedFd>> {
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(0);
    epoll::add(&watch, io::stdin(), data, epoll::EventFlags::IN)?;
    Async::new(watch)
}

/// Reads what there is, past any buffer.
fn read(watch: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let mut events = [MaybeUninit::uninit()];
    let (events, _) = epoll::wait(watch, &mut events, Some(&Timespec::default()))?;
    let Some(event) = events.first() else {
        return Err(io::ErrorKind::WouldBlock.into());
    };
    let ends = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
    let flags = event.flags;
    if flags.intersects(ends) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = [0; 256];
    match rustix::io::read(io::stdin(), &mut bytes) {
        // Somebody else has read it.
        Ok(0) | Err(rustix::io::Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
        Ok(length) => Ok(Some(bytes[..length].to_vec())),
        Err(error) => Err(error.into()),
    }
}
