//! hirtectl: lists and controls the fleet through the manager's public D-Bus API.
//!
//! A command is one module with one function that asks the manager over `client` and prints through
//! `output`. [`Error`] has a sentence for whatever can go wrong, and [`ExitStatus`] what it means to
//! a script.
//!
//! `client`, `call` and the errors are also what other programs of administrators talk to the manager
//! with.

mod arguments;
pub(crate) mod call;
pub(crate) mod client;
mod complete;
mod daemon_reload;
mod default_target;
pub(crate) mod error;
mod exec;
mod exit_status;
mod is_online;
mod job;
mod json;
pub(crate) mod list_jobs;
mod list_nodes;
mod list_unit_files;
pub(crate) mod list_units;
pub(crate) mod local_time;
mod logs;
mod metrics;
mod monitor;
pub(crate) mod nodes;
pub(crate) mod output;
mod progress;
mod set_loglevel;
mod state;
pub(crate) mod status;
mod stream;
mod top;
mod unit_files;
mod unit_operation;
mod unit_status;
mod units;

use std::{ffi::OsString, process::ExitCode};

pub use error::Error;
#[cfg(feature = "dashboard")]
pub(crate) use error::Subject;
pub use exit_status::ExitStatus;

use serde::Serialize;

use self::{
    arguments::{Command, PROGRAM, Task},
    client::Client,
    output::Output,
    unit_operation::Operation,
};
use crate::{cmdline::Stop, glob};

/// Runs hirtectl with these arguments (without the program's own name) to its end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut output = Output::stdout();
    let status = match arguments::parse(args) {
        Ok(Task::Command(command, form)) => {
            output.set_form(form);
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
    if *command == Command::Version {
        let version = env!("CARGO_PKG_VERSION");
        output.line(version);
        output.record(&VersionRecord { version });
        return ExitStatus::Done;
    }
    if let Command::Top(node) = command {
        return output.fail(&top::run(node.as_deref()));
    }
    let result = client::block_on(async |executor| {
        if let Command::IsOnline(of) = command {
            return is_online::run(&executor, output, of).await;
        }
        let state = match command {
            Command::State(of) => match state::prepare(of, output) {
                Ok(ready) => Some(ready),
                Err(status) => return Ok(status),
            },
            _ => None,
        };
        let mut client = Client::connect(&executor).await?;
        client.waiting_for("Waiting for the manager".to_owned());
        match &state {
            Some(ready) => state::run(&mut client, output, ready).await,
            None => carry_out(command, &mut client, output).await,
        }
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
        Command::ListUnits(of) => list_units::run(client, output, of).await,
        Command::ListUnitFiles(of) => list_unit_files::run(client, output, of).await,
        Command::ListNodes => list_nodes::run(client, output).await,
        Command::ListJobs(node) => list_jobs::run(client, output, node.as_deref()).await,
        Command::Status {
            watch: true,
            node_and_units,
        } => status::watch(client, output, node_and_units).await,
        Command::Status { node_and_units, .. } => status::run(client, output, node_and_units).await,
        Command::Monitor(of) => match &of[..] {
            [only] if only == "node-connection" => status::watch(client, output, &[]).await,
            node_and_units => monitor::run(client, output, node_and_units).await,
        },
        Command::Job(request) => job::run(client, output, request).await,
        Command::Cancel(jobs) => list_jobs::cancel(client, output, jobs).await,
        Command::Freeze(of) => unit_operation::run(client, output, Operation::Freeze, of).await,
        Command::Thaw(of) => unit_operation::run(client, output, Operation::Thaw, of).await,
        Command::Kill { of, whom, signal } => {
            let (whom, signal) = (whom.0, signal.0);
            let kill = Operation::Kill { whom, signal };
            unit_operation::run(client, output, kill, of).await
        }
        Command::ResetFailed(of) => unit_operation::reset_failed(client, output, of).await,
        Command::Enable(how) => unit_files::enable(client, output, how).await,
        Command::Disable(how) => unit_files::disable(client, output, how).await,
        Command::IsEnabled(of) => unit_files::is_enabled(client, output, of).await,
        Command::GetDefault(node) => default_target::get(client, output, node).await,
        Command::SetDefault { node, target } => {
            default_target::set(client, output, node, target).await
        }
        Command::DaemonReload(node) => daemon_reload::run(client, node).await,
        Command::SetLoglevel { node, level } => {
            set_loglevel::run(client, node.as_deref(), level).await
        }
        Command::Metrics(action) => match action.0 {
            "listen" => metrics::listen(client, output).await,
            action => metrics::switch(client, output, action == "enable").await,
        },
        Command::Logs(of) => logs::run(client, output, of).await,
        Command::Exec { node, command } => exec::run(client, output, node, command).await,
        // Their ways part before.
        Command::IsOnline(_) | Command::State(_) | Command::Top(_) | Command::Version => {
            Ok(ExitStatus::Done)
        }
    }
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
