//! The private socket: the public API without a message bus, for clients on this machine.
//!
//! Each connection looks like a bus on which the manager and this one client are (`bus`), so that
//! every D-Bus library can use it. What a client may do the state decides; see
//! [`Access`].
//!
//! Who may connect at all the kernel decides: the socket belongs to group `hirte` and is open to
//! its owner and that group. So whoever has connected, is not root and not the manager's own user,
//! was a member at that moment by all of its groups, as the kernel knows them; no list of groups
//! is looked up, which could name another process by then, or miss groups that only a directory
//! service or the unit of a service knows.

mod bus;
mod socket;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::net::UnixStream,
    rc::Rc,
};

use rustix::{net::sockopt::socket_peercred, process::geteuid};
use smol::{LocalExecutor, channel};

pub use socket::{OpenError, Socket};

use super::{
    api,
    state::event::{Access, Client, Event, PrivateId},
};
use crate::{
    bus::{Body, Kind, Message, message::BodyCheck},
    core::Credentials,
    daemon, limits,
    reactor::Async,
    wire::{
        Inbox,
        link::{Link, LinkSettings, Received, Role, Stream},
    },
};

/// The connections of the private socket.
pub(super) struct Connections {
    by_id: BTreeMap<PrivateId, Connection>,
    /// Those to which something was sent in this turn.
    to_flush: BTreeSet<PrivateId>,
    last: PrivateId,
    /// Whether the socket belongs to group `hirte`.
    is_for_group: bool,
    /// Each accepted connection that is taken lets the next one be queued.
    accepted: Option<channel::Receiver<()>>,
}

struct Connection {
    link: Link,
    last_serial: u32,
}

impl Connections {
    /// Accepts connections from here on, each as an event of `inbox`. Without a socket there are
    /// none.
    pub(super) fn new<E: 'static>(
        socket: Option<Socket>,
        executor: &LocalExecutor<'static>,
        inbox: &Inbox<E>,
        wrap: fn(io::Result<Async<UnixStream>>) -> E,
    ) -> Self {
        let is_for_group = socket.as_ref().is_some_and(Socket::is_for_group);
        let accepted = socket.map(|socket| {
            let (gate, accepted) = channel::bounded(1);
            let accepting = accept_all(socket, inbox.clone(), wrap, gate);
            executor.spawn(accepting).detach();
            accepted
        });
        Self {
            by_id: BTreeMap::new(),
            to_flush: BTreeSet::new(),
            last: 0,
            is_for_group,
            accepted,
        }
    }

    /// Takes an accepted connection.
    pub(super) fn accepted<E: 'static>(
        &mut self,
        stream: Async<UnixStream>,
        executor: &Rc<LocalExecutor<'static>>,
        inbox: &Inbox<E>,
        wrap: fn(PrivateId, Received) -> E,
    ) -> Option<Event> {
        // The acceptor can not be gone: it never ends.
        let _ = self.accepted.as_ref().map(channel::Receiver::try_recv);
        let credentials = match peer_credentials(&stream) {
            Ok(credentials) => credentials,
            Err(error) => {
                log::warn!(
                    "Private connection refused: the kernel does not tell who connected: {error}"
                );
                return None;
            }
        };
        self.last += 1;
        let client = self.last;
        let settings = LinkSettings {
            max_message: limits::MAX_MESSAGE_FROM_CLIENT,
            max_queued: Some(limits::MAX_QUEUED_TO_CLIENT),
            body_check: BodyCheck::Full,
        };
        let uid = credentials.uid;
        let link = Link::open(
            executor,
            Stream::Unix(stream),
            Role::ServerOf { uid },
            settings,
            inbox,
            move |received| wrap(client, received),
        );
        let last_serial = 0;
        self.by_id.insert(client, Connection { link, last_serial });
        Some(Event::PrivateConnected {
            client,
            credentials,
            access: Access::of(uid, geteuid().as_raw(), self.is_for_group),
        })
    }

    /// What a client sent; what needs no state is answered here.
    pub(super) fn received(&mut self, client: PrivateId, received: Received) -> Option<Event> {
        match received {
            Received::Ready => None,
            Received::Message(message) if message.kind != Kind::Call => None,
            Received::Message(message) if bus::is_for_bus(&message) => {
                if message.flags.expects_reply() {
                    self.send(client, bus::answer(&message, &bus::client_name(client)));
                }
                None
            }
            Received::Message(message) => {
                match api::decode(Client::Private(client), message, false) {
                    api::Incoming::Event(event) => Some(event),
                    api::Incoming::MachineId(call) => {
                        let id = daemon::machine_id();
                        self.send(client, api::reply(&call, Body::of(&(id.as_str(),))));
                        None
                    }
                    api::Incoming::NotACall => None,
                }
            }
            Received::Closed(reason) => {
                self.by_id.remove(&client);
                let reason = reason.to_string();
                Some(Event::PrivateClosed { client, reason })
            }
        }
    }

    /// Sends to one client, if it is still there. The message is the manager's, unless it has
    /// another sender.
    pub(super) fn send(&mut self, client: PrivateId, mut message: Message) {
        let Some(connection) = self.by_id.get_mut(&client) else {
            return;
        };
        connection.last_serial = connection.last_serial.checked_add(1).unwrap_or(1);
        message.serial = connection.last_serial;
        if message.sender.is_empty() {
            bus::MANAGER_NAME.clone_into(&mut message.sender);
        }
        connection.link.send(&message);
        self.to_flush.insert(client);
    }

    /// Sends a signal to all clients: those that are on a connection of their own and no bus need
    /// not add match rules, and many libraries do not.
    pub(super) fn send_to_all(&mut self, message: &Message) {
        for client in self.by_id.keys().copied().collect::<Vec<_>>() {
            self.send(client, message.clone());
        }
    }

    /// Writes what was sent in this turn.
    pub(super) fn flush(&mut self) {
        let mut is_behind = false;
        for client in std::mem::take(&mut self.to_flush) {
            if let Some(connection) = self.by_id.get(&client) {
                connection.link.flush();
                is_behind |= connection.link.queued() > 0;
            }
        }
        if is_behind {
            self.bound_queues();
        }
    }

    /// While too much waits for all clients together, whoever is furthest behind is given up.
    fn bound_queues(&self) {
        let queued = |one: &Connection| one.link.queued();
        let limit = limits::MAX_QUEUED_TO_CLIENTS;
        while self.by_id.values().map(queued).sum::<usize>() > limit {
            if let Some(last) = self.by_id.values().max_by_key(|one| queued(one)) {
                last.link.give_up(limit);
            }
        }
    }

    pub(super) fn close(&mut self, client: PrivateId) {
        if let Some(connection) = self.by_id.remove(&client) {
            connection.link.close();
        }
    }
}

/// Who connected, at the time when it did (unix(7), `SO_PEERCRED`).
fn peer_credentials(stream: &Async<UnixStream>) -> io::Result<Credentials> {
    let peer = socket_peercred(stream.get_ref())?;
    let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or_default();
    let uid = peer.uid.as_raw();
    Ok(Credentials { uid, pid })
}

/// Accepts connections for ever. Not more than two wait for the loop, so that a flood of them
/// does not grow the inbox.
async fn accept_all<E: 'static>(
    socket: Socket,
    inbox: Inbox<E>,
    wrap: fn(io::Result<Async<UnixStream>>) -> E,
    gate: channel::Sender<()>,
) {
    loop {
        let accepted = socket.accept().await;
        let is_connection = accepted.is_ok();
        inbox.push(wrap(accepted));
        if is_connection && gate.send(()).await.is_err() {
            return;
        }
    }
}
