//! Dependencies of units on units of other nodes.
//!
//! A unit of one node, the source, depends on a unit of another one, the target, through a proxy:
//! an object of the source's agent that stands for the unit. While there is a proxy for a unit, the
//! target's agent is asked to have it run (`StartDep`), and the proxy is told how the unit is.
//!
//! - The target's agent is asked again whenever a proxy begins and whenever the target
//!   returns. With the last proxy it is asked to let go (`StopDep`), later if the target is away.
//!   None of this is answered, so a `StopDep` is sent again after a loss of the target unless its
//!   agent has answered something later.
//! - Proxies of a source that is lost are held for [`limits::PROXY_HOLD`], because a short loss is
//!   no reason to stop units of other nodes. Agents announce their proxies again when they are
//!   back. If the unit has ended meanwhile its proxy is told then, as it would have been.
//! - A target that is lost is waited for without a limit. That it is lost is told as `virtual`,
//!   which ends no proxy.
//! - A unit that has ended while its node was lost is not started again for proxies that knew it
//!   running: an agent of ours answers `StartDep` by telling that end. A proxy that began after the
//!   loss is not told, and the agent is asked again. Agents in C start the unit.
//! - A unit that was let go may still be ending when a proxy begins. That end is not told either, and
//!   the agent is asked again.
//! - What an agent tells of a unit is passed on as it is. A proxy of which the target's agent tells
//!   nothing, because it was asked before, gets a snapshot from the list of the target's units.
//!
//! - `tell`: what proxies are told
//! - `allow`: proxies that the configuration does not allow any more
//! - `allowance`: how many a node may announce

mod allow;
mod allowance;
mod tell;

use std::collections::{BTreeMap, BTreeSet};

use self::allowance::{Allowances, Verdict};
use super::{
    State,
    event::{Action, PeerId, UnitChange},
    log,
};
use crate::{
    bus::{Body, names::is_unit_name},
    core::{Instant, Level, Now},
    limits,
};

/// A proxy: the source, the target (indexes of nodes), and the target's unit.
type Key = (usize, usize, String);

/// The units that can be targets: an agent knows how to depend on no others.
const SUFFIX: &str = ".service";
/// What a proxy is told whose target is none of the fleet.
const NO_SUCH_NODE: &str = "No such node";
/// All proxies, and what they need.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    by_key: BTreeMap<Key, Proxy>,
    /// By target and unit.
    needed: BTreeMap<(usize, String), Dependency>,
    /// Sources whose proxies are held, and until when.
    held: BTreeMap<usize, Instant>,
    /// Sources that were lost in this event.
    lost: BTreeSet<usize>,
    allowances: Allowances,
}

#[derive(Debug)]
struct Proxy {
    path: String,
    /// Its agent is away, or did not announce it again yet.
    is_held: bool,
    /// It waits for the list of the target's units with this number, or a later one.
    waits_for_list: Option<u64>,
    /// It was told that the unit is active: it has succeeded, and ends with the unit.
    was_active: bool,
    /// The end of the unit that it was not told, or has not ended with yet.
    missed_end: Option<UnitChange>,
    /// The unit was told to be starting or active.
    has_begun: bool,
    /// What its target may still tell that is from before.
    late: Late,
}

/// What a target may tell a proxy although it is from before: where the target was lost before the proxy
/// began, or the unit was stopped for want of proxies and had not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    Nothing,
    /// The end of the unit.
    End,
    /// That the unit, which has ended, was unloaded.
    Removal,
}

/// A unit that runs because proxies need it.
#[derive(Debug, Default)]
struct Dependency {
    /// The sources; none if the target's agent may not have heard yet to let go.
    sources: BTreeSet<usize>,
    /// The target's agent was asked to have it run.
    is_started: bool,
    /// Our number of the `StopDep` on the connection that the target has.
    stop: Option<u32>,
}

