//! Proxies that the configuration does not allow any more.

use super::{
    super::{
        State,
        event::{Action, Reason, UnitChange},
        log,
    },
    Key, NO_SUCH_NODE,
};
use crate::{bus::Body, core::Level};

/// `SubState` of a target that its source may no longer depend on.
const NOT_ALLOWED: &str = "not-allowed";

impl State {
    /// Whether units of one node may depend on units of another one.
    pub(super) fn check_allowed(&self, source: usize, target: usize) -> Result<(), String> {
        let (source, target) = (&self.nodes[source], &self.nodes[target].name);
        if source.may_depend_on.contains(target) {
            return Ok(());
        }
        let name = &source.name;
        Err(format!(
            "Proxy on node not allowed: AllowDependenciesOn= in [node {name}] does not name \
             '{target}'"
        ))
    }

    /// Ends each proxy that the configuration does not allow any more.
    pub(in super::super) fn refuse_proxies(&mut self, actions: &mut Vec<Action>) {
        for key in self.proxies.by_key.keys().cloned().collect::<Vec<_>>() {
            let is_node = |index: usize| self.node_index.contains_key(&self.nodes[index].name);
            let allowed = if is_node(key.0) && is_node(key.1) {
                self.check_allowed(key.0, key.1)
            } else {
                Err(NO_SUCH_NODE.to_owned())
            };
            if let Err(reason) = allowed {
                self.refuse_proxy(&key, &reason, actions);
            }
        }
    }

    /// A proxy that waits gets the error. To one that has succeeded its unit is inactive: agents in
    /// C abort when such a one gets an error.
    fn refuse_proxy(&mut self, key: &Key, reason: &str, actions: &mut Vec<Action>) {
        let (node, unit) = (&self.nodes[key.0].name, &key.2);
        let text = format!("Proxy of node '{node}' for unit '{unit}' ended: {reason}");
        log(actions, Level::Warn, text);
        self.release(key, actions);
        let Some(proxy) = self.proxies.by_key.get_mut(key) else {
            return;
        };
        let end = UnitChange::State {
            active: "inactive".to_owned(),
            sub: NOT_ALLOWED.to_owned(),
            reason: Reason::Real,
        };
        if proxy.is_held {
            // Its agent announces it again, and gets this instead.
            proxy.missed_end.get_or_insert(end);
            return;
        }
        if proxy.was_active {
            self.tell_proxy(key, &end, actions);
        } else {
            let path = proxy.path.clone();
            self.call_proxy(key.0, path, "Error", Body::of(&(reason,)), actions);
        }
        self.proxies.by_key.remove(key);
    }

    /// A node is not in the configuration any more: its agent is asked to let go of all that it
    /// runs for others.
    pub(in super::super) fn forget_dependencies_on(
        &mut self,
        node: usize,
        actions: &mut Vec<Action>,
    ) {
        let needed = self.proxies.needed.range((node, String::new())..);
        let of_node = needed.take_while(|((target, _), _)| *target == node);
        let places: Vec<_> = of_node.map(|(place, _)| place.clone()).collect();
        for place in places {
            let dependency = self.proxies.needed.remove(&place);
            let is_started = dependency.is_some_and(|dependency| dependency.is_started);
            if let Some(peer) = self.nodes[node].peer.filter(|_| is_started) {
                self.tell_agent(peer, "StopDep", &place.1, actions);
            }
            self.unwatch_for_proxies(node, &place.1, actions);
        }
    }
}
