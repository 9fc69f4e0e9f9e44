//! What must hold for proxies and dependencies: of the manager at every event, and of all nodes
//! when they have come to rest.

use std::collections::{BTreeMap, BTreeSet};

use hirte::manager::state::{
    Settings,
    event::{Action, Event, FromPeer, PeerId, ToPeer},
};

use super::{
    check::Verdict,
    dependencies::{keeper_of, kept_by, target_of},
    world::World,
};

/// A node, and a service of it.
type Place = (String, String);

/// What is known of the proxies of one manager, from what came in and went out.
#[derive(Debug, Default)]
pub struct Proxies {
    /// The nodes on which those of a node may depend.
    may_depend_on: BTreeMap<String, BTreeSet<String>>,
    /// By source and what it needs, unless its agent has withdrawn it.
    announced: BTreeSet<(String, Place)>,
    /// Paths that were announced on the connections that stand.
    paths: BTreeSet<(PeerId, String)>,
    /// What targets were asked to run and not to let go; and all that they ever were.
    asked: BTreeSet<Place>,
    ever_asked: BTreeSet<Place>,
}

impl Proxies {
    /// What holds when the manager starts, or has read its configuration.
    pub fn configure(&mut self, settings: &Settings) {
        let nodes = settings.nodes.iter();
        self.may_depend_on = nodes
            .map(|node| (node.name.clone(), node.may_depend_on.clone()))
            .collect();
    }

    pub fn is_allowed(&self, source: &str, target: &str) -> bool {
        let allowed = self.may_depend_on.get(source);
        allowed.is_some_and(|allowed| allowed.contains(target))
    }

    /// Judges what the manager did about one event of this node.
    pub fn observe(
        &mut self,
        event: &Event,
        speaker: Option<&str>,
        actions: &[Action],
        node_of: impl Fn(PeerId) -> Option<String>,
    ) -> Verdict {
        match (event, speaker) {
            (Event::Reload(settings), _) => self.configure(settings),
            (Event::PeerLost { peer, .. }, _) => self.paths.retain(|(of, _)| of != peer),
            (Event::PeerMessage { peer, message }, Some(source)) => {
                self.note_message(*peer, source, message);
            }
            _ => {}
        }
        for action in actions {
            if let Action::Send { peer, message, .. } = action {
                self.sent(*peer, message, node_of(*peer))?;
            }
        }
        self.is_denied_told(event, speaker, actions)
    }

    fn note_message(&mut self, peer: PeerId, source: &str, message: &FromPeer) {
        let place = |target: &String, unit: &String| (target.clone(), unit.clone());
        match message {
            FromPeer::ProxyNew { target, unit, path } => {
                self.announced
                    .insert((source.to_owned(), place(target, unit)));
                self.paths.insert((peer, path.clone()));
            }
            FromPeer::ProxyRemoved { target, unit } => {
                self.announced
                    .remove(&(source.to_owned(), place(target, unit)));
            }
            _ => {}
        }
    }

    /// Only what an allowed proxy needs is started, what was started is let go, and only proxies that
    /// the connection knows are told.
    fn sent(&mut self, peer: PeerId, message: &ToPeer, node: Option<String>) -> Verdict {
        match message {
            ToPeer::CallWithoutReply { method, arguments } => {
                let node = node.ok_or_else(|| format!("{method} of {peer}, which is no node"))?;
                let unit = arguments.first_str().unwrap_or_default();
                let place = (node, unit.to_owned());
                match method.as_str() {
                    "StartDep" => {
                        let is_needed = self.announced.iter().any(|(source, needed)| {
                            *needed == place && self.is_allowed(source, &place.0)
                        });
                        if !is_needed {
                            return Err(format!("StartDep of {place:?}, which nobody may need"));
                        }
                        self.asked.insert(place.clone());
                        self.ever_asked.insert(place);
                    }
                    "StopDep" => {
                        if !self.ever_asked.contains(&place) {
                            return Err(format!("StopDep of {place:?}, which was not started"));
                        }
                        self.asked.remove(&place);
                    }
                    _ => {}
                }
                Ok(())
            }
            ToPeer::Proxy { path, method, .. } => {
                if self.paths.contains(&(peer, path.clone())) {
                    return Ok(());
                }
                Err(format!(
                    "{method} of {path}, which {node:?} has not announced"
                ))
            }
            _ => Ok(()),
        }
    }

