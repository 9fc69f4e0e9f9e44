//! `hirtectl list-units`: the loaded units of one node or of all that are online.

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
use crate::bus::{Body, body::PathRef, error_name};

/// A unit as systemd lists it (`ListUnits` in org.freedesktop.systemd1(5)): name, description, load
/// state, active state, sub state, followed unit, object, and the job's id, type and object.
type ListedUnit<'b> = (
    &'b str,
    &'b str,
    &'b str,
    &'b str,
    &'b str,
    &'b str,
    PathRef<'b>,
    u32,
    &'b str,
    PathRef<'b>,
);

/// The same behind the name of its node.
type FleetUnit<'b> = (
    &'b str,
    &'b str,
    &'b str,
    &'b str,
    &'b str,
    &'b str,
    &'b str,
    PathRef<'b>,
    u32,
    &'b str,
    PathRef<'b>,
);

/// A row of the list.
#[derive(Debug, Serialize)]
pub(crate) struct Unit<'b> {
    node: &'b str,
    #[serde(rename = "unit")]
    pub name: &'b str,
    pub description: &'b str,
    pub load: &'b str,
    pub active: &'b str,
    pub sub: &'b str,
}

const LOOK: Look = Look {
    separator: "|",
    rule: Some('='),
};
/// The widths make a rule of 100 characters, as people know the list.
const FLEET_COLUMNS: [Column; 4] = [
    Column::left("NODE").at_least(20),
    Column::left("ID").at_least(59),
    ACTIVE,
    SUB,
];
const NODE_COLUMNS: [Column; 3] = [Column::left("ID").at_least(80), ACTIVE, SUB];
const ACTIVE: Column = Column::left("ACTIVE").at_least(9).right();
const SUB: Column = Column::left("SUB").at_least(9).right();

/// Prints the units of a node, or of the fleet, whose names match the pattern.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    of: &List,
) -> Result<ExitStatus, Error> {
    let filter = of.filter.as_deref();
    match &of.node {
        Some(node) => {
            let path = client.node(node).await?;
            let list = Call::node(&path, "ListUnits", &());
            let body = client.call(list, Subject::Node(node)).await?;
            print(output, &NODE_COLUMNS, units_of_node(node, &body)?, filter);
            Ok(ExitStatus::Done)
        }
        None => match client.ask(Call::manager("ListUnitsDetailed", &())).await? {
            Ok(body) => of_fleet(output, &body, filter),
            Err(refusal) if refusal.name == error_name::LIMITS_EXCEEDED => {
                node_by_node(client, output, filter).await
            }
            Err(refusal) => Err(Error::from_refusal(refusal, Subject::Fleet)),
        },
    }
}

/// Prints the answer of `ListUnitsDetailed`.
fn of_fleet(output: &mut Output, body: &Body, filter: Option<&str>) -> Result<ExitStatus, Error> {
    let (units, failures): (Vec<FleetUnit<'_>>, Vec<(&str, &str, &str)>) =
        decode("ListUnitsDetailed", body)?;
    let units = units
        .into_iter()
        .map(|(node, name, description, load, active, sub, ..)| Unit {
            node,
            name,
            description,
            load,
            active,
            sub,
        })
        .collect();
    print(output, &FLEET_COLUMNS, units, filter);
    Ok(output.complain_of_each(&nodes::failures(failures)))
}

/// Prints the list of a fleet that does not fit into one message.
async fn node_by_node(
    client: &mut Client,
    output: &mut Output,
    filter: Option<&str>,
) -> Result<ExitStatus, Error> {
    let (lists, mut failures) = nodes::lists(client, "ListUnits").await?;
    let units = nodes::rows(&lists, &mut failures, units_of_node);
    print(output, &FLEET_COLUMNS, units, filter);
    Ok(output.complain_of_each(&failures))
}

/// The units in the answer of a node's `ListUnits`, in systemd's order.
pub(crate) fn units_of_node<'b>(node: &'b str, body: &'b Body) -> Result<Vec<Unit<'b>>, Error> {
    let (units,): (Vec<ListedUnit<'_>>,) = decode("ListUnits", body)?;
    let units = units.into_iter();
    Ok(units
        .map(|(name, description, load, active, sub, ..)| Unit {
            node,
            name,
            description,
            load,
            active,
            sub,
        })
        .collect())
}

/// Prints the rows in their order.
fn print(output: &mut Output, columns: &[Column], mut units: Vec<Unit<'_>>, filter: Option<&str>) {
    units.retain(|unit| filter.is_none_or(|pattern| glob::matches(pattern, unit.name)));
    let keys: Vec<(&str, &str)> = units.iter().map(|unit| (unit.node, unit.name)).collect();
    let order = nodes::order(&keys);
    let mut cells = Vec::with_capacity(units.len() * columns.len());
    for &index in &order {
        let unit = &units[index];
        let row = [
            unit.node.into(),
            unit.name.into(),
            Cell::state(unit.active),
            unit.sub.into(),
        ];
        cells.extend_from_slice(&row[row.len() - columns.len()..]);
    }
    output.table(LOOK, columns, &cells);
    for &index in &order {
        output.record(&units[index]);
    }
}
