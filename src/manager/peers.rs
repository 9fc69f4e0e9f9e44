//! The internal protocol between manager and agents: messages to and from the types of the state.

mod interfaces;

use crate::{
    bus::{
        Body, CallError, Flags, Kind, Message, ObjectPath, error_name, interface::describe, names,
    },
    manager::state::event::{Dialect, FromPeer, Reason, ToPeer, UnitChange},
};

/// The name that whoever says `Hello` gets. Each connection has one client, so all get the same,
/// which is that of the C manager.
const CLIENT_NAME: &str = ":1.0";

/// What a message of an agent means.
#[must_use]
pub fn decode(message: Message) -> FromPeer {
    match message.kind {
        Kind::Return => FromPeer::Return {
            reply_serial: message.reply_serial,
            body: message.body,
        },
        Kind::Error => FromPeer::Error {
            reply_serial: message.reply_serial,
            error: CallError::from_reply(message.error_name, &message.body),
        },
        Kind::Signal => decode_signal(&message).unwrap_or(FromPeer::Other),
        Kind::Call if message.flags.expects_reply() => decode_call(&message),
        Kind::Call => FromPeer::Other,
    }
}

fn decode_signal(message: &Message) -> Option<FromPeer> {
    if message.is(names::INTERNAL_AGENT_METRICS_INTERFACE, "AgentJobMetrics") {
        let (unit, method, took_us) = message.body.parse().ok()?;
        return Some(FromPeer::JobTime {
            unit,
            method,
            took_us,
        });
    }
    if message.interface != names::INTERNAL_AGENT_INTERFACE {
        return None;
    }
    match message.member.as_str() {
        "Heartbeat" => Some(FromPeer::Heartbeat),
        "JobDone" => {
            let (id, result) = message.body.parse().ok()?;
            Some(FromPeer::JobDone { id, result })
        }
        "JobStateChanged" => {
            let (id, state) = message.body.parse().ok()?;
            Some(FromPeer::JobStateChanged { id, state })
        }
        "ProxyNew" => {
            let (target, unit, ObjectPath(path)) = message.body.parse().ok()?;
            Some(FromPeer::ProxyNew { target, unit, path })
        }
        "ProxyRemoved" => {
            let (target, unit) = message.body.parse().ok()?;
            Some(FromPeer::ProxyRemoved { target, unit })
        }
        "StreamData" => {
            let (stream, channel, data) = message.body.parse().ok()?;
            Some(FromPeer::StreamData {
                stream,
                channel,
                data,
            })
        }
        "StreamEnd" => {
            let (stream, status, result) = message.body.parse().ok()?;
            Some(FromPeer::StreamEnd {
                stream,
                status,
                result,
            })
        }
        _ => decode_unit_signal(message),
    }
}

fn decode_unit_signal(message: &Message) -> Option<FromPeer> {
    let body = &message.body;
    let (unit, change) = match message.member.as_str() {
        "UnitNew" => {
            let (unit, reason): (String, String) = body.parse().ok()?;
            let reason = Reason::of(&reason);
            (unit, UnitChange::New { reason })
        }
        "UnitStateChanged" => {
            let (unit, active, sub, reason): (_, _, _, String) = body.parse().ok()?;
            let reason = Reason::of(&reason);
            (
                unit,
                UnitChange::State {
                    active,
                    sub,
                    reason,
                },
            )
        }
        "UnitRemoved" => {
            let (unit,) = body.parse().ok()?;
            let reason = Reason::Real;
            (unit, UnitChange::Removed { reason })
        }
        "UnitPropertiesChanged" if body.signature == "ssa{sv}" => {
            let mut reader = body.reader();
            let (unit, interface) = (reader.str().ok()?, reader.str().ok()?);
            let (unit, interface) = (unit.to_owned(), interface.to_owned());
            let changed = body.dictionary(&mut reader).ok()?;
            (unit, UnitChange::Properties { interface, changed })
        }
        _ => return None,
    };
    Some(FromPeer::Unit { unit, change })
}

