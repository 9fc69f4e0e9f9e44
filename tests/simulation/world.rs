//! The clock, the queue of what happens next, and the daemons that it happens to.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use hirte::{
    agent::state::{self as agent, Outgoing},
    core::{Instant, Now},
    limits,
    manager::state::{
        NodeSettings, Settings,
        event::{Event, Method, Object, PeerId},
    },
};

use super::{
    check::Checker,
    manager_host::{Bus, ManagerHost},
    mutant::{Mutant, Subject},
    network::{Connection, End, Item},
    node_bus::Outcome,
    node_host::NodeHost,
    prng::Prng,
    replay::{replay_agent, replay_manager},
};

/// What is going to happen.
#[derive(Debug)]
pub enum Happening {
    /// Something arrives at one end of a connection.
    Arrival(PeerId, End, Item),
    /// An answer of an agent leaves it at last.
    LateAnswer(PeerId, Item),
    /// Something for the manager, if it still is this run of it.
    ToManager(u32, Event),
    /// Something for an agent, if it still is this run of it.
    ToAgent(usize, u32, agent::Event),
    /// A call arrives at a node's systemd on a connection.
    ToSystemd(usize, (u32, u32), Box<Outgoing>),
    /// A job of a node's systemd goes a step on.
    JobStep(usize, u32),
    SystemdBack(usize),
    /// A process of a node's systemd calls the agent, and gets its answer.
    HelperCalls(usize, String),
    HelperAnswered(usize, String, Outcome),
    NodeBusBack(usize),
    BusBack,
    Heal(usize),
    StartAgent(usize),
    ThawAgent(usize),
    StartManager,
    ThawManager,
    HostileLeave,
    /// A client calls a method.
    Ask(Object, Method),
    Chaos,
    /// Something that a scenario brings.
    Do(fn(&mut World)),
}

pub struct World {
    pub prng: Prng,
    pub now: Instant,
    pub queue: BTreeMap<(Instant, u64), Happening>,
    pub queued: u64,
    pub manager: ManagerHost,
    pub nodes: Vec<NodeHost>,
    pub connections: BTreeMap<PeerId, Connection>,
    pub last_peer: PeerId,
    pub bus: Bus,
    pub settings: Settings,
    pub mutant: Option<Mutant>,
    pub checker: Checker,
    /// Longest time between two turns of chance.
    pub pace: Duration,
    /// Of a hundred troubles so many happen.
    pub trouble: u64,
    /// Longest time of a packet on its way.
    pub latency: Duration,
    pub has_chaos: bool,
    pub is_replayed: bool,
    pub violation: Option<String>,
    /// Proxies that have become active.
    pub proxies_started: u64,
    /// Events that any of the daemons handled.
    pub events: u64,
    pub ticks: u64,
}

/// What a run showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub events: u64,
    pub jobs_ended: u64,
    pub jobs_lost: u64,
    pub calls_answered: u64,
    pub timeouts: u64,
    /// What monitors told.
    pub told: u64,
    pub metrics: u64,
    /// Proxies that have become active.
    pub proxies: u64,
    /// The results that clients heard of.
    pub results: Vec<String>,
    /// The results that the nodes' systemds gave.
    pub truth: Vec<String>,
}

/// Between the last fault and the end: longer than every deadline and threshold, and than the agents
/// keep what nobody asks for, with what follows its end.
const REST: Duration = Duration::from_secs(35);

/// The nodes of a fleet. Most may depend on most, itself included.
fn nodes_of(names: &[String], prng: &mut Prng) -> Vec<NodeSettings> {
    let settings = |name: &String| NodeSettings {
        name: name.clone(),
        may_depend_on: names.iter().filter(|_| prng.percent(75)).cloned().collect(),
    };
    names.iter().map(settings).collect()
}

