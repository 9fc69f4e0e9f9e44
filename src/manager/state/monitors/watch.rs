//! What is watched on one node, what is known of it, and who has been told.
//!
//! A watcher is a subscription of a monitor. It is told of a unit in one of two ways: by a
//! snapshot, or by the change of what it was told. So it has two stages: it waits for a list of
//! the node's units, and from that list on it is told each change. New watchers, all watchers of a
//! node that returns, and watchers that missed something because the bus was congested go the same
//! way. What a watcher is told adds up to the truth, because
//!
//! - the agent speaks in the order in which things happen, and a list tells how things are after
//!   it was asked for: so the list, but for units of which was told since it was asked for, and
//!   all that is told after that, are all there is;
//! - a change is told only if it changes what is known, and only what is known is told;
//! - the names that watchers know of are kept from the first change that is not told
//!   (`behind`) until the next snapshot, which also tells what is gone.
//!
//! Units are told in the order of their names, each to the monitors in the order of their numbers.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::event::{Reason, UnitChange},
    unit::{Unit, changes, is_unit_name, snapshot},
};
use crate::{
    bus::{Body, marshal::Malformed},
    limits,
};

/// Stands for all units of a node in a subscription. It is also told like a unit: that the units
/// of the node are watched.
pub(super) const EVERY_UNIT: &str = "*";
/// A monitor's number, and the number of one of its subscriptions.
pub(super) type Watcher = (u32, u32);

/// One thing that one monitor is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tell {
    pub(super) monitor: u32,
    pub(super) unit: String,
    pub(super) change: UnitChange,
}

/// How far a watcher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It waits for the list with this number, or a later one.
    Waiting(u64),
    /// It knows what we know.
    Told,
}

/// What is watched on one node.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// By unit, or [`EVERY_UNIT`].
    watchers: BTreeMap<String, BTreeMap<Watcher, Stage>>,
    /// Units that are watched for proxies, which are told by other rules.
    proxied: BTreeSet<String>,
    /// The loaded units, of those that are watched.
    units: BTreeMap<String, Unit>,
    /// The names that watchers knew of before something was not told.
    behind: Option<BTreeSet<String>>,
    /// Number of the last list that was asked for.
    last_list: u64,
    /// Whether it is awaited, and whether another is wanted after it.
    is_asked: bool,
    is_wanted_again: bool,
    /// Units that were told of since then, and whether their states were: of these the list may
    /// come too late.
    since_asked: BTreeMap<String, bool>,
}

impl Watch {
    /// The agent must be asked to watch `unit` if it is the first watcher of it that is added.
    pub(super) fn add(&mut self, unit: &str, watcher: Watcher) -> bool {
        let stage = Stage::Waiting(self.last_list + 1);
        if let Some(watchers) = self.watchers.get_mut(unit) {
            watchers.insert(watcher, stage);
            return false;
        }
        let watchers = BTreeMap::from([(watcher, stage)]);
        self.watchers.insert(unit.to_owned(), watchers);
        !self.proxied.contains(unit)
    }

    /// What a monitor is told before its subscription to `unit` ends: units that it knows only by
    /// this one and that another one, which waits for its snapshot, announces again, are gone
    /// until then.
    pub(super) fn before_end(&self, unit: &str, watcher: Watcher) -> Vec<Tell> {
        let is_told = |key: &str| {
            self.stages(key, watcher.0)
                .any(|(other, stage)| other != watcher && *stage == Stage::Told)
        };
        let waits = |key: &str| {
            self.stages(key, watcher.0)
                .any(|(_, stage)| *stage != Stage::Told)
        };
        let is_handed_over = |name: &str| {
            let keys = [name, EVERY_UNIT];
            !keys.iter().any(|key| is_told(key)) && keys.iter().any(|key| waits(key))
        };
        let own = self
            .watchers
            .get(unit)
            .and_then(|watchers| watchers.get(&watcher));
        if own != Some(&Stage::Told) {
            return Vec::new();
        }
        let known: Vec<&String> = match &self.behind {
            Some(names) => names.iter().collect(),
            None => self.units.keys().collect(),
        };
        let ended = known
            .into_iter()
            .filter(|name| unit == EVERY_UNIT || *name == unit);
        ended
            .filter(|name| is_handed_over(name))
            .map(|name| removed(watcher.0, name, Reason::Virtual))
            .collect()
    }

