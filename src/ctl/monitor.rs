//! `hirtectl monitor [NODE [UNIT…]]`: tells what happens to units.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    arguments::commands::full_names,
    call::{Call, Variant, decode, decode_with},
    client::{Client, Signal, rule},
    error::{Error, Subject},
    exit_status::ExitStatus,
    json,
    output::Output,
};
use crate::bus::{Message, body::PathRef, names::MONITOR_INTERFACE};

/// What stands for all nodes or all units.
const ALL: &str = "*";

/// An event as JSON, by the name of its signal.
#[derive(Serialize)]
#[serde(tag = "event")]
#[expect(
    clippy::enum_variant_names,
    reason = "the names of the signals, as they are written"
)]
enum Record<'b> {
    UnitNew {
        node: &'b str,
        unit: &'b str,
        reason: &'b str,
    },
    UnitStateChanged {
        node: &'b str,
        unit: &'b str,
        active: &'b str,
        sub: &'b str,
        reason: &'b str,
    },
    UnitPropertiesChanged {
        node: &'b str,
        unit: &'b str,
        interface: &'b str,
        properties: Map<String, Value>,
    },
    UnitRemoved {
        node: &'b str,
        unit: &'b str,
        reason: &'b str,
    },
}

/// Prints what happens to the units, which commas may join, until the manager leaves.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    node_and_units: &[String],
) -> Result<ExitStatus, Error> {
    let (node, units) = match node_and_units {
        [] => (ALL, Vec::new()),
        [node, units @ ..] => (node.as_str(), names(units)),
    };
    let body = client
        .call(Call::manager("CreateMonitor", &()), Subject::Fleet)
        .await?;
    let (PathRef(monitor),) = decode("CreateMonitor", &body)?;
    output.line(&format!("Monitor path: {monitor}"));
    client.watch(&[rule(monitor, None)]).await?;
    let units = if units.is_empty() {
        vec![ALL.to_owned()]
    } else {
        units
    };
    for unit in &units {
        output.line(&format!("Subscribing to node '{node}' and unit '{unit}'"));
    }
    let call = Call::object(
        monitor,
        MONITOR_INTERFACE,
        "SubscribeList",
        &(node, units.as_slice()),
    );
    client.call(call, Subject::Node(node)).await?;
    output.flush();
    client.waiting_for(None);
    loop {
        match client.next_signal().await? {
            Signal::ManagerLeft => return Err(Error::WatchEnded),
            // Without a bus what other monitors tell comes here, too.
            Signal::Told(message) if message.path != monitor => {}
            Signal::Told(message) => {
                tell(output, &message)?;
                output.flush();
            }
        }
    }
}

/// The units that the arguments name.
fn names(arguments: &[String]) -> Vec<String> {
    let parts = arguments.iter().flat_map(|argument| argument.split(','));
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(str::to_owned).collect();
    if parts.iter().any(|part| part == ALL) {
        return vec![ALL.to_owned()];
    }
    full_names(&parts)
}

fn tell(output: &mut Output, message: &Message) -> Result<(), Error> {
    let body = &message.body;
    let record = match message.member.as_str() {
        "UnitNew" => {
            let (node, unit, reason) = decode("UnitNew", body)?;
            headline(
                output,
                node,
                unit,
                &format!("Unit created (reason: {reason})"),
            );
            Record::UnitNew { node, unit, reason }
        }
        "UnitRemoved" => {
            let (node, unit, reason) = decode("UnitRemoved", body)?;
            headline(
                output,
                node,
                unit,
                &format!("Unit removed (reason: {reason})"),
            );
            Record::UnitRemoved { node, unit, reason }
        }
        "UnitStateChanged" => {
            let (node, unit, active, sub, reason) = decode("UnitStateChanged", body)?;
            let what = format!("Unit state changed (reason: {reason})");
            headline(output, node, unit, &what);
            output.line_in(&format!("Active: {active} ({sub})"));
            Record::UnitStateChanged {
                node,
                unit,
                active,
                sub,
                reason,
            }
        }
        "UnitPropertiesChanged" => {
            let (node, unit, interface, changed) =
                decode_with("UnitPropertiesChanged", body, "sssa{sv}", |reader| {
                    let of = (reader.str()?, reader.str()?, reader.str()?);
                    Ok((of.0, of.1, of.2, Variant::read_all(reader)?))
                })?;
            let what = format!("Unit properties changed (Interface: {interface})");
            headline(output, node, unit, &what);
            let mut properties = Map::new();
            for (name, value) in &changed {
                output.line_in(&format!("{name}: {}", json::plain(value)));
                properties.insert((*name).to_owned(), json::of_variant(value));
            }
            Record::UnitPropertiesChanged {
                node,
                unit,
                interface,
                properties,
            }
        }
        _ => return Ok(()),
    };
    output.record(&record);
    Ok(())
}

fn headline(output: &mut Output, node: &str, unit: &str, what: &str) {
    output.line(&format!("[{node}] {unit}"));
    output.line_in(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_joined_by_commas_or_not() {
        let of = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
            names(&arguments)
        };
        let both = ["a.service", "b.socket"];
        assert_eq!(of(&["a.service,b.socket"]), both);
        assert_eq!(of(&["a", "b.socket"]), both);
        assert_eq!(of(&["a, b.socket,"]), both);
        assert_eq!(of(&["a,*"]), ["*"]);
        assert_eq!(of(&[]), [""; 0]);
    }
}
