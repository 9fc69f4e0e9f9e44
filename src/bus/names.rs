//! The names and paths under which hirte is known on a bus, and how node names become paths.

use crate::limits;

/// Well-known name of the manager on its bus, and the sender of its messages to agents.
pub const MANAGER_BUS_NAME: &str = "org.containers.hirte";
/// Well-known name of the agent on its node's bus, and the destination of calls to it.
pub const AGENT_BUS_NAME: &str = "org.containers.hirte.Agent";

/// The manager's folder for what lives as long as the system runs.
pub const RUNTIME_FOLDER: &str = "/run/hirte";
/// Name of the manager's private socket in that folder.
pub const PRIVATE_SOCKET: &str = "private";

/// Object of the manager; nodes and jobs lie below it.
pub const MANAGER_PATH: &str = "/org/containers/hirte";
/// Parent of the node objects.
pub const NODE_PARENT_PATH: &str = "/org/containers/hirte/node";
/// Parent of the job objects.
pub const JOB_PARENT_PATH: &str = "/org/containers/hirte/job";
/// Parent of the monitor objects.
pub const MONITOR_PARENT_PATH: &str = "/org/containers/hirte/monitor";
/// Parent of the stream objects.
pub const STREAM_PARENT_PATH: &str = "/org/containers/hirte/stream";
/// The object that emits metrics, while they are enabled.
pub const METRICS_PATH: &str = "/org/containers/hirte/metrics";
/// The manager's object on a connection to an agent.
pub const INTERNAL_MANAGER_PATH: &str = "/org/containers/hirte/internal";
/// Object of the agent on its node's bus.
pub const AGENT_PATH: &str = "/org/containers/hirte";
/// Parent of the objects by which the manager tells an agent of the targets of its proxies.
pub const INTERNAL_PROXY_PARENT_PATH: &str = "/org/containers/hirte/internal/proxy";
/// The agent's object on a connection to the manager.
pub const INTERNAL_AGENT_PATH: &str = "/org/containers/hirte/internal/agent";
/// The object by which an agent signals metrics.
pub const INTERNAL_AGENT_METRICS_PATH: &str = "/org/containers/hirte/internal/agent/metrics";

/// Public interface of the manager.
pub const MANAGER_INTERFACE: &str = "org.containers.hirte.Manager";
/// Public interface of a node.
pub const NODE_INTERFACE: &str = "org.containers.hirte.Node";
/// Public interface of a job.
pub const JOB_INTERFACE: &str = "org.containers.hirte.Job";
/// Public interface of a monitor.
pub const MONITOR_INTERFACE: &str = "org.containers.hirte.Monitor";
/// Public interface of a stream.
pub const STREAM_INTERFACE: &str = "org.containers.hirte.Stream";
/// Public interface of the metrics.
pub const METRICS_INTERFACE: &str = "org.containers.hirte.Metrics";
/// Public interface of the manager's counters.
pub const COUNTERS_INTERFACE: &str = "org.containers.hirte.Counters";
/// Public interface of an agent on its node's bus.
pub const AGENT_INTERFACE: &str = "org.containers.hirte.Agent";
/// What agents call on the manager.
pub const INTERNAL_MANAGER_INTERFACE: &str = "org.containers.hirte.internal.Manager";
/// What the manager calls on agents, and what agents signal.
pub const INTERNAL_AGENT_INTERFACE: &str = "org.containers.hirte.internal.Agent";
/// What the manager calls on a proxy of an agent.
pub const INTERNAL_PROXY_INTERFACE: &str = "org.containers.hirte.internal.Proxy";
/// The metrics that agents signal.
pub const INTERNAL_AGENT_METRICS_INTERFACE: &str = "org.containers.hirte.internal.Agent.Metrics";

/// Name, object and interface of a message bus itself (D-Bus Specification, "Message Bus").
pub const DBUS_NAME: &str = "org.freedesktop.DBus";
/// Object of a message bus itself.
pub const DBUS_PATH: &str = "/org/freedesktop/DBus";
/// `org.freedesktop.DBus.Peer` (D-Bus Specification, "Standard Interfaces").
pub const PEER_INTERFACE: &str = "org.freedesktop.DBus.Peer";
/// `org.freedesktop.DBus.Introspectable`.
pub const INTROSPECTABLE_INTERFACE: &str = "org.freedesktop.DBus.Introspectable";
/// `org.freedesktop.DBus.Properties`.
pub const PROPERTIES_INTERFACE: &str = "org.freedesktop.DBus.Properties";

