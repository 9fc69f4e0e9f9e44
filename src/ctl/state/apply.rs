//! `hirtectl state apply`: takes the steps to what a state file wants.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use zbus::OwnedObjectPath;

use super::{
    arguments::Apply,
    facts::{self, Known},
    json as shape,
    step::{Failure, Task},
};
use crate::{
    ctl::{client::Client, error::Error, exit_status::ExitStatus, output::Output},
    state_file::{self, Action, Drift, Reason, Refusal, StateFile, Step},
};

/// Takes the steps one after the other, or only prints them. Nothing is done when anything about the
/// file, its nodes or its units is wrong.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    arguments: &Apply,
    file: &StateFile,
    timeout: Option<Duration>,
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
        .map(|node| (node.name.as_str(), &node.path))
        .collect();
    let mut transition = Transition {
        arguments,
        timeout,
        steps: &steps,
        paths,
        taken: Vec::new(),
        taken_back: Vec::new(),
    };
    if arguments.dry_run {
        transition.print_plan(output);
        return Ok(ExitStatus::Done);
    }
    let status = transition.run(client, output).await?;
    let (status, drift) = if status == ExitStatus::Done {
        look_again(client, output, file, &known).await?
    } else {
        (status, Vec::new())
    };
    if arguments.json {
        let value = json!({
            "steps": transition.taken,
            "rollback": transition.taken_back,
            "drift": shape::of_drift(&drift),
            "reached": status == ExitStatus::Done,
        });
        shape::print(output, &value);
    }
    Ok(status)
}

fn refuse(output: &mut Output, name: &str, refusals: &[Refusal]) -> ExitStatus {
    ExitStatus::of_parts(refusals.iter().map(|refusal| {
        match refusal.place {
            Some(place) => output.complain(&format_args!("{name}:{place}: {refusal}")),
            None => output.complain(&format_args!("{name}: {refusal}")),
        }
        match refusal.reason {
            Reason::Unknown => ExitStatus::Unknown,
            _ => ExitStatus::Failed,
        }
    }))
}

/// Asks all nodes again: a step may undo another, and units come back by themselves.
async fn look_again(
    client: &mut Client,
    output: &mut Output,
    file: &StateFile,
    known: &[Known],
) -> Result<(ExitStatus, Vec<Drift>), Error> {
    let (fleet, failures) = facts::of_file(client, file, known).await?;
    let status = output.complain_of_each(&failures);
    let drift = state_file::diff(file, &fleet);
    for Drift {
        node,
        unit,
        expected,
        found,
        ..
    } in &drift
    {
        output.complain(&format_args!(
            "Node '{node}': {unit} is {found} after all steps, not {expected}"
        ));
    }
    if status == ExitStatus::Done && !drift.is_empty() {
        return Ok((ExitStatus::Failed, drift));
    }
    Ok((status, drift))
}

/// The steps on their way.
struct Transition<'t> {
    arguments: &'t Apply,
    timeout: Option<Duration>,
    steps: &'t [Step],
    paths: BTreeMap<&'t str, &'t OwnedObjectPath>,
    /// What was taken, as JSON.
    taken: Vec<Value>,
    /// What was taken back.
    taken_back: Vec<Value>,
}

impl Transition<'_> {
    fn print_plan(&mut self, output: &mut Output) {
        for (index, step) in self.steps.iter().enumerate() {
            let action = step.action.word();
            if self.arguments.json {
                self.taken
                    .push(shape::of_step(step, action, "planned", None));
            } else {
                output.line(&self.line(index, step));
            }
        }
        if self.arguments.json {
            shape::print(output, &json!({ "steps": self.taken }));
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
    async fn run(&mut self, client: &mut Client, output: &mut Output) -> Result<ExitStatus, Error> {
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
        self.task(step, action, path).run(client).await
    }

    fn task<'s>(&self, step: &'s Step, action: Action, path: &'s OwnedObjectPath) -> Task<'s> {
        Task {
            node: &step.node,
            path,
            unit: &step.unit,
            action,
            timeout: self.timeout,
        }
    }

    fn sentence(&self, step: &Step, action: Action, failure: &Failure) -> String {
        let path = OwnedObjectPath::default();
        failure.about(self.task(step, action, &path)).to_string()
    }

    fn report(
        &mut self,
        output: &mut Output,
        index: usize,
        step: &Step,
        failure: Option<&Failure>,
    ) {
        let result = if failure.is_some() { "failed" } else { "done" };
        let sentence = failure.map(|failure| self.sentence(step, step.action, failure));
        if !self.arguments.json {
            output.line(&format!("{}: {result}", self.line(index, step)));
            output.flush();
        }
        if let Some(sentence) = &sentence {
            let name = &self.arguments.file;
            match step.place {
                Some(place) => output.complain(&format_args!("{name}:{place}: {sentence}")),
                None => output.complain(&sentence),
            }
        }
        let taken = shape::of_step(step, step.action.word(), result, sentence.as_deref());
        self.taken.push(taken);
    }

    /// Says where it ends, and takes back what was done if that was asked for.
    async fn fail(
        &mut self,
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
        &mut self,
        output: &mut Output,
        step: &Step,
        action: Action,
        failure: Option<&Failure>,
    ) {
        let result = if failure.is_some() { "failed" } else { "done" };
        let sentence = failure.map(|failure| self.sentence(step, action, failure));
        if !self.arguments.json {
            let Step { node, unit, .. } = step;
            output.line(&format!("[back] {node}: {action} {unit}: {result}"));
            output.flush();
        }
        if let Some(sentence) = &sentence {
            output.complain(sentence);
        }
        let back = shape::of_step(step, action.word(), result, sentence.as_deref());
        self.taken_back.push(back);
    }
}
