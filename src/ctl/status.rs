//! `hirtectl status [NODE [UNIT…]]`: the nodes, one node, or units of a node.

use super::{
    client::{Answer, Call, Client},
    error::{Error, Subject},
    exit_status::ExitStatus,
    nodes::{self, Node},
    output::{Cell, Column, Look, Output},
};
use crate::bus::names::SYSTEMD_UNIT_INTERFACE;

const NODE_LOOK: Look = Look {
    separator: " | ",
    rule: Some('='),
};
const NODE_COLUMNS: [Column; 4] = [
    Column::left("NODE"),
    Column::left("STATE"),
    Column::left("IP"),
    Column::left("LAST SEEN"),
];

const UNIT_LOOK: Look = Look {
    separator: " | ",
    rule: Some('-'),
};
const UNIT_COLUMNS: [Column; 5] = [
    Column::left("UNIT"),
    Column::left("LOADED"),
    Column::left("ACTIVE"),
    Column::left("SUBSTATE"),
    Column::left("ENABLED"),
];

/// What stands in a cell for which there is no value, so that scripts count the same columns.
const NOTHING: &str = "-";

/// Prints all nodes, or the one that is named, or of that one the units that are named behind it.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    node_and_units: &[String],
) -> Result<ExitStatus, Error> {
    match node_and_units {
        [] => {
            let (nodes, failures) = nodes::of_fleet(client).await?;
            print_nodes(output, &nodes);
            Ok(output.complain_of_each(&failures))
        }
        [node] => {
            let node = nodes::one(client, node).await?;
            print_nodes(output, &[node]);
            Ok(ExitStatus::Done)
        }
        [node, units @ ..] => of_units(client, output, node, units).await,
    }
}

fn print_nodes(output: &mut Output, nodes: &[Node]) {
    let ages: Vec<String> = nodes
        .iter()
        .map(|node| node.last_seen.to_string())
        .collect();
    let cells: Vec<Cell<'_>> = nodes
        .iter()
        .zip(&ages)
        .flat_map(|(node, age)| {
            [
                node.name.as_str().into(),
                Cell::state(&node.status),
                or_nothing(&node.peer_ip).into(),
                age.as_str().into(),
            ]
        })
        .collect();
    output.table(NODE_LOOK, &NODE_COLUMNS, &cells);
}

/// Load state, active state, sub state and whether the unit file is enabled.
type UnitStates = [String; 4];

async fn of_units(
    client: &mut Client,
    output: &mut Output,
    node: &str,
    units: &[String],
) -> Result<ExitStatus, Error> {
    let path = client.node(node).await?;
    let mut states: Vec<Option<Result<UnitStates, Error>>> = units.iter().map(|_| None).collect();
    let calls = units.iter().map(|unit| {
        Call::node(
            &path,
            "GetUnitProperties",
            &(unit.as_str(), SYSTEMD_UNIT_INTERFACE),
        )
    });
    let answered = |index: usize, answer| {
        states[index] = Some(states_of(node, &units[index], answer));
    };
    client.ask_each(calls, answered).await?;
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for (unit, states) in units.iter().zip(&states) {
        match states {
            Some(Ok([load, active, sub, enabled])) => rows.extend([
                unit.as_str().into(),
                Cell::state(load),
                Cell::state(active),
                sub.as_str().into(),
                or_nothing(enabled).into(),
            ]),
            Some(Err(error)) => failures.push(error),
            None => {}
        }
    }
    if !rows.is_empty() {
        output.table(UNIT_LOOK, &UNIT_COLUMNS, &rows);
    }
    // A node that is offline says so for each unit; once is enough.
    failures.dedup_by(|error, previous| {
        matches!(
            (error, previous),
            (Error::Offline { .. }, Error::Offline { .. })
        )
    });
    Ok(output.complain_of_each(failures))
}

fn states_of(node: &str, unit: &str, answer: Answer) -> Result<UnitStates, Error> {
    let unknown = || Error::UnknownUnit {
        node: node.to_owned(),
        message: format!("Unit {unit} could not be found."),
    };
    let body =
        answer.map_err(
            |refusal| match Error::from_refusal(refusal, Subject::Units(node)) {
                Error::UnknownUnit { .. } => unknown(),
                error => error,
            },
        )?;
    let properties = nodes::properties("GetUnitProperties", &body)?;
    let state = |name| nodes::property::<&str>(&properties, name).map(str::to_owned);
    let load = state("LoadState")?;
    if load == "not-found" {
        return Err(unknown());
    }
    Ok([
        load,
        state("ActiveState")?,
        state("SubState")?,
        state("UnitFileState")?,
    ])
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { NOTHING } else { text }
}
