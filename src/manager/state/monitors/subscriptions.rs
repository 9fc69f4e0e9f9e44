//! What the methods of a monitor do.

use std::collections::BTreeSet;

use super::{
    super::{
        calls::unknown_object,
        clients::Held,
        event::{Action, Call, Client, MonitorMethod, Object, Signal},
        requests::{reply, reply_error},
    },
    State, Subscription,
    watch::{EVERY_UNIT, Watcher},
};
use crate::{
    bus::{Body, CallError, error_name, names::is_unit_name},
    limits,
};

/// The node of a subscription to all nodes.
const EVERY_NODE: &str = "*";

impl State {
    /// A client calls a method of a monitor, which only the owner and root may. Who is not known
    /// waits until the bus has told.
    pub(in super::super) fn call_monitor(
        &mut self,
        call: Call,
        id: u32,
        method: MonitorMethod,
        actions: &mut Vec<Action>,
    ) {
        if self.monitors.is_owner(id, &call.client) {
            return self.use_monitor(call, id, method, actions);
        }
        match self.uid(&call.client) {
            Some(uid) => self.use_foreign_monitor(call, (id, method), Some(uid), actions),
            None => {
                if let Err(call) = self.clients.hold(call, Held::Monitor(id, method), actions) {
                    let text = "Too many callers wait to be looked up";
                    reply_error(
                        call,
                        CallError::new(error_name::LIMITS_EXCEEDED, text),
                        actions,
                    );
                }
            }
        }
    }

    /// A caller who does not own the monitor is known, or has left.
    pub(in super::super) fn use_foreign_monitor(
        &mut self,
        call: Call,
        (id, method): (u32, MonitorMethod),
        uid: Option<u32>,
        actions: &mut Vec<Action>,
    ) {
        if uid == Some(0) {
            self.use_monitor(call, id, method, actions);
        } else {
            let text = format!("Monitor {id} belongs to another client");
            reply_error(
                call,
                CallError::new(error_name::ACCESS_DENIED, text),
                actions,
            );
        }
    }

    fn use_monitor(
        &mut self,
        call: Call,
        id: u32,
        method: MonitorMethod,
        actions: &mut Vec<Action>,
    ) {
        if !self.monitors.exists(id) {
            return reply_error(call, unknown_object(&Object::Monitor(id)), actions);
        }
        let number = |number: u32| Body::of(&(number,));
        let done = |()| Body::default();
        let result = match method {
            MonitorMethod::Subscribe { node, units } => {
                // The answer tells the number by which the client knows what follows.
                match self.check_subscription(id, &node, units) {
                    Ok(subscription) => {
                        return self.subscribe(call, id, subscription, actions);
                    }
                    Err(error) => Err(error),
                }
            }
            MonitorMethod::Unsubscribe(subscription) => {
                return self.unsubscribe(call, (id, subscription), actions);
            }
            MonitorMethod::Close => {
                reply(call, Body::default(), actions);
                return self.close_monitor(id, actions);
            }
            MonitorMethod::AddPeer(name) => self.add_peer(id, name, actions).map(number),
            MonitorMethod::RemovePeer { peer, reason } => {
                self.remove_peer(id, peer, reason, actions).map(done)
            }
        };
        match result {
            Ok(body) => reply(call, body, actions),
            Err(error) => reply_error(call, error, actions),
        }
    }

