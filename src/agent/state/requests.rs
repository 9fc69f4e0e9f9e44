//! Calls to systemd that wait for an answer. Each has a deadline, and their number is bounded.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::{Action, Content, Outgoing, State, Timer, Turn, jobs::JobRequest, manager::Caller};
use crate::{
    bus::{Body, CallError, error_name, names},
    core::{Instant, Level},
    limits,
};

/// Why systemd was called, and so what its answer is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Purpose {
    /// One of the first calls on a connection, of which only the success matters.
    Setup,
    /// The jobs systemd has, asked first on a connection.
    ListJobs,
    /// The units systemd has: the last of the first calls on a connection.
    ListUnits,
    /// The units systemd has after it has loaded its configuration again.
    RefreshUnits,
    /// The states of units that systemd announced without.
    LearnStates,
    /// The manager wants a job.
    Job(JobRequest),
    /// The manager asked for something that is passed on as it is.
    Relay {
        /// Who gets the answer.
        caller: Caller,
        /// The method called.
        method: Cow<'static, str>,
    },
    /// The unit of a stream is to start.
    Stream {
        /// Number of the stream's source.
        number: u64,
    },
    /// The manager wants a job to be canceled.
    CancelJob {
        /// Who gets the answer.
        caller: Caller,
    },
    /// A job that was accepted too late is canceled.
    CancelLateJob {
        /// The unit of the job.
        unit: String,
    },
    /// The agent itself starts or stops a unit.
    Order {
        /// The unit.
        unit: String,
        /// Number of the order.
        number: u32,
    },
    /// The properties of the unit of a job that ended unseen.
    InferResult {
        /// systemd's number of the job.
        number: u32,
    },
}

/// The calls that wait for an answer, by their serial.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: BTreeMap<u32, (Instant, Purpose)>,
    /// Deadline and serial of each of them, the next one first.
    deadlines: BTreeSet<(Instant, u32)>,
    /// Jobs whose acceptance is overdue, by the serial of the call.
    late: BTreeMap<u32, JobRequest>,
}

impl Requests {
    fn insert(&mut self, serial: u32, deadline: Instant, purpose: Purpose) {
        self.waiting.insert(serial, (deadline, purpose));
        self.deadlines.insert((deadline, serial));
    }

