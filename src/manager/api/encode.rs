//! From an action to the message that a client gets.

use super::{interfaces, monitor};
use crate::{
    bus::{Body, CallError, Message, ObjectPath, Value, body::Entry, interface::introspect, names},
    manager::state::event::{Call, Object, Signal},
};

/// The answer to a call.
#[must_use]
pub fn reply(call: &Call, body: Body) -> Message {
    Message::reply(call.serial, body).to(&call.client)
}

/// The refusal of a call.
#[must_use]
pub fn reply_error(call: &Call, error: &CallError) -> Message {
    Message::error(call.serial, error).to(&call.client)
}

/// The answer to `Introspect`.
#[must_use]
pub fn introspection(call: &Call, object: &Object, children: &[String]) -> Message {
    let own = object.interface().and_then(interfaces::public);
    reply(call, Body::of(&(introspect(own, children),)))
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
        Signal::PropertiesChanged { object, changed } => properties_changed(object, changed),
    }
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
    use crate::bus::marshal::validate;

    #[test]
    fn signals_have_the_types_that_are_described() {
        let (node, unit) = ("rpi4".to_owned(), "a.service".to_owned());
        let signals = [
            Signal::JobNew { id: 1 },
            Signal::JobRemoved {
                id: 1,
                node: node.clone(),
                unit,
                result: "done".into(),
            },
            Signal::NodeConnectionStateChanged {
                node,
                state: "online".into(),
            },
        ];
        assert_eq!(signals.len(), interfaces::MANAGER.signals.len());
        for one in &signals {
            let message = signal(one);
            let described = interfaces::MANAGER
                .signals
                .iter()
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
