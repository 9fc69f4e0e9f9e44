//! The clock, the queue of what happens next, and the daemons that it happens to.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Debug,
    time::Duration,
};

use hirte::{
    agent::state::{
        self as agent, Content, FromManager, FromSystemd, IncomingCall, Outgoing, SystemdAccess,
    },
    bus::{CallError, Kind, Message, names},
    core::{Instant, Now},
    limits,
    manager::{
        peers,
        state::{
            Settings,
            event::{Action, Credentials, Event, Method, Object, PeerId},
        },
    },
};

use super::{
    chaos::UNITS,
    check::Checker,
    mutant::{Mutant, Subject},
    network::{Connection, End, Far, Item},
    prng::Prng,
    replay::{Turn, replay_agent, replay_manager},
    systemd::{Effects, Systemd},
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
    ToAgent(usize, u32, Step),
    /// A call arrives at a node's systemd on a connection.
    ToSystemd(usize, (u32, u32), Box<Outgoing>),
    /// A job of a node's systemd goes a step on.
    JobStep(usize, u32),
    SystemdBack(usize),
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
}

/// What an agent handles.
#[derive(Debug)]
pub enum Step {
    Agent(agent::Event),
}

pub struct ManagerHost {
    pub subject: Option<Subject>,
    /// Which run of the manager this is.
    pub run: u32,
    pub is_frozen: bool,
    waiting: VecDeque<Event>,
    kept_id: u32,
    pub slept: Duration,
    /// How long it had slept at its last event.
    noticed_sleep: Duration,
    turns: Vec<Turn<Event, Action>>,
}

pub struct NodeHost {
    pub name: String,
    settings: agent::Settings,
    agent: Option<agent::State>,
    run: u32,
    pub is_frozen: bool,
    waiting: VecDeque<agent::Event>,
    pub slept: Duration,
    turns: Vec<Turn<agent::Event, agent::Action>>,
    /// The present connection to the manager.
    pub connection: Option<PeerId>,
    pub is_cut: bool,
    pub systemd: Systemd,
    systemd_is_up: bool,
    /// Run of the agent and number of the connection that systemd serves.
    systemd_connection: Option<(u32, u32)>,
    /// What systemd sends next arrives not before this.
    systemd_arrival: Instant,
    /// How late the agent's answers leave it, those to `Ping` excepted.
    pub late_by: Duration,
    /// The manager's numbers of its `Ping`s on the present connection.
    pings: BTreeSet<u32>,
    /// How long systemd takes to answer.
    pub answers_after: Duration,
}

/// The bus of the manager, with its clients.
pub struct Bus {
    is_up: bool,
    pub is_attached: bool,
    pub last_serial: u32,
    pub clients_left_until: Instant,
}

pub struct World {
    pub prng: Prng,
    pub now: Instant,
    queue: BTreeMap<(Instant, u64), Happening>,
    queued: u64,
    pub manager: ManagerHost,
    pub nodes: Vec<NodeHost>,
    pub connections: BTreeMap<PeerId, Connection>,
    last_peer: PeerId,
    pub bus: Bus,
    settings: Settings,
    mutant: Option<Mutant>,
    pub checker: Checker,
    /// Longest time between two turns of chance.
    pub pace: Duration,
    /// Of a hundred troubles so many happen.
    pub trouble: u64,
    /// Longest time of a packet on its way.
    latency: Duration,
    has_chaos: bool,
    is_replayed: bool,
    violation: Option<String>,
    /// Events that any of the daemons handled.
    pub events: u64,
    ticks: u64,
}

/// What a run showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub events: u64,
    pub jobs_ended: u64,
    pub jobs_lost: u64,
    pub calls_answered: u64,
    pub timeouts: u64,
    /// The results that clients heard of.
    pub results: Vec<String>,
    /// The results that the nodes' systemds gave.
    pub truth: Vec<String>,
}

/// Between the last fault and the end: longer than every deadline and threshold.
const REST: Duration = Duration::from_secs(30);

