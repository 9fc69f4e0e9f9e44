//! The nodes with their units, and the jobs, as far as they were told.

use std::collections::{BTreeMap, BTreeSet};

use super::text;
use crate::limits;

/// A node as the manager tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct Told {
    pub name: String,
    pub is_online: bool,
    /// When it was last heard of, in seconds since 1970; 0 for never.
    pub last_seen_s: u64,
}

/// A unit in a node's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct Listed {
    pub name: String,
    pub description: String,
    pub load: String,
    pub active: String,
    pub sub: String,
}

/// A unit file of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct File {
    /// Of its unit.
    pub name: String,
    pub is_masked: bool,
}

/// A job that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct Job {
    pub id: u32,
    pub node: String,
    pub unit: String,
    /// What it does, such as `start`.
    pub kind: String,
    /// `waiting` or `running`.
    pub state: String,
}

/// How a unit is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::top) enum Presence {
    #[default]
    Loaded,
    /// It was loaded, and can be again.
    Unloaded,
    /// It has a file, and was not seen yet.
    Installed,
}

/// A unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::top) struct Unit {
    /// Empty until the node's list was read.
    pub description: String,
    /// Empty until the node's list was read.
    pub load: String,
    pub active: String,
    pub sub: String,
    /// What is known of it is what was, because its node or the manager is lost.
    pub is_stale: bool,
    pub presence: Presence,
    /// As the last list of the node's unit files told.
    has_file: bool,
}

impl Unit {
    fn unload(&mut self) {
        "inactive".clone_into(&mut self.active);
        "dead".clone_into(&mut self.sub);
        self.load.clear();
        self.is_stale = false;
        if self.presence == Presence::Loaded {
            self.presence = Presence::Unloaded;
        }
    }
}

/// A node.
#[derive(Debug)]
pub(in crate::top) struct Node {
    pub name: String,
    pub is_online: bool,
    /// Since when it is what it is, in seconds since 1970; 0 where that is not known.
    pub since_s: u64,
    pub units: BTreeMap<String, Unit>,
}

impl Node {
    /// How many of its units are loaded.
    pub fn loaded(&self) -> usize {
        let loaded = |unit: &&Unit| unit.presence == Presence::Loaded;
        self.units.values().filter(loaded).count()
    }