    /// How far the watchers of one monitor are with a unit.
    fn stages(&self, unit: &str, monitor: u32) -> impl Iterator<Item = (Watcher, &Stage)> {
        let of_monitor = (monitor, 0)..=(monitor, u32::MAX);
        let watchers = self.watchers.get(unit).into_iter();
        watchers
            .flat_map(move |watchers| watchers.range(of_monitor.clone()))
            .map(|(watcher, stage)| (*watcher, stage))
    }

    /// Whether this was the last watcher of `unit`, so that the agent need not watch it.
    pub(super) fn remove(&mut self, unit: &str, watcher: Watcher) -> bool {
        let Some(watchers) = self.watchers.get_mut(unit) else {
            return false;
        };
        watchers.remove(&watcher);
        if !watchers.is_empty() {
            return false;
        }
        self.watchers.remove(unit);
        if self.watchers.is_empty() {
            self.behind = None;
        }
        self.forget_unwatched(unit);
        !self.proxied.contains(unit)
    }

    /// Watches `unit` for a proxy. Whether the agent must be asked to, as with [`Watch::add`].
    pub(super) fn add_proxied(&mut self, unit: &str) -> bool {
        self.proxied.insert(unit.to_owned()) && !self.watchers.contains_key(unit)
    }

    /// No proxy needs `unit`. Whether the agent need not watch it, as with [`Watch::remove`].
    pub(super) fn remove_proxied(&mut self, unit: &str) -> bool {
        let was_last = self.proxied.remove(unit) && !self.watchers.contains_key(unit);
        self.forget_unwatched(unit);
        was_last
    }

    /// `unit`, or [`EVERY_UNIT`], has lost its last watcher or proxy.
    fn forget_unwatched(&mut self, unit: &str) {
        if unit == EVERY_UNIT {
            let (watchers, proxied) = (&self.watchers, &self.proxied);
            self.units
                .retain(|name, _| watchers.contains_key(name) || proxied.contains(name));
        } else if !self.is_watched(unit) {
            self.units.remove(unit);
        }
    }

    /// What the agent has to watch.
    pub(super) fn watched(&self) -> impl Iterator<Item = &String> {
        let only_proxied = self.proxied.iter();
        let only_proxied = only_proxied.filter(|unit| !self.watchers.contains_key(*unit));
        self.watchers.keys().chain(only_proxied)
    }

    fn is_watched(&self, unit: &str) -> bool {
        self.watchers.contains_key(unit)
            || self.watchers.contains_key(EVERY_UNIT)
            || self.proxied.contains(unit)
    }

