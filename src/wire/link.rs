//! One connection that speaks D-Bus.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    rc::Rc,
    task::{Context, Poll},
};

use smol::LocalExecutor;

use super::{
    driver::Driver,
    inbox::{Inbox, Window},
    outbound::Outbound,
    sasl::{CLIENT_HELLO, HandshakeError, Sasl},
};
use crate::{
    bus::{
        Message,
        message::{BadMessage, BodyCheck},
    },
    reactor::Async,
};

/// The socket of a link.
#[derive(Debug)]
pub enum Stream {
    /// Over the network.
    Tcp(Async<TcpStream>),
    /// On this machine.
    Unix(Async<UnixStream>),
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.get_ref().as_raw_fd(),
            Self::Unix(stream) => stream.get_ref().as_raw_fd(),
        }
    }
}

impl Stream {
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.get_ref().read(buffer),
            Self::Unix(stream) => stream.get_ref().read(buffer),
        }
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.get_ref().write(bytes),
            Self::Unix(stream) => stream.get_ref().write(bytes),
        }
    }

    pub(crate) fn shutdown(&self) {
        // It fails when the peer is already gone, which is as good.
        let _ = match self {
            Self::Tcp(stream) => stream.get_ref().shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.get_ref().shutdown(Shutdown::Both),
        };
    }

    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(stream) => stream.poll_readable(context),
            Self::Unix(stream) => stream.poll_readable(context),
        }
    }

    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(stream) => stream.poll_writable(context),
            Self::Unix(stream) => stream.poll_writable(context),
        }
    }
}

/// Which end of the handshake a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The accepting end: takes `EXTERNAL` with and without an identity, and `ANONYMOUS`.
    Server,
    /// The accepting end of a Unix socket, which knows from the kernel that this user is at the
    /// other end: takes `EXTERNAL` with that identity and without one.
    ServerOf {
        /// The user.
        uid: u32,
    },
    /// The end that connects, to a manager, a message bus or systemd's private socket: says what
    /// the C agent says. The greeting of a bus (`Hello`) is a message, for the owner to send.
    Client,
}

/// The bounds of a link.
#[derive(Clone, Copy, Debug)]
pub struct LinkSettings {
    /// Largest message to receive, in bytes.
    pub max_message: usize,
    /// Bytes waiting to be sent at which the next message closes the link, so that one message of
    /// any size can be sent to a peer that reads; `None` where the owner keeps the bound.
    pub max_queued: Option<usize>,
    /// Whether the bodies of received messages are checked.
    pub body_check: BodyCheck,
}

/// What a link reports to the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The handshake is done. Comes once, before any message.
    Ready,
    /// A message.
    Message(Message),
    /// The link has ended and its socket is closed. Its last event.
    Closed(Closed),
}

/// Why a link ended without being closed by its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer closed the connection.
    ByPeer,
    /// The socket failed; what the system says.
    Io(String),
    /// The handshake failed.
    Handshake(HandshakeError),
    /// The peer sent something that is not a message, or too long a message.
    BadMessage(BadMessage),
    /// The peer did not read fast enough.
    QueueFull {
        /// Bytes that wait to be sent.
        queued: usize,
        /// The bound, in bytes.
        limit: usize,
    },
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByPeer => write!(f, "closed by the other side"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Handshake(error) => write!(f, "handshake failed: {error}"),
            Self::BadMessage(error) => write!(f, "not a valid message: {error}"),
            Self::QueueFull { queued, limit } => write!(
                f,
                "the other side does not read: {queued} bytes wait, at most {limit} may"
            ),
        }
    }
}

/// One connection that speaks D-Bus. Dropping it closes it.
pub struct Link {
    shared: Rc<Shared>,
}