impl World {
    /// A fleet of so many nodes, of which nothing runs.
    pub fn new(seed: u64, nodes: usize, mutant: Option<Mutant>) -> Self {
        let mut prng = Prng::new(seed);
        let names: Vec<String> = (0..nodes).map(|index| format!("node-{index}")).collect();
        let settings = Settings {
            nodes: nodes_of(&names, &mut prng),
            silence_limit: Duration::from_secs(6),
            heartbeat_interval: None,
        };
        let now = Instant(1_000_000_000 + prng.below(1_000_000));
        let nodes = names
            .iter()
            .map(|name| NodeHost::new(name, &mut prng))
            .collect();
        Self {
            now,
            queue: BTreeMap::new(),
            queued: 0,
            manager: ManagerHost::new(settings.clone()),
            nodes,
            connections: BTreeMap::new(),
            last_peer: 0,
            bus: Bus::new(),
            checker: Checker::new(&names),
            settings,
            mutant,
            pace: prng.time(Duration::from_millis(20), Duration::from_secs(2)),
            trouble: *prng.pick(&[0, 10, 40, 100]),
            latency: prng.time(Duration::from_micros(50), Duration::from_millis(200)),
            has_chaos: false,
            is_replayed: true,
            violation: None,
            proxies_started: 0,
            events: 0,
            ticks: 0,
            prng,
        }
    }

    /// All daemons start, in some order.
    pub fn boot(&mut self) {
        let second = Duration::from_secs(1);
        let within = |world: &mut Self, happening| {
            let time = world.prng.time(Duration::from_micros(1), second);
            world.after(time, happening);
        };
        within(self, Happening::StartManager);
        for node in 0..self.nodes.len() {
            within(self, Happening::StartAgent(node));
        }
    }

    /// Runs a fleet under chaos until so many events were handled, and then to rest.
    pub fn run_chaos(mut self, events: u64) -> Result<Stats, String> {
        self.has_chaos = true;
        self.boot();
        self.after(Duration::from_millis(10), Happening::Chaos);
        while self.events < events && self.violation.is_none() {
            self.step();
        }
        self.finish()
    }

    /// Heals all, runs the clock, judges what is left, and tells what the run showed.
    pub fn finish(mut self) -> Result<Stats, String> {
        self.come_to_rest()?;
        Ok(self.stats())
    }

    /// Heals all, runs the clock, and judges what is left.
    pub fn come_to_rest(&mut self) -> Result<(), String> {
        self.heal_all();
        let end = self.now + REST;
        self.run_until(end);
        self.expect_idle();
        let verdict = match self.violation.take() {
            Some(violation) => Err(violation),
            None => self
                .checker
                .at_rest()
                .and_then(|()| self.agents_at_rest())
                .and_then(|()| self.monitors_at_rest())
                .and_then(|()| self.proxies_at_rest())
                .and_then(|()| self.replay_all()),
        };
        verdict.map_err(|violation| format!("{violation}\n{}", self.last_turns()))
    }

    fn stats(self) -> Stats {
        Stats {
            events: self.events,
            jobs_ended: self.checker.jobs_ended,
            jobs_lost: self.checker.jobs_lost,
            calls_answered: self.checker.calls_answered,
            timeouts: self.checker.timeouts,
            told: self.checker.views.told,
            metrics: self.checker.metrics,
            proxies: self.proxies_started,
            results: self.checker.results,
            truth: self
                .nodes
                .into_iter()
                .flat_map(|node| node.systemd.results)
                .collect(),
        }
    }

    /// Does not compare recorded runs, which takes half of the time.
    pub const fn without_replay(mut self) -> Self {
        self.is_replayed = false;
        self
    }

    pub fn run_until(&mut self, end: Instant) {
        while self.next_time() <= end && self.violation.is_none() {
            self.step();
        }
        self.now = self.now.max(end);
    }

    /// Where nothing happens the manager wakes for its tick only.
    fn expect_idle(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let (ticks, end) = (self.ticks, self.now + 5 * limits::TICK);
        self.run_until(end);
        let woken = self.ticks - ticks;
        if woken > 6 && self.violation.is_none() {
            self.violation = Some(format!("an idle manager woke {woken} times in 5 s"));
        }
    }

