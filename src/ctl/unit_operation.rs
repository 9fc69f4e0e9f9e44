//! `hirtectl freeze|thaw|kill|reset-failed`: what systemd does to units at once, without a job.

use serde::Serialize;

use super::{
    arguments::commands::{Units, full_names},
    call::{Answer, Call},
    client::Client,
    error::{Error, Subject},
    exit_status::ExitStatus,
    nodes,
    output::Output,
    units,
};

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Freeze,
    Thaw,
    /// Sends the signal of this number to processes: main, control or all.
    Kill {
        whom: &'static str,
        signal: i32,
    },
    ResetFailed,
}

impl Operation {
    /// Its name as a command.
    const fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Kill { .. } => "kill",
            Self::ResetFailed => "reset-failed",
        }
    }

    fn call(self, node: &str, unit: &str) -> Call {
        match self {
            Self::Freeze => Call::node(node, "FreezeUnit", &(unit,)),
            Self::Thaw => Call::node(node, "ThawUnit", &(unit,)),
            Self::Kill { whom, signal } => Call::node(node, "KillUnit", &(unit, whom, signal)),
            Self::ResetFailed => Call::node(node, "ResetFailedUnit", &(unit,)),
        }
    }
}

/// An operation that was carried out.
#[derive(Serialize)]
struct Record<'a> {
    node: &'a str,
    /// None for all units.
    unit: Option<&'a str>,
    operation: &'static str,
    result: &'static str,
}

fn print(output: &mut Output, node: &str, unit: Option<&str>, operation: Operation) {
    let operation = operation.name();
    output.line(&match unit {
        Some(unit) => format!("Unit {unit} {operation} operation result: done"),
        None => format!("Node {node} {operation} operation result: done"),
    });
    output.record(&Record {
        node,
        unit,
        operation,
        result: "done",
    });
}

/// Does it to each of the units.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    operation: Operation,
    of: &Units,
) -> Result<ExitStatus, Error> {
    let Units { node, units } = of;
    client.waiting_for(format!("Waiting for {node} to {}", operation.name()));
    let call = |path: &str, unit: &str| operation.call(path, unit);
    let (done, failures) =
        units::ask_each(client, node, units, call, |_, body| body.map(drop)).await?;
    for (unit, ()) in &done {
        print(output, node, Some(unit), operation);
    }
    Ok(output.complain_of_each(&failures))
}

/// Forgets failures: of the units behind the node's name, without them of all its units, without
/// arguments of all nodes that are online.
pub(super) async fn reset_failed(
    client: &mut Client,
    output: &mut Output,
    node_and_units: &[String],
) -> Result<ExitStatus, Error> {
    let nodes = match node_and_units {
        [node, units @ ..] if !units.is_empty() => {
            let of = Units {
                node: node.clone(),
                units: full_names(units),
            };
            return run(client, output, Operation::ResetFailed, &of).await;
        }
        [node, ..] => vec![(node.clone(), client.node(node).await?)],
        [] => nodes::online(client).await?,
    };
    let mut answers: Vec<Option<Answer>> = nodes.iter().map(|_| None).collect();
    let calls = nodes
        .iter()
        .map(|(_, path)| Call::node(path, "ResetFailed", &()));
    client
        .ask_each(calls, |index, answer| answers[index] = Some(answer))
        .await?;
    let mut failures = Vec::new();
    for ((node, _), answer) in nodes.iter().zip(answers.into_iter().flatten()) {
        match answer {
            Ok(_) => print(output, node, None, Operation::ResetFailed),
            Err(refusal) => failures.push(Error::from_refusal(refusal, Subject::Node(node))),
        }
    }
    Ok(output.complain_of_each(&failures))
}
