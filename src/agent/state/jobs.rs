//! The jobs that the manager asked for, from the request until systemd has ended them.
//!
//! systemd merges requests for one unit into one job. So one job of systemd ends any number of
//! the manager's.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    State, Turn,
    manager::{Caller, Manager},
    requests::Purpose,
};
use crate::{
    bus::{Body, CallError, JobKind, ObjectPath, error_name, names},
    core::{Instant, Level},
    limits,
};

/// Parent of systemd's job objects, whose names are the jobs' numbers.
const SYSTEMD_JOB_PREFIX: &str = "/org/freedesktop/systemd1/job/";

/// A request for a job that systemd has not answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JobRequest {
    pub(super) caller: Caller,
    /// The manager's number of the job.
    pub(super) id: u32,
    pub(super) kind: JobKind,
    /// The method of systemd's manager.
    pub(super) method: &'static str,
    /// The unit, as the manager named it.
    pub(super) unit: String,
    /// When systemd was asked.
    pub(super) asked: Instant,
}

/// A job of systemd that the manager waits for.
#[derive(Debug)]
pub(super) struct Job {
    /// What the manager asked for, in the order in which systemd accepted it.
    pub(super) requests: Vec<JobRequest>,
    /// Whether the manager knows that the job runs.
    pub(super) is_running: bool,
    /// Whether the job ended unseen, so that its result has to be inferred.
    pub(super) ended_unseen: bool,
}

/// All jobs that the manager waits for.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// By systemd's number.
    in_flight: BTreeMap<u32, Job>,
    /// The manager's number of each requested job, with systemd's once that is known.
    ids: BTreeMap<u32, Option<u32>>,
    /// All of systemd's jobs that run, whoever wanted them: a request may be merged into one.
    running: BTreeSet<u32>,
}

impl Jobs {
    /// Forgets what the manager wants to know, because it is gone.
    pub(super) fn forget_requests(&mut self) {
        self.in_flight.clear();
        self.ids.clear();
    }

    /// Forgets a request that systemd did not accept, if its connection stands: the manager of
    /// another connection may use the same number.
    pub(super) fn forget_request(&mut self, id: u32, caller: Caller, manager: &Manager) {
        if manager.is_waiting(caller) {
            self.ids.remove(&id);
        }
    }

    pub(super) fn forget_running(&mut self) {
        self.running.clear();
    }

    /// Takes a job that has ended.
    fn take(&mut self, number: u32) -> Option<Job> {
        let job = self.in_flight.remove(&number)?;
        for request in &job.requests {
            self.ids.remove(&request.id);
        }
        Some(job)
    }

    pub(super) fn get(&self, number: u32) -> Option<&Job> {
        self.in_flight.get(&number)
    }

    /// Marks the jobs that systemd no longer has, and returns their numbers.
    pub(super) fn mark_ended(&mut self, listed: &BTreeSet<u32>) -> Vec<u32> {
        let mut ended = Vec::new();
        for (number, job) in &mut self.in_flight {
            if !listed.contains(number) {
                job.ended_unseen = true;
                ended.push(*number);
            }
        }
        ended
    }

    #[cfg(test)]
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    fn note_running(&mut self, number: u32) {
        if self.running.len() < limits::MAX_RUNNING_JOBS {
            self.running.insert(number);
        }
    }
}

/// systemd's number of the job whose object is `path`.
pub(in super::super) fn job_number(path: &str) -> Option<u32> {
    path.strip_prefix(SYSTEMD_JOB_PREFIX)?.parse().ok()
}

impl State {
    /// Asks systemd for a job, with these arguments.
    pub(super) fn start_job(
        &mut self,
        turn: &mut Turn<'_>,
        request: JobRequest,
        mode: &str,
        arguments: Body,
    ) -> Result<(), CallError> {
        let JobRequest {
            id, method, unit, ..
        } = &request;
        let (id, method) = (*id, *method);
        turn.log(
            Level::Info,
            format!("Request to {method} unit: {unit} - Action: {mode}"),
        );
        if self.jobs.ids.contains_key(&id) {
            let message = format!("Job {id} exists already");
            return Err(CallError::new(error_name::INVALID_ARGS, message));
        }
        if self.jobs.ids.len() >= limits::MAX_JOBS_PER_NODE {
            let message = format!("{} jobs are in flight", limits::MAX_JOBS_PER_NODE);
            return Err(CallError::new(error_name::LIMITS_EXCEEDED, message));
        }
        self.call_systemd_manager(turn, method, arguments, Purpose::Job(request))?;
        self.jobs.ids.insert(id, None);
        Ok(())
    }

    /// systemd accepted a job, or refused to.
    pub(super) fn job_answered(
        &mut self,
        turn: &mut Turn<'_>,
        request: JobRequest,
        result: Result<Body, CallError>,
    ) {
        let JobRequest {
            caller, id, method, ..
        } = request;
        let number = result.and_then(|body| accepted_number(&body));
        if !self.manager.is_waiting(caller) {
            let outcome = match number {
                Ok(_) => "accepted".to_owned(),
                Err(error) => format!("refused: {error}"),
            };
            let line = format!(
                "{method} unit {} was {outcome} after the loss of the manager that wanted it",
                request.unit
            );
            turn.log(Level::Info, line);
            return;
        }
        match number {
            Ok(number) => {
                self.reply(turn, caller, Ok(Body::default()));
                self.jobs.ids.insert(id, Some(number));
                let job = self.jobs.in_flight.entry(number).or_insert_with(|| Job {
                    requests: Vec::new(),
                    is_running: false,
                    ended_unseen: false,
                });
                job.requests.push(request);
                if self.jobs.running.contains(&number) {
                    if job.is_running {
                        self.signal(turn, "JobStateChanged", Body::of(&(id, "running")));
                    } else {
                        self.job_runs(turn, number);
                    }
                }
            }
            Err(error) => {
                turn.log(
                    Level::Info,
                    format!("{method} unit {} was refused: {error}", request.unit),
                );
                self.jobs.ids.remove(&id);
                self.reply(turn, caller, Err(error));
            }
        }
    }

