//! Connections between agents and manager: ordered, delayed, cut and healed.

use std::{collections::VecDeque, time::Duration};

use hirte::{
    agent::state::{self as agent, FromManager},
    bus::{Message, names},
    core::Instant,
    limits,
    manager::{
        peers,
        state::event::{Event, PeerId},
    },
};

use super::{
    node_host::from_manager,
    world::{Happening, World},
};

/// Who is at the far end of a connection to the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Far {
    /// Connection number `connection` of a node's agent.
    Agent {
        node: usize,
        incarnation: u32,
        connection: u32,
    },
    /// A peer that keeps to no rule.
    Hostile,
}

/// What travels.
#[derive(Clone, Debug)]
pub enum Item {
    /// The connection is made.
    Open,
    Message(Box<Message>),
    /// The other end is gone.
    Closed(&'static str),
}

/// To which end something travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Manager,
    Far,
}

/// One end of a connection.
#[derive(Debug, Default)]
pub struct Socket {
    pub is_open: bool,
    /// What arrives next arrives not before this.
    last_arrival: Instant,
    /// What waits for the end of a partition.
    pub held: VecDeque<Item>,
}

#[derive(Debug)]
pub struct Connection {
    pub far: Far,
    pub manager_end: Socket,
    pub far_end: Socket,
}

impl Connection {
    pub fn new(far: Far) -> Self {
        Self {
            far,
            manager_end: Socket::default(),
            far_end: Socket::default(),
        }
    }

    pub const fn end(&mut self, end: End) -> &mut Socket {
        match end {
            End::Manager => &mut self.manager_end,
            End::Far => &mut self.far_end,
        }
    }
}

impl Socket {
    /// When what is sent now arrives: after all that was sent before.
    pub fn arrival(&mut self, now: Instant, delay: Duration) -> Instant {
        self.last_arrival = self.last_arrival.max(now + delay);
        self.last_arrival
    }
}

impl World {
    pub fn add_connection(&mut self, connection: Connection) -> PeerId {
        self.connections.retain(|_, connection| {
            connection.far != Far::Hostile
                || connection.far_end.is_open
                || connection.manager_end.is_open
        });
        self.last_peer += 1;
        self.connections.insert(self.last_peer, connection);
        self.last_peer
    }

    fn is_cut(&self, connection: &Connection) -> bool {
        match connection.far {
            Far::Agent { node, .. } => self.nodes[node].is_cut,
            Far::Hostile => false,
        }
    }

    /// Sends something to one end of a connection.
    pub fn travel(&mut self, peer: PeerId, end: End, item: Item) {
        let delay = self.prng.time(Duration::from_micros(1), self.latency);
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(&peer) {
            let time = connection.end(end).arrival(now, delay);
            self.at(time, Happening::Arrival(peer, end, item));
        }
    }

    pub fn arrive(&mut self, peer: PeerId, end: End, item: Item) {
        let Some(connection) = self.connections.get(&peer) else {
            return;
        };
        let is_cut = self.is_cut(connection);
        let far = connection.far;
        let Some(connection) = self.connections.get_mut(&peer) else {
            return;
        };
        let socket = connection.end(end);
        if is_cut && matches!(item, Item::Open) {
            return self.connect_fails(peer);
        }
        if is_cut {
            socket.held.push_back(item);
            return;
        }
        match (end, far) {
            (End::Manager, _) => self.arrive_at_manager(peer, item),
            (End::Far, _) if !socket.is_open => {}
            (End::Far, Far::Hostile) => match item {
                Item::Message(message) => self.hostile_receives(peer, &message),
                Item::Closed(_) => socket.is_open = false,
                Item::Open => {}
            },
            (
                End::Far,
                Far::Agent {
                    node,
                    incarnation,
                    connection,
                },
            ) => {
                if matches!(item, Item::Closed(_)) {
                    socket.is_open = false;
                }
                if incarnation == self.nodes[node].run {
                    if let Item::Message(message) = &item
                        && message.interface == names::PEER_INTERFACE
                    {
                        self.nodes[node].pings.insert(message.serial);
                    }
                    let event = from_manager(item);
                    let event = agent::Event::Manager { connection, event };
                    self.agent_handles(node, event);
                }
            }
        }
    }

