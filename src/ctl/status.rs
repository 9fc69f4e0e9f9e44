//! `hirtectl status [NODE [UNIT…]]`: the nodes, one node, or units of a node.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rustix::process::geteuid;
use smol::future::or;

#[cfg(feature = "top")]
use super::output::lines_of;
use super::{
    arguments::commands::full_names,
    call::{Call, decode},
    client::{Client, Signal, rule},
    error::{Error, Subject},
    exit_status::ExitStatus,
    logs,
    nodes::{self, Node},
    output::{Cell, Column, Look, Output},
    unit_status::UnitStatus,
    units,
};
use crate::{
    bus::{
        Message,
        body::PathRef,
        names::{MANAGER_PATH, MONITOR_INTERFACE},
    },
    limits,
    reactor::sleep,
};

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

/// How many entries of a unit's log are shown, as by `systemctl`.
const LOG_LINES: u32 = 10;

/// The manager's signal of a node that comes or goes.
const CONNECTION: &str = "NodeConnectionStateChanged";
/// How long a view that is shown again and again waits for more changes: those of one action come
/// together.
const SETTLE: Duration = Duration::from_millis(100);
/// How often a terminal shows ages anew.
const AGE_STEP: Duration = Duration::from_secs(1);

/// Of what scripts were told already: the state of each node or unit.
type Told = BTreeMap<String, String>;

/// Shows all nodes, or the one that is named, or of that one the units that are named behind it; a
/// single unit with the latest entries of its log.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    node_and_units: &[String],
) -> Result<ExitStatus, Error> {
    show(client, output, node_and_units, (true, &mut Told::new())).await
}

/// The same again whenever something changes, until the manager leaves.
pub(super) async fn watch(
    client: &mut Client,
    output: &mut Output,
    node_and_units: &[String],
) -> Result<ExitStatus, Error> {
    let mut rules = vec![rule(MANAGER_PATH, Some(CONNECTION))];
    let mut monitor = None;
    if let [node, units @ ..] = node_and_units
        && !units.is_empty()
    {
        client.node(node).await?;
        let body = client
            .call(Call::manager("CreateMonitor", &()), Subject::Fleet)
            .await?;
        let (PathRef(path),) = decode("CreateMonitor", &body)?;
        rules.push(rule(path, None));
        client.watch(&rules).await?;
        let what = (node.as_str(), full_names(units));
        let call = Call::object(path, MONITOR_INTERFACE, "SubscribeList", &what);
        client.call(call, Subject::Units(node)).await?;
        monitor = Some(path.to_owned());
    } else {
        client.watch(&rules).await?;
    }
    client.waiting_for(None);
    let shows_ages = output.is_screen() && node_and_units.len() < 2;
    let mut told = Told::new();
    loop {
        output.wipe();
        match show(client, output, node_and_units, (false, &mut told)).await {
            Err(error) if error.status() == ExitStatus::NoManager => return Err(error),
            Err(error) => {
                output.fail(&error);
            }
            Ok(_) => {}
        }
        if !output.is_screen() {
            output.line("");
        }
        output.flush();
        change(client, monitor.as_deref(), shows_ages.then_some(AGE_STEP)).await?;
    }
}