    fn heal_all(&mut self) {
        self.has_chaos = false;
        self.trouble = 0;
        self.bus.clients_left_until = self.now;
        self.after(Duration::ZERO, Happening::HostileLeave);
        self.after(Duration::ZERO, Happening::BusBack);
        self.after(Duration::ZERO, Happening::ThawManager);
        self.after(Duration::ZERO, Happening::StartManager);
        let run = self.manager.run;
        self.after(
            Duration::from_secs(1),
            Happening::ToManager(run, Event::BusCongested(false)),
        );
        for node in 0..self.nodes.len() {
            self.nodes[node].answers_after = Duration::ZERO;
            self.nodes[node].late_by = Duration::ZERO;
            self.nodes[node].systemd.longest = Duration::from_secs(1);
            for happening in [
                Happening::Heal(node),
                Happening::SystemdBack(node),
                Happening::NodeBusBack(node),
                Happening::ThawAgent(node),
                Happening::StartAgent(node),
            ] {
                self.after(Duration::ZERO, happening);
            }
            let jobs: Vec<u32> = self.nodes[node].systemd.jobs.keys().copied().collect();
            for number in jobs {
                self.after(Duration::from_secs(1), Happening::JobStep(node, number));
                self.after(Duration::from_secs(2), Happening::JobStep(node, number));
            }
        }
    }

    fn agents_at_rest(&self) -> Result<(), String> {
        match self.nodes.iter().find(|node| !node.calls.is_empty()) {
            Some(node) => Err(format!("{} has not answered {:?}", node.name, node.calls)),
            None => Ok(()),
        }
    }

    fn monitors_at_rest(&self) -> Result<(), String> {
        let mut truth = BTreeMap::new();
        for node in &self.nodes {
            for (name, unit) in &node.systemd.units {
                let states = (unit.active.to_owned(), unit.sub.to_owned());
                truth.insert((node.name.clone(), name.clone()), states);
            }
        }
        self.checker.views.compare(&truth)
    }

    fn replay_all(&self) -> Result<(), String> {
        if !self.is_replayed {
            return Ok(());
        }
        replay_manager(&self.manager.settings, self.mutant, &self.manager.turns)?;
        for node in &self.nodes {
            replay_agent(&node.settings, &node.turns)?;
        }
        Ok(())
    }

    /// What the daemons did last, in the order of the clock; all of it if `HIRTE_SEED` repeats a run.
    pub fn last_turns(&self) -> String {
        let mut lines: Vec<(Instant, String)> = Vec::new();
        for (now, event, actions) in &self.manager.turns {
            lines.push((now.monotonic, described("manager", event, actions)));
        }
        for node in &self.nodes {
            for (now, event, actions) in &node.turns {
                lines.push((now.monotonic, described(&node.name, event, actions)));
            }
        }
        lines.sort_by_key(|(time, _)| *time);
        let is_repeated = std::env::var_os("HIRTE_SEED").is_some();
        let from = lines
            .len()
            .saturating_sub(if is_repeated { usize::MAX } else { 20 });
        let lines = lines[from..]
            .iter()
            .map(|(time, line)| format!("{} {line}", time.0));
        lines.collect::<Vec<_>>().join("\n")
    }

    // The clock

    pub fn after(&mut self, time: Duration, happening: Happening) {
        self.at(self.now + time, happening);
    }

    pub fn at(&mut self, time: Instant, happening: Happening) {
        self.queued += 1;
        self.queue.insert((time, self.queued), happening);
    }

    pub fn manager_deadline(&self) -> Option<Instant> {
        let subject = self
            .manager
            .subject
            .as_ref()
            .filter(|_| !self.manager.is_frozen);
        subject.and_then(Subject::next_deadline)
    }

