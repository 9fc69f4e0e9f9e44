//! `hirtectl list-nodes`: every node, its state and when it was last heard of.

use super::{
    client::Client,
    error::Error,
    exit_status::ExitStatus,
    nodes,
    output::{Cell, Column, Look, Output},
};

/// Plain columns without a rule, so that `tail -n +2` leaves one line for each node.
const LOOK: Look = Look {
    separator: " ",
    rule: None,
};
const COLUMNS: [Column; 3] = [
    Column::left("NODE"),
    Column::left("STATE"),
    Column::left("LAST SEEN"),
];

/// Prints the list.
pub(super) async fn run(client: &mut Client, output: &mut Output) -> Result<ExitStatus, Error> {
    let (nodes, failures) = nodes::of_fleet(client).await?;
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
                age.as_str().into(),
            ]
        })
        .collect();
    output.table(LOOK, &COLUMNS, &cells);
    for node in &nodes {
        output.record(&node.record());
    }
    Ok(output.complain_of_each(&failures))
}