/// Well-known name of systemd on a bus, and the sender on its private socket.
pub const SYSTEMD_NAME: &str = "org.freedesktop.systemd1";
/// Object of systemd's manager (org.freedesktop.systemd1(5)).
pub const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
/// Interface of systemd's manager.
pub const SYSTEMD_MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
/// Interface of a systemd unit.
pub const SYSTEMD_UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";
/// Interface of a systemd service.
pub const SYSTEMD_SERVICE_INTERFACE: &str = "org.freedesktop.systemd1.Service";
/// Interface of a systemd job.
pub const SYSTEMD_JOB_INTERFACE: &str = "org.freedesktop.systemd1.Job";
/// Parent of systemd's unit objects.
pub const SYSTEMD_UNIT_PARENT_PATH: &str = "/org/freedesktop/systemd1/unit";

/// Whether this can be the name of a unit (systemd.unit(5)). Agents are not trusted with it, and
/// users get an error for anything else.
#[must_use]
pub fn is_unit_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    !name.is_empty() && name.len() <= limits::MAX_NAME && name.bytes().all(is_allowed)
}

/// Escapes a label so that it can be the last element of an object path, as sd-bus does
/// (`sd_bus_path_encode(3)`): letters stay, digits stay except in front, every other byte becomes
/// `_` and two lower-case hex digits, the empty label becomes `_`.
#[must_use]
pub fn escape_label(label: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    if label.is_empty() {
        return "_".to_owned();
    }
    let mut escaped = String::with_capacity(label.len() + 8);
    let mut kept_from = 0;
    for (index, byte) in label.bytes().enumerate() {
        if !(byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit())) {
            // Between bytes that are escaped there is only ASCII, which never lies within a char.
            escaped.push_str(label.get(kept_from..index).unwrap_or_default());
            escaped.push('_');
            escaped.push(char::from(HEX[usize::from(byte >> 4)]));
            escaped.push(char::from(HEX[usize::from(byte & 15)]));
            kept_from = index + 1;
        }
    }
    escaped.push_str(label.get(kept_from..).unwrap_or_default());
    escaped
}

/// Reverses [`escape_label`]; `None` for what it can not have produced.
#[must_use]
pub fn unescape_label(escaped: &str) -> Option<String> {
    if escaped == "_" {
        return Some(String::new());
    }
    let mut bytes = escaped.bytes();
    let mut label = Vec::with_capacity(escaped.len());
    while let Some(byte) = bytes.next() {
        if byte == b'_' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            label.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            label.push(byte);
        }
    }
    let label = String::from_utf8(label).ok()?;
    (escape_label(&label) == escaped).then_some(label)
}

/// Path of the node called `name`.
#[must_use]
pub fn node_path(name: &str) -> String {
    [NODE_PARENT_PATH, "/", &escape_label(name)].concat()
}

/// Path of the job with number `id`.
#[must_use]
pub fn job_path(id: u32) -> String {
    format!("{JOB_PARENT_PATH}/{id}")
}

/// Path of the monitor with number `id`.
#[must_use]
pub fn monitor_path(id: u32) -> String {
    format!("{MONITOR_PARENT_PATH}/{id}")
}

/// Path of the stream with number `id`.
#[must_use]
pub fn stream_path(id: u32) -> String {
    format!("{STREAM_PARENT_PATH}/{id}")
}

/// Path of the proxy with number `id`, on a connection to the manager.
#[must_use]
pub fn proxy_path(id: u32) -> String {
    format!("{INTERNAL_PROXY_PARENT_PATH}/{id}")
}

/// Path of the object by which systemd shows the unit called `unit`.
#[must_use]
pub fn systemd_unit_path(unit: &str) -> String {
    format!("{SYSTEMD_UNIT_PARENT_PATH}/{}", escape_label(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_as_sd_bus_does() {
        for (label, escaped) in [
            ("", "_"),
            ("bar-2", "bar_2d2"),
            ("0x", "_30x"),
            ("rpi4", "rpi4"),
            ("a_b", "a_5fb"),
            ("ü", "_c3_bc"),
        ] {
            assert_eq!(escape_label(label), escaped);
            assert_eq!(unescape_label(escaped).as_deref(), Some(label));
        }
    }

    #[test]
    fn labels_that_no_escaping_yields_are_refused() {
        for escaped in ["_2D", "_6", "0x", "a-b", "_61", "_ff", "a_"] {
            assert_eq!(unescape_label(escaped), None, "{escaped}");
        }
    }
}
