//! The live view as data: what is known, what is shown of it, and what keys do. No clock, no input or
//! output: the edges hand in events and carry out actions.

mod act;
mod cursor;
mod event;
mod fleet;
mod log;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub(super) use self::{
    act::KEYS,
    cursor::Cursor,
    event::{Action, Event, Target},
    fleet::{File, Fleet, Job, Listed, Node, Presence, Told, Unit},
    log::{Entry, Log, Tone},
    rows::UnitRow,
};
use crate::{bus::JobKind, limits};

/// Units by which nodes carry logs and commands to their readers, this view among them: what happens
/// to them is no news.
const STREAMS: &str = "hirte-stream-";
/// The sub state with which the manager tells that a node is lost.
const AGENT_OFFLINE: &str = "agent-offline";

/// A part of the screen with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Nodes,
    Units,
    Jobs,
    Log,
}

impl Pane {
    pub const ALL: [Self; 4] = [Self::Nodes, Self::Units, Self::Jobs, Self::Log];
}

/// Which units are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Show {
    /// Those that are loaded, or were while they were watched.
    #[default]
    Loaded,
    /// All but inactive ones.
    Active,
    /// Also those that have a unit file only.
    Installed,
    Failed,
}

/// What the last line asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    /// For the text of the filter, which was this before.
    Filter(String),
    /// Whether to do it.
    Confirm(JobKind, Target),
}

/// The page about one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub of: Target,
    /// None before they are there.
    pub lines: Option<Vec<String>>,
    /// The first line that is seen.
    pub first: usize,
    /// It was asked for and did not come yet.
    is_asked: bool,
    /// Something has happened since it was asked for.
    is_outdated: bool,
}

/// How many rows the parts of the screen have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heights {
    pub nodes: usize,
    pub units: usize,
    pub jobs: usize,
    pub log: usize,
    /// Of the page or the help.
    pub page: usize,
}

/// All of it.
#[derive(Debug)]
pub(super) struct State {
    pub fleet: Fleet,
    pub log: Log,
    /// Why the manager is lost, if it is.
    pub lost: Option<String>,
    /// The fleet's state, in a word, and since when that was seen.
    pub status: (&'static str, u64),
    pub focus: Pane,
    pub show: Show,
    /// Units whose name, node or description has this text are shown.
    pub filter: String,
    pub prompt: Option<Prompt>,
    pub page: Option<Page>,
    /// The first line of the help that is seen, while it is shown.
    pub help: Option<usize>,
    /// A sentence for the last line, until the next key.
    pub notice: Option<String>,
    /// On a node, or on the row of all.
    nodes: Cursor<Option<String>>,
    units: Cursor<Target>,
    jobs: Cursor<u32>,
    /// The entry that is chosen; none to stay at the end.
    entries: Cursor<u64>,
    is_at_end: bool,
    /// What was asked for here and has not ended.
    asked: VecDeque<(JobKind, Target)>,
    page_height: usize,
}

impl State {
    /// Before anything is known, with a node to be chosen.
    pub fn new(now_s: u64, node: Option<String>) -> Self {
        Self {
            fleet: Fleet::default(),
            log: Log::default(),
            lost: None,
            status: ("connecting", now_s),
            focus: if node.is_some() {
                Pane::Units
            } else {
                Pane::Nodes
            },
            show: Show::Loaded,
            filter: String::new(),
            prompt: None,
            page: None,
            help: None,
            notice: None,
            nodes: Cursor::on(node),
            units: Cursor::default(),
            jobs: Cursor::default(),
            entries: Cursor::default(),
            is_at_end: true,
            asked: VecDeque::new(),
            page_height: 1,
        }
    }

