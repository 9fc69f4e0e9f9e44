//! What each method of the public API does.

use super::{
    State, emit,
    event::{Action, Call, Method, MonitorMethod, Object, PeerId, Signal},
    jobs::Wanted,
    listing::List,
    requests::{Purpose, reply, reply_error},
};
use crate::{
    bus::{Body, CallError, ObjectPath, Value, error_name, names},
    core::{Level, Now},
};

impl State {
    pub(super) fn call(
        &mut self,
        now: Now,
        call: Call,
        object: &Object,
        method: Method,
        actions: &mut Vec<Action>,
    ) {
        if let Some(error) = self.refusal(&call, object, &method) {
            return reply_error(call, error, actions);
        }
        match method {
            Method::Ping(text) => reply(call, Body::of(&(text,)), actions),
            Method::ListUnits { detailed } => {
                self.list(now, call, (List::Units, detailed), actions);
            }
            Method::ListUnitFiles { detailed } => {
                self.list(now, call, (List::UnitFiles, detailed), actions);
            }
            Method::ListNodes { with_addresses } => {
                reply(call, self.list_nodes(with_addresses), actions);
            }
            Method::GetNode(name) => self.get_node(call, &name, actions),
            Method::QueueJob { kind, unit, mode } => {
                if let Some((call, node)) = self.online(call, object, actions) {
                    let wanted = Wanted::of_unit(kind, unit, mode);
                    self.queue_job(now, call, node, wanted, actions);
                }
            }
            Method::StartTransientUnit {
                unit,
                mode,
                arguments,
            } => {
                if let Some((call, node)) = self.online(call, object, actions) {
                    let wanted = Wanted::of_transient_unit(unit, mode, arguments);
                    self.queue_job(now, call, node, wanted, actions);
                }
            }
            Method::SetLogLevel(level) => self.set_log_level(now, call, object, &level, actions),
            Method::SetMetrics { enabled } => self.set_metrics(call, enabled, actions),
            Method::Relay { method, arguments } => {
                if let Some((call, (_, peer))) = self.online(call, object, actions) {
                    self.request(
                        now,
                        peer,
                        (&method, arguments),
                        Purpose::Relay(call),
                        actions,
                    );
                }
            }
            Method::CreateMonitor => self.create_monitor(call, actions),
            Method::Monitor(method) => {
                if let Object::Monitor(id) = object {
                    self.call_monitor(call, *id, method, actions);
                } else {
                    reply_error(call, unknown_object(object), actions);
                }
            }
            Method::OpenStream { kind, arguments } => {
                self.open_stream(now, call, object, (kind, arguments), actions);
            }
            Method::Stream(method) => {
                if let Object::Stream(id) = object {
                    self.call_stream(call, *id, method, actions);
                } else {
                    reply_error(call, unknown_object(object), actions);
                }
            }
            Method::CancelJob => {
                if let Object::Job(id) = object {
                    self.cancel_job(now, call, *id, actions);
                } else {
                    reply_error(call, unknown_object(object), actions);
                }
            }
            Method::GetProperty {
                interface,
                property,
            } => match self.property(object, &interface, &property, call.dialect) {
                Ok(value) => reply(call, Body::of(&(value,)), actions),
                Err(error) => reply_error(call, error, actions),
            },
            Method::GetAllProperties(interface) => {
                match self.properties(object, &interface, call.dialect) {
                    Ok(properties) => reply(call, Body::of(&(properties,)), actions),
                    Err(error) => reply_error(call, error, actions),
                }
            }
            Method::Introspect => {
                let children = self.children(object);
                if call.expects_reply {
                    let object = object.clone();
                    actions.push(Action::ReplyIntrospection {
                        call,
                        object,
                        children,
                    });
                }
            }
            Method::PeerPing => reply(call, Body::default(), actions),
            Method::Refused(error) => reply_error(call, error, actions),
        }
    }

