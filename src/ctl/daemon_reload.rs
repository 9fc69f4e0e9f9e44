//! `hirtectl daemon-reload NODE`: has the node's systemd read its unit files again.

use super::{
    call::Call,
    client::Client,
    error::{Error, Subject},
    exit_status::ExitStatus,
};

/// Does so; prints nothing when it is done.
pub(super) async fn run(client: &mut Client, node: &str) -> Result<ExitStatus, Error> {
    let path = client.node(node).await?;
    reload(client, node, &path).await?;
    Ok(ExitStatus::Done)
}

/// The same for a node whose path is known.
pub(super) async fn reload(client: &mut Client, node: &str, path: &str) -> Result<(), Error> {
    client
        .call(Call::node(path, "Reload", &()), Subject::Node(node))
        .await
        .map(drop)
}
