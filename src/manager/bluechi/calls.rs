//! Calls of `BlueChi`'s clients, and the answers to them.

use super::{interfaces, rename, shapes};
use crate::{
    bus::{
        Body, CallError, Message, error_name,
        interface::{self, Interface},
        marshal::Malformed,
        names,
    },
    manager::{
        api::calls,
        state::event::{Call, Client, Dialect, Event, Method, Object},
    },
};

/// Whether a call is for one of `BlueChi`'s objects. Above those of both the name decides that it
/// was sent to.
#[must_use]
pub fn is_for(call: &Message) -> bool {
    let path = call.path.as_str();
    let is_common = path == "/" || path == "/org";
    (is_common && call.destination == rename::BUS_NAME) || rename::path_of_ours(path) != path
}

/// Reads a call for which [`is_for`] holds.
#[must_use]
pub fn decode(client: Client, message: Message) -> calls::Incoming {
    let object = Object::at(&rename::path_of_ours(&message.path));
    let call = calls::caller(client, &message, Dialect::BlueChi);
    if message.is(names::PEER_INTERFACE, "GetMachineId") {
        return calls::Incoming::MachineId(call);
    }
    let method = method(&object, message).unwrap_or_else(Method::Refused);
    calls::Incoming::Event(Event::Call {
        call,
        object,
        method,
    })
}

fn method(object: &Object, message: Message) -> Result<Method, CallError> {
    let own = interfaces::of(object);
    let (found, _) = interface::resolve(own.as_slice(), &message)?;
    let method = match (found.name, message.member.as_str()) {
        ("org.eclipse.bluechi.Controller", "ListUnits") => Method::ListUnits { detailed: true },
        ("org.eclipse.bluechi.Controller", "ListUnitFiles") => {
            Method::ListUnitFiles { detailed: true }
        }
        ("org.eclipse.bluechi.Controller", "ListNodes") => Method::ListNodes {
            with_addresses: true,
        },
        // The answer is systemd's job, as there is none of BlueChi for it.
        ("org.eclipse.bluechi.Node", "StartTransientUnit") => Method::Relay {
            method: message.member,
            arguments: message.body,
        },
        (names::PROPERTIES_INTERFACE, member) => {
            return properties(own, member, &message.body)
                .map_err(|error| calls::malformed(&error));
        }
        (theirs, _) => {
            let ours = rename::name_of_ours(theirs);
            return calls::arguments(&ours, message).map_err(|error| calls::malformed(&error));
        }
    };
    Ok(method)
}

/// A call of `org.freedesktop.DBus.Properties`, whose first argument names an interface.
fn properties(
    own: Option<&'static Interface>,
    member: &str,
    body: &Body,
) -> Result<Method, Malformed> {
    let mut reader = body.reader();
    let theirs = reader.str()?;
    let named = own.filter(|own| theirs.is_empty() || own.name == theirs);
    let is_standard = interface::STANDARD.iter().any(|known| known.name == theirs);
    let interface = match named {
        Some(own) => rename::name_of_ours(own.name).into_owned(),
        None if theirs.is_empty() || is_standard => theirs.to_owned(),
        None => {
            let text = format!("Unknown interface '{theirs}'.");
            let error = CallError::new(error_name::UNKNOWN_INTERFACE, text);
            return Ok(Method::Refused(error));
        }
    };
    if member == "GetAll" {
        return Ok(Method::GetAllProperties(interface));
    }
    let property = reader.str()?.to_owned();
    if member == "Get" && named.is_some_and(|own| own.property(&property).is_some()) {
        return Ok(Method::GetProperty {
            interface,
            property,
        });
    }
    let error = match named {
        Some(own) if member != "Get" => interface::refuse_to_set(&[own], own.name, &property),
        _ => interface::unknown_property(&property),
    };
    Ok(Method::Refused(error))
}

/// The answer to a call.
#[must_use]
pub fn reply(call: &Call, body: Body) -> Message {
    match shapes::answer(body) {
        Ok(body) => calls::reply(call, body),
        Err(error) => calls::reply_error(call, &error),
    }
}

