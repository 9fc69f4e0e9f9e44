//! The machine of a node: its agent, and its systemd.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use hirte::{
    agent::{
        self as agent_edge, FromSystemdTranslator,
        state::{self as agent, Content, FromManager, FromSystemd, Outgoing, SystemdAccess},
    },
    bus::{CallError, Message},
    core::Instant,
    manager::state::event::PeerId,
};

use super::{
    chaos::UNITS,
    network::{Connection, End, Far, Item},
    node_bus::NodeBus,
    prng::Prng,
    proxy_mutants::change_agent,
    replay::Turn,
    systemd::{Effects, Systemd},
    world::{Happening, World, reading},
};

/// systemd's name on the bus of each node.
const UNIQUE_NAME: &str = ":1.1";

/// The machine of a node.
pub struct NodeHost {
    pub name: String,
    pub settings: agent::Settings,
    pub agent: Option<agent::State>,
    pub run: u32,
    pub is_frozen: bool,
    pub waiting: VecDeque<agent::Event>,
    pub slept: Duration,
    pub turns: Vec<Turn<agent::Event, agent::Action>>,
    /// The present connection to the manager.
    pub connection: Option<PeerId>,
    pub is_cut: bool,
    pub bus: NodeBus,
    pub systemd: Systemd,
    pub systemd_is_up: bool,
    /// Run of the agent and number of the connection that systemd serves.
    pub systemd_connection: Option<(u32, u32)>,
    /// Reads what systemd sends on this connection.
    edge: FromSystemdTranslator,
    /// What systemd sends next arrives not before this.
    pub systemd_arrival: Instant,
    /// How late the agent's answers leave it, those to `Ping` excepted.
    pub late_by: Duration,
    /// The manager's numbers of its calls on the present connection that have no answer.
    pub calls: BTreeSet<u32>,
    /// Jobs whose end the agent has reported on the present connection.
    pub jobs_done: BTreeSet<u32>,
    /// The manager's numbers of its `Ping`s on the present connection.
    pub pings: BTreeSet<u32>,
    /// How long systemd takes to answer.
    pub answers_after: Duration,
}

impl NodeHost {
    pub fn new(name: &str, prng: &mut Prng) -> Self {
        let heartbeats = [0, 300, 2000, 5000].map(Duration::from_millis);
        let heartbeat = *prng.pick(&heartbeats);
        let access = if prng.percent(60) {
            SystemdAccess::Private
        } else {
            SystemdAccess::Bus
        };
        let mut systemd = Systemd::new(&UNITS);
        systemd.longest = prng.time(Duration::from_millis(1), Duration::from_mins(1));
        Self {
            name: name.to_owned(),
            settings: agent::Settings {
                node: name.to_owned(),
                manager: "tcp:host=10.0.0.1,port=842".to_owned(),
                heartbeat_interval: (!heartbeat.is_zero()).then_some(heartbeat),
                reconnect_interval: Some(Duration::from_secs(2)),
                manager_threshold: Some(Duration::from_secs(6)),
                loud_retries: 10,
                allow_exec: true,
                is_of_user: false,
                systemd: access,
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
            bus: NodeBus::new(),
            systemd,
            systemd_is_up: true,
            systemd_connection: None,
            edge: FromSystemdTranslator::new(access),
            systemd_arrival: Instant::default(),
            late_by: Duration::ZERO,
            calls: BTreeSet::new(),
            jobs_done: BTreeSet::new(),
            pings: BTreeSet::new(),
            answers_after: Duration::ZERO,
        }
    }
}

impl NodeHost {
    /// The agent answers each call once, and ends each job once.
    fn judge(&mut self, action: &agent::Action) -> Result<(), String> {
        self.bus.judge(action)?;
        let agent::Action::SendToManager(Outgoing { content, .. }) = action else {
            return Ok(());
        };
        let is_right = match content {
            Content::Return { to, .. } | Content::Error { to, .. } => self.calls.remove(to),
            Content::Signal { member, body, .. } if member == "JobDone" => {
                let (id, _): (u32, String) = body.parse().unwrap();
                self.jobs_done.insert(id)
            }
            _ => true,
        };
        if is_right {
            Ok(())
        } else {
            Err(format!("{} sends once more {content:?}", self.name))
        }
    }
}

impl World {
    pub fn start_agent(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        if host.agent.is_some() {
            return;
        }
        host.run += 1;
        host.turns.clear();
        host.agent = Some(agent::State::new(host.settings.clone()));
        self.agent_handles(node, agent::Event::Start);
    }

    /// The process of the agent is gone: the kernel closes its connections.
    pub fn agent_ends(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        host.agent = None;
        host.run += 1;
        host.waiting.clear();
        host.systemd_connection = None;
        host.bus.open.clear();
        if let Some(peer) = host.connection.take() {
            self.close_far_end(peer, "Connection reset by peer");
        }
        self.agent_left_bus(node);
    }

    pub fn thaw_agent(&mut self, node: usize) {
        self.nodes[node].is_frozen = false;
        if self.agent_deadline(node).is_some_and(|at| at <= self.now) && self.prng.percent(50) {
            self.agent_handles(node, agent::Event::Alarm);
        }
        while let Some(event) = self.nodes[node].waiting.pop_front() {
            self.agent_handles(node, event);
        }
    }