impl World {
    /// A fleet of so many nodes, of which nothing runs.
    pub fn new(seed: u64, nodes: usize, mutant: Option<Mutant>) -> Self {
        let mut prng = Prng::new(seed);
        let names: Vec<String> = (0..nodes).map(|index| format!("node-{index}")).collect();
        let settings = Settings {
            nodes: names.clone(),
            silence_limit: Duration::from_secs(6),
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
            manager: ManagerHost {
                subject: None,
                run: 0,
                is_frozen: false,
                waiting: VecDeque::new(),
                kept_id: 0,
                slept: Duration::ZERO,
                noticed_sleep: Duration::ZERO,
                turns: Vec::new(),
            },
            nodes,
            connections: BTreeMap::new(),
            last_peer: 0,
            bus: Bus {
                is_up: true,
                is_attached: false,
                last_serial: 0,
                clients_left_until: Instant::default(),
            },
            checker: Checker::new(&settings.nodes),
            settings,
            mutant,
            pace: prng.time(Duration::from_millis(20), Duration::from_secs(2)),
            trouble: *prng.pick(&[0, 10, 40, 100]),
            latency: prng.time(Duration::from_micros(50), Duration::from_millis(200)),
            has_chaos: false,
            is_replayed: true,
            violation: None,
            events: 0,
            ticks: 0,
            prng,
        }
    }

