//! Proxies over faults: a manager and agents of three nodes, with connections that are lost at any
//! moment. Whatever happens, what the nodes run in the end is what their proxies need, and each
//! proxy knows it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::{
    bus::samples::list_of_units,
    manager::state::{
        NodeSettings,
        event::{Reason, UnitChange},
    },
};

const NODES: [&str; 3] = ["node-0", "node-1", "node-2"];
const UNITS: [&str; 2] = ["a.service", "b.service"];
const SEEDS: u64 = 1_000;
const STEPS: usize = 120;

/// A node and its agent, which behaves as that of the C program, or as ours.
#[derive(Default)]
struct Agent {
    /// It does not start what has ended while it had no manager, but tells that.
    is_ours: bool,
    kept: BTreeSet<&'static str>,
    ended: BTreeSet<&'static str>,
    peer: Option<PeerId>,
    /// By target and unit: the number in the path, and whether the proxy has succeeded.
    proxies: BTreeMap<(usize, &'static str), (u32, bool)>,
    last_proxy: u32,
    /// Units that run, and those that run because proxies need them.
    active: BTreeSet<&'static str>,
    needed: BTreeSet<&'static str>,
    subscribed: BTreeSet<&'static str>,
    /// Messages on their way to it, and from it.
    inbox: VecDeque<Sent>,
    outbox: VecDeque<FromPeer>,
}

struct Fleet {
    manager: Manager,
    agents: [Agent; 3],
    last_peer: PeerId,
    random: u64,
    /// What the manager that runs has asked each node to run.
    asked: BTreeSet<(usize, &'static str)>,
    ever_asked: BTreeSet<(usize, &'static str)>,
    has_restarted: bool,
}

fn known(name: &str) -> &'static str {
    UNITS.into_iter().find(|unit| *unit == name).unwrap()
}

fn proxy_path(number: u32) -> String {
    format!("/org/containers/hirte/internal/proxy/{number}")
}

impl Agent {
    fn say(&mut self, message: FromPeer) {
        if self.peer.is_some() {
            self.outbox.push_back(message);
        }
    }

    fn announce(&mut self, (target, unit): (usize, &str), number: u32) {
        self.say(FromPeer::ProxyNew {
            target: NODES[target].to_owned(),
            unit: unit.to_owned(),
            path: proxy_path(number),
        });
    }

