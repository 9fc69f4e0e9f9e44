//! `hirtectl enable|disable|is-enabled NODE UNIT…`: which units start by themselves.

use serde::Serialize;

use super::{
    arguments::commands::{UnitFiles, Units},
    call::{Call, decode},
    client::Client,
    daemon_reload,
    error::{Error, Subject},
    exit_status::ExitStatus,
    output::Output,
    units,
};

/// A change that systemd made: `symlink` or `unlink`, the file, and where a link points to.
pub(super) type Change<'b> = (&'b str, &'b str, &'b str);

/// A change as JSON.
#[derive(Serialize)]
struct ChangeRecord<'a> {
    node: &'a str,
    operation: &'a str,
    file: &'a str,
    /// Where a link points to.
    target: Option<&'a str>,
}

/// Whether a unit starts by itself, as JSON.
#[derive(Serialize)]
struct StateRecord<'a> {
    node: &'a str,
    unit: &'a str,
    state: &'a str,
}

/// The states of unit files with which `systemctl is-enabled` succeeds (systemctl(1)): the unit
/// starts by itself, or it is none that could be enabled.
const ENABLED: [&str; 7] = [
    "enabled",
    "enabled-runtime",
    "static",
    "alias",
    "indirect",
    "generated",
    "transient",
];

/// Enables the units.
pub(super) async fn enable(
    client: &mut Client,
    output: &mut Output,
    how: &UnitFiles,
) -> Result<ExitStatus, Error> {
    let Units { node, units } = &how.of;
    let path = client.node(node).await?;
    let call = Call::node(
        &path,
        "EnableUnitFiles",
        &(units.as_slice(), how.runtime, how.force),
    );
    let body = client.call(call, Subject::Units(node)).await?;
    let (has_install_info, changes): (bool, Vec<Change<'_>>) = decode("EnableUnitFiles", &body)?;
    print(output, node, &changes);
    if !has_install_info {
        output.complain(&"The unit files did not include any enablement information");
    }
    if how.reload {
        daemon_reload::reload(client, node, &path).await?;
    }
    Ok(ExitStatus::Done)
}

/// Disables the units.
pub(super) async fn disable(
    client: &mut Client,
    output: &mut Output,
    how: &UnitFiles,
) -> Result<ExitStatus, Error> {
    let Units { node, units } = &how.of;
    let path = client.node(node).await?;
    let call = Call::node(&path, "DisableUnitFiles", &(units.as_slice(), how.runtime));
    let body = client.call(call, Subject::Units(node)).await?;
    let (changes,): (Vec<Change<'_>>,) = decode("DisableUnitFiles", &body)?;
    print(output, node, &changes);
    if how.reload {
        daemon_reload::reload(client, node, &path).await?;
    }
    Ok(ExitStatus::Done)
}

/// Prints what systemd changed.
pub(super) fn print(output: &mut Output, node: &str, changes: &[Change<'_>]) {
    for &(operation, file, target) in changes {
        output.line(&match operation {
            "symlink" => format!("Created symlink {file} -> {target}"),
            "unlink" => format!("Removed \"{file}\"."),
            other => format!("Unknown operation: {other}"),
        });
        output.record(&ChangeRecord {
            node,
            operation,
            file,
            target: Some(target).filter(|target| !target.is_empty()),
        });
    }
}

/// Prints the state of each unit's file; a failure unless all start by themselves.
pub(super) async fn is_enabled(
    client: &mut Client,
    output: &mut Output,
    of: &Units,
) -> Result<ExitStatus, Error> {
    let Units { node, units } = of;
    let (states, failures) = units::ask_each(
        client,
        node,
        units,
        |path, unit| Call::node(path, "GetUnitFileState", &(unit,)),
        |unit, body| {
            let body = body.map_err(|error| error.naming(unit))?;
            let (state,): (&str,) = decode("GetUnitFileState", &body)?;
            Ok(state.to_owned())
        },
    )
    .await?;
    let mut parts = Vec::new();
    for (unit, state) in &states {
        output.line(state);
        output.record(&StateRecord { node, unit, state });
        parts.push(if ENABLED.contains(&state.as_str()) {
            ExitStatus::Done
        } else {
            ExitStatus::Failed
        });
    }
    parts.push(output.complain_of_each(&failures));
    Ok(ExitStatus::of_parts(parts))
}