impl Proxies {
    /// The clock of the sources that were lost begins.
    pub(super) fn hold_lost(&mut self, now: Now) {
        while let Some(source) = self.lost.pop_first() {
            self.held.insert(source, now.monotonic + limits::PROXY_HOLD);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.held.values().min().copied()
    }

    /// Proxies of a source, in the order of targets and units.
    fn of_source(&self, source: usize) -> impl Iterator<Item = (&Key, &Proxy)> {
        let range = (source, 0, String::new())..(source + 1, 0, String::new());
        self.by_key.range(range)
    }

    /// Proxies for units of a target, in the order of units and sources.
    fn of_target(&self, target: usize) -> impl Iterator<Item = (&Key, &Proxy)> {
        let keys = self.needed_of(target).flat_map(|(place, dependency)| {
            let sources = dependency.sources.iter();
            sources.map(|source| (*source, place.0, place.1.clone()))
        });
        keys.filter_map(|key| self.by_key.get_key_value(&key))
    }

    /// Proxies for one unit.
    fn of_unit(&self, target: usize, unit: &str) -> Vec<Key> {
        let needed = self.needed.get(&(target, unit.to_owned()));
        let sources = needed.into_iter().flat_map(|needed| &needed.sources);
        sources
            .map(|source| (*source, target, unit.to_owned()))
            .collect()
    }

    /// What is needed of a target, and what it has to let go.
    fn needed_of(&self, target: usize) -> impl Iterator<Item = (&(usize, String), &Dependency)> {
        let needed = self.needed.range((target, String::new())..);
        needed.take_while(move |(place, _)| place.0 == target)
    }

    /// Whether it is not known that the agent of a target has heard what to let go. It is asked
    /// whether it lives then, because it answers in the order in which it hears.
    pub(super) fn waits_for_target(&self, target: usize) -> bool {
        let mut needed = self.needed_of(target);
        needed.any(|(_, dependency)| dependency.sources.is_empty())
    }

    /// The agent of a target has answered our message number `serial`.
    pub(super) fn target_answered(&mut self, target: usize, serial: u32) {
        let has_heard = |dependency: &Dependency| {
            let is_before = dependency.stop.is_some_and(|stop| stop < serial);
            dependency.sources.is_empty() && is_before
        };
        let needed = self.needed_of(target);
        let heard = needed.filter(|(_, dependency)| has_heard(dependency));
        for place in heard.map(|(place, _)| place.clone()).collect::<Vec<_>>() {
            self.needed.remove(&place);
        }
    }

    /// An agent that never answers must not have us remember all that it did not hear.
    fn forget_too_many(&mut self, target: usize) {
        let needed = self.needed_of(target);
        let unheard = needed.filter(|(_, dependency)| dependency.sources.is_empty());
        let unheard: Vec<_> = unheard.map(|(place, _)| place.clone()).collect();
        if unheard.len() > limits::MAX_UNHEARD_STOPS {
            self.needed.remove(&unheard[0]);
        }
    }

    /// Proxies, units that they need, sources that are held.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let needed = self.needed.values();
        let needed = needed.filter(|dependency| !dependency.sources.is_empty());
        (self.by_key.len(), needed.count(), self.held.len())
    }

    /// Units that targets may not have heard to let go.
    #[cfg(test)]
    pub(super) fn unheard(&self) -> usize {
        self.needed.len() - self.counts().1
    }
}

impl State {
    // What agents announce

    /// An agent announces a proxy, or announces it again after it was away.
    pub(super) fn proxy_new(
        &mut self,
        now: Now,
        id: PeerId,
        target: &str,
        unit: String,
        path: String,
        actions: &mut Vec<Action>,
    ) {
        let Some(source) = self.peers.get(&id).and_then(|peer| peer.node) else {
            return;
        };
        let name = self.nodes[source].name.clone();
        if path.len() > limits::MAX_PROXY_PATH {
            let text = format!("Node '{name}': the path of a proxy is too long; ignored");
            return log(actions, Level::Warn, text);
        }
        let known = self.find_proxy(source, target, &unit);
        if known.is_some_and(|key| self.tell_missed_end(&key, &path, actions)) {
            return;
        }
        let verdict = self.proxies.allowances.take(source, now.monotonic);
        if verdict != Verdict::Allowed {
            let text = format!("Node '{name}' announces too many proxies");
            if verdict == Verdict::FirstTooMany {
                log(actions, Level::Warn, format!("{text}; they are refused"));
            }
            return self.call_proxy(source, path, "Error", Body::of(&(text,)), actions);
        }
        match self.check_proxy(source, target, &unit) {
            Ok(target) => {
                let text = format!(
                    "Node '{name}' registered new proxy for unit '{unit}' on node '{}'",
                    self.nodes[target].name
                );
                log(actions, Level::Info, text);
                self.add_proxy((source, target, unit), path, actions);
            }
            Err(reason) => {
                let text = format!("Proxy of node '{name}' for unit '{unit}' refused: {reason}");
                log(actions, Level::Warn, text);
                self.call_proxy(source, path, "Error", Body::of(&(reason,)), actions);
            }
        }
    }

