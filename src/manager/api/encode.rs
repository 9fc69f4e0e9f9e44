//! From an action to the message that a client gets, which the edge addresses to it.

use super::{interfaces, monitor};
use crate::{
    bus::{Body, CallError, Message, ObjectPath, Value, body::Entry, interface::introspect, names},
    manager::state::event::{Call, Object, Signal},
};

/// The answer to a call.
#[must_use]
pub fn reply(call: &Call, body: Body) -> Message {
    Message::reply(call.serial, body)
}

/// The refusal of a call.
#[must_use]
pub fn reply_error(call: &Call, error: &CallError) -> Message {
    Message::error(call.serial, error)
}

/// The answer to `Introspect`.
#[must_use]
pub fn introspection(call: &Call, object: &Object, children: &[String]) -> Message {
    let own = object.interfaces().iter();
    let own: Vec<_> = own.filter_map(|name| interfaces::public(name)).collect();
    reply(call, Body::of(&(introspect(&own, children),)))
}

/// A signal.
#[must_use]
pub fn signal(signal: &Signal) -> Message {
    let manager =
        |member, body| Message::signal(names::MANAGER_PATH, names::MANAGER_INTERFACE, member, body);
    match signal {
        Signal::JobNew { id } => {
            manager("JobNew", Body::of(&(*id, ObjectPath(names::job_path(*id)))))
        }
        Signal::JobRemoved {
            id,
            node,
            unit,
            result,
        } => {
            let job = ObjectPath(names::job_path(*id));
            let arguments = (*id, job, node.as_str(), unit.as_str(), result.as_str());
            manager("JobRemoved", Body::of(&arguments))
        }
        Signal::NodeConnectionStateChanged { node, state } => manager(
            "NodeConnectionStateChanged",
            Body::of(&(node.as_str(), state.as_str())),
        ),
        Signal::Unit {
            monitor: id,
            node,
            unit,
            change,
        } => monitor::unit(*id, node, unit, change),
        Signal::PeerRemoved {
            monitor: id,
            reason,
        } => monitor::peer_removed(*id, reason),
        Signal::StreamData {
            stream: id,
            channel,
            data,
        } => stream(*id, "Data", Body::of(&(*channel, data))),
        Signal::StreamEnd {
            stream: id,
            status,
            result,
        } => stream(*id, "End", Body::of(&(*status, result.as_str()))),
        Signal::StartUnitJobMetrics {
            node,
            id,
            unit,
            job_us,
            unit_us,
        } => {
            // The path is a string here, as clients of the C manager expect it.
            let job = names::job_path(*id);
            let arguments = (node.as_str(), job, unit.as_str(), *job_us, *unit_us);
            metrics("StartUnitJobMetrics", Body::of(&arguments))
        }
        Signal::AgentJobMetrics {
            node,
            unit,
            method,
            took_us,
        } => {
            let arguments = (node.as_str(), unit.as_str(), method.as_str(), *took_us);
            metrics("AgentJobMetrics", Body::of(&arguments))
        }
        Signal::PropertiesChanged { object, changed } => properties_changed(object, changed),
    }
}

fn stream(id: u32, member: &str, body: Body) -> Message {
    Message::signal(
        &names::stream_path(id),
        names::STREAM_INTERFACE,
        member,
        body,
    )
}

fn metrics(member: &str, body: Body) -> Message {
    Message::signal(names::METRICS_PATH, names::METRICS_INTERFACE, member, body)
}

fn properties_changed(object: &Object, changed: &[(String, Value)]) -> Message {
    let interface = object.interface().unwrap_or_default();
    let changed: Vec<_> = changed
        .iter()
        .map(|(name, value)| Entry(name.as_str(), value.clone()))
        .collect();
    let invalidated: Vec<String> = Vec::new();
    Message::signal(
        &object.path(),
        names::PROPERTIES_INTERFACE,
        "PropertiesChanged",
        Body::of(&(interface, changed, invalidated)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Bytes, marshal::validate};

    #[test]
    fn signals_have_the_types_that_are_described() {
        let (node, unit) = ("rpi4".to_owned(), "a.service".to_owned());
        let signals = [
            Signal::JobNew { id: 1 },
            Signal::JobRemoved {
                id: 1,
                node: node.clone(),
                unit: unit.clone(),
                result: "done".into(),
            },
            Signal::NodeConnectionStateChanged {
                node: node.clone(),
                state: "online".into(),
            },
            Signal::StartUnitJobMetrics {
                node: node.clone(),
                id: 1,
                unit: unit.clone(),
                job_us: 2,
                unit_us: 3,
            },
            Signal::AgentJobMetrics {
                node,
                unit,
                method: "StartUnit".into(),
                took_us: 4,
            },
            Signal::StreamData {
                stream: 1,
                channel: 2,
                data: Bytes(b"a\0\xff".to_vec()),
            },
            Signal::StreamEnd {
                stream: 1,
                status: -1,
                result: "node-lost".into(),
            },
        ];
        let described = || {
            let own = [
                &interfaces::MANAGER,
                &interfaces::STREAM,
                &interfaces::METRICS,
            ];
            own.into_iter()
        };
        let all = described().map(|interface| interface.signals.len());
        assert_eq!(signals.len(), all.sum::<usize>());
        for one in &signals {
            let message = signal(one);
            let described = described()
                .filter(|interface| interface.name == message.interface)
                .flat_map(|interface| interface.signals)
                .find(|found| found.name == message.member);
            let expected: String = described
                .unwrap()
                .arguments
                .iter()
                .map(|argument| argument.1)
                .collect();
            assert_eq!(message.body.signature, expected);
            validate(
                &message.body.signature,
                &message.body.bytes,
                message.body.endian,
            )
            .unwrap();
        }
    }

    #[test]
    fn changed_properties_carry_their_values() {
        let changed = vec![("Status".to_owned(), Value::Str("online".into()))];
        let message = signal(&Signal::PropertiesChanged {
            object: Object::Node("a".into()),
            changed,
        });
        assert_eq!(message.path, "/org/containers/hirte/node/a");
        assert_eq!(message.body.signature, "sa{sv}as");
        validate(
            &message.body.signature,
            &message.body.bytes,
            message.body.endian,
        )
        .unwrap();
    }
}
