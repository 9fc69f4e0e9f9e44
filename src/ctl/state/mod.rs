//! `hirtectl state …`: state files against the fleet. What a file means is decided in
//! [`crate::state_file`]; here nodes are asked and steps are taken.

mod apply;
pub(super) mod arguments;
mod diff;
mod facts;
mod json;
mod show;
mod step;

use std::{fs::File, io::Read, time::Duration};

use self::arguments::{Apply, Diff, Presets, Show, State, StateCommand};
use super::{client::Client, error::Error, exit_status::ExitStatus, output::Output};
use crate::{
    config::value,
    limits,
    state_file::{self, StateFile},
};

/// A command that is ready to ask the manager: its file is read and right.
#[derive(Debug)]
pub(super) enum Ready<'a> {
    Show(&'a Show),
    Diff(&'a Diff, StateFile),
    Apply(&'a Apply, StateFile, Option<Duration>),
}

/// Reads what a command needs, before anybody is asked anything. The error is how to end: what is
/// wrong was told, or nobody has to be asked.
pub(super) fn prepare<'a>(state: &'a State, output: &mut Output) -> Result<Ready<'a>, ExitStatus> {
    match &state.command {
        StateCommand::Show(show) => Ok(Ready::Show(show)),
        StateCommand::Diff(diff) => Ok(Ready::Diff(diff, read(&diff.file, output)?)),
        StateCommand::Apply(apply) => {
            let file = read(&apply.file, output)?;
            let timeout = match &apply.timeout {
                Some(text) => Some(timeout(text, output)?),
                None => None,
            };
            Ok(Ready::Apply(apply, file, timeout))
        }
        StateCommand::Presets(of) => Err(presets(of, output)),
    }
}

/// Carries out a command.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    ready: &Ready<'_>,
) -> Result<ExitStatus, Error> {
    match ready {
        Ready::Show(show) => show::run(client, output, show).await,
        Ready::Apply(apply, file, timeout) => {
            apply::run(client, output, apply, file, *timeout).await
        }
        Ready::Diff(diff, file) => match diff::run(client, output, diff, file).await {
            // 1 is to mean drift and nothing else.
            Err(error) if error.status() == ExitStatus::Failed => {
                output.complain(&error);
                Ok(ExitStatus::Usage)
            }
            other => other,
        },
    }
}

/// Reads a state file, or complains of it.
fn read(name: &str, output: &mut Output) -> Result<StateFile, ExitStatus> {
    let text = text_of(name).map_err(|reason| {
        output.complain(&format_args!("Can not read {name}: {reason}"));
        ExitStatus::Usage
    })?;
    state_file::parse(&text).map_err(|mistakes| {
        for mistake in mistakes {
            output.complain(&format_args!("{name}:{mistake}"));
        }
        ExitStatus::Usage
    })
}

fn text_of(name: &str) -> Result<String, String> {
    let most = limits::STATE_FILE_BYTES;
    let mut bytes = Vec::new();
    File::open(name)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() > most {
        return Err(format!("it has more than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let lines = error.as_bytes()[..valid].split(|byte| *byte == b'\n');
        format!("line {} is not valid UTF-8", lines.count())
    })
}

/// Reads the longest time of a step, or complains of it.
fn timeout(text: &str, output: &mut Output) -> Result<Duration, ExitStatus> {
    let time = value::timeout(text).map_err(|expected| {
        output.complain(&format_args!(
            "--timeout: expected {expected}, not '{text}'"
        ));
        ExitStatus::Usage
    })?;
    Ok(time.value)
}

fn presets(of: &Presets, output: &mut Output) -> ExitStatus {
    let file = match read(&of.file, output) {
        Ok(file) => file,
        Err(status) => return status,
    };
    if let Some(text) = state_file::presets(&file, &of.node) {
        output.text(&text);
        return ExitStatus::Done;
    }
    let known: Vec<&str> = file.nodes.iter().map(|node| node.name.as_str()).collect();
    output.complain(&format_args!(
        "{} does not name node '{}'; its nodes are: {}",
        of.file,
        of.node,
        known.join(", ")
    ));
    ExitStatus::Unknown
}
