//! The public interfaces of the manager, each member documented once.
//!
//! The names and types that clients of hirte rely on stay as they are for ever; further
//! members are added, never changed.

mod counters;
mod metrics;
mod node;
mod stream;

pub use counters::COUNTERS;
pub use metrics::METRICS;
pub use node::NODE;
pub use stream::STREAM;

use super::monitor::{self, MONITOR};
use crate::bus::{
    interface::{Argument, Changes, Interface, Method, Property, Signal},
    names,
};

/// All public interfaces.
pub const PUBLIC: [&Interface; 7] = [
    &MANAGER, &NODE, &JOB, &MONITOR, &STREAM, &METRICS, &COUNTERS,
];

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
            name: "ListUnitFiles",
            arguments: &[],
            results: &[Argument("unit_files", "a(sss)")],
            doc: "The installed unit files of all nodes that are online, in the order of the \
                  configuration: node, path, state (enabled, disabled, static, masked ...). \
                  Otherwise as ListUnits; ListUnitFilesDetailed names a node that fails to \
                  answer. Since 0.6.",
        },
        Method {
            name: "ListUnitFilesDetailed",
            arguments: &[],
            results: &[
                Argument("unit_files", "a(sss)"),
                Argument("failures", "a(sss)"),
            ],
            doc: "As ListUnitFiles, and for each node that was online and failed to answer: \
                  node, error name, error message. Since 0.6.",
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
        Method {
            name: "SetLogLevel",
            arguments: &[Argument("level", "s")],
            results: &[],
            doc: "What the manager logs from here on, until its configuration is read again: \
                  DEBUG, INFO, WARN or ERROR and what is worse, in any case. Errors: \
                  org.freedesktop.DBus.Error.InvalidArgs for any other word. Since 0.6.",
        },
        Method {
            name: "EnableMetrics",
            arguments: &[],
            results: &[],
            doc: "Lets the manager and all agents measure: the object \
                  /org/containers/hirte/metrics exists from here on and emits the signals of \
                  org.containers.hirte.Metrics. It holds until DisableMetrics or the manager's \
                  end, also for nodes that connect later. Errors: \
                  org.freedesktop.DBus.Error.InconsistentMessage when they are enabled already. \
                  Since 0.6.",
        },
        Method {
            name: "DisableMetrics",
            arguments: &[],
            results: &[],
            doc: "Ends what EnableMetrics began. Errors: \
                  org.freedesktop.DBus.Error.InconsistentMessage when they are disabled already. \
                  Since 0.6.",
        },
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
    properties: &[
        Property {
            name: "Nodes",
            signature: "as",
            changes: Changes::Emitted,
            doc: "Names of all nodes, in the order of the configuration.",
        },
        Property {
            name: "Status",
            signature: "s",
            changes: Changes::Emitted,
            doc: "up while all nodes are online, degraded while some are, down while none is. \
                  Since 0.6.",
        },
        Property {
            name: "LogLevel",
            signature: "s",
            changes: Changes::Emitted,
            doc: "The least level that the manager logs: DEBUG, INFO, WARN or ERROR. Since 0.6.",
        },
        Property {
            name: "LogTarget",
            signature: "s",
            changes: Changes::Emitted,
            doc: "Where the manager logs to: journald, stderr or stderr-full. Since 0.6.",
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
