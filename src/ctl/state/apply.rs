//! `hirtectl state apply`: takes the steps to what a state file wants.

use std::collections::BTreeMap;

use super::{
    facts::{self, Known},
    record::Taken,
    step::{Failure, Task},
};
use crate::{
    ctl::{
        arguments::commands::Apply, client::Client, error::Error, exit_status::ExitStatus,
        output::Output,
    },
    state_file::{self, Action, Drift, Reason, Refusal, StateFile, Step},
};

/// Takes the steps one after the other, or only prints them. Nothing is done when anything about the
/// file, its nodes or its units is wrong.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    arguments: &Apply,
    file: &StateFile,
) -> Result<ExitStatus, Error> {
    let known = facts::nodes(client).await?;
    if !facts::knows_nodes(&arguments.file, file, &known, output) {
        return Ok(ExitStatus::Unknown);
    }
    let (fleet, failures) = facts::of_file(client, file, &known).await?;
    if !failures.is_empty() {
        return Ok(output.complain_of_each(&failures));
    }
    let steps = match state_file::plan(file, &fleet) {
        Ok(steps) => steps,
        Err(refusals) => return Ok(refuse(output, &arguments.file, &refusals)),
    };
    let paths = known
        .iter()
        .map(|node| (node.name.as_str(), node.path.as_str()))
        .collect();
    let transition = Transition {
        arguments,
        steps: &steps,
        paths,
    };
    if arguments.dry_run {
        transition.print_plan(output);
        return Ok(ExitStatus::Done);
    }
    match transition.run(client, output).await? {
        ExitStatus::Done => look_again(client, output, file, &known).await,
        status => Ok(status),
    }
}

fn refuse(output: &mut Output, name: &str, refusals: &[Refusal]) -> ExitStatus {
    ExitStatus::of_parts(refusals.iter().map(|refusal| {
        let status = match refusal.reason {
            Reason::Unknown => ExitStatus::Unknown,
            _ => ExitStatus::Failed,
        };
        let message = match refusal.place {
            Some(place) => format!("{name}:{place}: {refusal}"),
            None => format!("{name}: {refusal}"),
        };
        output.fail(&Error::State {
            node: Some(refusal.node.clone()),
            message,
            status,
        })
    }))
}

/// Asks all nodes again: a step may undo another, and units come back by themselves.
async fn look_again(
    client: &mut Client,
    output: &mut Output,
    file: &StateFile,
    known: &[Known],
) -> Result<ExitStatus, Error> {
    let (fleet, mut failures) = facts::of_file(client, file, known).await?;
    let drift = state_file::diff(file, &fleet);
    failures.extend(drift.into_iter().map(|drift| {
        let Drift {
            unit,
            expected,
            found,
            ..
        } = &drift;
        Error::State {
            message: format!(
                "Node '{}': {unit} is {found} after all steps, not {expected}",
                drift.node
            ),
            node: Some(drift.node),
            status: ExitStatus::Failed,
        }
    }));
    Ok(output.complain_of_each(&failures))
}

/// The steps on their way.
struct Transition<'t> {
    arguments: &'t Apply,
    steps: &'t [Step],
    paths: BTreeMap<&'t str, &'t str>,
}

impl Transition<'_> {
    fn print_plan(&self, output: &mut Output) {
        for (index, step) in self.steps.iter().enumerate() {
            output.line(&self.line(index, step));
            output.record(&Taken::step(step, "planned"));
        }
    }

    /// `[2/5] rpi4: start httpd.service`.
    fn line(&self, index: usize, step: &Step) -> String {
        let Step {
            node, unit, action, ..
        } = step;
        let stage = step
            .stage
            .as_ref()
            .map_or_else(String::new, |stage| format!(" ({stage})"));
        let count = self.steps.len();
        format!("[{}/{count}] {node}: {action} {unit}{stage}", index + 1)
    }

    /// Takes all steps, up to the first that fails.
    async fn run(&self, client: &mut Client, output: &mut Output) -> Result<ExitStatus, Error> {
        let mut watched = Vec::new();
        for step in self.steps {
            if !watched.contains(&&step.node) {
                client.watch_jobs(&step.node).await?;
                watched.push(&step.node);
            }
        }
        for (index, step) in self.steps.iter().enumerate() {
            let result = self.act(client, step, step.action).await;
            self.report(output, index, step, result.as_ref().err());
            if let Err(failure) = result {
                return Ok(self.fail(client, output, index, &failure).await);
            }
        }
        Ok(ExitStatus::Done)
    }

    async fn act(&self, client: &mut Client, step: &Step, action: Action) -> Result<(), Failure> {
        let path = self.paths.get(step.node.as_str());
        let path = path.ok_or_else(|| Error::UnknownNode {
            node: step.node.clone(),
        })?;
        client.waiting_for(format!(
            "Waiting for {} to {action} {}",
            step.node, step.unit
        ));
        self.task(step, action, path).run(client).await
    }

    fn task<'s>(&self, step: &'s Step, action: Action, path: &'s str) -> Task<'s> {
        Task {
            node: &step.node,
            path,
            unit: &step.unit,
            action,
            timeout: self.arguments.timeout,
        }
    }

    fn sentence(&self, step: &Step, action: Action, failure: &Failure) -> String {
        failure.about(self.task(step, action, "")).to_string()
    }

    fn report(&self, output: &mut Output, index: usize, step: &Step, failure: Option<&Failure>) {
        let result = if failure.is_some() { "failed" } else { "done" };
        output.line(&format!("{}: {result}", self.line(index, step)));
        output.record(&Taken::step(step, result));
        output.flush();
        if let Some(failure) = failure {
            let sentence = self.sentence(step, step.action, failure);
            let message = match step.place {
                Some(place) => format!("{}:{place}: {sentence}", self.arguments.file),
                None => sentence,
            };
            complain(output, step, message, failure);
        }
    }

    /// Says where it ends, and takes back what was done if that was asked for.
    async fn fail(
        &self,
        client: &mut Client,
        output: &mut Output,
        index: usize,
        failure: &Failure,
    ) -> ExitStatus {
        let (failed, count) = (index + 1, self.steps.len());
        let status = failure.status();
        if !self.arguments.rollback || failure.is_of_the_bus() {
            output.complain(&format_args!(
                "Step {failed} of {count} failed: those before it are done, none after it was \
                 begun. The same command again goes on from here."
            ));
            return status;
        }
        output.complain(&format_args!(
            "Step {failed} of {count} failed: what was done is taken back."
        ));
        for step in self.steps[..=index].iter().rev() {
            let Some(action) = state_file::undo(step) else {
                continue;
            };
            let result = self.act(client, step, action).await;
            self.report_back(output, step, action, result.as_ref().err());
            if result.is_err_and(|failure| failure.is_of_the_bus()) {
                break;
            }
        }
        status
    }

    fn report_back(
        &self,
        output: &mut Output,
        step: &Step,
        action: Action,
        failure: Option<&Failure>,
    ) {
        let result = if failure.is_some() { "failed" } else { "done" };
        let Step { node, unit, .. } = step;
        output.line(&format!("[back] {node}: {action} {unit}: {result}"));
        output.record(&Taken::back(step, action, result));
        output.flush();
        if let Some(failure) = failure {
            complain(output, step, self.sentence(step, action, failure), failure);
        }
    }
}

fn complain(output: &mut Output, step: &Step, message: String, failure: &Failure) {
    output.fail(&Error::State {
        node: Some(step.node.clone()),
        message,
        status: failure.status(),
    });
}
