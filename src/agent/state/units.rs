//! What is known of the units: what systemd listed, and every change it signalled since.
//!
//! After the connection to systemd was lost its list is compared with this, to tell what changed
//! unseen.

use std::{borrow::Cow, collections::BTreeMap};

use super::{State, Turn};
use crate::{
    bus::{Body, marshal::Malformed},
    core::Level,
    limits,
};

/// The states of one unit, in systemd's words. An empty word is not known: a unit is announced
/// without its states, which follow only when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    load: Cow<'static, str>,
    active: Cow<'static, str>,
    sub: Cow<'static, str>,
}

/// The units that systemd has loaded, by name.
#[derive(Debug, Default)]
pub(super) struct Units {
    known: BTreeMap<String, Unit>,
    /// Whether there are more than are remembered.
    overflowed: bool,
}

/// The words of nearly all units; they take no memory of their own.
const WORDS: &[&str] = &[
    "loaded",
    "not-found",
    "masked",
    "active",
    "inactive",
    "failed",
    "activating",
    "deactivating",
    "reloading",
    "running",
    "dead",
    "exited",
    "plugged",
    "mounted",
    "waiting",
    "listening",
    "elapsed",
    "start",
    "start-pre",
    "start-post",
    "stop",
    "auto-restart",
];

fn word(text: &str) -> Cow<'static, str> {
    match WORDS.iter().find(|known| **known == text) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(text.to_owned()),
    }
}

impl Unit {
    fn new(load: &str, active: &str, sub: &str) -> Self {
        Self {
            load: word(load),
            active: word(active),
            sub: word(sub),
        }
    }

    /// The state for people, and for comparison; `None` while it is not known.
    fn state(&self) -> Option<String> {
        (!self.active.is_empty()).then(|| format!("{}/{}", self.active, self.sub))
    }

    fn is_inactive(&self) -> bool {
        self.active == "inactive"
    }

    pub(super) fn is_failed(&self) -> bool {
        self.active == "failed"
    }

    /// Whether it is known that the unit has not ended.
    pub(super) fn lives(&self) -> bool {
        !matches!(self.active.as_ref(), "" | "inactive" | "failed")
    }

    /// `ActiveState` and `SubState`, while they are known.
    pub(super) fn states(&self) -> Option<(&str, &str)> {
        (!self.active.is_empty()).then_some((&self.active, &self.sub))
    }

    /// All of it, as systemd would tell it.
    pub(super) fn told(&self) -> Told<'_> {
        Told {
            load: Some(&self.load),
            active: Some(&self.active),
            sub: Some(&self.sub),
        }
    }
}

/// States of one unit that systemd told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told<'a> {
    pub(super) load: Option<&'a str>,
    pub(super) active: Option<&'a str>,
    pub(super) sub: Option<&'a str>,
}

impl<'a> Told<'a> {
    /// The states among changed properties, `a{sv}`, of systemd's interface `Unit`.
    pub(super) fn read(changed: &'a Body) -> Result<Self, Malformed> {
        let mut told = Self::default();
        let mut entries = changed.reader().array(8)?;
        while !entries.is_at_end() {
            entries.align(8)?;
            let name = entries.str()?;
            let (signature, mut value) = entries.variant()?;
            let word = match name {
                "LoadState" => &mut told.load,
                "ActiveState" => &mut told.active,
                "SubState" => &mut told.sub,
                _ => continue,
            };
            if signature == "s" {
                *word = Some(value.str()?);
            }
        }
        Ok(told)
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Units {
    /// Notes what systemd told of a unit. Returns whether this is the first unit that does not
    /// fit.
    pub(super) fn update(&mut self, name: &str, Told { load, active, sub }: Told<'_>) -> bool {
        if !self.known.contains_key(name) {
            if self.known.len() >= limits::MAX_UNITS {
                return !std::mem::replace(&mut self.overflowed, true);
            }
            self.known.insert(name.to_owned(), Unit::default());
        }
        let Some(unit) = self.known.get_mut(name) else {
            return false;
        };
        for (known, told) in [
            (&mut unit.load, load),
            (&mut unit.active, active),
            (&mut unit.sub, sub),
        ] {
            if let Some(told) = told {
                *known = word(told);
            }
        }
        false
    }

    /// Forgets a unit. Returns whether it was known.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.known.remove(name).is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Unit> {
        self.known.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.known.keys()
    }

    /// Names of the units that were announced without their states.
    pub(super) fn without_states(&self) -> impl Iterator<Item = &String> {
        let is_unknown = |(_, unit): &(&String, &Unit)| unit.states().is_none();
        self.known.iter().filter(is_unknown).map(|(name, _)| name)
    }

    /// Takes over a list of all units and returns those that were remembered before.
    pub(super) fn replace(&mut self, listed: BTreeMap<String, Unit>) -> BTreeMap<String, Unit> {
        self.overflowed = false;
        std::mem::replace(&mut self.known, listed)
    }

    /// One line for each unit whose state differs from what `earlier` says. A unit that is not
    /// loaded is as good as an inactive one, so only other differences count.
    pub(super) fn differences<'a>(
        &'a self,
        earlier: &'a BTreeMap<String, Unit>,
    ) -> impl Iterator<Item = String> + 'a {
        let vanished = earlier
            .iter()
            .filter(|(name, unit)| !self.known.contains_key(*name) && !unit.is_inactive())
            .filter_map(|(name, unit)| Some((name, unit.state()?, "not loaded".to_owned())));
        let others = self.known.iter().filter_map(|(name, unit)| {
            let state = unit.state()?;
            let before = match earlier.get(name) {
                Some(before) => before.state()?,
                None if unit.is_inactive() => return None,
                None => "not loaded".to_owned(),
            };
            (before != state).then_some((name, before, state))
        });
        vanished.chain(others).map(|(name, before, after)| {
            format!(
                "Unit {name} changed from {before} to {after} while systemd could not be watched"
            )
        })
    }
}

