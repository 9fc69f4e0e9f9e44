//! The manager's place on the bus: attempts, loss and congestion.

use super::{
    State,
    event::{Action, Client},
    log,
};
use crate::{
    core::{Instant, Level, Now, retry_delay},
    limits,
};

/// Where we stand with the bus.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bus {
    /// An attempt is under way; it has failed if it takes until then.
    Attaching(Instant),
    /// We have our name.
    Attached,
    /// The next attempt comes at this time.
    Waiting(Instant),
}

impl State {
    pub(super) fn attach_bus(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.bus = Bus::Attaching(now.monotonic + limits::BUS_ATTACH);
        actions.push(Action::AttachBus);
    }

    pub(super) fn bus_attached(&mut self, actions: &mut Vec<Action>) {
        self.bus = Bus::Attached;
        self.bus_attempts = 0;
        log(
            actions,
            Level::Info,
            "Acquired the bus name org.containers.hirte",
        );
        self.become_ready(actions);
    }

    pub(super) fn bus_lost(&mut self, now: Now, reason: &str, actions: &mut Vec<Action>) {
        if self.bus == Bus::Attached || self.bus_attempts == 0 {
            log(
                actions,
                Level::Warn,
                format!("No connection to the bus: {reason}; trying again"),
            );
        }
        let (first, longest) = (limits::BUS_FIRST_RETRY, limits::BUS_LONGEST_RETRY);
        let wait = retry_delay(self.bus_attempts, first, longest);
        self.bus_attempts = self.bus_attempts.saturating_add(1);
        self.bus = Bus::Waiting(now.monotonic + wait);
        // Nobody is there to be answered. Clients with a private connection stay.
        self.clients.forget_all(actions);
        self.forget_calls(Client::is_on_bus);
        self.end_monitors_on_bus(actions);
        self.end_streams_of(Client::is_on_bus, actions);
        if self.bus_congested {
            self.bus_is_congested(false, actions);
        }
        self.become_ready(actions);
    }

    pub(super) fn bus_is_congested(&mut self, is_congested: bool, actions: &mut Vec<Action>) {
        self.bus_congested = is_congested;
        if !is_congested {
            self.bus_relieved(actions);
        }
    }

    pub(super) fn bus_name_refused(name: &str, reason: &str, actions: &mut Vec<Action>) {
        let text = format!("Failed to acquire the bus name {name}: {reason}");
        log(actions, Level::Error, text);
        actions.push(Action::Exit { status: 1 });
    }
}
