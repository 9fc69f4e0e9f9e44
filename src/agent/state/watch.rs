//! What the manager watches: its subscriptions, and what it is told of the units.
//!
//! A subscription is to one unit or, as `*`, to all; it lives as long as the connection on which
//! it was made. What is reported follows three rules:
//!
//! - `UnitNew` comes before all else of a unit, and `UnitRemoved` ends it.
//! - A unit that is announced is inactive (dead) until `UnitStateChanged` says otherwise, which
//!   comes only when `ActiveState` or `SubState` has changed.
//! - The reason is `real` for what happened on the node, seen or found out later (after the
//!   connection to systemd was lost, or systemd has loaded its configuration), and `virtual` for
//!   the answer to `Subscribe`, which tells what is.
//!
//! systemd loads a unit for whoever looks at it, and unloads it at once. Where other nodes depend on a
//! unit that is about to be started, that it was unloaded is not told, because they would take it for
//! the end of the attempt; the start loads it again.
//!
//! A list of all units that passes through to the manager is learned from first, so that the
//! manager never knows a state that this module would take for reported later.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    State, Turn,
    manager::Caller,
    requests::Purpose,
    units::{Told, Unit, read_units},
};
use crate::{
    bus::{Body, CallError, error_name, names},
    core::Level,
    limits,
};

/// The subscription to all units.
const EVERY_UNIT: &str = "*";

/// What the manager watches.
#[derive(Debug, Default)]
pub(super) struct Watch {
    every_unit: bool,
    units: BTreeSet<String>,
    /// Watched units that systemd announced without their states, which are to be asked for.
    unknown: BTreeSet<String>,
    /// Whether an answer with such states is awaited.
    is_asking: bool,
    /// Watched units of which it is not told that they were unloaded.
    unloaded: BTreeSet<String>,
}

impl Watch {
    fn covers(&self, unit: &str) -> bool {
        self.every_unit || self.units.contains(unit)
    }

    fn is_empty(&self) -> bool {
        !self.every_unit && self.units.is_empty()
    }

    /// The manager that watched is gone.
    pub(super) fn forget_subscriptions(&mut self) {
        self.every_unit = false;
        self.units.clear();
        self.unknown.clear();
        self.unloaded.clear();
    }

    /// From here on the manager is told of a unit as of others. Returns whether it was not told that
    /// systemd had unloaded it.
    pub(super) fn forget_unloaded(&mut self, unit: &str) -> bool {
        self.unloaded.remove(unit)
    }

    fn forget_unwatched(&mut self) {
        let (every_unit, units) = (self.every_unit, &self.units);
        self.unloaded
            .retain(|unit| every_unit || units.contains(unit));
    }

    /// systemd is gone; the next connection lists all units with their states.
    pub(super) fn forget_questions(&mut self) {
        self.unknown.clear();
        self.is_asking = false;
    }
}

