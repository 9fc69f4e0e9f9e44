//! What the page shows, as data: nodes, units, jobs, the latest events, and whether the manager is
//! there. It knows neither HTTP nor D-Bus and no clock.
//!
//! Whoever reads it gets everything ([`Model::snapshot`]), and then what changed
//! ([`Model::take_changes`]). A change names what is, not what happened, so that one that comes twice
//! does no harm.

mod event;
mod record;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;

use self::{
    event::{Event, Subject},
    record::{ChangesRecord, Gone, Snapshot, UnitRecord, json},
};
use crate::limits;

/// The unit by which a monitor tells of a subscription to all units.
const ALL: &str = "*";

/// The load state of a unit that is installed and not loaded; not one of systemd's words.
pub const UNLOADED: &str = "unloaded";

/// Milliseconds since 1970.
pub type Time = u64;

/// A node of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it is connected to the manager.
    pub online: bool,
    /// The address that it is connected from, if it is by TCP.
    pub ip: Option<String>,
    /// When the manager last heard of it.
    pub seen: Option<Time>,
}

/// A loaded unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// What it is, in words; empty until its node was asked.
    pub description: String,
    /// systemd's load state; empty until its node was asked.
    pub load: String,
    /// systemd's active state.
    pub active: String,
    /// systemd's sub state.
    pub sub: String,
    /// When its active state changed, if that was seen.
    pub since: Option<Time>,
}

/// A job that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Job {
    /// Its number.
    pub id: u32,
    /// Its node.
    pub node: String,
    /// Its unit.
    pub unit: String,
    /// start, stop, restart or reload.
    pub kind: String,
    /// waiting or running.
    pub state: String,
}

/// The connection to the manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Manager {
    /// Whether there is one.
    pub connected: bool,
    /// Why not.
    pub reason: Option<String>,
}

type Units = BTreeMap<String, BTreeMap<String, Unit>>;

/// All of it.
#[derive(Debug)]
pub struct Model {
    manager: Manager,
    nodes: Vec<Node>,
    units: Units,
    /// Units that are installed, by their nodes.
    installed: BTreeMap<String, BTreeSet<String>>,
    jobs: BTreeMap<u32, Job>,
    events: VecDeque<Event>,
    last_event: u64,
    changes: Changes,
}

/// What changed since it was told.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that is told"
)]
struct Changes {
    manager: bool,
    nodes: bool,
    units: BTreeSet<(String, String)>,
    jobs: bool,
    /// Events that are not told.
    events: usize,
    /// So much changed at once that everything is told anew.
    everything: bool,
}

/// What is told of changes.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// Everything has to be read anew.
    Everything,
    /// This, as JSON.
    Changes(String),
}

impl Unit {
    fn unloaded() -> Self {
        Self {
            load: UNLOADED.to_owned(),
            active: "inactive".to_owned(),
            sub: "dead".to_owned(),
            ..Self::default()
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self {
            manager: Manager {
                connected: false,
                reason: None,
            },
            nodes: Vec::new(),
            units: Units::new(),
            installed: BTreeMap::new(),
            jobs: BTreeMap::new(),
            events: VecDeque::new(),
            last_event: 0,
            changes: Changes::default(),
        }
    }
}

impl Model {
    /// Whether the manager is there; if not, why.
    #[must_use]
    pub const fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Whether there is such a node.
    #[must_use]
    pub fn knows_node(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.name == name)
    }

    /// The manager is there. What was known is no longer true, but for what happened.
    pub fn connected(&mut self, now: Time) {
        self.nodes.clear();
        self.units.clear();
        self.installed.clear();
        self.jobs.clear();
        self.manager = Manager {
            connected: true,
            reason: None,
        };
        self.changes.everything = true;
        self.happened(now, Subject::Manager, ("", ""), ("connected", ""));
    }

    /// The manager is not there. What was known stays, for people to see what was last.
    pub fn lost(&mut self, now: Time, reason: &str) {
        if self.manager.connected {
            self.happened(now, Subject::Manager, ("", ""), ("lost", reason));
        }
        let lost = Manager {
            connected: false,
            reason: Some(reason.to_owned()),
        };
        self.changes.manager |= self.manager != lost;
        self.manager = lost;
    }

