//! What is known of the nodes, in systemd's words.

use std::collections::BTreeMap;

use super::kind;

/// Nodes by name. A node that could not be asked is not in it, and nothing is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// The nodes that were asked.
    pub nodes: BTreeMap<String, Node>,
}

/// The units of a node: those that are loaded, the files that are installed, and whatever was asked
/// for by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Units by the name that systemd has for them (`Id`).
    pub units: BTreeMap<String, Unit>,
    /// Other names of units, with that name.
    pub aliases: BTreeMap<String, String>,
}

/// One unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// `LoadState`.
    pub load: String,
    /// `ActiveState`.
    pub active: String,
    /// `SubState`.
    pub sub: String,
    /// When it became active, µs of its node's monotonic clock; 0 for never or unknown.
    pub active_since_us: u64,
    /// State of its unit file, as `systemctl is-enabled` tells it; empty where there is none.
    pub file: String,
}

/// What a unit file's state means to a state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enablement {
    /// The unit starts by itself.
    Enabled {
        /// Only until the next boot.
        runtime: bool,
    },
    /// It does not, and could be enabled.
    Disabled,
    /// It can not be started at all.
    Masked,
    /// It has nothing to enable (`static`, `generated`, `transient`, `alias`, `indirect`, `bad`), or
    /// there is no file.
    Fixed,
}

impl Unit {
    /// A unit that systemd neither has loaded nor finds on disk.
    #[must_use]
    pub fn absent() -> Self {
        Self {
            load: "not-found".to_owned(),
            active: "inactive".to_owned(),
            sub: "dead".to_owned(),
            active_since_us: 0,
            file: String::new(),
        }
    }

    /// A unit that has a file and is not loaded.
    #[must_use]
    pub fn not_loaded(file: &str) -> Self {
        Self {
            load: String::new(),
            file: file.to_owned(),
            ..Self::absent()
        }
    }

    /// Whether it runs; that it loads its configuration anew changes nothing.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }

    /// Whether it neither runs nor failed.
    #[must_use]
    pub fn is_inactive(&self) -> bool {
        self.active == "inactive"
    }

    /// Whether it failed.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.active == "failed"
    }

    /// Whether systemd can not start it: there is no such unit, or it is masked or broken.
    #[must_use]
    pub fn is_unusable(&self) -> bool {
        !matches!(self.load.as_str(), "" | "loaded" | "stub" | "merged")
    }

    /// What its unit file's state means.
    #[must_use]
    pub fn enablement(&self) -> Enablement {
        match self.file.as_str() {
            "enabled" => Enablement::Enabled { runtime: false },
            "enabled-runtime" => Enablement::Enabled { runtime: true },
            "disabled" | "linked" | "linked-runtime" => Enablement::Disabled,
            "masked" | "masked-runtime" => Enablement::Masked,
            _ => Enablement::Fixed,
        }
    }

    /// Whether its unit file is enabled.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        matches!(self.enablement(), Enablement::Enabled { .. })
    }

    /// Its states as people read them: `active (running)`, or why there is nothing to run.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.load.as_str() {
            _ if !self.is_unusable() => format!("{} ({})", self.active, self.sub),
            load if self.is_inactive() => load.to_owned(),
            load => format!("{} ({}), {load}", self.active, self.sub),
        }
    }
}

impl Node {
    /// The name that systemd has for the unit called `name`.
    #[must_use]
    pub fn id<'n>(&'n self, name: &'n str) -> &'n str {
        self.aliases.get(name).map_or(name, String::as_str)
    }

    /// The unit called `name`.
    #[must_use]
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.get(self.id(name))
    }

    /// The units that nobody could leave out of an exact file: those that run or failed, and are of
    /// a kind that is judged.
    pub fn running(&self) -> impl Iterator<Item = (&str, &Unit)> {
        let units = self.units.iter().map(|(name, unit)| (name.as_str(), unit));
        units.filter(|(name, unit)| !unit.is_inactive() && kind::is_judged(name))
    }

    /// The unit files that are enabled.
    pub(super) fn enabled(&self) -> impl Iterator<Item = (&str, &Unit)> {
        let units = self.units.iter().map(|(name, unit)| (name.as_str(), unit));
        units.filter(|(_, unit)| unit.is_enabled())
    }
}
