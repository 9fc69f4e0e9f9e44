//! Calls to agents that wait for an answer. Each ends exactly once: answered, refused, too late,
//! or lost with its node.

use std::collections::BTreeMap;

use super::{
    State,
    event::{Action, Call, Client, PeerId, ToPeer},
    log,
    metrics::UnitTime,
};
use crate::{
    bus::{Body, CallError, error_name, relay},
    core::{Instant, Level, Now},
    limits,
};

/// A call without an answer.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) method: String,
    pub(super) purpose: Purpose,
    deadline: Instant,
}

/// What an answer is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A client waits for it.
    Relay(Call),
    /// One node's part of a list of the units of all nodes.
    List {
        /// The list.
        listing: u64,
        /// Index of the node.
        node: usize,
    },
    /// The units of a node, for those who watch it.
    Watch {
        /// Index of the node.
        node: usize,
        /// Number of the list.
        list: u64,
    },
    /// It tells whether systemd accepted the job.
    Job(u32),
    /// It tells whether the agent could open the stream.
    Stream(u32),
    /// It tells whether the agent could cancel the job; a client waits for that.
    CancelJob(Call),
    /// One of the two times from which a start's duration is computed.
    UnitTime {
        /// The report that it is for.
        report: u64,
        /// Which of the two.
        time: UnitTime,
    },
    /// Nobody waits any more; should the job have been accepted after all, it is cancelled.
    LateJob(u32),
    /// Nobody waits.
    Nobody,
}

/// When a call must have been answered; ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    peer: PeerId,
    serial: u32,
}

impl State {
    /// Calls `method` of the agent `peer`; `purpose` tells what becomes of the answer.
    pub(super) fn request(
        &mut self,
        now: Now,
        peer: PeerId,
        (method, arguments): (&str, Body),
        purpose: Purpose,
        actions: &mut Vec<Action>,
    ) {
        let waiting = self.peers.get(&peer).map_or(0, |peer| peer.pending.len());
        if waiting >= limits::MAX_REQUESTS_PER_NODE {
            let text = format!("The node has {waiting} requests to answer, the most allowed");
            self.fail(
                purpose,
                CallError::new(error_name::LIMITS_EXCEEDED, text),
                actions,
            );
            return;
        }
        let bytes = arguments.bytes.len();
        if bytes > limits::MAX_REQUEST_BODY {
            let most = limits::MAX_REQUEST_BODY;
            let text = format!("The arguments have {bytes} bytes; the most allowed is {most}");
            self.fail(
                purpose,
                CallError::new(error_name::LIMITS_EXCEEDED, text),
                actions,
            );
            return;
        }
        let message = ToPeer::Call {
            method: method.to_owned(),
            arguments,
        };
        let serial = self.send(peer, message, actions);
        let at = now.monotonic + limits::REQUEST;
        if let Some(state) = self.peers.get_mut(&peer) {
            let pending = Pending {
                method: method.to_owned(),
                purpose,
                deadline: at,
            };
            state.pending.insert(serial, pending);
            self.counters.requests_wait(state.pending.len());
            self.deadlines.insert(Deadline { at, peer, serial });
        }
    }

    /// An answer to one of our calls.
    pub(super) fn answered(
        &mut self,
        id: PeerId,
        serial: u32,
        answer: Result<Body, CallError>,
        actions: &mut Vec<Action>,
    ) {
        if let Some(node) = self.peers.get(&id).and_then(|peer| peer.node) {
            self.proxies.target_answered(node, serial);
        }
        if self.is_pong(id, serial) {
            return;
        }
        let pending = self
            .peers
            .get_mut(&id)
            .and_then(|peer| peer.pending.remove(&serial));
        let Some(Pending {
            method,
            purpose,
            deadline: at,
        }) = pending
        else {
            return self.proxy_answered(id, serial, answer, actions);
        };
        self.deadlines.remove(&Deadline {
            at,
            peer: id,
            serial,
        });
        let answer = answer.map_err(|error| self.explain(id, &method, error));
        match purpose {
            Purpose::Relay(call) => finish_relay(call, &method, answer, actions),
            Purpose::List { listing, node } => self.listed(listing, node, answer, actions),
            Purpose::Watch { node, list } => {
                let answer = answer.and_then(|body| expect_signature(&method, body));
                self.watched_units_listed((node, list), answer, actions);
            }
            Purpose::Job(job) => self.job_accepted(job, answer.map(drop), actions),
            Purpose::Stream(id) => self.stream_answered(id, answer.map(drop), actions),
            Purpose::CancelJob(call) => Self::cancel_answered(call, answer.map(drop), actions),
            Purpose::UnitTime { report, time } => self.unit_time(report, time, answer, actions),
            Purpose::LateJob(job) => self.late_acceptance(id, job, &answer.map(drop), actions),
            Purpose::Nobody => {}
        }
    }

    /// Older agents, and those of older systemds, do not have every method: the caller of ours
    /// must not take this for an unknown method of the manager.
    fn explain(&self, id: PeerId, method: &str, error: CallError) -> CallError {
        if error.name != error_name::UNKNOWN_METHOD {
            return error;
        }
        let node = self.peers.get(&id).and_then(|peer| peer.node);
        let node = node.map_or("", |index| self.nodes[index].name.as_str());
        let text = format!("Node '{node}' does not offer {method}: {}", error.message);
        CallError::new(error_name::NOT_SUPPORTED, text)
    }

