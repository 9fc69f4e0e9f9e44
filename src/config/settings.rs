//! The typed values that the keys of each daemon set, with their built-in defaults.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use zbus::{
    Address,
    address::{Transport, transport::Tcp},
};

use crate::{
    limits::{LOUD_RETRIES, TCP_USER_TIMEOUT},
    logging::LogSettings,
    wire::{ip::ScopedIp, tcp::KeepAlive},
};

/// Keepalive on the connections between agents and manager, unless it is configured.
const KEEP_ALIVE: KeepAlive = KeepAlive {
    time: Some(Duration::from_secs(1)),
    interval: Some(Duration::from_secs(1)),
    count: Some(4),
    user_timeout: Some(TCP_USER_TIMEOUT),
};

/// The manager's configuration: section `[hirte]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerConfig {
    /// `ManagerPort`: TCP port on which agents are awaited.
    pub port: u16,
    /// `ListenAddress`: addresses on which agents are awaited at that port; none: all.
    pub listen_addresses: Vec<ScopedIp>,
    /// `UseTCP`: whether agents are awaited on TCP.
    pub use_tcp: bool,
    /// `UseUDS`: whether agents of this machine are awaited on a Unix socket.
    pub use_uds: bool,
    /// `AllowedNodeNames`: the nodes that may register, in the order given, each once.
    pub allowed_node_names: Vec<String>,
    /// The sections `[node NAME]`, in the order in which their names first appear.
    pub node_sections: Vec<NodeSection>,
    /// `NodeHeartbeatThreshold`: silence after which a node is offline; `None`: never.
    pub node_heartbeat_threshold: Option<Duration>,
    /// `HeartbeatInterval`: time between heartbeats to each node; `None`: no heartbeats.
    pub heartbeat_interval: Option<Duration>,
    /// `CompatBlueChi`: whether clients and agents of Eclipse `BlueChi` are served too.
    pub compat_bluechi: bool,
    /// `TCPKeepAliveTime`, `TCPKeepAliveInterval`, `TCPKeepAliveCount`, `TCPUserTimeout`.
    pub tcp_keep_alive: KeepAlive,
    /// `LogLevel`, `LogTarget`, `LogIsQuiet`.
    pub log: LogSettings,
}

impl Default for ManagerConfig {
    fn default() -> Self {
        Self {
            port: 842,
            listen_addresses: Vec::new(),
            use_tcp: true,
            use_uds: true,
            allowed_node_names: Vec::new(),
            node_sections: Vec::new(),
            node_heartbeat_threshold: Some(Duration::from_secs(6)),
            heartbeat_interval: None,
            compat_bluechi: false,
            tcp_keep_alive: KEEP_ALIVE,
            log: LogSettings::default(),
        }
    }
}

impl ManagerConfig {
    /// The nodes that may register, each with its section if it has one: those of
    /// `AllowedNodeNames`, and then those with `Allowed=true`. A section with `Allowed=false`
    /// refuses its node either way.
    #[must_use]
    pub fn allowed_nodes(&self) -> Vec<(&str, Option<&NodeSection>)> {
        let sections = self.node_sections.iter();
        let sections: BTreeMap<_, _> = sections.map(|node| (node.name.as_str(), node)).collect();
        let listed: BTreeSet<_> = self.allowed_node_names.iter().collect();
        let named = self.allowed_node_names.iter().map(|name| {
            let section = sections.get(name.as_str()).copied();
            (name.as_str(), section)
        });
        let named =
            named.filter(|(_, section)| section.and_then(|section| section.allowed) != Some(false));
        let added = self
            .node_sections
            .iter()
            .filter(|node| node.allowed == Some(true) && !listed.contains(&node.name))
            .map(|node| (node.name.as_str(), Some(node)));
        named.chain(added).collect()
    }

    /// The keys in which `other` differs and that a running manager can not take over.
    #[must_use]
    pub fn keys_for_a_restart(&self, other: &Self) -> Vec<&'static str> {
        let Self {
            port,
            listen_addresses,
            use_tcp,
            use_uds,
            allowed_node_names: _,
            node_sections: _,
            node_heartbeat_threshold: _,
            heartbeat_interval: _,
            compat_bluechi,
            tcp_keep_alive,
            log: _,
        } = self;
        let keys = [
            ("ManagerPort", *port != other.port),
            ("ListenAddress", *listen_addresses != other.listen_addresses),
            ("UseTCP", *use_tcp != other.use_tcp),
            ("UseUDS", *use_uds != other.use_uds),
            ("CompatBlueChi", *compat_bluechi != other.compat_bluechi),
        ];
        changed(
            keys.into_iter()
                .chain(keep_alive_keys(tcp_keep_alive, &other.tcp_keep_alive)),
        )
    }
}

/// What the manager's configuration says of one node: section `[node NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSection {
    /// The node.
    pub name: String,
    /// `Allowed`: whether it may register; `None`: as `AllowedNodeNames` says.
    pub allowed: Option<bool>,
    /// `AllowDependenciesOn`: the nodes whose units its own may depend on.
    pub allow_dependencies_on: Vec<String>,
}

