//! hirtectl: lists and controls the fleet through the manager's public D-Bus API.
//!
//! A command is one module with one function that asks the manager over `client` and prints through
//! `output`. [`Error`] has a sentence for whatever can go wrong, and [`ExitStatus`] what it means to
//! a script.

mod arguments;
mod client;
mod daemon_reload;
mod error;
mod exec;
mod exit_status;
mod job;
mod list_nodes;
mod list_units;
mod local_time;
mod logs;
mod nodes;
mod output;
pub mod runtime;
mod state;
mod status;
mod stream;
mod unit_files;

use std::{ffi::OsString, process::ExitCode};

pub use error::Error;
pub use exit_status::ExitStatus;

use self::{
    arguments::{Command, PROGRAM},
    client::Client,
    output::Output,
};
use crate::{bus::JobKind, cmdline::Stop, glob};

/// Runs hirtectl with these arguments (without the program's own name) to its end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut output = Output::stdout();
    let status = match arguments::parse(args) {
        Ok(Command::Version(_)) => {
            output.line(env!("CARGO_PKG_VERSION"));
            ExitStatus::Done
        }
        Ok(command) => run(&command, &mut output),
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

/// Runs a command that needs the manager.
fn run(command: &Command, output: &mut Output) -> ExitStatus {
    let state = match command {
        Command::State(command) => match state::prepare(command, output) {
            Ok(ready) => Some(ready),
            Err(status) => return status,
        },
        _ => None,
    };
    let result = runtime::block_on(async |runtime| {
        let mut client = Client::connect(runtime).await?;
        match &state {
            Some(ready) => state::run(&mut client, output, ready).await,
            None => carry_out(command, &mut client, output).await,
        }
    });
    result.unwrap_or_else(|error| {
        output.complain(&error);
        error.status()
    })
}

async fn carry_out(
    command: &Command,
    client: &mut Client,
    output: &mut Output,
) -> Result<ExitStatus, Error> {
    let (kind, node, unit) = match command {
        Command::ListUnits(list) => {
            let (node, filter) = (list.node.as_deref(), list.filter.as_deref());
            return list_units::run(client, output, node, filter).await;
        }
        Command::ListNodes(_) => return list_nodes::run(client, output).await,
        Command::Status(of) => {
            return status::run(client, output, &of.node_and_units).await;
        }
        Command::Enable(of) => {
            return unit_files::enable(client, output, &of.node, &of.units).await;
        }
        Command::Disable(of) => {
            return unit_files::disable(client, output, &of.node, &of.units).await;
        }
        Command::DaemonReload(of) => return daemon_reload::run(client, &of.node).await,
        Command::Logs(of) => return show_log(client, output, of).await,
        Command::Exec(of) => return exec::run(client, output, &of.node, &of.command).await,
        Command::Start(of) => (JobKind::Start, &of.node, &of.unit),
        Command::Stop(of) => (JobKind::Stop, &of.node, &of.unit),
        Command::Restart(of) => (JobKind::Restart, &of.node, &of.unit),
        Command::Reload(of) => (JobKind::Reload, &of.node, &of.unit),
        // Their ways part before.
        Command::State(_) | Command::Version(_) => return Ok(ExitStatus::Done),
    };
    job::run(client, output, kind, node, unit).await
}

async fn show_log(
    client: &mut Client,
    output: &mut Output,
    of: &arguments::Logs,
) -> Result<ExitStatus, Error> {
    let word = if of.json { "json" } else { &of.output };
    let Some(format) = logs::Format::parse(word) else {
        let known: Vec<&str> = logs::Format::ALL.iter().map(|(word, _)| *word).collect();
        let known = known.join(", ");
        output.complain(&format_args!("Unknown output '{word}'; known are {known}"));
        return Ok(ExitStatus::Usage);
    };
    let wanted = logs::Wanted {
        lines: of.lines,
        follow: of.follow,
        since: of.since.as_deref(),
        until: of.until.as_deref(),
        priority: of.priority.as_deref(),
    };
    logs::run(client, output, (&of.node, &of.unit), &wanted, format).await
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
