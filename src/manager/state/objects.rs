//! Which objects exist, what is below them, and their properties.

use super::{
    State,
    event::{Dialect, Object},
};
use crate::bus::{
    CallError, Value,
    body::Entry,
    interface::{unknown_interface, unknown_property},
    names,
};

impl Object {
    /// The path of the object.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Above(path) | Self::Unknown(path) => path.clone(),
            Self::Manager => names::MANAGER_PATH.to_owned(),
            Self::Nodes => names::NODE_PARENT_PATH.to_owned(),
            Self::Node(name) => names::node_path(name),
            Self::Jobs => names::JOB_PARENT_PATH.to_owned(),
            Self::Job(id) => names::job_path(*id),
            Self::Monitors => names::MONITOR_PARENT_PATH.to_owned(),
            Self::Monitor(id) => names::monitor_path(*id),
            Self::Streams => names::STREAM_PARENT_PATH.to_owned(),
            Self::Stream(id) => names::stream_path(*id),
            Self::Metrics => names::METRICS_PATH.to_owned(),
        }
    }

    /// The object that a path names.
    #[must_use]
    pub fn at(path: &str) -> Self {
        let below = |parent: &str| path.strip_prefix(parent)?.strip_prefix('/');
        if path == names::MANAGER_PATH {
            Self::Manager
        } else if path == names::NODE_PARENT_PATH {
            Self::Nodes
        } else if path == names::JOB_PARENT_PATH {
            Self::Jobs
        } else if path == names::METRICS_PATH {
            Self::Metrics
        } else if let Some(label) = below(names::NODE_PARENT_PATH) {
            names::unescape_label(label).map_or_else(|| Self::Unknown(path.to_owned()), Self::Node)
        } else if let Some(id) = below(names::JOB_PARENT_PATH) {
            numbered(id).map_or_else(|| Self::Unknown(path.to_owned()), Self::Job)
        } else if path == names::MONITOR_PARENT_PATH {
            Self::Monitors
        } else if let Some(id) = below(names::MONITOR_PARENT_PATH) {
            numbered(id).map_or_else(|| Self::Unknown(path.to_owned()), Self::Monitor)
        } else if path == names::STREAM_PARENT_PATH {
            Self::Streams
        } else if let Some(id) = below(names::STREAM_PARENT_PATH) {
            numbered(id).map_or_else(|| Self::Unknown(path.to_owned()), Self::Stream)
        } else if path == "/" || names::MANAGER_PATH.starts_with(&format!("{path}/")) {
            Self::Above(path.to_owned())
        } else {
            Self::Unknown(path.to_owned())
        }
    }

    /// The interfaces of ours that the object has, the main one first.
    #[must_use]
    pub const fn interfaces(&self) -> &'static [&'static str] {
        match self {
            Self::Manager => &[names::MANAGER_INTERFACE, names::COUNTERS_INTERFACE],
            Self::Node(_) => &[names::NODE_INTERFACE],
            Self::Job(_) => &[names::JOB_INTERFACE],
            Self::Monitor(_) => &[names::MONITOR_INTERFACE],
            Self::Stream(_) => &[names::STREAM_INTERFACE],
            Self::Metrics => &[names::METRICS_INTERFACE],
            Self::Above(_)
            | Self::Nodes
            | Self::Jobs
            | Self::Monitors
            | Self::Streams
            | Self::Unknown(_) => &[],
        }
    }

    /// The interface whose properties are announced when they change.
    #[must_use]
    pub fn interface(&self) -> Option<&'static str> {
        self.interfaces().first().copied()
    }
}

/// The number that is the last element of a path, only in the form that we write: "+1" and "01"
/// parse as numbers too.
fn numbered(label: &str) -> Option<u32> {
    let number: Option<u32> = label.parse().ok();
    number.filter(|number| number.to_string() == label)
}

impl State {
    pub(super) fn exists(&self, object: &Object) -> bool {
        match object {
            Object::Above(_)
            | Object::Manager
            | Object::Nodes
            | Object::Jobs
            | Object::Monitors
            | Object::Streams => true,
            Object::Node(name) => self.node_index.contains_key(name),
            Object::Job(id) => self.jobs.announced(*id).is_some(),
            Object::Monitor(id) => self.monitors.exists(*id),
            Object::Stream(id) => self.streams.is_open(*id),
            Object::Metrics => self.metrics.is_enabled(),
            Object::Unknown(_) => false,
        }
    }

