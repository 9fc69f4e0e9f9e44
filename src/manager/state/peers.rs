//! Connections of agents: their messages, their loss, whether they live.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    State,
    event::{Action, FromPeer, PeerId, ToPeer},
    internal, log,
    requests::Pending,
};
use crate::{
    bus::{Body, CallError},
    core::{Instant, Level, Now},
    limits,
};

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: String,
    pub(super) fd: i32,
    pub(super) connected_at: Instant,
    /// When its last message came; judged by the liveness check.
    pub(super) heard_at: Instant,
    /// Index of its node, once it has registered.
    pub(super) node: Option<usize>,
    /// When another connection claimed its name: it must show that it lives.
    pub(super) challenged_at: Option<Instant>,
    /// The Ping that has no answer yet: our number of it, and when it was sent.
    ping: Option<(u32, Instant)>,
    next_serial: u32,
    /// Calls without an answer, by our number.
    pub(super) pending: BTreeMap<u32, Pending>,
    /// The latest calls of its proxies without an answer: our number, and the object.
    pub(super) proxy_calls: VecDeque<(u32, String)>,
}

impl Peer {
    /// The number of our next message to this peer; never 0.
    pub(super) const fn take_serial(&mut self) -> u32 {
        let serial = self.next_serial;
        self.next_serial = match serial.checked_add(1) {
            Some(next) => next,
            None => 1,
        };
        serial
    }
}

impl State {
    pub(super) fn peer_connected(
        &mut self,
        now: Now,
        id: PeerId,
        address: String,
        fd: i32,
        actions: &mut Vec<Action>,
    ) {
        let from = origin(&address);
        log(
            actions,
            Level::Debug,
            format!("Connection from {from} on fd {fd}"),
        );
        if self.unregistered.len() >= limits::MAX_UNREGISTERED {
            self.close_oldest_unregistered("too many connections that did not register", actions);
        }
        self.accept_fails = false;
        self.unregistered.push_back(id);
        let peer = Peer {
            address,
            fd,
            connected_at: now.monotonic,
            heard_at: now.monotonic,
            node: None,
            challenged_at: None,
            ping: None,
            next_serial: 1,
            pending: BTreeMap::new(),
            proxy_calls: VecDeque::new(),
        };
        self.peers.insert(id, peer);
    }

