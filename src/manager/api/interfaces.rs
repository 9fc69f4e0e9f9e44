//! The public interfaces of the manager, each member documented once.
//!
//! The names and types that clients of hirte rely on stay as they are for ever; further
//! members are added, never changed.

use super::monitor::{self, MONITOR};
use crate::bus::{
    interface::{Argument, Changes, Interface, Method, Property, Signal},
    names,
};

/// All public interfaces.
pub const PUBLIC: [&Interface; 4] = [&MANAGER, &NODE, &JOB, &MONITOR];

/// The public interface called `name`.
#[must_use]
pub fn public(name: &str) -> Option<&'static Interface> {
    PUBLIC.into_iter().find(|interface| interface.name == name)
}

/// `org.containers.hirte.Manager`
pub const MANAGER: Interface = Interface {
    name: names::MANAGER_INTERFACE,
    doc: "The manager of all nodes, at /org/containers/hirte.",
    methods: &[
        Method {
            name: "Ping",
            arguments: &[Argument("message", "s")],
            results: &[Argument("response", "s")],
            doc: "Answers with the same text: shows that the manager lives.",
        },
        Method {
            name: "ListUnits",
            arguments: &[],
            results: &[Argument("units", "a(sssssssouso)")],
            doc: "The loaded units of all nodes that are online, in the order of the \
                  configuration: node, and what systemd's ListUnits tells (name, description, \
                  load state, active state, sub state, followed unit, object path, job id, job \
                  type, job path). Units of a node that fails to answer are missing; \
                  ListUnitsDetailed names it. Errors: org.freedesktop.DBus.Error.LimitsExceeded \
                  when the answer would be larger than 16 MiB; ask each node then.",
        },
        Method {
            name: "ListUnitsDetailed",
            arguments: &[],
            results: &[
                Argument("units", "a(sssssssouso)"),
                Argument("failures", "a(sss)"),
            ],
            doc: "As ListUnits, and for each node that was online and failed to answer: node, \
                  error name, error message.",
        },
        Method {
            name: "ListNodes",
            arguments: &[],
            results: &[Argument("nodes", "a(sos)")],
            doc: "All nodes of the configuration in its order: name, object path, online or \
                  offline.",
        },
        Method {
            name: "GetNode",
            arguments: &[Argument("name", "s")],
            results: &[Argument("path", "o")],
            doc: "The object of a node. Errors: org.freedesktop.DBus.Error.ServiceUnknown when \
                  the configuration has no such node.",
        },
        monitor::CREATE_MONITOR,
    ],
    signals: &[
        Signal {
            name: "JobNew",
            arguments: &[Argument("id", "u"), Argument("job", "o")],
            doc: "A job was accepted by the systemd of its node. Sent before the answer to the \
                  request.",
        },
        Signal {
            name: "JobRemoved",
            arguments: &[
                Argument("id", "u"),
                Argument("job", "o"),
                Argument("node", "s"),
                Argument("unit", "s"),
                Argument("result", "s"),
            ],
            doc: "A job has ended; sent exactly once for each JobNew. The result is systemd's \
                  word (done, canceled, timeout, failed, dependency, skipped, invalid, assert, \
                  unsupported, collected, once), or node-lost when the connection to the node \
                  was lost.",
        },
        Signal {
            name: "NodeConnectionStateChanged",
            arguments: &[Argument("node", "s"), Argument("connection_state", "s")],
            doc: "The agent of a node registered (online) or was lost (offline).",
        },
    ],
    properties: &[Property {
        name: "Nodes",
        signature: "as",
        changes: Changes::Emitted,
        doc: "Names of all nodes, in the order of the configuration.",
    }],
};

/// A method that queues a job.
const fn job_method(name: &'static str, doc: &'static str) -> Method {
    Method {
        name,
        arguments: &[Argument("name", "s"), Argument("mode", "s")],
        results: &[Argument("job", "o")],
        doc,
    }
}