    /// Takes in what has happened at a time (seconds since 1970) and appends what is to be done.
    pub fn handle(&mut self, now_s: u64, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Key(key) => self.press(key, actions),
            Event::Watching { nodes, jobs } => self.watching(now_s, nodes, jobs, actions),
            Event::Nodes(nodes) => {
                self.fleet.set_nodes(nodes);
                self.list_online(actions);
            }
            Event::ManagerLost(reason) => self.manager_lost(now_s, &reason),
            Event::Node { name, is_online } => self.node(now_s, &name, is_online, actions),
            Event::UnitNew {
                node,
                unit,
                is_real,
            } => self.unit_new(&node, &unit, is_real, actions),
            Event::UnitState {
                node,
                unit,
                active,
                sub,
                is_real,
            } => self.unit_state(
                now_s,
                &Target { node, unit },
                (active, sub),
                is_real,
                actions,
            ),
            Event::UnitRemoved {
                node,
                unit,
                is_real,
            } => self.unit_removed(&node, &unit, is_real, actions),
            Event::Listed { node, units, files } => self.fleet.list(&node, units, files),
            Event::Job(job) => self.fleet.add_job(job),
            Event::JobState { id, state } => {
                if let Some(job) = self.fleet.jobs.get_mut(&id) {
                    job.state = text(&state);
                }
            }
            Event::JobEnded {
                id,
                node,
                unit,
                result,
            } => self.job_ended(now_s, id, &Target { node, unit }, &result),
            Event::Page { of, lines } => self.page_came(&of, lines, actions),
            Event::Refused { of, reason } => {
                self.asked.retain(|(_, asked)| *asked != of);
                self.fill_page(&of, &reason);
                self.notice = Some(text(&reason));
                self.log.add(now_s, of.names(), &reason, Tone::Bad);
            }
        }
        self.note_status(now_s);
    }

    fn watching(
        &mut self,
        now_s: u64,
        nodes: Vec<Told>,
        jobs: Vec<Job>,
        actions: &mut Vec<Action>,
    ) {
        if self.lost.take().is_some() {
            let words = "the manager is back";
            self.log.add(now_s, ("", ""), words, Tone::Good);
        }
        self.fleet.set_nodes(nodes);
        self.fleet.lose_all();
        for job in jobs {
            self.fleet.add_job(job);
        }
        self.list_online(actions);
    }

    fn list_online(&self, actions: &mut Vec<Action>) {
        let online = self.fleet.nodes.iter().filter(|node| node.is_online);
        actions.extend(online.map(|node| list(&node.name, true)));
    }

    fn manager_lost(&mut self, now_s: u64, reason: &str) {
        if self.lost.is_none() {
            let words = format!("the manager is lost: {reason}");
            self.log.add(now_s, ("", ""), &words, Tone::Bad);
        }
        self.fleet.lose_all();
        self.asked.clear();
        self.lost = Some(text(reason));
    }

    fn node(&mut self, now_s: u64, name: &str, is_online: bool, actions: &mut Vec<Action>) {
        let Some(node) = self.fleet.node_mut(name) else {
            return;
        };
        if node.is_online != is_online {
            node.is_online = is_online;
            node.since_s = now_s;
            let (words, tone) = if is_online {
                ("online", Tone::Good)
            } else {
                ("offline", Tone::Bad)
            };
            self.log.add(now_s, (name, ""), words, tone);
        }
        if is_online {
            actions.push(list(name, true));
        } else if let Some(node) = self.fleet.node_mut(name) {
            for unit in node.units.values_mut() {
                unit.is_stale = true;
            }
        }
    }

    fn unit_new(&mut self, node: &str, unit: &str, is_real: bool, actions: &mut Vec<Action>) {
        // That of all units stands for the subscription.
        if unit == "*" {
            return;
        }
        if let Some(known) = self.fleet.unit_mut(node, unit) {
            known.is_stale = false;
            known.presence = Presence::Loaded;
            if is_real && known.load.is_empty() {
                actions.push(list(node, false));
            }
        }
    }

