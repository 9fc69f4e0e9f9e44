//! What the agent's own message bus brings, and whose calls it serves there.

use serde::{Deserialize, Serialize};

use crate::bus::{CallError, names};

/// What the message bus of the node brings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromBus {
    /// The agent's name is ours.
    Attached,
    /// The bus could not be reached, or went away, for this reason: its clients are gone.
    Lost(String),
    /// The bus does not give us a name.
    NameRefused {
        /// The name.
        name: String,
        /// For the log.
        reason: String,
    },
    /// More (or again less) waits to be sent than a new call should add to.
    Congested(bool),
    /// A client calls a method.
    Call {
        /// Who gets the answer.
        call: LocalCall,
        /// What is called.
        object: Object,
        /// The method with its arguments.
        method: Method,
    },
    /// A client whose leaving was to be told has left.
    ClientLeft(String),
}

/// A call of a client on the bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalCall {
    /// The client's unique name.
    pub client: String,
    /// The client's number of the call.
    pub serial: u32,
    /// Whether the client wants an answer.
    pub expects_reply: bool,
}

/// What a path on the bus names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// An object above the agent's, which only leads to it.
    Above(String),
    /// The agent.
    Agent,
    /// Nothing.
    Unknown(String),
}

impl Object {
    /// The object that a path names.
    #[must_use]
    pub fn at(path: &str) -> Self {
        if path == names::AGENT_PATH {
            Self::Agent
        } else if path == "/" || names::AGENT_PATH.starts_with(&format!("{path}/")) {
            Self::Above(path.to_owned())
        } else {
            Self::Unknown(path.to_owned())
        }
    }

    /// Last elements of the paths right below.
    #[must_use]
    pub fn children(&self) -> Vec<String> {
        let Self::Above(path) = self else {
            return Vec::new();
        };
        let rest = names::AGENT_PATH.strip_prefix(path.trim_end_matches('/'));
        let next = rest.and_then(|rest| rest.split('/').nth(1));
        next.map(str::to_owned).into_iter().collect()
    }
}

/// A method with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// `CreateProxy`
    CreateProxy(Target),
    /// `RemoveProxy`
    RemoveProxy(Target),
    /// `SwitchManager` to this address, which is one.
    SwitchManager(String),
    /// `org.freedesktop.DBus.Properties.Get`
    GetProperty {
        /// The interface that has it.
        interface: String,
        /// Its name.
        property: String,
    },
    /// `org.freedesktop.DBus.Properties.GetAll` of an interface; empty for all.
    GetAllProperties(String),
    /// `org.freedesktop.DBus.Introspectable.Introspect`
    Introspect,
    /// `org.freedesktop.DBus.Peer.Ping`
    PeerPing,
    /// `org.freedesktop.DBus.Peer.GetMachineId`
    MachineId,
    /// A call that can not be carried out, for this reason.
    Refused(CallError),
}

/// What a proxy stands for: a service of this node, and the unit of another that it needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// The local service that is the proxy.
    pub service: String,
    /// The other node.
    pub node: String,
    /// The unit of the other node.
    pub unit: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_objects() {
        for (path, object, children) in [
            ("/", Object::Above("/".into()), vec!["org"]),
            ("/org", Object::Above("/org".into()), vec!["containers"]),
            (
                "/org/containers",
                Object::Above("/org/containers".into()),
                vec!["hirte"],
            ),
            ("/org/containers/hirte", Object::Agent, vec![]),
            (
                "/org/containers/hirte/node",
                Object::Unknown("/org/containers/hirte/node".into()),
                vec![],
            ),
            ("/org/cont", Object::Unknown("/org/cont".into()), vec![]),
        ] {
            assert_eq!(Object::at(path), object);
            assert_eq!(object.children(), children, "{path}");
        }
    }
}