    /// A proxy that may not be is told at once.
    fn is_denied_told(&self, event: &Event, speaker: Option<&str>, actions: &[Action]) -> Verdict {
        let Event::PeerMessage {
            peer,
            message: FromPeer::ProxyNew { target, path, .. },
        } = event
        else {
            return Ok(());
        };
        let Some(source) = speaker.filter(|source| !self.is_allowed(source, target)) else {
            return Ok(());
        };
        let is_told = actions.iter().any(|action| {
            let Action::Send {
                peer: to,
                message: ToPeer::Proxy { path: of, .. },
                ..
            } = action
            else {
                return false;
            };
            (to, of) == (peer, path)
        });
        if is_told {
            Ok(())
        } else {
            Err(format!(
                "{source} is not told that it may not need {target}"
            ))
        }
    }
}

impl World {
    /// `hirte-proxy create` has succeeded.
    pub fn proxy_succeeded(&mut self, node: usize, unit: &str) {
        self.proxies_started += 1;
        let (target, needed) = target_of(unit).unwrap();
        let target = self.nodes.iter().find(|node| node.name == target);
        let activations = target.and_then(|target| target.systemd.activations.get(needed));
        if activations.is_none_or(|count| *count == 0) {
            let name = &self.nodes[node].name;
            let violation = format!("{unit} of {name} succeeds, and {needed} was never active");
            self.violation.get_or_insert(violation);
        }
    }

    /// All is at rest: what runs for proxies is what they need, and they know how it is.
    pub fn proxies_at_rest(&self) -> Verdict {
        let mut needed = BTreeSet::new();
        for host in &self.nodes {
            if !host.bus.open.is_empty() {
                return Err(format!(
                    "{} has not answered {:?}",
                    host.name, host.bus.open
                ));
            }
            for (name, unit) in &host.systemd.units {
                let Some((target, of)) = target_of(name) else {
                    continue;
                };
                match unit.active {
                    "active" => {}
                    "inactive" | "failed" => continue,
                    other => return Err(format!("{name} of {} is {other}", host.name)),
                }
                if !self.checker.proxies.is_allowed(&host.name, target) {
                    return Err(format!("{name} of {} is active and denied", host.name));
                }
                needed.insert((target.to_owned(), of.to_owned()));
            }
        }
        let is_active = |(node, unit): &Place| {
            let host = self.nodes.iter().find(|host| host.name == *node);
            host.is_some_and(|host| host.systemd.state(unit) == "active")
        };
        if let Some(place) = needed.iter().find(|place| !is_active(place)) {
            return Err(format!("proxies stand for {place:?}, which does not run"));
        }
        let mut kept = BTreeSet::new();
        for host in &self.nodes {
            for unit in host.systemd.units.keys().filter_map(|name| kept_by(name)) {
                match host.systemd.state(&keeper_of(unit)) {
                    "active" => drop(kept.insert((host.name.clone(), unit.to_owned()))),
                    "inactive" | "failed" => {}
                    other => {
                        return Err(format!("{} on {} is {other}", keeper_of(unit), host.name));
                    }
                }
            }
        }
        // A unit that was to be stopped, and was not, runs on without its keeper.
        let is_left = |place: &&Place| {
            let host = self.nodes.iter().find(|host| host.name == place.0);
            host.is_some_and(|host| host.systemd.left.contains(&keeper_of(&place.1)))
        };
        kept.extend(needed.iter().filter(is_left).cloned());
        if kept != needed {
            return Err(format!("{kept:?} are kept, {needed:?} are needed"));
        }
        let asked = &self.checker.proxies.asked;
        if *asked != needed {
            return Err(format!("{asked:?} are asked for, {needed:?} are needed"));
        }
        Ok(())
    }
}