/// Reads the answer to systemd's `ListUnits`, up to [`limits::MAX_UNITS`] units.
pub(super) fn read_units(body: &Body) -> Result<BTreeMap<String, Unit>, Malformed> {
    if body.signature != "a(ssssssouso)" {
        return Err(Malformed {
            offset: 0,
            expected: "a list of units",
        });
    }
    let mut units = BTreeMap::new();
    let mut rows = body.reader().array(8)?;
    while !rows.is_at_end() && units.len() < limits::MAX_UNITS {
        rows.align(8)?;
        let name = rows.str()?.to_owned();
        let _description = rows.str()?;
        let unit = Unit::new(rows.str()?, rows.str()?, rows.str()?);
        let _followed = rows.str()?;
        let _path = rows.path()?;
        let _job = (rows.u32()?, rows.str()?, rows.path()?);
        units.insert(name, unit);
    }
    Ok(units)
}

impl State {
    /// Notes what systemd told of a unit.
    pub(super) fn note_unit(&mut self, turn: &mut Turn<'_>, unit: &str, told: Told<'_>) {
        if self.units.update(unit, told) {
            let line = format!(
                "systemd has more than {} units; changes of the others are not watched",
                limits::MAX_UNITS
            );
            turn.log(Level::Warn, line);
        }
    }

    /// Logs the units whose state is not what it was before the loss of systemd.
    pub(super) fn log_differences(&self, turn: &mut Turn<'_>, earlier: &BTreeMap<String, Unit>) {
        let mut differences = self.units.differences(earlier);
        for line in differences.by_ref().take(limits::MAX_RESYNC_LINES) {
            turn.log(Level::Info, line);
        }
        let more = differences.count();
        if more > 0 {
            let line = format!("{more} more units changed while systemd could not be watched");
            turn.log(Level::Info, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(rows: &[(&str, &str, &str)]) -> BTreeMap<String, Unit> {
        rows.iter()
            .map(|(name, active, sub)| ((*name).to_owned(), Unit::new("loaded", active, sub)))
            .collect()
    }

    #[test]
    fn only_real_differences_are_told() {
        let mut now = Units::default();
        now.replace(units(&[
            ("changed.service", "inactive", "dead"),
            ("same.service", "active", "running"),
            ("loaded.service", "inactive", "dead"),
            ("started.service", "active", "running"),
            ("unknown.mount", "active", "mounted"),
        ]));
        let earlier = units(&[
            ("changed.service", "active", "running"),
            ("same.service", "active", "running"),
            ("gone.service", "active", "running"),
            ("unloaded.service", "inactive", "dead"),
            ("unknown.mount", "", ""),
        ]);
        let lines: Vec<String> = now.differences(&earlier).collect();
        let while_lost = "while systemd could not be watched";
        assert_eq!(
            lines,
            [
                format!("Unit gone.service changed from active/running to not loaded {while_lost}"),
                format!(
                    "Unit changed.service changed from active/running to inactive/dead {while_lost}"
                ),
                format!(
                    "Unit started.service changed from not loaded to active/running {while_lost}"
                ),
            ]
        );
    }

    #[test]
    fn the_number_of_units_is_bounded() {
        let mut full = Units::default();
        for index in 0..limits::MAX_UNITS {
            assert!(!full.update(&format!("u{index}.service"), Told::default()));
        }
        assert!(full.update("one.service", Told::default()));
        assert!(!full.update("two.service", Told::default()));
        assert!(!full.update("u1.service", Told::default()));
        assert_eq!(full.known.len(), limits::MAX_UNITS);
    }
}
