//! What is told of the model, as JSON.

use std::collections::VecDeque;

use serde::Serialize;

use super::{Event, Job, Manager, Node, Time, Unit};

/// A unit in JSON.
#[derive(Serialize)]
pub(super) struct UnitRecord<'a> {
    pub node: &'a str,
    pub name: &'a str,
    #[serde(flatten)]
    pub unit: &'a Unit,
}

/// The name of a unit that is gone.
#[derive(Serialize)]
pub(super) struct Gone<'a> {
    pub node: &'a str,
    pub name: &'a str,
}

#[derive(Serialize)]
pub(super) struct Snapshot<'a> {
    pub version: &'static str,
    pub now: Time,
    /// The token of requests for jobs; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<&'a str>,
    pub manager: &'a Manager,
    pub nodes: &'a [Node],
    pub units: Vec<UnitRecord<'a>>,
    pub jobs: Vec<&'a Job>,
    pub events: &'a VecDeque<Event>,
}

#[derive(Serialize)]
pub(super) struct ChangesRecord<'a> {
    pub now: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<&'a Manager>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<&'a [Node]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<UnitRecord<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Vec<&'a Job>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<&'a Event>,
}

/// The text of a record.
pub(super) fn json(value: &impl Serialize) -> String {
    // Plain structures with text keys, which always can be written.
    serde_json::to_string(value).unwrap_or_default()
}
