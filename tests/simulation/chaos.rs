//! What clients ask, and what goes wrong.

use std::time::Duration;

use hirte::{
    agent::state::Event as AgentEvent,
    bus::{Body, CallError, JobKind, Value, error_name},
    limits,
    manager::state::event::{Call, Client, Dialect, Event, Method, MonitorMethod, Object},
};

use super::{
    dependencies::proxy_for,
    systemd::Effects,
    world::{Happening, World},
};

/// Units that every node's systemd knows.
pub const UNITS: [&str; 4] = ["a.service", "b.service", "c.service", "d.socket"];

/// Slower than every deadline, and over before a fleet must have come to rest.
const SLOWEST_SYSTEMD: Duration = Duration::from_secs(25);

/// Something that goes wrong, at one place, for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No packet passes between a node and the manager.
    Partition(usize),
    /// The connection of a node is reset.
    Reset(usize),
    /// kill -9 of an agent.
    AgentCrash(usize),
    /// systemctl restart of an agent.
    AgentStop(usize),
    /// SIGSTOP of an agent.
    AgentFreeze(usize),
    /// A node's machine sleeps.
    AgentSuspend(usize),
    /// systemctl daemon-reexec on a node.
    Reexec(usize),
    /// The bus of a node restarts.
    NodeBusLoss(usize),
    /// A node's systemd answers late.
    SlowSystemd(usize),
    /// An agent, not ours, whose answers come late and in no order with its signals.
    LateAnswers(usize),
    /// kill -9 of the manager.
    ManagerCrash,
    /// systemctl restart of the manager.
    ManagerStop,
    /// SIGSTOP of the manager.
    ManagerFreeze,
    /// The manager's machine sleeps.
    ManagerSuspend,
    /// The bus of the manager restarts.
    BusLoss,
    /// The clients leave the bus before anybody can ask who they were.
    ClientLoss,
}

impl Fault {
    /// Each of them, on the node with this index.
    pub const fn all(node: usize) -> [Self; 16] {
        [
            Self::Partition(node),
            Self::Reset(node),
            Self::AgentCrash(node),
            Self::AgentStop(node),
            Self::AgentFreeze(node),
            Self::AgentSuspend(node),
            Self::Reexec(node),
            Self::NodeBusLoss(node),
            Self::SlowSystemd(node),
            Self::LateAnswers(node),
            Self::ManagerCrash,
            Self::ManagerStop,
            Self::ManagerFreeze,
            Self::ManagerSuspend,
            Self::BusLoss,
            Self::ClientLoss,
        ]
    }
}

impl World {
    /// One turn of chance: something is asked or goes wrong, and the next turn is set.
    pub fn chaos(&mut self) {
        let next = self.prng.time(Duration::from_micros(50), self.pace);
        self.after(next, Happening::Chaos);
        match self.prng.below(100) {
            0..=59 => self.client_calls(),
            60..=71 => self.needs_change(),
            72..=79 => self.hostile_acts(),
            80..=82 => self.hostile_connects(),
            83 if self.prng.percent(10) => self.flood(),
            86 if self.prng.percent(30) => self.private_leaves(),
            86 => self.client_leaves(),
            87..=89 => {
                let node = self.prng.index(self.nodes.len());
                self.unit_comes_or_goes(node);
            }
            84 => {
                let congested = self.prng.percent(30);
                self.manager_handles(Event::BusCongested(congested));
            }
            85 if self.prng.percent(20) => {
                let reason = "Too many open files".to_owned();
                self.manager_handles(Event::AcceptFailed { reason });
            }
            _ if self.prng.percent(self.trouble) => {
                let node = self.prng.index(self.nodes.len());
                let fault = *self.prng.pick(&Fault::all(node));
                let longest = *self.prng.pick(&[1, 8, 40]);
                let time = self
                    .prng
                    .time(Duration::from_millis(1), Duration::from_secs(longest));
                // Some answers have to come after their deadline.
                let is_late = matches!(fault, Fault::LateAnswers(_)) && self.prng.percent(50);
                let more = if is_late {
                    limits::REQUEST
                } else {
                    Duration::ZERO
                };
                self.inject(fault, time + more);
            }
            _ => {}
        }
    }

