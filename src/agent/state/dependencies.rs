//! Units of this node on which other nodes depend.
//!
//! The manager wants such a unit kept by `hirte-dep@UNIT.service`, which pulls it in and goes with
//! it (`BindsTo=`). What it wants it says anew on each connection, before it answers `Register` or,
//! where it has restarted itself, as soon as the other nodes have told it. So what nobody has asked
//! for some time after the registration is a remainder, and is stopped.

use std::collections::BTreeSet;

use super::{State, Timer, Turn, manager::Caller, target::SERVICE};
use crate::{
    bus::{Body, CallError, JobKind, error_name},
    core::Level,
    limits,
};

/// What the names of the units that keep others begin with.
const PREFIX: &str = "hirte-dep@";

/// The units that the manager of the present connection wants kept.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    wanted: BTreeSet<String>,
}

impl Dependencies {
    /// The manager that wanted them is gone; they are kept until another one is there.
    pub(super) fn forget(&mut self) {
        self.wanted.clear();
    }
}

impl State {
    /// `StartDep`: other nodes depend on a unit.
    pub(super) fn start_dependency(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        unit: String,
    ) -> Result<(), CallError> {
        let keeper = keeper(&unit)?;
        let wanted = &mut self.dependencies.wanted;
        if wanted.len() >= limits::MAX_DEPENDENCIES && !wanted.contains(&unit) {
            let text = format!("Other nodes depend on {} units already", wanted.len());
            return Err(CallError::new(error_name::LIMITS_EXCEEDED, text));
        }
        turn.log(Level::Info, format!("Another node depends on {unit}"));
        wanted.insert(unit);
        self.order(turn, &keeper, JobKind::Start);
        self.reply(turn, caller, Ok(Body::default()));
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
        self.dependencies.wanted.remove(unit);
        self.order(turn, &keeper, JobKind::Stop);
        self.reply(turn, caller, Ok(Body::default()));
        Ok(())
    }

    /// A unit that keeps another could not be started. Where the other has not even tried to start
    /// there is no change that would tell those who wait for it: it is told as what it is.
    pub(super) fn dependency_failed(&mut self, turn: &mut Turn<'_>, keeper: &str) {
        let Some(unit) = kept(keeper).filter(|unit| self.dependencies.wanted.contains(unit)) else {
            return;
        };
        let Some(known) = self.units.get(&unit) else {
            self.signal(turn, "UnitNew", Body::of(&(unit.as_str(), "real")));
            return self.signal(turn, "UnitRemoved", Body::of(&(unit.as_str(),)));
        };
        let (active, sub) = known.states().unwrap_or(("inactive", "dead"));
        if matches!(active, "inactive" | "failed") {
            let body = Body::of(&(unit.as_str(), active, sub, "real"));
            self.signal(turn, "UnitStateChanged", body);
        }
    }

    /// Stops what was started for nodes that do not depend on it any more.
    pub(super) fn stop_remainders(&mut self, turn: &mut Turn<'_>) {
        if !self.systemd.is_connected() {
            return self.await_dependencies(turn);
        }
        let names = self.units.names();
        let remainders = names.filter(|name| {
            let lives = self.units.get(name).is_some_and(super::units::Unit::lives);
            lives && kept(name).is_some_and(|unit| !self.dependencies.wanted.contains(&unit))
        });
        for keeper in remainders.cloned().collect::<Vec<_>>() {
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
