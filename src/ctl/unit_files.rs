//! `hirtectl enable|disable NODE UNIT…`: changes which units start by themselves, then has the
//! node's systemd reload its unit files.

use super::{
    client::{Call, Client, decode},
    daemon_reload,
    error::{Error, Subject},
    exit_status::ExitStatus,
    output::Output,
};

/// A change that systemd made: `symlink` or `unlink`, the file, and where a link points to.
type Change<'b> = (&'b str, &'b str, &'b str);

/// Enables the units for good, without replacing links of other units.
pub(super) async fn enable(
    client: &mut Client,
    output: &mut Output,
    node: &str,
    units: &[String],
) -> Result<ExitStatus, Error> {
    let path = client.node(node).await?;
    let (runtime, force) = (false, false);
    let call = Call::node(&path, "EnableUnitFiles", &(units, runtime, force));
    let body = client.call(call, Subject::Units(node)).await?;
    let (has_install_info, changes): (bool, Vec<Change<'_>>) = decode("EnableUnitFiles", &body)?;
    print(output, &changes);
    if !has_install_info {
        output.complain(&"The unit files did not include any enablement information");
    }
    daemon_reload::reload(client, node, &path).await?;
    Ok(ExitStatus::Done)
}

/// Disables the units for good.
pub(super) async fn disable(
    client: &mut Client,
    output: &mut Output,
    node: &str,
    units: &[String],
) -> Result<ExitStatus, Error> {
    let path = client.node(node).await?;
    let runtime = false;
    let call = Call::node(&path, "DisableUnitFiles", &(units, runtime));
    let body = client.call(call, Subject::Units(node)).await?;
    print(
        output,
        &decode::<Vec<Change<'_>>>("DisableUnitFiles", &body)?,
    );
    daemon_reload::reload(client, node, &path).await?;
    Ok(ExitStatus::Done)
}

fn print(output: &mut Output, changes: &[Change<'_>]) {
    for (operation, file, target) in changes {
        output.line(&match *operation {
            "symlink" => format!("Created symlink {file} -> {target}"),
            "unlink" => format!("Removed \"{file}\"."),
            other => format!("Unknown operation: {other}"),
        });
    }
}