    /// How many of its units have failed.
    pub fn failed(&self) -> usize {
        let failed = |unit: &&Unit| unit.active == "failed" && !unit.is_stale;
        self.units.values().filter(failed).count()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(in crate::top) struct Fleet {
    /// In the order of the configuration.
    pub nodes: Vec<Node>,
    /// Where each node stands.
    places: BTreeMap<String, usize>,
    pub jobs: BTreeMap<u32, Job>,
    /// How many units of all nodes are kept.
    pub units: usize,
    /// There are more units or jobs than are kept.
    pub is_cut: bool,
}

impl Fleet {
    /// The nodes, and nothing else, are these from here on. What was known of their units is kept.
    pub fn set_nodes(&mut self, told: Vec<Told>) {
        let mut before: BTreeMap<String, Node> = std::mem::take(&mut self.nodes)
            .into_iter()
            .map(|node| (node.name.clone(), node))
            .collect();
        for Told {
            name,
            is_online,
            last_seen_s,
        } in told
        {
            let known = before.remove(&name);
            let since_s = match &known {
                Some(node) if node.is_online == is_online => node.since_s,
                _ if is_online => 0,
                _ => last_seen_s,
            };
            self.nodes.push(Node {
                units: known.map(|node| node.units).unwrap_or_default(),
                name,
                is_online,
                since_s,
            });
        }
        self.units = self.nodes.iter().map(|node| node.units.len()).sum();
        let places = self.nodes.iter().enumerate();
        self.places = places
            .map(|(place, node)| (node.name.clone(), place))
            .collect();
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(*self.places.get(name)?)
    }

    pub fn node_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.nodes.get_mut(*self.places.get(name)?)
    }

    pub fn unit(&self, node: &str, unit: &str) -> Option<&Unit> {
        self.node(node)?.units.get(unit)
    }

    /// The unit, which is made if it was not known and there is room for it.
    pub fn unit_mut(&mut self, node: &str, unit: &str) -> Option<&mut Unit> {
        let node = self.nodes.get_mut(*self.places.get(node)?)?;
        if !node.units.contains_key(unit) {
            if self.units >= limits::TOP_UNITS || unit.len() > limits::MAX_NAME {
                self.is_cut = true;
                return None;
            }
            self.units += 1;
            // What UnitNew tells, until another state is told.
            let announced = Unit {
                active: "inactive".to_owned(),
                sub: "dead".to_owned(),
                ..Unit::default()
            };
            node.units.insert(unit.to_owned(), announced);
        }
        node.units.get_mut(unit)
    }

    /// Takes in a node's own list, and that of its unit files if it was asked for. What was told of a
    /// unit meanwhile is newer than the list, so that says only what was not told: of stale units
    /// whether they are there, and what they are.
    pub fn list(&mut self, node: &str, units: Vec<Listed>, files: Option<Vec<File>>) {
        let Some(known) = self.node_mut(node).filter(|node| node.is_online) else {
            return;
        };
        let before = known.units.len();
        let names: BTreeSet<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
        let with_file: Option<BTreeSet<&str>> = files
            .as_ref()
            .map(|files| files.iter().map(|file| file.name.as_str()).collect());
        known.units.retain(|name, unit| {
            if let Some(with_file) = &with_file {
                unit.has_file = with_file.contains(name.as_str());
            }
            let is_gone = unit.is_stale && !names.contains(name.as_str());
            if is_gone {
                unit.unload();
            }
            unit.has_file || (!is_gone && unit.presence == Presence::Loaded)
        });
        let gone = before - known.units.len();
        self.units -= gone;
        for listed in units {
            let is_new = self.unit(node, &listed.name).is_none();
            let Some(unit) = self.unit_mut(node, &listed.name) else {
                continue;
            };
            unit.description = text(&listed.description);
            unit.load = text(&listed.load);
            if is_new || unit.is_stale {
                unit.active = text(&listed.active);
                unit.sub = text(&listed.sub);
                unit.is_stale = false;
                unit.presence = Presence::Loaded;
            }
        }
        for File { name, is_masked } in files.into_iter().flatten() {
            let is_new = self.unit(node, &name).is_none();
            let Some(unit) = self.unit_mut(node, &name) else {
                continue;
            };
            unit.has_file = true;
            if is_new {
                unit.presence = Presence::Installed;
                unit.load = String::from(if is_masked { "masked" } else { "" });
            }
        }
    }

    /// A unit is no longer loaded. It stays in sight if it can be loaded again.
    pub fn unload(&mut self, node: &str, unit: &str) {
        let Some(known) = self.node_mut(node) else {
            return;
        };
        match known.units.get_mut(unit) {
            Some(unit) if unit.has_file => unit.unload(),
            Some(_) => {
                known.units.remove(unit);
                self.units -= 1;
            }
            None => {}
        }
    }

    /// Nothing that is known of any node is certain any more.
    pub fn lose_all(&mut self) {
        self.jobs.clear();
        for node in &mut self.nodes {
            for unit in node.units.values_mut() {
                unit.is_stale = true;
            }
        }
    }

    /// Keeps a job while there is room.
    pub fn add_job(&mut self, job: Job) {
        if self.jobs.len() < limits::TOP_JOBS || self.jobs.contains_key(&job.id) {
            self.jobs.insert(job.id, job);
        } else {
            self.is_cut = true;
        }
    }

    /// The state of the fleet, in the manager's words.
    pub fn status(&self) -> &'static str {
        let online = self.online();
        match online {
            0 => "down",
            _ if online == self.nodes.len() => "up",
            _ => "degraded",
        }
    }

    pub fn online(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_online).count()
    }
}