    /// The index of the target, or why there can be no such proxy.
    fn check_proxy(&self, source: usize, target: &str, unit: &str) -> Result<usize, String> {
        let Some(&index) = self.node_index.get(target) else {
            return Err(NO_SUCH_NODE.to_owned());
        };
        self.check_allowed(source, index)?;
        if !is_unit_name(unit) || !unit.ends_with(SUFFIX) {
            return Err(format!("'{unit}' is not the name of a service"));
        }
        let key = (source, index, unit.to_owned());
        let count = self.proxies.of_source(source).count();
        if count >= limits::MAX_PROXIES_PER_NODE && !self.proxies.by_key.contains_key(&key) {
            return Err(format!(
                "The node has {count} proxies, the most that are allowed"
            ));
        }
        Ok(index)
    }

    /// An agent that comes back is told of the end of a unit that it missed. Returns whether there
    /// was one: the unit is then not started again.
    fn tell_missed_end(&mut self, key: &Key, path: &str, actions: &mut Vec<Action>) -> bool {
        let proxy = self.proxies.by_key.get_mut(key);
        let Some(proxy) = proxy.filter(|proxy| proxy.is_held && proxy.path == path) else {
            return false;
        };
        let Some(end) = proxy.missed_end.take() else {
            return false;
        };
        proxy.is_held = false;
        proxy.waits_for_list = None;
        self.tell_proxy(key, &end, actions);
        let needed = self.proxies.needed.get(&(key.1, key.2.clone()));
        if needed.is_none_or(|needed| !needed.sources.contains(&key.0)) {
            // It may not depend on the unit any more.
            self.proxies.by_key.remove(key);
        }
        true
    }

    /// The proxy of a source, also for a target that is no longer in the configuration.
    fn find_proxy(&self, source: usize, target: &str, unit: &str) -> Option<Key> {
        let mut of_source = self.proxies.of_source(source).map(|(key, _)| key);
        let found =
            of_source.find(|(_, index, of)| of == unit && self.nodes[*index].name == target);
        found.cloned()
    }

    fn add_proxy(&mut self, key: Key, path: String, actions: &mut Vec<Action>) {
        let (source, target, unit) = &key;
        if !self.is_held_as(&key, &path) {
            self.start_dependency(*source, *target, unit, actions);
        }
        let list = self.watch_for_proxies(*target, unit, actions);
        let before = self.proxies.by_key.get(&key);
        let before = before.filter(|before| before.path == path);
        let was_active = before.is_some_and(|before| before.was_active);
        let has_begun = before.is_some_and(|before| before.has_begun);
        let known = self.snapshot_of(*target, unit);
        let target = &self.nodes[*target];
        let is_lost = target.peer.is_none() && target.last_seen_us != 0;
        let late = match before {
            Some(before) => before.late,
            None if is_lost || known.iter().any(tell::is_alive) => Late::End,
            None => Late::Nothing,
        };
        let proxy = Proxy {
            path,
            is_held: false,
            waits_for_list: Some(list),
            was_active,
            missed_end: None,
            has_begun,
            late,
        };
        self.proxies.by_key.insert(key, proxy);
    }

    /// Whether this is a proxy whose agent was away, and whose target has not been since it was
    /// asked: asked again it would start what is ending while that is on its way to us.
    fn is_held_as(&self, key: &Key, path: &str) -> bool {
        let (source, target, unit) = key;
        let needed = self.proxies.needed.get(&(*target, unit.clone()));
        let proxy = self.proxies.by_key.get(key);
        self.nodes[*target].peer.is_some()
            && needed.is_some_and(|needed| needed.is_started && needed.sources.contains(source))
            && proxy.is_some_and(|proxy| proxy.is_held && proxy.path == path)
    }

    /// An agent has one proxy less.
    pub(super) fn proxy_removed(
        &mut self,
        id: PeerId,
        target: &str,
        unit: &str,
        actions: &mut Vec<Action>,
    ) {
        let Some(source) = self.peers.get(&id).and_then(|peer| peer.node) else {
            return;
        };
        if let Some(key) = self.find_proxy(source, target, unit) {
            let name = &self.nodes[source].name;
            let text =
                format!("Node '{name}' unregistered proxy for unit '{unit}' on node '{target}'");
            log(actions, Level::Info, text);
            self.drop_proxy(&key, actions);
        }
    }

    fn drop_proxy(&mut self, key: &Key, actions: &mut Vec<Action>) {
        self.proxies.by_key.remove(key);
        self.release(key, actions);
    }

    // What the target's agent is asked

