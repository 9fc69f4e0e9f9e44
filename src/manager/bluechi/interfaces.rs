//! `BlueChi`'s public interfaces: the members of ours that it has, under its names, and those whose
//! types differ. They are for the check of calls and for introspection; what the members do is
//! described with ours.

use super::{rename, shapes};
use crate::{
    bus::interface::{Argument, Changes, Interface, Method, Property, Signal},
    manager::{
        api::{
            interfaces::{JOB as OUR_JOB, MANAGER, METRICS as OUR_METRICS, NODE as OUR_NODE},
            monitor::MONITOR as OUR_MONITOR,
        },
        state::event::Object,
    },
};

/// All of them.
pub const PUBLIC: [&Interface; 5] = [&CONTROLLER, &NODE, &JOB, &MONITOR, &METRICS];

/// The one interface, beside the standard ones, of an object.
#[must_use]
pub fn of(object: &Object) -> Option<&'static Interface> {
    let ours = object.interface()?;
    let theirs = rename::name(ours);
    PUBLIC
        .into_iter()
        .find(|interface| interface.name == theirs)
}

/// `org.eclipse.bluechi.Controller`
pub const CONTROLLER: Interface = Interface {
    name: "org.eclipse.bluechi.Controller",
    doc: "",
    methods: &[
        own("ListUnits", &[Argument("units", shapes::UNITS)]),
        own(
            "ListUnitFiles",
            &[Argument("unitfiles", shapes::UNIT_FILES)],
        ),
        own("ListNodes", &[Argument("nodes", "a(soss)")]),
        method(&MANAGER, "GetNode"),
        method(&MANAGER, "CreateMonitor"),
        method(&MANAGER, "EnableMetrics"),
        method(&MANAGER, "DisableMetrics"),
        method(&MANAGER, "SetLogLevel"),
    ],
    signals: &[signal(&MANAGER, "JobNew"), signal(&MANAGER, "JobRemoved")],
    properties: &[
        property(&MANAGER, "LogLevel", Changes::Silent),
        property(&MANAGER, "LogTarget", Changes::Constant),
        property(&MANAGER, "Status", Changes::Emitted),
    ],
};

/// `org.eclipse.bluechi.Node`
pub const NODE: Interface = Interface {
    name: "org.eclipse.bluechi.Node",
    doc: "",
    methods: &[
        method(&OUR_NODE, "StartUnit"),
        method(&OUR_NODE, "StartTransientUnit"),
        method(&OUR_NODE, "StopUnit"),
        method(&OUR_NODE, "FreezeUnit"),
        method(&OUR_NODE, "ThawUnit"),
        method(&OUR_NODE, "ReloadUnit"),
        method(&OUR_NODE, "RestartUnit"),
        method(&OUR_NODE, "KillUnit"),
        method(&OUR_NODE, "GetUnitProperties"),
        method(&OUR_NODE, "GetUnitProperty"),
        method(&OUR_NODE, "SetUnitProperties"),
        method(&OUR_NODE, "EnableUnitFiles"),
        method(&OUR_NODE, "DisableUnitFiles"),
        method(&OUR_NODE, "ListUnits"),
        method(&OUR_NODE, "ListUnitFiles"),
        method(&OUR_NODE, "GetUnitFileState"),
        method(&OUR_NODE, "Reload"),
        method(&OUR_NODE, "SetLogLevel"),
        method(&OUR_NODE, "ResetFailed"),
        method(&OUR_NODE, "ResetFailedUnit"),
        method(&OUR_NODE, "GetDefaultTarget"),
        method(&OUR_NODE, "SetDefaultTarget"),
    ],
    signals: &[],
    properties: &[
        property(&OUR_NODE, "Name", Changes::Constant),
        property(&OUR_NODE, "Status", Changes::Emitted),
        property(&OUR_NODE, "PeerIp", Changes::Silent),
        property(&OUR_NODE, "LastSeenTimestamp", Changes::Silent),
        property(&OUR_NODE, "LastSeenTimestampMonotonic", Changes::Silent),
    ],
};

/// `org.eclipse.bluechi.Job`
pub const JOB: Interface = Interface {
    name: "org.eclipse.bluechi.Job",
    ..OUR_JOB
};

/// `org.eclipse.bluechi.Monitor`
pub const MONITOR: Interface = Interface {
    name: "org.eclipse.bluechi.Monitor",
    ..OUR_MONITOR
};

/// `org.eclipse.bluechi.Metrics`
pub const METRICS: Interface = Interface {
    name: "org.eclipse.bluechi.Metrics",
    ..OUR_METRICS
};

/// A method whose types are not ours.
const fn own(name: &'static str, results: &'static [Argument]) -> Method {
    Method {
        name,
        arguments: &[],
        results,
        doc: "",
    }
}

/// The method of ours that is called `name`.
const fn method(interface: &Interface, name: &str) -> Method {
    let mut at = 0;
    while !is_same(interface.methods[at].name, name) {
        at += 1;
    }
    interface.methods[at]
}

/// The signal of ours that is called `name`.
const fn signal(interface: &Interface, name: &str) -> Signal {
    let mut at = 0;
    while !is_same(interface.signals[at].name, name) {
        at += 1;
    }
    interface.signals[at]
}

/// The property of ours that is called `name`, with the announcement that theirs has.
const fn property(interface: &Interface, name: &str, changes: Changes) -> Property {
    let mut at = 0;
    while !is_same(interface.properties[at].name, name) {
        at += 1;
    }
    Property {
        changes,
        ..interface.properties[at]
    }
}

/// Whether two names are the same, where traits can not be used.
const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_has_no_name_of_ours() {
        for interface in PUBLIC {
            let xml = crate::bus::interface::introspect(&[interface], &[]);
            assert!(!xml.contains("hirte"), "{xml}");
        }
    }

    #[test]
    fn each_object_has_the_counterpart_of_its_main_interface() {
        assert_eq!(of(&Object::Manager).unwrap().name, CONTROLLER.name);
        assert_eq!(of(&Object::Job(1)).unwrap().name, JOB.name);
        assert!(of(&Object::Nodes).is_none());
    }
}
