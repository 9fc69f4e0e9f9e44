//! What a private connection has of a message bus, for libraries and tools that expect one:
//! busctl, and whatever begins with `Hello`.
//!
//! The manager and the client each have a unique name; zbus refuses messages whose sender is
//! another kind of name, and the rules of sd-bus take a unique sender for any well-known one. Match
//! rules are taken and mean nothing: every signal that is for this client, or for all, is sent.

use crate::{
    bus::{
        Body, CallError, Message, error_name,
        interface::{Argument, INTROSPECTABLE, Interface, Method, PEER, describe},
        names,
    },
    daemon,
    manager::state::event::PrivateId,
};

/// Unique name of the manager.
pub(super) const MANAGER_NAME: &str = ":1.0";
/// The bus's error for a name that nobody owns.
const NAME_HAS_NO_OWNER: &str = "org.freedesktop.DBus.Error.NameHasNoOwner";
/// `DBUS_START_REPLY_ALREADY_RUNNING` of `StartServiceByName`.
const ALREADY_RUNNING: u32 = 2;

/// As much of `org.freedesktop.DBus` as clients use before they talk to a service.
const BUS: Interface = Interface {
    name: names::DBUS_NAME,
    doc: "",
    methods: &[
        method("Hello", &[], &[Argument("unique_name", "s")]),
        method("AddMatch", &[Argument("rule", "s")], &[]),
        method("RemoveMatch", &[Argument("rule", "s")], &[]),
        method(
            "GetNameOwner",
            &[Argument("name", "s")],
            &[Argument("unique_name", "s")],
        ),
        method(
            "NameHasOwner",
            &[Argument("name", "s")],
            &[Argument("has_owner", "b")],
        ),
        method("ListNames", &[], &[Argument("names", "as")]),
        method("ListActivatableNames", &[], &[Argument("names", "as")]),
        method(
            "StartServiceByName",
            &[Argument("name", "s"), Argument("flags", "u")],
            &[Argument("result", "u")],
        ),
    ],
    signals: &[],
    properties: &[],
};

const fn method(
    name: &'static str,
    arguments: &'static [Argument],
    results: &'static [Argument],
) -> Method {
    Method {
        name,
        arguments,
        results,
        doc: "",
    }
}

/// Unique name of a client.
pub(super) fn client_name(client: PrivateId) -> String {
    format!(":1.{client}")
}

/// Whether a call is for the bus and not for the manager.
pub(super) fn is_for_bus(call: &Message) -> bool {
    call.destination == names::DBUS_NAME || call.interface == names::DBUS_NAME
}

/// The answer of the bus to the client of this name.
pub(super) fn answer(call: &Message, client: &str) -> Message {
    let answer = result(call, client);
    let mut message = match answer {
        Ok(body) => Message::reply(call.serial, body),
        Err(error) => Message::error(call.serial, &error),
    };
    names::DBUS_NAME.clone_into(&mut message.sender);
    message.to(client)
}

fn result(call: &Message, client: &str) -> Result<Body, CallError> {
    let interfaces = [&BUS, &PEER, &INTROSPECTABLE].into_iter();
    let mut meant = interfaces
        .filter(|interface| call.interface.is_empty() || call.interface == interface.name);
    let method = meant.find_map(|interface| interface.method(&call.member));
    let Some(method) = method else {
        let text = format!(
            "A private connection is no message bus: it has no method {} of {}",
            call.member, call.interface
        );
        return Err(CallError::new(error_name::UNKNOWN_METHOD, text));
    };
    let expected = method.signature();
    if call.body.signature != expected {
        let text = format!(
            "Invalid arguments '{}' to call {}(), expecting '{expected}'.",
            call.body.signature, call.member
        );
        return Err(CallError::new(error_name::INVALID_ARGS, text));
    }
    let name = || call.body.first_str().unwrap_or_default();
    Ok(match method.name {
        "Hello" => Body::of(&(client,)),
        "GetNameOwner" => {
            let owner = owner(name(), client).ok_or_else(|| no_owner(name()))?;
            Body::of(&(owner,))
        }
        "NameHasOwner" => Body::of(&(owner(name(), client).is_some(),)),
        "ListNames" => {
            let all = [
                names::DBUS_NAME,
                names::MANAGER_BUS_NAME,
                MANAGER_NAME,
                client,
            ];
            Body::of(&(all.map(str::to_owned).to_vec(),))
        }
        "ListActivatableNames" => Body::of(&(Vec::<String>::new(),)),
        "StartServiceByName" => {
            owner(name(), client).ok_or_else(|| {
                let text = format!("The name {} is not known", name());
                CallError::new(error_name::SERVICE_UNKNOWN, text)
            })?;
            Body::of(&(ALREADY_RUNNING,))
        }
        "GetMachineId" => Body::of(&(daemon::machine_id().as_str(),)),
        "Introspect" => Body::of(&(describe([&PEER, &INTROSPECTABLE, &BUS], &[]),)),
        // AddMatch, RemoveMatch, Ping
        _ => Body::default(),
    })
}

/// Unique name of who has a name on this connection.
fn owner<'c>(name: &str, client: &'c str) -> Option<&'c str> {
    match name {
        names::DBUS_NAME => Some(names::DBUS_NAME),
        names::MANAGER_BUS_NAME | MANAGER_NAME => Some(MANAGER_NAME),
        _ if name == client => Some(client),
        _ => None,
    }
}

fn no_owner(name: &str) -> CallError {
    let text = format!("The name {name} has no owner");
    CallError::new(NAME_HAS_NO_OWNER, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Kind;

    fn ask(member: &str, body: Body) -> Message {
        let mut call = Message::call(names::DBUS_PATH, names::DBUS_NAME, member, body);
        call.serial = 7;
        assert!(is_for_bus(&call));
        let answer = answer(&call, &client_name(3));
        let addressed = (answer.reply_serial, &*answer.sender, &*answer.destination);
        assert_eq!(addressed, (7, names::DBUS_NAME, ":1.3"));
        answer
    }

    #[test]
    fn every_described_method_answers_with_its_types() {
        for method in BUS.methods {
            let body = match method.signature().as_str() {
                "" => Body::default(),
                "s" => Body::of(&(names::MANAGER_BUS_NAME,)),
                _ => Body::of(&(names::MANAGER_BUS_NAME, 0_u32)),
            };
            let answer = ask(method.name, body);
            assert_eq!(answer.kind, Kind::Return, "{}", method.name);
            let results: String = method.results.iter().map(|result| result.1).collect();
            assert_eq!(answer.body.signature, results, "{}", method.name);
            let wrong = ask(method.name, Body::of(&(7_u32,)));
            assert_eq!(wrong.error_name, error_name::INVALID_ARGS);
        }
    }

    #[test]
    fn names_have_the_owners_that_they_would_have_on_a_bus() {
        let owner = |name: &str| {
            let answer = ask("GetNameOwner", Body::of(&(name,)));
            answer.body.first_str().unwrap_or_default().to_owned()
        };
        assert_eq!(owner("org.containers.hirte"), ":1.0");
        assert_eq!(owner(":1.3"), ":1.3");
        assert_eq!(owner("org.freedesktop.DBus"), "org.freedesktop.DBus");
        let nobody = ask("GetNameOwner", Body::of(&(":1.4",)));
        assert_eq!(nobody.error_name, NAME_HAS_NO_OWNER);
        let request = ask("RequestName", Body::of(&("a.b", 0_u32)));
        assert_eq!(request.error_name, error_name::UNKNOWN_METHOD);
    }
}
