//! The JSON of the commands, as docs/state-files.md describes it.

use serde_json::{Value, json};

use crate::{
    ctl::{error::Error, output::Output},
    state_file::{Drift, Place, State, StateFile, Step},
};

/// Prints one value on one line.
pub(super) fn print(output: &mut Output, value: &Value) {
    output.line(&value.to_string());
}

/// What a state file says.
pub(super) fn of_file(file: &StateFile) -> Value {
    let nodes = file.nodes.iter().map(|node| {
        let units = file.entries_of(&node.name).map(|entry| {
            json!({
                "unit": entry.unit,
                "state": entry.wanted.state.map(State::word),
                "enabled": entry.wanted.enabled,
            })
        });
        json!({ "node": node.name, "units": units.collect::<Value>() })
    });
    json!({ "exact": file.is_exact, "nodes": nodes.collect::<Value>() })
}

fn line(place: Option<Place>) -> Option<usize> {
    place.map(|place| place.line)
}

fn column(place: Option<Place>) -> Option<usize> {
    place.map(|place| place.column)
}

/// What is not as it should be.
pub(super) fn of_drift(drift: &[Drift]) -> Value {
    let drift = drift.iter().map(|drift| {
        json!({
            "node": drift.node,
            "unit": drift.unit,
            "line": line(drift.place),
            "column": column(drift.place),
            "expected": drift.expected.word(),
            "found": drift.found,
        })
    });
    drift.collect()
}

/// The messages of errors.
pub(super) fn of_errors(errors: &[Error]) -> Value {
    errors.iter().map(Error::to_string).collect()
}

/// A step and what became of it: `planned`, `done` or `failed`, the last with its reason.
pub(super) fn of_step(step: &Step, action: &str, result: &str, error: Option<&str>) -> Value {
    json!({
        "node": step.node,
        "unit": step.unit,
        "action": action,
        "stage": step.stage,
        "line": line(step.place),
        "column": column(step.place),
        "result": result,
        "error": error,
    })
}
