//! Monitors: who wants to be told of which units, and what they are told.
//!
//! - `watch`: one node, and what its watchers have been told
//! - `unit`: a unit as monitors know it
//! - `subscriptions`: what the methods of a monitor do
//!
//! A monitor belongs to the client that created it and ends with it. On the way to an agent
//! there is one subscription for each unit, however many monitors watch it.

mod subscriptions;
mod unit;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    State,
    event::{Action, Call, Client, Dialect, PeerId, Signal, ToPeer, UnitChange},
    log,
    requests::{Purpose, reply, reply_error},
};
use crate::{
    bus::{Body, CallError, ObjectPath, error_name, names},
    core::{Level, Now},
    limits,
};

use self::watch::{Tell, Watch};

/// All monitors, and what is watched for them.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    by_id: BTreeMap<u32, Monitor>,
    last_monitor: u32,
    last_subscription: u32,
    /// By index of the node.
    watches: Vec<Watch>,
    /// Pairs of node and unit in all subscriptions.
    watched: usize,
    /// Owners and peers on the bus by their unique names, owners of streams too, and how often each
    /// is one.
    clients: BTreeMap<String, usize>,
    /// Nodes whose units are to be listed at once, and those at the next tick because it failed.
    to_list: BTreeSet<usize>,
    to_list_later: BTreeSet<usize>,
}

#[derive(Debug)]
struct Monitor {
    owner: Client,
    /// What its creator speaks, in which all are told.
    dialect: Dialect,
    /// Unique names of others who get what the owner gets, by number.
    peers: BTreeMap<u32, String>,
    last_peer: u32,
    subscriptions: BTreeMap<u32, Subscription>,
    /// Pairs of node and unit in its subscriptions.
    watched: usize,
}

#[derive(Debug)]
struct Subscription {
    /// Index of the node; `None` for all nodes.
    node: Option<usize>,
    units: BTreeSet<String>,
}

impl Monitors {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            watches: (0..nodes).map(|_| Watch::default()).collect(),
            ..Self::default()
        }
    }

    pub(super) fn exists(&self, monitor: u32) -> bool {
        self.by_id.contains_key(&monitor)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.by_id.keys().copied()
    }

    pub(super) fn is_owner(&self, monitor: u32, client: &Client) -> bool {
        let monitor = self.by_id.get(&monitor);
        monitor.is_some_and(|monitor| monitor.owner == *client)
    }

    /// We have to know when `client` leaves the bus. The end of a private connection is always
    /// told.
    pub(super) fn need(&mut self, client: &Client, actions: &mut Vec<Action>) {
        let Client::Bus(client) = client else {
            return;
        };
        let count = self.clients.entry(client.clone()).or_default();
        *count += 1;
        if *count == 1 {
            actions.push(Action::WatchClient(client.clone()));
        }
    }

    pub(super) fn need_no_longer(&mut self, client: &Client, actions: &mut Vec<Action>) {
        let Client::Bus(client) = client else {
            return;
        };
        if let Some(count) = self.clients.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(client);
                actions.push(Action::UnwatchClient(client.clone()));
            }
        }
    }

    fn next_monitor(&mut self) -> u32 {
        loop {
            self.last_monitor = self.last_monitor.checked_add(1).unwrap_or(1);
            if !self.by_id.contains_key(&self.last_monitor) {
                return self.last_monitor;
            }
        }
    }
}

impl State {
    /// `Manager.CreateMonitor`
    pub(super) fn create_monitor(&mut self, call: Call, actions: &mut Vec<Action>) {
        let monitors = &self.monitors.by_id;
        let own = monitors
            .values()
            .filter(|monitor| monitor.owner == call.client);
        let own = own.count();
        if own >= limits::MAX_MONITORS_PER_CLIENT {
            let text = format!(
                "{} has {own} monitors, the most that are allowed",
                call.client
            );
            return reply_error(
                call,
                CallError::new(error_name::LIMITS_EXCEEDED, text),
                actions,
            );
        }
        if monitors.len() >= limits::MAX_MONITORS {
            let text = format!(
                "There are {} monitors, the most that are allowed",
                monitors.len()
            );
            return reply_error(
                call,
                CallError::new(error_name::LIMITS_EXCEEDED, text),
                actions,
            );
        }
        let id = self.monitors.next_monitor();
        let monitor = Monitor {
            owner: call.client.clone(),
            dialect: call.dialect,
            peers: BTreeMap::new(),
            last_peer: 0,
            subscriptions: BTreeMap::new(),
            watched: 0,
        };
        self.monitors.by_id.insert(id, monitor);
        self.monitors.need(&call.client, actions);
        self.log_request(&call.client, format!("Monitor {id}"), actions);
        let path = ObjectPath(names::monitor_path(id));
        reply(call, Body::of(&(path,)), actions);
    }