    /// Last elements of the paths of the objects right below.
    pub(super) fn children(&self, object: &Object) -> Vec<String> {
        match object {
            Object::Above(path) => {
                let rest = names::MANAGER_PATH.strip_prefix(path.trim_end_matches('/'));
                let next = rest.and_then(|rest| rest.split('/').nth(1));
                next.map(str::to_owned).into_iter().collect()
            }
            Object::Manager => {
                let metrics = self.metrics.is_enabled().then_some("metrics");
                let children = ["node", "job", "monitor", "stream"]
                    .into_iter()
                    .chain(metrics);
                children.map(str::to_owned).collect()
            }
            Object::Nodes => self
                .nodes_in_order()
                .map(|node| names::escape_label(&node.name))
                .collect(),
            Object::Jobs => self.jobs.announced_ids().map(|id| id.to_string()).collect(),
            Object::Monitors => self.monitors.ids().map(|id| id.to_string()).collect(),
            Object::Streams => self.streams.open_ids().map(|id| id.to_string()).collect(),
            Object::Node(_)
            | Object::Job(_)
            | Object::Stream(_)
            | Object::Monitor(_)
            | Object::Metrics
            | Object::Unknown(_) => Vec::new(),
        }
    }

    /// All properties that the object has on `interface`; empty text stands for all interfaces.
    pub(super) fn properties(
        &self,
        object: &Object,
        interface: &str,
        dialect: Dialect,
    ) -> Result<Vec<Entry<&'static str, Value>>, CallError> {
        if interface.is_empty() {
            let of_each = object.interfaces().iter();
            return Ok(of_each
                .flat_map(|interface| self.own_properties(object, interface, dialect))
                .collect());
        }
        if object.interfaces().contains(&interface) {
            return Ok(self.own_properties(object, interface, dialect));
        }
        if is_standard(interface) {
            return Ok(Vec::new());
        }
        Err(unknown_interface(interface))
    }

    pub(super) fn property(
        &self,
        object: &Object,
        interface: &str,
        property: &str,
        dialect: Dialect,
    ) -> Result<Value, CallError> {
        let found = self.properties(object, interface, dialect)?;
        let found = found.into_iter().find(|entry| entry.0 == property);
        let found = found.map(|entry| entry.1);
        found.ok_or_else(|| unknown_property(property))
    }

    /// The properties of an object on one of its own interfaces.
    fn own_properties(
        &self,
        object: &Object,
        interface: &str,
        dialect: Dialect,
    ) -> Vec<Entry<&'static str, Value>> {
        match object {
            Object::Manager if interface == names::COUNTERS_INTERFACE => self.counters.properties(),
            Object::Manager => self.manager_properties(dialect),
            Object::Node(name) => self
                .node_index
                .get(name)
                .map_or_else(Vec::new, |&i| self.node_properties(i, dialect)),
            Object::Job(id) => self.job_properties(*id),
            Object::Above(_)
            | Object::Nodes
            | Object::Jobs
            | Object::Monitors
            | Object::Monitor(_)
            | Object::Streams
            | Object::Stream(_)
            | Object::Metrics
            | Object::Unknown(_) => Vec::new(),
        }
    }

    fn manager_properties(&self, dialect: Dialect) -> Vec<Entry<&'static str, Value>> {
        let mut properties = vec![
            Entry("Status", Value::Str(self.fleet_status().to_owned())),
            Entry("LogLevel", Value::Str(self.log_level.name().to_owned())),
            Entry("LogTarget", Value::Str(self.log_target.clone())),
        ];
        if dialect == Dialect::Hirte {
            let nodes = self
                .nodes_in_order()
                .map(|node| node.name.clone())
                .collect();
            properties.insert(0, Entry("Nodes", Value::Strings(nodes)));
        }
        properties
    }

    fn node_properties(&self, index: usize, dialect: Dialect) -> Vec<Entry<&'static str, Value>> {
        let node = &self.nodes[index];
        let last_seen = match dialect {
            Dialect::Hirte => node.last_seen_us / 1_000_000,
            Dialect::BlueChi => node.last_seen_us,
        };
        vec![
            Entry("Name", Value::Str(node.name.clone())),
            Entry("Status", Value::Str(node.status().to_owned())),
            Entry("PeerIp", Value::Str(self.peer_ip(index).to_owned())),
            Entry("LastSeenTimestamp", Value::U64(last_seen)),
            Entry(
                "LastSeenTimestampMonotonic",
                Value::U64(node.last_seen_monotonic.0),
            ),
        ]
    }

    fn job_properties(&self, id: u32) -> Vec<Entry<&'static str, Value>> {
        let Some(job) = self.jobs.announced(id) else {
            return Vec::new();
        };
        vec![
            Entry("Id", Value::U32(id)),
            Entry("Node", Value::Str(self.nodes[job.node].name.clone())),
            Entry("Unit", Value::Str(job.unit.clone())),
            Entry("JobType", Value::Str(job.kind.to_string())),
            Entry("State", Value::Str(job.state.to_owned())),
        ]
    }
}

/// The interfaces that every object has, none of which has properties.
fn is_standard(interface: &str) -> bool {
    [
        names::PEER_INTERFACE,
        names::INTROSPECTABLE_INTERFACE,
        names::PROPERTIES_INTERFACE,
    ]
    .contains(&interface)
}
