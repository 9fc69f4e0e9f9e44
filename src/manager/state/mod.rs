//! What the manager knows and decides: plain data and synchronous code.
//!
//! No socket, no clock, no randomness, no task, nothing that iterates in an undefined order. The
//! contract is [`State::handle`] and [`State::next_deadline`]; what can come in and go out is
//! listed in [`event`]. The same events with the same readings of the clocks give the same
//! actions, byte for byte.
//!
//! - [`event`]: events, actions and the types they are made of
//! - `access`: private connections, and what they may do
//! - `bus`: our place on the bus
//! - `calls`: what each method of the public API does
//! - `peers`: connections of agents, their loss, whether they live
//! - `registration`: how a connection becomes a node
//! - `heartbeats`: what the nodes hear when there is nothing else
//! - `requests`: calls to agents that wait for an answer, each with a deadline
//! - `jobs`: the life of a job
//! - `listing`: the units, or unit files, of all nodes in one answer
//! - `metrics`: how long jobs and starts take, for who asked to be told
//! - `counters`: what happened how often
//! - `objects`: which objects exist, what is below them, their properties
//! - `clients`: who stands behind a caller's name
//! - `monitors`: who is told of which units
//! - `streams`: logs and output of commands, on their way to who asked
//! - `proxies`: units of one node that depend on units of another
//! - `reload`: what becomes of it all when the configuration is read again

mod access;
mod bus;
mod calls;
mod clients;
mod counters;
pub mod event;
mod heartbeats;
mod internal;
mod jobs;
mod listing;
mod metrics;
mod monitors;
mod objects;
mod peers;
mod proxies;
mod registration;
mod reload;
mod requests;
mod streams;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    bus::{CallError, error_name},
    core::{Instant, Level, Now},
    limits,
};

use self::{
    access::Privates,
    bus::Bus,
    clients::Clients,
    counters::Counters,
    event::{Action, Client, Event, PeerId, Signal},
    jobs::Jobs,
    listing::Listings,
    metrics::Metrics,
    monitors::Monitors,
    peers::Peer,
    proxies::Proxies,
    requests::Deadline,
    streams::Streams,
};

/// What the configuration decides about a manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The nodes that may register, in the order of the configuration.
    pub nodes: Vec<NodeSettings>,
    /// A node that was silent this long is offline; zero switches the check off.
    pub silence_limit: Duration,
    /// Time between heartbeats to each node; `None` for no heartbeats. Not zero.
    pub heartbeat_interval: Option<Duration>,
}

/// What the configuration decides about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettings {
    /// Its name.
    pub name: String,
    /// Names of the nodes on whose units its own may depend.
    pub may_depend_on: BTreeSet<String>,
}

impl From<&str> for NodeSettings {
    /// A node whose units depend on no other node.
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            may_depend_on: BTreeSet::new(),
        }
    }
}

/// Every deadline that a manager has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The periodic tick: watchdog, liveness of the nodes, connections that do not register.
    Tick,
    /// A heartbeat is due that does not wait for the tick.
    Heartbeat,
    /// The oldest request to an agent must have been answered.
    Request,
    /// The end of an attempt to reach the bus, or the next one.
    AttachBus,
    /// A lost node does not come back in time: what depends on its proxies ends.
    LostProxies,
}

/// A node of the configuration, or one that was in it before it was read again.
#[derive(Debug, Default)]
struct Node {
    name: String,
    /// Names of the nodes on whose units its own may depend.
    may_depend_on: BTreeSet<String>,
    /// The connection of its agent, while it is online.
    peer: Option<PeerId>,
    /// When the last message came, microseconds since 1970; 0 for never.
    last_seen_us: u64,
    /// The same moment on the monotonic clock.
    last_seen_monotonic: Instant,
    /// Its jobs that have not ended.
    jobs: usize,
}

impl Node {
    const fn status(&self) -> &'static str {
        if self.peer.is_some() {
            "online"
        } else {
            "offline"
        }
    }
}