    /// An agent handles an event, now or when it runs again.
    pub fn agent_handles(&mut self, node: usize, event: agent::Event) {
        let host = &mut self.nodes[node];
        if host.is_frozen {
            host.waiting.push_back(event);
            return;
        }
        let Some(agent) = &mut host.agent else {
            return;
        };
        self.events += 1;
        if let agent::Event::Manager {
            event: FromManager::Call(call),
            ..
        } = &event
            && call.expects_reply
        {
            host.calls.insert(call.serial);
        }
        host.bus.note_event(&event);
        let now = reading(self.now, host.slept);
        let mut actions = Vec::new();
        agent.handle(now, event.clone(), &mut actions);
        if let Some(mutant) = self.mutant {
            change_agent(mutant, &event, &mut actions);
        }
        host.turns.push((now, event, actions.clone()));
        for action in &actions {
            if let Err(violation) = self.nodes[node].judge(action) {
                self.violation.get_or_insert(violation);
            }
        }
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
                self.nodes[node].calls.clear();
                self.nodes[node].jobs_done.clear();
                self.travel(peer, End::Manager, Item::Open);
            }
            agent::Action::CloseManager => {
                if let Some(peer) = self.nodes[node].connection.take() {
                    self.close_far_end(peer, "closed by the agent");
                }
            }
            agent::Action::SendToManager(outgoing) => {
                if let Some(peer) = self.nodes[node].connection {
                    let message = Item::Message(Box::new(agent_edge::to_message(outgoing)));
                    self.agent_sends(node, peer, message);
                }
            }
            agent::Action::ConnectSystemd { connection } => {
                let host = &mut self.nodes[node];
                let is_up = host.systemd_is_up
                    && (host.bus.is_up || host.settings.systemd == SystemdAccess::Private);
                host.systemd_connection = is_up.then_some((run, connection));
                host.systemd_arrival = self.now;
                host.edge = FromSystemdTranslator::new(host.settings.systemd);
                let event = if is_up {
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
            agent::Action::Exit { .. } => self.agent_ends(node),
            agent::Action::AttachBus
            | agent::Action::Reply { .. }
            | agent::Action::ReplyError { .. }
            | agent::Action::WatchClient(_)
            | agent::Action::UnwatchClient(_) => self.agent_acts_on_bus(node, action),
            // No client of the simulation asks for a stream.
            agent::Action::OpenSource { .. }
            | agent::Action::ReadSource { .. }
            | agent::Action::DrainSource { .. }
            | agent::Action::CloseSource { .. }
            | agent::Action::Log(..)
            | agent::Action::Ready
            | agent::Action::Status(_)
            | agent::Action::Watchdog
            | agent::Action::ReloadConfiguration
            | agent::Action::ReplyIntrospection { .. }
            | agent::Action::PropertiesChanged(_)
            | agent::Action::SetManagerAddress(_)
            | agent::Action::SetLogLevel(_) => {}
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

    /// A message of systemd arrives, which the agent's edge reads.
    fn systemd_says(
        &mut self,
        node: usize,
        connection: (u32, u32),
        message: Message,
        time: Duration,
    ) {
        if let Some(event) = self.nodes[node].edge.translate_message(message) {
            self.systemd_sends(node, connection, event, time);
        }
    }

    pub fn systemd_sends(
        &mut self,
        node: usize,
        (run, connection): (u32, u32),
        event: FromSystemd,
        time: Duration,
    ) {
        let host = &mut self.nodes[node];
        host.systemd_arrival = host.systemd_arrival.max(self.now + time);
        let time = host.systemd_arrival;
        let step = agent::Event::Systemd { connection, event };
        self.at(time, Happening::ToAgent(node, run, step));
    }

    pub fn systemd_called(&mut self, node: usize, connection: (u32, u32), call: &Outgoing) {
        let host = &mut self.nodes[node];
        if host.systemd_connection != Some(connection) {
            return;
        }
        let mut effects = Effects::default();
        let result: Result<_, CallError> =
            host.systemd
                .call(&call.content, &mut self.prng, &mut effects);
        let mut answer = match result {
            Ok(body) => Message::reply(call.serial, body),
            Err(error) => Message::error(call.serial, &error),
        };
        UNIQUE_NAME.clone_into(&mut answer.sender);
        let time = host.answers_after;
        self.systemd_says(node, connection, answer, time);
        self.take_effect(node, effects);
    }

    pub fn job_step(&mut self, node: usize, number: u32) {
        let effects = self.nodes[node]
            .systemd
            .step(self.now, number, &mut self.prng);
        self.take_effect(node, effects);
    }

    pub fn take_effect(&mut self, node: usize, effects: Effects) {
        for (time, number) in effects.steps {
            self.after(time, Happening::JobStep(node, number));
        }
        if let Some(connection) = self.nodes[node].systemd_connection {
            for mut signal in effects.signals {
                UNIQUE_NAME.clone_into(&mut signal.sender);
                self.systemd_says(node, connection, signal, Duration::from_micros(20));
            }
        }
        for (unit, command) in effects.commands {
            self.run_command(node, unit, command);
        }
    }

    /// A unit that nobody starts by a job is loaded, changes or is unloaded.
    pub fn unit_comes_or_goes(&mut self, node: usize) {
        let effects = self.nodes[node].systemd.come_or_go(&mut self.prng);
        self.take_effect(node, effects);
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

/// What arrives at an agent, as its event.
pub fn from_manager(item: Item) -> FromManager {
    match item {
        Item::Open => FromManager::Connected,
        Item::Closed(reason) => FromManager::Closed(reason.to_owned()),
        Item::Message(message) => agent_edge::from_manager(*message),
    }
}