/// The refusal of a call.
#[must_use]
pub fn reply_error(call: &Call, error: &CallError) -> Message {
    let mut error = error.clone();
    error.name = match error.name.as_ref() {
        // BlueChi has a name for it and does not use it.
        error_name::NO_SUCH_SUBSCRIPTION => error_name::FAILED.into(),
        ours => rename::name(ours).into_owned().into(),
    };
    if error.name == error_name::UNKNOWN_OBJECT {
        error.message = error.message.replace(names::MANAGER_PATH, rename::PATH);
    }
    calls::reply_error(call, &error)
}

/// The answer to `Introspect`.
#[must_use]
pub fn introspection(call: &Call, object: &Object, children: &[String]) -> Message {
    let own: Vec<_> = interfaces::of(object).into_iter().collect();
    let is_above = matches!(object, Object::Above(_));
    let children: Vec<String> = children
        .iter()
        .map(|child| {
            if is_above {
                rename::element(child)
            } else {
                child
            }
        })
        .map(str::to_owned)
        .collect();
    calls::reply(call, Body::of(&(interface::introspect(&own, &children),)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bus::Value, manager::api::calls::Incoming};

    const NODE: &str = "/org/eclipse/bluechi/node/rpi4";
    const CONTROLLER: &str = "org.eclipse.bluechi.Controller";

    fn decoded(path: &str, interface: &str, member: &str, body: Body) -> (Object, Method) {
        let mut message = Message::call(path, interface, member, body);
        message.sender = ":1.7".to_owned();
        assert!(is_for(&message), "{path}");
        match decode(Client::on_bus(":1.7"), message) {
            Incoming::Event(Event::Call {
                call,
                object,
                method,
            }) => {
                assert_eq!(call.dialect, Dialect::BlueChi);
                (object, method)
            }
            other => panic!("{other:?}"),
        }
    }

    fn refusal(path: &str, interface: &str, member: &str, body: Body) -> String {
        match decoded(path, interface, member, body).1 {
            Method::Refused(error) => format!("{}: {}", error.name, error.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_described_method_is_understood() {
        for interface in interfaces::PUBLIC {
            let path = match interface.name {
                "org.eclipse.bluechi.Node" => NODE,
                "org.eclipse.bluechi.Job" => "/org/eclipse/bluechi/job/1",
                "org.eclipse.bluechi.Monitor" => "/org/eclipse/bluechi/monitor/1",
                _ => rename::PATH,
            };
            for method in interface.methods {
                let properties = || vec![("CPUWeight", Value::U64(7))];
                let body = match method.signature().as_str() {
                    "" => Body::default(),
                    "s" => Body::of(&("a",)),
                    "ss" => Body::of(&("a", "b")),
                    "sss" => Body::of(&("a", "b", "c")),
                    "sas" => Body::of(&("a", vec!["b"])),
                    "u" => Body::of(&(1_u32,)),
                    "us" => Body::of(&(1_u32, "a")),
                    "asb" => Body::of(&(vec!["a"], true)),
                    "asbb" => Body::of(&(vec!["a"], true, false)),
                    "sb" => Body::of(&("a", true)),
                    "ssi" => Body::of(&("a", "all", 15)),
                    "sba(sv)" => Body::of(&("a", true, properties())),
                    "ssa(sv)a(sa(sv))" => {
                        Body::of(&("a", "fail", properties(), vec![("b", properties())]))
                    }
                    other => panic!("no body of {other}"),
                };
                for interface in [interface.name, ""] {
                    let (_, method) = decoded(path, interface, method.name, body.clone());
                    assert!(!matches!(method, Method::Refused(_)), "{method:?}");
                }
            }
        }
    }

    #[test]
    fn what_differs_is_asked_for_in_its_own_form() {
        let on_controller = |member| decoded(rename::PATH, CONTROLLER, member, Body::default()).1;
        assert_eq!(
            on_controller("ListUnits"),
            Method::ListUnits { detailed: true }
        );
        assert_eq!(
            on_controller("ListNodes"),
            Method::ListNodes {
                with_addresses: true
            }
        );
        let properties = vec![("Description", Value::Str("d".to_owned()))];
        let others = vec![("b.service", properties.clone())];
        let body = Body::of(&("a.service", "fail", properties, others));
        let (object, method) = decoded(NODE, "", "StartTransientUnit", body);
        assert_eq!(object, Object::Node("rpi4".to_owned()));
        assert!(matches!(method, Method::Relay { .. }), "{method:?}");
    }

    #[test]
    fn refusals_name_what_the_caller_knows() {
        let wrong = Body::of(&(7,));
        assert_eq!(
            refusal(rename::PATH, CONTROLLER, "GetNode", wrong),
            "org.freedesktop.DBus.Error.InvalidArgs: Invalid arguments 'i' to call \
             org.eclipse.bluechi.Controller.GetNode(), expecting 's'."
        );
        let text = refusal(rename::PATH, CONTROLLER, "Ping", Body::of(&("a",)));
        assert!(text.starts_with(error_name::UNKNOWN_METHOD), "{text}");
        let ours = names::NODE_INTERFACE;
        let text = refusal(NODE, ours, "ListUnits", Body::default());
        assert!(text.starts_with(error_name::UNKNOWN_INTERFACE), "{text}");

        let call = Call {
            client: Client::on_bus(":1.7"),
            serial: 3,
            expects_reply: true,
            dialect: Dialect::BlueChi,
        };
        let offline = CallError::new(error_name::OFFLINE, "Node is offline");
        let message = reply_error(&call, &offline);
        assert_eq!(message.error_name, "org.eclipse.bluechi.Offline");
        let unknown = CallError::new(error_name::NO_SUCH_SUBSCRIPTION, "no");
        assert_eq!(reply_error(&call, &unknown).error_name, error_name::FAILED);
        let text = "Unknown object '/org/containers/hirte/node/x'.";
        let message = reply_error(&call, &CallError::new(error_name::UNKNOWN_OBJECT, text));
        let text = "Unknown object '/org/eclipse/bluechi/node/x'.";
        assert_eq!(message.body.first_str(), Some(text));
    }

    #[test]
    fn properties_are_those_of_the_described_interfaces() {
        let get = |path, interface: &str, property: &str| {
            let body = Body::of(&(interface, property));
            decoded(path, names::PROPERTIES_INTERFACE, "Get", body).1
        };
        assert_eq!(
            get(NODE, "org.eclipse.bluechi.Node", "Status"),
            Method::GetProperty {
                interface: names::NODE_INTERFACE.to_owned(),
                property: "Status".to_owned()
            }
        );
        for (interface, property, name) in [
            (CONTROLLER, "Nodes", error_name::UNKNOWN_PROPERTY),
            (
                names::MANAGER_INTERFACE,
                "Status",
                error_name::UNKNOWN_INTERFACE,
            ),
        ] {
            let refused = get(rename::PATH, interface, property);
            assert!(
                matches!(&refused, Method::Refused(error) if error.name == name),
                "{refused:?}"
            );
        }
        let set = Body::of(&(CONTROLLER, "Status", Value::U32(1)));
        let text = refusal(rename::PATH, names::PROPERTIES_INTERFACE, "Set", set);
        assert!(text.starts_with(error_name::PROPERTY_READ_ONLY), "{text}");
        let all = Body::of(&("",));
        let (_, all) = decoded(rename::PATH, names::PROPERTIES_INTERFACE, "GetAll", all);
        let ours = names::MANAGER_INTERFACE.to_owned();
        assert_eq!(all, Method::GetAllProperties(ours));
    }

    #[test]
    fn a_walk_from_the_root_finds_the_controller_under_its_own_name_only() {
        let mut message = Message::call("/", "", "Introspect", Body::default());
        assert!(!is_for(&message));
        message = message.to(rename::BUS_NAME);
        assert!(is_for(&message));
        for path in ["/org/containers", "/org/containers/hirte/node/rpi4"] {
            message.path = path.to_owned();
            assert!(!is_for(&message), "{path}");
        }
        let call = calls::caller(Client::on_bus(":1.7"), &message, Dialect::BlueChi);
        let above = Object::Above("/org".to_owned());
        let xml = introspection(&call, &above, &["containers".to_owned()]);
        let xml = xml.body.first_str().unwrap().to_owned();
        assert!(xml.contains("<node name=\"eclipse\"/>"), "{xml}");
        let node = introspection(&call, &Object::Nodes, &["hirte".to_owned()]);
        assert!(node.body.first_str().unwrap().contains("name=\"hirte\""));
    }
}
