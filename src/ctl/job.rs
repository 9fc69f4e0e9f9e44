//! `hirtectl start|stop|restart|reload NODE UNIT`: requests a job and waits for its end.

use zbus::OwnedObjectPath;

use super::{
    client::{Call, Client, Signal, decode},
    error::{Error, Subject},
    exit_status::ExitStatus,
    output::Output,
};

/// How the job deals with jobs that are queued for the same unit (`StartUnit` in
/// org.freedesktop.systemd1(5)): it replaces them, as with `systemctl`.
const MODE: &str = "replace";

/// What a job does to its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `StartUnit`
    Start,
    /// `StopUnit`
    Stop,
    /// `RestartUnit`
    Restart,
    /// `ReloadUnit`
    Reload,
}

impl Operation {
    /// The word for it on the command line and in messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Start => "StartUnit",
            Self::Stop => "StopUnit",
            Self::Restart => "RestartUnit",
            Self::Reload => "ReloadUnit",
        }
    }
}

/// Requests the job, waits until it has ended, however long that takes, and prints its result.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    operation: Operation,
    node: &str,
    unit: &str,
) -> Result<ExitStatus, Error> {
    let path = client.node(node).await?;
    client.watch_jobs(node).await?;
    let method = operation.method();
    let call = Call::node(&path, method, &(unit, MODE));
    let body = client.call(call, Subject::Units(node)).await?;
    let job: OwnedObjectPath = decode(method, &body)?;
    let result = result_of(client, &job).await?;
    output.line(&format!(
        "Unit {unit} {} operation result: {result}",
        operation.word()
    ));
    match result.as_str() {
        "done" | "skipped" => Ok(ExitStatus::Done),
        _ => Err(Error::Job {
            operation,
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
            Signal::JobRemoved { .. } => {}
            Signal::ManagerLeft => return Err(Error::ManagerLeft),
        }
    }
}
