//! The JSON of the commands, as docs/hirtectl.md lists it.

use serde::Serialize;

use crate::state_file::{Action, Drift, Entry, State, Step};

/// A unit of a state file.
#[derive(Serialize)]
pub(super) struct Wanted<'a> {
    node: &'a str,
    unit: &'a str,
    state: Option<&'static str>,
    enabled: Option<bool>,
}

impl<'a> Wanted<'a> {
    pub fn of(entry: &'a Entry) -> Self {
        Self {
            node: &entry.node,
            unit: &entry.unit,
            state: entry.wanted.state.map(State::word),
            enabled: entry.wanted.enabled,
        }
    }
}

/// Something that is not as it should be.
#[derive(Serialize)]
pub(super) struct Drifted<'a> {
    node: &'a str,
    unit: &'a str,
    line: Option<usize>,
    column: Option<usize>,
    expected: &'static str,
    found: &'a str,
}

impl<'a> Drifted<'a> {
    pub fn of(drift: &'a Drift) -> Self {
        Self {
            node: &drift.node,
            unit: &drift.unit,
            line: drift.place.map(|place| place.line),
            column: drift.place.map(|place| place.column),
            expected: drift.expected.word(),
            found: &drift.found,
        }
    }
}

/// A step and what became of it.
#[derive(Serialize)]
pub(super) struct Taken<'a> {
    node: &'a str,
    unit: &'a str,
    action: &'static str,
    stage: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    /// Whether it takes back what was done.
    rollback: bool,
    /// `planned`, `done` or `failed`.
    result: &'static str,
}

impl<'a> Taken<'a> {
    pub fn step(step: &'a Step, result: &'static str) -> Self {
        Self {
            node: &step.node,
            unit: &step.unit,
            action: step.action.word(),
            stage: step.stage.as_deref(),
            line: step.place.map(|place| place.line),
            column: step.place.map(|place| place.column),
            rollback: false,
            result,
        }
    }

    /// An action that takes a step back.
    pub fn back(step: &'a Step, action: Action, result: &'static str) -> Self {
        Self {
            action: action.word(),
            rollback: true,
            ..Self::step(step, result)
        }
    }
}