    fn withdraw(&mut self, (target, unit): (usize, &'static str)) {
        if self.proxies.remove(&(target, unit)).is_some() {
            self.say(FromPeer::ProxyRemoved {
                target: NODES[target].to_owned(),
                unit: unit.to_owned(),
            });
        }
    }

    fn tell(&mut self, unit: &str, change: UnitChange) {
        if self.subscribed.contains(unit) {
            let unit = unit.to_owned();
            self.say(FromPeer::Unit { unit, change });
        }
    }

    fn tell_active(&mut self, unit: &str, reason: Reason) {
        self.tell(unit, UnitChange::New { reason });
        let (active, sub) = ("active".to_owned(), "running".to_owned());
        self.tell(
            unit,
            UnitChange::State {
                active,
                sub,
                reason,
            },
        );
    }

    /// A unit ends, and with it what binds to it.
    fn end(&mut self, unit: &'static str, active: &str) {
        self.needed.remove(unit);
        if self.kept.remove(unit) {
            self.ended.insert(unit);
        }
        if self.active.remove(unit) {
            let (active, sub) = (active.to_owned(), "dead".to_owned());
            let reason = Reason::Real;
            self.tell(
                unit,
                UnitChange::State {
                    active,
                    sub,
                    reason,
                },
            );
        }
    }

    fn handle(
        &mut self,
        Sent {
            serial, message, ..
        }: Sent,
    ) {
        match message {
            ToPeer::CallWithoutReply { method, arguments } => {
                let unit = known(arguments.first_str().unwrap());
                match method.as_str() {
                    "StartDep" if self.tells_earlier_end(unit) => {}
                    "StartDep" => {
                        self.needed.insert(unit);
                        if self.active.insert(unit) {
                            self.tell_active(unit, Reason::Real);
                        }
                    }
                    "StopDep" => {
                        self.end(unit, "inactive");
                        self.ended.remove(unit);
                    }
                    // It says nothing to a manager that restarted.
                    "Subscribe" => {
                        if self.subscribed.insert(unit) && self.active.contains(unit) {
                            self.tell_active(unit, Reason::Virtual);
                        }
                    }
                    _ => drop(self.subscribed.remove(unit)),
                }
            }
            ToPeer::Call { .. } => {
                let units: Vec<_> = UNITS
                    .into_iter()
                    .map(|unit| {
                        if self.active.contains(unit) {
                            (unit, "active", "running")
                        } else {
                            (unit, "inactive", "dead")
                        }
                    })
                    .collect();
                let (reply_serial, body) = (serial, list_of_units(&units));
                self.say(FromPeer::Return { reply_serial, body });
            }
            ToPeer::Proxy {
                path,
                method,
                arguments,
            } => self.proxy_told(serial, &path, &method, &arguments),
            ToPeer::Ping => self.say(FromPeer::Return {
                reply_serial: serial,
                body: Body::default(),
            }),
            _ => {}
        }
    }

    /// Whether the unit has ended since it was last asked for, which is told.
    fn tells_earlier_end(&mut self, unit: &'static str) -> bool {
        self.kept.remove(unit);
        let has_ended = self.ended.remove(unit) && !self.active.contains(unit);
        if has_ended {
            let reason = Reason::Real;
            let (active, sub) = ("inactive".to_owned(), "dead".to_owned());
            for change in [
                UnitChange::New { reason },
                UnitChange::State {
                    active,
                    sub,
                    reason,
                },
                UnitChange::Removed { reason },
            ] {
                let unit = unit.to_owned();
                self.say(FromPeer::Unit { unit, change });
            }
        }
        has_ended
    }

    /// Its manager is gone.
    fn lose_manager(&mut self) {
        self.peer = None;
        self.inbox.clear();
        self.outbox.clear();
        if self.is_ours {
            self.kept.extend(&self.needed);
        }
    }

    fn proxy_told(&mut self, reply_serial: u32, path: &str, method: &str, arguments: &Body) {
        let body = Body::default();
        self.say(FromPeer::Return { reply_serial, body });
        let mut proxies = self.proxies.iter();
        let found = proxies.find(|(_, (number, _))| proxy_path(*number) == path);
        let Some((&key, &(number, has_succeeded))) = found else {
            return;
        };
        let words: Vec<String> = {
            let mut reader = arguments.reader();
            let count = arguments.signature.len();
            (0..count)
                .map(|_| reader.str().unwrap().to_owned())
                .collect()
        };
        let is_real = words.last().is_some_and(|word| word == "real");
        match (method, words[0].as_str()) {
            ("TargetStateChanged", "active") => {
                self.proxies.insert(key, (number, true));
            }
            ("TargetStateChanged", "inactive" | "failed") if is_real => self.withdraw(key),
            ("TargetRemoved", _) if is_real && !has_succeeded => self.withdraw(key),
            ("Error", reason) => panic!("{key:?} is refused: {reason}"),
            _ => {}
        }
    }
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let mut fleet = Self {
            manager: Manager::empty(),
            agents: Default::default(),
            last_peer: 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            asked: BTreeSet::new(),
            ever_asked: BTreeSet::new(),
            has_restarted: false,
        };
        for (node, agent) in fleet.agents.iter_mut().enumerate() {
            agent.is_ours = seed >> node & 1 == 1;
        }
        fleet.restart_manager();
        fleet.has_restarted = false;
        fleet
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % bound as u64).unwrap()
    }

    fn restart_manager(&mut self) {
        let now = self.manager.now;
        self.manager = Manager::empty();
        self.manager.now = now;
        let all = || NODES.iter().map(|&name| name.to_owned()).collect();
        let nodes = NODES.iter().map(|&name| NodeSettings {
            name: name.to_owned(),
            may_depend_on: all(),
        });
        self.manager.reload(nodes.collect());
        self.has_restarted = true;
        self.asked.clear();
        self.ever_asked.clear();
        for agent in &mut self.agents {
            agent.lose_manager();
        }
    }

    /// Takes over what the manager has sent.
    fn carry(&mut self, actions: &[Action]) {
        assert!(closed(actions).is_empty(), "an agent is closed");
        for sent in sent(actions) {
            let mut agents = self.agents.iter_mut().enumerate();
            let found = agents.find(|(_, agent)| agent.peer == Some(sent.peer));
            let (node, agent) = found.expect("a node that is online");
            if let ToPeer::CallWithoutReply { method, arguments } = &sent.message {
                let place = (node, known(arguments.first_str().unwrap()));
                match method.as_str() {
                    "StartDep" => {
                        self.asked.insert(place);
                        self.ever_asked.insert(place);
                    }
                    "StopDep" => {
                        assert!(self.ever_asked.contains(&place), "{place:?}");
                        self.asked.remove(&place);
                    }
                    _ => {}
                }
            }
            agent.inbox.push_back(sent);
        }
    }

    /// An agent takes its next message. What is sent in one write it handles before its systemd has
    /// done anything, so that a unit does not end between `StartDep` and `Subscribe`.
    fn deliver_to(&mut self, node: usize) -> bool {
        let agent = &mut self.agents[node];
        let Some(message) = agent.inbox.pop_front() else {
            return false;
        };
        let is_command = |sent: &mut Sent| matches!(sent.message, ToPeer::CallWithoutReply { .. });
        agent.handle(message);
        while let Some(message) = agent.inbox.pop_front_if(is_command) {
            agent.handle(message);
        }
        true
    }