    fn start_dependency(
        &mut self,
        source: usize,
        target: usize,
        unit: &str,
        actions: &mut Vec<Action>,
    ) {
        let needed = &mut self.proxies.needed;
        let dependency = needed.entry((target, unit.to_owned())).or_default();
        dependency.sources.insert(source);
        dependency.stop = None;
        if let Some(peer) = self.nodes[target].peer {
            dependency.is_started = true;
            self.tell_agent(peer, "StartDep", unit, actions);
        }
    }

    /// A source does not need a unit any more.
    fn release(&mut self, (source, target, unit): &Key, actions: &mut Vec<Action>) {
        let place = (*target, unit.clone());
        let Some(dependency) = self.proxies.needed.get_mut(&place) else {
            return;
        };
        if !dependency.sources.remove(source) || !dependency.sources.is_empty() {
            return;
        }
        if dependency.is_started {
            self.stop_dependency(*target, unit, actions);
            self.proxies.forget_too_many(*target);
        } else {
            self.proxies.needed.remove(&place);
        }
        self.unwatch_for_proxies(*target, unit, actions);
    }

    /// Asks a target that is online to let go of a unit that nobody needs.
    fn stop_dependency(&mut self, target: usize, unit: &str, actions: &mut Vec<Action>) {
        if let Some(peer) = self.nodes[target].peer {
            let serial = self.tell_agent(peer, "StopDep", unit, actions);
            let place = (target, unit.to_owned());
            if let Some(dependency) = self.proxies.needed.get_mut(&place) {
                dependency.stop = Some(serial);
            }
        }
    }

    // Nodes

    /// A node is lost, as a source and as a target.
    pub(super) fn node_lost_for_proxies(&mut self, node: usize, actions: &mut Vec<Action>) {
        for key in self.keys_of_source(node) {
            if let Some(proxy) = self.proxies.by_key.get_mut(&key) {
                proxy.is_held = true;
                self.proxies.lost.insert(node);
            }
        }
        let keys: Vec<Key> = self
            .proxies
            .of_target(node)
            .map(|found| found.0.clone())
            .collect();
        for key in keys {
            let (changes, list) = self.loss_of(node, &key.2);
            let Some(proxy) = self.proxies.by_key.get_mut(&key) else {
                continue;
            };
            proxy.waits_for_list = Some(list);
            if !proxy.is_held {
                for change in changes {
                    self.tell_proxy(&key, &change, actions);
                }
            }
        }
    }

    /// A node is back, as a source and as a target.
    pub(super) fn node_back_for_proxies(
        &mut self,
        now: Now,
        node: usize,
        actions: &mut Vec<Action>,
    ) {
        if let Some(until) = self.proxies.held.get_mut(&node) {
            *until = now.monotonic + limits::PROXY_ANNOUNCE;
        }
        let needed = self.proxies.needed_of(node).map(|((_, unit), dependency)| {
            let is_over = dependency.sources.is_empty();
            (unit.clone(), is_over)
        });
        for (unit, is_over) in needed.collect::<Vec<_>>() {
            if is_over {
                self.stop_dependency(node, &unit, actions);
                continue;
            }
            if let Some(dependency) = self.proxies.needed.get_mut(&(node, unit.clone())) {
                dependency.is_started = true;
            }
            if let Some(peer) = self.nodes[node].peer {
                self.tell_agent(peer, "StartDep", &unit, actions);
            }
        }
    }

    /// The time of sources that were lost is over: what they did not announce again ends.
    pub(super) fn drop_lost_proxies(&mut self, now: Now, actions: &mut Vec<Action>) {
        let held = self.proxies.held.iter();
        let over = held.filter(|(_, until)| **until <= now.monotonic);
        let over: Vec<usize> = over.map(|(source, _)| *source).collect();
        for source in over {
            self.proxies.held.remove(&source);
            for key in self.keys_of_source(source) {
                if self
                    .proxies
                    .by_key
                    .get(&key)
                    .is_some_and(|proxy| proxy.is_held)
                {
                    let (node, target) = (&self.nodes[source].name, &self.nodes[key.1].name);
                    let text = format!(
                        "Node '{node}' did not come back to its proxy for unit '{}' on node \
                         '{target}'",
                        key.2
                    );
                    log(actions, Level::Info, text);
                    self.drop_proxy(&key, actions);
                }
            }
        }
    }

    fn keys_of_source(&self, source: usize) -> Vec<Key> {
        let of_source = self.proxies.of_source(source);
        of_source.map(|(key, _)| key.clone()).collect()
    }
}
