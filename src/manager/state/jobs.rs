//! The life of a job: asked for, accepted, running, ended.
//!
//! The client sees `JobNew`, then the answer to its call, then `JobRemoved`, in this order and
//! each exactly once; a job that systemd does not accept is never announced. The loss of the node
//! ends its jobs with `node-lost`. A job itself has no deadline, because its unit may take as long
//! as it is configured to; only systemd's acceptance has.

use std::collections::BTreeMap;

use super::{
    State, emit,
    event::{Action, Call, Client, Object, PeerId, Signal, ToPeer},
    log,
    requests::{Purpose, cut, reply, reply_error},
};
use crate::{
    bus::{Body, CallError, JobKind, ObjectPath, Value, error_name, marshal::Writer, names},
    core::{Instant, Level, Now},
    limits,
};

/// Result of a job whose node was lost.
pub(super) const NODE_LOST: &str = "node-lost";

/// All jobs that have not ended.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    pub(super) running: BTreeMap<u32, Job>,
    /// The last id that was given.
    last_id: u32,
    /// Ids up to this one are marked as used on disk.
    kept: u32,
}

/// One job.
#[derive(Debug)]
pub(super) struct Job {
    /// Index of its node.
    pub(super) node: usize,
    pub(super) unit: String,
    pub(super) kind: JobKind,
    /// The method by which it was asked for.
    pub(super) method: &'static str,
    /// When it was asked for.
    pub(super) asked_at: Instant,
    /// When the agent reported its end.
    pub(super) ended_at: Option<Instant>,
    /// Whether the agent has told how long systemd took.
    pub(super) is_timed: bool,
    /// `waiting` or `running`.
    pub(super) state: &'static str,
    stage: Stage,
}

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    kind: JobKind,
    /// The method of the public interface.
    method: &'static str,
    /// The method of the agent, whose last argument is the job's number.
    agent_method: &'static str,
    unit: String,
    mode: String,
    /// The arguments before the number.
    arguments: Body,
}

impl Wanted {
    /// A job of a unit that is there.
    pub(super) fn of_unit(kind: JobKind, unit: String, mode: String) -> Self {
        Self {
            kind,
            method: kind.method(),
            agent_method: kind.method(),
            arguments: Body::of(&(unit.as_str(), mode.as_str())),
            unit,
            mode,
        }
    }

    /// The start of a unit that the arguments describe.
    ///
    /// `StartTransientUnit` of `BlueChi`'s agents has no place for a job's number, so their job's
    /// end could not be told apart; agents of hirte have a method of their own for it.
    pub(super) const fn of_transient_unit(unit: String, mode: String, arguments: Body) -> Self {
        Self {
            kind: JobKind::Start,
            method: "StartTransientUnit",
            agent_method: "StartTransientUnitJob",
            unit,
            mode,
            arguments,
        }
    }
}

/// The arguments with a number after them.
pub(super) fn with_number(arguments: Body, number: u32) -> Body {
    let mut writer = Writer::with_order(arguments.endian, arguments.bytes.len() + 8);
    writer.raw(1, &arguments.bytes);
    writer.u32(number);
    Body {
        signature: (arguments.signature.into_owned() + "u").into(),
        endian: arguments.endian,
        bytes: writer.into_bytes(),
    }
}

/// How far a job is.
#[derive(Debug)]
enum Stage {
    /// systemd has not accepted it; the client waits for the answer.
    Asked {
        /// `None` when the client has gone.
        call: Option<Call>,
        /// The result, should the job have ended before its acceptance came.
        result: Option<String>,
    },
    /// It was announced.
    Accepted,
}

impl Jobs {
    pub(super) const fn start_after(&mut self, last_id: u32) {
        self.last_id = last_id;
        self.kept = last_id;
    }