    fn deliver_from(&mut self, node: usize) -> bool {
        let agent = &mut self.agents[node];
        let (Some(peer), Some(message)) = (agent.peer, agent.outbox.pop_front()) else {
            return false;
        };
        let actions = self.manager.message(peer, message);
        self.carry(&actions);
        true
    }

    fn deliver_all(&mut self) {
        while (0..NODES.len()).any(|node| self.deliver_to(node) || self.deliver_from(node)) {}
    }

    fn connect(&mut self, node: usize) {
        if self.agents[node].peer.is_some() {
            return;
        }
        self.last_peer += 1;
        self.agents[node].peer = Some(self.last_peer);
        let actions = self.manager.register(self.last_peer, NODES[node]);
        self.carry(&actions);
        for (key, (number, _)) in self.agents[node].proxies.clone() {
            self.agents[node].announce(key, number);
        }
    }

    fn lose(&mut self, node: usize) {
        let agent = &mut self.agents[node];
        let peer = agent.peer;
        agent.lose_manager();
        if let Some(peer) = peer {
            let actions = self.manager.lose(peer);
            self.carry(&actions);
        }
    }

    fn wait(&mut self, time: Duration) {
        // All agents live.
        let mut actions = Vec::new();
        let end = self.manager.now.monotonic + time;
        while self.manager.now.monotonic < end {
            self.manager.freeze(Duration::from_millis(500));
            for peer in self.agents.iter().filter_map(|agent| agent.peer) {
                self.manager.message(peer, FromPeer::Heartbeat);
            }
            actions.extend(self.manager.event(Event::Deadline));
        }
        self.carry(&actions);
    }

    fn step(&mut self, can_restart: bool) {
        let (node, target) = (self.below(3), self.below(3));
        let unit = UNITS[self.below(2)];
        match self.below(20) {
            0..=2 => {
                let agent = &mut self.agents[node];
                if !agent.proxies.contains_key(&(target, unit)) {
                    agent.last_proxy += 1;
                    let number = agent.last_proxy;
                    agent.proxies.insert((target, unit), (number, false));
                    agent.announce((target, unit), number);
                }
            }
            3 => self.agents[node].withdraw((target, unit)),
            4 => self.agents[node].end(unit, ["failed", "inactive"][target % 2]),
            5 => self.lose(node),
            6 | 7 => self.connect(node),
            8 => self.wait(Duration::from_secs(1 + target as u64 * 5)),
            9 if can_restart && target == 0 => self.restart_manager(),
            _ => {
                let _ = self.deliver_to(node) || self.deliver_from(target);
            }
        }
    }

    /// No more faults: all is as the proxies want it.
    fn settle(&mut self) {
        for node in 0..NODES.len() {
            self.connect(node);
        }
        for _ in 0..3 {
            self.deliver_all();
            self.wait(Duration::from_secs(10));
        }
        self.deliver_all();
        let mut needed = BTreeSet::new();
        for (node, agent) in self.agents.iter().enumerate() {
            for (key, (_, has_succeeded)) in &agent.proxies {
                assert!(has_succeeded, "{key:?} of {node} waits for ever");
                assert!(
                    self.agents[key.0].active.contains(key.1),
                    "{key:?} of {node}"
                );
                needed.insert(*key);
            }
        }
        let of_node = |(node, agent): (usize, &Agent)| {
            let units = agent.needed.clone().into_iter();
            units.map(move |unit| (node, unit)).collect::<Vec<_>>()
        };
        let runs: BTreeSet<_> = self.agents.iter().enumerate().flat_map(of_node).collect();
        // What vanished while there was no manager nobody has announced to it.
        assert!(needed.is_subset(&runs), "{needed:?} needed, {runs:?} run");
        assert!(
            self.has_restarted || needed == runs,
            "{runs:?} run, {needed:?} needed"
        );
        let proxies = self.agents.iter().map(|agent| agent.proxies.len()).sum();
        assert_eq!(
            self.manager.state.proxies.counts(),
            (proxies, needed.len(), 0)
        );
        assert_eq!(self.manager.state.proxies.unheard(), 0);
        assert_eq!(self.asked, needed);
    }
}

#[test]
fn in_the_end_nodes_run_what_proxies_need_and_the_proxies_know_it() {
    let mut succeeded = 0;
    for seed in 1..=SEEDS {
        println!("seed {seed}");
        let mut fleet = Fleet::new(seed);
        for _ in 0..STEPS {
            fleet.step(seed % 4 == 0);
        }
        fleet.settle();
        succeeded += fleet
            .agents
            .iter()
            .map(|agent| agent.proxies.len())
            .sum::<usize>();
    }
    assert!(succeeded > 1_000, "{succeeded}");
}
