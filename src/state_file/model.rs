//! What a state file says.

use std::fmt;

use crate::glob;

/// Where something stands in a file; both numbers begin with 1, the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character within the line.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Something in a file that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands.
    pub place: Place,
    /// What is there, and what was expected.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Whether a unit is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its `ActiveState` is to be `active`.
    Active,
    /// Its `ActiveState` is to be `inactive`.
    Inactive,
}

impl State {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Active, Self::Inactive];

    /// The word for it in a file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }
}

/// What a file wants of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whether it is to run; nothing if that does not matter.
    pub state: Option<State>,
    /// Whether it is to start by itself, where the file says so.
    pub enabled: Option<bool>,
}

/// A unit that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its name stands.
    pub place: Place,
    /// The stage that it belongs to.
    pub stage: Option<String>,
    /// Its node.
    pub node: String,
    /// Its name.
    pub unit: String,
    /// What the file wants of it.
    pub wanted: Wanted,
}

/// A node that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// Where it is named first.
    pub place: Place,
    /// Its name.
    pub name: String,
}

/// A state file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateFile {
    /// Whether units that it does not name are drift.
    pub is_exact: bool,
    /// Patterns of units that may run on the nodes of an exact file although it does not name them.
    pub allow: Vec<String>,
    /// Its nodes in the order in which they are named, each once.
    pub nodes: Vec<NodeEntry>,
    /// Its units in the order of the file.
    pub entries: Vec<Entry>,
}

impl StateFile {
    /// The units of one node, in the order of the file.
    pub fn entries_of<'f>(&'f self, node: &'f str) -> impl Iterator<Item = &'f Entry> {
        self.entries.iter().filter(move |entry| entry.node == node)
    }

    /// Whether a unit is to start by itself: what the file says of it, or what an exact file means by
    /// its state.
    #[must_use]
    pub fn enabled(&self, wanted: Wanted) -> Option<bool> {
        let implied = wanted.state.filter(|_| self.is_exact);
        wanted
            .enabled
            .or_else(|| implied.map(|state| state == State::Active))
    }

    /// Whether a unit that the file does not name may run.
    #[must_use]
    pub fn allows(&self, unit: &str) -> bool {
        !self.is_exact
            || self
                .allow
                .iter()
                .any(|pattern| glob::matches(pattern, unit))
    }

    /// Whether it matters which unit files of its nodes are enabled.
    #[must_use]
    pub fn judges_unit_files(&self) -> bool {
        let is_said = |entry: &Entry| entry.wanted.enabled.is_some();
        self.is_exact || self.entries.iter().any(is_said)
    }
}