    /// These are the nodes, in this order.
    pub fn nodes_listed(&mut self, listed: &[(&str, bool)]) {
        let known = std::mem::take(&mut self.nodes);
        self.nodes = listed
            .iter()
            .map(|(name, online)| {
                let known = known.iter().find(|node| node.name == *name);
                Node {
                    name: (*name).to_owned(),
                    online: *online,
                    ip: known.and_then(|node| node.ip.clone()),
                    seen: known.and_then(|node| node.seen),
                }
            })
            .collect();
        let names: BTreeSet<&str> = listed.iter().map(|(name, _)| *name).collect();
        let left: Vec<String> = self.units.keys().cloned().collect();
        for node in left.iter().filter(|node| !names.contains(node.as_str())) {
            self.node_units_left(node);
        }
        self.changes.nodes |= self.nodes != known;
    }

    /// A node came or went.
    pub fn node_connection(&mut self, now: Time, name: &str, online: bool) {
        let Some(node) = self.nodes.iter_mut().find(|node| node.name == name) else {
            return;
        };
        if node.online == online {
            return;
        }
        node.online = online;
        node.ip = None;
        node.seen = Some(now);
        self.changes.nodes = true;
        if !online {
            self.node_units_left(name);
        }
        let state = if online { "online" } else { "offline" };
        self.happened(now, Subject::Node, (name, ""), (state, ""));
    }

