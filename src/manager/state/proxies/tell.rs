//! What proxies are told of their units.

use std::collections::VecDeque;

use super::{
    super::{
        State,
        event::{Action, PeerId, Reason, ToPeer, UnitChange},
        log,
    },
    Key, Late, Proxy,
};
use crate::{
    bus::{Body, CallError},
    core::Level,
    limits,
};

impl State {
    /// The agent of a target told of a unit.
    pub(in super::super) fn target_changed(
        &mut self,
        target: usize,
        unit: &str,
        change: &UnitChange,
        actions: &mut Vec<Action>,
    ) {
        for key in self.proxies.of_unit(target, unit) {
            let Some(proxy) = self.proxies.by_key.get_mut(&key) else {
                continue;
            };
            if proxy.is_held {
                if is_end(change) {
                    proxy.missed_end.get_or_insert_with(|| change.clone());
                }
                continue;
            }
            match (std::mem::replace(&mut proxy.late, Late::Nothing), change) {
                (late, UnitChange::New { .. } | UnitChange::Properties { .. }) => {
                    proxy.late = late;
                }
                (_, UnitChange::State { .. }) if proxy.note(change) => {
                    proxy.waits_for_list = None;
                }
                (Late::End, _) if is_end(change) => {
                    if matches!(change, UnitChange::State { .. }) {
                        proxy.late = Late::Removal;
                    }
                    self.start_dependency(key.0, target, unit, actions);
                    continue;
                }
                (Late::Removal, UnitChange::Removed { .. }) => continue,
                _ => proxy.waits_for_list = None,
            }
            self.tell_proxy(&key, change, actions);
        }
    }

    /// The list of a target's units with this number came.
    pub(in super::super) fn target_listed(
        &mut self,
        target: usize,
        list: u64,
        actions: &mut Vec<Action>,
    ) {
        let waits = |proxy: &Proxy| {
            let waits = proxy.waits_for_list.is_some_and(|number| number <= list);
            waits && !proxy.is_held
        };
        let of_target = self.proxies.of_target(target);
        let keys = of_target.filter(|(_, proxy)| waits(proxy));
        let keys: Vec<Key> = keys.map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let Some(proxy) = self.proxies.by_key.get_mut(&key) {
                proxy.waits_for_list = None;
            }
            for change in self.snapshot_of(target, &key.2) {
                if let Some(proxy) = self.proxies.by_key.get_mut(&key) {
                    proxy.note(&change);
                }
                self.tell_proxy(&key, &change, actions);
            }
        }
    }

    pub(super) fn tell_proxy(&mut self, key: &Key, change: &UnitChange, actions: &mut Vec<Action>) {
        let (method, arguments) = match change {
            UnitChange::New { reason } => ("TargetNew", Body::of(&(reason.word(),))),
            UnitChange::State {
                active,
                sub,
                reason,
            } => {
                let arguments = Body::of(&(word(active), word(sub), reason.word()));
                ("TargetStateChanged", arguments)
            }
            UnitChange::Removed { reason } => ("TargetRemoved", Body::of(&(reason.word(),))),
            UnitChange::Properties { .. } => return,
        };
        if let Some(proxy) = self.proxies.by_key.get_mut(key) {
            if let UnitChange::State { active, .. } = change {
                if active == "active" {
                    proxy.was_active = true;
                    proxy.missed_end = None;
                } else if is_end(change) {
                    // Its agent may be cut off, and not hear of it.
                    proxy.missed_end = Some(change.clone());
                }
            }
            let path = proxy.path.clone();
            self.call_proxy(key.0, path, method, arguments, actions);
        }
    }

    /// Calls a proxy of a node that is online. It is told whatever it answers, so that the number
    /// of calls without an answer is no limit; nothing waits for the answer.
    pub(super) fn call_proxy(
        &mut self,
        source: usize,
        path: String,
        method: &str,
        arguments: Body,
        actions: &mut Vec<Action>,
    ) {
        let Some(id) = self.nodes[source].peer else {
            return;
        };
        let call = ToPeer::Proxy {
            path: path.clone(),
            method: method.to_owned(),
            arguments,
        };
        let serial = self.send(id, call, actions);
        if let Some(peer) = self.peers.get_mut(&id) {
            let calls: &mut VecDeque<_> = &mut peer.proxy_calls;
            if calls.len() >= limits::MAX_PROXY_CALLS {
                calls.pop_front();
            }
            calls.push_back((serial, path));
        }
    }

    /// An agent answered what may be a call of a proxy. It can not know one that it has removed
    /// meanwhile; agents in C do not know those either that they made on an earlier connection.
    pub(in super::super) fn proxy_answered(
        &mut self,
        id: PeerId,
        serial: u32,
        answer: Result<Body, CallError>,
        actions: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let at = peer.proxy_calls.iter().position(|call| call.0 == serial);
        let call = at.and_then(|at| peer.proxy_calls.remove(at));
        let (Some((_, path)), Some(source), Err(error)) = (call, peer.node, answer) else {
            return;
        };
        let is_known = self
            .proxies
            .of_source(source)
            .any(|(_, proxy)| proxy.path == path);
        let level = if is_known { Level::Warn } else { Level::Debug };
        let name = &self.nodes[source].name;
        let text = format!("Node '{name}' refused what its proxy {path} is told: {error}");
        log(actions, level, text);
    }
}

impl Proxy {
    /// Notes how its unit is. Returns whether the unit ends what it did before the proxy began.
    pub(super) fn note(&mut self, change: &UnitChange) -> bool {
        if !is_alive(change) {
            return false;
        }
        let is_ending =
            matches!(change, UnitChange::State { active, .. } if active == "deactivating");
        self.has_begun |= !is_ending;
        self.late = if self.has_begun {
            Late::Nothing
        } else {
            Late::End
        };
        !self.has_begun
    }
}

/// Whether this tells that a unit has not ended, though it may be about to.
pub(super) fn is_alive(change: &UnitChange) -> bool {
    matches!(change, UnitChange::State { active, .. } if !["inactive", "failed"].contains(&active.as_str()))
}

/// Whether a proxy ends with this.
fn is_end(change: &UnitChange) -> bool {
    match change {
        UnitChange::State { active, reason, .. } => {
            *reason == Reason::Real && ["inactive", "failed"].contains(&active.as_str())
        }
        UnitChange::Removed { reason } => *reason == Reason::Real,
        UnitChange::New { .. } | UnitChange::Properties { .. } => false,
    }
}

/// A word of an agent, cut to the length that words have.
fn word(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::MAX_NAME)]
}