    pub fn agent_deadline(&self, node: usize) -> Option<Instant> {
        let host = &self.nodes[node];
        let agent = host.agent.as_ref().filter(|_| !host.is_frozen);
        agent.and_then(agent::State::next_deadline)
    }

    fn next_time(&self) -> Instant {
        let queued = self.queue.first_key_value().map(|((time, _), _)| *time);
        let agents = (0..self.nodes.len()).filter_map(|node| self.agent_deadline(node));
        let first = agents.chain(queued).chain(self.manager_deadline()).min();
        first.map_or(Instant(u64::MAX), |time| time.max(self.now))
    }

    /// Lets happen what is next.
    pub fn step(&mut self) {
        self.now = self.next_time();
        let is_queued = self
            .queue
            .first_key_value()
            .is_some_and(|((time, _), _)| *time <= self.now);
        // What arrives just when a deadline ends comes before it or after it.
        if is_queued && self.prng.percent(50) {
            return self.next_happening();
        }
        if self.manager_deadline().is_some_and(|at| at <= self.now) {
            self.ticks += 1;
            return self.manager_handles(Event::Deadline);
        }
        let due = |node: &usize| self.agent_deadline(*node).is_some_and(|at| at <= self.now);
        if let Some(node) = (0..self.nodes.len()).find(due) {
            self.agent_handles(node, agent::Event::Alarm);
            let next = self.agent_deadline(node);
            if next.is_some_and(|at| at <= self.now) && self.violation.is_none() {
                self.violation = Some(format!(
                    "the agent of node-{node} has a deadline in the past"
                ));
            }
        } else if is_queued {
            self.next_happening();
        }
    }

    fn next_happening(&mut self) {
        if let Some((_, happening)) = self.queue.pop_first() {
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival(peer, end, item) => self.arrive(peer, end, item),
            Happening::LateAnswer(peer, item) => {
                let is_open = |connection: &Connection| connection.far_end.is_open;
                if self.connections.get(&peer).is_some_and(is_open) {
                    self.travel(peer, End::Manager, item);
                }
            }
            Happening::ToManager(run, event) => {
                if run == self.manager.run {
                    self.manager_handles(event);
                }
            }
            Happening::ToAgent(node, run, step) => {
                if run == self.nodes[node].run {
                    self.agent_handles(node, step);
                }
            }
            Happening::ToSystemd(node, connection, call) => {
                self.systemd_called(node, connection, &call);
            }
            Happening::JobStep(node, number) => self.job_step(node, number),
            Happening::HelperCalls(node, client) => self.helper_calls(node, client),
            Happening::HelperAnswered(node, client, outcome) => {
                self.helper_answered(node, &client, &outcome);
            }
            Happening::NodeBusBack(node) => self.nodes[node].bus.is_up = true,
            Happening::SystemdBack(node) => self.nodes[node].systemd_is_up = true,
            Happening::BusBack => self.bus.is_up = true,
            Happening::Heal(node) => self.heal(node),
            Happening::StartAgent(node) => self.start_agent(node),
            Happening::ThawAgent(node) => self.thaw_agent(node),
            Happening::StartManager => self.start_manager(),
            Happening::ThawManager => self.thaw_manager(),
            Happening::HostileLeave => self.hostile_leave(),
            Happening::Ask(object, method) => self.client_asks(object, method),
            Happening::Chaos if self.has_chaos => self.chaos(),
            Happening::Chaos => {}
            Happening::Do(action) => action(self),
        }
    }
}

fn described(who: &str, event: &impl Debug, actions: &[impl Debug]) -> String {
    let actions: Vec<String> = actions
        .iter()
        .map(|action| format!("\n    {action:?}"))
        .collect();
    format!("{who}: {event:?}{}", actions.concat())
}

pub fn reading(now: Instant, slept: Duration) -> Now {
    Now {
        monotonic: now,
        boottime: now + slept,
        realtime_us: now.0 + 1_700_000_000_000_000,
    }
}
