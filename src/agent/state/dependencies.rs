//! Units of this node on which other nodes depend.
//!
//! The manager wants such a unit kept by `hirte-dep@UNIT.service`, which pulls it in and goes with
//! it (`BindsTo=`). What it wants it says anew on each connection, before it answers `Register` or,
//! where it has restarted itself, as soon as the other nodes have told it. So what nobody has asked
//! for some time after the registration is a remainder, and is stopped.

use std::collections::BTreeSet;

use super::{State, Timer, Turn, manager::Caller, target::SERVICE, units::Unit};
use crate::{
    bus::{Body, CallError, JobKind, error_name},
    core::Level,
    limits,
};

/// What the names of the units that keep others begin with.
const PREFIX: &str = "hirte-dep@";

/// The units on which others depend.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    /// The manager of the present connection wants them kept.
    wanted: BTreeSet<String>,
    /// An earlier connection's manager, or agent, has had them kept, and nobody has asked for them
    /// since.
    kept: BTreeSet<String>,
    /// They were in either set when their keepers ended. Who asks for one on a later connection is
    /// told of that end: a unit that was stopped while nobody could hear of it, or perhaps did not, is
    /// not started again.
    ended: BTreeSet<String>,
}

impl Dependencies {
    /// The manager that wanted them is gone; they are kept until another one is there.
    pub(super) fn forget(&mut self) {
        for unit in std::mem::take(&mut self.wanted) {
            if !self.ended.contains(&unit) {
                self.keep(unit);
            }
        }
    }

    fn keep(&mut self, unit: String) {
        if self.kept.len() < limits::MAX_DEPENDENCIES {
            self.kept.insert(unit);
        }
    }

    /// The units that keep others.
    pub(super) fn keepers(&self) -> impl Iterator<Item = String> {
        let units = self.wanted.iter().chain(&self.kept);
        units.filter_map(|unit| keeper(unit).ok())
    }
}

impl State {
    /// `StartDep`: other nodes depend on a unit.
    pub(super) fn start_dependency(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        unit: &str,
    ) -> Result<(), CallError> {
        let keeper = keeper(unit)?;
        let wanted = &mut self.dependencies.wanted;
        if wanted.len() >= limits::MAX_DEPENDENCIES && !wanted.contains(unit) {
            let text = format!("Other nodes depend on {} units already", wanted.len());
            return Err(CallError::new(error_name::LIMITS_EXCEEDED, text));
        }
        let is_first = wanted.insert(unit.to_owned());
        self.dependencies.kept.remove(unit);
        self.reply(turn, caller, Ok(Body::default()));
        let has_ended = self.dependencies.ended.remove(unit) && is_first;
        // One whose state is not known is started: that changes nothing if it lives.
        let is_over = |unit: &Unit| unit.states().is_some() && !unit.lives();
        if has_ended && self.units.get(unit).is_none_or(is_over) {
            let line = format!("{unit}, on which another node depends, has ended meanwhile");
            turn.log(Level::Info, line);
            self.tell_that_it_is_inactive(turn, unit);
        } else {
            turn.log(Level::Info, format!("Another node depends on {unit}"));
            self.order(turn, &keeper, JobKind::Start);
        }
        Ok(())
    }

    /// `StopDep`: no other node depends on a unit.
    pub(super) fn stop_dependency(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        unit: &str,
    ) -> Result<(), CallError> {
        let keeper = keeper(unit)?;
        turn.log(Level::Info, format!("No other node depends on {unit}"));
        let Dependencies {
            wanted,
            kept,
            ended,
        } = &mut self.dependencies;
        for units in [wanted, kept, ended] {
            units.remove(unit);
        }
        self.order(turn, &keeper, JobKind::Stop);
        self.tell_that_it_is_unloaded(turn, unit);
        self.reply(turn, caller, Ok(Body::default()));
        Ok(())
    }

    /// Whether other nodes depend on a unit that systemd is to start and has not started yet.
    pub(super) fn is_about_to_start(&self, unit: &str) -> bool {
        let is_wanted = self.dependencies.wanted.contains(unit);
        is_wanted && keeper(unit).is_ok_and(|keeper| self.orders.is_starting(&keeper))
    }

    /// A unit that keeps another was started (or stopped).
    pub(super) fn dependency_started(&mut self, turn: &mut Turn<'_>, keeper: &str) {
        if let Some(unit) = kept(keeper) {
            self.tell_that_it_is_unloaded(turn, &unit);
        }
    }

