//! The JSON of the commands, as docs/state-files.md describes it.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    ctl::{error::Error, output::Output},
    state_file::{Drift, Place, State, StateFile, Step},
};

/// Prints one value on one line, in ASCII: nothing in it steers a terminal.
pub(super) fn print(output: &mut Output, value: &Value) {
    output.text(&in_ascii(&value.to_string()));
    output.text("\n");
}

/// The same JSON with every other character escaped, which can stand in texts only (RFC 8259,
/// section 7).
fn in_ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, ' '..='~') {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String does not fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_ascii_and_means_the_same() {
        let value = json!({ "a": "\u{202e}\u{7f}\n\u{1f600}ü\"\\" });
        let ascii = in_ascii(&value.to_string());
        assert!(
            ascii.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{ascii}"
        );
        assert_eq!(serde_json::from_str::<Value>(&ascii).unwrap(), value);
    }
}