/// Waits until something has changed and a moment more, or for this time.
async fn change(
    client: &mut Client,
    monitor: Option<&str>,
    at_most: Option<Duration>,
) -> Result<(), Error> {
    let mut deadline = at_most.map(|time| Instant::now() + time);
    let mut has_changed = false;
    loop {
        let signal = match deadline {
            None => Some(client.next_signal().await?),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                client.next_signal_within(left).await?
            }
        };
        match signal {
            Some(Signal::ManagerLeft) => return Err(Error::WatchEnded),
            Some(Signal::Told(message)) if !has_changed && concerns(&message, monitor) => {
                has_changed = true;
                deadline = Some(Instant::now() + SETTLE);
            }
            // Without a bus every signal of the manager comes here.
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

fn concerns(message: &Message, monitor: Option<&str>) -> bool {
    message.member == CONNECTION || monitor.is_some_and(|monitor| message.path == monitor)
}

async fn show(
    client: &mut Client,
    output: &mut Output,
    node_and_units: &[String],
    (with_log, told): (bool, &mut Told),
) -> Result<ExitStatus, Error> {
    match node_and_units {
        [] => {
            let (nodes, failures) = nodes::of_fleet(client).await?;
            print_nodes(output, &nodes, told);
            Ok(output.complain_of_each(&failures))
        }
        [node] => {
            let node = nodes::one(client, node).await?;
            print_nodes(output, &[node], told);
            Ok(ExitStatus::Done)
        }
        [node, units @ ..] => {
            let units = full_names(units);
            of_units(client, output, (node, &units), (with_log, told)).await
        }
    }
}

fn print_nodes(output: &mut Output, nodes: &[Node], told: &mut Told) {
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
    for node in nodes {
        if is_news(told, &node.name, node.connection()) {
            output.record(&node.record());
        }
    }
}

/// Whether this was not told before.
fn is_news(told: &mut Told, name: &str, state: String) -> bool {
    told.insert(name.to_owned(), state.clone()) != Some(state)
}

/// The status of a unit with the latest entries of its log, as lines.
#[cfg(feature = "top")]
pub(crate) async fn page(
    client: &mut Client,
    node: &str,
    unit: &str,
) -> Result<Vec<String>, Error> {
    let path = client.node(node).await?;
    let call = Call::node(&path, "GetUnitProperties", &(unit, ""));
    let body = client.call(call, Subject::Units(node)).await?;
    let Some(status) = UnitStatus::read(node, unit, &body)? else {
        return Err(Error::UnknownUnit {
            node: node.to_owned(),
            message: format!("Unit {unit} could not be found."),
        });
    };
    let log = latest_log(client, node, unit).await;
    Ok(lines_of(|output| status.print(output, &log)))
}

async fn of_units(
    client: &mut Client,
    output: &mut Output,
    (node, units): (&str, &[String]),
    (with_log, told): (bool, &mut Told),
) -> Result<ExitStatus, Error> {
    let every_interface = "";
    let (found, failures) = units::ask_each(
        client,
        node,
        units,
        |path, unit| Call::node(path, "GetUnitProperties", &(unit, every_interface)),
        |unit, body| {
            let unknown = || Error::UnknownUnit {
                node: node.to_owned(),
                message: format!("Unit {unit} could not be found."),
            };
            match body {
                Ok(body) => UnitStatus::read(node, unit, &body)?.ok_or_else(unknown),
                Err(error) => Err(error.naming(unit)),
            }
        },
    )
    .await?;
    match (&found[..], units) {
        ([], _) => {}
        ([(_, unit)], [_]) => {
            let log = if with_log && output.is_text() {
                latest_log(client, node, &unit.unit).await
            } else {
                Vec::new()
            };
            unit.print(output, &log);
        }
        _ => print_units(output, found.iter().map(|(_, unit)| unit)),
    }
    for (name, unit) in &found {
        if is_news(told, name, unit.state()) {
            output.record(unit);
        }
    }
    Ok(output.complain_of_each(&failures))
}

/// The latest entries of a unit's log. Nothing where there are none to be had: for another user than
/// root, or from an agent that knows no logs.
async fn latest_log(client: &mut Client, node: &str, unit: &str) -> Vec<String> {
    if !geteuid().is_root() {
        return Vec::new();
    }
    let log = async {
        let lines = logs::last_lines(client, node, unit, LOG_LINES).await;
        lines.unwrap_or_default()
    };
    let late = async {
        sleep(limits::CLIENT_CALL).await;
        Vec::new()
    };
    or(log, late).await
}

fn print_units<'u>(output: &mut Output, units: impl Iterator<Item = &'u UnitStatus>) {
    let cells: Vec<Cell<'_>> = units
        .flat_map(|unit| {
            [
                unit.unit.as_str().into(),
                Cell::state(&unit.load),
                Cell::state(&unit.active),
                unit.sub.as_str().into(),
                or_nothing(unit.enabled.as_deref().unwrap_or_default()).into(),
            ]
        })
        .collect();
    output.table(UNIT_LOOK, &UNIT_COLUMNS, &cells);
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { NOTHING } else { text }
}
