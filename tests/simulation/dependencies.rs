//! What systemd makes of the units of proxies and of dependencies, and when a unit is unloaded.
//!
//! - `hirte-dep@X.service` (the keeper of X) starts X and follows it; it ends with X (`BindsTo=`).
//! - `hirte-proxy@NODE_X.service` runs `hirte-proxy create` to start, and `remove` at its end.

use hirte::bus::Message;

use super::{
    prng::Prng,
    systemd::{Effects, Systemd, Unit, announced, unit_changed},
};

const KEEPER: &str = "hirte-dep@";
const PROXY: &str = "hirte-proxy@";
/// The unit that systemd stops when nothing needs it (`StopWhenUnneeded=`).
const UNNEEDED: &str = "c.service";
/// A unit that is loaded only while something needs it.
const LOADABLE: &str = "e.service";

/// What a process that systemd runs for the unit of a proxy has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Create,
    Remove,
    /// The process that creates is ended.
    Kill,
}

/// The unit that keeps another.
pub fn keeper_of(unit: &str) -> String {
    format!("{KEEPER}{unit}")
}

/// The unit that this one keeps.
pub fn kept_by(unit: &str) -> Option<&str> {
    unit.strip_prefix(KEEPER)
}

pub fn proxy_for(node: &str, unit: &str) -> String {
    format!("{PROXY}{node}_{unit}")
}

/// The node and the unit that the unit of a proxy stands for.
pub fn target_of(unit: &str) -> Option<(&str, &str)> {
    unit.strip_prefix(PROXY)?.split_once('_')
}

