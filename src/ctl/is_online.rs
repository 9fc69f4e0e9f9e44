//! `hirtectl is-online agent|node NAME|system`: whether it is, for scripts.

use std::time::Instant;

use serde::Serialize;

use super::{
    arguments::commands::IsOnline,
    call::{Call, only_property},
    client::{Client, Executor, rule},
    error::{Error, Subject},
    exit_status::ExitStatus,
    nodes,
    output::Output,
};
use crate::{
    bus::names::{
        AGENT_BUS_NAME, AGENT_INTERFACE, AGENT_PATH, DBUS_NAME, DBUS_PATH, MANAGER_BUS_NAME,
        MANAGER_INTERFACE, MANAGER_PATH, PROPERTIES_INTERFACE,
    },
    limits,
    reactor::sleep,
};

/// The answer as JSON.
#[derive(Serialize)]
struct Record<'a> {
    /// `agent`, `node` or `system`.
    what: &'a str,
    node: Option<&'a str>,
    /// `online` or `offline`; of the system `up`, `degraded` or `down`.
    status: &'a str,
}

/// Prints the state. Success if that is online, or becomes so in the time given; with `--monitor`
/// then waits for the day on which it no longer is.
pub(super) async fn run(
    executor: &Executor,
    output: &mut Output,
    of: &IsOnline,
) -> Result<ExitStatus, Error> {
    let deadline = Instant::now() + of.wait.0;
    let mut client = None;
    let status = loop {
        let status = ask(executor, &mut client, of).await;
        let may_change = match &status {
            Ok(status) => !is_online(status),
            Err(error) => error.status() == ExitStatus::NoManager,
        };
        if !may_change || Instant::now() >= deadline {
            break status?;
        }
        sleep(limits::ONLINE_POLL).await;
    };
    print(output, of, &status);
    if !is_online(&status) {
        return Ok(ExitStatus::Failed);
    }
    match client {
        Some(mut client) if of.monitor => until_offline(&mut client, output, of).await,
        _ => Ok(ExitStatus::Done),
    }
}

fn is_online(status: &str) -> bool {
    matches!(status, "online" | "up")
}

fn print(output: &mut Output, of: &IsOnline, status: &str) {
    output.line(status);
    output.record(&Record {
        what: of.what.0,
        node: of.name.as_deref(),
        status,
    });
    output.flush();
}

/// Asks over the connection that there is, or a new one.
async fn ask(
    executor: &Executor,
    client: &mut Option<Client>,
    of: &IsOnline,
) -> Result<String, Error> {
    let mut connected = match client.take() {
        Some(client) => client,
        None if of.what.0 == "agent" => Client::connect_to_bus(executor).await?,
        None => Client::connect(executor).await?,
    };
    let status = status(&mut connected, of).await;
    if !matches!(status, Err(Error::BusLost | Error::ManagerClosed)) {
        *client = Some(connected);
    }
    status
}

async fn status(client: &mut Client, of: &IsOnline) -> Result<String, Error> {
    let (peer, path, interface) = match (of.what.0, &of.name) {
        ("node", Some(name)) => return Ok(nodes::one(client, name).await?.status),
        ("agent", _) => (AGENT_BUS_NAME, AGENT_PATH, AGENT_INTERFACE),
        _ => (MANAGER_BUS_NAME, MANAGER_PATH, MANAGER_INTERFACE),
    };
    let property = (interface, "Status");
    let call = Call::new(peer, path, PROPERTIES_INTERFACE, "Get", &property);
    let body = client
        .call(call, Subject::Fleet)
        .await
        .map_err(|error| match error {
            Error::NoManager if peer == AGENT_BUS_NAME => Error::NoAgent,
            error => error,
        })?;
    only_property::<&str>("Status", &body).map(str::to_owned)
}

/// Waits until it is no longer online, which is a failure.
async fn until_offline(
    client: &mut Client,
    output: &mut Output,
    of: &IsOnline,
) -> Result<ExitStatus, Error> {
    let rules = if of.what.0 == "agent" {
        vec![
            format!("type='signal',sender='{AGENT_BUS_NAME}',path='{AGENT_PATH}'"),
            format!(
                "type='signal',sender='{DBUS_NAME}',path='{DBUS_PATH}',interface='{DBUS_NAME}',\
                 member='NameOwnerChanged',arg0='{AGENT_BUS_NAME}'"
            ),
        ]
    } else {
        vec![rule(MANAGER_PATH, None)]
    };
    client.watch(&rules).await?;
    client.waiting_for(None);
    loop {
        // Before the first signal, too: something may have happened before the bus knew the rules.
        let status = status(client, of).await?;
        if !is_online(&status) {
            print(output, of, &status);
            return Ok(ExitStatus::Failed);
        }
        client.next_signal().await?;
    }
}