    fn check_subscription(
        &self,
        id: u32,
        node: &str,
        units: Vec<String>,
    ) -> Result<Subscription, CallError> {
        let node = match self.node_index.get(node) {
            Some(index) => Some(*index),
            None if node == EVERY_NODE => None,
            None => {
                let text = format!("Node '{node}' not found");
                return Err(CallError::new(error_name::SERVICE_UNKNOWN, text));
            }
        };
        check_units(&units)?;
        let units: BTreeSet<String> = units.into_iter().collect();
        let monitor = self.monitors.by_id.get(&id);
        let count = monitor.map_or(0, |monitor| monitor.subscriptions.len());
        if count >= limits::MAX_SUBSCRIPTIONS_PER_MONITOR {
            let text = format!("The monitor has {count} subscriptions, the most that are allowed");
            return Err(CallError::new(error_name::LIMITS_EXCEEDED, text));
        }
        let subscription = Subscription { node, units };
        let more = self.places(&subscription);
        let own = monitor.map_or(0, |monitor| monitor.watched);
        for (whose, watched, most) in [
            ("The monitor watches", own, limits::MAX_WATCHED_PER_MONITOR),
            (
                "All monitors watch",
                self.monitors.watched,
                limits::MAX_WATCHED,
            ),
        ] {
            if watched + more > most {
                let text = format!(
                    "{whose} {watched} units of single nodes; {more} more would be above {most}, \
                     the most that are allowed"
                );
                return Err(CallError::new(error_name::LIMITS_EXCEEDED, text));
            }
        }
        Ok(subscription)
    }

    /// How many pairs of node and unit a subscription has.
    fn places(&self, subscription: &Subscription) -> usize {
        let nodes = subscription.node.map_or(self.nodes.len(), |_| 1);
        nodes * subscription.units.len()
    }

    /// Indexes of the nodes of a subscription.
    fn nodes_of(&self, subscription: &Subscription) -> std::ops::Range<usize> {
        match subscription.node {
            Some(node) => node..node + 1,
            None => 0..self.nodes.len(),
        }
    }

    fn subscribe(
        &mut self,
        call: Call,
        id: u32,
        subscription: Subscription,
        actions: &mut Vec<Action>,
    ) {
        let number = self.next_subscription(id);
        reply(call, Body::of(&(number,)), actions);
        let places = self.places(&subscription);
        for node in self.nodes_of(&subscription) {
            for unit in &subscription.units {
                let is_first = self.monitors.watches[node].add(unit, (id, number));
                if let Some(peer) = self.nodes[node].peer.filter(|_| is_first) {
                    self.tell_agent(peer, "Subscribe", unit, actions);
                }
            }
            self.monitors.to_list.insert(node);
        }
        self.monitors.watched += places;
        if let Some(monitor) = self.monitors.by_id.get_mut(&id) {
            monitor.watched += places;
            monitor.subscriptions.insert(number, subscription);
        }
    }

    fn next_subscription(&mut self, id: u32) -> u32 {
        let monitors = &mut self.monitors;
        let monitor = monitors.by_id.get(&id);
        loop {
            monitors.last_subscription = monitors.last_subscription.checked_add(1).unwrap_or(1);
            let number = monitors.last_subscription;
            if monitor.is_none_or(|monitor| !monitor.subscriptions.contains_key(&number)) {
                return number;
            }
        }
    }

    fn unsubscribe(&mut self, call: Call, (id, number): Watcher, actions: &mut Vec<Action>) {
        let monitor = self.monitors.by_id.get_mut(&id);
        let removed = monitor.and_then(|monitor| monitor.subscriptions.remove(&number));
        let Some(subscription) = removed else {
            let text = format!("Subscription '{number}' not found");
            let error = CallError::new(error_name::NO_SUCH_SUBSCRIPTION, text);
            return reply_error(call, error, actions);
        };
        reply(call, Body::default(), actions);
        let places = self.places(&subscription);
        if let Some(monitor) = self.monitors.by_id.get_mut(&id) {
            monitor.watched -= places;
        }
        for node in self.nodes_of(&subscription) {
            let units = subscription.units.iter();
            let watch = &self.monitors.watches[node];
            let tells = units.flat_map(|unit| watch.before_end(unit, (id, number)));
            let mut tells: Vec<_> = tells.collect();
            tells.sort_by(|one, other| one.unit.cmp(&other.unit));
            tells.dedup();
            self.tell(node, tells, actions);
        }
        self.end_subscription((id, number), &subscription, actions);
    }