    /// The next id; a block of ids is marked as used before the first of them is.
    fn take_id(&mut self, actions: &mut Vec<Action>) -> u32 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.running.contains_key(&self.last_id) {
                break;
            }
        }
        let kept_from = self.kept.saturating_sub(limits::JOB_ID_BLOCK);
        if !(kept_from..=self.kept).contains(&self.last_id) {
            self.kept = self.last_id.saturating_add(limits::JOB_ID_BLOCK - 1);
            actions.push(Action::KeepJobIds(self.kept));
        }
        self.last_id
    }

    /// These callers have gone.
    pub(super) fn forget_calls(&mut self, is_gone: impl Fn(&Client) -> bool) {
        for job in self.running.values_mut() {
            if let Stage::Asked { call, .. } = &mut job.stage {
                call.take_if(|call| is_gone(&call.client));
            }
        }
    }

    /// A job as clients see it: not before it was accepted.
    pub(super) fn announced(&self, id: u32) -> Option<&Job> {
        self.running
            .get(&id)
            .filter(|job| matches!(job.stage, Stage::Accepted))
    }

    /// Ids of the jobs that clients see.
    pub(super) fn announced_ids(&self) -> impl Iterator<Item = u32> + '_ {
        let accepted = |job: &Job| matches!(job.stage, Stage::Accepted);
        self.running
            .iter()
            .filter(move |(_, job)| accepted(job))
            .map(|(id, _)| *id)
    }
}

impl State {
    /// A client asks for a job on a node that is online.
    pub(super) fn queue_job(
        &mut self,
        now: Now,
        call: Call,
        (index, peer): (usize, PeerId),
        wanted: Wanted,
        actions: &mut Vec<Action>,
    ) {
        let name = self.nodes[index].name.clone();
        let on_node = self.nodes[index].jobs;
        if on_node >= limits::MAX_JOBS_PER_NODE {
            let text = format!("Node '{name}' has {on_node} jobs, the most that are allowed");
            reply_error(
                call,
                CallError::new(error_name::LIMITS_EXCEEDED, text),
                actions,
            );
            return;
        }
        for (what, word) in [("unit name", &wanted.unit), ("mode", &wanted.mode)] {
            if word.len() > limits::MAX_NAME {
                let (bytes, most) = (word.len(), limits::MAX_NAME);
                let text = format!("The {what} has {bytes} bytes; the most allowed is {most}");
                reply_error(
                    call,
                    CallError::new(error_name::INVALID_ARGS, text),
                    actions,
                );
                return;
            }
        }
        let id = self.jobs.take_id(actions);
        let Wanted {
            kind,
            method,
            agent_method,
            unit,
            mode,
            arguments,
        } = wanted;
        let request = format!("Job {id}: {method} {unit} on '{name}', mode {mode}");
        self.log_request(&call.client, request, actions);
        let arguments = with_number(arguments, id);
        let stage = Stage::Asked {
            call: Some(call),
            result: None,
        };
        self.nodes[index].jobs += 1;
        self.jobs.running.insert(
            id,
            Job {
                node: index,
                unit,
                kind,
                method,
                asked_at: now.monotonic,
                ended_at: None,
                is_timed: false,
                state: "waiting",
                stage,
            },
        );
        self.counters.jobs_wait(self.jobs.running.len());
        let request = (agent_method, arguments);
        self.request(now, peer, request, Purpose::Job(id), actions);
    }

    /// The agent has answered the request for a job.
    pub(super) fn job_accepted(
        &mut self,
        id: u32,
        answer: Result<(), CallError>,
        actions: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.running.get_mut(&id) else {
            return;
        };
        if let Err(error) = answer {
            let job = self.take_job(id);
            if let Some(Stage::Asked {
                call: Some(call), ..
            }) = job.map(|job| job.stage)
            {
                reply_error(call, error, actions);
            }
            return;
        }
        let stage = std::mem::replace(&mut job.stage, Stage::Accepted);
        let Stage::Asked { call, result } = stage else {
            return;
        };
        emit(actions, Signal::JobNew { id });
        if let Some(call) = call {
            reply(call, Body::of(&(ObjectPath(names::job_path(id)),)), actions);
        }
        if let Some(result) = result {
            self.remove_job(id, result, actions);
        }
    }

    /// The acceptance of a job whose client was already told that it failed.
    pub(super) fn late_acceptance(
        &mut self,
        peer: PeerId,
        id: u32,
        answer: &Result<(), CallError>,
        actions: &mut Vec<Action>,
    ) {
        if answer.is_ok() {
            let text = format!("Job {id} was accepted after its deadline; cancelling it");
            log(actions, Level::Warn, text);
            let arguments = Body::of(&(id,));
            self.send(
                peer,
                ToPeer::Call {
                    method: "JobCancel".to_owned(),
                    arguments,
                },
                actions,
            );
        }
    }

