//! Connections between agents and manager: ordered, delayed, cut and healed.

use std::{collections::VecDeque, time::Duration};

use hirte::{bus::Message, core::Instant};

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

    /// Neither end uses it, and nothing is on the way that anybody would read.
    pub fn is_dead(&self) -> bool {
        !self.manager_end.is_open && !self.far_end.is_open
    }
}

impl Socket {
    /// When what is sent now arrives: after all that was sent before.
    pub fn arrival(&mut self, now: Instant, delay: Duration) -> Instant {
        self.last_arrival = self.last_arrival.max(now + delay);
        self.last_arrival
    }
}
