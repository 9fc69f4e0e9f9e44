//! The message bus of a node, and on it `hirte-proxy`, which systemd runs for the units of proxies.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hirte::{
    agent::state::{
        Action, Event, FromBus, FromSystemd, LocalCall, Method, Object, SystemdAccess, Target,
    },
    bus::{CallError, error_name},
    core::Instant,
    limits,
};

use super::{
    dependencies::{Command, target_of},
    world::{Happening, World},
};

/// How long a message takes on the bus of a node.
const DELAY: Duration = Duration::from_micros(100);

/// The message bus of a node.
pub struct NodeBus {
    pub is_up: bool,
    /// Whether the agent has its name there.
    pub has_agent: bool,
    /// Clients of which the agent wants to know when they leave.
    watched: BTreeSet<String>,
    last_client: u32,
    /// Processes that run, by their names on the bus.
    helpers: BTreeMap<String, Helper>,
    /// Calls that the agent has got and not answered.
    pub open: BTreeSet<(String, u32)>,
}

/// A process that is run for the unit of a proxy.
#[derive(Clone, Debug)]
struct Helper {
    unit: String,
    command: Command,
    asked_at: Instant,
    missed_at: Option<Instant>,
    is_repeated: bool,
    /// Its call is on the bus.
    waits: bool,
}

/// How a call ended for the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Refused(CallError),
    Absent,
}

impl NodeBus {
    pub fn new() -> Self {
        Self {
            is_up: true,
            has_agent: false,
            watched: BTreeSet::new(),
            last_client: 0,
            helpers: BTreeMap::new(),
            open: BTreeSet::new(),
        }
    }

    /// Notes a call that the agent gets.
    pub fn note_event(&mut self, event: &Event) {
        match event {
            Event::Bus(FromBus::Attached) => self.has_agent = true,
            Event::Bus(FromBus::Lost(_)) => self.open.clear(),
            Event::Bus(FromBus::Call { call, .. }) => {
                self.open.insert((call.client.clone(), call.serial));
            }
            _ => {}
        }
    }

    /// The agent answers each call of its clients once.
    pub fn judge(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Reply { call, .. } | Action::ReplyError { call, .. }
                if !self.open.remove(&(call.client.clone(), call.serial)) =>
            {
                Err(format!(
                    "the agent answers {call:?}, which waits for no answer"
                ))
            }
            _ => Ok(()),
        }
    }

    fn new_name(&mut self) -> String {
        self.last_client += 1;
        format!(":1.{}", self.last_client)
    }
}

impl World {
    /// systemd has a process run, or ended, for the unit of a proxy.
    pub fn run_command(&mut self, node: usize, unit: String, command: Command) {
        let bus = &mut self.nodes[node].bus;
        if command == Command::Kill {
            let mut helpers = bus.helpers.iter();
            let found = helpers.find(|(_, helper)| helper.unit == unit);
            if let Some(client) = found.map(|(client, _)| client.clone()) {
                self.helper_leaves(node, &client);
            }
            return;
        }
        let helper = Helper {
            unit,
            command,
            asked_at: self.now,
            missed_at: None,
            is_repeated: false,
            waits: false,
        };
        self.helper_connects(node, helper, DELAY);
    }

    fn helper_connects(&mut self, node: usize, helper: Helper, time: Duration) {
        let bus = &mut self.nodes[node].bus;
        let client = bus.new_name();
        bus.helpers.insert(client.clone(), helper);
        self.after(time, Happening::HelperCalls(node, client));
    }

    /// A process is gone from the bus.
    fn helper_leaves(&mut self, node: usize, client: &str) -> Option<Helper> {
        let host = &mut self.nodes[node];
        let helper = host.bus.helpers.remove(client)?;
        if host.bus.watched.remove(client) {
            let event = Event::Bus(FromBus::ClientLeft(client.to_owned()));
            let run = host.run;
            self.after(DELAY, Happening::ToAgent(node, run, event));
        }
        Some(helper)
    }

    pub fn helper_calls(&mut self, node: usize, client: String) {
        let (now, host) = (self.now, &mut self.nodes[node]);
        let is_there = host.bus.is_up && host.bus.has_agent;
        let Some(helper) = host.bus.helpers.get_mut(&client) else {
            return;
        };
        helper.asked_at = now;
        if !is_there {
            return self.helper_answered(node, &client, &Outcome::Absent);
        }
        helper.waits = true;
        let (to, unit) = target_of(&helper.unit).unwrap();
        let target = Target {
            service: helper.unit.clone(),
            node: to.to_owned(),
            unit: unit.to_owned(),
        };
        let method = match helper.command {
            Command::Create => Method::CreateProxy(target),
            Command::Remove | Command::Kill => Method::RemoveProxy(target),
        };
        let call = LocalCall {
            client,
            serial: 2,
            expects_reply: true,
        };
        let object = Object::Agent;
        let call = FromBus::Call {
            call,
            object,
            method,
        };
        let run = host.run;
        self.after(DELAY, Happening::ToAgent(node, run, Event::Bus(call)));
    }

