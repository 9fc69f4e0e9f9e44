//! What clients ask of monitors, and what monitors tell.

use serde::{Deserialize, Serialize};

use crate::bus::Body;

/// A method of a monitor with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MonitorMethod {
    /// `Monitor.Subscribe` and `Monitor.SubscribeList`
    Subscribe {
        /// The node, or `*` for all.
        node: String,
        /// The units; `*` for all.
        units: Vec<String>,
    },
    /// `Monitor.Unsubscribe`, with the number of the subscription.
    Unsubscribe(u32),
    /// `Monitor.Close`
    Close,
    /// `Monitor.AddPeer`, with a unique name.
    AddPeer(String),
    /// `Monitor.RemovePeer`
    RemovePeer {
        /// Number of the peer.
        peer: u32,
        /// What the peer is told.
        reason: String,
    },
}

/// Why something is told of a unit; the words of the signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// It happened on the node.
    Real,
    /// It tells what is: after a subscription, or when a node is lost or returns.
    Virtual,
}

impl Reason {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Virtual => "virtual",
        }
    }

    /// The reason that a word stands for.
    #[must_use]
    pub fn of(word: &str) -> Self {
        if word == Self::Virtual.word() {
            Self::Virtual
        } else {
            Self::Real
        }
    }
}

/// What is told of a unit, by an agent as to a monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnitChange {
    /// `UnitNew`: it is loaded.
    New {
        /// Why it is told.
        reason: Reason,
    },
    /// `UnitStateChanged`
    State {
        /// `ActiveState`
        active: String,
        /// `SubState`
        sub: String,
        /// Why it is told.
        reason: Reason,
    },
    /// `UnitPropertiesChanged`
    Properties {
        /// systemd's interface of the properties.
        interface: String,
        /// Those that changed, `a{sv}`.
        changed: Body,
    },
    /// `UnitRemoved`: it is no longer loaded, or its node is lost.
    Removed {
        /// Why it is told.
        reason: Reason,
    },
}
