//! From a client's message to what it asks for.

use super::{interfaces, monitor};
use crate::{
    bus::{
        Body, CallError, JobKind, Kind, Message, error_name, interface, marshal::Malformed, names,
        relay,
    },
    manager::state::event::{
        Call, Client, Dialect, Event, Method, Object, StreamKind, StreamMethod,
    },
};

/// What a message on the API's bus is.
#[derive(Debug)]
pub enum Incoming {
    /// A call for the state.
    Event(Event),
    /// A call that needs no state; this answers it.
    MachineId(Call),
    /// An answer of the bus to one of our own calls, or a signal.
    NotACall,
}

/// Reads a message of a client.
#[must_use]
pub fn decode(client: Client, message: Message) -> Incoming {
    if message.kind != Kind::Call {
        return Incoming::NotACall;
    }
    let object = Object::at(&message.path);
    let call = caller(client, &message, Dialect::Hirte);
    if message.is(names::PEER_INTERFACE, "GetMachineId") {
        return Incoming::MachineId(call);
    }
    let method = method(&object, message).unwrap_or_else(Method::Refused);
    Incoming::Event(Event::Call {
        call,
        object,
        method,
    })
}

/// Which of its calls `client` makes.
#[must_use]
pub fn caller(client: Client, message: &Message, dialect: Dialect) -> Call {
    Call {
        client,
        serial: message.serial,
        expects_reply: message.flags.expects_reply(),
        dialect,
    }
}

/// The method that a call names, if the object has it and the arguments have its types.
fn method(object: &Object, message: Message) -> Result<Method, CallError> {
    let own = object.interfaces().iter();
    let own: Vec<_> = own.filter_map(|name| interfaces::public(name)).collect();
    let (interface, _) = interface::resolve(&own, &message)?;
    arguments(interface.name, message).map_err(|error| malformed(&error))
}

/// The refusal of arguments that have the right types and can not be read.
#[must_use]
pub fn malformed(error: &Malformed) -> CallError {
    let text = format!("Invalid arguments: {error}");
    CallError::new(error_name::INVALID_ARGS, text)
}

/// The method of one of our interfaces, or a standard one, that a call names. The arguments have
/// the right types; this reads them.
pub fn arguments(interface: &str, message: Message) -> Result<Method, Malformed> {
    let Message { member, body, .. } = message;
    let method = match (interface, member.as_str()) {
        (names::PEER_INTERFACE, _) => Method::PeerPing,
        (names::INTROSPECTABLE_INTERFACE, _) => Method::Introspect,
        (names::PROPERTIES_INTERFACE, "Get") => {
            let (interface, property) = body.parse()?;
            Method::GetProperty {
                interface,
                property,
            }
        }
        (names::PROPERTIES_INTERFACE, "GetAll") => {
            Method::GetAllProperties(body.parse::<(_,)>()?.0)
        }
        (names::PROPERTIES_INTERFACE, _) => set_property(&body)?,
        (names::MANAGER_INTERFACE, "Ping") => Method::Ping(body.parse::<(_,)>()?.0),
        (names::MANAGER_INTERFACE, "ListUnits") => Method::ListUnits { detailed: false },
        (names::MANAGER_INTERFACE, "ListUnitsDetailed") => Method::ListUnits { detailed: true },
        (names::MANAGER_INTERFACE, "ListUnitFiles") => Method::ListUnitFiles { detailed: false },
        (names::MANAGER_INTERFACE, "ListUnitFilesDetailed") => {
            Method::ListUnitFiles { detailed: true }
        }
        (names::MANAGER_INTERFACE, "SetLogLevel") => Method::SetLogLevel(body.parse::<(_,)>()?.0),
        (names::MANAGER_INTERFACE, "EnableMetrics") => Method::SetMetrics { enabled: true },
        (names::MANAGER_INTERFACE, "DisableMetrics") => Method::SetMetrics { enabled: false },
        (names::MANAGER_INTERFACE, "ListNodes") => Method::ListNodes {
            with_addresses: false,
        },
        (names::MANAGER_INTERFACE, "GetNode") => Method::GetNode(body.parse::<(_,)>()?.0),
        (names::JOB_INTERFACE, "Cancel") => Method::CancelJob,
        (names::MANAGER_INTERFACE, "CreateMonitor") => Method::CreateMonitor,
        (names::MONITOR_INTERFACE, _) => return monitor::method(&member, &body),
        (names::STREAM_INTERFACE, "Grant") => {
            Method::Stream(StreamMethod::Grant(body.parse::<(_,)>()?.0))
        }
        (names::STREAM_INTERFACE, _) => Method::Stream(StreamMethod::Close),
        (names::NODE_INTERFACE, _) => return node_method(member, body),
        _ => Method::Refused(CallError::new(
            error_name::UNKNOWN_METHOD,
            format!("Method {member} is described but not offered"),
        )),
    };
    Ok(method)
}