    /// A unit that is watched, if it is loaded.
    pub(super) fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.get(name)
    }

    // Lists

    /// Number of the list that is to be asked for, unless one is awaited: then another follows it.
    pub(super) fn ask_list(&mut self) -> Option<u64> {
        if self.watchers.is_empty() && self.proxied.is_empty() {
            return None;
        }
        if self.is_asked {
            self.is_wanted_again = true;
            return None;
        }
        self.is_asked = true;
        self.since_asked.clear();
        self.last_list += 1;
        Some(self.last_list)
    }

    /// Number of the first list that tells all that is asked of the agent before it.
    pub(super) const fn next_list(&self) -> u64 {
        self.last_list + 1
    }

    /// The list with this number came, or will not. Returns whether it was awaited and whether
    /// another is wanted.
    pub(super) fn list_ended(&mut self, number: u64) -> Option<bool> {
        if !self.is_asked || number != self.last_list {
            return None;
        }
        self.is_asked = false;
        Some(std::mem::take(&mut self.is_wanted_again))
    }

    /// Whether a list is needed to tell somebody what is.
    pub(super) fn needs_list(&self) -> bool {
        let mut stages = self.watchers.values().flat_map(BTreeMap::values);
        self.behind.is_some() || stages.any(|stage| *stage != Stage::Told)
    }

    /// Takes over a list of the node's units.
    pub(super) fn listed(
        &mut self,
        list: &Body,
        is_congested: bool,
    ) -> Result<Vec<Tell>, Malformed> {
        let mut listed = self.read_watched(list)?;
        self.correct(&mut listed);
        if is_congested {
            self.fall_behind();
            self.units = listed;
            return Ok(Vec::new());
        }
        let before = std::mem::replace(&mut self.units, listed);
        let behind = self.behind.take();
        let known = behind
            .clone()
            .unwrap_or_else(|| before.keys().cloned().collect());
        let mut tells = Vec::new();
        for name in known
            .iter()
            .chain(self.units.keys())
            .collect::<BTreeSet<_>>()
        {
            let audience = self.audience(name);
            let Some(unit) = self.units.get(name) else {
                let reason = if behind.is_some() {
                    Reason::Virtual
                } else {
                    Reason::Real
                };
                let told = audience.into_iter().filter(|(_, hearer)| hearer.is_told);
                tells.extend(told.map(|(monitor, _)| removed(monitor, name, reason)));
                continue;
            };
            for (monitor, hearer) in audience {
                let changes = if hearer.waits || behind.is_some() {
                    snapshot(unit)
                } else {
                    changes(before.get(name), unit)
                };
                tells.extend(
                    changes
                        .into_iter()
                        .map(|change| tell(monitor, name, change)),
                );
            }
        }
        self.settle();
        Ok(tells)
    }

    /// What was told since the list was asked for is right, however late the list comes.
    fn correct(&mut self, listed: &mut BTreeMap<String, Unit>) {
        for (name, has_states) in std::mem::take(&mut self.since_asked) {
            match self.units.get(&name) {
                Some(unit) if has_states => drop(listed.insert(name, unit.clone())),
                Some(unit) => drop(listed.entry(name).or_insert_with(|| unit.clone())),
                None => drop(listed.remove(&name)),
            }
        }
    }

    /// The units of a list that are watched, up to [`limits::MAX_WATCHED_UNITS_PER_NODE`].
    fn read_watched(&self, list: &Body) -> Result<BTreeMap<String, Unit>, Malformed> {
        let mut units = BTreeMap::new();
        if self.watchers.contains_key(EVERY_UNIT) {
            units.insert(EVERY_UNIT.to_owned(), Unit::new("", ""));
        }
        let mut rows = list.reader().array(8)?;
        while !rows.is_at_end() && units.len() < limits::MAX_WATCHED_UNITS_PER_NODE {
            rows.align(8)?;
            let name = rows.str()?;
            let _description_and_load_state = (rows.str()?, rows.str()?);
            let unit = Unit::new(rows.str()?, rows.str()?);
            let _followed_and_path = (rows.str()?, rows.path()?);
            let _job = (rows.u32()?, rows.str()?, rows.path()?);
            if is_unit_name(name) && self.is_watched(name) {
                units.insert(name.to_owned(), unit);
            }
        }
        Ok(units)
    }

    /// All who waited for the list that came know what we know.
    fn settle(&mut self) {
        let number = self.last_list;
        for stage in self.watchers.values_mut().flat_map(BTreeMap::values_mut) {
            if matches!(stage, Stage::Waiting(list) if *list <= number) {
                *stage = Stage::Told;
            }
        }
    }

    // Changes

    /// The agent told of a change of a unit.
    pub(super) fn changed(
        &mut self,
        name: &str,
        change: UnitChange,
        is_congested: bool,
    ) -> Vec<Tell> {
        if !is_unit_name(name) || !self.is_watched(name) {
            return Vec::new();
        }
        if is_congested {
            self.fall_behind();
        }
        self.note(name, &change);
        let news = self.take_over(name, change);
        if self.behind.is_some() || news.is_empty() {
            return Vec::new();
        }
        let audience = self.audience(name);
        let told = audience.into_iter().filter(|(_, hearer)| hearer.is_told);
        told.flat_map(|(monitor, _)| {
            news.iter()
                .map(move |change| tell(monitor, name, change.clone()))
        })
        .collect()
    }

    fn note(&mut self, name: &str, change: &UnitChange) {
        if self.is_asked && self.since_asked.len() < limits::MAX_WATCHED_UNITS_PER_NODE {
            let has_states = self.since_asked.entry(name.to_owned()).or_default();
            match change {
                UnitChange::State { .. } => *has_states = true,
                UnitChange::Removed { .. } => *has_states = false,
                UnitChange::New { .. } | UnitChange::Properties { .. } => {}
            }
        }
    }

    /// Takes over a change; what of it is news.
    fn take_over(&mut self, name: &str, change: UnitChange) -> Vec<UnitChange> {
        let mut news = Vec::new();
        if let UnitChange::Removed { .. } = change {
            news.extend(self.units.remove(name).map(|_| change));
            return news;
        }
        if !self.units.contains_key(name) {
            if self.units.len() >= limits::MAX_WATCHED_UNITS_PER_NODE {
                return news;
            }
            self.units.insert(name.to_owned(), Unit::announced());
            // Whatever is told of a unit, it is announced first.
            let reason = match &change {
                UnitChange::New { reason } => *reason,
                _ => Reason::Virtual,
            };
            news.push(UnitChange::New { reason });
        }
        match change {
            UnitChange::State {
                active,
                sub,
                reason,
            } => {
                let unit = Unit::new(&active, &sub);
                if self.units.get(name) != Some(&unit) {
                    news.push(unit.state(reason));
                    self.units.insert(name.to_owned(), unit);
                }
            }
            UnitChange::Properties { .. } => news.push(change),
            UnitChange::New { .. } | UnitChange::Removed { .. } => {}
        }
        news
    }

    /// The node is lost, and with it all that was known.
    pub(super) fn lost(&mut self, is_congested: bool) -> Vec<Tell> {
        self.is_asked = false;
        self.is_wanted_again = false;
        if is_congested {
            self.fall_behind();
            self.units.clear();
            return Vec::new();
        }
        let units = std::mem::take(&mut self.units);
        let names = self.behind.take();
        let names = names.unwrap_or_else(|| units.keys().cloned().collect());
        let mut tells = Vec::new();
        for name in &names {
            let is_inactive = units
                .get(name)
                .is_some_and(|unit| unit.active == "inactive");
            let offline = Unit::offline().state(Reason::Virtual);
            for (monitor, _) in self
                .audience(name)
                .into_iter()
                .filter(|(_, hearer)| hearer.is_told)
            {
                if !is_inactive {
                    tells.push(tell(monitor, name, offline.clone()));
                }
                tells.push(removed(monitor, name, Reason::Virtual));
            }
        }
        let next = Stage::Waiting(self.last_list + 1);
        for stage in self.watchers.values_mut().flat_map(BTreeMap::values_mut) {
            *stage = next;
        }
        tells
    }

    /// Something is not told from here on.
    fn fall_behind(&mut self) {
        if self.behind.is_none() {
            self.behind = Some(self.units.keys().cloned().collect());
        }
    }

    /// The monitors that watch `unit`.
    fn audience(&self, unit: &str) -> BTreeMap<u32, Hearer> {
        let mut audience: BTreeMap<u32, Hearer> = BTreeMap::new();
        let of_all = (unit != EVERY_UNIT)
            .then(|| self.watchers.get(EVERY_UNIT))
            .flatten();
        for watchers in self.watchers.get(unit).into_iter().chain(of_all) {
            for ((monitor, _), stage) in watchers {
                let hearer = audience.entry(*monitor).or_default();
                match stage {
                    Stage::Told => hearer.is_told = true,
                    Stage::Waiting(list) if *list <= self.last_list => hearer.waits = true,
                    Stage::Waiting(_) => {}
                }
            }
        }
        audience.retain(|_, hearer| hearer.is_told || hearer.waits);
        audience
    }
}

/// What a monitor knows of a unit.
#[derive(Clone, Copy, Debug, Default)]
struct Hearer {
    /// By one of its subscriptions it knows the unit.
    is_told: bool,
    /// One of its subscriptions waits for the list that was asked for last.
    waits: bool,
}

fn tell(monitor: u32, unit: &str, change: UnitChange) -> Tell {
    let unit = unit.to_owned();
    Tell {
        monitor,
        unit,
        change,
    }
}

fn removed(monitor: u32, unit: &str, reason: Reason) -> Tell {
    tell(monitor, unit, UnitChange::Removed { reason })
}
