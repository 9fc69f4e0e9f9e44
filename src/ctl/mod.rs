//! hirtectl: lists and controls the fleet through the manager's public D-Bus API.
//!
//! A command is one module with one function that asks the manager over `client` and prints through
//! `output`. [`Error`] has a sentence for whatever can go wrong, and [`ExitStatus`] what it means to
//! a script.

mod arguments;
mod client;
mod complete;
mod daemon_reload;
mod default_target;
mod error;
mod exit_status;
mod glob;
mod is_online;
mod job;
mod json;
mod list_jobs;
mod list_nodes;
mod list_unit_files;
mod list_units;
mod metrics;
mod monitor;
mod nodes;
mod output;
mod progress;
pub mod runtime;
mod set_loglevel;
mod status;
mod unit_files;
mod unit_operation;
mod unit_status;
mod units;

use std::{ffi::OsString, process::ExitCode};

pub use error::Error;
pub use exit_status::ExitStatus;

use serde::Serialize;

use self::{
    arguments::{Command, PROGRAM, Task},
    client::Client,
    output::Output,
    unit_operation::Operation,
};
use crate::{bus::JobKind, cmdline::Stop};

/// Runs hirtectl with these arguments (without the program's own name) to its end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut output = Output::stdout();
    let status = match arguments::parse(args) {
        Ok(Task::Command(command)) => {
            output.set_form(command.form());
            run(&command, &mut output)
        }
        Ok(Task::Complete(words)) => {
            complete::run(&words);
            ExitStatus::Done
        }
        Err(Stop::Help(text)) => {
            output.text(&text);
            ExitStatus::Done
        }
        Err(Stop::Usage(text)) => {
            for line in text.lines() {
                output.complain(&line);
            }
            output.complain(&format_args!("'{PROGRAM} help' lists the commands."));
            ExitStatus::Usage
        }
    };
    finish(output, status).into()
}

/// The version as JSON.
#[derive(Serialize)]
struct VersionRecord {
    version: &'static str,
}

fn run(command: &Command, output: &mut Output) -> ExitStatus {
    if let Command::Version(_) = command {
        let version = env!("CARGO_PKG_VERSION");
        output.line(version);
        output.record(&VersionRecord { version });
        return ExitStatus::Done;
    }
    let result = runtime::block_on(async |runtime| {
        if let Command::IsOnline(of) = command {
            return is_online::run(&runtime, output, of).await;
        }
        let mut client = Client::connect(runtime).await?;
        client.waiting_for("Waiting for the manager".to_owned());
        carry_out(command, &mut client, output).await
    });
    result.unwrap_or_else(|error| output.fail(&error))
}

/// Carries out a command that needs the manager.
async fn carry_out(
    command: &Command,
    client: &mut Client,
    output: &mut Output,
) -> Result<ExitStatus, Error> {
    match command {
        Command::ListUnits(of) => {
            list_units::run(client, output, of.node.as_deref(), of.filter.as_deref()).await
        }
        Command::ListUnitFiles(of) => {
            list_unit_files::run(client, output, of.node.as_deref(), of.filter.as_deref()).await
        }
        Command::ListNodes(_) => list_nodes::run(client, output).await,
        Command::ListJobs(of) => list_jobs::run(client, output, of.node.as_deref()).await,
        Command::Status(of) if of.watch => status::watch(client, output, &of.node_and_units).await,
        Command::Status(of) => status::run(client, output, &of.node_and_units).await,
        Command::Monitor(of) => match &of.node_and_units[..] {
            [only] if only == "node-connection" => status::watch(client, output, &[]).await,
            node_and_units => monitor::run(client, output, node_and_units).await,
        },
        Command::Cancel(of) => list_jobs::cancel(client, output, &of.jobs).await,
        Command::ResetFailed(of) => {
            unit_operation::reset_failed(client, output, &of.node_and_units).await
        }
        Command::GetDefault(of) => default_target::get(client, output, &of.node).await,
        Command::SetDefault(of) => default_target::set(client, output, &of.node, &of.target).await,
        Command::DaemonReload(of) => daemon_reload::run(client, &of.node).await,
        Command::SetLoglevel(of) => match &of.node_and_level[..] {
            [level] => set_loglevel::run(client, None, level).await,
            [node, level, ..] => set_loglevel::run(client, Some(node), level).await,
            [] => Ok(ExitStatus::Usage),
        },
        Command::Metrics(of) => match of.action.0 {
            "listen" => metrics::listen(client, output).await,
            action => metrics::switch(client, output, action == "enable").await,
        },
        Command::Start(_) | Command::Stop(_) | Command::Restart(_) | Command::Reload(_) => {
            jobs(command, client, output).await
        }
        _ => of_units(command, client, output).await,
    }
}

/// Carries out a command that requests jobs.
async fn jobs(
    command: &Command,
    client: &mut Client,
    output: &mut Output,
) -> Result<ExitStatus, Error> {
    macro_rules! request {
        ($kind:ident, $of:ident) => {
            job::Request {
                kind: JobKind::$kind,
                node: &$of.node,
                units: units::full_names(&$of.units),
                mode: $of.job_mode,
                no_block: $of.no_block,
            }
        };
    }
    let request = match command {
        Command::Start(of) => request!(Start, of),
        Command::Stop(of) => request!(Stop, of),
        Command::Restart(of) => request!(Restart, of),
        Command::Reload(of) => request!(Reload, of),
        _ => return Ok(ExitStatus::Usage),
    };
    job::run(client, output, &request).await
}

/// Carries out a command that does something to units at once.
async fn of_units(
    command: &Command,
    client: &mut Client,
    output: &mut Output,
) -> Result<ExitStatus, Error> {
    let (node, units, operation) = match command {
        Command::Freeze(of) => (&of.node, &of.units, Operation::Freeze),
        Command::Thaw(of) => (&of.node, &of.units, Operation::Thaw),
        Command::Kill(of) => {
            let whom = of.whom.unwrap_or_default().0;
            let signal = of.signal.unwrap_or_default().0;
            (&of.node, &of.units, Operation::Kill { whom, signal })
        }
        Command::Enable(of) => {
            let how = unit_files::How {
                runtime: of.runtime,
                force: of.force,
                reload: !of.no_reload,
            };
            let units = units::full_names(&of.units);
            return unit_files::enable(client, output, &of.node, &units, how).await;
        }
        Command::Disable(of) => {
            let how = unit_files::How {
                runtime: of.runtime,
                force: false,
                reload: !of.no_reload,
            };
            let units = units::full_names(&of.units);
            return unit_files::disable(client, output, &of.node, &units, how).await;
        }
        Command::IsEnabled(of) => {
            let units = units::full_names(&of.units);
            return unit_files::is_enabled(client, output, &of.node, &units).await;
        }
        _ => return Ok(ExitStatus::Usage),
    };
    unit_operation::run(client, output, operation, node, &units::full_names(units)).await
}

/// Writes out what was printed; that this fails is a failure of a run that had none.
fn finish(output: Output, status: ExitStatus) -> ExitStatus {
    let Err(error) = output.finish() else {
        return status;
    };
    let error = Error::Output(error);
    Output::stdout().complain(&error);
    if status == ExitStatus::Done {
        error.status()
    } else {
        status
    }
}