    fn take(&mut self, serial: u32) -> Option<Purpose> {
        let (deadline, purpose) = self.waiting.remove(&serial)?;
        self.deadlines.remove(&(deadline, serial));
        Some(purpose)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn take_overdue(&mut self, now: Instant) -> Option<(u32, Purpose)> {
        let (deadline, serial) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.take(serial).map(|purpose| (serial, purpose))
    }

    /// Remembers a call whose answer, if it comes, has to be undone.
    fn remember_late(&mut self, serial: u32, job: JobRequest) {
        if self.late.len() >= limits::MAX_REQUESTS_TO_SYSTEMD {
            self.late.pop_first();
        }
        self.late.insert(serial, job);
    }

    /// Forgets all calls, as their connection is gone, and returns what they were for.
    pub(super) fn clear(&mut self) -> Vec<Purpose> {
        self.deadlines.clear();
        self.late.clear();
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_values().map(|(_, purpose)| purpose).collect()
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> [usize; 3] {
        [self.waiting.len(), self.deadlines.len(), self.late.len()]
    }
}

impl State {
    /// Calls a method of systemd's manager object for the manager, if systemd is there.
    pub(super) fn call_systemd_manager(
        &mut self,
        turn: &mut Turn<'_>,
        member: &'static str,
        body: Body,
        purpose: Purpose,
    ) -> Result<(), CallError> {
        self.check_systemd()?;
        self.ask_systemd_manager(turn, member, body, purpose);
        Ok(())
    }

    /// Calls a method of `org.freedesktop.DBus.Properties` on a unit for the manager, if systemd
    /// is there.
    pub(super) fn call_systemd_properties(
        &mut self,
        turn: &mut Turn<'_>,
        unit: &str,
        member: &'static str,
        body: Body,
        purpose: Purpose,
    ) -> Result<(), CallError> {
        self.check_systemd()?;
        self.ask_systemd_properties(turn, unit, member, body, purpose);
        Ok(())
    }

    fn check_systemd(&self) -> Result<(), CallError> {
        if !self.systemd.is_connected() {
            Err(CallError::new(
                error_name::FAILED,
                "The agent is not connected to systemd",
            ))
        } else if self.requests.waiting.len() >= limits::MAX_REQUESTS_TO_SYSTEMD {
            let message = format!(
                "systemd has not answered {} requests yet",
                limits::MAX_REQUESTS_TO_SYSTEMD
            );
            Err(CallError::new(error_name::LIMITS_EXCEEDED, message))
        } else {
            Ok(())
        }
    }

    /// Calls a method of systemd's manager object.
    pub(super) fn ask_systemd_manager(
        &mut self,
        turn: &mut Turn<'_>,
        member: &'static str,
        body: Body,
        purpose: Purpose,
    ) {
        let content = Content::Call {
            destination: names::SYSTEMD_NAME.into(),
            path: names::SYSTEMD_PATH.into(),
            interface: names::SYSTEMD_MANAGER_INTERFACE.into(),
            member: member.into(),
            body,
        };
        self.ask_systemd(turn, content, purpose);
    }

    /// Calls a method of `org.freedesktop.DBus.Properties` on the object of a unit.
    pub(super) fn ask_systemd_properties(
        &mut self,
        turn: &mut Turn<'_>,
        unit: &str,
        member: &'static str,
        body: Body,
        purpose: Purpose,
    ) {
        let content = Content::Call {
            destination: names::SYSTEMD_NAME.into(),
            path: names::systemd_unit_path(unit).into(),
            interface: names::PROPERTIES_INTERFACE.into(),
            member: member.into(),
            body,
        };
        self.ask_systemd(turn, content, purpose);
    }

    /// Sends a call on the connection to systemd; the answer, its absence or the loss of the
    /// connection ends it.
    pub(super) fn ask_systemd(&mut self, turn: &mut Turn<'_>, content: Content, purpose: Purpose) {
        let serial = self.systemd.serials.next();
        let deadline = turn.at() + limits::SYSTEMD_REQUEST;
        self.requests.insert(serial, deadline, purpose);
        self.set_answer_timer();
        turn.act(Action::SendToSystemd(Outgoing { serial, content }));
    }

    fn set_answer_timer(&mut self) {
        match self.requests.next_deadline() {
            Some(deadline) => self.timers.set(Timer::SystemdAnswer, deadline),
            None => self.timers.clear(Timer::SystemdAnswer),
        }
    }

    /// systemd answered call number `serial`.
    pub(super) fn systemd_answered(
        &mut self,
        turn: &mut Turn<'_>,
        serial: u32,
        result: Result<Body, CallError>,
    ) {
        let Some(purpose) = self.requests.take(serial) else {
            if let Some(job) = self.requests.late.remove(&serial) {
                self.job_accepted_late(turn, job, result);
            }
            return;
        };
        self.set_answer_timer();
        match purpose {
            Purpose::Setup => self.setup_answered(turn, result),
            Purpose::ListJobs => self.jobs_listed(turn, result),
            Purpose::ListUnits => self.units_listed(turn, result),
            Purpose::RefreshUnits => self.units_refreshed(turn, result),
            Purpose::Job(job) => self.job_answered(turn, job, result),
            Purpose::LearnStates => self.states_listed(turn, result),
            Purpose::Relay { caller, method } => {
                if method == "ListUnits"
                    && let Ok(list) = &result
                {
                    self.learn_from_list(turn, list);
                }
                self.reply(turn, caller, result);
            }
            Purpose::Stream { number } => self.stream_unit_answered(turn, number, result),
            Purpose::CancelJob { caller } => self.reply(turn, caller, result),
            Purpose::CancelLateJob { unit } => {
                if let Err(error) = result {
                    let line = format!("The late job of {unit} can not be canceled: {error}");
                    turn.log(Level::Warn, line);
                }
            }
            Purpose::Order { unit, number } => self.order_answered(turn, &unit, number, result),
            Purpose::InferResult { number } => self.infer_result(turn, number, result),
        }
    }

    pub(super) fn systemd_answers_overdue(&mut self, turn: &mut Turn<'_>) {
        while let Some((serial, purpose)) = self.requests.take_overdue(turn.at()) {
            self.answer_overdue(turn, serial, purpose);
        }
        self.set_answer_timer();
    }

    fn answer_overdue(&mut self, turn: &mut Turn<'_>, serial: u32, purpose: Purpose) {
        let overdue = || {
            let waited = limits::SYSTEMD_REQUEST.as_secs();
            let message = format!("systemd did not answer within {waited} s");
            CallError::new(error_name::TIMEOUT, message)
        };
        match purpose {
            // The deadline of the whole connection attempt ends these.
            Purpose::Setup | Purpose::ListJobs | Purpose::ListUnits => {}
            Purpose::RefreshUnits => self.units_refreshed(turn, Err(overdue())),
            Purpose::LearnStates => self.states_listed(turn, Err(overdue())),
            Purpose::Job(job) => {
                let (method, why) = (job.method, overdue().message);
                let line = format!("{method} unit {}: {why}", job.unit);
                turn.log(Level::Warn, line);
                self.jobs.forget_request(job.id, job.caller, &self.manager);
                self.reply(turn, job.caller, Err(overdue()));
                self.requests.remember_late(serial, job);
            }
            Purpose::Relay { caller, method } => {
                turn.log(Level::Warn, format!("{method}: {}", overdue().message));
                self.reply(turn, caller, Err(overdue()));
            }
            Purpose::Stream { number } => {
                self.stream_unit_answered(turn, number, Err(overdue()));
            }
            Purpose::CancelJob { caller } => self.reply(turn, caller, Err(overdue())),
            Purpose::CancelLateJob { unit } => {
                let line = format!("The late job of {unit} can not be canceled: {}", overdue());
                turn.log(Level::Warn, line);
            }
            Purpose::Order { unit, number } => {
                self.order_answered(turn, &unit, number, Err(overdue()));
            }
            Purpose::InferResult { number } => self.infer_result(turn, number, Err(overdue())),
        }
    }

    /// The connection to systemd is gone: whoever waits for an answer is told so.
    pub(super) fn fail_requests(&mut self, turn: &mut Turn<'_>) {
        for purpose in self.requests.clear() {
            let lost = CallError::new(
                error_name::NO_REPLY,
                "The connection to systemd was lost before it answered",
            );
            match purpose {
                Purpose::Job(job) => {
                    self.jobs.forget_request(job.id, job.caller, &self.manager);
                    self.reply(turn, job.caller, Err(lost));
                }
                Purpose::Relay { caller, .. } | Purpose::CancelJob { caller } => {
                    self.reply(turn, caller, Err(lost));
                }
                Purpose::Stream { number } => {
                    self.stream_unit_answered(turn, number, Err(lost));
                }
                Purpose::CancelLateJob { unit } => {
                    let line = format!("The late job of {unit} can not be canceled: {lost}");
                    turn.log(Level::Warn, line);
                }
                Purpose::Setup
                | Purpose::ListJobs
                | Purpose::ListUnits
                | Purpose::RefreshUnits
                | Purpose::LearnStates
                // The next connection asks again.
                | Purpose::Order { .. }
                | Purpose::InferResult { .. } => {}
            }
        }
        self.timers.clear(Timer::SystemdAnswer);
    }
}