impl Link {
    /// Starts the handshake on a connected stream. Everything that happens comes as an event of
    /// `inbox`, made by `wrap`.
    pub fn open<E: 'static>(
        executor: &LocalExecutor<'static>,
        stream: Stream,
        role: Role,
        settings: LinkSettings,
        inbox: &Inbox<E>,
        wrap: impl Fn(Received) -> E + 'static,
    ) -> Self {
        let shared = Rc::new(Shared {
            stream: RefCell::new(Some(stream)),
            max_message: Cell::new(settings.max_message),
            max_queued: Cell::new(settings.max_queued),
            body_check: settings.body_check,
            outbound: RefCell::default(),
            held: RefCell::new(Some(Vec::new())),
            is_full: Cell::new(false),
            failure: RefCell::default(),
            window: Rc::default(),
        });
        let sasl = match role {
            Role::Server => Sasl::server(),
            Role::ServerOf { uid } => Sasl::server_of(uid),
            Role::Client => {
                shared.outbound.borrow_mut().append(CLIENT_HELLO.to_vec());
                Sasl::client()
            }
        };
        let mut driver = Driver::new(Rc::clone(&shared), sasl, inbox.clone(), wrap);
        executor
            .spawn(std::future::poll_fn(move |context| driver.poll(context)))
            .detach();
        Self { shared }
    }

    /// Appends a message, whose serial the caller has set. It is written by [`flush`](Self::flush)
    /// once the handshake is done. On a link that has ended this does nothing.
    pub fn send(&self, message: &Message) {
        self.shared.send(message);
    }

    /// Writes as much as the kernel takes; the rest goes when the socket can take more. A daemon
    /// calls it at the end of a turn, so that all messages of the turn leave in one write.
    pub fn flush(&self) {
        self.shared.flush();
    }

    /// Bytes that the kernel has not yet accepted.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.queued()
    }

    /// Sets the length of the largest message to receive: more is allowed once a peer has
    /// registered.
    ///
    /// A message that is too long is judged only when all messages before it were taken from the
    /// inbox, so that handling one message in the same turn can allow longer ones after it.
    pub fn set_max_message(&self, bytes: usize) {
        self.shared.max_message.set(bytes);
    }

    /// Sets [`LinkSettings::max_queued`]: more may wait for a peer that has registered.
    pub fn set_max_queued(&self, bytes: usize) {
        self.shared.max_queued.set(Some(bytes));
    }

    /// Ends the link as if its own limit were reached, and frees what is queued: of all links with
    /// `limit` bytes together this one has the most.
    pub fn give_up(&self, limit: usize) {
        let queued = self.queued();
        self.shared.fail(Closed::QueueFull { queued, limit });
    }

    /// Tries once to write what is queued, and closes the socket. None of the link's events leaves
    /// the inbox after this, [`Received::Closed`] included.
    pub fn close(&self) {
        if !self.shared.window.is_closed() {
            self.shared.flush();
            self.shared.disconnect();
            self.shared.window.close();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the owner of a link and its task have in common.
pub(super) struct Shared {
    /// `None` once the link has ended.
    stream: RefCell<Option<Stream>>,
    max_message: Cell<usize>,
    max_queued: Cell<Option<usize>>,
    body_check: BodyCheck,
    outbound: RefCell<Outbound>,
    /// Messages that wait for the end of the handshake; `None` after it.
    held: RefCell<Option<Vec<u8>>>,
    /// Whether the socket took less than it was offered, so that the task waits until it takes
    /// more.
    is_full: Cell<bool>,
    /// Why the link has to end.
    failure: RefCell<Option<Closed>>,
    pub(super) window: Rc<Window>,
}

impl Shared {
    pub(super) fn max_message(&self) -> usize {
        self.max_message.get()
    }

    pub(super) fn body_check(&self) -> BodyCheck {
        self.body_check
    }

    fn queued(&self) -> usize {
        self.outbound.borrow().len() + self.held.borrow().as_ref().map_or(0, Vec::len)
    }

    fn send(&self, message: &Message) {
        if self.stream.borrow().is_none() || self.failure.borrow().is_some() {
            return;
        }
        if let Some(limit) = self.max_queued.get()
            && self.queued() > limit
        {
            self.flush();
            let queued = self.queued();
            if queued > limit {
                self.fail(Closed::QueueFull { queued, limit });
                return;
            }
        }
        let bytes = message.encode();
        if let Some(held) = self.held.borrow_mut().as_mut() {
            held.extend_from_slice(&bytes);
        } else {
            self.outbound.borrow_mut().append(bytes);
        }
    }

    /// Writes as much as the socket takes; the task writes the rest.
    pub(super) fn flush(&self) {
        self.write();
        if self.is_full.get() {
            self.window.wake();
        }
    }

    /// Writes as much as the socket takes.
    pub(super) fn write(&self) {
        if self.is_full.get() || self.outbound.borrow().is_empty() {
            return;
        }
        let stream = self.stream.borrow();
        let Some(stream) = stream.as_ref() else {
            return;
        };
        let written = self
            .outbound
            .borrow_mut()
            .write_to(|bytes| stream.write(bytes));
        match written {
            Ok(true) => {}
            Ok(false) => self.is_full.set(true),
            Err(error) => {
                // What the peer sent before it went is still read: the socket reports its end
                // after that.
                stream.shutdown();
                self.fail(Closed::Io(error.to_string()));
            }
        }
    }

    fn fail(&self, why: Closed) {
        self.outbound.take();
        self.held.take();
        self.is_full.set(false);
        self.failure.borrow_mut().get_or_insert(why);
        self.window.wake();
    }

    /// Appends answers of the handshake, which go ahead of all messages.
    pub(super) fn answer(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.outbound.borrow_mut().append(bytes);
            self.flush();
        }
    }

    /// Lets out the messages that waited for the end of the handshake.
    pub(super) fn release_held(&self) {
        let held = self.held.take().unwrap_or_default();
        if !held.is_empty() {
            self.outbound.borrow_mut().append(held);
            self.flush();
        }
    }

    /// Goes on writing when the socket was full and takes more.
    pub(super) fn poll_write(&self, context: &mut Context<'_>) {
        while self.is_full.get() {
            let polled = match self.stream.borrow().as_ref() {
                Some(stream) => stream.poll_writable(context),
                None => return,
            };
            match polled {
                Poll::Pending => return,
                Poll::Ready(()) => {
                    self.is_full.set(false);
                    self.write();
                }
            }
        }
    }

    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.stream.borrow().as_ref() {
            Some(stream) => stream.poll_readable(context),
            None => Poll::Pending,
        }
    }

    /// Reads what is there: `None` if nothing is.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<Option<usize>, Closed> {
        let stream = self.stream.borrow();
        let Some(stream) = stream.as_ref() else {
            return Ok(None);
        };
        let ended = |why| Err(self.failure.take().unwrap_or(why));
        match stream.read(buffer) {
            Ok(0) => ended(Closed::ByPeer),
            Ok(read) => Ok(Some(read)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => ended(Closed::Io(error.to_string())),
            },
        }
    }

    /// The peer does not read: nothing more is expected of it.
    pub(super) fn take_queue_full(&self) -> Option<Closed> {
        self.failure
            .borrow_mut()
            .take_if(|why| matches!(why, Closed::QueueFull { .. }))
    }

    /// Closes the socket and frees what only a live link needs.
    pub(super) fn disconnect(&self) {
        if let Some(stream) = self.stream.take() {
            stream.shutdown();
        }
        self.outbound.take();
        self.held.take();
    }
}
