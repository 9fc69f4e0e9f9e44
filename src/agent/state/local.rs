//! The agent's place on the message bus of its node, and what its clients there call.

use super::{
    Action, FromBus, LocalCall, State, Timer, Turn,
    event::{Method, Object},
};
use crate::{
    bus::{
        Body, CallError, Value,
        body::Entry,
        error_name,
        interface::{STANDARD, unknown_interface, unknown_property},
        names,
    },
    core::{Level, Now, retry_delay},
    limits,
};

/// Where we stand with the bus, and what its clients know.
#[derive(Debug)]
pub(super) struct Local {
    is_attached: bool,
    /// Failed attempts since we had our name.
    failures: u32,
    /// Whether the first attempt has ended.
    has_tried: bool,
    is_congested: bool,
    log_level: Level,
    log_target: String,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            is_attached: false,
            failures: 0,
            has_tried: false,
            is_congested: false,
            log_level: Level::Info,
            log_target: String::new(),
        }
    }
}

impl Local {
    pub(super) const fn has_tried(&self) -> bool {
        self.has_tried
    }
}

impl State {
    /// The edge is told to try to reach the bus and to take our name there.
    pub(super) fn attach_bus(&mut self, turn: &mut Turn<'_>) {
        let limit = turn.at() + limits::BUS_ATTACH;
        self.timers.set(Timer::BusConnect, limit);
        turn.act(Action::AttachBus);
    }

    pub(super) fn bus_overdue(&mut self, turn: &mut Turn<'_>) {
        self.bus_lost(turn, "it did not answer in time");
    }

    pub(super) fn bus_reported(&mut self, turn: &mut Turn<'_>, event: FromBus) {
        match event {
            FromBus::Attached => self.bus_attached(turn),
            FromBus::Lost(reason) => self.bus_lost(turn, &reason),
            FromBus::NameRefused { name, reason } => {
                let line = format!("Failed to acquire the bus name {name}: {reason}");
                turn.log(Level::Error, line);
                self.end(turn, 1);
            }
            FromBus::Congested(is_congested) => self.local.is_congested = is_congested,
            FromBus::Call {
                call,
                object,
                method,
            } => self.local_call(turn, call, object, method),
            FromBus::ClientLeft(client) => self.proxy_caller_left(turn, &client),
        }
    }

    fn bus_attached(&mut self, turn: &mut Turn<'_>) {
        self.timers.clear(Timer::BusConnect);
        self.local.is_attached = true;
        self.local.failures = 0;
        let line = format!("Acquired the bus name {}", names::AGENT_BUS_NAME);
        turn.log(Level::Info, line);
        self.await_callers(turn);
        self.bus_tried(turn);
    }

    /// Nobody is there to be answered. Units whose start waits for a proxy go on waiting.
    fn bus_lost(&mut self, turn: &mut Turn<'_>, reason: &str) {
        if self.local.is_attached || self.local.failures == 0 {
            let line = format!("No connection to the bus: {reason}; trying again");
            turn.log(Level::Warn, line);
        }
        let (first, longest) = (limits::BUS_FIRST_RETRY, limits::BUS_LONGEST_RETRY);
        let wait = retry_delay(self.local.failures, first, longest);
        self.local.failures = self.local.failures.saturating_add(1);
        self.local.is_attached = false;
        self.local.is_congested = false;
        self.timers.clear(Timer::BusConnect);
        self.timers.set(Timer::BusRetry, turn.at() + wait);
        self.proxies.forget_callers();
        self.timers.clear(Timer::Callers);
        self.bus_tried(turn);
    }

    fn bus_tried(&mut self, turn: &mut Turn<'_>) {
        if !std::mem::replace(&mut self.local.has_tried, true) {
            self.become_ready(turn);
        }
    }

