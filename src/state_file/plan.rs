//! The steps from what is to what a file wants, and back.

use std::{collections::BTreeMap, fmt};

use super::{
    diff::{self, has_enablement, has_state},
    fleet::{Enablement, Fleet, Unit},
    model::{Entry, Place, State, StateFile},
};
use crate::glob;

/// Units by which the steps reach a node: who stops them saws off the branch.
const CARRIERS: [&str; 6] = [
    "hirte.service",
    "hirte.socket",
    "hirte-agent.service",
    "dbus.service",
    "dbus.socket",
    "dbus-broker.service",
];
/// Units that no exact file means to stop by not naming them: parts of systemd and the root file
/// system.
const BASE: [&str; 2] = ["systemd-*", "-.mount"];

/// What a step does with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Starts it.
    Start,
    /// Stops it.
    Stop,
    /// Has systemd forget that it failed.
    ResetFailed,
    /// Has it start by itself.
    Enable {
        /// Only until the next boot.
        runtime: bool,
    },
    /// Has it no longer start by itself.
    Disable {
        /// Only what was enabled until the next boot.
        runtime: bool,
    },
}

impl Action {
    /// The command of systemctl that does the same.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::ResetFailed => "reset-failed",
            Self::Enable { .. } => "enable",
            Self::Disable { .. } => "disable",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The node.
    pub node: String,
    /// The unit.
    pub unit: String,
    /// What is done.
    pub action: Action,
    /// The stage that the unit belongs to.
    pub stage: Option<String>,
    /// Where the file names the unit; nothing for one that an exact file does not name.
    pub place: Option<Place>,
    /// What the unit was when the steps were made.
    pub was: Unit,
}

/// Why there is no way to what the file wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The node.
    pub node: String,
    /// The unit.
    pub unit: String,
    /// Where the file names it.
    pub place: Option<Place>,
    /// The reason.
    pub reason: Reason,
}

/// The reason of a [`Refusal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The node has no such unit.
    Unknown,
    /// It is to run, and systemd can not start it; its `LoadState`.
    Unusable(String),
    /// It is to be enabled, and there is nothing to enable; the state of its unit file.
    NotInstallable(String),
    /// The file names the same unit by another name.
    Alias(String),
    /// The steps themselves need it.
    Needed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, unit, .. } = self;
        match &self.reason {
            Reason::Unknown => write!(f, "Node '{node}' has no unit {unit}"),
            Reason::Unusable(load) => {
                write!(f, "Node '{node}': {unit} can not be started: it is {load}")
            }
            Reason::NotInstallable(file) => write!(
                f,
                "Node '{node}': {unit} can not be enabled: its unit file is {}",
                if file.is_empty() { "missing" } else { file }
            ),
            Reason::Alias(other) => {
                write!(f, "Node '{node}': {unit} and {other} are the same unit")
            }
            Reason::Needed if self.place.is_some() => write!(
                f,
                "Node '{node}': {unit} is needed to carry out the steps, and can not be stopped or \
                 disabled by them"
            ),
            Reason::Needed => write!(
                f,
                "Node '{node}': the file is exact and does not name {unit}, without which the node \
                 can not do; name it, or allow it where it is not enabled"
            ),
        }
    }
}

/// The steps by which the nodes in `fleet` come to what the file wants: what an exact file does not
/// name is stopped first, then what is to stop, in the reverse order of the file, then what is to
/// run is started, in the order of the file. Nothing is in it that is as wanted already. The error
/// has every reason why the file can not be reached.
pub fn plan(file: &StateFile, fleet: &Fleet) -> Result<Vec<Step>, Vec<Refusal>> {
    let mut steps = stops_of_strays(file, fleet);
    let (mut lowered, mut raised) = (Vec::new(), Vec::new());
    let mut refusals = aliases(file, fleet);
    for entry in &file.entries {
        let Some(node) = fleet.nodes.get(&entry.node) else {
            continue;
        };
        let absent = Unit::absent();
        let unit = node.unit(&entry.unit).unwrap_or(&absent);
        match actions(file, entry, unit) {
            Ok(actions) => {
                let step = |action: &Action| Step {
                    node: entry.node.clone(),
                    unit: entry.unit.clone(),
                    action: *action,
                    stage: entry.stage.clone(),
                    place: Some(entry.place),
                    was: unit.clone(),
                };
                raised.extend(actions.iter().filter(|action| raises(**action)).map(step));
                let lowering = actions.iter().rev().filter(|action| !raises(**action));
                lowered.extend(lowering.map(step));
            }
            Err(reason) => refusals.push(Refusal {
                node: entry.node.clone(),
                unit: entry.unit.clone(),
                place: Some(entry.place),
                reason,
            }),
        }
    }
    steps.extend(lowered.into_iter().rev());
    steps.extend(raised);
    refusals.extend(
        steps
            .iter()
            .filter(|step| is_needed(step))
            .map(|step| Refusal {
                node: step.node.clone(),
                unit: step.unit.clone(),
                place: step.place,
                reason: Reason::Needed,
            }),
    );
    // A unit that is to be stopped and disabled is needed once.
    refusals.dedup();
    if refusals.is_empty() {
        Ok(steps)
    } else {
        Err(refusals)
    }
}