    /// All daemons start, in some order.
    pub fn boot(&mut self) {
        let second = Duration::from_secs(1);
        let mut within = |world: &mut Self, happening| {
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

    /// Heals all, runs the clock, and judges what is left.
    pub fn finish(mut self) -> Result<Stats, String> {
        self.heal_all();
        let end = self.now + REST;
        self.run_until(end);
        self.expect_idle();
        let verdict = match self.violation.take() {
            Some(violation) => Err(violation),
            None => self.checker.at_rest().and_then(|()| self.replay_all()),
        };
        verdict.map_err(|violation| format!("{violation}\n{}", self.last_turns()))?;
        Ok(Stats {
            events: self.events,
            jobs_ended: self.checker.jobs_ended,
            jobs_lost: self.checker.jobs_lost,
            calls_answered: self.checker.calls_answered,
            timeouts: self.checker.timeouts,
            results: self.checker.results,
            truth: self
                .nodes
                .into_iter()
                .flat_map(|node| node.systemd.results)
                .collect(),
        })
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

    fn replay_all(&self) -> Result<(), String> {
        if !self.is_replayed {
            return Ok(());
        }
        replay_manager(&self.settings, self.mutant, &self.manager.turns)?;
        for node in &self.nodes {
            replay_agent(&node.settings, &node.turns)?;
        }
        Ok(())
    }

    /// What the daemons did last, in the order of the clock; all of it if `HIRTE_SEED` repeats a run.
    fn last_turns(&self) -> String {
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

    fn at(&mut self, time: Instant, happening: Happening) {
        self.queued += 1;
        self.queue.insert((time, self.queued), happening);
    }

    fn manager_deadline(&self) -> Option<Instant> {
        let subject = self
            .manager
            .subject
            .as_ref()
            .filter(|_| !self.manager.is_frozen);
        subject.and_then(Subject::next_deadline)
    }

    fn agent_deadline(&self, node: usize) -> Option<Instant> {
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
            return self.to_manager(Event::Deadline);
        }
        let due = |node: &usize| self.agent_deadline(*node).is_some_and(|at| at <= self.now);
        if let Some(node) = (0..self.nodes.len()).find(due) {
            self.to_agent(node, Step::Agent(agent::Event::Alarm));
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
                    self.to_manager(event);
                }
            }
            Happening::ToAgent(node, run, step) => {
                if run == self.nodes[node].run {
                    self.to_agent(node, step);
                }
            }
            Happening::ToSystemd(node, connection, call) => {
                self.systemd_called(node, connection, &call);
            }
            Happening::JobStep(node, number) => self.job_step(node, number),
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
        }
    }

    // The network

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

    fn arrive(&mut self, peer: PeerId, end: End, item: Item) {
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
                    self.to_agent(node, Step::Agent(event));
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
            let happening = Happening::ToAgent(node, incarnation, Step::Agent(event));
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
                self.to_manager(event);
                self.travel(peer, End::Far, Item::Open);
            }
            Item::Open => self.travel(peer, End::Far, Item::Closed("Connection refused")),
            Item::Message(message) if socket.is_open => {
                let message = peers::decode(*message);
                self.to_manager(Event::PeerMessage { peer, message });
            }
            Item::Closed(reason) if socket.is_open => {
                socket.is_open = false;
                let reason = reason.to_owned();
                self.to_manager(Event::PeerLost { peer, reason });
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

    fn close_manager_end(&mut self, peer: PeerId) {
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

    fn heal(&mut self, node: usize) {
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
                for item in std::mem::take(&mut connection.end(end).held) {
                    self.travel(peer, end, item);
                }
            }
        }
    }

    pub fn hostile_leave_after(&mut self, time: Duration) {
        self.after(time, Happening::HostileLeave);
    }

    fn hostile_leave(&mut self) {
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

    // The manager

    pub const fn last_job_id(&self) -> u32 {
        self.checker.last_id()
    }

    fn start_manager(&mut self) {
        if self.manager.subject.is_some() {
            return;
        }
        self.manager.run += 1;
        self.manager.turns.clear();
        self.manager.subject = Some(Subject::new(self.settings.clone(), self.mutant));
        let last_job_id = self.manager.kept_id;
        self.to_manager(Event::Started { last_job_id });
    }

    /// The process of the manager is gone: the kernel closes its connections.
    pub fn manager_ends(&mut self) {
        self.manager.subject = None;
        self.manager.run += 1;
        self.manager.waiting.clear();
        self.bus.is_attached = false;
        self.checker.manager_gone();
        let open: Vec<PeerId> = self.connections.keys().copied().collect();
        for peer in open {
            if self.connections[&peer].manager_end.is_open {
                self.close_manager_end(peer);
            }
        }
    }

    fn thaw_manager(&mut self) {
        self.manager.is_frozen = false;
        self.checker.excuse_silence(self.now);
        if self.manager_deadline().is_some_and(|at| at <= self.now) && self.prng.percent(50) {
            self.to_manager(Event::Deadline);
        }
        while let Some(event) = self.manager.waiting.pop_front() {
            self.to_manager(event);
        }
    }

    /// The manager handles an event, now or when it runs again.
    pub fn to_manager(&mut self, event: Event) {
        if self.manager.is_frozen {
            self.manager.waiting.push_back(event);
            return;
        }
        let Some(subject) = &mut self.manager.subject else {
            return;
        };
        self.events += 1;
        if self.manager.noticed_sleep != self.manager.slept {
            self.manager.noticed_sleep = self.manager.slept;
            self.checker.excuse_silence(self.now);
        }
        let now = reading(self.now, self.manager.slept);
        let mut actions = Vec::new();
        subject.handle(now, event.clone(), &mut actions);
        let next_deadline = subject.next_deadline();
        let verdict = self
            .checker
            .observe(self.now, &event, &actions, next_deadline);
        if let Err(violation) = verdict {
            self.violation.get_or_insert(violation);
        }
        self.manager.turns.push((now, event, actions.clone()));
        for action in actions {
            self.manager_acts(action);
        }
    }

    fn manager_acts(&mut self, action: Action) {
        let run = self.manager.run;
        match action {
            Action::Send {
                peer,
                serial,
                message,
            } => {
                let message = Box::new(peers::encode(serial, message));
                self.travel(peer, End::Far, Item::Message(message));
            }
            Action::Close(peer) => self.close_manager_end(peer),
            Action::KeepJobIds(mark) => self.manager.kept_id = mark,
            Action::AttachBus => {
                let time = self
                    .prng
                    .time(Duration::from_micros(100), Duration::from_millis(20));
                let event = if self.bus.is_up {
                    self.bus.is_attached = true;
                    Event::BusAttached
                } else {
                    let reason = "No such file or directory".to_owned();
                    Event::BusLost { reason }
                };
                self.after(time, Happening::ToManager(run, event));
            }
            Action::LookUpClient(client) => {
                let time = self
                    .prng
                    .time(Duration::from_micros(100), Duration::from_millis(20));
                let has_left = self.now < self.bus.clients_left_until;
                let credentials = (!has_left).then_some(Credentials { uid: 0, pid: 7 });
                let event = Event::ClientKnown {
                    client,
                    credentials,
                };
                self.after(time, Happening::ToManager(run, event));
            }
            Action::Exit { .. } => self.manager_ends(),
            _ => {}
        }
    }

    /// The bus restarts: whatever it still had to say is lost.
    pub fn bus_lost(&mut self, time: Duration) {
        self.bus.is_up = false;
        self.after(time, Happening::BusBack);
        self.queue.retain(|_, happening| {
            !matches!(
                happening,
                Happening::ToManager(_, Event::ClientKnown { .. } | Event::BusAttached)
            )
        });
        if std::mem::take(&mut self.bus.is_attached) {
            let reason = "Connection reset by peer".to_owned();
            self.to_manager(Event::BusLost { reason });
        }
    }

    // The nodes

    fn start_agent(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        if host.agent.is_some() {
            return;
        }
        host.run += 1;
        host.turns.clear();
        host.agent = Some(agent::State::new(host.settings.clone()));
        self.to_agent(node, Step::Agent(agent::Event::Start));
    }

    /// The process of the agent is gone: the kernel closes its connections.
    pub fn agent_ends(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        host.agent = None;
        host.run += 1;
        host.waiting.clear();
        host.systemd_connection = None;
        if let Some(peer) = host.connection.take() {
            self.close_far_end(peer, "Connection reset by peer");
        }
    }

    fn thaw_agent(&mut self, node: usize) {
        self.nodes[node].is_frozen = false;
        if self.agent_deadline(node).is_some_and(|at| at <= self.now) && self.prng.percent(50) {
            self.to_agent(node, Step::Agent(agent::Event::Alarm));
        }
        while let Some(event) = self.nodes[node].waiting.pop_front() {
            self.to_agent(node, Step::Agent(event));
        }
    }

    /// An agent handles an event, now or when it runs again.
    pub fn to_agent(&mut self, node: usize, Step::Agent(event): Step) {
        let host = &mut self.nodes[node];
        if host.is_frozen {
            host.waiting.push_back(event);
            return;
        }
        let Some(agent) = &mut host.agent else {
            return;
        };
        self.events += 1;
        let now = reading(self.now, host.slept);
        let mut actions = Vec::new();
        agent.handle(now, event.clone(), &mut actions);
        host.turns.push((now, event, actions.clone()));
        for action in actions {
            self.agent_acts(node, action);
        }
    }

    fn agent_acts(&mut self, node: usize, action: agent::Action) {
        let run = self.nodes[node].run;
        match action {
            agent::Action::ConnectManager { connection } => {
                let far = Far::Agent {
                    node,
                    incarnation: run,
                    connection,
                };
                let peer = self.add_connection(Connection::new(far));
                self.connections.get_mut(&peer).unwrap().far_end.is_open = true;
                self.nodes[node].connection = Some(peer);
                self.nodes[node].pings.clear();
                self.travel(peer, End::Manager, Item::Open);
            }
            agent::Action::CloseManager => {
                if let Some(peer) = self.nodes[node].connection.take() {
                    self.close_far_end(peer, "closed by the agent");
                }
            }
            agent::Action::SendToManager(outgoing) => {
                if let Some(peer) = self.nodes[node].connection {
                    let message = Item::Message(Box::new(message(outgoing)));
                    self.agent_sends(node, peer, message);
                }
            }
            agent::Action::ConnectSystemd { connection } => {
                let host = &mut self.nodes[node];
                host.systemd_connection = host.systemd_is_up.then_some((run, connection));
                let event = if host.systemd_is_up {
                    FromSystemd::Connected
                } else {
                    FromSystemd::Closed("Connection refused".to_owned())
                };
                let time = self
                    .prng
                    .time(Duration::from_micros(10), Duration::from_millis(5));
                self.systemd_sends(node, (run, connection), event, time);
            }
            agent::Action::CloseSystemd => self.nodes[node].systemd_connection = None,
            agent::Action::SendToSystemd(outgoing) => {
                if let Some(connection) = self.nodes[node].systemd_connection {
                    let time = Duration::from_micros(20);
                    let call = Happening::ToSystemd(node, connection, Box::new(outgoing));
                    self.after(time, call);
                }
            }
            agent::Action::Exit => self.agent_ends(node),
            agent::Action::Log(..)
            | agent::Action::Ready
            | agent::Action::Status(_)
            | agent::Action::Watchdog
            | agent::Action::ReloadLogSettings => {}
        }
    }

    fn agent_sends(&mut self, node: usize, peer: PeerId, item: Item) {
        let late_by = self.nodes[node].late_by;
        let is_late = match &item {
            Item::Message(message) => {
                let is_pong = self.nodes[node].pings.contains(&message.reply_serial);
                message.reply_serial != 0 && !is_pong && !late_by.is_zero()
            }
            _ => false,
        };
        if is_late {
            self.after(late_by, Happening::LateAnswer(peer, item));
        } else {
            self.travel(peer, End::Manager, item);
        }
    }

    // systemd

    fn systemd_sends(
        &mut self,
        node: usize,
        (run, connection): (u32, u32),
        event: FromSystemd,
        time: Duration,
    ) {
        let host = &mut self.nodes[node];
        host.systemd_arrival = host.systemd_arrival.max(self.now + time);
        let time = host.systemd_arrival;
        let step = Step::Agent(agent::Event::Systemd { connection, event });
        self.at(time, Happening::ToAgent(node, run, step));
    }

    fn systemd_called(&mut self, node: usize, connection: (u32, u32), call: &Outgoing) {
        let host = &mut self.nodes[node];
        if host.systemd_connection != Some(connection) {
            return;
        }
        let mut effects = Effects::default();
        let result: Result<_, CallError> =
            host.systemd
                .call(&call.content, &mut self.prng, &mut effects);
        let answer = FromSystemd::Answer {
            serial: call.serial,
            result,
        };
        let time = host.answers_after;
        self.systemd_sends(node, connection, answer, time);
        self.take_effect(node, effects);
    }

    fn job_step(&mut self, node: usize, number: u32) {
        let effects = self.nodes[node]
            .systemd
            .step(self.now, number, &mut self.prng);
        self.take_effect(node, effects);
    }

    fn take_effect(&mut self, node: usize, effects: Effects) {
        for (time, number) in effects.steps {
            self.after(time, Happening::JobStep(node, number));
        }
        if let Some(connection) = self.nodes[node].systemd_connection {
            for signal in effects.signals {
                self.systemd_sends(node, connection, signal, Duration::from_micros(20));
            }
        }
    }

    /// systemd executes itself again: its connections are gone, its jobs stay.
    pub fn systemd_away(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        host.systemd_is_up = false;
        if let Some(connection) = host.systemd_connection.take() {
            let event = FromSystemd::Closed("Connection reset by peer".to_owned());
            self.systemd_sends(node, connection, event, Duration::from_micros(20));
        }
    }
}

impl NodeHost {
    fn new(name: &str, prng: &mut Prng) -> Self {
        let heartbeats = [0, 300, 2000, 5000].map(Duration::from_millis);
        let heartbeat = *prng.pick(&heartbeats);
        let is_private = prng.percent(60);
        let mut systemd = Systemd::new(&UNITS);
        systemd.longest = prng.time(Duration::from_millis(1), Duration::from_secs(60));
        Self {
            name: name.to_owned(),
            settings: agent::Settings {
                node: name.to_owned(),
                manager: "tcp:host=10.0.0.1,port=842".to_owned(),
                heartbeat_interval: (!heartbeat.is_zero()).then_some(heartbeat),
                reconnect_interval: Some(Duration::from_secs(2)),
                manager_threshold: Some(Duration::from_secs(6)),
                systemd: if is_private {
                    SystemdAccess::Private
                } else {
                    SystemdAccess::Bus
                },
                machine_id: String::new(),
            },
            agent: None,
            run: 0,
            is_frozen: false,
            waiting: VecDeque::new(),
            slept: Duration::ZERO,
            turns: Vec::new(),
            connection: None,
            is_cut: false,
            systemd,
            systemd_is_up: true,
            systemd_connection: None,
            systemd_arrival: Instant::default(),
            late_by: Duration::ZERO,
            pings: BTreeSet::new(),
            answers_after: Duration::ZERO,
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

fn reading(now: Instant, slept: Duration) -> Now {
    Now {
        monotonic: now,
        boottime: now + slept,
        realtime_us: now.0 + 1_700_000_000_000_000,
    }
}

/// What the agent sends, as a message.
fn message(Outgoing { serial, content }: Outgoing) -> Message {
    let mut message = match content {
        Content::Call {
            destination,
            path,
            interface,
            member,
            body,
        } => Message::call(&path, &interface, &member, body).to(&destination),
        Content::Return { to, body } => Message::reply(to, body),
        Content::Error { to, error } => Message::error(to, &error),
        Content::Signal {
            path,
            interface,
            member,
            body,
        } => Message::signal(&path, &interface, &member, body),
    };
    message.serial = serial;
    message
}

/// What arrives at an agent, as its event.
fn from_manager(item: Item) -> FromManager {
    let message = match item {
        Item::Open => return FromManager::Connected,
        Item::Closed(reason) => return FromManager::Closed(reason.to_owned()),
        Item::Message(message) => *message,
    };
    match message.kind {
        Kind::Call => FromManager::Call(IncomingCall {
            serial: message.serial,
            expects_reply: message.flags.expects_reply(),
            path: message.path,
            interface: message.interface,
            member: message.member,
            body: message.body,
        }),
        Kind::Return => FromManager::Answer {
            serial: message.reply_serial,
            result: Ok(message.body),
        },
        Kind::Error => FromManager::Answer {
            serial: message.reply_serial,
            result: Err(CallError::from_reply(message.error_name, &message.body)),
        },
        Kind::Signal => FromManager::Signal,
    }
}