impl State {
    /// The manager watches a unit, or all. What is known is told again at each subscription, also
    /// at a repeated one.
    pub(super) fn subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        unit: String,
    ) -> Result<(), CallError> {
        if unit == EVERY_UNIT {
            self.watch.every_unit = true;
            self.signal(turn, "UnitNew", Body::of(&(EVERY_UNIT, "virtual")));
            let unknown = self.units.without_states().cloned();
            self.watch.unknown.extend(unknown);
        } else {
            let count = self.watch.units.len();
            if count >= limits::MAX_UNITS && !self.watch.units.contains(&unit) {
                let message = format!("{count} units are watched, the most that are allowed");
                return Err(CallError::new(error_name::LIMITS_EXCEEDED, message));
            }
            self.tell_what_is(turn, &unit);
            self.watch.units.insert(unit);
        }
        self.ask_for_states(turn);
        self.reply(turn, caller, Ok(Body::default()));
        Ok(())
    }

    fn tell_what_is(&mut self, turn: &mut Turn<'_>, unit: &str) {
        let Some(known) = self.units.get(unit) else {
            return;
        };
        let state = known
            .states()
            .map(|(active, sub)| Body::of(&(unit, active, sub, "virtual")));
        self.signal(turn, "UnitNew", Body::of(&(unit, "virtual")));
        match state {
            Some(state) => self.signal(turn, "UnitStateChanged", state),
            None => drop(self.watch.unknown.insert(unit.to_owned())),
        }
    }

    /// The manager watches no more.
    pub(super) fn unsubscribe(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        unit: &str,
    ) -> Result<(), CallError> {
        let was_watched = if unit == EVERY_UNIT {
            std::mem::take(&mut self.watch.every_unit)
        } else {
            self.watch.units.remove(unit)
        };
        if !was_watched {
            let message = if unit == EVERY_UNIT {
                "No wildcard subscription active"
            } else {
                "Not subscribed"
            };
            return Err(CallError::new(error_name::FAILED, message));
        }
        self.watch.forget_unwatched();
        self.reply(turn, caller, Ok(Body::default()));
        Ok(())
    }

    /// systemd announces a unit, without its states. After it has loaded its configuration it
    /// announces all of them once more.
    pub(super) fn unit_new(&mut self, turn: &mut Turn<'_>, unit: &str) {
        if self.units.get(unit).is_some() {
            return;
        }
        self.note_unit(turn, unit, Told::default());
        if self.watch.covers(unit) && self.units.get(unit).is_some() {
            if !self.watch.forget_unloaded(unit) {
                self.signal(turn, "UnitNew", Body::of(&(unit, "real")));
            }
            self.watch.unknown.insert(unit.to_owned());
            self.ask_for_states(turn);
        }
    }

    /// systemd has unloaded a unit.
    pub(super) fn unit_removed(&mut self, turn: &mut Turn<'_>, unit: &str) {
        let was_known = self.units.remove(unit);
        self.unit_ended(turn, unit);
        self.watch.unknown.remove(unit);
        if !was_known || !self.watch.covers(unit) {
            return;
        }
        if self.is_about_to_start(unit) {
            self.watch.unloaded.insert(unit.to_owned());
        } else {
            self.signal(turn, "UnitRemoved", Body::of(&(unit,)));
        }
    }

    /// The start for which it was not told that a unit was unloaded is over, or is not wanted any more.
    pub(super) fn tell_that_it_is_unloaded(&mut self, turn: &mut Turn<'_>, unit: &str) {
        if self.watch.forget_unloaded(unit) {
            self.signal(turn, "UnitRemoved", Body::of(&(unit,)));
        }
    }

    /// Properties of a unit have changed, its states perhaps among them.
    pub(super) fn unit_properties(
        &mut self,
        turn: &mut Turn<'_>,
        unit: &str,
        interface: &str,
        changed: &Body,
    ) {
        if interface == names::SYSTEMD_UNIT_INTERFACE {
            match Told::read(changed) {
                Ok(told) => self.unit_told(turn, unit, told),
                Err(reason) => {
                    let line = format!("The properties of {unit} can not be read: {reason}");
                    return turn.log(Level::Warn, line);
                }
            }
        }
        if self.watch.covers(unit) && self.units.get(unit).is_some() {
            match changed.after_strings(&[unit, interface]) {
                Ok(body) => self.signal(turn, "UnitPropertiesChanged", body),
                Err(reason) => {
                    let line = format!("The properties of {unit} can not be read: {reason}");
                    turn.log(Level::Warn, line);
                }
            }
        }
    }

    /// Takes over the states that systemd told of a unit, and reports a change of them.
    fn unit_told(&mut self, turn: &mut Turn<'_>, unit: &str, told: Told<'_>) {
        if told.is_empty() {
            return;
        }
        if self.units.get(unit).is_none() {
            self.unit_new(turn, unit);
        }
        let before = self.units.get(unit).cloned().unwrap_or_default();
        self.note_unit(turn, unit, told);
        let Some(after) = self.units.get(unit) else {
            return;
        };
        if after.states().is_some() {
            self.watch.unknown.remove(unit);
        }
        let has_ended = before.lives() && !after.lives();
        let has_changed = before.states() != after.states();
        if let Some(change) = change(unit, &before, after)
            && self.watch.covers(unit)
        {
            self.signal(turn, "UnitStateChanged", change);
        }
        if has_ended {
            self.unit_ended(turn, unit);
        } else if has_changed {
            self.recover_proxy(turn, unit);
        }
    }

    /// Reports what differs from what was known `earlier`, in the order of the names. systemd
    /// unloads only units that have ended.
    pub(super) fn report_differences(
        &mut self,
        turn: &mut Turn<'_>,
        earlier: &BTreeMap<String, Unit>,
    ) {
        self.find_ended_units(turn, earlier);
        self.recover_proxies(turn);
        self.watch.unknown.clear();
        if self.watch.is_empty() {
            return;
        }
        let present = self.units.names().map(|name| (name, true));
        let gone = earlier
            .keys()
            .filter(|name| self.units.get(name).is_none())
            .map(|name| (name, false));
        let all: BTreeMap<&String, bool> = present.chain(gone).collect();
        let mut signals = Vec::new();
        for (name, is_present) in all {
            if !self.watch.covers(name) {
                continue;
            }
            let before = earlier.get(name);
            let ended = Unit::default();
            let after = match self.units.get(name) {
                Some(unit) => unit,
                None if before.is_some_and(Unit::is_failed) => before.unwrap_or(&ended),
                None => &ended,
            };
            if before.is_none() && !self.watch.forget_unloaded(name) {
                signals.push(("UnitNew", Body::of(&(name.as_str(), "real"))));
            }
            let change = change(name, before.unwrap_or(&Unit::default()), after);
            signals.extend(change.map(|change| ("UnitStateChanged", change)));
            if !is_present {
                signals.push(("UnitRemoved", Body::of(&(name.as_str(),))));
            }
        }
        for (member, body) in signals {
            self.signal(turn, member, body);
        }
    }

    /// A list of all units passes through to the manager.
    pub(super) fn learn_from_list(&mut self, turn: &mut Turn<'_>, list: &Body) {
        if self.watch.is_empty() {
            return;
        }
        // One that can not be read is the manager's to judge.
        if let Ok(listed) = read_units(list) {
            let earlier = self.units.replace(listed);
            self.report_differences(turn, &earlier);
        }
    }

    /// Asks for the states of watched units that were announced without; one question at a time,
    /// so that many new units at once cause few questions. It never makes systemd load a unit.
    fn ask_for_states(&mut self, turn: &mut Turn<'_>) {
        if self.watch.is_asking || self.watch.unknown.is_empty() || !self.systemd.is_connected() {
            return;
        }
        let mut patterns = Vec::new();
        while patterns.len() < limits::MAX_STATES_ASKED
            && let Some(unit) = self.watch.unknown.pop_first()
        {
            patterns.push(unit);
        }
        self.watch.is_asking = true;
        let any_state = Vec::<String>::new();
        let body = Body::of(&(any_state, patterns));
        self.ask_systemd_manager(turn, "ListUnitsByPatterns", body, Purpose::LearnStates);
    }

    /// systemd has told states that were asked for. A unit that is missing is gone again.
    pub(super) fn states_listed(&mut self, turn: &mut Turn<'_>, result: Result<Body, CallError>) {
        self.watch.is_asking = false;
        let listed = result.and_then(|body| {
            let unreadable = super::infer::unreadable;
            read_units(&body).map_err(|reason| unreadable("ListUnitsByPatterns", &reason))
        });
        match listed {
            Ok(listed) => {
                for (name, unit) in listed {
                    self.unit_told(turn, &name, unit.told());
                }
            }
            Err(error) => {
                let line = format!("The states of units are not known before they change: {error}");
                turn.log(Level::Warn, line);
            }
        }
        self.ask_for_states(turn);
    }
}

/// The arguments of `UnitStateChanged`, if there is a change of the states. Where they are not
/// known they count as those of a unit that was just announced.
fn change(unit: &str, before: &Unit, after: &Unit) -> Option<Body> {
    const ANNOUNCED: (&str, &str) = ("inactive", "dead");
    let after = after.states().unwrap_or(ANNOUNCED);
    let is_changed = before.states().unwrap_or(ANNOUNCED) != after;
    is_changed.then(|| Body::of(&(unit, after.0, after.1, "real")))
}
