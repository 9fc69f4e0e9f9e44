//! A state manager of one screen: whenever a node comes online it starts a unit there, and it tells
//! what becomes of both.
//!
//! ```text
//! cargo run --example state_manager -- NODE UNIT
//! ```
//!
//! hirte knows no desired state; a program like this one does. It runs on the manager's computer, as
//! root or as a user whom the policy of the bus lets start units, until it is stopped.

use std::{env, process::ExitCode};

use smol::stream::StreamExt;
use zbus::{Connection, Message, OwnedObjectPath, connection::Builder, message::Type};

const BUS: &str = "org.freedesktop.DBus";
const HIRTE: &str = "org.containers.hirte";
const MANAGER: (&str, &str) = ("/org/containers/hirte", "org.containers.hirte.Manager");

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [node, unit] = arguments.as_slice() else {
        eprintln!("usage: state_manager NODE UNIT");
        return ExitCode::FAILURE;
    };
    match smol::block_on(keep(node, unit)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("state_manager: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes everything from one stream, in its order: signals and the answers to its own calls.
async fn keep(node: &str, unit: &str) -> zbus::Result<()> {
    let mut messages = Builder::system().build_message_stream().await?;
    let bus = Connection::from(&messages);
    let path: OwnedObjectPath = bus
        .call_method(Some(HIRTE), MANAGER.0, Some(MANAGER.1), "GetNode", &node)
        .await?
        .body()
        .deserialize()?;
    // First the signals, then the request: a job may have ended before its request is answered.
    let rule = format!("type='signal',sender='{HIRTE}',interface='{}'", MANAGER.1);
    bus.call_method(Some(BUS), "/", Some(BUS), "AddMatch", &rule)
        .await?;
    start(&bus, &path, unit).await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let (header, body) = (message.header(), message.body());
        match header.member().map_or("", |member| member.as_str()) {
            "NodeConnectionStateChanged" => {
                let (changed, state): (&str, &str) = body.deserialize()?;
                println!("Node {changed} is {state}");
                if changed == node && state == "online" {
                    start(&bus, &path, unit).await?;
                }
            }
            "JobRemoved" => {
                let (id, _, of_node, of_unit, result): (u32, OwnedObjectPath, &str, &str, &str) =
                    body.deserialize()?;
                println!("Job {id} for {of_unit} on {of_node} has ended: {result}");
            }
            _ if message.message_type() == Type::Error => {
                let reason = body.deserialize::<&str>().unwrap_or_default();
                println!("{unit} was not started: {reason}");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Asks for the start; the answer comes as a message like others.
async fn start(bus: &Connection, node: &OwnedObjectPath, unit: &str) -> zbus::Result<()> {
    let call = Message::method_call(node, "StartUnit")
        .destination(HIRTE)
        .interface("org.containers.hirte.Node")
        .build(&(unit, "replace"))?;
    bus.send(&call).await
}