fn decode_call(message: &Message) -> FromPeer {
    let serial = message.serial;
    if message.is(names::PEER_INTERFACE, "Ping") {
        return FromPeer::Ping { serial };
    }
    if message.is(names::PEER_INTERFACE, "GetMachineId") {
        return FromPeer::MachineId { serial };
    }
    if message.is(names::INTROSPECTABLE_INTERFACE, "Introspect") {
        let path = message.path.clone();
        return FromPeer::Introspect { serial, path };
    }
    if message.is(names::DBUS_NAME, "Hello") && message.path == names::DBUS_PATH {
        return FromPeer::Hello { serial };
    }
    let refuse = |name, text: String| FromPeer::UnknownCall {
        serial,
        error: CallError::new(name, text),
    };
    if !message.is(names::INTERNAL_MANAGER_INTERFACE, "Register") {
        return unknown_method(message);
    }
    if message.path != names::INTERNAL_MANAGER_PATH {
        return refuse(
            error_name::UNKNOWN_OBJECT,
            format!("Unknown object '{}'.", message.path),
        );
    }
    if let Ok((name,)) = message.body.parse() {
        return FromPeer::Register {
            serial,
            name,
            dialect: Dialect::Hirte,
        };
    }
    let types = &message.body.signature;
    let text = format!("Invalid arguments '{types}' to call Register(), expecting 's'.");
    refuse(error_name::INVALID_ARGS, text)
}

/// A call of something that we do not offer.
pub(super) fn unknown_method(message: &Message) -> FromPeer {
    let text = format!("Unknown method {}.{}", message.interface, message.member);
    FromPeer::UnknownCall {
        serial: message.serial,
        error: CallError::new(error_name::UNKNOWN_METHOD, text),
    }
}

