//! What keys do.

use super::{Action, Page, Pane, Prompt, Show, State, Target};
use crate::{bus::JobKind, limits, top::key::Key};

/// The keys and what each does: the help.
pub(in crate::top) const KEYS: &[(&str, &str)] = &[
    ("Up Down, k j", "previous or next row"),
    ("PgUp PgDn, b Space", "a page up or down"),
    (
        "Home End, g G",
        "first or last row; at the end the log follows",
    ),
    ("Tab Shift-Tab, Left Right", "previous or next list"),
    ("Enter, i", "look at the unit: status and latest log"),
    ("s", "start the unit"),
    ("t, S", "stop the unit"),
    ("r", "restart the unit"),
    (
        "/",
        "show units with this text in name, node or description",
    ),
    ("f", "show failed units, or loaded ones"),
    ("a", "show loaded, active, or all installed units"),
    ("Esc", "close this, or end the filter"),
    ("h, ?", "this help"),
    ("Ctrl-L, Ctrl-Z", "draw again, suspend"),
    ("q, Ctrl-C", "quit"),
];

impl State {
    /// A key was pressed.
    pub(super) fn press(&mut self, key: Key, actions: &mut Vec<Action>) {
        self.notice = None;
        match key {
            Key::Ctrl('c') => return actions.push(Action::Quit),
            Key::Ctrl('l') => return actions.push(Action::Redraw),
            Key::Ctrl('z') => return actions.push(Action::Suspend),
            _ => {}
        }
        match self.prompt.take() {
            Some(Prompt::Filter(before)) => self.press_in_filter(key, before),
            Some(Prompt::Confirm(kind, of)) => {
                if matches!(key, Key::Char('y' | 'Y')) {
                    self.request(kind, of, actions);
                }
            }
            None if self.help.is_some() => self.press_in_help(key),
            None if self.page.is_some() => self.press_in_page(key),
            None => self.press_in_lists(key, actions),
        }
    }

    fn press_in_filter(&mut self, key: Key, before: String) {
        match key {
            Key::Enter => return,
            Key::Escape => {
                self.filter = before;
                return;
            }
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Ctrl('u') => self.filter.clear(),
            Key::Char(character) if self.filter.chars().count() < limits::TOP_FILTER => {
                self.filter.push(character);
            }
            _ => {}
        }
        self.prompt = Some(Prompt::Filter(before));
    }

    fn press_in_help(&mut self, key: Key) {
        let Some(first) = self.help else { return };
        if is_back(key) || matches!(key, Key::Char('h' | '?')) {
            self.help = None;
            return;
        }
        let last = KEYS.len().saturating_sub(self.page_height);
        self.help = Some(scrolled(key, first, self.page_height).min(last));
    }

    fn press_in_page(&mut self, key: Key) {
        if is_back(key) || matches!(key, Key::Char('i') | Key::Enter) {
            self.page = None;
            return;
        }
        if self.press_for_unit(key) {
            return;
        }
        let height = self.page_height;
        if let Some(page) = &mut self.page {
            let lines = page.lines.as_ref().map_or(0, Vec::len);
            let last = lines.saturating_sub(height);
            page.first = scrolled(key, page.first, height).min(last);
        }
    }

