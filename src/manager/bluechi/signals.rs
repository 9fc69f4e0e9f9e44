//! Signals to `BlueChi`'s clients.

use super::{interfaces, rename};
use crate::{
    bus::{Body, Message, ObjectPath, Value, body::Entry, interface::Changes, names},
    manager::{
        api::calls,
        state::event::{Object, Signal},
    },
};

/// A signal that everybody gets in both dialects; `None` for one that `BlueChi` does not have, or
/// that only the clients of a monitor get there.
#[must_use]
pub fn broadcast(signal: &Signal) -> Option<Message> {
    match signal {
        Signal::NodeConnectionStateChanged { .. }
        | Signal::Unit { .. }
        | Signal::PeerRemoved { .. } => None,
        Signal::PropertiesChanged { object, changed } => properties_changed(object, changed),
        _ => Some(self::signal(signal)),
    }
}

/// A signal under `BlueChi`'s names.
#[must_use]
pub fn signal(signal: &Signal) -> Message {
    let ours = rename::message(calls::signal(signal));
    let job = |id| rename::path(&names::job_path(id)).into_owned();
    let body = match signal {
        Signal::JobNew { id } => Body::of(&(*id, ObjectPath(job(*id)))),
        Signal::JobRemoved {
            id,
            node,
            unit,
            result,
        } => {
            let (node, unit, result) = (node.as_str(), unit.as_str(), result.as_str());
            Body::of(&(*id, ObjectPath(job(*id)), node, unit, result))
        }
        Signal::StartUnitJobMetrics {
            node,
            id,
            unit,
            job_us,
            unit_us,
        } => Body::of(&(node.as_str(), job(*id), unit.as_str(), *job_us, *unit_us)),
        _ => return ours,
    };
    Message { body, ..ours }
}

/// Those of the properties that `BlueChi` has and announces.
fn properties_changed(object: &Object, changed: &[(String, Value)]) -> Option<Message> {
    let interface = interfaces::of(object)?;
    let changed: Vec<_> = changed
        .iter()
        .filter(|(name, _)| {
            let property = interface.property(name);
            property.is_some_and(|property| property.changes == Changes::Emitted)
        })
        .map(|(name, value)| Entry(name.as_str(), value.clone()))
        .collect();
    let invalidated: Vec<String> = Vec::new();
    (!changed.is_empty()).then(|| {
        Message::signal(
            &rename::path(&object.path()),
            names::PROPERTIES_INTERFACE,
            "PropertiesChanged",
            Body::of(&(interface.name, changed, invalidated)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bus::marshal::validate,
        manager::state::event::{Reason, UnitChange},
    };

    fn signals() -> Vec<Signal> {
        let (node, unit) = ("rpi4".to_owned(), "a.service".to_owned());
        vec![
            Signal::JobNew { id: 1 },
            Signal::JobRemoved {
                id: 1,
                node: node.clone(),
                unit: unit.clone(),
                result: "done".into(),
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
        ]
    }

    #[test]
    fn signals_have_the_types_and_names_that_are_described() {
        for one in signals() {
            let message = broadcast(&one).unwrap();
            let found = interfaces::PUBLIC
                .into_iter()
                .find(|interface| interface.name == message.interface)
                .and_then(|interface| {
                    let mut signals = interface.signals.iter();
                    signals.find(|signal| signal.name == message.member)
                });
            let types = found.unwrap().arguments.iter().map(|argument| argument.1);
            let Body {
                signature,
                bytes,
                endian,
            } = &message.body;
            assert_eq!(*signature, types.collect::<String>());
            validate(signature, bytes, *endian).unwrap();
            let bytes = String::from_utf8_lossy(bytes);
            assert!(!bytes.contains("hirte"), "{bytes}");
            assert!(message.path.starts_with(rename::PATH));
        }
    }

    #[test]
    fn what_only_some_get_is_no_broadcast() {
        let unit = Signal::Unit {
            monitor: 3,
            node: "rpi4".to_owned(),
            unit: "a.service".to_owned(),
            change: UnitChange::New {
                reason: Reason::Real,
            },
        };
        assert_eq!(broadcast(&unit), None);
        let message = signal(&unit);
        assert_eq!(message.path, "/org/eclipse/bluechi/monitor/3");
        assert_eq!(message.interface, "org.eclipse.bluechi.Monitor");
        let state = Signal::NodeConnectionStateChanged {
            node: "rpi4".to_owned(),
            state: "online".to_owned(),
        };
        assert_eq!(broadcast(&state), None);
    }

    #[test]
    fn changes_of_announced_properties_are_told() {
        let of_node = |name: &str| Signal::PropertiesChanged {
            object: Object::Node("rpi4".to_owned()),
            changed: vec![(name.to_owned(), Value::Str("x".to_owned()))],
        };
        let message = broadcast(&of_node("Status")).unwrap();
        assert_eq!(message.path, "/org/eclipse/bluechi/node/rpi4");
        assert_eq!(message.body.first_str(), Some("org.eclipse.bluechi.Node"));
        assert_eq!(broadcast(&of_node("PeerIp")), None);
    }
}