impl Systemd {
    pub fn state(&self, unit: &str) -> &'static str {
        self.units.get(unit).map_or("inactive", |unit| unit.active)
    }

    /// Loads a unit if it has a file.
    pub fn load(&mut self, name: &str, effects: &mut Effects) -> bool {
        if self.units.contains_key(name) {
            return true;
        }
        let has_file = match kept_by(name) {
            Some(kept) => self.load(kept, effects),
            None => target_of(name).is_some() || name == LOADABLE,
        };
        if has_file {
            self.units.insert(name.to_owned(), Unit::inactive());
            effects.signals.push(announced("UnitNew", name));
        }
        has_file
    }

    /// Unloads a unit that has ended and that nothing refers to.
    pub fn unload(&mut self, name: &str, effects: &mut Effects) {
        let is_loadable = kept_by(name).is_some() || target_of(name).is_some();
        let may_go = is_loadable && self.state(name) == "inactive";
        if may_go && self.job_of(name).is_none() && self.units.remove(name).is_some() {
            effects.signals.push(announced("UnitRemoved", name));
        }
    }

    /// Whether the unit that keeps this one is loaded.
    pub fn is_kept(&self, name: &str) -> bool {
        self.units.contains_key(&keeper_of(name))
    }

    /// A unit is in another state; what binds to it follows.
    pub fn enter(
        &mut self,
        name: &str,
        (active, sub): (&'static str, &'static str),
        prng: &mut Prng,
        effects: &mut Effects,
    ) {
        let Some(unit) = self.units.get_mut(name) else {
            return;
        };
        let before = unit.active;
        let is_activation = active == "active" && before != "active";
        *self.activations.entry(name.to_owned()).or_default() += u32::from(is_activation);
        (unit.active, unit.sub) = (active, sub);
        let signals: [Message; 2] = unit_changed(name, unit);
        effects.signals.extend(signals);
        if active == "active" {
            return;
        }
        self.stop_keeper(name, prng, effects);
        if kept_by(name) == Some(UNNEEDED) && self.state(UNNEEDED) == "active" {
            let _ = self.queue(UNNEEDED, "stop", "replace", prng, effects);
        }
    }

    /// A job is queued, and with it those for what the unit needs and what binds to it.
    pub fn queue_others(&mut self, unit: &str, kind: &str, prng: &mut Prng, effects: &mut Effects) {
        match (kind, kept_by(unit)) {
            ("start", Some(kept)) => {
                let is_ending = self.job_of(kept).is_some_and(|(_, job)| job.kind == "stop");
                if self.state(kept) != "active" || is_ending {
                    let _ = self.queue(kept, "start", "replace", prng, effects);
                }
            }
            ("stop", None) => self.stop_keeper(unit, prng, effects),
            _ => {}
        }
    }

    fn stop_keeper(&mut self, unit: &str, prng: &mut Prng, effects: &mut Effects) {
        let keeper = keeper_of(unit);
        let starts = self
            .job_of(&keeper)
            .is_some_and(|(_, job)| job.kind == "start");
        if self.state(&keeper) == "active"
            || (starts && self.job_of(unit).is_none_or(|(_, job)| job.kind == "stop"))
        {
            let _ = self.queue(&keeper, "stop", "replace", prng, effects);
            self.left.insert(keeper);
        }
    }

    /// A job for a keeper is to end. Returns whether that is to be put off: it waits for the unit
    /// that it keeps.
    pub fn keeper_step(
        &mut self,
        (number, keeper): (u32, &str),
        kind: &str,
        prng: &mut Prng,
        effects: &mut Effects,
    ) -> bool {
        let kept = kept_by(keeper).unwrap_or_default().to_owned();
        if kind != "start" {
            self.enter(keeper, ("inactive", "dead"), prng, effects);
            self.remove(number, "done", effects);
        } else if self.job_of(&kept).is_some() {
            return true;
        } else if self.state(&kept) == "active" {
            self.left.remove(keeper);
            self.enter(keeper, ("active", "exited"), prng, effects);
            self.remove(number, "done", effects);
        } else {
            self.remove(number, "dependency", effects);
        }
        false
    }

    /// A job for the unit of a proxy begins. Returns whether that is to be put off.
    pub fn proxy_step(
        &mut self,
        (number, proxy): (u32, &str),
        kind: &str,
        prng: &mut Prng,
        effects: &mut Effects,
    ) -> bool {
        let mut run = |command| effects.commands.push((proxy.to_owned(), command));
        match (kind, self.state(proxy)) {
            ("stop", "activating") => {
                run(Command::Kill);
                run(Command::Remove);
                self.enter(proxy, ("deactivating", "stop-post"), prng, effects);
            }
            ("stop", "active") => {
                run(Command::Remove);
                self.enter(proxy, ("deactivating", "stop-post"), prng, effects);
            }
            ("stop", "deactivating") => {}
            ("start", "deactivating") => return true,
            ("start", "inactive" | "failed") => {
                run(Command::Create);
                self.enter(proxy, ("activating", "start"), prng, effects);
            }
            _ => self.remove(number, "done", effects),
        }
        false
    }

    /// A process that was run for the unit of a proxy has ended.
    pub fn command_ended(
        &mut self,
        proxy: &str,
        command: Command,
        is_good: bool,
        prng: &mut Prng,
    ) -> Effects {
        let mut effects = Effects::default();
        let job = self
            .job_of(proxy)
            .map(|(number, job)| (number, job.kind, job.state));
        match command {
            Command::Create if is_good => {
                self.enter(proxy, ("active", "exited"), prng, &mut effects);
                if let Some((number, "start", _)) = job {
                    self.remove(number, "done", &mut effects);
                }
            }
            Command::Create | Command::Kill => {
                self.enter(proxy, ("deactivating", "stop-post"), prng, &mut effects);
                effects.commands.push((proxy.to_owned(), Command::Remove));
            }
            Command::Remove => {
                let has_failed = matches!(job, Some((_, "start", "running")));
                let after = if has_failed {
                    ("failed", "failed")
                } else {
                    ("inactive", "dead")
                };
                self.enter(proxy, after, prng, &mut effects);
                if let Some((number, _, "running")) = job {
                    let result = if has_failed { "failed" } else { "done" };
                    self.remove(number, result, &mut effects);
                }
                self.unload(proxy, &mut effects);
            }
        }
        effects
    }
}
