//! A unit as monitors know it.

use super::super::event::{Reason, UnitChange};
use crate::limits;

/// `SubState` of a unit whose node is lost.
const AGENT_OFFLINE: &str = "agent-offline";

/// `ActiveState` and `SubState` of a loaded unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) active: String,
    sub: String,
}

impl Unit {
    pub(super) fn new(active: &str, sub: &str) -> Self {
        let cut = |word: &str| word[..word.floor_char_boundary(limits::MAX_NAME)].to_owned();
        Self {
            active: cut(active),
            sub: cut(sub),
        }
    }

    /// What a unit is that was announced, until a change of its states is told.
    pub(super) fn announced() -> Self {
        Self::new("inactive", "dead")
    }

    pub(super) fn state(&self, reason: Reason) -> UnitChange {
        UnitChange::State {
            active: self.active.clone(),
            sub: self.sub.clone(),
            reason,
        }
    }

    fn is_every_unit(&self) -> bool {
        self.active.is_empty()
    }

    /// What a unit counts as whose node is lost.
    pub(super) fn offline() -> Self {
        Self::new("inactive", AGENT_OFFLINE)
    }
}

/// A loaded unit, told to somebody who may know nothing of it.
pub(super) fn snapshot(unit: &Unit) -> Vec<UnitChange> {
    let reason = Reason::Virtual;
    let mut changes = vec![UnitChange::New { reason }];
    if !unit.is_every_unit() {
        changes.push(unit.state(reason));
    }
    changes
}

/// What tells that the node of a loaded unit is lost.
pub(super) fn loss(unit: &Unit) -> Vec<UnitChange> {
    let reason = Reason::Virtual;
    let mut changes = vec![UnitChange::Removed { reason }];
    if unit.active != "inactive" {
        changes.insert(0, Unit::offline().state(reason));
    }
    changes
}

/// A loaded unit, told to somebody who knows `before`. Only an agent that does not tell all it
/// passes on makes this necessary.
pub(super) fn changes(before: Option<&Unit>, unit: &Unit) -> Vec<UnitChange> {
    let reason = Reason::Real;
    let mut changes = Vec::new();
    if before.is_none() {
        changes.push(UnitChange::New { reason });
    }
    if !unit.is_every_unit() && *before.unwrap_or(&Unit::announced()) != *unit {
        changes.push(unit.state(reason));
    }
    changes
}

/// Whether this can be the name of a unit (systemd.unit(5)). Agents are not trusted with it, and
/// clients get an error for anything else.
pub(in super::super) fn is_unit_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    !name.is_empty() && name.len() <= limits::MAX_NAME && name.bytes().all(is_allowed)
}
