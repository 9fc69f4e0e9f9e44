//! `hirtectl state …`: state files against the fleet. What a file means is decided in
//! [`state_file`](crate::state_file); here nodes are asked and steps are taken.

mod apply;
pub(super) mod arguments;
mod diff;
mod facts;
mod json;
mod show;
mod step;

use std::{fs::File, io::Read, time::Duration};

use self::arguments::{Presets, State, StateCommand};
use super::{client::Client, error::Error, exit_status::ExitStatus, output::Output, runtime};
use crate::{
    config::value,
    limits,
    state_file::{self, StateFile},
};

/// Carries out a command. Whatever is wrong with its file or arguments is found before anybody is
/// asked anything.
pub(super) fn run(state: &State, output: &mut Output) -> ExitStatus {
    match &state.command {
        StateCommand::Show(show) => with_manager(output, async |client, output| {
            show::run(client, output, show).await
        }),
        StateCommand::Diff(diff) => {
            let Some(file) = read(&diff.file, output) else {
                return ExitStatus::Usage;
            };
            with_manager(output, async |client, output| {
                match diff::run(client, output, &diff.file, &file, diff.json).await {
                    // 1 is to mean drift and nothing else.
                    Err(error) if error.status() == ExitStatus::Failed => {
                        output.complain(&error);
                        Ok(ExitStatus::Usage)
                    }
                    other => other,
                }
            })
        }
        StateCommand::Apply(apply) => {
            let Some((file, timeout)) =
                read(&apply.file, output).zip(timeout(apply.timeout.as_deref(), output))
            else {
                return ExitStatus::Usage;
            };
            with_manager(output, async |client, output| {
                apply::run(client, output, apply, &file, timeout).await
            })
        }
        StateCommand::Presets(of) => presets(of, output),
    }
}

fn with_manager(
    output: &mut Output,
    command: impl AsyncFnOnce(&mut Client, &mut Output) -> Result<ExitStatus, Error>,
) -> ExitStatus {
    let result = runtime::block_on(async |runtime| {
        let mut client = Client::connect(runtime).await?;
        command(&mut client, output).await
    });
    result.unwrap_or_else(|error| {
        output.complain(&error);
        error.status()
    })
}

/// Reads a state file, or complains of it.
fn read(name: &str, output: &mut Output) -> Option<StateFile> {
    let text = match text_of(name) {
        Ok(text) => text,
        Err(reason) => {
            output.complain(&format_args!("Can not read {name}: {reason}"));
            return None;
        }
    };
    match state_file::parse(&text) {
        Ok(file) => Some(file),
        Err(mistakes) => {
            for mistake in mistakes {
                output.complain(&format_args!("{name}:{mistake}"));
            }
            None
        }
    }
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

/// The longest time of a step, or a complaint of it.
#[expect(clippy::option_option, reason = "no limit is one of the answers")]
fn timeout(text: Option<&str>, output: &mut Output) -> Option<Option<Duration>> {
    let Some(text) = text else {
        return Some(None);
    };
    match value::timeout(text) {
        Ok(time) => Some(Some(time.value)),
        Err(expected) => {
            output.complain(&format_args!(
                "--timeout: expected {expected}, not '{text}'"
            ));
            None
        }
    }
}

fn presets(of: &Presets, output: &mut Output) -> ExitStatus {
    let Some(file) = read(&of.file, output) else {
        return ExitStatus::Usage;
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
