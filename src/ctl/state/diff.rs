//! `hirtectl state diff`: what is not as a state file wants it.

use serde_json::json;

use super::{arguments::Diff, facts, json};
use crate::{
    ctl::{
        client::Client,
        error::Error,
        exit_status::ExitStatus,
        output::{Cell, Column, Look, Output},
    },
    state_file::{self, Drift, StateFile},
};

const LOOK: Look = Look {
    separator: " ",
    rule: None,
};
const COLUMNS: [Column; 5] = [
    Column::left("NODE"),
    Column::left("UNIT"),
    Column::left("LINE").right(),
    Column::left("EXPECTED"),
    Column::left("FOUND"),
];

/// Prints the drift of all nodes of the file that can be asked: nothing if there is none.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    arguments: &Diff,
    file: &StateFile,
) -> Result<ExitStatus, Error> {
    let known = facts::nodes(client).await?;
    if !facts::knows_nodes(&arguments.file, file, &known, output) {
        return Ok(ExitStatus::Unknown);
    }
    let (fleet, failures) = facts::of_file(client, file, &known).await?;
    let drift = state_file::diff(file, &fleet);
    if arguments.json {
        let value = json!({
            "drift": json::of_drift(&drift),
            "failures": json::of_errors(&failures),
        });
        json::print(output, &value);
    } else if !drift.is_empty() {
        print(output, &drift);
    }
    let status = match output.complain_of_each(&failures) {
        // 1 is to mean drift and nothing else.
        ExitStatus::Failed => ExitStatus::Usage,
        status => status,
    };
    if status == ExitStatus::Done && !drift.is_empty() {
        return Ok(ExitStatus::Failed);
    }
    Ok(status)
}

pub(super) fn print(output: &mut Output, drift: &[Drift]) {
    let lines: Vec<String> = drift
        .iter()
        .map(|drift| {
            drift
                .place
                .map_or("-".to_owned(), |place| place.line.to_string())
        })
        .collect();
    let cells: Vec<Cell<'_>> = drift
        .iter()
        .zip(&lines)
        .flat_map(|(drift, line)| {
            [
                drift.node.as_str().into(),
                drift.unit.as_str().into(),
                line.as_str().into(),
                drift.expected.word().into(),
                drift.found.as_str().into(),
            ]
        })
        .collect();
    output.table(LOOK, &COLUMNS, &cells);
}
