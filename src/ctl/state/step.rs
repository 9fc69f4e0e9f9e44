//! One step of a transition: asks for it, waits for its end, and looks whether it had its effect.

use std::{fmt, time::Duration};

use smol::future::or;

use super::facts;
use crate::{
    bus::{JobKind, body::PathRef, names::JOB_INTERFACE},
    ctl::{
        call::{Call, decode},
        client::{Client, Signal, removed_job},
        daemon_reload,
        error::{Error, Subject},
        exit_status::ExitStatus,
    },
    limits,
    reactor::sleep,
    state_file::{Action, Unit},
};

/// As with `hirtectl start`: it replaces a queued job of the same unit.
const MODE: &str = "replace";

/// Why a step did not reach what it was for.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was refused, its job failed, or its node was lost.
    Error(Error),
    /// Its job had not ended in time, and was taken back.
    TimedOut {
        /// The time it had.
        timeout: Duration,
        /// What the unit is after that.
        found: String,
    },
    /// It was done, and the unit is in another state.
    NoEffect {
        /// What the unit is.
        found: String,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    /// The exit status of a run that ends with it.
    pub(super) fn status(&self) -> ExitStatus {
        match self {
            Self::Error(error) => error.status(),
            Self::TimedOut { .. } | Self::NoEffect { .. } => ExitStatus::Failed,
        }
    }

    /// Whether the manager is gone, so that nothing more can be asked for.
    pub(super) fn is_of_the_bus(&self) -> bool {
        self.status() == ExitStatus::NoManager
    }

    /// The sentence about a unit of a node.
    pub(super) fn about<'f>(&'f self, task: Task<'f>) -> impl fmt::Display + 'f {
        fmt::from_fn(move |f| {
            let Task {
                node, unit, action, ..
            } = task;
            match self {
                Self::Error(error) => write!(f, "{error}"),
                Self::TimedOut { timeout, found } => write!(
                    f,
                    "Node '{node}': the job to {action} {unit} had not ended after {timeout:?} and \
                     was taken back; {unit} is {found}"
                ),
                Self::NoEffect { found } => write!(
                    f,
                    "Node '{node}': {unit} is {found} after it was told to {action}"
                ),
            }
        })
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'t> {
    pub node: &'t str,
    pub path: &'t str,
    pub unit: &'t str,
    pub action: Action,
    /// The longest time of a job.
    pub timeout: Option<Duration>,
}

impl Task<'_> {
    /// Does it, and returns when the unit is as it is to be. The client must be watching the jobs of
    /// the node.
    pub(super) async fn run(self, client: &mut Client) -> Result<(), Failure> {
        match self.action {
            Action::Start => {
                self.job(client, JobKind::Start).await?;
                self.expect(client, Unit::is_active).await
            }
            Action::Stop => {
                self.job(client, JobKind::Stop).await?;
                // A service whose process ended badly when it was told to has failed.
                if self.unit(client).await?.is_failed() {
                    self.reset_failed(client).await?;
                }
                self.expect(client, Unit::is_inactive).await
            }
            Action::ResetFailed => {
                self.reset_failed(client).await?;
                self.expect(client, Unit::is_inactive).await
            }
            Action::Enable { runtime } => {
                let (units, is_forced) = ([self.unit], false);
                let arguments = (units.as_slice(), runtime, is_forced);
                let call = Call::node(self.path, "EnableUnitFiles", &arguments);
                self.change_files(client, call).await
            }
            Action::Disable { runtime } => {
                let units = [self.unit];
                let arguments = (units.as_slice(), runtime);
                let call = Call::node(self.path, "DisableUnitFiles", &arguments);
                self.change_files(client, call).await
            }
        }
    }

    async fn unit(self, client: &mut Client) -> Result<Unit, Error> {
        facts::unit(client, self.node, self.path, self.unit).await
    }

    async fn expect(
        self,
        client: &mut Client,
        is_reached: impl Fn(&Unit) -> bool,
    ) -> Result<(), Failure> {
        let unit = self.unit(client).await?;
        if is_reached(&unit) {
            return Ok(());
        }
        let found = unit.describe();
        Err(Failure::NoEffect { found })
    }

    async fn reset_failed(self, client: &mut Client) -> Result<(), Error> {
        let call = Call::node(self.path, "ResetFailedUnit", &(self.unit,));
        let answer = client.call(call, Subject::Units(self.node)).await;
        match answer {
            // A unit without a file is gone with its failure.
            Ok(_) | Err(Error::UnknownUnit { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn change_files(self, client: &mut Client, call: Call) -> Result<(), Failure> {
        client.call(call, Subject::Units(self.node)).await?;
        daemon_reload::reload(client, self.node, self.path).await?;
        let file = facts::file_state(client, self.node, self.path, self.unit).await?;
        let unit = Unit::not_loaded(&file);
        let is_wanted = matches!(self.action, Action::Enable { .. });
        if unit.is_enabled() == is_wanted {
            return Ok(());
        }
        Err(Failure::NoEffect { found: file })
    }

    async fn job(self, client: &mut Client, kind: JobKind) -> Result<(), Failure> {
        let method = kind.method();
        let call = Call::node(self.path, method, &(self.unit, MODE));
        let body = client.call(call, Subject::Units(self.node)).await?;
        let (PathRef(job),) = decode(method, &body)?;
        let result = match self.timeout {
            None => end_of(client, job).await?,
            Some(timeout) => match end_within(client, job, timeout).await? {
                Some(result) => result,
                None => return Err(self.give_up(client, kind, job, timeout).await?),
            },
        };
        if matches!(result.as_str(), "done" | "skipped") {
            return Ok(());
        }
        let error = Error::Job {
            kind,
            node: self.node.to_owned(),
            unit: self.unit.to_owned(),
            result,
        };
        Err(error.into())
    }

    /// Takes a job back that takes too long, so that nothing goes on after us. What is starting is
    /// stopped: to cancel the job alone would leave its processes at work.
    async fn give_up(
        self,
        client: &mut Client,
        kind: JobKind,
        job: &str,
        timeout: Duration,
    ) -> Result<Failure, Error> {
        if kind == JobKind::Start {
            let call = Call::node(self.path, "StopUnit", &(self.unit, MODE));
            let body = client.call(call, Subject::Units(self.node)).await?;
            let (PathRef(stop),) = decode("StopUnit", &body)?;
            end_within(client, stop, limits::STEP_TAKEN_BACK).await?;
        } else if client
            .ask(Call::object(job, JOB_INTERFACE, "Cancel", &()))
            .await?
            .is_ok()
        {
            // Refused when the job has just ended, or by an agent that is too old for it.
            end_within(client, job, limits::STEP_TAKEN_BACK).await?;
        }
        let found = self.unit(client).await?.describe();
        Ok(Failure::TimedOut { timeout, found })
    }
}

/// How a job ends.
async fn end_of(client: &mut Client, job: &str) -> Result<String, Error> {
    loop {
        match client.next_signal().await? {
            Signal::Told(message) => match removed_job(&message)? {
                Some((_, PathRef(removed), .., result)) if removed == job => {
                    return Ok(result.to_owned());
                }
                _ => {}
            },
            Signal::ManagerLeft => return Err(Error::ManagerLeft),
        }
    }
}

/// The same, or nothing when it has not ended in time.
async fn end_within(
    client: &mut Client,
    job: &str,
    time: Duration,
) -> Result<Option<String>, Error> {
    let end = async { end_of(client, job).await.map(Some) };
    let late = async {
        sleep(time).await;
        Ok(None)
    };
    or(end, late).await
}