    /// A call of a process was answered, or nobody is there to answer it.
    pub fn helper_answered(&mut self, node: usize, client: &str, outcome: &Outcome) {
        let Some(mut helper) = self.helper_leaves(node, client) else {
            return;
        };
        let is_absent = match outcome {
            Outcome::Absent => true,
            Outcome::Refused(error) => {
                helper.is_repeated && error.name == error_name::ADDRESS_IN_USE
            }
            Outcome::Done => false,
        };
        let is_good = *outcome == Outcome::Done || helper.command == Command::Remove;
        if is_good || !is_absent {
            return self.helper_ends(node, &helper, is_good);
        }
        helper.is_repeated = true;
        helper.waits = false;
        if self.now.since(helper.asked_at) >= limits::TICK {
            helper.missed_at = None;
        }
        let missed_at = *helper.missed_at.get_or_insert(self.now);
        if self.now.since(missed_at) >= limits::AGENT_RETURN {
            return self.helper_ends(node, &helper, false);
        }
        self.helper_connects(node, helper, limits::BUS_FIRST_RETRY);
    }

    fn helper_ends(&mut self, node: usize, helper: &Helper, is_good: bool) {
        if helper.command == Command::Create && is_good {
            self.proxy_succeeded(node, &helper.unit);
        }
        let systemd = &mut self.nodes[node].systemd;
        let effects = systemd.command_ended(&helper.unit, helper.command, is_good, &mut self.prng);
        self.take_effect(node, effects);
    }

    /// What the agent does on its bus.
    pub fn agent_acts_on_bus(&mut self, node: usize, action: Action) {
        let run = self.nodes[node].run;
        let bus = &mut self.nodes[node].bus;
        match action {
            Action::Reply { call, .. } => {
                let happening = Happening::HelperAnswered(node, call.client, Outcome::Done);
                self.after(DELAY, happening);
            }
            Action::ReplyError { call, error } => {
                let outcome = Outcome::Refused(error);
                self.after(DELAY, Happening::HelperAnswered(node, call.client, outcome));
            }
            Action::WatchClient(client) => {
                if bus.helpers.contains_key(&client) {
                    bus.watched.insert(client);
                } else {
                    let event = Event::Bus(FromBus::ClientLeft(client));
                    self.after(DELAY, Happening::ToAgent(node, run, event));
                }
            }
            Action::UnwatchClient(client) => drop(bus.watched.remove(&client)),
            Action::AttachBus => {
                let event = if bus.is_up {
                    FromBus::Attached
                } else {
                    FromBus::Lost("No such file or directory".to_owned())
                };
                let happening = Happening::ToAgent(node, run, Event::Bus(event));
                self.after(Duration::from_millis(1), happening);
            }
            _ => {}
        }
    }

    /// The agent, or the whole bus, is gone: nobody answers the calls that wait.
    pub fn agent_left_bus(&mut self, node: usize) {
        let bus = &mut self.nodes[node].bus;
        bus.has_agent = false;
        bus.watched.clear();
        let waiting = bus.helpers.iter().filter(|(_, helper)| helper.waits);
        let waiting: Vec<String> = waiting.map(|(client, _)| client.clone()).collect();
        for client in waiting {
            self.after(
                DELAY,
                Happening::HelperAnswered(node, client, Outcome::Absent),
            );
        }
    }

    /// The bus of a node restarts, and with it an agent's way to systemd that leads over it.
    pub fn node_bus_lost(&mut self, node: usize, time: Duration) {
        self.after(time, Happening::NodeBusBack(node));
        if !std::mem::take(&mut self.nodes[node].bus.is_up) {
            return;
        }
        self.agent_left_bus(node);
        self.queue.retain(|_, happening| {
            !matches!(happening, Happening::ToAgent(of, _, Event::Bus(_)) if *of == node)
        });
        let reason = || "Connection reset by peer".to_owned();
        self.agent_handles(node, Event::Bus(FromBus::Lost(reason())));
        let host = &mut self.nodes[node];
        if host.settings.systemd == SystemdAccess::Bus
            && let Some(connection) = host.systemd_connection.take()
        {
            let event = FromSystemd::Closed(reason());
            self.systemd_sends(node, connection, event, Duration::from_micros(20));
        }
    }
}