    /// What is left to do for a subscription that its monitor no longer has.
    pub(super) fn end_subscription(
        &mut self,
        watcher: Watcher,
        subscription: &Subscription,
        actions: &mut Vec<Action>,
    ) {
        self.monitors.watched -= self.places(subscription);
        for node in self.nodes_of(subscription) {
            for unit in &subscription.units {
                let was_last = self.monitors.watches[node].remove(unit, watcher);
                if let Some(peer) = self.nodes[node].peer.filter(|_| was_last) {
                    self.tell_agent(peer, "Unsubscribe", unit, actions);
                }
            }
        }
    }

    fn add_peer(
        &mut self,
        id: u32,
        name: String,
        actions: &mut Vec<Action>,
    ) -> Result<u32, CallError> {
        if !is_unique_name(&name) {
            let text = format!("Peer name '{name}' is not a valid unique bus name");
            return Err(CallError::new(error_name::INVALID_ARGS, text));
        }
        let Some(monitor) = self.monitors.by_id.get_mut(&id) else {
            return Err(unknown_object(&Object::Monitor(id)));
        };
        let client = Client::Bus(name.clone());
        if monitor.owner == client || monitor.peers.values().any(|peer| *peer == name) {
            let text = format!("Peer name '{name}' has already been added");
            return Err(CallError::new(error_name::INVALID_ARGS, text));
        }
        let count = monitor.peers.len();
        if count >= limits::MAX_PEERS_PER_MONITOR {
            let text = format!("The monitor has {count} peers, the most that are allowed");
            return Err(CallError::new(error_name::LIMITS_EXCEEDED, text));
        }
        loop {
            monitor.last_peer = monitor.last_peer.checked_add(1).unwrap_or(1);
            if !monitor.peers.contains_key(&monitor.last_peer) {
                break;
            }
        }
        let number = monitor.last_peer;
        monitor.peers.insert(number, name);
        self.monitors.need(&client, actions);
        Ok(number)
    }

    fn remove_peer(
        &mut self,
        id: u32,
        number: u32,
        reason: String,
        actions: &mut Vec<Action>,
    ) -> Result<(), CallError> {
        let monitor = self.monitors.by_id.get_mut(&id);
        let removed = monitor.and_then(|monitor| {
            let client = monitor.peers.remove(&number)?;
            Some((client, monitor.dialect))
        });
        let Some((client, dialect)) = removed else {
            let text = format!("Peer with ID '{number}' not found");
            return Err(CallError::new(error_name::INVALID_ARGS, text));
        };
        let client = Client::Bus(client);
        self.monitors.need_no_longer(&client, actions);
        let signal = Signal::PeerRemoved {
            monitor: id,
            reason,
        };
        actions.push(Action::EmitTo {
            client,
            dialect,
            signal,
        });
        Ok(())
    }
}

fn check_units(units: &[String]) -> Result<(), CallError> {
    if units.is_empty() {
        let text = "The list of units is empty";
        return Err(CallError::new(error_name::INVALID_ARGS, text));
    }
    if units.len() > limits::MAX_UNITS_PER_LIST {
        let (count, most) = (units.len(), limits::MAX_UNITS_PER_LIST);
        let text = format!("The list has {count} units; the most allowed is {most}");
        return Err(CallError::new(error_name::LIMITS_EXCEEDED, text));
    }
    let is_right = |unit: &&String| *unit == EVERY_UNIT || is_unit_name(unit);
    match units.iter().find(|unit| !is_right(unit)) {
        Some(unit) => {
            let text = format!("'{unit}' is neither the name of a unit nor '*'");
            Err(CallError::new(error_name::INVALID_ARGS, text))
        }
        None => Ok(()),
    }
}

/// Whether a bus can have given this name to a connection (D-Bus Specification, "Bus names").
fn is_unique_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_element = |element: &str| !element.is_empty() && element.bytes().all(is_allowed);
    let elements = name.strip_prefix(':').unwrap_or_default();
    name.len() <= limits::MAX_NAME && elements.contains('.') && elements.split('.').all(is_element)
}