fn node_method(member: String, body: Body) -> Result<Method, Malformed> {
    if let Some(kind) = JobKind::of_method(&member) {
        let (unit, mode) = body.parse()?;
        return Ok(Method::QueueJob { kind, unit, mode });
    }
    if member == "StartTransientUnit" {
        let mut reader = body.reader();
        let (unit, mode) = (reader.str()?.to_owned(), reader.str()?.to_owned());
        return Ok(Method::StartTransientUnit {
            unit,
            mode,
            arguments: body,
        });
    }
    if let Some(kind) = StreamKind::of_method(&member) {
        return Ok(Method::OpenStream {
            kind,
            arguments: body,
        });
    }
    if member == "SetLogLevel" {
        return Ok(Method::SetLogLevel(body.parse::<(_,)>()?.0));
    }
    debug_assert!(
        relay::relay_method(&member).is_some(),
        "{member} is not relayed"
    );
    Ok(Method::Relay {
        method: member,
        arguments: body,
    })
}

/// None of our properties can be set.
fn set_property(body: &Body) -> Result<Method, Malformed> {
    let mut reader = body.reader();
    let (interface, property) = (reader.str()?, reader.str()?);
    let error = interface::refuse_to_set(&interfaces::PUBLIC, interface, property);
    Ok(Method::Refused(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Value, body::Entry};

    fn decoded(path: &str, interface: &str, member: &str, body: Body) -> (Object, Method) {
        let message = Message::call(path, interface, member, body);
        match decode(Client::on_bus(":1.7"), message) {
            Incoming::Event(Event::Call { object, method, .. }) => (object, method),
            other => panic!("{other:?}"),
        }
    }

    fn refusal(path: &str, interface: &str, member: &str, body: Body) -> String {
        match decoded(path, interface, member, body).1 {
            Method::Refused(error) => format!("{}: {}", error.name, error.message),
            other => panic!("{other:?}"),
        }
    }

    const NODE: &str = "/org/containers/hirte/node/rpi4";

    fn properties() -> Vec<(&'static str, Value)> {
        vec![("CPUWeight", Value::U64(7))]
    }

    /// The path of an object that has an interface.
    fn path_with(interface: &interface::Interface) -> &'static str {
        match interface.name {
            names::NODE_INTERFACE => NODE,
            names::JOB_INTERFACE => "/org/containers/hirte/job/1",
            names::MONITOR_INTERFACE => "/org/containers/hirte/monitor/1",
            names::STREAM_INTERFACE => "/org/containers/hirte/stream/1",
            _ => names::MANAGER_PATH,
        }
    }

    fn arguments_of(signature: &str) -> Body {
        match signature {
            "" => Body::default(),
            "s" => Body::of(&("a",)),
            "ss" => Body::of(&("a", "b")),
            "sss" => Body::of(&("a", "b", "c")),
            "as" => Body::of(&(vec!["a"],)),
            "sa{sv}" => Body::of(&("a", vec![Entry("follow", Value::Bool(true))])),
            "sas" => Body::of(&("a", vec!["b"])),
            "u" => Body::of(&(1_u32,)),
            "us" => Body::of(&(1_u32, "a")),
            "asb" => Body::of(&(vec!["a"], true)),
            "asbb" => Body::of(&(vec!["a"], true, false)),
            "sb" => Body::of(&("a", true)),
            "ssi" => Body::of(&("a", "all", 15)),
            "sba(sv)" => Body::of(&("a", true, properties())),
            "ssa(sv)a(sa(sv))" => {
                let others = vec![("b", properties())];
                Body::of(&("a", "fail", properties(), others))
            }
            other => panic!("no body of {other}"),
        }
    }

    #[test]
    fn the_policy_of_the_bus_allows_the_group_what_private_connections_allow_it() {
        let policy = include_str!("../../../data/dbus/org.containers.hirte.conf");
        let (_, group) = policy.split_once("<policy group=\"hirte\">").unwrap();
        let (group, _) = group.split_once("</policy>").unwrap();
        let value = |text: &str, key: &str| {
            let (_, rest) = text.split_once(&format!("{key}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let of_policy: Vec<(String, String)> = group
            .split("<allow ")
            .skip(1)
            .map(|rule| {
                let interface = value(rule, "send_interface").unwrap();
                (interface, value(rule, "send_member").unwrap())
            })
            .collect();
        let mut of_code = Vec::new();
        // Every member of the other standard interfaces is allowed to everybody.
        let properties = interface::STANDARD[2];
        assert_eq!(properties.name, names::PROPERTIES_INTERFACE);
        for interface in [properties].into_iter().chain(interfaces::PUBLIC) {
            for method in interface.methods {
                // No property can be set.
                if method.name == "Set" {
                    continue;
                }
                let body = arguments_of(&method.signature());
                let (_, meant) = decoded(path_with(interface), interface.name, method.name, body);
                if meant.only_reads() {
                    of_code.push((interface.name.to_owned(), method.name.to_owned()));
                }
            }
        }
        let sorted = |mut members: Vec<(String, String)>| {
            members.sort();
            members
        };
        assert_eq!(sorted(of_policy), sorted(of_code));
    }

    #[test]
    fn every_described_method_is_understood() {
        for interface in interfaces::PUBLIC {
            let path = path_with(interface);
            for method in interface.methods {
                let body = arguments_of(&method.signature());
                for interface in [interface.name, ""] {
                    let (_, method) = decoded(path, interface, method.name, body.clone());
                    assert!(!matches!(method, Method::Refused(_)), "{method:?}");
                }
            }
        }
    }

    #[test]
    fn relayed_methods_have_the_types_of_the_relay_table() {
        for method in interfaces::NODE.methods {
            let Some(relayed) = relay::relay_method(method.name) else {
                continue;
            };
            let results: String = method.results.iter().map(|result| result.1).collect();
            assert_eq!(
                (method.signature().as_str(), results.as_str()),
                (relayed.arguments, relayed.result)
            );
        }
    }

    #[test]
    fn what_an_object_does_not_offer_is_refused_with_the_usual_errors() {
        let text = refusal(NODE, names::MANAGER_INTERFACE, "ListNodes", Body::default());
        assert!(text.starts_with(error_name::UNKNOWN_INTERFACE), "{text}");
        let text = refusal(NODE, names::NODE_INTERFACE, "Fly", Body::default());
        assert!(text.starts_with(error_name::UNKNOWN_METHOD), "{text}");
        let text = refusal(
            names::MANAGER_PATH,
            names::MANAGER_INTERFACE,
            "GetNode",
            Body::of(&(7,)),
        );
        assert_eq!(
            text,
            "org.freedesktop.DBus.Error.InvalidArgs: Invalid arguments 'i' to call \
             org.containers.hirte.Manager.GetNode(), expecting 's'."
        );
        let set = Body::of(&(names::NODE_INTERFACE, "Status", crate::bus::Value::U32(1)));
        let text = refusal(NODE, names::PROPERTIES_INTERFACE, "Set", set);
        assert!(text.starts_with(error_name::PROPERTY_READ_ONLY), "{text}");
    }

    #[test]
    fn paths_name_objects() {
        for (path, object) in [
            ("/", Object::Above("/".into())),
            ("/org", Object::Above("/org".into())),
            ("/org/containers", Object::Above("/org/containers".into())),
            ("/org/containers/hirte", Object::Manager),
            ("/org/containers/hirte/node", Object::Nodes),
            (
                "/org/containers/hirte/node/bar_2d2",
                Object::Node("bar-2".into()),
            ),
            (
                "/org/containers/hirte/node/a/b",
                Object::Unknown("/org/containers/hirte/node/a/b".into()),
            ),
            ("/org/containers/hirte/job/7", Object::Job(7)),
            ("/org/containers/hirte/metrics", Object::Metrics),
            (
                "/org/containers/hirte/job/07",
                Object::Unknown("/org/containers/hirte/job/07".into()),
            ),
            ("/org/containers/hirte/monitor", Object::Monitors),
            ("/org/containers/hirte/monitor/7", Object::Monitor(7)),
            ("/org/containers/hirte/stream", Object::Streams),
            ("/org/containers/hirte/stream/7", Object::Stream(7)),
            ("/org/contain", Object::Unknown("/org/contain".into())),
        ] {
            assert_eq!(Object::at(path), object);
            assert_eq!(object.path(), path);
        }
    }
}
