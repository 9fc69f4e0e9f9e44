//! `hirtectl get-default|set-default`: the target into which a node boots.

use serde::Serialize;

use super::{
    call::{Call, decode},
    client::Client,
    error::{Error, Subject},
    exit_status::ExitStatus,
    output::Output,
    unit_files,
};

/// The target as JSON.
#[derive(Serialize)]
struct Record<'a> {
    node: &'a str,
    target: &'a str,
}

/// Prints it.
pub(super) async fn get(
    client: &mut Client,
    output: &mut Output,
    node: &str,
) -> Result<ExitStatus, Error> {
    let path = client.node(node).await?;
    let call = Call::node(&path, "GetDefaultTarget", &());
    let body = client.call(call, Subject::Node(node)).await?;
    let (target,): (&str,) = decode("GetDefaultTarget", &body)?;
    output.line(target);
    output.record(&Record { node, target });
    Ok(ExitStatus::Done)
}

/// Sets it, whatever it was before.
pub(super) async fn set(
    client: &mut Client,
    output: &mut Output,
    node: &str,
    target: &str,
) -> Result<ExitStatus, Error> {
    let path = client.node(node).await?;
    let force = true;
    let call = Call::node(&path, "SetDefaultTarget", &(target, force));
    let body = client.call(call, Subject::Units(node)).await?;
    let (changes,): (Vec<_>,) = decode("SetDefaultTarget", &body)?;
    unit_files::print(output, node, &changes);
    Ok(ExitStatus::Done)
}
