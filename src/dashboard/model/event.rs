//! What happened, as it is told.

use serde::Serialize;

use super::Time;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// The manager is `connected`, or `lost` for the reason in the details.
    Manager,
    /// A node is `online` or `offline`.
    Node,
    /// A unit has this active state; the details are its sub state.
    Unit,
    /// A job ended with this result; the details are its kind.
    Job,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Its number, larger than that of earlier ones.
    pub id: u64,
    /// When it was seen.
    pub at: Time,
    /// What it is about.
    pub about: Subject,
    /// The node, if it is about one.
    pub node: Option<String>,
    /// The unit, if it is about one.
    pub unit: Option<String>,
    /// What is.
    pub state: String,
    /// More of it.
    pub detail: String,
}
