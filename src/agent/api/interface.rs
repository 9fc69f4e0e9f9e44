//! The public interface of the agent, each member documented once.
//!
//! The names and types that clients of hirte rely on stay as they are for ever; further
//! members are added, never changed.

use crate::bus::{
    interface::{Argument, Changes, Interface, Method, Property},
    names,
};

/// The arguments of a proxy's methods.
const TARGET: &[Argument] = &[
    Argument("local_service_name", "s"),
    Argument("node", "s"),
    Argument("unit", "s"),
];

/// `org.containers.hirte.Agent`
pub const AGENT: Interface = Interface {
    name: names::AGENT_INTERFACE,
    doc: "The agent of this node, at /org/containers/hirte of the name \
          org.containers.hirte.Agent.",
    methods: &[
        Method {
            name: "CreateProxy",
            arguments: TARGET,
            results: &[],
            doc: "Has a service of another node started and kept for a service of this node, and \
                  answers when it is active, however long that takes: an offline node is waited \
                  for. hirte-proxy calls it for hirte-proxy@NODE_UNIT.service. When the other \
                  service ends later, the local one is stopped. Errors: \
                  org.freedesktop.DBus.Error.AddressInUse when this node has a proxy for that \
                  service already; org.containers.hirte.ActivationFailed when it does not start, \
                  or the manager has no such node or does not allow it; \
                  org.freedesktop.DBus.Error.Failed when the proxy is removed before; \
                  org.freedesktop.DBus.Error.InvalidArgs when the unit is no service; \
                  org.freedesktop.DBus.Error.LimitsExceeded above 1024 proxies.",
        },
        Method {
            name: "RemoveProxy",
            arguments: TARGET,
            results: &[],
            doc: "Ends what CreateProxy began: the other service is not kept any more, and stops \
                  if it has StopWhenUnneeded=yes and nothing else needs it. That there is no such \
                  proxy is no error.",
        },
        Method {
            name: "SwitchManager",
            arguments: &[Argument("address", "s")],
            results: &[],
            doc: "Leaves the manager and connects to the one at this D-Bus address \
                  (tcp:host=HOST,port=PORT), until the agent ends. Answers before the connection \
                  stands; Status tells. Errors: org.freedesktop.DBus.Error.Failed when the \
                  address is that of the present manager; \
                  org.freedesktop.DBus.Error.InvalidArgs when it is none. Since 0.6.",
        },
    ],
    signals: &[],
    properties: &[
        Property {
            name: "Status",
            signature: "s",
            changes: Changes::Emitted,
            doc: "online while the node is registered with its manager, otherwise offline. \
                  Since 0.6.",
        },
        Property {
            name: "ManagerAddress",
            signature: "s",
            changes: Changes::Emitted,
            doc: "D-Bus address of the manager. Since 0.6.",
        },
        Property {
            name: "LogLevel",
            signature: "s",
            changes: Changes::Emitted,
            doc: "The least level that the agent logs: DEBUG, INFO, WARN or ERROR. Since 0.6.",
        },
        Property {
            name: "LogTarget",
            signature: "s",
            changes: Changes::Emitted,
            doc: "Where the agent logs to: journald, stderr or stderr-full. Since 0.6.",
        },
        Property {
            name: "DisconnectTimestamp",
            signature: "t",
            changes: Changes::Silent,
            doc: "Since when the node is offline, seconds since 1970; the start of the agent when \
                  it was never online, and 0 while it is online. Since 0.6.",
        },
        Property {
            name: "DisconnectTimestampMonotonic",
            signature: "t",
            changes: Changes::Silent,
            doc: "The same on CLOCK_MONOTONIC, microseconds. Since 0.6.",
        },
        Property {
            name: "LastSeenTimestamp",
            signature: "t",
            changes: Changes::Silent,
            doc: "When the last message of the manager came, seconds since 1970; 0 for never. \
                  Since 0.6.",
        },
        Property {
            name: "LastSeenTimestampMonotonic",
            signature: "t",
            changes: Changes::Silent,
            doc: "The same on CLOCK_MONOTONIC, microseconds. Since 0.6.",
        },
    ],
};
