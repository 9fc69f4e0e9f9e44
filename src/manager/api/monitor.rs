//! The public interface of a monitor: its description, its calls, its signals.

use crate::{
    bus::{
        Body, Message,
        interface::{Argument, Interface, Method, Signal},
        marshal::Malformed,
        names,
    },
    manager::state::event::{Method as Call, MonitorMethod, UnitChange},
};

/// `org.containers.hirte.Manager.CreateMonitor`
pub const CREATE_MONITOR: Method = Method {
    name: "CreateMonitor",
    arguments: &[],
    results: &[Argument("monitor", "o")],
    doc: "Creates a monitor, which is told of units; see org.containers.hirte.Monitor. It \
          belongs to the caller and ends when the caller leaves the bus, or its private connection \
          ends. Errors: \
          org.freedesktop.DBus.Error.LimitsExceeded when the caller has 64 monitors, or there are \
          1024 in all.",
};

/// `org.containers.hirte.Monitor`
pub const MONITOR: Interface = Interface {
    name: names::MONITOR_INTERFACE,
    doc: "A monitor, at /org/containers/hirte/monitor/ID. Its subscriptions say of which units it \
          is told. It is used by its owner and by root; others get \
          org.freedesktop.DBus.Error.AccessDenied. After a subscription, and when a node returns, \
          it tells with the reason virtual what is: for each loaded unit, in the order of the \
          names, UnitNew and UnitStateChanged; when a node is lost, for each unit \
          UnitStateChanged (inactive, agent-offline) unless it was inactive, and UnitRemoved. A \
          subscription to all units is told first, and when the node is lost, like a unit called \
          *, which has no other state. What happens on a node follows with the reason real. A \
          unit that UnitNew tells is inactive (dead) until UnitStateChanged tells otherwise; no \
          state is told twice. UnitNew of a unit that was told before is a snapshot: what happened \
          since was more than the bus could take.",
    methods: &[
        Method {
            name: "Subscribe",
            arguments: &[Argument("node", "s"), Argument("unit", "s")],
            results: &[Argument("id", "u")],
            doc: "Watches a unit of a node. * stands for all units or all nodes, those that are \
                  loaded or connected later included; there are no other wildcards. A unit of \
                  several subscriptions is told once. Errors: \
                  org.freedesktop.DBus.Error.ServiceUnknown when the configuration has no such \
                  node, org.freedesktop.DBus.Error.InvalidArgs when no unit can have this name, \
                  org.freedesktop.DBus.Error.LimitsExceeded when the monitor has 1024 \
                  subscriptions or would watch more than 65536 units of single nodes (* counts as \
                  one unit).",
        },
        Method {
            name: "SubscribeList",
            arguments: &[Argument("node", "s"), Argument("units", "as")],
            results: &[Argument("id", "u")],
            doc: "Watches several units, 1 to 1024, with one subscription; otherwise as Subscribe.",
        },
        Method {
            name: "Unsubscribe",
            arguments: &[Argument("id", "u")],
            results: &[],
            doc: "Ends a subscription. Errors: org.containers.hirte.NoSuchSubscription.",
        },
        Method {
            name: "Close",
            arguments: &[],
            results: &[],
            doc: "Ends the monitor.",
        },
        Method {
            name: "AddPeer",
            arguments: &[Argument("name", "s")],
            results: &[Argument("id", "u")],
            doc: "Sends UnitPropertiesChanged also to the client with this unique bus name, until \
                  it leaves the bus. A client with a private connection has no such name. Errors: \
                  org.freedesktop.DBus.Error.InvalidArgs when it is no unique name or was added \
                  before, org.freedesktop.DBus.Error.LimitsExceeded when \
                  there are 64 peers.",
        },
        Method {
            name: "RemovePeer",
            arguments: &[Argument("id", "u"), Argument("reason", "s")],
            results: &[],
            doc: "Removes a peer, which gets PeerRemoved with the reason. Errors: \
                  org.freedesktop.DBus.Error.InvalidArgs when there is no such peer.",
        },
    ],
    signals: &[
        Signal {
            name: "UnitPropertiesChanged",
            arguments: &[
                Argument("node", "s"),
                Argument("unit", "s"),
                Argument("interface", "s"),
                Argument("properties", "a{sv}"),
            ],
            doc: "Properties of a unit on one of systemd's interfaces have changed. Sent to the \
                  owner and the peers only. Changes that systemd announces without the value are \
                  not told, nor those before a snapshot.",
        },
        Signal {
            name: "UnitNew",
            arguments: &[
                Argument("node", "s"),
                Argument("unit", "s"),
                Argument("reason", "s"),
            ],
            doc: "A unit is loaded: real or virtual.",
        },
        Signal {
            name: "UnitStateChanged",
            arguments: &[
                Argument("node", "s"),
                Argument("unit", "s"),
                Argument("active_state", "s"),
                Argument("sub_state", "s"),
                Argument("reason", "s"),
            ],
            doc: "The ActiveState or the SubState of a unit has changed (real), or is told \
                  (virtual).",
        },
        Signal {
            name: "UnitRemoved",
            arguments: &[
                Argument("node", "s"),
                Argument("unit", "s"),
                Argument("reason", "s"),
            ],
            doc: "A unit is no longer loaded (real), or its node is lost (virtual).",
        },
        Signal {
            name: "PeerRemoved",
            arguments: &[Argument("reason", "s")],
            doc: "Sent to a peer that gets no more of the monitor's signals: by RemovePeer, or \
                  because of the end of the monitor (monitor closed).",
        },
    ],
    properties: &[],
};