    fn unit_state(
        &mut self,
        now_s: u64,
        of: &Target,
        (active, sub): (String, String),
        is_real: bool,
        actions: &mut Vec<Action>,
    ) {
        if of.unit == "*" || (!is_real && sub == AGENT_OFFLINE) {
            return;
        }
        let Some(unit) = self.fleet.unit_mut(&of.node, &of.unit) else {
            return;
        };
        unit.is_stale = false;
        let (active, sub) = (text(&active), text(&sub));
        let has_changed = unit.active != active || unit.sub != sub;
        (unit.active, unit.sub) = (active, sub);
        if !has_changed {
            return;
        }
        let words = state_words(&unit.active, &unit.sub);
        let tone = match unit.active.as_str() {
            "active" => Tone::Good,
            "failed" => Tone::Bad,
            _ => Tone::Plain,
        };
        if is_real && !of.unit.starts_with(STREAMS) {
            self.log.add(now_s, of.names(), &words, tone);
        }
        self.page_changed(of, actions);
    }

    fn unit_removed(&mut self, node: &str, unit: &str, is_real: bool, actions: &mut Vec<Action>) {
        if is_real {
            self.fleet.unload(node, unit);
            return;
        }
        let Some(known) = self.fleet.node_mut(node) else {
            return;
        };
        // Its node is lost, of which the manager may tell later; otherwise its list tells.
        let is_online = known.is_online;
        if let Some(unit) = known.units.get_mut(unit) {
            unit.is_stale = true;
            if is_online {
                actions.push(list(node, false));
            }
        }
    }

    fn job_ended(&mut self, now_s: u64, id: u32, of: &Target, result: &str) {
        let known = self.fleet.jobs.remove(&id).map(|job| job.kind);
        let asked = self.asked.iter().position(|(_, asked)| asked == of);
        let asked = asked.and_then(|index| self.asked.remove(index));
        let kind = known
            .or_else(|| asked.map(|(kind, _)| kind.as_str().to_owned()))
            .unwrap_or_else(|| "job".to_owned());
        let tone = match result {
            "done" => Tone::Good,
            "skipped" | "canceled" => Tone::Plain,
            _ => Tone::Bad,
        };
        self.log
            .add(now_s, of.names(), &format!("{kind}: {result}"), tone);
    }

    /// Takes in the page that was asked for, if it is still wanted.
    fn page_came(
        &mut self,
        of: &Target,
        lines: Result<Vec<String>, String>,
        actions: &mut Vec<Action>,
    ) {
        let Some(page) = self.page.as_mut().filter(|page| page.of == *of) else {
            return;
        };
        let lines = lines.unwrap_or_else(|reason| vec![reason]);
        let lines = lines.iter().take(limits::TOP_PAGE_LINES);
        let cut = |line: &String| line.chars().take(limits::TOP_PAGE_LINE).collect();
        page.lines = Some(lines.map(cut).collect());
        page.is_asked = false;
        if page.is_outdated {
            page.is_outdated = false;
            page.is_asked = true;
            actions.push(Action::Look(of.clone()));
        }
    }

    /// Shows on the page about this unit, while there is nothing else, why there is nothing.
    fn fill_page(&mut self, of: &Target, reason: &str) {
        if let Some(page) = self.page.as_mut().filter(|page| page.of == *of) {
            page.is_asked = false;
            page.lines.get_or_insert_with(|| vec![text(reason)]);
        }
    }

    /// Something has happened to a unit, whose page is to be asked for again if it is shown.
    fn page_changed(&mut self, of: &Target, actions: &mut Vec<Action>) {
        let Some(page) = self.page.as_mut().filter(|page| page.of == *of) else {
            return;
        };
        if page.is_asked {
            page.is_outdated = true;
        } else {
            page.is_asked = true;
            actions.push(Action::Look(of.clone()));
        }
    }

    fn note_status(&mut self, now_s: u64) {
        let status = match &self.lost {
            Some(_) => "manager lost",
            None if self.fleet.nodes.is_empty() => return,
            None => self.fleet.status(),
        };
        if self.status.0 != status {
            self.status = (status, now_s);
        }
    }
}

/// A unit's state as people know it.
pub(super) fn state_words(active: &str, sub: &str) -> String {
    if active == sub {
        active.to_owned()
    } else {
        format!("{active} ({sub})")
    }
}

fn list(node: &str, with_files: bool) -> Action {
    Action::List {
        node: node.to_owned(),
        with_files,
    }
}

/// As much of a text as is kept.
fn text(text: &str) -> String {
    text.chars().take(limits::TOP_TEXT).collect()
}