    /// Ends a monitor; its peers are told, unless it was their own end.
    fn close_monitor(&mut self, id: u32, actions: &mut Vec<Action>) {
        let Some(monitor) = self.monitors.by_id.remove(&id) else {
            return;
        };
        for (number, subscription) in monitor.subscriptions {
            self.end_subscription((id, number), &subscription, actions);
        }
        for client in monitor.peers.into_values().map(Client::Bus) {
            let reason = "monitor closed".to_owned();
            let signal = Signal::PeerRemoved {
                monitor: id,
                reason,
            };
            self.monitors.need_no_longer(&client, actions);
            actions.push(Action::EmitTo {
                client,
                dialect: monitor.dialect,
                signal,
            });
        }
        self.monitors.need_no_longer(&monitor.owner, actions);
        log(actions, Level::Debug, format!("Monitor {id} closed"));
    }

    /// Somebody has left, who may be an owner or a peer of a monitor.
    pub(super) fn leave_monitors(&mut self, client: &Client, actions: &mut Vec<Action>) {
        if let Client::Bus(name) = client
            && !self.monitors.clients.contains_key(name)
        {
            return;
        }
        for id in self.monitors.ids().collect::<Vec<_>>() {
            let Some(monitor) = self.monitors.by_id.get_mut(&id) else {
                continue;
            };
            let peers = monitor.peers.len();
            monitor
                .peers
                .retain(|_, peer| !matches!(client, Client::Bus(name) if name == peer));
            for _ in monitor.peers.len()..peers {
                self.monitors.need_no_longer(client, actions);
            }
            if self.monitors.is_owner(id, client) {
                self.close_monitor(id, actions);
            }
        }
    }

    /// The bus is gone with all owners and peers that are on it.
    pub(super) fn end_monitors_on_bus(&mut self, actions: &mut Vec<Action>) {
        self.monitors.clients.clear();
        for (id, mut monitor) in std::mem::take(&mut self.monitors.by_id) {
            if !monitor.owner.is_on_bus() {
                monitor.peers.clear();
                self.monitors.by_id.insert(id, monitor);
                continue;
            }
            for (number, subscription) in monitor.subscriptions {
                self.end_subscription((id, number), &subscription, actions);
            }
        }
    }

    // Nodes

    /// There is another node, which no subscription can have named.
    pub(super) fn watch_new_node(&mut self) {
        let mut watch = Watch::default();
        for (&id, monitor) in &mut self.monitors.by_id {
            for (&number, subscription) in &monitor.subscriptions {
                if subscription.node.is_some() {
                    continue;
                }
                for unit in &subscription.units {
                    watch.add(unit, (id, number));
                }
                monitor.watched += subscription.units.len();
                self.monitors.watched += subscription.units.len();
            }
        }
        self.monitors.watches.push(watch);
    }

    /// A node is online: its agent is asked to watch what is watched.
    pub(super) fn watch_node(&mut self, node: usize, peer: PeerId, actions: &mut Vec<Action>) {
        let watched: Vec<String> = self.monitors.watches[node].watched().cloned().collect();
        for unit in watched {
            self.tell_agent(peer, "Subscribe", &unit, actions);
        }
        self.monitors.to_list.insert(node);
    }

    /// Calls a method of an agent for a unit, which asks for no answer. Returns our number of it.
    pub(super) fn tell_agent(
        &mut self,
        peer: PeerId,
        method: &str,
        unit: &str,
        actions: &mut Vec<Action>,
    ) -> u32 {
        let method = method.to_owned();
        let arguments = Body::of(&(unit,));
        let message = ToPeer::CallWithoutReply { method, arguments };
        self.send(peer, message, actions)
    }

    /// A node is lost.
    pub(super) fn unwatch_node(&mut self, node: usize, actions: &mut Vec<Action>) {
        let tells = self.monitors.watches[node].lost(self.bus_congested);
        self.tell(node, tells, actions);
    }

    /// The agent `peer` told of a change of a unit. It can speak of its own node only.
    pub(super) fn unit_changed(
        &mut self,
        peer: PeerId,
        unit: &str,
        change: UnitChange,
        actions: &mut Vec<Action>,
    ) {
        if let Some(node) = self.peers.get(&peer).and_then(|peer| peer.node) {
            self.target_changed(node, unit, &change, actions);
            if let UnitChange::Properties { changed, .. } = &change
                && changed.bytes.len() > limits::MAX_TOLD_PROPERTIES
            {
                let bytes = changed.bytes.len();
                let text = format!("{bytes} bytes of properties of {unit} are not told: too large");
                log(actions, Level::Warn, text);
                return;
            }
            let tells = self.monitors.watches[node].changed(unit, change, self.bus_congested);
            self.tell(node, tells, actions);
        }
    }

