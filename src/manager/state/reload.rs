//! The configuration was read again.
//!
//! Nodes that are new appear, nodes that are no longer in it go as if they were lost, and what nodes
//! may depend on holds at once, also for the proxies that exist. Nobody else notices.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Node, NodeSettings, Settings, State, emit,
    event::{Action, Object, Signal},
    log,
};
use crate::{bus::Value, core::Level};

impl State {
    /// The nodes of the configuration, in its order.
    pub(super) fn nodes_in_order(&self) -> impl Iterator<Item = &Node> {
        self.order.iter().map(|index| &self.nodes[*index])
    }

    pub(super) fn warn_of_no_nodes(&self, actions: &mut Vec<Action>) {
        if self.order.is_empty() {
            let text = "No nodes are allowed: AllowedNodeNames= is empty";
            log(actions, Level::Warn, text);
        }
    }

    pub(super) fn reload(&mut self, settings: Settings, actions: &mut Vec<Action>) {
        let before = self.order.clone();
        let names: BTreeSet<&str> = settings
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        let is_gone = |index: &usize| !names.contains(self.nodes[*index].name.as_str());
        let gone: Vec<usize> = before.iter().copied().filter(is_gone).collect();
        for &index in &gone {
            self.node_index.remove(&self.nodes[index].name);
        }
        let mut order = Vec::new();
        let mut earlier = self.places_of_earlier_nodes();
        for node in &settings.nodes {
            let index = self.place_of(node, &mut earlier, actions);
            order.push(index);
        }
        self.order = order;
        self.refuse_proxies(actions);
        for index in gone {
            self.remove_node(index, actions);
        }
        self.settings = settings;
        if self.order != before {
            self.announce_nodes(actions);
        }
    }

    /// Nodes that were in the configuration once. Their places are kept, so that these grow with
    /// the names that there ever were, which only the administrator can add.
    fn places_of_earlier_nodes(&self) -> BTreeMap<String, usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, node)| !self.node_index.contains_key(&node.name))
            .map(|(index, node)| (node.name.clone(), index))
            .collect()
    }

    /// The index of a node of the configuration, which takes over what it says.
    fn place_of(
        &mut self,
        settings: &NodeSettings,
        earlier: &mut BTreeMap<String, usize>,
        actions: &mut Vec<Action>,
    ) -> usize {
        let name = &settings.name;
        let known = self.node_index.get(name).copied();
        let index = known.unwrap_or_else(|| {
            log(actions, Level::Info, format!("Node '{name}' is allowed"));
            let index = earlier.remove(name).unwrap_or(self.nodes.len());
            self.node_index.insert(name.clone(), index);
            index
        });
        if index == self.nodes.len() {
            self.watch_new_node();
            self.nodes.push(Node {
                name: name.clone(),
                ..Node::default()
            });
        }
        self.nodes[index]
            .may_depend_on
            .clone_from(&settings.may_depend_on);
        index
    }

    fn remove_node(&mut self, index: usize, actions: &mut Vec<Action>) {
        let name = &self.nodes[index].name;
        let text = format!("Node '{name}' is no longer allowed");
        log(actions, Level::Info, text);
        self.forget_dependencies_on(index, actions);
        if let Some(peer) = self.nodes[index].peer {
            self.close_peer(peer, "it is no longer allowed", actions);
        }
    }

    fn announce_nodes(&mut self, actions: &mut Vec<Action>) {
        self.warn_of_no_nodes(actions);
        let names = self
            .nodes_in_order()
            .map(|node| node.name.clone())
            .collect();
        let changed = vec![("Nodes".to_owned(), Value::Strings(names))];
        let object = Object::Manager;
        emit(actions, Signal::PropertiesChanged { object, changed });
        self.announce_fleet(actions);
        self.shown_online = None;
        self.show_status(actions);
    }
}
