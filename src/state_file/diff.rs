//! How a fleet differs from a file.

use std::{collections::BTreeSet, fmt};

use super::{
    fleet::{Enablement, Fleet, Node, Unit},
    kind,
    model::{Entry, Place, State, StateFile},
};

/// One thing that is not as the file wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The node.
    pub node: String,
    /// The unit, as the file names it, or as systemd does if the file does not.
    pub unit: String,
    /// Where the file names it; nothing for a unit that an exact file does not name.
    pub place: Option<Place>,
    /// What the file wants.
    pub expected: Expected,
    /// What is: `failed (failed)`, `not-found`, `disabled`.
    pub found: String,
}

/// What a file can want of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expected {
    /// To run.
    Active,
    /// Not to run.
    Inactive,
    /// To start by itself.
    Enabled,
    /// Not to start by itself.
    Disabled,
}

impl Expected {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// All that is not as the file wants it, on the nodes that are in `fleet`: first the units that
/// it names, in its order, then, of an exact file, those that it does not name, node by node in the
/// order of their names.
#[must_use]
pub fn diff(file: &StateFile, fleet: &Fleet) -> Vec<Drift> {
    let mut drift = Vec::new();
    for entry in &file.entries {
        if let Some(node) = fleet.nodes.get(&entry.node) {
            of_entry(file, entry, node, &mut drift);
        }
    }
    if file.is_exact {
        for entry in &file.nodes {
            if let Some(node) = fleet.nodes.get(&entry.name) {
                of_strays(file, &entry.name, node, &mut drift);
            }
        }
    }
    drift
}

/// Whether a unit's activity is as wanted.
pub(super) fn has_state(unit: &Unit, state: State) -> bool {
    match state {
        State::Active => unit.is_active(),
        State::Inactive => unit.is_inactive(),
    }
}

/// Whether a unit file is as wanted. Where there is nothing to enable, only what the file itself
/// says can be missed.
pub(super) fn has_enablement(unit: &Unit, enabled: bool, is_said: bool) -> bool {
    match unit.enablement() {
        Enablement::Enabled { .. } => enabled,
        Enablement::Disabled | Enablement::Masked => !enabled,
        Enablement::Fixed => !(enabled && is_said),
    }
}

fn of_entry(file: &StateFile, entry: &Entry, node: &Node, drift: &mut Vec<Drift>) {
    let absent = Unit::absent();
    let unit = node.unit(&entry.unit).unwrap_or(&absent);
    let mut push = |expected, found| {
        drift.push(Drift {
            node: entry.node.clone(),
            unit: entry.unit.clone(),
            place: Some(entry.place),
            expected,
            found,
        });
    };
    if let Some(state) = entry.wanted.state {
        // A unit that is named is one that exists.
        if unit.load == "not-found" || !has_state(unit, state) {
            let expected = match state {
                State::Active => Expected::Active,
                State::Inactive => Expected::Inactive,
            };
            push(expected, unit.describe());
        }
    }
    if let Some(enabled) = file.enabled(entry.wanted)
        && !has_enablement(unit, enabled, entry.wanted.enabled.is_some())
    {
        let expected = if enabled {
            Expected::Enabled
        } else {
            Expected::Disabled
        };
        let found = if unit.file.is_empty() {
            "no unit file".to_owned()
        } else {
            unit.file.clone()
        };
        push(expected, found);
    }
}

/// The units of a node that an exact file does not name and that run, and those that are enabled.
pub(super) struct Strays<'n> {
    pub(super) running: Vec<(&'n str, &'n Unit)>,
    pub(super) enabled: Vec<(&'n str, &'n Unit)>,
}

pub(super) fn strays<'n>(file: &StateFile, name: &str, node: &'n Node) -> Strays<'n> {
    let named: BTreeSet<&str> = file
        .entries_of(name)
        .map(|entry| node.id(&entry.unit))
        .collect();
    // systemd counts a template as enabled when an instance is.
    let templates: BTreeSet<String> = file
        .entries_of(name)
        .filter(|entry| file.enabled(entry.wanted) == Some(true))
        .filter_map(|entry| kind::split_instance(&entry.unit))
        .map(|(template, _)| template)
        .collect();
    Strays {
        running: node
            .running()
            .filter(|(unit, _)| !named.contains(unit) && !file.allows(unit))
            .collect(),
        enabled: node
            .enabled()
            .filter(|(unit, _)| !named.contains(unit) && !templates.contains(*unit))
            .collect(),
    }
}

fn of_strays(file: &StateFile, name: &str, node: &Node, drift: &mut Vec<Drift>) {
    let strays = strays(file, name, node);
    let running = strays
        .running
        .iter()
        .map(|(unit, found)| (*unit, Expected::Inactive, found.describe()));
    let enabled = strays
        .enabled
        .iter()
        .map(|(unit, found)| (*unit, Expected::Disabled, found.file.clone()));
    let mut all: Vec<_> = running.chain(enabled).collect();
    all.sort();
    drift.extend(all.into_iter().map(|(unit, expected, found)| Drift {
        node: name.to_owned(),
        unit: unit.to_owned(),
        place: None,
        expected,
        found,
    }));
}
