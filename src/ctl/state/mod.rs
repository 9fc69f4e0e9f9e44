//! `hirtectl state …`: state files against the fleet. What a file means is decided in
//! [`crate::state_file`]; here nodes are asked and steps are taken.

mod apply;
mod diff;
mod facts;
mod record;
mod show;
mod step;

use std::{fs::File, io::Read};

use super::{
    arguments::commands::{Apply, Show, State},
    client::Client,
    error::Error,
    exit_status::ExitStatus,
    output::Output,
};
use crate::{
    limits,
    state_file::{self, StateFile},
};

/// A command that is ready to ask the manager: its file is read and right.
#[derive(Debug)]
pub(super) enum Ready<'a> {
    Show(&'a Show),
    Diff(&'a str, StateFile),
    Apply(&'a Apply, StateFile),
}

/// Reads what a command needs, before anybody is asked anything. The error is how to end: what is
/// wrong was told, or nobody has to be asked.
pub(super) fn prepare<'a>(state: &'a State, output: &mut Output) -> Result<Ready<'a>, ExitStatus> {
    match state {
        State::Show(show) => Ok(Ready::Show(show)),
        State::Diff(name) => Ok(Ready::Diff(name, read(name, output)?)),
        State::Apply(apply) => Ok(Ready::Apply(apply, read(&apply.file, output)?)),
        State::Presets { file, node } => Err(presets(file, node, output)),
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
        Ready::Diff(name, file) => diff::run(client, output, name, file).await,
        Ready::Apply(apply, file) => apply::run(client, output, apply, file).await,
    }
}

/// Reads a state file, or complains of it.
fn read(name: &str, output: &mut Output) -> Result<StateFile, ExitStatus> {
    let mut wrong = |message| {
        output.fail(&Error::State {
            node: None,
            message,
            status: ExitStatus::Usage,
        })
    };
    let text = text_of(name).map_err(|reason| wrong(format!("Can not read {name}: {reason}")))?;
    state_file::parse(&text).map_err(|mistakes| {
        for mistake in mistakes {
            wrong(format!("{name}:{mistake}"));
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

fn presets(name: &str, node: &str, output: &mut Output) -> ExitStatus {
    let file = match read(name, output) {
        Ok(file) => file,
        Err(status) => return status,
    };
    if let Some(text) = state_file::presets(&file, node) {
        output.text(&text);
        return ExitStatus::Done;
    }
    let known: Vec<&str> = file.nodes.iter().map(|node| node.name.as_str()).collect();
    output.complain(&format_args!(
        "{name} does not name node '{node}'; its nodes are: {}",
        known.join(", ")
    ));
    ExitStatus::Unknown
}