    /// A unit that keeps another could not be started. Where the other has not even tried to start
    /// there is no change that would tell those who wait for it: it is told as what it is.
    pub(super) fn dependency_failed(&mut self, turn: &mut Turn<'_>, keeper: &str) {
        let Some(unit) = kept(keeper).filter(|unit| self.dependencies.wanted.contains(unit)) else {
            return;
        };
        self.tell_that_it_is_inactive(turn, &unit);
    }

    /// Tells the state of a unit that does not live; nothing of one that does.
    fn tell_that_it_is_inactive(&mut self, turn: &mut Turn<'_>, unit: &str) {
        let known = self.units.get(unit);
        let (active, sub) = known.and_then(Unit::states).unwrap_or(("inactive", "dead"));
        if !matches!(active, "inactive" | "failed") {
            return;
        }
        let is_loaded = known.is_some();
        let state = Body::of(&(unit, active, sub, "real"));
        let is_thought_loaded = self.watch.forget_unloaded(unit);
        if !is_loaded && !is_thought_loaded {
            self.signal(turn, "UnitNew", Body::of(&(unit, "real")));
        }
        self.signal(turn, "UnitStateChanged", state);
        if !is_loaded {
            self.signal(turn, "UnitRemoved", Body::of(&(unit,)));
        }
    }

    /// A unit has ended. If it kept another, that is remembered.
    pub(super) fn keeper_ended(&mut self, keeper: &str) {
        let Some(unit) = kept(keeper) else {
            return;
        };
        let Dependencies {
            wanted,
            kept,
            ended,
        } = &mut self.dependencies;
        if (kept.remove(&unit) || wanted.contains(&unit)) && ended.len() < limits::MAX_DEPENDENCIES
        {
            ended.insert(unit);
        }
    }

    /// After a start of the agent: the units that are kept.
    pub(super) fn recover_dependencies(&mut self) {
        let live = self.live_keepers();
        for unit in live.iter().filter_map(|keeper| kept(keeper)) {
            self.dependencies.keep(unit);
        }
    }

    fn live_keepers(&self) -> Vec<String> {
        let lives = |name: &&String| self.units.get(name).is_some_and(Unit::lives);
        let keepers = self.units.names().filter(|name| kept(name).is_some());
        keepers.filter(lives).cloned().collect()
    }

    /// Stops what was started for nodes that do not depend on it any more.
    pub(super) fn stop_remainders(&mut self, turn: &mut Turn<'_>) {
        if !self.systemd.is_connected() {
            return self.await_dependencies(turn);
        }
        let mut remainders = self.live_keepers();
        let Dependencies {
            wanted,
            kept: unasked,
            ended,
        } = &mut self.dependencies;
        unasked.clear();
        ended.retain(|unit| wanted.contains(unit));
        remainders.retain(|keeper| kept(keeper).is_none_or(|unit| !wanted.contains(&unit)));
        for keeper in remainders {
            let line = format!("Stopping {keeper}, because no other node depends on it");
            turn.log(Level::Info, line);
            self.order(turn, &keeper, JobKind::Stop);
        }
    }

    /// Gives the manager time to tell what it wants.
    pub(super) fn await_dependencies(&mut self, turn: &mut Turn<'_>) {
        let end = turn.at() + limits::DEPENDENCY_GRACE;
        self.timers.set(Timer::Remainders, end);
    }
}

/// The unit that keeps another. Names stay escaped as they are.
fn keeper(unit: &str) -> Result<String, CallError> {
    let instance = unit.strip_suffix(SERVICE).filter(|name| !name.is_empty());
    match instance {
        Some(instance) if unit.len() <= limits::MAX_NAME => {
            Ok(format!("{PREFIX}{instance}{SERVICE}"))
        }
        _ => {
            let shown = unit.len().min(limits::MAX_NAME);
            let shown = unit.get(..shown).unwrap_or_default();
            let text = format!("Only services can be depended on, not '{shown}'");
            Err(CallError::new(error_name::INVALID_ARGS, text))
        }
    }
}

/// The unit that this one keeps.
fn kept(keeper: &str) -> Option<String> {
    let instance = keeper.strip_prefix(PREFIX)?.strip_suffix(SERVICE)?;
    Some(format!("{instance}{SERVICE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_kept_by_units_of_their_name() {
        for (unit, name) in [
            ("db.service", "hirte-dep@db.service"),
            ("db@x\\x2dy.service", "hirte-dep@db@x\\x2dy.service"),
        ] {
            assert_eq!(keeper(unit).unwrap(), name);
            assert_eq!(kept(name).as_deref(), Some(unit));
        }
        for unit in ["", ".service", "db.socket", "db"] {
            assert!(keeper(unit).is_err(), "{unit}");
        }
        assert!(keeper(&format!("{}.service", "a".repeat(300))).is_err());
        assert_eq!(kept("hirte-proxy@a_b.service"), None);
    }
}