    /// Nobody answers the attempt to connect, and the edge gives it up.
    fn connect_fails(&mut self, peer: PeerId) {
        let Some(connection) = self.connections.get_mut(&peer) else {
            return;
        };
        connection.far_end.is_open = false;
        if let Far::Agent {
            node,
            incarnation,
            connection,
        } = connection.far
        {
            let event = FromManager::Closed("Connection timed out".to_owned());
            let event = agent::Event::Manager { connection, event };
            let happening = Happening::ToAgent(node, incarnation, event);
            self.after(limits::CONNECT, happening);
        }
    }

    fn arrive_at_manager(&mut self, peer: PeerId, item: Item) {
        let is_up = self.manager.subject.is_some();
        let Some(connection) = self.connections.get_mut(&peer) else {
            return;
        };
        let socket = &mut connection.manager_end;
        match item {
            Item::Open if is_up => {
                socket.is_open = true;
                let address = "10.0.0.1".to_owned();
                let event = Event::PeerConnected {
                    peer,
                    address,
                    fd: 9,
                };
                self.manager_handles(event);
                self.travel(peer, End::Far, Item::Open);
            }
            Item::Open => self.travel(peer, End::Far, Item::Closed("Connection refused")),
            Item::Message(message) if socket.is_open => {
                let message = peers::decode(*message);
                self.manager_handles(Event::PeerMessage { peer, message });
            }
            Item::Closed(reason) if socket.is_open => {
                socket.is_open = false;
                let reason = reason.to_owned();
                self.manager_handles(Event::PeerLost { peer, reason });
            }
            Item::Message(_) | Item::Closed(_) => {}
        }
    }

    /// The far end closes a connection.
    pub fn close_far_end(&mut self, peer: PeerId, reason: &'static str) {
        if let Some(connection) = self.connections.get_mut(&peer)
            && std::mem::take(&mut connection.far_end.is_open)
        {
            self.travel(peer, End::Manager, Item::Closed(reason));
        }
    }

    pub fn close_manager_end(&mut self, peer: PeerId) {
        if let Some(connection) = self.connections.get_mut(&peer) {
            connection.manager_end.is_open = false;
            self.travel(peer, End::Far, Item::Closed("closed by the manager"));
        }
    }

    /// Both ends learn that the connection is gone, and what is on the way is lost.
    pub fn reset(&mut self, peer: PeerId) {
        self.queue
            .retain(|_, happening| !matches!(happening, Happening::Arrival(of, ..) if *of == peer));
        for end in [End::Manager, End::Far] {
            self.travel(peer, end, Item::Closed("Connection reset by peer"));
        }
    }

    /// Takes what is on its way to one end of a connection, in its order.
    fn take_travelling(&mut self, peer: PeerId, end: End) -> Vec<Item> {
        let of_end = |happening: &Happening| matches!(happening, Happening::Arrival(of, to, _) if (*of, *to) == (peer, end));
        let queue = std::mem::take(&mut self.queue);
        let (taken, left) = queue
            .into_iter()
            .partition::<Vec<_>, _>(|(_, happening)| of_end(happening));
        self.queue = left.into_iter().collect();
        let item = |(_, happening)| match happening {
            Happening::Arrival(_, _, item) => Some(item),
            _ => None,
        };
        taken.into_iter().filter_map(item).collect()
    }

    pub fn heal(&mut self, node: usize) {
        self.nodes[node].is_cut = false;
        let of_node: Vec<PeerId> = self
            .connections
            .iter()
            .filter(|(_, connection)| matches!(connection.far, Far::Agent { node: of, .. } if of == node))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in of_node {
            for end in [End::Manager, End::Far] {
                let Some(connection) = self.connections.get_mut(&peer) else {
                    continue;
                };
                let mut items = std::mem::take(&mut connection.end(end).held);
                // What was sent last may still be on its way, and must not come first.
                items.extend(self.take_travelling(peer, end));
                for item in items {
                    self.travel(peer, end, item);
                }
            }
        }
    }

    pub fn hostile_leave_after(&mut self, time: Duration) {
        self.after(time, Happening::HostileLeave);
    }

    pub fn hostile_leave(&mut self) {
        let hostile: Vec<PeerId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.far == Far::Hostile)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in hostile {
            self.close_far_end(peer, "hostile");
        }
    }
}
