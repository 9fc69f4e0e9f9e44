//! Heartbeats to the nodes: an agent need not ask a manager that sends them.

use super::{
    State,
    event::{Action, PeerId, ToPeer},
};
use crate::{
    core::{Instant, Now},
    limits,
};

impl State {
    /// When a heartbeat needs an alarm of its own: only intervals shorter than the tick do, others
    /// are served with it.
    pub(super) fn heartbeat_timer(&self) -> Option<Instant> {
        let interval = self.settings.heartbeat_interval?;
        (interval < limits::TICK && self.online > 0).then_some(self.heartbeat_due)
    }

    /// Sends a heartbeat to every node if one is due. The next is due an interval after this one
    /// was, so that lateness does not add up.
    pub(super) fn heartbeat_if_due(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Some(interval) = self.settings.heartbeat_interval else {
            return;
        };
        if now.monotonic < self.heartbeat_due {
            return;
        }
        let next = self.heartbeat_due + interval;
        self.heartbeat_due = if next > now.monotonic {
            next
        } else {
            now.monotonic + interval
        };
        let nodes: Vec<PeerId> = self.nodes.iter().filter_map(|node| node.peer).collect();
        for peer in nodes {
            self.send(peer, ToPeer::Heartbeat, actions);
        }
    }
}
