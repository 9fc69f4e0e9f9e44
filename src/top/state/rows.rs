//! The rows of the lists, and the cursor in each.

use super::{Fleet, Heights, Job, Node, Pane, Presence, Show, State, Target, Unit};

/// A row of the list of units.
#[derive(Clone, Copy, Debug)]
pub(in crate::top) struct UnitRow<'s> {
    pub node: &'s Node,
    pub name: &'s str,
    pub unit: &'s Unit,
}

impl UnitRow<'_> {
    fn target(&self) -> Target {
        Target {
            node: self.node.name.clone(),
            unit: self.name.to_owned(),
        }
    }

    fn is(&self, target: &Target) -> bool {
        self.name == target.unit && self.node.name == target.node
    }
}

impl State {
    /// The node whose units are shown; none for all.
    pub fn chosen_node(&self) -> Option<&str> {
        self.nodes.key()?.as_deref()
    }

    /// The units that are shown, in the order of the nodes and of their names.
    pub fn unit_rows(&self) -> Vec<UnitRow<'_>> {
        unit_rows(&self.fleet, self.chosen_node(), self.show, &self.filter)
    }

    /// All jobs, the oldest first.
    pub fn job_rows(&self) -> impl Iterator<Item = &Job> {
        self.fleet.jobs.values()
    }

    /// The place of the chosen row and of the first one that is seen.
    pub fn place(&self, pane: Pane) -> (usize, usize) {
        match pane {
            Pane::Nodes => (self.nodes.index(), self.nodes.first()),
            Pane::Units => (self.units.index(), self.units.first()),
            Pane::Jobs => (self.jobs.index(), self.jobs.first()),
            Pane::Log => (self.entries.index(), self.entries.first()),
        }
    }

    /// How many rows of a list are seen.
    pub fn height(&self, pane: Pane) -> usize {
        match pane {
            Pane::Nodes => self.nodes.height(),
            Pane::Units => self.units.height(),
            Pane::Jobs => self.jobs.height(),
            Pane::Log => self.entries.height(),
        }
    }

    /// Brings all lists in order for a picture with these heights.
    pub fn settle(&mut self, heights: Heights) {
        self.nodes.set_height(heights.nodes);
        self.units.set_height(heights.units);
        self.jobs.set_height(heights.jobs);
        self.entries.set_height(heights.log);
        self.page_height = heights.page.max(1);
        for pane in Pane::ALL {
            self.settle_pane(pane);
        }
        let end = self.page_height;
        if let Some(page) = &mut self.page {
            let lines = page.lines.as_ref().map_or(0, Vec::len);
            page.first = page.first.min(lines.saturating_sub(end));
        }
    }

    fn settle_pane(&mut self, pane: Pane) {
        match pane {
            Pane::Nodes => {
                let nodes = &self.fleet.nodes;
                // The first row is that of all nodes.
                let found = match self.nodes.key() {
                    Some(None) => Some(0),
                    Some(Some(name)) => nodes
                        .iter()
                        .position(|node| node.name == *name)
                        .map(|index| index + 1),
                    None => None,
                };
                // A node that was asked for may not be known yet.
                if found.is_some() || !nodes.is_empty() {
                    self.nodes
                        .settle(nodes.len() + 1, found, |index| node_at(nodes, index));
                }
            }
            Pane::Units => {
                let rows = unit_rows(
                    &self.fleet,
                    self.nodes.key().and_then(Option::as_deref),
                    self.show,
                    &self.filter,
                );
                let found = self.units.key().and_then(|key| {
                    let guess = self.units.index();
                    let is_there = rows.get(guess).is_some_and(|row| row.is(key));
                    is_there
                        .then_some(guess)
                        .or_else(|| rows.iter().position(|row| row.is(key)))
                });
                self.units
                    .settle(rows.len(), found, |index| rows[index].target());
            }
            Pane::Jobs => {
                let ids: Vec<u32> = self.fleet.jobs.keys().copied().collect();
                let found = self.jobs.key().and_then(|key| ids.binary_search(key).ok());
                self.jobs.settle(ids.len(), found, |index| ids[index]);
            }
            Pane::Log => {
                let log = &self.log;
                let last = log.len().saturating_sub(1);
                let place = match self.entries.key() {
                    Some(key) if !self.is_at_end => log.place(*key).min(last),
                    _ => last,
                };
                self.entries.go(log.len(), place, |index| log.number(index));
            }
        }
    }

    /// Moves the cursor of the list in focus to where `to` says, given its place and how many rows
    /// there are.
    pub(super) fn go(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let (index, _) = self.place(self.focus);
        match self.focus {
            Pane::Nodes => {
                let nodes = &self.fleet.nodes;
                let len = nodes.len() + 1;
                self.nodes
                    .go(len, to(index, len), |index| node_at(nodes, index));
            }
            Pane::Units => {
                let rows = unit_rows(
                    &self.fleet,
                    self.nodes.key().and_then(Option::as_deref),
                    self.show,
                    &self.filter,
                );
                let len = rows.len();
                self.units
                    .go(len, to(index, len), |index| rows[index].target());
            }
            Pane::Jobs => {
                let ids: Vec<u32> = self.fleet.jobs.keys().copied().collect();
                self.jobs
                    .go(ids.len(), to(index, ids.len()), |index| ids[index]);
            }
            Pane::Log => {
                let log = &self.log;
                let place = to(index, log.len());
                self.is_at_end = place + 1 >= log.len();
                self.entries.go(log.len(), place, |index| log.number(index));
            }
        }
    }

    /// The unit that the page is about, or else the chosen row of the list in focus.
    pub(super) fn target(&self) -> Option<Target> {
        if let Some(page) = &self.page {
            return Some(page.of.clone());
        }
        match self.focus {
            Pane::Nodes => None,
            Pane::Units => self
                .unit_rows()
                .get(self.units.index())
                .map(UnitRow::target),
            Pane::Jobs => self.job_rows().nth(self.jobs.index()).map(|job| Target {
                node: job.node.clone(),
                unit: job.unit.clone(),
            }),
            Pane::Log => {
                let entry = self.log.get(self.entries.index())?;
                let target = Target {
                    node: entry.node.clone(),
                    unit: entry.unit.clone(),
                };
                Some(target).filter(|target| !target.unit.is_empty())
            }
        }
    }
}

/// The node in this row, where the first one is that of all.
fn node_at(nodes: &[Node], index: usize) -> Option<String> {
    let node = nodes.get(index.checked_sub(1)?)?;
    Some(node.name.clone())
}

fn unit_rows<'s>(
    fleet: &'s Fleet,
    node: Option<&str>,
    show: Show,
    filter: &str,
) -> Vec<UnitRow<'s>> {
    let mut rows = Vec::new();
    let nodes = fleet.nodes.iter();
    for node in nodes.filter(|known| node.is_none_or(|name| known.name == name)) {
        let of_node = contains(&node.name, filter);
        for (name, unit) in &node.units {
            let is_shown = match show {
                Show::Installed => true,
                Show::Loaded => unit.presence != Presence::Installed,
                Show::Active => unit.active != "inactive",
                Show::Failed => unit.active == "failed",
            };
            let is_found = of_node || contains(name, filter) || contains(&unit.description, filter);
            if is_shown && is_found {
                rows.push(UnitRow { node, name, unit });
            }
        }
    }
    rows
}

/// Whether a text has a part, where the case of ASCII letters does not count.
fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    part.is_empty()
        || text
            .windows(part.len())
            .any(|window| window.eq_ignore_ascii_case(part))
}
