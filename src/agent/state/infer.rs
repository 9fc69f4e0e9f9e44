//! How a job ended that nobody watched.
//!
//! While the connection to systemd is lost its signals are lost too. A job that systemd no longer
//! has after that ended in the meantime, and its result is inferred from its unit:
//!
//! | job | unit | result |
//! |---|---|---|
//! | start, restart | active, reloading (for restart: entered since it was asked for) | done |
//! | | failed | failed |
//! | | inactive, and it ran since and its result is a success | done |
//! | | inactive, and it ran since and its result is another | failed |
//! | | inactive, and its conditions were checked since and not met | done, as systemd says |
//! | | unloaded since, and the job was seen to run | done: systemd keeps failed units loaded |
//! | | the same, but its `CollectMode` unloads failed units as well | failed |
//! | | anything else | canceled |
//! | stop | inactive, failed, or no longer there | done |
//! | | anything else | canceled |
//! | reload | active, reloading | done |
//! | | failed | failed |
//! | | anything else | canceled |
//!
//! When nothing tells how it went the result is `failed`: it is the word on which whoever wanted
//! the job looks for himself.

use std::collections::BTreeSet;

use super::{State, Turn, requests::Purpose};
use crate::{
    bus::{Body, CallError, JobKind, ObjectPath, body::ParseArguments, marshal::Malformed},
    core::{Instant, Level},
};

/// A row of systemd's `ListJobs`: number, unit, type, state, job object, unit object.
type ListedJob = (u32, String, String, String, ObjectPath, ObjectPath);

/// The properties of a unit that tell how a job ended.
#[derive(Debug, Default, PartialEq)]
struct UnitOutcome {
    active: String,
    /// `Result` of the unit's own type; empty for types that have none.
    result: String,
    /// When the unit last changed its state; 0 if it was loaded only now.
    changed: Instant,
    /// When it last became active.
    activated: Instant,
    /// When its conditions were last checked, and whether they were met.
    condition_checked: Instant,
    condition_met: bool,
    /// `CollectMode`: which units systemd unloads.
    collect_mode: String,
}

/// What is known of the job itself.
#[derive(Clone, Copy)]
struct EndedJob {
    kind: JobKind,
    asked: Instant,
    /// Whether it was seen to run.
    ran: bool,
}

impl State {
    /// systemd has told which jobs it has: of those that the manager waits for some go on, and
    /// the others have ended unseen.
    pub(super) fn jobs_listed(&mut self, turn: &mut Turn<'_>, result: Result<Body, CallError>) {
        let rows = result.and_then(|body| read_answer::<(Vec<ListedJob>,)>("ListJobs", &body));
        let (rows,) = match rows {
            Ok(rows) => rows,
            Err(error) => return self.drop_systemd(turn, &error.to_string()),
        };
        let mut listed = BTreeSet::new();
        for (number, _, _, state, _, _) in rows {
            listed.insert(number);
            self.job_state_changed(turn, number, &state);
        }
        for number in self.jobs.mark_ended(&listed) {
            let Some(request) = self.jobs.get(number).and_then(|job| job.requests.first()) else {
                continue;
            };
            let unit = request.unit.clone();
            let every_interface = Body::of(&("",));
            let purpose = Purpose::InferResult { number };
            self.ask_systemd_properties(turn, &unit, "GetAll", every_interface, purpose);
        }
    }

    /// systemd has told the properties of the unit of a job that ended unseen.
    pub(super) fn infer_result(
        &mut self,
        turn: &mut Turn<'_>,
        number: u32,
        answer: Result<Body, CallError>,
    ) {
        let Some(job) = self.jobs.get(number).filter(|job| job.ended_unseen) else {
            return;
        };
        let Some(request) = job.requests.first().cloned() else {
            return;
        };
        let ended = EndedJob {
            kind: request.kind,
            asked: request.asked,
            ran: job.is_running,
        };
        let outcome = answer.and_then(|body| {
            UnitOutcome::read(&body).map_err(|reason| unreadable("GetAll", &reason))
        });
        let (result, evidence) = match outcome {
            Ok(outcome) => (
                outcome.result_of(ended),
                format!("its unit is {}", outcome.active),
            ),
            Err(error) => ("failed", error.to_string()),
        };
        let line = format!(
            "{} unit {} ended while systemd could not be watched; inferred result: {result} ({evidence})",
            request.method, request.unit
        );
        turn.log(Level::Warn, line);
        self.job_removed(turn, number, result);
    }
}

/// Reads an answer of systemd.
pub(super) fn read_answer<'b, A: ParseArguments<'b>>(
    method: &str,
    body: &'b Body,
) -> Result<A, CallError> {
    body.parse().map_err(|reason| unreadable(method, &reason))
}

/// The error for an answer of systemd that is not what its documentation says.
pub(super) fn unreadable(method: &str, reason: &Malformed) -> CallError {
    let message = format!("systemd's answer to {method} can not be read: {reason}");
    CallError::new(crate::bus::error_name::FAILED, message)
}