/// `org.containers.hirte.Node`
pub const NODE: Interface = Interface {
    name: names::NODE_INTERFACE,
    doc: "One node, at /org/containers/hirte/node/NAME. Every method fails with \
          org.containers.hirte.Offline while the node is not connected or when it is lost before \
          it answers, with org.freedesktop.DBus.Error.Timeout when it does not answer within 20 \
          s, and otherwise with the error of the node's systemd.",
    methods: &[
        job_method(
            "StartUnit",
            "Starts a unit. The mode is systemd's job mode (replace, fail, isolate, \
             ignore-dependencies, ignore-requirements). Answers when systemd accepted the job; \
             JobRemoved tells how it ended.",
        ),
        job_method("StopUnit", "Stops a unit; otherwise as StartUnit."),
        job_method("ReloadUnit", "Reloads a unit; otherwise as StartUnit."),
        job_method("RestartUnit", "Restarts a unit; otherwise as StartUnit."),
        Method {
            name: "GetUnitProperties",
            arguments: &[Argument("name", "s"), Argument("interface", "s")],
            results: &[Argument("props", "a{sv}")],
            doc: "All properties of a unit on one of systemd's interfaces, or on all of them \
                  when the interface is empty. systemd loads a unit that is not loaded.",
        },
        Method {
            name: "GetUnitProperty",
            arguments: &[
                Argument("name", "s"),
                Argument("interface", "s"),
                Argument("property", "s"),
            ],
            results: &[Argument("value", "v")],
            doc: "One property of a unit.",
        },
        Method {
            name: "EnableUnitFiles",
            arguments: &[
                Argument("files", "as"),
                Argument("runtime", "b"),
                Argument("force", "b"),
            ],
            results: &[
                Argument("carries_install_info", "b"),
                Argument("changes", "a(sss)"),
            ],
            doc: "Enables unit files as systemd's method of this name: whether they had \
                  installation information, and the changes (symlink or unlink, file, \
                  destination). Call Reload afterwards.",
        },
        Method {
            name: "DisableUnitFiles",
            arguments: &[Argument("files", "as"), Argument("runtime", "b")],
            results: &[Argument("changes", "a(sss)")],
            doc: "Disables unit files as systemd's method of this name. Call Reload afterwards.",
        },
        Method {
            name: "ListUnits",
            arguments: &[],
            results: &[Argument("units", "a(ssssssouso)")],
            doc: "The loaded units of this node, as systemd lists them.",
        },
        Method {
            name: "Reload",
            arguments: &[],
            results: &[],
            doc: "Reloads the unit files of this node (systemctl daemon-reload).",
        },
    ],
    signals: &[],
    properties: &[
        Property {
            name: "Name",
            signature: "s",
            changes: Changes::Constant,
            doc: "Name of the node in the configuration.",
        },
        Property {
            name: "Status",
            signature: "s",
            changes: Changes::Emitted,
            doc: "online or offline.",
        },
        Property {
            name: "PeerIp",
            signature: "s",
            changes: Changes::Emitted,
            doc: "IP address from which the agent is connected; empty while offline.",
        },
        Property {
            name: "LastSeenTimestamp",
            signature: "t",
            changes: Changes::Silent,
            doc: "When the last message of the node came, seconds since 1970; 0 for never.",
        },
        Property {
            name: "LastSeenTimestampMonotonic",
            signature: "t",
            changes: Changes::Silent,
            doc: "The same on the manager's CLOCK_MONOTONIC, microseconds.",
        },
    ],
};

/// `org.containers.hirte.Job`
pub const JOB: Interface = Interface {
    name: names::JOB_INTERFACE,
    doc: "A job that has not ended, at /org/containers/hirte/job/ID.",
    methods: &[Method {
        name: "Cancel",
        arguments: &[],
        results: &[],
        doc: "Cancels the job; JobRemoved follows with the result canceled. Errors: \
              org.freedesktop.DBus.Error.NotSupported when the node's agent is too old for it, \
              otherwise as the methods of Node.",
    }],
    signals: &[],
    properties: &[
        Property {
            name: "Id",
            signature: "u",
            changes: Changes::Constant,
            doc: "Number of the job; never used again while an agent lives that knew it.",
        },
        Property {
            name: "Node",
            signature: "s",
            changes: Changes::Constant,
            doc: "Name of its node.",
        },
        Property {
            name: "Unit",
            signature: "s",
            changes: Changes::Constant,
            doc: "Name of its unit.",
        },
        Property {
            name: "JobType",
            signature: "s",
            changes: Changes::Constant,
            doc: "start, stop, restart or reload.",
        },
        Property {
            name: "State",
            signature: "s",
            changes: Changes::Emitted,
            doc: "waiting or running.",
        },
    ],
};