/// The agent's configuration: section `[hirte-agent]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// `NodeName`: the name under which the agent registers.
    pub node_name: String,
    /// `ManagerHost`: IP address or name of the manager's host.
    pub manager_host: String,
    /// `ManagerPort`: the manager's TCP port.
    pub manager_port: u16,
    /// `ManagerAddress`: takes the place of host and port; `tcp:` or `unix:`.
    pub manager_address: Option<Address>,
    /// `HeartbeatInterval`: time between heartbeats; `None`: no heartbeats.
    pub heartbeat_interval: Option<Duration>,
    /// `ReconnectInterval`: the longest pause between attempts to connect; `None`: a lost connection
    /// is not opened again.
    pub reconnect_interval: Option<Duration>,
    /// `ManagerHeartbeatThreshold`: silence after which the manager is lost; `None`: never.
    pub manager_heartbeat_threshold: Option<Duration>,
    /// `ConnectionRetryCountUntilQuiet`: failed attempts to connect in a row that are each logged.
    pub loud_retries: u32,
    /// `AllowExec`: whether the manager may have commands run on the node.
    pub allow_exec: bool,
    /// `TCPKeepAliveTime`, `TCPKeepAliveInterval`, `TCPKeepAliveCount`, `TCPUserTimeout`.
    pub tcp_keep_alive: KeepAlive,
    /// `LogLevel`, `LogTarget`, `LogIsQuiet`.
    pub log: LogSettings,
}

impl AgentConfig {
    /// The keys in which `other` differs and that a running agent can not take over.
    #[must_use]
    pub fn keys_for_a_restart(&self, other: &Self) -> Vec<&'static str> {
        let Self {
            node_name,
            manager_host,
            manager_port,
            manager_address,
            heartbeat_interval: _,
            reconnect_interval: _,
            manager_heartbeat_threshold: _,
            loud_retries: _,
            allow_exec: _,
            tcp_keep_alive,
            log: _,
        } = self;
        let keys = [
            ("NodeName", *node_name != other.node_name),
            ("ManagerHost", *manager_host != other.manager_host),
            ("ManagerPort", *manager_port != other.manager_port),
            ("ManagerAddress", *manager_address != other.manager_address),
        ];
        changed(
            keys.into_iter()
                .chain(keep_alive_keys(tcp_keep_alive, &other.tcp_keep_alive)),
        )
    }

    /// The built-in defaults for the node called `node_name`.
    #[must_use]
    pub fn for_node(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            manager_host: "127.0.0.1".to_owned(),
            manager_port: 842,
            manager_address: None,
            heartbeat_interval: Some(Duration::from_secs(2)),
            reconnect_interval: Some(Duration::from_secs(2)),
            manager_heartbeat_threshold: Some(Duration::from_secs(6)),
            loud_retries: LOUD_RETRIES,
            allow_exec: false,
            tcp_keep_alive: KEEP_ALIVE,
            log: LogSettings::default(),
        }
    }

    /// Where the manager is: `ManagerAddress`, or else `ManagerHost` and `ManagerPort`.
    #[must_use]
    pub fn manager(&self) -> Address {
        self.manager_address.clone().unwrap_or_else(|| {
            Address::new(Transport::Tcp(Tcp::new(
                &self.manager_host,
                self.manager_port,
            )))
        })
    }
}

/// The keys of the TCP keepalive, and whether they differ.
fn keep_alive_keys(one: &KeepAlive, other: &KeepAlive) -> [(&'static str, bool); 4] {
    [
        ("TCPKeepAliveTime", one.time != other.time),
        ("TCPKeepAliveInterval", one.interval != other.interval),
        ("TCPKeepAliveCount", one.count != other.count),
        ("TCPUserTimeout", one.user_timeout != other.user_timeout),
    ]
}

fn changed(keys: impl Iterator<Item = (&'static str, bool)>) -> Vec<&'static str> {
    let changed = keys.filter(|(_, is_changed)| *is_changed);
    changed.map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_takes_the_place_of_host_and_port() {
        let mut agent = AgentConfig::for_node("rpi4");
        assert_eq!(agent.manager().to_string(), "tcp:host=127.0.0.1,port=842");
        agent.manager_address = "unix:path=/run/hirte.sock".parse().ok();
        assert_eq!(agent.manager().to_string(), "unix:path=/run/hirte.sock");
    }

    #[test]
    fn allowed_are_the_listed_nodes_and_then_those_of_sections() {
        let section = |name: &str, allowed| NodeSection {
            name: name.to_owned(),
            allowed,
            ..NodeSection::default()
        };
        let config = ManagerConfig {
            allowed_node_names: ["c", "b", "a"].map(str::to_owned).to_vec(),
            node_sections: vec![
                section("z", Some(true)),
                section("b", Some(false)),
                section("x", None),
                section("a", Some(true)),
                section("y", Some(true)),
            ],
            ..ManagerConfig::default()
        };
        let allowed = config.allowed_nodes();
        let allowed: Vec<_> = allowed.into_iter().map(|(name, _)| name).collect();
        assert_eq!(allowed, ["c", "a", "z", "y"]);
    }

    #[test]
    fn keys_that_need_a_restart_are_named() {
        let running = ManagerConfig::default();
        let mut other = ManagerConfig {
            allowed_node_names: vec!["a".to_owned()],
            node_heartbeat_threshold: None,
            ..ManagerConfig::default()
        };
        assert!(running.keys_for_a_restart(&other).is_empty());
        other.port = 1;
        other.use_tcp = false;
        other.tcp_keep_alive = KeepAlive::default();
        assert_eq!(
            running.keys_for_a_restart(&other),
            [
                "ManagerPort",
                "UseTCP",
                "TCPKeepAliveTime",
                "TCPKeepAliveInterval",
                "TCPKeepAliveCount",
                "TCPUserTimeout"
            ]
        );
        let running = AgentConfig::for_node("a");
        let mut other = AgentConfig {
            heartbeat_interval: None,
            reconnect_interval: None,
            manager_heartbeat_threshold: None,
            loud_retries: 0,
            ..running.clone()
        };
        assert!(running.keys_for_a_restart(&other).is_empty());
        other.node_name = "b".to_owned();
        other.manager_port = 1;
        assert_eq!(
            running.keys_for_a_restart(&other),
            ["NodeName", "ManagerPort"]
        );
    }
}
