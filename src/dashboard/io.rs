//! A client's connection as hyper reads and writes it, and how long it may keep us waiting.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::{
    core::Instant,
    limits,
    reactor::{clock, sleep},
    wire::Stream,
};

/// Bytes that are read at once: heads of requests are shorter.
const READ: usize = 4 << 10;

/// For what a connection waits, and since when.
#[derive(Debug)]
pub(super) struct Activity {
    /// For the head of a request.
    idle: Cell<Option<Instant>>,
    /// For its other end to take what is sent.
    stuck: Cell<Option<Instant>>,
}

/// A request that is being answered; dropped when the answer was handed over.
#[derive(Debug)]
pub(super) struct Busy(Rc<Activity>);

impl Activity {
    /// A connection that was accepted just now.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            idle: Cell::new(Some(clock::monotonic())),
            stuck: Cell::new(None),
        })
    }

    /// A request has come.
    pub fn begin(self: &Rc<Self>) -> Busy {
        self.idle.set(None);
        Busy(Rc::clone(self))
    }

    /// Ends when the connection has kept us waiting for too long.
    pub async fn expire(&self) {
        loop {
            let now = clock::monotonic();
            let idle = self.idle.get().map(|since| since + limits::HTTP_REQUEST);
            let stuck = self.stuck.get().map(|since| since + limits::HTTP_STALL);
            let deadline = match (idle, stuck) {
                // What is still being sent is the end of an answer.
                (_, Some(stuck)) => stuck,
                (Some(idle), None) => idle,
                (None, None) => now + limits::HTTP_REQUEST,
            };
            if deadline <= now {
                return;
            }
            // What begins meanwhile has a later deadline.
            sleep(deadline.since(now).min(limits::HTTP_REQUEST)).await;
        }
    }

    /// Something was sent.
    fn went_on(&self) {
        self.stuck.set(None);
        if self.idle.get().is_some() {
            self.idle.set(Some(clock::monotonic()));
        }
    }

    /// Nothing can be sent.
    fn stands_still(&self) {
        if self.stuck.get().is_none() {
            self.stuck.set(Some(clock::monotonic()));
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle.set(Some(clock::monotonic()));
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Io {
    stream: Stream,
    activity: Rc<Activity>,
}

impl Io {
    /// Of a stream that was accepted.
    pub const fn new(stream: Stream, activity: Rc<Activity>) -> Self {
        Self { stream, activity }
    }
}

/// Tries an operation until it no longer would block.
fn attempt<T>(
    mut operation: impl FnMut() -> io::Result<T>,
    mut ready: impl FnMut() -> Poll<()>,
) -> Poll<io::Result<T>> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if ready().is_pending() {
                    return Poll::Pending;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Poll::Ready(result),
        }
    }
}

impl Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffer = [0; READ];
        let room = into.remaining().min(READ);
        let stream = &self.stream;
        let read = attempt(
            || stream.read(&mut buffer[..room]),
            || stream.poll_readable(context),
        );
        read.map_ok(|length| into.put_slice(&buffer[..length]))
    }
}

impl Write for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = &self.stream;
        let written = attempt(|| stream.write(bytes), || stream.poll_writable(context));
        match written {
            Poll::Pending => self.activity.stands_still(),
            Poll::Ready(_) => self.activity.went_on(),
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.shutdown();
        Poll::Ready(Ok(()))
    }
}