    /// Why a call is not served at all.
    fn refusal(&self, call: &Call, object: &Object, method: &Method) -> Option<CallError> {
        // What a stream may have under way is bounded, and without credit it would stand for ever.
        let is_of_stream = matches!(method, Method::Stream(_));
        let goes_to_bus = call.client.is_on_bus() || tells_of_monitors(method);
        if self.bus_congested && goes_to_bus && !is_of_stream {
            let text = "Too much is waiting to be sent to the bus";
            return Some(CallError::new(error_name::LIMITS_EXCEEDED, text));
        }
        let is_there = self.exists(object) || *method == Method::PeerPing;
        let unknown = || (!is_there).then(|| unknown_object(object));
        self.denial(call, method).or_else(unknown)
    }

    /// The log was set to something, which clients are told if it is something else.
    pub(super) fn log_set(&mut self, level: Level, target: String, actions: &mut Vec<Action>) {
        let mut changed = Vec::new();
        if level != self.log_level {
            changed.push(("LogLevel".to_owned(), Value::Str(level.name().to_owned())));
        }
        if target != self.log_target {
            changed.push(("LogTarget".to_owned(), Value::Str(target.clone())));
        }
        (self.log_level, self.log_target) = (level, target);
        if !changed.is_empty() {
            let object = Object::Manager;
            emit(actions, Signal::PropertiesChanged { object, changed });
        }
    }

    /// Of a node: its agent gets the level in the only form that C agents survive.
    fn set_log_level(
        &mut self,
        now: Now,
        call: Call,
        object: &Object,
        level: &str,
        actions: &mut Vec<Action>,
    ) {
        let Some(level) = Level::parse(level) else {
            let error = CallError::new(error_name::INVALID_ARGS, "Invalid input for log level");
            reply_error(call, error, actions);
            return;
        };
        if *object == Object::Manager {
            let request = format!("SetLogLevel {}", level.name());
            self.log_request(&call.client, request, actions);
            actions.push(Action::SetLogLevel(level));
            self.log_set(level, self.log_target.clone(), actions);
            reply(call, Body::default(), actions);
        } else if let Some((call, (_, peer))) = self.online(call, object, actions) {
            let request = ("SetLogLevel", Body::of(&(level.name(),)));
            self.request(now, peer, request, Purpose::Relay(call), actions);
        }
    }

    /// The node that `object` is and the connection of its agent; otherwise the client is told
    /// that the node is offline.
    pub(super) fn online(
        &self,
        call: Call,
        object: &Object,
        actions: &mut Vec<Action>,
    ) -> Option<(Call, (usize, PeerId))> {
        let index = match object {
            Object::Node(name) => self.node_index.get(name).copied(),
            _ => None,
        };
        let Some(index) = index else {
            reply_error(call, unknown_object(object), actions);
            return None;
        };
        if let Some(peer) = self.nodes[index].peer {
            return Some((call, (index, peer)));
        }
        reply_error(
            call,
            CallError::new(error_name::OFFLINE, "Node is offline"),
            actions,
        );
        None
    }

    fn list_nodes(&self, with_addresses: bool) -> Body {
        let nodes = self.order.iter().map(|&index| {
            let node = &self.nodes[index];
            let path = ObjectPath(names::node_path(&node.name));
            (node.name.as_str(), path, node.status(), self.peer_ip(index))
        });
        if with_addresses {
            return Body::of(&(nodes.collect::<Vec<_>>(),));
        }
        let nodes = nodes.map(|(name, path, status, _)| (name, path, status));
        Body::of(&(nodes.collect::<Vec<_>>(),))
    }

    fn get_node(&self, call: Call, name: &str, actions: &mut Vec<Action>) {
        if self.node_index.contains_key(name) {
            reply(
                call,
                Body::of(&(ObjectPath(names::node_path(name)),)),
                actions,
            );
        } else {
            let error = CallError::new(error_name::SERVICE_UNKNOWN, "Node not found");
            reply_error(call, error, actions);
        }
    }
}

/// Whether a call has something told of a monitor at once, to everybody on the bus or to its clients
/// there. It waits for a bus that reads, whoever calls.
const fn tells_of_monitors(method: &Method) -> bool {
    matches!(
        method,
        Method::Monitor(
            MonitorMethod::Unsubscribe(_)
                | MonitorMethod::AddPeer(_)
                | MonitorMethod::RemovePeer { .. }
        )
    )
}

pub(super) fn unknown_object(object: &Object) -> CallError {
    let text = format!("Unknown object '{}'.", object.path());
    CallError::new(error_name::UNKNOWN_OBJECT, text)
}
