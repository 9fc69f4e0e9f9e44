//! The interfaces of the manager's objects on a connection to an agent.

use crate::bus::{
    interface::{Argument, INTROSPECTABLE, Interface, Method, PEER, Signal},
    names,
};

/// The interfaces of the object `path`.
pub(super) fn of(path: &str) -> impl Iterator<Item = &'static Interface> {
    let own = match path {
        names::INTERNAL_MANAGER_PATH => Some(&MANAGER),
        names::DBUS_PATH => Some(&BUS),
        _ => None,
    };
    [&PEER, &INTROSPECTABLE].into_iter().chain(own)
}

/// `org.containers.hirte.internal.Manager`
const MANAGER: Interface = Interface {
    name: names::INTERNAL_MANAGER_INTERFACE,
    doc: "",
    methods: &[Method {
        name: "Register",
        arguments: &[Argument("name", "s")],
        results: &[],
        doc: "",
    }],
    signals: &[Signal {
        name: "Heartbeat",
        arguments: &[],
        doc: "",
    }],
    properties: &[],
};

/// As much of `org.freedesktop.DBus` as clients need that take the connection for a message bus:
/// busctl, and most libraries.
const BUS: Interface = Interface {
    name: names::DBUS_NAME,
    doc: "",
    methods: &[Method {
        name: "Hello",
        arguments: &[],
        results: &[Argument("name", "s")],
        doc: "",
    }],
    signals: &[],
    properties: &[],
};