    /// The agent says that a job has ended. Only jobs of its own node are its business.
    pub(super) fn job_done(
        &mut self,
        now: Now,
        peer: PeerId,
        id: u32,
        mut result: String,
        actions: &mut Vec<Action>,
    ) {
        cut(&mut result, limits::MAX_NAME);
        let Some(job) = self.job_of(peer, id, actions) else {
            return;
        };
        job.ended_at.get_or_insert(now.monotonic);
        match &mut job.stage {
            Stage::Asked { result: early, .. } => {
                early.get_or_insert(result);
            }
            Stage::Accepted => self.remove_job(id, result, actions),
        }
    }

    /// The agent says that the state of a job has changed.
    pub(super) fn job_state_changed(
        &mut self,
        peer: PeerId,
        id: u32,
        state: &str,
        actions: &mut Vec<Action>,
    ) {
        let Some(job) = self.job_of(peer, id, actions) else {
            return;
        };
        let state = match state {
            "running" => "running",
            "waiting" => "waiting",
            _ => return,
        };
        if job.state != state {
            job.state = state;
            if matches!(job.stage, Stage::Accepted) {
                let changed = vec![("State".to_owned(), Value::Str(state.to_owned()))];
                emit(
                    actions,
                    Signal::PropertiesChanged {
                        object: Object::Job(id),
                        changed,
                    },
                );
            }
        }
    }

    /// The job `id` if it belongs to the node that `peer` has registered as.
    fn job_of(&mut self, peer: PeerId, id: u32, actions: &mut Vec<Action>) -> Option<&mut Job> {
        let node = self.peers.get(&peer)?.node?;
        let job = self.jobs.running.get_mut(&id)?;
        if job.node == node {
            return Some(job);
        }
        let name = &self.nodes[node].name;
        let text = format!("Node '{name}' spoke of job {id}, which is not its own; ignored");
        log(actions, Level::Warn, text);
        None
    }

    fn take_job(&mut self, id: u32) -> Option<Job> {
        let job = self.jobs.running.remove(&id)?;
        self.nodes[job.node].jobs -= 1;
        Some(job)
    }

    fn remove_job(&mut self, id: u32, result: String, actions: &mut Vec<Action>) {
        if let Some(job) = self.take_job(id) {
            self.metrics.job_ended(id, &job);
            let node = self.nodes[job.node].name.clone();
            let text = format!("Job {id} of '{node}' ended: {} {result}", job.unit);
            log(actions, Level::Debug, text);
            emit(
                actions,
                Signal::JobRemoved {
                    id,
                    node,
                    unit: job.unit,
                    result,
                },
            );
        }
    }

    /// The node is lost: each of its announced jobs ends at once. Those that were not accepted
    /// have ended with their request.
    pub(super) fn end_jobs_of(&mut self, node: usize, actions: &mut Vec<Action>) {
        let lost: Vec<u32> = self
            .jobs
            .running
            .iter()
            .filter(|(_, job)| job.node == node)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.remove_job(id, NODE_LOST.to_owned(), actions);
        }
    }

    /// `Job.Cancel`: the agent cancels it, and `JobRemoved` follows as for any end of a job.
    pub(super) fn cancel_job(&mut self, now: Now, call: Call, id: u32, actions: &mut Vec<Action>) {
        let peer = self
            .jobs
            .announced(id)
            .and_then(|job| self.nodes[job.node].peer);
        let Some(peer) = peer else {
            let text = format!("Job {id} has ended");
            reply_error(
                call,
                CallError::new(error_name::UNKNOWN_OBJECT, text),
                actions,
            );
            return;
        };
        self.log_request(&call.client, format!("Job {id}: Cancel"), actions);
        let arguments = Body::of(&(id,));
        self.request(
            now,
            peer,
            ("JobCancel", arguments),
            Purpose::CancelJob(call),
            actions,
        );
    }

    /// The agent has answered the request to cancel a job.
    pub(super) fn cancel_answered(
        call: Call,
        answer: Result<(), CallError>,
        actions: &mut Vec<Action>,
    ) {
        match answer {
            Ok(()) => reply(call, Body::default(), actions),
            Err(error) => reply_error(call, error, actions),
        }
    }
}