    /// The node is gone, and with it the answer.
    pub(super) fn request_lost(
        &mut self,
        peer: PeerId,
        (serial, pending): (u32, Pending),
        node: &str,
        actions: &mut Vec<Action>,
    ) {
        self.deadlines.remove(&Deadline {
            at: pending.deadline,
            peer,
            serial,
        });
        let error = CallError::new(
            error_name::OFFLINE,
            format!("Node '{node}' was lost before it answered"),
        );
        self.fail(pending.purpose, error, actions);
    }

    fn fail(&mut self, purpose: Purpose, error: CallError, actions: &mut Vec<Action>) {
        match purpose {
            Purpose::Relay(call) | Purpose::CancelJob(call) => reply_error(call, error, actions),
            Purpose::List { listing, node } => self.listed(listing, node, Err(error), actions),
            Purpose::Watch { node, list } => {
                self.watched_units_listed((node, list), Err(error), actions);
            }
            Purpose::Job(job) => self.job_accepted(job, Err(error), actions),
            Purpose::Stream(id) => self.stream_answered(id, Err(error), actions),
            Purpose::UnitTime { report, time } => {
                self.unit_time(report, time, Err(error), actions);
            }
            Purpose::LateJob(_) | Purpose::Nobody => {}
        }
    }

    /// Ends every call whose time is over.
    pub(super) fn expire_requests(&mut self, now: Now, actions: &mut Vec<Action>) {
        while let Some(deadline) = self.deadlines.first().copied() {
            if deadline.at > now.monotonic {
                break;
            }
            self.deadlines.pop_first();
            self.expire(deadline, actions);
        }
    }

    fn expire(&mut self, deadline: Deadline, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&deadline.peer) else {
            return;
        };
        let Some(Pending {
            method, purpose, ..
        }) = peer.pending.remove(&deadline.serial)
        else {
            return;
        };
        // A job that is accepted late must be cancelled; other late answers mean nothing.
        if let Purpose::Job(job) = purpose {
            let late = Pending {
                method: method.clone(),
                purpose: Purpose::LateJob(job),
                deadline: deadline.at,
            };
            peer.pending.insert(deadline.serial, late);
            forget_oldest_late_job(&mut peer.pending);
        }
        let node = peer
            .node
            .map_or("", |index| self.nodes[index].name.as_str());
        let text = format!(
            "Node '{node}' did not answer {method} within {} s",
            limits::REQUEST.as_secs()
        );
        log(actions, Level::Warn, text.clone());
        self.fail(purpose, CallError::new(error_name::TIMEOUT, text), actions);
    }

    /// These callers have gone: what they asked for goes on, and nobody hears of it.
    pub(super) fn forget_calls(&mut self, is_gone: impl Fn(&Client) -> bool) {
        for peer in self.peers.values_mut() {
            for pending in peer.pending.values_mut() {
                if let Purpose::Relay(call) | Purpose::CancelJob(call) = &pending.purpose
                    && is_gone(&call.client)
                {
                    pending.purpose = Purpose::Nobody;
                }
            }
        }
        self.jobs.forget_calls(&is_gone);
        self.listings.forget_calls(&is_gone);
    }
}

/// An agent that lives and never answers must not fill the places of its node with what is late.
fn forget_oldest_late_job(pending: &mut BTreeMap<u32, Pending>) {
    let is_late = |call: &Pending| matches!(call.purpose, Purpose::LateJob(_));
    if pending.values().filter(|call| is_late(call)).count() > limits::MAX_LATE_JOBS {
        let oldest = pending.iter().find(|(_, call)| is_late(call));
        if let Some(serial) = oldest.map(|(serial, _)| *serial) {
            pending.remove(&serial);
        }
    }
}

fn finish_relay(
    call: Call,
    method: &str,
    answer: Result<Body, CallError>,
    actions: &mut Vec<Action>,
) {
    match answer.and_then(|body| expect_signature(method, body)) {
        Ok(body) => reply(call, body, actions),
        Err(error) => reply_error(call, error, actions),
    }
}

/// An agent's answer must be what the method promises to clients.
pub(super) fn expect_signature(method: &str, body: Body) -> Result<Body, CallError> {
    let expected = relay::relay_method(method).map_or("", |method| method.result);
    if body.signature == expected {
        return Ok(body);
    }
    Err(CallError::new(
        error_name::FAILED,
        format!(
            "The agent answered {method} with values of type '{}', expected '{expected}'",
            body.signature
        ),
    ))
}

/// Answers a client, or tells it that the answer is larger than a bus carries.
pub(super) fn reply(call: Call, body: Body, actions: &mut Vec<Action>) {
    if body.bytes.len() > limits::MAX_BUS_BODY {
        reply_error(call, too_large(body.bytes.len()), actions);
    } else if call.expects_reply {
        actions.push(Action::Reply { call, body });
    }
}

pub(super) fn too_large(bytes: usize) -> CallError {
    CallError::new(
        error_name::LIMITS_EXCEEDED,
        format!(
            "The answer would have at least {bytes} bytes; a message to the bus may have {}",
            limits::MAX_BUS_BODY
        ),
    )
}

/// Refuses a client's call. The text may come from an agent and is cut to a sentence's length.
pub(super) fn reply_error(call: Call, mut error: CallError, actions: &mut Vec<Action>) {
    cut(&mut error.message, limits::MAX_ERROR_TEXT);
    if call.expects_reply {
        actions.push(Action::ReplyError { call, error });
    }
}

/// Shortens `text` to at most `bytes` bytes, at the end of a character.
pub(super) fn cut(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
}