impl UnitOutcome {
    /// Reads an `a{sv}`.
    fn read(body: &Body) -> Result<Self, Malformed> {
        let mut outcome = Self::default();
        if body.signature != "a{sv}" {
            return Err(Malformed {
                offset: 0,
                expected: "a dictionary of properties",
            });
        }
        let mut entries = body.reader().array(8)?;
        while !entries.is_at_end() {
            entries.align(8)?;
            let name = entries.str()?;
            let (signature, mut value) = entries.variant()?;
            match (name, signature) {
                ("ActiveState", "s") => value.str()?.clone_into(&mut outcome.active),
                ("Result", "s") => value.str()?.clone_into(&mut outcome.result),
                ("StateChangeTimestampMonotonic", "t") => outcome.changed = Instant(value.u64()?),
                ("ActiveEnterTimestampMonotonic", "t") => {
                    outcome.activated = Instant(value.u64()?);
                }
                ("ConditionTimestampMonotonic", "t") => {
                    outcome.condition_checked = Instant(value.u64()?);
                }
                ("CollectMode", "s") => value.str()?.clone_into(&mut outcome.collect_mode),
                ("ConditionResult", "b") => outcome.condition_met = value.bool()?,
                _ => {}
            }
        }
        Ok(outcome)
    }

    /// The table of this module. systemd's timestamps are of the clock that `asked` is of.
    fn result_of(&self, job: EndedJob) -> &'static str {
        let active = self.active.as_str();
        match (job.kind, active) {
            (JobKind::Start | JobKind::Reload, "active" | "reloading")
            | (JobKind::Stop, "inactive" | "failed") => "done",
            (JobKind::Restart, "active" | "reloading") if self.activated >= job.asked => "done",
            (JobKind::Start | JobKind::Restart | JobKind::Reload, "failed") => "failed",
            (JobKind::Start | JobKind::Restart, "inactive") => self.result_of_inactive(job),
            _ => "canceled",
        }
    }

    fn result_of_inactive(&self, job: EndedJob) -> &'static str {
        let was_unloaded = self.changed == Instant::default();
        if self.condition_checked >= job.asked && !self.condition_met {
            "done"
        } else if was_unloaded && job.ran && self.collect_mode == "inactive-or-failed" {
            "failed"
        } else if was_unloaded && job.ran {
            "done"
        } else if self.changed < job.asked {
            "canceled"
        } else if matches!(self.result.as_str(), "" | "success") {
            "done"
        } else {
            "failed"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Value, body::Entry};

    const ASKED: Instant = Instant(100);

    /// Untouched since long before the job.
    fn unit(active: &str) -> UnitOutcome {
        UnitOutcome {
            changed: Instant(50),
            activated: Instant(50),
            active: active.to_owned(),
            result: "success".to_owned(),
            condition_met: true,
            ..UnitOutcome::default()
        }
    }

    fn unloaded(collect_mode: &str) -> UnitOutcome {
        UnitOutcome {
            changed: Instant(0),
            collect_mode: collect_mode.to_owned(),
            ..unit("inactive")
        }
    }

    fn ran(active: &str) -> UnitOutcome {
        UnitOutcome {
            changed: Instant(150),
            activated: Instant(150),
            condition_checked: Instant(120),
            ..unit(active)
        }
    }

    #[test]
    fn results_follow_the_table() {
        let failed_run = UnitOutcome {
            result: "exit-code".to_owned(),
            ..ran("inactive")
        };
        let unmet = UnitOutcome {
            condition_met: false,
            condition_checked: Instant(120),
            ..unit("inactive")
        };
        for (kind, outcome, result) in [
            (JobKind::Start, unit("active"), "done"),
            (JobKind::Start, unit("reloading"), "done"),
            (JobKind::Start, unit("failed"), "failed"),
            (JobKind::Start, ran("inactive"), "done"),
            (JobKind::Start, failed_run, "failed"),
            (JobKind::Start, unmet, "done"),
            (JobKind::Start, unit("inactive"), "canceled"),
            (JobKind::Start, unit("activating"), "canceled"),
            (JobKind::Start, unit("deactivating"), "canceled"),
            (JobKind::Restart, ran("active"), "done"),
            (JobKind::Restart, unit("active"), "canceled"),
            (JobKind::Restart, ran("failed"), "failed"),
            (JobKind::Stop, unit("inactive"), "done"),
            (JobKind::Stop, unit("failed"), "done"),
            (JobKind::Stop, unit("active"), "canceled"),
            (JobKind::Stop, unit("deactivating"), "canceled"),
            (JobKind::Reload, unit("active"), "done"),
            (JobKind::Reload, unit("failed"), "failed"),
            (JobKind::Reload, unit("inactive"), "canceled"),
        ] {
            let job = EndedJob {
                kind,
                asked: ASKED,
                ran: false,
            };
            assert_eq!(outcome.result_of(job), result, "{kind} {outcome:?}");
        }
    }

    #[test]
    fn an_unloaded_unit_tells_only_that_it_did_not_fail() {
        for (ran, collect_mode, result) in [
            (true, "inactive", "done"),
            (true, "inactive-or-failed", "failed"),
            (false, "inactive", "canceled"),
        ] {
            let job = EndedJob {
                kind: JobKind::Start,
                asked: ASKED,
                ran,
            };
            assert_eq!(unloaded(collect_mode).result_of(job), result);
        }
    }

    #[test]
    fn properties_are_read_whatever_else_there_is() {
        let body = Body::of(&(vec![
            Entry("Names", Value::Strings(vec!["a.service".into()])),
            Entry("ActiveState", Value::Str("inactive".into())),
            Entry("ConditionResult", Value::Bool(true)),
            Entry("StateChangeTimestampMonotonic", Value::U64(150)),
            Entry("ActiveEnterTimestampMonotonic", Value::U64(150)),
            Entry("ConditionTimestampMonotonic", Value::U64(120)),
            Entry("Result", Value::Str("success".into())),
        ],));
        assert_eq!(UnitOutcome::read(&body), Ok(ran("inactive")));
        assert!(UnitOutcome::read(&Body::of(&("x",))).is_err());
    }
}