/// The method `member` of a monitor, whose arguments have the right types.
pub(super) fn method(member: &str, body: &Body) -> Result<Call, Malformed> {
    let method = match member {
        "Subscribe" => {
            let (node, unit) = body.parse()?;
            let units = vec![unit];
            MonitorMethod::Subscribe { node, units }
        }
        "SubscribeList" => {
            let (node, units) = body.parse()?;
            MonitorMethod::Subscribe { node, units }
        }
        "Unsubscribe" => MonitorMethod::Unsubscribe(body.parse::<(u32,)>()?.0),
        "AddPeer" => MonitorMethod::AddPeer(body.parse::<(String,)>()?.0),
        "RemovePeer" => {
            let (peer, reason) = body.parse()?;
            MonitorMethod::RemovePeer { peer, reason }
        }
        _ => MonitorMethod::Close,
    };
    Ok(Call::Monitor(method))
}

/// What monitor `id` tells of a unit.
pub(super) fn unit(id: u32, node: &str, unit: &str, change: &UnitChange) -> Message {
    let (member, body) = match change {
        UnitChange::New { reason } => ("UnitNew", Body::of(&(node, unit, reason.word()))),
        UnitChange::State {
            active,
            sub,
            reason,
        } => {
            let arguments = (node, unit, active.as_str(), sub.as_str(), reason.word());
            ("UnitStateChanged", Body::of(&arguments))
        }
        UnitChange::Properties { interface, changed } => {
            // What can not be read as a dictionary is none, and was refused when it came.
            let body = changed.after_strings(&[node, unit, interface]);
            ("UnitPropertiesChanged", body.unwrap_or_default())
        }
        UnitChange::Removed { reason } => ("UnitRemoved", Body::of(&(node, unit, reason.word()))),
    };
    signal(id, member, body)
}

/// A peer of monitor `id` is one no more.
pub(super) fn peer_removed(id: u32, reason: &str) -> Message {
    signal(id, "PeerRemoved", Body::of(&(reason,)))
}

fn signal(id: u32, member: &str, body: Body) -> Message {
    Message::signal(
        &names::monitor_path(id),
        names::MONITOR_INTERFACE,
        member,
        body,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bus::{Value, body::Entry, marshal::validate},
        manager::state::event::Reason,
    };

    #[test]
    fn signals_have_the_types_that_are_described() {
        let reason = Reason::Real;
        let (active, sub) = ("active".to_owned(), "running".to_owned());
        let interface = names::SYSTEMD_UNIT_INTERFACE.to_owned();
        let changed = Body::of(&(vec![Entry("NRestarts", Value::U64(1))],));
        let messages = [
            UnitChange::New { reason },
            UnitChange::State {
                active,
                sub,
                reason,
            },
            UnitChange::Properties { interface, changed },
            UnitChange::Removed { reason },
        ]
        .iter()
        .map(|change| unit(1, "rpi4", "a.service", change))
        .chain([peer_removed(1, "done")])
        .collect::<Vec<_>>();
        assert_eq!(messages.len(), MONITOR.signals.len());
        for message in messages {
            let mut described = MONITOR.signals.iter();
            let found = described
                .find(|signal| signal.name == message.member)
                .unwrap();
            let expected: String = found.arguments.iter().map(|argument| argument.1).collect();
            let Body {
                signature,
                bytes,
                endian,
            } = &message.body;
            assert_eq!(*signature, expected);
            validate(signature, bytes, *endian).unwrap();
        }
    }
}