    fn tell(&self, node: usize, tells: Vec<Tell>, actions: &mut Vec<Action>) {
        let name = &self.nodes[node].name;
        for Tell {
            monitor,
            unit,
            change,
        } in tells
        {
            let Some(told) = self.monitors.by_id.get(&monitor) else {
                continue;
            };
            let dialect = told.dialect;
            let is_for_all =
                dialect == Dialect::Hirte && !matches!(change, UnitChange::Properties { .. });
            let node = name.clone();
            let signal = Signal::Unit {
                monitor,
                node,
                unit,
                change,
            };
            if is_for_all {
                actions.push(Action::Emit(signal));
            } else {
                let peers = told.peers.values().cloned().map(Client::Bus);
                let clients: BTreeSet<Client> = peers.chain([told.owner.clone()]).collect();
                actions.extend(clients.into_iter().map(|client| Action::EmitTo {
                    client,
                    dialect,
                    signal: signal.clone(),
                }));
            }
        }
    }

    // Units that are watched for proxies

    /// Number of the list of units that tells how `unit` is.
    pub(super) fn watch_for_proxies(
        &mut self,
        node: usize,
        unit: &str,
        actions: &mut Vec<Action>,
    ) -> u64 {
        let watch = &mut self.monitors.watches[node];
        let is_first = watch.add_proxied(unit);
        let list = watch.next_list();
        if let Some(peer) = self.nodes[node].peer.filter(|_| is_first) {
            self.tell_agent(peer, "Subscribe", unit, actions);
        }
        self.monitors.to_list.insert(node);
        list
    }

    pub(super) fn unwatch_for_proxies(
        &mut self,
        node: usize,
        unit: &str,
        actions: &mut Vec<Action>,
    ) {
        let was_last = self.monitors.watches[node].remove_proxied(unit);
        if let Some(peer) = self.nodes[node].peer.filter(|_| was_last) {
            self.tell_agent(peer, "Unsubscribe", unit, actions);
        }
    }

    /// What tells how a watched unit is; nothing if it is not loaded.
    pub(super) fn snapshot_of(&self, node: usize, unit: &str) -> Vec<UnitChange> {
        let unit = self.monitors.watches[node].unit(unit);
        unit.map_or_else(Vec::new, unit::snapshot)
    }

    /// What tells that a watched unit is lost with its node, and number of the list of units that
    /// tells how it is when the node is back.
    pub(super) fn loss_of(&self, node: usize, unit: &str) -> (Vec<UnitChange>, u64) {
        let watch = &self.monitors.watches[node];
        let changes = watch.unit(unit).map_or_else(Vec::new, unit::loss);
        (changes, watch.next_list())
    }

    // Lists

    /// Asks for the lists of units that somebody waits for. At most one of each node is awaited.
    pub(super) fn ask_for_lists(&mut self, now: Now, actions: &mut Vec<Action>) {
        while let Some(node) = self.monitors.to_list.pop_first() {
            let Some(peer) = self.nodes[node].peer else {
                continue;
            };
            if let Some(list) = self.monitors.watches[node].ask_list() {
                let purpose = Purpose::Watch { node, list };
                self.request(now, peer, ("ListUnits", Body::default()), purpose, actions);
            }
        }
    }

    /// The units of a node were listed for its watchers, or could not be.
    pub(super) fn watched_units_listed(
        &mut self,
        (node, list): (usize, u64),
        answer: Result<Body, CallError>,
        actions: &mut Vec<Action>,
    ) {
        let watch = &mut self.monitors.watches[node];
        let Some(is_wanted_again) = watch.list_ended(list) else {
            return;
        };
        if is_wanted_again {
            self.monitors.to_list.insert(node);
        }
        let tells = answer.map_err(|error| error.to_string()).and_then(|body| {
            let listed = watch.listed(&body, self.bus_congested);
            listed.map_err(|malformed| malformed.to_string())
        });
        match tells {
            Ok(tells) => {
                self.tell(node, tells, actions);
                self.target_listed(node, list, actions);
            }
            Err(error) => {
                let name = &self.nodes[node].name;
                let text = format!("The units of node '{name}' could not be listed: {error}");
                log(actions, Level::Debug, text);
                self.monitors.to_list_later.insert(node);
            }
        }
    }

    /// The part of the tick that asks again what could not be answered.
    pub(super) fn ask_for_lists_again(&mut self) {
        self.monitors
            .to_list
            .append(&mut self.monitors.to_list_later);
    }

    /// The bus takes messages again: whoever missed something gets a snapshot.
    pub(super) fn bus_relieved(&mut self, actions: &mut Vec<Action>) {
        for node in 0..self.nodes.len() {
            if !self.monitors.watches[node].needs_list() {
                continue;
            }
            if self.nodes[node].peer.is_some() {
                self.monitors.to_list.insert(node);
            } else {
                self.unwatch_node(node, actions);
            }
        }
    }
}
