//! The keys of each daemon.

use super::{
    settings::{AgentConfig, ManagerConfig, NodeSection},
    value::{self, Parsed},
};
use crate::{logging::LogSettings, wire::tcp::KeepAlive};

/// One key of a section.
///
/// The tables of keys are the one place that says which keys exist; the reader, the defaults and the
/// manual pages' test go by them.
pub struct Key<C: 'static> {
    /// The key as it is written, case-sensitive.
    pub name: &'static str,
    /// The built-in default as one would write it; empty where the key has none or is computed.
    pub default: &'static str,
    /// What the key decides, in one line.
    pub summary: &'static str,
    /// Reads a text and puts the value into the configuration.
    pub(super) set: fn(&mut C, &str) -> Result<Option<String>, String>,
    /// Whether a second occurrence in one file adds to the first.
    pub(super) is_list: bool,
}

/// What the loader needs to know of a daemon's configuration.
pub(super) trait Schema: Clone + 'static {
    /// Name of the section in the files.
    const SECTION: &'static str;
    /// The keys of the section.
    const KEYS: &'static [Key<Self>];
    /// The configuration file below the data root.
    const DATA_FILE: &'static str;
    /// The configuration file below `/etc`; its drop-ins are in the folder of this name with `.d`.
    const ETC_FILE: &'static str;

    fn log(&mut self) -> &mut LogSettings;
    fn tcp_keep_alive(&mut self) -> &mut KeepAlive;
    /// The sections of single nodes; `None` for a daemon that has none.
    fn node_sections(&mut self) -> Option<&mut Vec<NodeSection>>;
}

impl Schema for ManagerConfig {
    const SECTION: &'static str = "hirte";
    const KEYS: &'static [Key<Self>] = MANAGER_KEYS;
    const DATA_FILE: &'static str = "hirte/config/hirte.conf";
    const ETC_FILE: &'static str = "hirte/hirte.conf";

    fn log(&mut self) -> &mut LogSettings {
        &mut self.log
    }

    fn tcp_keep_alive(&mut self) -> &mut KeepAlive {
        &mut self.tcp_keep_alive
    }

    fn node_sections(&mut self) -> Option<&mut Vec<NodeSection>> {
        Some(&mut self.node_sections)
    }
}

impl Schema for AgentConfig {
    const SECTION: &'static str = "hirte-agent";
    const KEYS: &'static [Key<Self>] = AGENT_KEYS;
    const DATA_FILE: &'static str = "hirte-agent/config/agent.conf";
    const ETC_FILE: &'static str = "hirte/agent.conf";

    fn log(&mut self) -> &mut LogSettings {
        &mut self.log
    }

    fn tcp_keep_alive(&mut self) -> &mut KeepAlive {
        &mut self.tcp_keep_alive
    }

    fn node_sections(&mut self) -> Option<&mut Vec<NodeSection>> {
        None
    }
}

/// Puts a value where it belongs, and hands on the remark that reading it gave.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the last step of every `Key::set`"
)]
fn put<T>(place: &mut T, parsed: Parsed<T>) -> Result<Option<String>, String> {
    *place = parsed.value;
    Ok(parsed.remark)
}

const fn key<C: Schema>(
    name: &'static str,
    default: &'static str,
    summary: &'static str,
    set: fn(&mut C, &str) -> Result<Option<String>, String>,
) -> Key<C> {
    Key {
        name,
        default,
        summary,
        set,
        is_list: false,
    }
}

