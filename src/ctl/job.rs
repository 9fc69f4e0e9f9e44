//! `hirtectl start|stop|restart|reload NODE UNIT…`: requests jobs and waits for their ends.

use serde::Serialize;

use super::{
    arguments::commands::Job,
    call::{Call, decode},
    client::{Client, Signal, removed_job},
    error::Error,
    exit_status::ExitStatus,
    output::Output,
    units,
};
use crate::bus::body::PathRef;

/// A job and how it ended.
#[derive(Serialize)]
struct Record<'a> {
    node: &'a str,
    unit: &'a str,
    operation: &'static str,
    job: Option<u32>,
    /// None when its end was not awaited.
    result: Option<&'a str>,
}

/// Requests all jobs at once, waits until each has ended, however long that takes, and prints the
/// results in the order in which they come.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    request: &Job,
) -> Result<ExitStatus, Error> {
    let (kind, node, units) = (request.kind, &request.of.node, &request.of.units);
    if !request.no_block {
        client.watch_jobs(node).await?;
    }
    let label = |units: &str| format!("Waiting for {node} to {kind} {units}");
    client.waiting_for(label(&units.join(", ")));
    let mode = request.mode.0;
    let method = kind.method();
    let (mut jobs, failures) = units::ask_each(
        client,
        node,
        units,
        |path, unit| Call::node(path, method, &(unit, mode)),
        |_, body| {
            let body = body?;
            let (PathRef(job),) = decode(method, &body)?;
            Ok(String::from(job))
        },
    )
    .await?;
    let mut parts = vec![output.complain_of_each(&failures)];
    if request.no_block {
        for (unit, job) in &jobs {
            print(output, request, unit, job, None);
        }
        return Ok(ExitStatus::of_parts(parts));
    }
    while !jobs.is_empty() {
        match client.next_signal().await? {
            Signal::Told(message) => {
                let Some((_, PathRef(job), .., result)) = removed_job(&message)? else {
                    continue;
                };
                let Some(index) = jobs.iter().position(|(_, waiting)| *waiting == job) else {
                    continue;
                };
                let (unit, job) = jobs.remove(index);
                parts.push(ended(output, request, &unit, &job, result.to_owned()));
                let rest: Vec<&str> = jobs.iter().map(|(unit, _)| unit.as_str()).collect();
                client.waiting_for(label(&rest.join(", ")));
            }
            Signal::ManagerLeft => return Err(Error::ManagerLeft),
        }
    }
    Ok(ExitStatus::of_parts(parts))
}

/// Prints how a job ended, and complains if that was no success.
fn ended(output: &mut Output, request: &Job, unit: &str, job: &str, result: String) -> ExitStatus {
    print(output, request, unit, job, Some(&result));
    match result.as_str() {
        "done" | "skipped" => ExitStatus::Done,
        _ => output.fail(&Error::Job {
            kind: request.kind,
            node: request.of.node.clone(),
            unit: unit.to_owned(),
            result,
        }),
    }
}

fn print(output: &mut Output, request: &Job, unit: &str, job: &str, result: Option<&str>) {
    let kind = request.kind;
    let id = id_of(job);
    output.line(&match (result, id) {
        (Some(result), _) => format!("Unit {unit} {kind} operation result: {result}"),
        (None, Some(id)) => format!("Unit {unit} {kind} operation queued as job {id}"),
        (None, None) => format!("Unit {unit} {kind} operation queued as {job}"),
    });
    output.record(&Record {
        node: &request.of.node,
        unit,
        operation: kind.as_str(),
        job: id,
        result,
    });
    // Others may take long.
    output.flush();
}

/// The number of the job at `path`.
pub(super) fn id_of(path: &str) -> Option<u32> {
    path.rsplit('/').next()?.parse().ok()
}
