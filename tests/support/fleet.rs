//! A fleet of simulated agents: they speak the protocol of agents over real TCP connections, and
//! there is no systemd behind them.
//!
//! Every agent has the same prepared units, answers at once, and starts every unit at once; only a
//! unit whose name starts with [`HELD`] runs until its job is cancelled. One thread carries
//! thousands of agents, so that what is measured or tested is the manager.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpStream},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hirte::{
    bus::{
        Body, CallError, Kind, Message, Value,
        body::Entry,
        error_name,
        marshal::{Endian, Writer},
        message::BodyCheck,
        names,
    },
    core::retry_delay,
    limits,
    reactor::{self, Async},
    wire::{Inbox, Link, LinkSettings, Received, Role, Stream, tcp},
};
use smol::LocalExecutor;

/// A job of a unit whose name starts so goes on until it is cancelled.
pub const HELD: &str = "held";
/// How often an agent sends its heartbeat: the default of real agents.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Longest wait between attempts to connect: the default of real agents.
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// Heartbeats are spread over their period, as those of real agents are.
const TICK: Duration = Duration::from_millis(20);
/// Between the attempts of two agents, since real ones are not in step either: of more connections
/// in one instant than its queue holds (4096) the kernel drops some, which are tried again after a
/// second. 5,000 agents connect within 0.2 s.
const BETWEEN_CONNECTS: Duration = Duration::from_micros(40);
/// Properties of a prepared unit; a service of systemd 252 has about so many.
const PROPERTIES: u32 = 300;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Where the manager listens.
    pub manager: SocketAddr,
    /// Number of agents.
    pub nodes: usize,
    /// Units of each.
    pub units: usize,
}

/// Name of an agent.
pub fn node_name(index: usize) -> String {
    format!("node{index:04}")
}

/// Names of the first `count` agents.
pub fn node_names(count: usize) -> Vec<String> {
    (0..count).map(node_name).collect()
}

/// Name of a prepared unit.
pub fn unit_name(index: usize) -> String {
    format!("unit{index:03}.service")
}