/// The keys of `[hirte]`.
pub const MANAGER_KEYS: &[Key<ManagerConfig>] = &[
    key("ManagerPort", "842", PORT_SUMMARY, |config, text| {
        put(&mut config.port, value::port(text)?)
    }),
    Key {
        name: "ListenAddress",
        default: "",
        summary: "IP addresses on which agents are awaited, separated by commas; all if not set",
        set: |config, text| value::add_addresses(&mut config.listen_addresses, text),
        is_list: true,
    },
    key("UseTCP", "true", "await agents on TCP", |config, text| {
        put(&mut config.use_tcp, value::boolean(text)?)
    }),
    key(
        "UseUDS",
        "true",
        "await agents of this machine on a Unix socket",
        |config, text| put(&mut config.use_uds, value::boolean(text)?),
    ),
    Key {
        name: "AllowedNodeNames",
        default: "",
        summary: "names of the nodes that may register, separated by commas",
        set: |config, text| value::add_node_names(&mut config.allowed_node_names, text),
        is_list: true,
    },
    key(
        "NodeHeartbeatThreshold",
        "6s",
        "silence after which a node is offline; 0: never",
        |config, text| {
            put(
                &mut config.node_heartbeat_threshold,
                value::threshold(text)?,
            )
        },
    ),
    key(
        "HeartbeatInterval",
        "0",
        "time between heartbeats to each node; 0: none",
        |config, text| put(&mut config.heartbeat_interval, value::interval(text)?),
    ),
    key(
        "CompatBlueChi",
        "no",
        "yes: serve clients and agents of Eclipse BlueChi too",
        |config, text| put(&mut config.compat_bluechi, value::boolean(text)?),
    ),
    keep_alive_time(),
    keep_alive_interval(),
    keep_alive_count(),
    user_timeout(),
    receive_errors(),
    log_level(),
    log_target(),
    log_is_quiet(),
];

/// The keys of `[node NAME]` in the manager's configuration.
pub const NODE_KEYS: &[Key<NodeSection>] = &[
    Key {
        name: "Allowed",
        default: "",
        summary: "whether the node may register; not set: as AllowedNodeNames says",
        set: |node, text| {
            if text.is_empty() {
                node.allowed = None;
                return Ok(None);
            }
            put(&mut node.allowed, value::boolean(text)?.map(Some))
        },
        is_list: false,
    },
    Key {
        name: "AllowDependenciesOn",
        default: "",
        summary: "nodes whose units those of this node may depend on, separated by commas",
        set: |node, text| value::add_node_names(&mut node.allow_dependencies_on, text),
        is_list: true,
    },
];

/// The keys of `[hirte-agent]`.
pub const AGENT_KEYS: &[Key<AgentConfig>] = &[
    key(
        "NodeName",
        "",
        "name of this node; the host name if not set",
        |config, text| put(&mut config.node_name, value::optional_node_name(text)?),
    ),
    key(
        "ManagerHost",
        "127.0.0.1",
        "IP address or name of the manager's host",
        |config, text| put(&mut config.manager_host, value::host(text)?),
    ),
    key("ManagerPort", "842", PORT_SUMMARY, |config, text| {
        put(&mut config.manager_port, value::port(text)?)
    }),
    key(
        "ManagerAddress",
        "",
        "D-Bus address of the manager, instead of ManagerHost and ManagerPort",
        |config, text| put(&mut config.manager_address, value::address(text)?),
    ),
    key(
        "HeartbeatInterval",
        "2s",
        "time between heartbeats to the manager; 0: none",
        |config, text| put(&mut config.heartbeat_interval, value::interval(text)?),
    ),
    key(
        "ReconnectInterval",
        "2s",
        "longest pause between attempts to connect; 0: do not connect again",
        |config, text| put(&mut config.reconnect_interval, value::interval(text)?),
    ),
    key(
        "ManagerHeartbeatThreshold",
        "6s",
        "silence after which the manager is lost; 0: never",
        |config, text| {
            put(
                &mut config.manager_heartbeat_threshold,
                value::threshold(text)?,
            )
        },
    ),
    key(
        "ConnectionRetryCountUntilQuiet",
        "10",
        "failed attempts to connect in a row that are each logged; later ones once a minute",
        |config, text| put(&mut config.loud_retries, value::retries(text)?),
    ),
    key(
        "AllowExec",
        "no",
        "yes: root on the manager's node may run commands on this one",
        |config, text| put(&mut config.allow_exec, value::boolean(text)?),
    ),
    keep_alive_time(),
    keep_alive_interval(),
    keep_alive_count(),
    user_timeout(),
    receive_errors(),
    log_level(),
    log_target(),
    log_is_quiet(),
];

const PORT_SUMMARY: &str = "TCP port of the manager";