/// The manager.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    /// A node keeps its place, the index by which all else knows it, for the life of the process.
    nodes: Vec<Node>,
    /// Places of the nodes of the configuration in its order, which is also that of every answer.
    order: Vec<usize>,
    /// The same by name.
    node_index: BTreeMap<String, usize>,
    peers: BTreeMap<PeerId, Peer>,
    /// Connections that have not registered, the oldest first.
    unregistered: VecDeque<PeerId>,
    /// Whether the last attempt to accept a connection failed: logged once, not ten times a second.
    accept_fails: bool,
    /// Deadlines of requests to agents, the next one first.
    deadlines: BTreeSet<Deadline>,
    jobs: Jobs,
    listings: Listings,
    monitors: Monitors,
    proxies: Proxies,
    streams: Streams,
    clients: Clients,
    privates: Privates,
    metrics: Metrics,
    counters: Counters,
    /// What the log is set to, for the properties that tell it.
    log_level: Level,
    log_target: String,
    /// The manager's property `Status` as clients know it.
    announced_fleet: &'static str,
    bus: Bus,
    bus_attempts: u32,
    bus_congested: bool,
    ready: bool,
    next_tick: Instant,
    /// When the next heartbeat is due, if any is wanted.
    heartbeat_due: Instant,
    /// Number of nodes that are online, and the one that was last shown.
    online: usize,
    shown_online: Option<usize>,
    /// Boot time minus monotonic time: it grows when the machine sleeps.
    slept: Duration,
}

