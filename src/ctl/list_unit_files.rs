//! `hirtectl list-unit-files`: the installed unit files of one node or of all that are online.

use serde::Serialize;

use super::{
    arguments::commands::List,
    call::{Call, decode},
    client::Client,
    error::{Error, Subject},
    exit_status::ExitStatus,
    glob, nodes,
    output::{Cell, Column, Look, Output},
};
use crate::bus::{Body, error_name};

/// A row of the list.
#[derive(Debug, Serialize)]
pub(super) struct UnitFile<'b> {
    node: &'b str,
    /// The name of the unit.
    #[serde(rename = "unit")]
    pub name: &'b str,
    path: &'b str,
    pub state: &'b str,
}

/// Node, path and state of a unit file; or node, error and message.
type Row<'b> = (&'b str, &'b str, &'b str);

const LOOK: Look = Look {
    separator: "|",
    rule: Some('='),
};
const FLEET_COLUMNS: [Column; 3] = [
    Column::left("NODE").at_least(20),
    Column::left("ID").at_least(59),
    STATE,
];
const NODE_COLUMNS: [Column; 2] = [Column::left("ID").at_least(80), STATE];
const STATE: Column = Column::left("STATE").at_least(19).right();

/// Prints the unit files of a node, or of the fleet, whose names match the pattern.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    of: &List,
) -> Result<ExitStatus, Error> {
    let filter = of.filter.as_deref();
    let Some(node) = &of.node else {
        return match client
            .ask(Call::manager("ListUnitFilesDetailed", &()))
            .await?
        {
            Ok(body) => of_fleet(output, &body, filter),
            Err(refusal) if refusal.name == error_name::LIMITS_EXCEEDED => {
                node_by_node(client, output, filter).await
            }
            Err(refusal) => Err(Error::from_refusal(refusal, Subject::Fleet)),
        };
    };
    let path = client.node(node).await?;
    let list = Call::node(&path, "ListUnitFiles", &());
    let body = client.call(list, Subject::Node(node)).await?;
    print(output, &NODE_COLUMNS, of_node(node, &body)?, filter);
    Ok(ExitStatus::Done)
}

fn of_fleet(output: &mut Output, body: &Body, filter: Option<&str>) -> Result<ExitStatus, Error> {
    let (files, failures): (Vec<Row<'_>>, Vec<Row<'_>>) = decode("ListUnitFilesDetailed", body)?;
    let files = files
        .into_iter()
        .map(|(node, path, state)| unit_file(node, path, state));
    print(output, &FLEET_COLUMNS, files.collect(), filter);
    Ok(output.complain_of_each(&nodes::failures(failures)))
}

/// Prints the list of a fleet that does not fit into one message.
async fn node_by_node(
    client: &mut Client,
    output: &mut Output,
    filter: Option<&str>,
) -> Result<ExitStatus, Error> {
    let (lists, mut failures) = nodes::lists(client, "ListUnitFiles").await?;
    let files = nodes::rows(&lists, &mut failures, of_node);
    print(output, &FLEET_COLUMNS, files, filter);
    Ok(output.complain_of_each(&failures))
}

/// Reads the answer of a node's `ListUnitFiles`.
pub(super) fn of_node<'b>(node: &'b str, body: &'b Body) -> Result<Vec<UnitFile<'b>>, Error> {
    let (files,): (Vec<(&str, &str)>,) = decode("ListUnitFiles", body)?;
    let files = files.into_iter();
    Ok(files
        .map(|(path, state)| unit_file(node, path, state))
        .collect())
}

fn unit_file<'b>(node: &'b str, path: &'b str, state: &'b str) -> UnitFile<'b> {
    UnitFile {
        node,
        name: path.rsplit('/').next().unwrap_or(path),
        path,
        state,
    }
}

/// Prints the rows in their order.
fn print(
    output: &mut Output,
    columns: &[Column],
    mut files: Vec<UnitFile<'_>>,
    filter: Option<&str>,
) {
    files.retain(|file| filter.is_none_or(|pattern| glob::matches(pattern, file.name)));
    let keys: Vec<(&str, &str)> = files.iter().map(|file| (file.node, file.name)).collect();
    let order = nodes::order(&keys);
    let mut cells = Vec::with_capacity(files.len() * columns.len());
    for &index in &order {
        let file = &files[index];
        let row: [Cell<'_>; 3] = [file.node.into(), file.name.into(), file.state.into()];
        cells.extend_from_slice(&row[row.len() - columns.len()..]);
    }
    output.table(LOOK, columns, &cells);
    for &index in &order {
        output.record(&files[index]);
    }
}