const fn keep_alive_time<C: Schema>() -> Key<C> {
    key(
        "TCPKeepAliveTime",
        "1s",
        "idle time before the first TCP keepalive probe; 0: the system's setting",
        |config, text| put(&mut config.tcp_keep_alive().time, value::seconds(text)?),
    )
}

const fn keep_alive_interval<C: Schema>() -> Key<C> {
    key(
        "TCPKeepAliveInterval",
        "1s",
        "time between TCP keepalive probes; 0: the system's setting",
        |config, text| put(&mut config.tcp_keep_alive().interval, value::seconds(text)?),
    )
}

const fn keep_alive_count<C: Schema>() -> Key<C> {
    key(
        "TCPKeepAliveCount",
        "4",
        "unanswered TCP keepalive probes that end a connection; 0: the system's setting",
        |config, text| put(&mut config.tcp_keep_alive().count, value::count(text)?),
    )
}

const fn user_timeout<C: Schema>() -> Key<C> {
    key(
        "TCPUserTimeout",
        "5s",
        "time without an acknowledgement of sent data that ends a connection; 0: the system's setting",
        |config, text| {
            let timeout = value::user_timeout(text)?;
            put(&mut config.tcp_keep_alive().user_timeout, timeout)
        },
    )
}

const fn receive_errors<C: Schema>() -> Key<C> {
    key(
        "IPReceiveErrors",
        "true",
        "known from BlueChi; has no effect",
        |_, text| value::boolean(text).map(|parsed| parsed.remark),
    )
}

const fn log_level<C: Schema>() -> Key<C> {
    key(
        "LogLevel",
        "INFO",
        "least level that is logged: DEBUG, INFO, WARN or ERROR",
        |config, text| put(&mut config.log().level, value::log_level(text)?),
    )
}

const fn log_target<C: Schema>() -> Key<C> {
    key(
        "LogTarget",
        "journald",
        "where the log goes: journald, stderr or stderr-full",
        |config, text| put(&mut config.log().target, value::log_target(text)?),
    )
}

const fn log_is_quiet<C: Schema>() -> Key<C> {
    key(
        "LogIsQuiet",
        "false",
        "log nothing at all",
        |config, text| put(&mut config.log().quiet, value::boolean(text)?),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{core::Level, logging::LogTarget};

    fn set_all<C: Schema>(config: &mut C) {
        for key in C::KEYS {
            let remark = (key.set)(config, key.default);
            assert_eq!(remark, Ok(None), "{}", key.name);
            assert!(!key.summary.is_empty(), "{}", key.name);
        }
    }

    #[test]
    fn tables_hold_the_built_in_defaults() {
        let mut manager = ManagerConfig {
            port: 1,
            listen_addresses: Vec::new(),
            use_tcp: false,
            use_uds: false,
            allowed_node_names: Vec::new(),
            node_sections: Vec::new(),
            node_heartbeat_threshold: None,
            heartbeat_interval: Some(Duration::from_secs(1)),
            compat_bluechi: true,
            tcp_keep_alive: KeepAlive::default(),
            log: LogSettings {
                level: Level::Error,
                target: LogTarget::Stderr,
                quiet: true,
            },
        };
        set_all(&mut manager);
        assert_eq!(manager, ManagerConfig::default());

        let mut node = NodeSection {
            allowed: Some(true),
            allow_dependencies_on: vec!["old".to_owned()],
            ..NodeSection::default()
        };
        for key in NODE_KEYS {
            assert_eq!((key.set)(&mut node, key.default), Ok(None), "{}", key.name);
        }
        assert_eq!(node, NodeSection::default());

        let mut agent = AgentConfig {
            node_name: "old".to_owned(),
            manager_host: "old".to_owned(),
            manager_port: 1,
            manager_address: Some(AgentConfig::for_node("x").manager()),
            heartbeat_interval: None,
            reconnect_interval: None,
            manager_heartbeat_threshold: None,
            loud_retries: 1,
            allow_exec: true,
            tcp_keep_alive: KeepAlive::default(),
            log: LogSettings {
                level: Level::Error,
                target: LogTarget::Stderr,
                quiet: true,
            },
        };
        set_all(&mut agent);
        assert_eq!(agent, AgentConfig::for_node(""));
    }
}