    /// Without descriptors nobody can connect: the older half of the connections that did not
    /// register goes, so that an agent among many idle ones soon has its turn.
    pub(super) fn accept_failed(&mut self, reason: &str, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.accept_fails, true) {
            let text = format!("Failed to accept a connection: {reason}; closing idle ones");
            log(actions, Level::Error, text);
        }
        for _ in 0..self.unregistered.len().div_ceil(2) {
            self.close_oldest_unregistered("its place is needed", actions);
        }
    }

    fn close_oldest_unregistered(&mut self, reason: &str, actions: &mut Vec<Action>) {
        if let Some(oldest) = self.unregistered.front().copied() {
            self.close_peer(oldest, reason, actions);
        }
    }

    /// Ends a connection from our side.
    pub(super) fn close_peer(&mut self, id: PeerId, reason: &str, actions: &mut Vec<Action>) {
        actions.push(Action::Close(id));
        self.forget_peer(id, reason, actions);
    }

    pub(super) fn peer_lost(&mut self, id: PeerId, reason: &str, actions: &mut Vec<Action>) {
        self.forget_peer(id, reason, actions);
    }

    /// What happens when a node is lost, or a connection that never was one: everything that
    /// waited for it ends.
    pub(super) fn forget_peer(&mut self, id: PeerId, reason: &str, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.remove(&id) else {
            return;
        };
        let Some(index) = peer.node else {
            self.unregistered.retain(|other| *other != id);
            log(
                actions,
                Level::Debug,
                format!("Anonymous node disconnected: {reason}"),
            );
            return;
        };
        let node = &mut self.nodes[index];
        node.peer = None;
        self.online -= 1;
        self.counters.node_lost();
        let name = node.name.clone();
        log(
            actions,
            Level::Info,
            format!("Node '{name}' disconnected: {reason}"),
        );
        for pending in peer.pending {
            self.request_lost(id, pending, &name, actions);
        }
        self.end_jobs_of(index, actions);
        self.end_streams_from(index, actions);
        self.node_lost_for_proxies(index, actions);
        self.unwatch_node(index, actions);
        self.announce_node(index, actions);
    }

    pub(super) fn peer_message(
        &mut self,
        now: Now,
        id: PeerId,
        message: FromPeer,
        actions: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.heard_at = now.monotonic;
        peer.challenged_at = None;
        if let Some(index) = peer.node {
            let node = &mut self.nodes[index];
            node.last_seen_us = now.realtime_us;
            node.last_seen_monotonic = now.monotonic;
        }
        match message {
            FromPeer::Register {
                serial,
                name,
                dialect,
            } => {
                self.speak(id, dialect, actions);
                self.register(now, id, serial, &name, actions);
            }
            FromPeer::Ping {
                serial: reply_serial,
            } => drop(self.send(id, ToPeer::Return { reply_serial }, actions)),
            FromPeer::MachineId {
                serial: reply_serial,
            } => drop(self.send(id, ToPeer::MachineId { reply_serial }, actions)),
            FromPeer::Hello {
                serial: reply_serial,
            } => drop(self.send(id, ToPeer::Welcome { reply_serial }, actions)),
            FromPeer::Introspect { serial, path } => {
                self.send(id, internal::introspect(serial, path), actions);
            }
            FromPeer::UnknownCall { serial, error } => {
                let reply_serial = serial;
                self.send(id, refused(reply_serial, error), actions);
            }
            FromPeer::Return { reply_serial, body } => {
                self.answered(id, reply_serial, Ok(body), actions);
            }
            FromPeer::Error {
                reply_serial,
                error,
            } => {
                self.answered(id, reply_serial, Err(error), actions);
            }
            FromPeer::JobDone { id: job, result } => self.job_done(now, id, job, result, actions),
            FromPeer::JobStateChanged { id: job, state } => {
                self.job_state_changed(id, job, &state, actions);
            }
            FromPeer::Unit { unit, change } => self.unit_changed(id, &unit, change, actions),
            message @ (FromPeer::StreamData { .. } | FromPeer::StreamEnd { .. }) => {
                self.stream_message(id, message, actions);
            }
            FromPeer::JobTime {
                unit,
                method,
                took_us,
            } => self.job_time(id, unit, method, took_us, actions),
            FromPeer::ProxyNew { target, unit, path } => {
                self.proxy_new(now, id, &target, unit, path, actions);
            }
            FromPeer::ProxyRemoved { target, unit } => {
                self.proxy_removed(id, &target, &unit, actions);
            }
            FromPeer::Heartbeat | FromPeer::Other => {}
        }
    }

    /// Calls a method of an agent without arguments that asks for no answer.
    pub(super) fn command(&mut self, id: PeerId, method: &str, actions: &mut Vec<Action>) {
        let (method, arguments) = (method.to_owned(), Body::default());
        self.send(id, ToPeer::CallWithoutReply { method, arguments }, actions);
    }

    /// Address of the agent of a node, empty while it is offline.
    pub(super) fn peer_ip(&self, index: usize) -> &str {
        self.nodes[index]
            .peer
            .and_then(|peer| self.peers.get(&peer))
            .map_or("", |peer| peer.address.as_str())
    }

    pub(super) fn send(&mut self, id: PeerId, message: ToPeer, actions: &mut Vec<Action>) -> u32 {
        let Some(peer) = self.peers.get_mut(&id) else {
            return 0;
        };
        let serial = peer.take_serial();
        actions.push(Action::Send {
            peer: id,
            serial,
            message,
        });
        serial
    }

    pub(super) fn ping(&mut self, now: Now, id: PeerId, actions: &mut Vec<Action>) {
        if self.peers.get(&id).is_some_and(|peer| peer.ping.is_none()) {
            let serial = self.send(id, ToPeer::Ping, actions);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.ping = Some((serial, now.monotonic));
            }
        }
    }

    /// Whether `serial` was the number of our Ping to this peer, which is then answered.
    pub(super) fn is_pong(&mut self, id: PeerId, serial: u32) -> bool {
        let peer = self.peers.get_mut(&id);
        peer.is_some_and(|peer| peer.ping.take_if(|ping| ping.0 == serial).is_some())
    }

    /// The part of the tick that looks at every connection.
    pub(super) fn check_peers(&mut self, now: Now, actions: &mut Vec<Action>) {
        let mut late = Vec::new();
        let mut silent = Vec::new();
        let mut quiet = Vec::new();
        for (&id, peer) in &self.peers {
            let silence = now.monotonic.since(peer.heard_at);
            if peer.node.is_none() {
                if now.monotonic.since(peer.connected_at) >= limits::REGISTRATION {
                    late.push(id);
                }
            } else if self.is_lost(now, peer) {
                silent.push((id, silence));
            } else if silence >= limits::PING_AFTER
                || self.soon_lost(silence)
                || peer
                    .node
                    .is_some_and(|node| self.proxies.waits_for_target(node))
            {
                quiet.push(id);
            }
        }
        for id in late {
            self.close_peer(id, "it did not register in time", actions);
        }
        for (id, silence) in silent {
            self.close_silent(id, silence.as_millis(), actions);
        }
        for id in quiet {
            self.ping(now, id, actions);
        }
    }

    /// Whether the peer has to be asked at this tick so that the next one can judge it.
    fn soon_lost(&self, silence: Duration) -> bool {
        let limit = self.settings.silence_limit;
        !limit.is_zero() && silence + 2 * limits::TICK > limit
    }

    /// Judged a tick early, so that the limit holds although it is looked at only once a tick; and
    /// never before the peer had a tick's time to answer a Ping.
    fn is_lost(&self, now: Now, peer: &Peer) -> bool {
        let limit = self.settings.silence_limit;
        let silence = now.monotonic.since(peer.heard_at);
        let challenged = peer.challenged_at.is_some_and(|at| {
            now.monotonic.since(at) >= limits::PING_AFTER && silence >= limits::PING_AFTER
        });
        let asked = peer
            .ping
            .is_some_and(|(_, at)| now.monotonic.since(at) >= limits::TICK);
        challenged || (asked && !limit.is_zero() && silence + limits::TICK > limit)
    }

    fn close_silent(&mut self, id: PeerId, silence_ms: u128, actions: &mut Vec<Action>) {
        let node = self.peers.get(&id).and_then(|peer| peer.node);
        if let Some(index) = node {
            let name = &self.nodes[index].name;
            let text = format!(
                "Did not receive heartbeat from node '{name}' since '{silence_ms}'ms. \
                 Disconnecting it..."
            );
            log(actions, Level::Warn, text);
        }
        self.close_peer(id, "it was silent for too long", actions);
    }
}

/// The answer that a call is refused.
pub(super) const fn refused(reply_serial: u32, error: CallError) -> ToPeer {
    ToPeer::Error {
        reply_serial,
        error,
    }
}

/// Where a connection comes from, in words.
pub(super) fn origin(address: &str) -> &str {
    if address.is_empty() {
        "a Unix socket"
    } else {
        address
    }
}
