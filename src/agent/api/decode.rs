//! From a client's message to what it asks for.

use super::AGENT;
use crate::{
    agent::state::{FromBus, LocalCall, Method, Object, Target},
    bus::{
        Body, CallError, Message, error_name,
        interface::{Interface, refuse_to_set, resolve},
        marshal::Malformed,
        names,
    },
    limits,
    wire::address,
};

/// Reads a call.
#[must_use]
pub fn decode(message: Message) -> FromBus {
    let object = Object::at(&message.path);
    let call = LocalCall {
        client: message.sender.clone(),
        serial: message.serial,
        expects_reply: message.flags.expects_reply(),
    };
    let method = method(&object, message).unwrap_or_else(Method::Refused);
    FromBus::Call {
        call,
        object,
        method,
    }
}

/// The interfaces of ours that the object has.
pub(super) const fn interfaces(object: &Object) -> &'static [&'static Interface] {
    match object {
        Object::Agent => &[&AGENT],
        Object::Above(_) | Object::Unknown(_) => &[],
    }
}

fn method(object: &Object, message: Message) -> Result<Method, CallError> {
    let (interface, _) = resolve(interfaces(object), &message)?;
    let invalid = |text: String| CallError::new(error_name::INVALID_ARGS, text);
    let method = arguments(interface, message)
        .map_err(|error| invalid(format!("Invalid arguments: {error}")))?;
    if let Method::SwitchManager(address) = &method {
        if address.len() > limits::MAX_ADDRESS {
            let most = limits::MAX_ADDRESS;
            return Err(invalid(format!("An address has at most {most} bytes")));
        }
        address::parse(address).map_err(|error| invalid(error.to_string()))?;
    }
    Ok(method)
}

/// The arguments have the right types; this reads them.
fn arguments(interface: &Interface, message: Message) -> Result<Method, Malformed> {
    let Message { member, body, .. } = message;
    Ok(match (interface.name, member.as_str()) {
        (names::PEER_INTERFACE, "GetMachineId") => Method::MachineId,
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
        (names::PROPERTIES_INTERFACE, _) => {
            let mut reader = body.reader();
            let (interface, property) = (reader.str()?, reader.str()?);
            Method::Refused(refuse_to_set(&[&AGENT], interface, property))
        }
        (names::AGENT_INTERFACE, "CreateProxy") => Method::CreateProxy(target(&body)?),
        (names::AGENT_INTERFACE, "RemoveProxy") => Method::RemoveProxy(target(&body)?),
        (names::AGENT_INTERFACE, "SwitchManager") => Method::SwitchManager(body.parse::<(_,)>()?.0),
        _ => Method::Refused(CallError::new(
            error_name::UNKNOWN_METHOD,
            format!("Method {member} is described but not offered"),
        )),
    })
}

fn target(body: &Body) -> Result<Target, Malformed> {
    let (service, node, unit) = body.parse()?;
    Ok(Target {
        service,
        node,
        unit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Value;

    fn decoded(interface: &str, member: &str, body: Body) -> Method {
        let mut message = Message::call(names::AGENT_PATH, interface, member, body);
        message.sender = ":1.7".to_owned();
        match decode(message) {
            FromBus::Call { method, .. } => method,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(interface: &str, member: &str, body: Body) -> String {
        match decoded(interface, member, body) {
            Method::Refused(error) => format!("{}: {}", error.name, error.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_described_method_is_understood() {
        for method in AGENT.methods {
            let body = match method.signature().as_str() {
                "s" => Body::of(&("tcp:host=10.0.0.2,port=842",)),
                "sss" => Body::of(&("a", "b", "c")),
                other => panic!("no body of {other}"),
            };
            for interface in [AGENT.name, ""] {
                let found = decoded(interface, method.name, body.clone());
                assert!(!matches!(found, Method::Refused(_)), "{found:?}");
            }
        }
    }

    #[test]
    fn what_is_not_offered_is_refused_with_the_usual_errors() {
        let text = refusal(AGENT.name, "JobCancel", Body::of(&(7_u32,)));
        assert!(text.starts_with(error_name::UNKNOWN_METHOD), "{text}");
        let text = refusal(names::MANAGER_INTERFACE, "ListNodes", Body::default());
        assert!(text.starts_with(error_name::UNKNOWN_INTERFACE), "{text}");
        let text = refusal(AGENT.name, "CreateProxy", Body::of(&("a",)));
        assert!(text.ends_with("expecting 'sss'."), "{text}");
        for address in ["", "10.0.0.1:842", "tcp:host=a"] {
            let text = refusal(AGENT.name, "SwitchManager", Body::of(&(address,)));
            assert!(text.starts_with(error_name::INVALID_ARGS), "{text}");
        }
        let long = format!("tcp:host={},port=1", "a".repeat(limits::MAX_ADDRESS));
        let text = refusal(AGENT.name, "SwitchManager", Body::of(&(long.as_str(),)));
        assert!(text.len() < 200, "{text}");
        let set = Body::of(&(AGENT.name, "Status", Value::U32(1)));
        let text = refusal(names::PROPERTIES_INTERFACE, "Set", set);
        assert!(text.starts_with(error_name::PROPERTY_READ_ONLY), "{text}");
    }
}