impl State {
    /// A manager that has seen no event.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let nodes: Vec<Node> = settings
            .nodes
            .iter()
            .map(|node| Node {
                name: node.name.clone(),
                may_depend_on: node.may_depend_on.clone(),
                ..Node::default()
            })
            .collect();
        let node_index = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.name.clone(), index))
            .collect();
        let monitors = Monitors::new(nodes.len());
        Self {
            settings,
            order: (0..nodes.len()).collect(),
            nodes,
            node_index,
            peers: BTreeMap::new(),
            unregistered: VecDeque::new(),
            accept_fails: false,
            deadlines: BTreeSet::new(),
            jobs: Jobs::default(),
            listings: Listings::default(),
            monitors,
            proxies: Proxies::default(),
            streams: Streams::default(),
            clients: Clients::default(),
            privates: Privates::default(),
            metrics: Metrics::default(),
            counters: Counters::default(),
            log_level: Level::Info,
            log_target: String::new(),
            announced_fleet: "down",
            bus: Bus::Waiting(Instant::default()),
            bus_attempts: 0,
            bus_congested: false,
            ready: false,
            next_tick: Instant::default(),
            heartbeat_due: Instant::default(),
            online: 0,
            shown_online: None,
            slept: Duration::ZERO,
        }
    }

    /// Takes one event and appends what is to be done about it, in order.
    pub fn handle(&mut self, now: Now, event: Event, actions: &mut Vec<Action>) {
        self.notice_sleep(now);
        self.counters.count_event(&event);
        let first = actions.len();
        self.handle_event(now, event, actions);
        self.ask_unit_times(now, actions);
        self.counters.count_actions(&actions[first..]);
    }

    fn handle_event(&mut self, now: Now, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Started { last_job_id } => self.start(now, last_job_id, actions),
            Event::BusAttached => self.bus_attached(actions),
            Event::BusLost { reason } => self.bus_lost(now, &reason, actions),
            Event::BusNameRefused { name, reason } => {
                Self::bus_name_refused(&name, &reason, actions);
            }
            Event::BusCongested(congested) => self.bus_is_congested(congested, actions),
            Event::Call {
                call,
                object,
                method,
            } => {
                self.call(now, call, &object, method, actions);
            }
            Event::ClientKnown {
                client,
                credentials,
            } => self.client_known(now, &client, credentials, actions),
            Event::ClientLeft { client } => self.client_left(&Client::Bus(client), actions),
            Event::PrivateConnected {
                client,
                credentials,
                access,
            } => self.private_connected(client, credentials, access, actions),
            Event::PrivateClosed { client, reason } => {
                self.private_closed(client, &reason, actions);
            }
            Event::PeerConnected { peer, address, fd } => {
                self.peer_connected(now, peer, address, fd, actions);
            }
            Event::PeerMessage { peer, message } => self.peer_message(now, peer, message, actions),
            Event::PeerLost { peer, reason } | Event::PeerDropped { peer, reason } => {
                self.peer_lost(peer, &reason, actions);
            }
            Event::LogSettings { level, target } => self.log_set(level, target, actions),
            Event::Reload(settings) => self.reload(settings, actions),
            Event::QueueHighWater(marks) => self.counters.queues(marks),
            Event::AcceptFailed { reason } => self.accept_failed(&reason, actions),
            Event::Deadline => self.deadline(now, actions),
            Event::Stop => self.stop(actions),
        }
        self.ask_for_lists(now, actions);
        self.proxies.hold_lost(now);
    }

    /// When the next [`Event::Deadline`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        [
            Timer::Tick,
            Timer::Heartbeat,
            Timer::Request,
            Timer::AttachBus,
            Timer::LostProxies,
        ]
        .into_iter()
        .filter_map(|timer| self.timer(timer))
        .min()
    }

    fn timer(&self, timer: Timer) -> Option<Instant> {
        match timer {
            Timer::Tick => Some(self.next_tick),
            Timer::Heartbeat => self.heartbeat_timer(),
            Timer::Request => self.deadlines.first().map(|deadline| deadline.at),
            Timer::LostProxies => self.proxies.next_deadline(),
            Timer::AttachBus => match self.bus {
                Bus::Waiting(until) | Bus::Attaching(until) => Some(until),
                Bus::Attached => None,
            },
        }
    }

    fn start(&mut self, now: Now, last_job_id: u32, actions: &mut Vec<Action>) {
        self.jobs.start_after(last_job_id);
        self.next_tick = now.monotonic + limits::TICK;
        self.slept = now.boottime.since(now.monotonic);
        self.warn_of_no_nodes(actions);
        self.attach_bus(now, actions);
    }

    fn deadline(&mut self, now: Now, actions: &mut Vec<Action>) {
        match self.bus {
            Bus::Waiting(until) if until <= now.monotonic => self.attach_bus(now, actions),
            Bus::Attaching(until) if until <= now.monotonic => {
                self.bus_lost(now, "it did not answer in time", actions);
            }
            Bus::Waiting(_) | Bus::Attaching(_) | Bus::Attached => {}
        }
        self.expire_requests(now, actions);
        self.drop_lost_proxies(now, actions);
        self.heartbeat_if_due(now, actions);
        if self.next_tick <= now.monotonic {
            self.notice_stall(now);
            self.next_tick = now.monotonic + limits::TICK;
            actions.push(Action::Watchdog);
            self.check_peers(now, actions);
            self.ask_for_lists_again();
            self.show_status(actions);
        }
    }

    /// After the machine slept, every peer gets one full threshold to be heard again.
    fn notice_sleep(&mut self, now: Now) {
        let slept = now.boottime.since(now.monotonic);
        if slept > self.slept + limits::TICK {
            self.peers
                .values_mut()
                .for_each(|peer| peer.heard_at = now.monotonic);
        }
        self.slept = slept;
    }

    /// While this process could not run it heard nobody: that time is no silence of the peers,
    /// whose messages wait to be read.
    fn notice_stall(&mut self, now: Now) {
        let late = now.monotonic.since(self.next_tick);
        if late >= limits::TICK {
            for peer in self.peers.values_mut() {
                peer.heard_at = now.monotonic.min(peer.heard_at + late);
                peer.connected_at = now.monotonic.min(peer.connected_at + late);
            }
        }
    }

    /// The process counts as started once the first attempt at the bus has ended either way: a
    /// boot must not wait for a bus that is not there.
    fn become_ready(&mut self, actions: &mut Vec<Action>) {
        if !self.ready {
            self.ready = true;
            actions.push(Action::Ready);
            self.show_status(actions);
        }
    }

    /// Shown once a tick, however many nodes come or go.
    fn show_status(&mut self, actions: &mut Vec<Action>) {
        if self.shown_online != Some(self.online) {
            self.shown_online = Some(self.online);
            let (online, nodes) = (self.online, self.order.len());
            actions.push(Action::Status(format!("{online} of {nodes} nodes online")));
        }
    }

    /// The jobs of a manager that stops end for its clients too.
    fn stop(&mut self, actions: &mut Vec<Action>) {
        for call in self.clients.forget_all(actions) {
            let error = CallError::new(error_name::FAILED, "The manager stops");
            requests::reply_error(call, error, actions);
        }
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            actions.push(Action::Close(peer));
            self.forget_peer(peer, "the manager stops", actions);
        }
        actions.push(Action::Exit { status: 0 });
    }
}

/// Names and errors in a line may come from a peer, which must not be able to forge another line
/// or to make a long one.
fn log(actions: &mut Vec<Action>, level: Level, text: impl Into<String>) {
    let mut text = text.into();
    requests::cut(&mut text, limits::LOG_MESSAGE_BYTES);
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    actions.push(Action::Log(level, line));
}

fn emit(actions: &mut Vec<Action>, signal: Signal) {
    actions.push(Action::Emit(signal));
}
