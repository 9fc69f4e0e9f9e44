//! How long jobs and starts take, for whoever asked to be told.
//!
//! On the wire the agent's figure of a job comes before `JobRemoved`, and ours of a start after
//! it: the two times of the unit are asked of the node when the job has ended.

use std::collections::BTreeMap;

use super::{
    State, emit,
    event::{Action, Call, PeerId, Signal},
    jobs::Job,
    requests::{Purpose, expect_signature, reply, reply_error},
};
use crate::{
    bus::{Body, CallError, JobKind, error_name, names},
    core::Now,
};

/// What is measured.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    is_enabled: bool,
    /// Starts that ended in this event, whose times are to be asked for.
    ended: Vec<Report>,
    /// Those whose times were asked for.
    asked: BTreeMap<u64, Report>,
    next: u64,
}

/// A start that has ended.
#[derive(Debug)]
struct Report {
    /// Index of the node.
    node: usize,
    /// The job.
    id: u32,
    unit: String,
    job_us: u64,
    /// When the unit left the inactive state and when it became active, once told.
    left_inactive: Option<u64>,
    became_active: Option<u64>,
    /// Answers that are awaited.
    waiting: u8,
}

/// The two times of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitTime {
    LeftInactive,
    BecameActive,
}

impl UnitTime {
    const BOTH: [Self; 2] = [Self::LeftInactive, Self::BecameActive];

    /// systemd's property (org.freedesktop.systemd1(5), microseconds of `CLOCK_MONOTONIC`).
    const fn property(self) -> &'static str {
        match self {
            Self::LeftInactive => "InactiveExitTimestampMonotonic",
            Self::BecameActive => "ActiveEnterTimestampMonotonic",
        }
    }
}

impl Metrics {
    pub(super) const fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// A job ended. Only of those that the agent reported the time is known.
    pub(super) fn job_ended(&mut self, id: u32, job: &Job) {
        let Some(ended_at) = job.ended_at else {
            return;
        };
        if self.is_enabled && job.kind == JobKind::Start {
            let took = ended_at.since(job.asked_at).as_micros();
            self.ended.push(Report {
                node: job.node,
                id,
                unit: job.unit.clone(),
                job_us: u64::try_from(took).unwrap_or(u64::MAX),
                left_inactive: None,
                became_active: None,
                waiting: 2,
            });
        }
    }
}

impl Report {
    /// How long the unit took to become active; 0 if it did not.
    fn unit_us(&self) -> u64 {
        let times = self.left_inactive.zip(self.became_active);
        times.map_or(0, |(left, active)| active.saturating_sub(left))
    }
}

impl State {
    /// `EnableMetrics` and `DisableMetrics`
    pub(super) fn set_metrics(&mut self, call: Call, enabled: bool, actions: &mut Vec<Action>) {
        let word = if enabled { "enabled" } else { "disabled" };
        if self.metrics.is_enabled == enabled {
            let text = format!("Metrics already {word}");
            let error = CallError::new(error_name::INCONSISTENT_MESSAGE, text);
            reply_error(call, error, actions);
            return;
        }
        self.log_request(&call.client, format!("Metrics {word}"), actions);
        self.metrics.is_enabled = enabled;
        self.metrics.asked.clear();
        let method = if enabled {
            "EnableMetrics"
        } else {
            "DisableMetrics"
        };
        let peers: Vec<PeerId> = self.nodes.iter().filter_map(|node| node.peer).collect();
        for peer in peers {
            self.command(peer, method, actions);
        }
        reply(call, Body::default(), actions);
    }

    /// A node tells how long its systemd took for a job. Each job that it has is timed once.
    pub(super) fn job_time(
        &mut self,
        peer: PeerId,
        unit: String,
        method: String,
        took_us: u64,
        actions: &mut Vec<Action>,
    ) {
        let node = self.peers.get(&peer).and_then(|peer| peer.node);
        let Some(node) = node.filter(|_| self.metrics.is_enabled) else {
            return;
        };
        let is_meant = |job: &&mut Job| {
            job.node == node && job.unit == unit && job.method == method && !job.is_timed
        };
        if let Some(job) = self.jobs.running.values_mut().find(is_meant) {
            job.is_timed = true;
            let node = self.nodes[node].name.clone();
            let signal = Signal::AgentJobMetrics {
                node,
                unit,
                method,
                took_us,
            };
            emit(actions, signal);
        }
    }

    /// Asks for the times of the units whose start has ended in this event.
    pub(super) fn ask_unit_times(&mut self, now: Now, actions: &mut Vec<Action>) {
        for ended in std::mem::take(&mut self.metrics.ended) {
            let Some(peer) = self.nodes[ended.node].peer else {
                continue;
            };
            let unit = ended.unit.clone();
            let report = self.metrics.next;
            self.metrics.next += 1;
            self.metrics.asked.insert(report, ended);
            for time in UnitTime::BOTH {
                let interface = names::SYSTEMD_UNIT_INTERFACE;
                let arguments = Body::of(&(unit.as_str(), interface, time.property()));
                let request = ("GetUnitProperty", arguments);
                let purpose = Purpose::UnitTime { report, time };
                self.request(now, peer, request, purpose, actions);
            }
        }
    }

    /// One of the two times has come, or can not be had.
    pub(super) fn unit_time(
        &mut self,
        id: u64,
        time: UnitTime,
        answer: Result<Body, CallError>,
        actions: &mut Vec<Action>,
    ) {
        let Some(report) = self.metrics.asked.get_mut(&id) else {
            return;
        };
        let answer = answer.and_then(|body| expect_signature("GetUnitProperty", body));
        let told = answer.ok().and_then(|body| read_time(&body));
        match time {
            UnitTime::LeftInactive => report.left_inactive = told,
            UnitTime::BecameActive => report.became_active = told,
        }
        report.waiting -= 1;
        if report.waiting == 0
            && let Some(report) = self.metrics.asked.remove(&id)
        {
            let signal = Signal::StartUnitJobMetrics {
                node: self.nodes[report.node].name.clone(),
                id: report.id,
                job_us: report.job_us,
                unit_us: report.unit_us(),
                unit: report.unit,
            };
            emit(actions, signal);
        }
    }
}

/// A variant with a `t`.
fn read_time(body: &Body) -> Option<u64> {
    let (signature, mut value) = body.reader().variant().ok()?;
    (signature == "t").then(|| value.u64().ok()).flatten()
}
