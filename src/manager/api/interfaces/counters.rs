//! The interface of the manager's counters.

use crate::bus::{
    interface::{Changes, Interface, Property},
    names,
};

/// A number that only grows while the manager runs.
const fn counter(name: &'static str, doc: &'static str) -> Property {
    Property {
        name,
        signature: "t",
        changes: Changes::Silent,
        doc,
    }
}

/// `org.containers.hirte.Counters`
pub const COUNTERS: Interface = Interface {
    name: names::COUNTERS_INTERFACE,
    doc: "Load and trouble of the manager since it started, at /org/containers/hirte. The numbers \
          only grow; read them twice for a rate.",
    methods: &[],
    signals: &[],
    properties: &[
        counter("Requests", "Method calls of clients. Since 0.6."),
        counter(
            "RequestsRefused",
            "Method calls that were answered with an error. Since 0.6.",
        ),
        counter(
            "RequestsTimedOut",
            "Those whose error was org.freedesktop.DBus.Error.Timeout: a node or its systemd \
             did not answer in time. Since 0.6.",
        ),
        counter(
            "RequestsOverLimit",
            "Those whose error was org.freedesktop.DBus.Error.LimitsExceeded: too much was \
             asked for at once. Since 0.6.",
        ),
        counter(
            "Jobs",
            "Jobs that were accepted: JobNew was sent. Since 0.6.",
        ),
        counter(
            "JobsFailed",
            "Jobs whose result was another than done. Since 0.6.",
        ),
        counter("JobsLost", "Those that ended as node-lost. Since 0.6."),
        counter("Registrations", "Agents that registered. Since 0.6."),
        counter(
            "RegistrationsRefused",
            "Registrations that were refused, for a name that is not allowed or taken. Since \
             0.6.",
        ),
        counter(
            "Reconnects",
            "Registrations of nodes that had been online before, since the manager started. \
             Since 0.6.",
        ),
        counter(
            "Disconnects",
            "Connections to registered agents that were lost, for whatever reason. Since 0.6.",
        ),
        counter(
            "PeersDropped",
            "Connections that the manager ended: of silent nodes, of peers that did not \
             register, were refused, broke the protocol or did not read. Since 0.6.",
        ),
        counter(
            "JobsHighWater",
            "The most jobs that were in flight at once. Since 0.6.",
        ),
        counter(
            "NodeRequestsHighWater",
            "The most requests to one node that waited for an answer at once. Since 0.6.",
        ),
        counter(
            "AgentQueueHighWater",
            "The most bytes that waited to be sent to one agent; up to a second old. Since \
             0.6.",
        ),
        counter(
            "BusQueueHighWater",
            "The most bytes that waited to be sent to the bus; up to a second old. Since 0.6.",
        ),
        counter(
            "EventQueueHighWater",
            "The most messages and other events that waited for the manager at once; up to a \
             second old. Since 0.6.",
        ),
    ],
};