    /// A unit of a node begins or ceases to need one of another; or others may be needed.
    fn needs_change(&mut self) {
        let node = self.prng.index(self.nodes.len());
        let other = self.prng.below(self.nodes.len() as u64 + 1);
        let other = format!("node-{other}");
        let unit = *self
            .prng
            .pick(&[UNITS[0], UNITS[1], UNITS[2], "e.service", "nope.service"]);
        let kind = match self.prng.below(20) {
            0 => {
                let allowed = &mut self.settings.nodes[node].may_depend_on;
                if !allowed.remove(&other) && other != format!("node-{}", self.nodes.len()) {
                    allowed.insert(other);
                }
                return self.manager_handles(Event::Reload(self.settings.clone()));
            }
            1..=12 => "start",
            _ => "stop",
        };
        self.wants(node, &proxy_for(&other, unit), kind);
    }

    /// Something on a node has systemd start or stop a unit.
    pub fn wants(&mut self, node: usize, unit: &str, kind: &'static str) {
        let mut effects = Effects::default();
        let systemd = &mut self.nodes[node].systemd;
        let is_loaded = systemd.units.contains_key(unit);
        if kind == "start" || is_loaded {
            let _ = systemd.queue(unit, kind, "replace", &mut self.prng, &mut effects);
        }
        self.take_effect(node, effects);
    }

    fn client_calls(&mut self) {
        let node = format!("node-{}", self.prng.below(self.nodes.len() as u64 + 1));
        let on_node = Object::Node(node.clone());
        let relay = |method: &str, arguments: Body| Method::Relay {
            method: method.to_owned(),
            arguments,
        };
        let (object, method) = match self.prng.below(35) {
            0..=9 => return self.client_wants_job(&node, *self.prng.clone().pick(&JobKind::ALL)),
            10..=12 => {
                let back = self.prng.below(8);
                let id = u64::from(self.last_job_id()).saturating_sub(back);
                (Object::Job(u32::try_from(id).unwrap()), Method::CancelJob)
            }
            13 => (Object::Manager, Method::ListUnits { detailed: false }),
            14 => (Object::Manager, Method::ListUnits { detailed: true }),
            15 => (on_node, relay("ListUnits", Body::default())),
            16 => (on_node, relay("Reload", Body::default())),
            17 => {
                let unit = *self.prng.pick(&UNITS);
                let interface = "org.freedesktop.systemd1.Unit";
                let arguments = Body::of(&(unit, interface, "ActiveState"));
                (on_node, relay("GetUnitProperty", arguments))
            }
            18 => {
                let arguments = Body::of(&(vec!["a.service".to_owned()], false));
                (on_node, relay("DisableUnitFiles", arguments))
            }
            19 => (
                Object::Manager,
                Method::ListNodes {
                    with_addresses: false,
                },
            ),
            20 => (Object::Jobs, Method::Introspect),
            23 => {
                let unit = *self.prng.pick(&UNITS);
                let properties = vec![("CPUWeight", Value::U64(7))];
                let others = vec![("b.service", properties.clone())];
                let method = Method::StartTransientUnit {
                    unit: unit.to_owned(),
                    mode: "fail".to_owned(),
                    arguments: Body::of(&(unit, "fail", properties, others)),
                };
                (on_node, method)
            }
            24 => {
                let enabled = !self.prng.percent(20);
                (Object::Manager, Method::SetMetrics { enabled })
            }
            25 => (Object::Manager, Method::ListUnitFiles { detailed: true }),
            26 => (on_node, Method::SetLogLevel("debug".to_owned())),
            27 => (Object::Manager, Method::GetAllProperties(String::new())),
            21 => (on_node, Method::GetAllProperties(String::new())),
            22 => {
                let error = CallError::new(error_name::UNKNOWN_METHOD, "Unknown method");
                (on_node, Method::Refused(error))
            }
            28..=33 => return self.client_monitors(&node),
            _ => (Object::Manager, Method::Ping("hello".to_owned())),
        };
        self.client_asks(object, method);
    }

