//! How a connection becomes a node, and how the fleet is told of it.

use super::{
    State, emit,
    event::{Action, Dialect, Object, PeerId, Signal, ToPeer},
    log,
    peers::{origin, refused},
};
use crate::{
    bus::{CallError, Value, error_name},
    core::{Level, Now},
};

impl State {
    /// A peer that has not registered calls in this dialect, which holds for its connection.
    pub(super) fn speak(&self, id: PeerId, dialect: Dialect, actions: &mut Vec<Action>) {
        let is_registered = self.peers.get(&id).is_some_and(|peer| peer.node.is_some());
        if dialect != Dialect::Hirte && !is_registered {
            actions.push(Action::Speak { peer: id, dialect });
        }
    }

    pub(super) fn register(
        &mut self,
        now: Now,
        id: PeerId,
        serial: u32,
        name: &str,
        actions: &mut Vec<Action>,
    ) {
        match self.may_register(now, id, name, actions) {
            Ok(index) => self.admit(now, id, index, serial, actions),
            Err(error) => {
                let registered = self.peers.get(&id).is_some_and(|peer| peer.node.is_some());
                let text = format!(
                    "Registration of a node as '{name}' refused: {}",
                    error.message
                );
                log(actions, Level::Warn, text);
                self.counters.registration_refused();
                self.send(id, refused(serial, error), actions);
                if !registered {
                    self.close_peer(id, "its registration was refused", actions);
                }
            }
        }
    }

    fn may_register(
        &mut self,
        now: Now,
        id: PeerId,
        name: &str,
        actions: &mut Vec<Action>,
    ) -> Result<usize, CallError> {
        if self.peers.get(&id).is_some_and(|peer| peer.node.is_some()) {
            return Err(CallError::new(
                error_name::ADDRESS_IN_USE,
                "Can't register twice",
            ));
        }
        let Some(&index) = self.node_index.get(name) else {
            return Err(CallError::new(
                error_name::SERVICE_UNKNOWN,
                "Unexpected node name",
            ));
        };
        if let Some(owner) = self.nodes[index].peer {
            self.challenge(now, owner, actions);
            return Err(CallError::new(
                error_name::ADDRESS_IN_USE,
                "The node is already connected",
            ));
        }
        Ok(index)
    }

    /// Somebody else claims the name of this peer. A node that restarted comes back before its
    /// old connection is known to be dead, so the old one has to show that it lives.
    fn challenge(&mut self, now: Now, id: PeerId, actions: &mut Vec<Action>) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.challenged_at.get_or_insert(now.monotonic);
            self.ping(now, id, actions);
        }
    }

    /// The order is that of the C manager: state, log, signal, and then the agent's answer.
    fn admit(
        &mut self,
        now: Now,
        id: PeerId,
        index: usize,
        serial: u32,
        actions: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.node = Some(index);
        let (address, fd) = (peer.address.clone(), peer.fd);
        self.unregistered.retain(|other| *other != id);
        let node = &mut self.nodes[index];
        self.counters.registered(node.last_seen_us != 0);
        node.peer = Some(id);
        node.last_seen_us = now.realtime_us;
        node.last_seen_monotonic = now.monotonic;
        self.online += 1;
        let name = node.name.clone();
        if self.metrics.is_enabled() {
            self.command(id, "EnableMetrics", actions);
        }
        let registered = format!("Registered managed node from fd {fd} as '{name}'");
        log(actions, Level::Info, registered);
        log(
            actions,
            Level::Info,
            format!("Agent '{name}' connected from {}", origin(&address)),
        );
        actions.push(Action::Admit(id));
        self.announce_node(index, actions);
        let reply_serial = serial;
        self.send(id, ToPeer::Return { reply_serial }, actions);
        self.watch_node(index, id, actions);
        self.node_back_for_proxies(now, index, actions);
    }

    /// Tells the bus whether a node is online.
    pub(super) fn announce_node(&mut self, index: usize, actions: &mut Vec<Action>) {
        let node = &self.nodes[index];
        let changed = vec![
            ("Status".to_owned(), Value::Str(node.status().to_owned())),
            (
                "PeerIp".to_owned(),
                Value::Str(self.peer_ip(index).to_owned()),
            ),
        ];
        let object = Object::Node(node.name.clone());
        emit(actions, Signal::PropertiesChanged { object, changed });
        let (node, state) = (node.name.clone(), node.status().to_owned());
        emit(actions, Signal::NodeConnectionStateChanged { node, state });
        self.announce_fleet(actions);
    }

    /// Tells the bus how the fleet is, if that has changed.
    pub(super) fn announce_fleet(&mut self, actions: &mut Vec<Action>) {
        let fleet = self.fleet_status();
        if std::mem::replace(&mut self.announced_fleet, fleet) != fleet {
            let object = Object::Manager;
            let changed = vec![("Status".to_owned(), Value::Str(fleet.to_owned()))];
            emit(actions, Signal::PropertiesChanged { object, changed });
        }
    }

    /// The property `Status` of the manager.
    pub(super) const fn fleet_status(&self) -> &'static str {
        if self.online == 0 {
            "down"
        } else if self.online < self.order.len() {
            "degraded"
        } else {
            "up"
        }
    }
}