/// The message that carries `content` to an agent, as our message number `serial`.
#[must_use]
pub fn encode(serial: u32, content: ToPeer) -> Message {
    let call = |method: &str, arguments| {
        let (path, interface) = (names::INTERNAL_AGENT_PATH, names::INTERNAL_AGENT_INTERFACE);
        Message::call(path, interface, method, arguments).to(names::AGENT_BUS_NAME)
    };
    let message = match content {
        ToPeer::Call { method, arguments } => call(&method, arguments),
        ToPeer::CallWithoutReply { method, arguments } => Message {
            flags: Flags::NO_REPLY_EXPECTED,
            ..call(&method, arguments)
        },
        ToPeer::Proxy {
            path,
            method,
            arguments,
        } => {
            let interface = names::INTERNAL_PROXY_INTERFACE;
            // As in the C manager, which does not use the agent's name here.
            Message::call(&path, interface, &method, arguments).to(names::MANAGER_BUS_NAME)
        }
        ToPeer::Ping => Message::call(
            names::INTERNAL_AGENT_PATH,
            names::PEER_INTERFACE,
            "Ping",
            Body::default(),
        )
        .to(names::AGENT_BUS_NAME),
        ToPeer::Heartbeat => Message::signal(
            names::INTERNAL_MANAGER_PATH,
            names::INTERNAL_MANAGER_INTERFACE,
            "Heartbeat",
            Body::default(),
        ),
        ToPeer::Return { reply_serial } => Message::reply(reply_serial, Body::default()),
        ToPeer::MachineId { reply_serial } => {
            let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
            Message::reply(reply_serial, Body::of(&(id.trim(),)))
        }
        ToPeer::Welcome { reply_serial } => Message::reply(reply_serial, Body::of(&(CLIENT_NAME,))),
        ToPeer::Introspection {
            reply_serial,
            path,
            children,
        } => {
            let xml = describe(interfaces::of(&path), &children);
            Message::reply(reply_serial, Body::of(&(xml,)))
        }
        ToPeer::Error {
            reply_serial,
            error,
        } => Message::error(reply_serial, &error),
    };
    // As sd_bus_set_sender(3) does in the C manager: agents may look at it.
    Message {
        serial,
        sender: names::MANAGER_BUS_NAME.to_owned(),
        ..message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_call_is_understood_only_where_it_belongs() {
        let call = |path, body| {
            let interface = names::INTERNAL_MANAGER_INTERFACE;
            decode(Message::call(path, interface, "Register", body))
        };
        let good = call(names::INTERNAL_MANAGER_PATH, Body::of(&("rpi4",)));
        assert_eq!(
            good,
            FromPeer::Register {
                serial: 0,
                name: "rpi4".to_owned(),
                dialect: Dialect::Hirte
            }
        );
        for bad in [
            call("/", Body::of(&("rpi4",))),
            call(names::INTERNAL_MANAGER_PATH, Body::of(&(4,))),
        ] {
            assert!(matches!(bad, FromPeer::UnknownCall { .. }), "{bad:?}");
        }
    }

    #[test]
    fn signals_of_wrong_types_only_show_that_the_peer_lives() {
        let signal = |member, body| {
            let interface = names::INTERNAL_AGENT_INTERFACE;
            decode(Message::signal(
                names::INTERNAL_AGENT_PATH,
                interface,
                member,
                body,
            ))
        };
        let done = FromPeer::JobDone {
            id: 7,
            result: "done".to_owned(),
        };
        assert_eq!(signal("JobDone", Body::of(&(7_u32, "done"))), done);
        assert_eq!(signal("JobDone", Body::of(&("done",))), FromPeer::Other);
        assert_eq!(signal("Heartbeat", Body::default()), FromPeer::Heartbeat);
        assert_eq!(signal("Unknown", Body::default()), FromPeer::Other);
    }

    #[test]
    fn a_command_asks_for_no_answer() {
        let content = |is_command| {
            let (method, arguments) = ("EnableMetrics".to_owned(), Body::default());
            if is_command {
                ToPeer::CallWithoutReply { method, arguments }
            } else {
                ToPeer::Call { method, arguments }
            }
        };
        assert!(!encode(1, content(true)).flags.expects_reply());
        assert!(encode(1, content(false)).flags.expects_reply());
    }

    #[test]
    fn job_times_are_understood_on_their_own_interface_only() {
        let signal = |interface| {
            let body = Body::of(&("a.service", "StartUnit", 7_u64));
            decode(Message::signal("/a", interface, "AgentJobMetrics", body))
        };
        let time = FromPeer::JobTime {
            unit: "a.service".to_owned(),
            method: "StartUnit".to_owned(),
            took_us: 7,
        };
        assert_eq!(signal(names::INTERNAL_AGENT_METRICS_INTERFACE), time);
        assert_eq!(signal(names::INTERNAL_AGENT_INTERFACE), FromPeer::Other);
    }

    #[test]
    fn hello_is_understood_at_the_object_of_a_bus_only() {
        let call = |path| {
            decode(Message::call(
                path,
                names::DBUS_NAME,
                "Hello",
                Body::default(),
            ))
        };
        assert_eq!(call(names::DBUS_PATH), FromPeer::Hello { serial: 0 });
        let elsewhere = call(names::INTERNAL_MANAGER_PATH);
        assert!(
            matches!(elsewhere, FromPeer::UnknownCall { .. }),
            "{elsewhere:?}"
        );
    }

    #[test]
    fn an_introspection_tells_the_interfaces_and_the_objects_below() {
        let xml = |path: &str, children: &[&str]| {
            let answer = ToPeer::Introspection {
                reply_serial: 2,
                path: path.to_owned(),
                children: children.iter().map(|&child| child.to_owned()).collect(),
            };
            let message = encode(1, answer);
            assert_eq!((message.reply_serial, message.kind), (2, Kind::Return));
            message.body.parse::<(String,)>().unwrap().0
        };
        let own = xml(names::INTERNAL_MANAGER_PATH, &[]);
        for name in [
            names::INTERNAL_MANAGER_INTERFACE,
            names::PEER_INTERFACE,
            names::INTROSPECTABLE_INTERFACE,
        ] {
            assert_eq!(
                own.matches(&format!("<interface name=\"{name}\">")).count(),
                1
            );
        }
        assert!(xml(names::DBUS_PATH, &[]).contains("<method name=\"Hello\">"));
        let root = xml("/", &["org"]);
        assert!(root.contains("<node name=\"org\"/>"));
        assert!(!root.contains("hirte"));
    }

    /// The answer to Register has the bytes of the C manager.
    #[test]
    fn the_answer_to_register_has_the_bytes_of_the_c_manager() {
        let bytes = encode(1, ToPeer::Return { reply_serial: 1 }).encode();
        let expected = b"l\x02\x01\x01\0\0\0\0\x01\0\0\0\x25\0\0\0\x05\x01u\0\x01\0\0\0\
            \x07\x01s\0\x14\0\0\0org.containers.hirte\0\0\0\0";
        assert_eq!(bytes, expected);
    }
}
