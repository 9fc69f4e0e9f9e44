//! Units that the agent itself starts and stops: what systemd can not be told now it is told when
//! it is back.

use std::collections::BTreeMap;

use super::{State, Turn, jobs::accepted_number, requests::Purpose};
use crate::{
    bus::{Body, CallError, JobKind},
    core::Level,
    limits,
};

/// What systemd says where a unit that is to be stopped is not even loaded.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// What was ordered, until it is done.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// The latest order for each unit, until systemd has ended its job.
    by_unit: BTreeMap<String, Order>,
    last_number: u32,
}

#[derive(Debug)]
struct Order {
    number: u32,
    kind: JobKind,
    /// systemd's number of the job, once it has one.
    job: Option<u32>,
}

impl Orders {
    /// The unit whose present order this is.
    fn present(&mut self, unit: &str, number: u32) -> Option<&mut Order> {
        let order = self.by_unit.get_mut(unit)?;
        (order.number == number).then_some(order)
    }

    /// Whether a unit is to be stopped and has not been yet.
    pub(super) fn is_stopping(&self, unit: &str) -> bool {
        self.is_ordered(unit, JobKind::Stop)
    }

    /// Whether a unit is to be started and has not been yet.
    pub(super) fn is_starting(&self, unit: &str) -> bool {
        self.is_ordered(unit, JobKind::Start)
    }

    fn is_ordered(&self, unit: &str, kind: JobKind) -> bool {
        let order = self.by_unit.get(unit);
        order.is_some_and(|order| order.kind == kind)
    }
}

impl State {
    /// Has a unit started or stopped; replaces an earlier order for it.
    pub(super) fn order(&mut self, turn: &mut Turn<'_>, unit: &str, kind: JobKind) {
        let is_new = !self.orders.by_unit.contains_key(unit);
        if is_new && self.orders.by_unit.len() >= limits::MAX_ORDERS {
            let line = format!("Not able to {kind} {unit}: too much else is to be done first");
            return turn.log(Level::Warn, line);
        }
        self.orders.last_number = self.orders.last_number.wrapping_add(1);
        let number = self.orders.last_number;
        let job = None;
        let order = Order { number, kind, job };
        self.orders.by_unit.insert(unit.to_owned(), order);
        if self.systemd.is_connected() {
            self.send_order(turn, unit.to_owned(), number, kind);
        }
    }

    fn send_order(&mut self, turn: &mut Turn<'_>, unit: String, number: u32, kind: JobKind) {
        let body = Body::of(&(unit.as_str(), "replace"));
        let purpose = Purpose::Order { unit, number };
        self.ask_systemd_manager(turn, kind.method(), body, purpose);
    }

    /// systemd is there (again): it hears of all that is not done.
    pub(super) fn send_orders(&mut self, turn: &mut Turn<'_>) {
        let all = self.orders.by_unit.iter_mut();
        let orders: Vec<_> = all
            .map(|(unit, order)| {
                order.job = None;
                (unit.clone(), order.number, order.kind)
            })
            .collect();
        for (unit, number, kind) in orders {
            self.send_order(turn, unit, number, kind);
        }
    }

    /// systemd has accepted an order, or refused it.
    pub(super) fn order_answered(
        &mut self,
        turn: &mut Turn<'_>,
        unit: &str,
        number: u32,
        result: Result<Body, CallError>,
    ) {
        let Some(order) = self.orders.present(unit, number) else {
            return;
        };
        let kind = order.kind;
        match result.and_then(|body| accepted_number(&body)) {
            Ok(job) => order.job = Some(job),
            Err(error) => {
                self.orders.by_unit.remove(unit);
                if kind == JobKind::Start {
                    self.order_failed(turn, unit, &error.to_string());
                } else if error.name != NO_SUCH_UNIT {
                    turn.log(Level::Warn, format!("Failed to stop {unit}: {error}"));
                }
            }
        }
    }

    /// A job of systemd has ended, perhaps that of an order.
    pub(super) fn order_ended(&mut self, turn: &mut Turn<'_>, job: u32, result: &str) {
        let mut all = self.orders.by_unit.iter();
        let found = all.find(|(_, order)| order.job == Some(job));
        let Some((unit, kind)) = found.map(|(unit, order)| (unit.clone(), order.kind)) else {
            return;
        };
        self.orders.by_unit.remove(&unit);
        if result == "done" {
            return self.dependency_started(turn, &unit);
        }
        if kind == JobKind::Start {
            self.order_failed(turn, &unit, result);
        } else {
            turn.log(Level::Warn, format!("Failed to stop {unit}: {result}"));
            self.recover_proxy(turn, &unit);
        }
    }

    fn order_failed(&mut self, turn: &mut Turn<'_>, unit: &str, why: &str) {
        turn.log(Level::Warn, format!("Failed to start {unit}: {why}"));
        self.dependency_failed(turn, unit);
    }
}