/// The actions that take back a step, of which the last may have been carried out in part. That a
/// unit had failed is not restored.
#[must_use]
pub fn undo(step: &Step) -> Option<Action> {
    let was = step.was.active.as_str();
    match step.action {
        Action::Start if was != "activating" => Some(Action::Stop),
        Action::Stop if was != "deactivating" => Some(Action::Start),
        Action::Start | Action::Stop | Action::ResetFailed => None,
        Action::Enable { runtime } => Some(Action::Disable { runtime }),
        Action::Disable { runtime } => Some(Action::Enable { runtime }),
    }
}

/// Whether an action belongs to the second half of the steps, when units come up.
const fn raises(action: Action) -> bool {
    matches!(action, Action::Start | Action::Enable { .. })
}

/// What has to be done with a unit that the file names.
fn actions(file: &StateFile, entry: &Entry, unit: &Unit) -> Result<Vec<Action>, Reason> {
    let mut actions = Vec::new();
    if let Some(state) = entry.wanted.state {
        if unit.load == "not-found" {
            return Err(Reason::Unknown);
        }
        if !has_state(unit, state) {
            actions.push(match state {
                State::Active if unit.is_unusable() => {
                    return Err(Reason::Unusable(unit.load.clone()));
                }
                State::Active => Action::Start,
                State::Inactive => down(unit),
            });
        }
    }
    if let Some(enabled) = file.enabled(entry.wanted)
        && !has_enablement(unit, enabled, entry.wanted.enabled.is_some())
    {
        actions.push(match unit.enablement() {
            Enablement::Enabled { runtime } => Action::Disable { runtime },
            Enablement::Disabled => Action::Enable { runtime: false },
            Enablement::Masked | Enablement::Fixed => {
                return Err(Reason::NotInstallable(unit.file.clone()));
            }
        });
    }
    Ok(actions)
}

/// What makes a unit inactive that is not.
fn down(unit: &Unit) -> Action {
    if unit.is_failed() {
        Action::ResetFailed
    } else {
        Action::Stop
    }
}

fn stops_of_strays(file: &StateFile, fleet: &Fleet) -> Vec<Step> {
    let mut steps = Vec::new();
    if !file.is_exact {
        return steps;
    }
    for entry in &file.nodes {
        let Some(node) = fleet.nodes.get(&entry.name) else {
            continue;
        };
        let strays = diff::strays(file, &entry.name, node);
        let step = |unit: &str, action, was: &Unit| Step {
            node: entry.name.clone(),
            unit: unit.to_owned(),
            action,
            stage: None,
            place: None,
            was: was.clone(),
        };
        steps.extend(
            strays
                .running
                .iter()
                .map(|(name, unit)| step(name, down(unit), unit)),
        );
        steps.extend(strays.enabled.iter().map(|(name, unit)| {
            let runtime = unit.enablement() == Enablement::Enabled { runtime: true };
            step(name, Action::Disable { runtime }, unit)
        }));
    }
    steps
}

fn is_needed(step: &Step) -> bool {
    let matches = |patterns: &[&str]| patterns.iter().any(|p| glob::matches(p, &step.unit));
    matches!(step.action, Action::Stop | Action::Disable { .. })
        && (matches(&CARRIERS) || (step.place.is_none() && matches(&BASE)))
}

/// Units that a file names twice, by different names.
fn aliases(file: &StateFile, fleet: &Fleet) -> Vec<Refusal> {
    let mut first: BTreeMap<(&str, &str), &Entry> = BTreeMap::new();
    let mut refusals = Vec::new();
    for entry in &file.entries {
        let Some(node) = fleet.nodes.get(&entry.node) else {
            continue;
        };
        let key = (entry.node.as_str(), node.id(&entry.unit));
        if let Some(other) = first.get(&key) {
            refusals.push(Refusal {
                node: entry.node.clone(),
                unit: entry.unit.clone(),
                place: Some(entry.place),
                reason: Reason::Alias(other.unit.clone()),
            });
        } else {
            first.insert(key, entry);
        }
    }
    refusals
}