/// A fleet on a thread of its own. Dropping it closes all connections.
pub struct Fleet {
    registered: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Starts the agents, which connect all at once and again whenever they lose the manager.
    pub fn start(settings: Settings) -> Self {
        let registered = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let (count, end) = (Arc::clone(&registered), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            run(settings, |registered| {
                count.store(registered, Ordering::Relaxed);
                !end.load(Ordering::Relaxed)
            });
        });
        Self {
            registered,
            is_over,
            thread: Some(thread),
        }
    }

    /// How many agents are registered.
    pub fn registered(&self) -> usize {
        self.registered.load(Ordering::Relaxed)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Simulates agents on this thread. Every 20 ms `go_on` is told how many are registered, and tells
/// whether to go on.
pub fn run(settings: Settings, go_on: impl FnMut(usize) -> bool) {
    let _ = hirte::daemon::raise_descriptor_limit();
    let executor = Rc::new(LocalExecutor::new());
    let mut simulation = Simulation::new(settings, Rc::clone(&executor));
    reactor::block_on(&executor, simulation.run(go_on));
}

enum Event {
    Connected(usize, std::io::Result<Async<TcpStream>>),
    Link(usize, Received),
    Tick,
}

struct Simulation {
    settings: Settings,
    executor: Rc<LocalExecutor<'static>>,
    inbox: Inbox<Event>,
    agents: Vec<Agent>,
    registered: usize,
    started: Instant,
    /// Heartbeats sent since the start, by all agents.
    heartbeats: usize,
    /// Agents to which something was sent in this turn.
    to_flush: BTreeSet<usize>,
    units: Body,
    properties: Body,
}

#[derive(Default)]
struct Agent {
    link: Option<Link>,
    is_registered: bool,
    serial: u32,
    failed_attempts: u32,
    /// Jobs that run until they are cancelled.
    held: BTreeSet<u32>,
}

impl Agent {
    fn send(&mut self, mut message: Message) {
        self.serial += 1;
        message.serial = self.serial;
        if let Some(link) = &self.link {
            link.send(&message);
        }
    }

    fn signal(&mut self, member: &str, body: Body) {
        let (path, interface) = (names::INTERNAL_AGENT_PATH, names::INTERNAL_AGENT_INTERFACE);
        self.send(Message::signal(path, interface, member, body));
    }
}

impl Simulation {
    fn new(settings: Settings, executor: Rc<LocalExecutor<'static>>) -> Self {
        Self {
            settings,
            executor,
            inbox: Inbox::new(),
            agents: (0..settings.nodes).map(|_| Agent::default()).collect(),
            registered: 0,
            started: Instant::now(),
            heartbeats: 0,
            to_flush: BTreeSet::new(),
            units: units(settings.units),
            properties: properties(),
        }
    }

    async fn run(&mut self, mut go_on: impl FnMut(usize) -> bool) {
        let inbox = self.inbox.clone();
        let ticking = async move {
            loop {
                reactor::sleep(TICK).await;
                inbox.push(Event::Tick);
            }
        };
        self.executor.spawn(ticking).detach();
        (0..self.settings.nodes).for_each(|agent| self.connect(agent));
        loop {
            let mut event = Some(self.inbox.next().await);
            let mut taken = 0;
            while let Some(next) = event {
                match next {
                    Event::Connected(agent, stream) => self.connected(agent, stream),
                    Event::Link(agent, received) => self.received(agent, received),
                    Event::Tick if !go_on(self.registered) => return,
                    Event::Tick => self.send_heartbeats(),
                }
                taken += 1;
                event = (taken < limits::EVENTS_PER_TURN)
                    .then(|| self.inbox.try_next())
                    .flatten();
            }
            for agent in std::mem::take(&mut self.to_flush) {
                if let Some(link) = &self.agents[agent].link {
                    link.flush();
                }
            }
        }
    }

    fn connect(&self, agent: usize) {
        let failures = self.agents[agent].failed_attempts;
        let wait = retry_delay(failures, limits::MANAGER_FIRST_RETRY, LONGEST_RETRY);
        let wait = wait + BETWEEN_CONNECTS * u32::try_from(agent).unwrap_or(u32::MAX);
        let (inbox, manager) = (self.inbox.clone(), self.settings.manager);
        let connecting = async move {
            reactor::sleep(wait).await;
            let connected = tcp::connect(manager, &tcp::KeepAlive::default()).await;
            inbox.push(Event::Connected(agent, connected));
        };
        self.executor.spawn(connecting).detach();
    }

    fn connected(&mut self, index: usize, stream: std::io::Result<Async<TcpStream>>) {
        let Ok(stream) = stream else {
            self.agents[index].failed_attempts += 1;
            self.connect(index);
            return;
        };
        let settings = LinkSettings {
            max_message: limits::MAX_MESSAGE,
            max_queued: None,
            body_check: BodyCheck::Trusted,
        };
        let wrap = move |received| Event::Link(index, received);
        let (stream, role) = (Stream::Tcp(stream), Role::Client);
        let link = Link::open(&self.executor, stream, role, settings, &self.inbox, wrap);
        let failed_attempts = self.agents[index].failed_attempts;
        self.agents[index] = Agent {
            link: Some(link),
            failed_attempts,
            ..Agent::default()
        };
        let (path, interface) = (
            names::INTERNAL_MANAGER_PATH,
            names::INTERNAL_MANAGER_INTERFACE,
        );
        let body = Body::of(&(node_name(index).as_str(),));
        let register = Message::call(path, interface, "Register", body);
        self.agents[index].send(register.to(names::MANAGER_BUS_NAME));
        self.to_flush.insert(index);
    }

    fn received(&mut self, index: usize, received: Received) {
        match received {
            Received::Ready => {}
            Received::Message(message) => {
                self.message(index, &message);
                self.to_flush.insert(index);
            }
            Received::Closed(_) => self.lost(index),
        }
    }

    fn lost(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        self.registered -= usize::from(agent.is_registered);
        let failed_attempts = agent.failed_attempts + 1;
        *agent = Agent {
            failed_attempts,
            ..Agent::default()
        };
        self.connect(index);
    }

    fn message(&mut self, index: usize, message: &Message) {
        let agent = &mut self.agents[index];
        match message.kind {
            // The one call of an agent is Register.
            Kind::Return => {
                agent.is_registered = true;
                agent.failed_attempts = 0;
                self.registered += 1;
            }
            Kind::Error => self.lost(index),
            Kind::Signal => {}
            Kind::Call => self.call(index, message),
        }
    }

    fn call(&mut self, index: usize, call: &Message) {
        let serial = call.serial;
        let answer = match call.member.as_str() {
            "Ping" | "Reload" => Ok(Body::default()),
            "ListUnits" => Ok(self.units.clone()),
            "GetUnitProperties" => Ok(self.properties.clone()),
            "GetUnitProperty" => Ok(Body::of(&(Value::Str("active".to_owned()),))),
            "StartUnit" | "StopUnit" | "RestartUnit" | "ReloadUnit" => {
                return self.job(index, call);
            }
            "JobCancel" => return self.cancel(index, call),
            member => Err(CallError::new(
                error_name::UNKNOWN_METHOD,
                format!("Unknown method {member}"),
            )),
        };
        let agent = &mut self.agents[index];
        agent.send(match answer {
            Ok(body) => Message::reply(serial, body),
            Err(error) => Message::error(serial, &error),
        });
    }

    fn job(&mut self, index: usize, call: &Message) {
        let agent = &mut self.agents[index];
        let Ok((unit, _, id)) = call.body.parse::<(String, String, u32)>() else {
            let error = CallError::new(error_name::INVALID_ARGS, "Expected 'ssu'");
            return agent.send(Message::error(call.serial, &error));
        };
        agent.send(Message::reply(call.serial, Body::default()));
        agent.signal("JobStateChanged", Body::of(&(id, "running")));
        if unit.starts_with(HELD) {
            agent.held.insert(id);
        } else {
            agent.signal("JobDone", Body::of(&(id, "done")));
        }
    }

    fn cancel(&mut self, index: usize, call: &Message) {
        let agent = &mut self.agents[index];
        let id = call
            .body
            .parse::<(u32,)>()
            .map_or(0, |arguments| arguments.0);
        if agent.held.remove(&id) {
            agent.send(Message::reply(call.serial, Body::default()));
            agent.signal("JobDone", Body::of(&(id, "canceled")));
        } else {
            let error = CallError::new(error_name::NO_SUCH_JOB, format!("No job {id}"));
            agent.send(Message::error(call.serial, &error));
        }
    }

    /// Sends the heartbeats that are due since the last tick.
    fn send_heartbeats(&mut self) {
        let nodes = self.agents.len();
        let elapsed = self.started.elapsed().as_micros() * nodes as u128;
        let due = usize::try_from(elapsed / HEARTBEAT.as_micros()).unwrap_or(usize::MAX);
        // After a pause each agent sends one, not all that it missed.
        self.heartbeats = self.heartbeats.max(due.saturating_sub(nodes));
        for number in self.heartbeats..due {
            let agent = &mut self.agents[number % nodes];
            if agent.is_registered {
                agent.signal("Heartbeat", Body::default());
                self.to_flush.insert(number % nodes);
            }
        }
        self.heartbeats = due;
    }
}

/// The answer to `ListUnits`.
fn units(count: usize) -> Body {
    let mut writer = Writer::default();
    writer.array(8, |units| {
        for index in 0..count {
            let name = unit_name(index);
            units.align(8);
            for text in [&name, "Simulated", "loaded", "active", "running", ""] {
                units.str(text);
            }
            units.str(&names::systemd_unit_path(&name));
            units.u32(0);
            units.str("");
            units.str("/");
        }
    });
    Body {
        signature: "a(ssssssouso)".into(),
        endian: Endian::Little,
        bytes: writer.into_bytes(),
    }
}

/// The answer to `GetUnitProperties`.
fn properties() -> Body {
    let names: Vec<String> = (0..PROPERTIES)
        .map(|index| format!("Property{index:03}"))
        .collect();
    let entry = |name| Entry(name, Value::U64(u64::MAX));
    let entries: Vec<_> = names.iter().map(|name| entry(name.as_str())).collect();
    Body::of(&(entries,))
}
