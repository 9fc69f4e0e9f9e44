//! `hirtectl set-loglevel [NODE] LEVEL`: what the manager or a node's agent logs.

use super::{
    call::Call,
    client::Client,
    error::{Error, Subject},
    exit_status::ExitStatus,
};

/// Sets it; prints nothing when it is done.
pub(super) async fn run(
    client: &mut Client,
    node: Option<&str>,
    level: &str,
) -> Result<ExitStatus, Error> {
    let (call, subject) = match node {
        None => (Call::manager("SetLogLevel", &(level,)), Subject::Fleet),
        Some(node) => {
            let path = client.node(node).await?;
            (
                Call::node(&path, "SetLogLevel", &(level,)),
                Subject::Node(node),
            )
        }
    };
    client.call(call, subject).await?;
    Ok(ExitStatus::Done)
}