    /// systemd answered when the manager had already been told that it did not: the job is
    /// canceled, unless another request waits for the same one.
    pub(super) fn job_accepted_late(
        &mut self,
        turn: &mut Turn<'_>,
        request: JobRequest,
        result: Result<Body, CallError>,
    ) {
        let JobRequest { method, unit, .. } = request;
        let Ok(number) = result.and_then(|body| accepted_number(&body)) else {
            return;
        };
        let what = format!("{method} unit {unit} was accepted too late");
        if self.jobs.in_flight.contains_key(&number) {
            let line = format!("{what}; the job goes on for another request");
            turn.log(Level::Warn, line);
        } else {
            turn.log(Level::Warn, format!("{what}; canceling the job"));
            let purpose = Purpose::CancelLateJob { unit };
            self.ask_systemd_manager(turn, "CancelJob", Body::of(&(number,)), purpose);
        }
    }

    /// Cancels a job; its end is then reported as that of any other.
    pub(super) fn cancel_job(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        id: u32,
    ) -> Result<(), CallError> {
        let Some(number) = self.jobs.ids.get(&id).copied().flatten() else {
            let message = format!("Job {id} is not in flight");
            return Err(CallError::new(error_name::NO_SUCH_JOB, message));
        };
        let body = Body::of(&(number,));
        self.call_systemd_manager(turn, "CancelJob", body, Purpose::CancelJob { caller })
    }

    /// The state of any of systemd's jobs has changed.
    pub(super) fn job_state_changed(&mut self, turn: &mut Turn<'_>, number: u32, state: &str) {
        if state == "running" {
            self.jobs.note_running(number);
            self.job_runs(turn, number);
        }
    }

    /// Tells the manager that a job runs, once.
    pub(super) fn job_runs(&mut self, turn: &mut Turn<'_>, number: u32) {
        let Some(job) = self
            .jobs
            .in_flight
            .get_mut(&number)
            .filter(|job| !job.is_running)
        else {
            return;
        };
        job.is_running = true;
        let ids: Vec<u32> = job.requests.iter().map(|request| request.id).collect();
        for id in ids {
            self.signal(turn, "JobStateChanged", Body::of(&(id, "running")));
        }
    }

    /// systemd has ended one of its jobs.
    pub(super) fn job_removed(&mut self, turn: &mut Turn<'_>, number: u32, result: &str) {
        self.jobs.running.remove(&number);
        self.order_ended(turn, number, result);
        self.stream_job_ended(turn, number, result);
        let Some(job) = self.jobs.take(number) else {
            return;
        };
        for request in job.requests {
            let id = request.id;
            if self.measures_jobs && !job.ended_unseen {
                self.signal_job_time(turn, &request);
            }
            turn.log(
                Level::Info,
                format!("Sending JobDone {id}, result: {result}"),
            );
            self.signal(turn, "JobDone", Body::of(&(id, result)));
        }
    }
}

impl State {
    /// Tells the manager how long systemd took for a job that has just ended.
    fn signal_job_time(&mut self, turn: &mut Turn<'_>, request: &JobRequest) {
        let took = turn.at().since(request.asked).as_micros();
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        let body = Body::of(&(request.unit.as_str(), request.method, took));
        let metrics = (
            names::INTERNAL_AGENT_METRICS_PATH,
            names::INTERNAL_AGENT_METRICS_INTERFACE,
        );
        self.signal_of(turn, metrics, "AgentJobMetrics", body);
    }

    /// The manager wants, or no longer wants, to know how long systemd's jobs take.
    pub(super) fn measure_jobs(&mut self, wanted: bool) -> Result<(), CallError> {
        if self.measures_jobs == wanted {
            let word = if wanted { "enabled" } else { "disabled" };
            let message = format!("Metrics already {word}");
            return Err(CallError::new(error_name::INVALID_ARGS, message));
        }
        self.measures_jobs = wanted;
        Ok(())
    }
}

pub(super) fn accepted_number(body: &Body) -> Result<u32, CallError> {
    body.parse::<(ObjectPath,)>()
        .ok()
        .and_then(|(path,)| job_number(&path.0))
        .ok_or_else(|| {
            CallError::new(
                error_name::FAILED,
                "systemd's answer does not name a job, so its end can not be reported",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_jobs_are_read_from_their_paths() {
        assert_eq!(job_number("/org/freedesktop/systemd1/job/77"), Some(77));
        for other in [
            "/org/freedesktop/systemd1/job",
            "/org/freedesktop/systemd1/job/",
            "/org/freedesktop/systemd1/job/4294967296",
            "/org/freedesktop/systemd1/unit/a",
        ] {
            assert_eq!(job_number(other), None, "{other}");
        }
    }
}