    /// A client creates or uses a monitor, its own or that of another.
    fn client_monitors(&mut self, node: &str) {
        let node = if self.prng.percent(30) { "*" } else { node }.to_owned();
        let choice = self.prng.index(1 << 20);
        let Some((id, owner, subscription)) = self.checker.views.pick(choice) else {
            let client = self.any_client();
            return self.client_calls_as(client, Object::Manager, Method::CreateMonitor);
        };
        let is_owner = self.prng.percent(80);
        let client = if is_owner { owner } else { self.any_client() };
        let method = match self.prng.below(12) {
            0 => return self.client_calls_as(client, Object::Manager, Method::CreateMonitor),
            1 => MonitorMethod::Close,
            2 | 3 => MonitorMethod::Unsubscribe(subscription.unwrap_or(7)),
            4 => MonitorMethod::AddPeer(self.prng.pick(&self.bus.clients).clone()),
            5 => MonitorMethod::RemovePeer {
                peer: 1,
                reason: "enough".to_owned(),
            },
            6..=8 => MonitorMethod::Subscribe {
                node,
                units: vec!["*".to_owned()],
            },
            _ => {
                let units = [*self.prng.pick(&UNITS), "e.service", "nope.service"];
                let units = units.map(str::to_owned).to_vec();
                MonitorMethod::Subscribe { node, units }
            }
        };
        self.client_calls_as(client, Object::Monitor(id), Method::Monitor(method));
    }

    /// A client on the bus or, less often, with a private connection.
    fn any_client(&mut self) -> Client {
        if !self.manager.privates.is_empty() && self.prng.percent(25) {
            return Client::Private(*self.prng.pick(&self.manager.privates));
        }
        Client::Bus(self.prng.pick(&self.bus.clients).clone())
    }

    fn client_wants_job(&mut self, node: &str, kind: JobKind) {
        self.prng.next();
        let unit = match self.prng.below(20) {
            0 => "nope.service".to_owned(),
            1 => "x".repeat(300),
            _ => (*self.prng.pick(&UNITS)).to_owned(),
        };
        let mode = (*self.prng.pick(&["replace", "replace", "fail"])).to_owned();
        let method = Method::QueueJob { kind, unit, mode };
        self.client_asks(Object::Node(node.to_owned()), method);
    }

    /// A client calls a method.
    pub fn client_asks(&mut self, object: Object, method: Method) {
        let client = self.any_client();
        self.client_calls_as(client, object, method);
    }

    /// This client calls a method. It always wants to know the number of what it creates.
    pub fn client_calls_as(&mut self, client: Client, object: Object, method: Method) {
        let is_there = match &client {
            Client::Bus(_) => self.bus.is_attached,
            Client::Private(client) => self.manager.privates.contains(client),
        };
        if !is_there {
            return;
        }
        self.bus.last_serial += 1;
        let is_monitor = matches!(method, Method::Monitor(_) | Method::CreateMonitor);
        let call = Call {
            client,
            serial: self.bus.last_serial,
            expects_reply: is_monitor || !self.prng.percent(5),
            dialect: Dialect::Hirte,
        };
        self.manager_handles(Event::Call {
            call,
            object,
            method,
        });
    }

    /// Something goes wrong for `time`.
    pub fn inject(&mut self, fault: Fault, time: Duration) {
        match fault {
            Fault::Partition(node) => {
                self.nodes[node].is_cut = true;
                self.after(time, Happening::Heal(node));
            }
            Fault::Reset(node) => {
                if let Some(peer) = self.nodes[node].connection {
                    self.reset(peer);
                }
            }
            Fault::AgentCrash(node) => {
                self.agent_ends(node);
                self.after(time, Happening::StartAgent(node));
            }
            Fault::AgentStop(node) => {
                self.agent_handles(node, AgentEvent::Stop);
                self.after(time, Happening::StartAgent(node));
            }
            Fault::AgentFreeze(node) => {
                self.nodes[node].is_frozen = true;
                self.after(time, Happening::ThawAgent(node));
            }
            Fault::AgentSuspend(node) => self.nodes[node].slept += time,
            Fault::Reexec(node) => {
                self.systemd_away(node);
                self.after(time, Happening::SystemdBack(node));
            }
            Fault::NodeBusLoss(node) => self.node_bus_lost(node, time),
            Fault::SlowSystemd(node) => self.nodes[node].answers_after = time.min(SLOWEST_SYSTEMD),
            Fault::LateAnswers(node) => self.nodes[node].late_by = time,
            Fault::ManagerCrash => {
                self.manager_ends();
                self.after(time, Happening::StartManager);
            }
            Fault::ManagerStop => {
                self.manager_handles(Event::Stop);
                self.after(time, Happening::StartManager);
            }
            Fault::ManagerFreeze => {
                self.manager.is_frozen = true;
                self.after(time, Happening::ThawManager);
            }
            Fault::ManagerSuspend => self.manager.slept += time,
            Fault::BusLoss => self.bus_lost(time),
            Fault::ClientLoss => self.bus.clients_left_until = self.now + time,
        }
    }
}
