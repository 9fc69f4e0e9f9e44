//! The log of what happened.

use std::collections::VecDeque;

use super::text;
use crate::limits;

/// How an entry is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::top) enum Tone {
    Plain,
    Good,
    Bad,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct Entry {
    /// When, in seconds since 1970.
    pub at_s: u64,
    /// Empty if it is about none.
    pub node: String,
    /// Empty if it is about none.
    pub unit: String,
    pub words: String,
    pub tone: Tone,
}

/// The latest entries.
#[derive(Debug, Default)]
pub(in crate::top) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the first entry that is kept: how many were forgotten.
    forgotten: u64,
}

impl Log {
    /// Adds an entry, and forgets the oldest when there are too many.
    pub fn add(&mut self, at_s: u64, (node, unit): (&str, &str), words: &str, tone: Tone) {
        self.entries.push_back(Entry {
            at_s,
            node: text(node),
            unit: text(unit),
            words: text(words),
            tone,
        });
        if self.entries.len() > limits::TOP_LOG_ENTRIES {
            self.entries.pop_front();
            self.forgotten += 1;
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// An entry by its place, the oldest first.
    pub fn get(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// The number of the entry in this place, which it keeps.
    pub fn number(&self, index: usize) -> u64 {
        self.forgotten + index as u64
    }

    /// Where the entry of this number is; the oldest for one that is forgotten.
    pub fn place(&self, number: u64) -> usize {
        usize::try_from(number.saturating_sub(self.forgotten)).unwrap_or(usize::MAX)
    }
}
