//! `hirtectl start|stop|restart|reload NODE UNIT`: requests a job and waits for its end.

use zbus::OwnedObjectPath;

use super::{
    client::{Call, Client, Signal, decode},
    error::{Error, Subject},
    exit_status::ExitStatus,
    output::Output,
};
use crate::bus::JobKind;

/// How the job deals with jobs that are queued for the same unit (`StartUnit` in
/// org.freedesktop.systemd1(5)): it replaces them, as with `systemctl`.
const MODE: &str = "replace";

/// Requests the job, waits until it has ended, however long that takes, and prints its result.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    kind: JobKind,
    node: &str,
    unit: &str,
) -> Result<ExitStatus, Error> {
    let path = client.node(node).await?;
    client.watch_jobs(node).await?;
    let method = kind.method();
    let call = Call::node(&path, method, &(unit, MODE));
    let body = client.call(call, Subject::Units(node)).await?;
    let job: OwnedObjectPath = decode(method, &body)?;
    let result = result_of(client, &job).await?;
    output.line(&format!("Unit {unit} {kind} operation result: {result}"));
    match result.as_str() {
        "done" | "skipped" => Ok(ExitStatus::Done),
        _ => Err(Error::Job {
            kind,
            node: node.to_owned(),
            unit: unit.to_owned(),
            result,
        }),
    }
}

async fn result_of(client: &mut Client, job: &OwnedObjectPath) -> Result<String, Error> {
    loop {
        match client.next_signal().await? {
            Signal::JobRemoved {
                job: removed,
                result,
            } if removed == *job => return Ok(result),
            Signal::JobRemoved { .. } | Signal::StreamData { .. } | Signal::StreamEnd { .. } => {}
            Signal::ManagerLeft => return Err(Error::ManagerLeft),
        }
    }
}