    fn local_call(&mut self, turn: &mut Turn<'_>, call: LocalCall, object: Object, method: Method) {
        let refusal = if self.local.is_congested {
            let text = "Too much is waiting to be sent to the bus";
            Some(CallError::new(error_name::LIMITS_EXCEEDED, text))
        } else if let Object::Unknown(path) = &object {
            // Peer is answered by every program, whatever the path (D-Bus Specification).
            let is_peer = matches!(method, Method::PeerPing | Method::MachineId);
            let text = format!("Unknown object '{path}'.");
            (!is_peer).then(|| CallError::new(error_name::UNKNOWN_OBJECT, text))
        } else {
            None
        };
        if let Some(error) = refusal {
            return answer(turn, call, Err(error));
        }
        let result = match method {
            Method::CreateProxy(target) => {
                // It is answered later.
                return match self.create_proxy(turn, call, target) {
                    Ok(()) => {}
                    Err((call, error)) => answer(turn, call, Err(error)),
                };
            }
            Method::Introspect => {
                if call.expects_reply {
                    turn.act(Action::ReplyIntrospection { call, object });
                }
                return;
            }
            Method::RemoveProxy(target) => {
                self.remove_proxy(turn, &target);
                Ok(Body::default())
            }
            Method::SwitchManager(address) => {
                self.switch_manager(turn, address).map(|()| Body::default())
            }
            Method::GetProperty {
                interface,
                property,
            } => self
                .local_property(&object, &interface, &property)
                .map(|value| Body::of(&(value,))),
            Method::GetAllProperties(interface) => self
                .local_properties(&object, &interface)
                .map(|all| Body::of(&(all,))),
            Method::PeerPing => Ok(Body::default()),
            Method::MachineId => self.machine_id(),
            Method::Refused(error) => Err(error),
        };
        answer(turn, call, result);
    }

    fn local_property(
        &self,
        object: &Object,
        interface: &str,
        property: &str,
    ) -> Result<Value, CallError> {
        let all = self.local_properties(object, interface)?;
        let found = all.into_iter().find(|entry| entry.0 == property);
        let found = found.map(|entry| entry.1);
        found.ok_or_else(|| unknown_property(property))
    }

    /// All properties of an object on an interface; empty text stands for all interfaces.
    fn local_properties(
        &self,
        object: &Object,
        interface: &str,
    ) -> Result<Vec<Entry<&'static str, Value>>, CallError> {
        let is_agent = *object == Object::Agent;
        if is_agent && (interface.is_empty() || interface == names::AGENT_INTERFACE) {
            return Ok(self.agent_properties());
        }
        let is_standard = STANDARD.iter().any(|standard| standard.name == interface);
        if interface.is_empty() || is_standard {
            return Ok(Vec::new());
        }
        Err(unknown_interface(interface))
    }

    fn agent_properties(&self) -> Vec<Entry<&'static str, Value>> {
        let seconds = |time: Now| Value::U64(time.realtime_us / 1_000_000);
        let monotonic = |time: Now| Value::U64(time.monotonic.0);
        let word = |text: &str| Value::Str(text.to_owned());
        let (seen, left) = (self.manager.seen(), self.manager.disconnected());
        vec![
            Entry("Status", word(self.manager.status())),
            Entry("ManagerAddress", word(&self.settings.manager)),
            Entry("LogLevel", word(self.local.log_level.name())),
            Entry("LogTarget", word(&self.local.log_target)),
            Entry("DisconnectTimestamp", seconds(left)),
            Entry("DisconnectTimestampMonotonic", monotonic(left)),
            Entry("LastSeenTimestamp", seconds(seen)),
            Entry("LastSeenTimestampMonotonic", monotonic(seen)),
        ]
    }

    /// The log was set to something, which clients are told if it is something else.
    pub(super) fn log_set(&mut self, turn: &mut Turn<'_>, level: Level, target: String) {
        if level != self.local.log_level {
            self.local.log_level = level;
            announce(turn, "LogLevel", level.name());
        }
        if target != self.local.log_target {
            announce(turn, "LogTarget", &target);
            self.local.log_target = target;
        }
    }

    pub(super) fn log_level_set(&mut self, turn: &mut Turn<'_>, level: Level) {
        let target = self.local.log_target.clone();
        self.log_set(turn, level, target);
    }
}

/// Tells clients that a property has another value.
pub(super) fn announce(turn: &mut Turn<'_>, property: &str, value: &str) {
    let value = Value::Str(value.to_owned());
    turn.act(Action::PropertiesChanged(vec![(
        property.to_owned(),
        value,
    )]));
}

/// Answers a client, if it wants an answer.
pub(super) fn answer(turn: &mut Turn<'_>, call: LocalCall, result: Result<Body, CallError>) {
    if call.expects_reply {
        turn.act(match result {
            Ok(body) => Action::Reply { call, body },
            Err(error) => Action::ReplyError { call, error },
        });
    }
}
