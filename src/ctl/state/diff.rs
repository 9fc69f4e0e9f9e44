//! `hirtectl state diff`: what is not as a state file wants it.

use super::{facts, record::Drifted};
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
    name: &str,
    file: &StateFile,
) -> Result<ExitStatus, Error> {
    let known = facts::nodes(client).await.map_err(no_comparison)?;
    if !facts::knows_nodes(name, file, &known, output) {
        return Ok(ExitStatus::Unknown);
    }
    let answers = facts::of_file(client, file, &known).await;
    let (fleet, failures) = answers.map_err(no_comparison)?;
    let drift = state_file::diff(file, &fleet);
    if !drift.is_empty() {
        print(output, &drift);
    }
    let failures: Vec<Error> = failures.into_iter().map(no_comparison).collect();
    let status = match output.complain_of_each(&failures) {
        // Those of several nodes differ.
        ExitStatus::Failed => ExitStatus::Usage,
        status => status,
    };
    if status == ExitStatus::Done && !drift.is_empty() {
        return Ok(ExitStatus::Failed);
    }
    Ok(status)
}

/// An error without which there could be a comparison: [`ExitStatus::Failed`] is to mean drift and
/// nothing else.
fn no_comparison(error: Error) -> Error {
    if error.status() != ExitStatus::Failed {
        return error;
    }
    Error::State {
        node: error.node().map(str::to_owned),
        message: error.to_string(),
        status: ExitStatus::Usage,
    }
}

fn print(output: &mut Output, drift: &[Drift]) {
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
    for drift in drift {
        output.record(&Drifted::of(drift));
    }
}