    fn press_in_lists(&mut self, key: Key, actions: &mut Vec<Action>) {
        let page = self.height(self.focus);
        match key {
            Key::Char('q') => actions.push(Action::Quit),
            Key::Up | Key::Char('k') | Key::Ctrl('p') => {
                self.go(|index, _| index.saturating_sub(1));
            }
            Key::Down | Key::Char('j') | Key::Ctrl('n') => self.go(|index, _| index + 1),
            Key::PageUp | Key::Char('b') | Key::Ctrl('b') => {
                self.go(|index, _| index.saturating_sub(page));
            }
            Key::PageDown | Key::Char(' ') | Key::Ctrl('f') => self.go(|index, _| index + page),
            Key::Home | Key::Char('g') => self.go(|_, _| 0),
            Key::End | Key::Char('G') => self.go(|_, len| len.saturating_sub(1)),
            Key::Tab | Key::Right => self.turn(1),
            Key::BackTab | Key::Left => self.turn(Pane::ALL.len() - 1),
            Key::Enter if self.focus == Pane::Nodes => self.focus = Pane::Units,
            Key::Enter | Key::Char('i') => self.look(actions),
            Key::Char('/') => {
                self.focus = Pane::Units;
                self.prompt = Some(Prompt::Filter(self.filter.clone()));
            }
            Key::Char('f') => self.show(match self.show {
                Show::Failed => Show::Loaded,
                _ => Show::Failed,
            }),
            Key::Char('a') => self.show(match self.show {
                Show::Loaded => Show::Active,
                Show::Active => Show::Installed,
                Show::Installed | Show::Failed => Show::Loaded,
            }),
            Key::Escape => self.filter.clear(),
            Key::Char('h' | '?') => self.help = Some(0),
            key => {
                self.press_for_unit(key);
            }
        }
    }

    /// The keys that ask for jobs; true for one of them.
    fn press_for_unit(&mut self, key: Key) -> bool {
        let kind = match key {
            Key::Char('s') => JobKind::Start,
            Key::Char('t' | 'S') => JobKind::Stop,
            Key::Char('r') => JobKind::Restart,
            _ => return false,
        };
        let Some(of) = self.target() else {
            self.notice = Some("No unit is chosen; Tab goes to the units".to_owned());
            return true;
        };
        if let Some(reason) = self.why_not(&of) {
            self.notice = Some(reason);
        } else {
            self.prompt = Some(Prompt::Confirm(kind, of));
        }
        true
    }

    /// Why nothing can be asked for about this unit.
    fn why_not(&self, of: &Target) -> Option<String> {
        let node = &of.node;
        if self.lost.is_some() {
            return Some("The manager is lost".to_owned());
        }
        match self.fleet.node(node) {
            Some(node) if node.is_online => None,
            _ => Some(format!("Node '{node}' is offline")),
        }
    }

    fn request(&mut self, kind: JobKind, of: Target, actions: &mut Vec<Action>) {
        if self.asked.len() == limits::TOP_REQUESTS {
            self.notice = Some("Too many requests wait for their end".to_owned());
            return;
        }
        self.notice = Some(format!(
            "Asked {} to {} {}",
            of.node,
            kind.as_str(),
            of.unit
        ));
        self.asked.push_back((kind, of.clone()));
        actions.push(Action::Request(kind, of));
    }

    fn look(&mut self, actions: &mut Vec<Action>) {
        let Some(of) = self.target() else {
            self.notice = Some("No unit is chosen; Tab goes to the units".to_owned());
            return;
        };
        if let Some(reason) = self.why_not(&of) {
            self.notice = Some(reason);
            return;
        }
        actions.push(Action::Look(of.clone()));
        self.page = Some(Page {
            of,
            lines: None,
            first: 0,
            is_asked: true,
            is_outdated: false,
        });
    }

    fn turn(&mut self, by: usize) {
        let panes = Pane::ALL;
        let place = panes.iter().position(|pane| *pane == self.focus);
        self.focus = panes[(place.unwrap_or_default() + by) % panes.len()];
    }

    fn show(&mut self, show: Show) {
        self.focus = Pane::Units;
        self.show = show;
    }
}

fn is_back(key: Key) -> bool {
    matches!(key, Key::Char('q') | Key::Escape)
}

/// The first line that is seen of a text after a key.
fn scrolled(key: Key, first: usize, height: usize) -> usize {
    match key {
        Key::Up | Key::Char('k') => first.saturating_sub(1),
        Key::Down | Key::Char('j') => first.saturating_add(1),
        Key::PageUp | Key::Char('b') => first.saturating_sub(height),
        Key::PageDown | Key::Char(' ') => first.saturating_add(height),
        Key::Home | Key::Char('g') => 0,
        Key::End | Key::Char('G') => usize::MAX,
        _ => first,
    }
}
