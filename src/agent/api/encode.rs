//! From an action to the message that a client gets.

use super::AGENT;
use crate::{
    agent::state::{LocalCall, Object},
    bus::{Body, CallError, Message, Value, body::Entry, interface::introspect, names},
};

/// The answer to a call.
#[must_use]
pub fn reply(call: &LocalCall, body: Body) -> Message {
    Message::reply(call.serial, body).to(&call.client)
}

/// The refusal of a call.
#[must_use]
pub fn reply_error(call: &LocalCall, error: &CallError) -> Message {
    Message::error(call.serial, error).to(&call.client)
}

/// The answer to `Introspect`.
#[must_use]
pub fn introspection(call: &LocalCall, object: &Object) -> Message {
    let own = super::decode::interfaces(object);
    let xml = introspect(own, &object.children());
    reply(call, Body::of(&(xml,)))
}

/// The signal that properties of the agent have other values.
#[must_use]
pub fn properties_changed(changed: Vec<(String, Value)>) -> Message {
    let changed: Vec<_> = changed
        .into_iter()
        .map(|(name, value)| Entry(name, value))
        .collect();
    let invalidated: Vec<String> = Vec::new();
    Message::signal(
        names::AGENT_PATH,
        names::PROPERTIES_INTERFACE,
        "PropertiesChanged",
        Body::of(&(AGENT.name, changed, invalidated)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::marshal::validate;

    #[test]
    fn changed_properties_carry_their_values() {
        let changed = vec![("Status".to_owned(), Value::Str("online".into()))];
        let Body {
            signature,
            bytes,
            endian,
        } = properties_changed(changed).body;
        assert_eq!(signature, "sa{sv}as");
        validate(&signature, &bytes, endian).unwrap();
    }

    #[test]
    fn the_agent_shows_itself_and_the_objects_above_it() {
        let call = LocalCall {
            client: ":1.7".into(),
            serial: 3,
            expects_reply: true,
        };
        let shown = |path| {
            let (xml,): (String,) = introspection(&call, &Object::at(path))
                .body
                .parse()
                .unwrap();
            xml
        };
        let above = shown("/org");
        assert!(above.contains("<node name=\"containers\"/>") && !above.contains(AGENT.name));
        assert!(shown(names::AGENT_PATH).contains("<method name=\"SwitchManager\">"));
    }
}