    /// More of a node.
    pub fn node_details(&mut self, name: &str, ip: Option<&str>, seen: Option<Time>) {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.name == name) {
            let ip = ip.map(str::to_owned);
            // While it is online the time goes on by itself.
            let told = node.ip != ip || (!node.online && node.seen != seen);
            (node.ip, node.seen) = (ip, seen);
            self.changes.nodes |= told;
        }
    }

    fn node_units_left(&mut self, node: &str) {
        self.installed.remove(node);
        for name in self.units.remove(node).unwrap_or_default().into_keys() {
            self.changes.units.insert((node.to_owned(), name));
        }
    }

    /// A unit is loaded.
    pub fn unit_new(&mut self, node: &str, name: &str) {
        if name == ALL || name.len() > limits::MAX_NAME {
            return;
        }
        let units = self.units.entry(node.to_owned()).or_default();
        let known = units.entry(name.to_owned()).or_insert_with(Unit::unloaded);
        if known.load == UNLOADED {
            known.load.clear();
            self.unit_changed(node, name);
        }
    }

    /// These units are installed on a node: they are shown when they are not loaded, too.
    pub fn units_installed(&mut self, node: &str, names: BTreeSet<String>) {
        let units = self.units.entry(node.to_owned()).or_default();
        for name in &names {
            if !units.contains_key(name) {
                units.insert(name.clone(), Unit::unloaded());
                self.changes.units.insert((node.to_owned(), name.clone()));
            }
        }
        self.installed.insert(node.to_owned(), names);
    }

    /// A unit has these states; `at` is when that happened, if it did just then.
    pub fn unit_state(
        &mut self,
        (node, name): (&str, &str),
        active: &str,
        sub: &str,
        at: Option<Time>,
    ) {
        let (active, sub) = (cut(active), cut(sub));
        let units = self.units.get_mut(node);
        let Some(unit) = units.and_then(|units| units.get_mut(name)) else {
            return;
        };
        let is_other = unit.active != active;
        if !is_other && unit.sub == sub {
            return;
        }
        if is_other {
            unit.since = at;
        }
        active.clone_into(&mut unit.active);
        sub.clone_into(&mut unit.sub);
        self.unit_changed(node, name);
        if let Some(at) = at
            && is_other
        {
            self.happened(at, Subject::Unit, (node, name), (active, sub));
        }
    }

    /// A unit is no longer loaded.
    pub fn unit_removed(&mut self, node: &str, name: &str) {
        let Some(units) = self.units.get_mut(node) else {
            return;
        };
        let installed = self.installed.get(node);
        let is_installed = installed.is_some_and(|names| names.contains(name));
        let Some(unit) = units.get_mut(name) else {
            return;
        };
        if is_installed {
            let description = std::mem::take(&mut unit.description);
            let since = unit.since;
            *unit = Unit {
                description,
                since,
                ..Unit::unloaded()
            };
        } else {
            units.remove(name);
        }
        self.unit_changed(node, name);
    }

    /// What a node says of one of its units.
    pub fn unit_details(&mut self, node: &str, name: &str, description: &str, load: &str) {
        let (description, load) = (cut(description), cut(load));
        let units = self.units.get_mut(node);
        let Some(unit) = units.and_then(|units| units.get_mut(name)) else {
            return;
        };
        if unit.description != description || unit.load != load {
            description.clone_into(&mut unit.description);
            load.clone_into(&mut unit.load);
            self.unit_changed(node, name);
        }
    }

    fn unit_changed(&mut self, node: &str, name: &str) {
        self.changes
            .units
            .insert((node.to_owned(), name.to_owned()));
    }

    /// A job that has not ended.
    pub fn job_told(&mut self, job: Job) {
        self.jobs.insert(job.id, job);
        self.changes.jobs = true;
    }

    /// A job that is known has this state.
    pub fn job_state(&mut self, id: u32, state: &str) {
        if let Some(job) = self.jobs.get_mut(&id) {
            state.clone_into(&mut job.state);
            self.changes.jobs = true;
        }
    }

    /// A job has ended.
    pub fn job_ended(&mut self, now: Time, id: u32, of: (&str, &str), result: &str) {
        let kind = self.jobs.remove(&id).map(|job| job.kind);
        self.changes.jobs |= kind.is_some();
        let kind = kind.unwrap_or_default();
        self.happened(now, Subject::Job, of, (result, &kind));
    }

    fn happened(
        &mut self,
        at: Time,
        about: Subject,
        (node, unit): (&str, &str),
        (state, detail): (&str, &str),
    ) {
        self.last_event += 1;
        let named = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        self.events.push_back(Event {
            id: self.last_event,
            at,
            about,
            node: named(node),
            unit: named(unit),
            state: cut(state).to_owned(),
            detail: cut(detail).to_owned(),
        });
        if self.events.len() > limits::DASHBOARD_EVENTS {
            self.events.pop_front();
        }
        self.changes.events = (self.changes.events + 1).min(self.events.len());
    }

    /// Whether there is something to tell.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let Changes {
            manager,
            nodes,
            ref units,
            jobs,
            events,
            everything,
        } = self.changes;
        manager || nodes || jobs || everything || events > 0 || !units.is_empty()
    }

    /// What has changed since the last call.
    pub fn take_changes(&mut self, now: Time) -> Told {
        let changes = std::mem::take(&mut self.changes);
        if changes.everything {
            return Told::Everything;
        }
        let (mut units, mut gone) = (Vec::new(), Vec::new());
        for (node, name) in &changes.units {
            match self.units.get(node).and_then(|units| units.get(name)) {
                Some(unit) => units.push(UnitRecord { node, name, unit }),
                None => gone.push(Gone { node, name }),
            }
        }
        let known = self.events.len() - changes.events;
        Told::Changes(json(&ChangesRecord {
            now,
            manager: changes.manager.then_some(&self.manager),
            nodes: changes.nodes.then_some(self.nodes.as_slice()),
            units,
            gone,
            jobs: changes.jobs.then(|| self.jobs.values().collect()),
            events: self.events.iter().skip(known).collect(),
        }))
    }

    /// Everything, as JSON.
    #[must_use]
    pub fn snapshot(&self, now: Time, control: Option<&str>) -> String {
        let mut units = Vec::with_capacity(self.units.values().map(BTreeMap::len).sum());
        for (node, of_node) in &self.units {
            let records = of_node
                .iter()
                .map(|(name, unit)| UnitRecord { node, name, unit });
            units.extend(records);
        }
        json(&Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            now,
            control,
            manager: &self.manager,
            nodes: &self.nodes,
            units,
            jobs: self.jobs.values().collect(),
            events: &self.events,
        })
    }

    /// How many nodes are online, of how many.
    #[must_use]
    pub fn nodes_online(&self) -> (usize, usize) {
        let online = self.nodes.iter().filter(|node| node.online).count();
        (online, self.nodes.len())
    }
}

/// As much of a text as is kept: some of them come from nodes as they are.
fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(limits::DASHBOARD_TEXT);
    end.map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests;
