//! What happened how often, and how much waited at once: so that a user sees load and trouble.
//!
//! Counted is what comes in and what goes out, so that no decision is mixed with its count.

use super::event::{Action, Event, QueueHighWater, Signal};
use crate::bus::{Value, body::Entry, error_name};

/// The properties of `org.containers.hirte.Counters`, since the manager started.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: u64,
    requests_refused: u64,
    requests_timed_out: u64,
    requests_over_limit: u64,
    jobs: u64,
    jobs_failed: u64,
    jobs_lost: u64,
    registrations: u64,
    registrations_refused: u64,
    reconnects: u64,
    disconnects: u64,
    peers_dropped: u64,
    jobs_high_water: u64,
    node_requests_high_water: u64,
    queues: QueueHighWater,
    /// A manager that stops closes connections that are not at fault.
    is_stopping: bool,
}

fn raise(mark: &mut u64, count: usize) {
    *mark = (*mark).max(u64::try_from(count).unwrap_or(u64::MAX));
}

impl Counters {
    pub(super) fn count_event(&mut self, event: &Event) {
        match event {
            Event::Call { .. } => self.requests += 1,
            Event::PeerDropped { .. } => self.peers_dropped += 1,
            Event::Stop => self.is_stopping = true,
            _ => {}
        }
    }

    pub(super) fn count_actions(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::ReplyError { error, .. } => {
                    self.requests_refused += 1;
                    self.requests_timed_out += u64::from(error.name == error_name::TIMEOUT);
                    self.requests_over_limit +=
                        u64::from(error.name == error_name::LIMITS_EXCEEDED);
                }
                Action::Emit(Signal::JobNew { .. }) => self.jobs += 1,
                Action::Emit(Signal::JobRemoved { result, .. }) => {
                    self.jobs_failed += u64::from(result != "done");
                    self.jobs_lost += u64::from(result == super::jobs::NODE_LOST);
                }
                Action::Close(_) if !self.is_stopping => self.peers_dropped += 1,
                _ => {}
            }
        }
    }

    /// A node has registered, for the first time or once more.
    pub(super) fn registered(&mut self, once_more: bool) {
        self.registrations += 1;
        self.reconnects += u64::from(once_more);
    }

    pub(super) const fn registration_refused(&mut self) {
        self.registrations_refused += 1;
    }

    pub(super) const fn node_lost(&mut self) {
        self.disconnects += 1;
    }

    /// So many requests to one node have no answer.
    pub(super) fn requests_wait(&mut self, count: usize) {
        raise(&mut self.node_requests_high_water, count);
    }

    /// So many jobs have not ended.
    pub(super) fn jobs_wait(&mut self, count: usize) {
        raise(&mut self.jobs_high_water, count);
    }

    pub(super) const fn queues(&mut self, marks: QueueHighWater) {
        self.queues = marks;
    }

    /// In the order of the description.
    pub(super) fn properties(&self) -> Vec<Entry<&'static str, Value>> {
        [
            ("Requests", self.requests),
            ("RequestsRefused", self.requests_refused),
            ("RequestsTimedOut", self.requests_timed_out),
            ("RequestsOverLimit", self.requests_over_limit),
            ("Jobs", self.jobs),
            ("JobsFailed", self.jobs_failed),
            ("JobsLost", self.jobs_lost),
            ("Registrations", self.registrations),
            ("RegistrationsRefused", self.registrations_refused),
            ("Reconnects", self.reconnects),
            ("Disconnects", self.disconnects),
            ("PeersDropped", self.peers_dropped),
            ("JobsHighWater", self.jobs_high_water),
            ("NodeRequestsHighWater", self.node_requests_high_water),
            ("AgentQueueHighWater", self.queues.agent_bytes),
            ("BusQueueHighWater", self.queues.bus_bytes),
            ("EventQueueHighWater", self.queues.events),
        ]
        .into_iter()
        .map(|(name, count)| Entry(name, Value::U64(count)))
        .collect()
    }
}
