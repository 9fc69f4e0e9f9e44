//! The picture of a state.
//!
//! Whatever other computers have written is escaped here, and the buffer below takes no control
//! characters either.

use ratatui_core::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::Widget,
};

use super::{
    layout::{Columns, Places},
    state::{Entry, KEYS, Node, Pane, Prompt, Show, State, Tone, UnitRow, state_words},
};
use crate::ctl::{local_time::Zone, output::escape};

/// How things look: in the terminal's own two colours, and green and red, all of which can be read on
/// dark and light. Without colours the words say it all, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    has_colours: bool,
}

impl Look {
    pub const fn new(has_colours: bool) -> Self {
        Self { has_colours }
    }

    fn good(self) -> Style {
        self.colour(Color::Green)
    }

    fn bad(self) -> Style {
        self.colour(Color::Red)
    }

    fn colour(self, colour: Color) -> Style {
        if self.has_colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    /// Of an active or load state of systemd, or of a node or the fleet.
    fn state(self, state: &str) -> Style {
        match state {
            "active" | "online" | "up" => self.good(),
            "failed" | "offline" | "down" | "manager lost" | "not-found" | "error"
            | "bad-setting" => self.bad(),
            "activating" | "deactivating" | "reloading" | "degraded" => BOLD,
            _ => Style::new(),
        }
    }

    fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Good => self.good(),
            Tone::Bad => self.bad(),
        }
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws a state that was settled for these places.
pub(super) fn draw(buffer: &mut Buffer, state: &State, places: &Places, zone: &Zone, look: Look) {
    let view = View {
        state,
        places,
        zone,
        look,
    };
    view.header(buffer);
    if let Some(first) = state.help {
        view.help(buffer, first);
    } else if state.page.is_some() {
        view.page(buffer);
    } else {
        view.nodes(buffer);
        view.units(buffer);
        view.jobs(buffer);
        view.log(buffer);
    }
    view.footer(buffer);
}

struct View<'s> {
    state: &'s State,
    places: &'s Places,
    zone: &'s Zone,
    look: Look,
}

impl View<'_> {
    fn header(&self, buffer: &mut Buffer) {
        let fleet = &self.state.fleet;
        let (status, since_s) = self.state.status;
        let mut spans = vec![
            Span::styled("hirte ", BOLD),
            Span::styled(status, self.look.state(status).add_modifier(Modifier::BOLD)),
        ];
        if let Some(reason) = &self.state.lost {
            spans.push(Span::raw(format!(": {}", escape(reason))));
        } else {
            let failed: usize = fleet.nodes.iter().map(Node::failed).sum();
            let loaded: usize = fleet.nodes.iter().map(Node::loaded).sum();
            let (online, nodes) = (fleet.online(), fleet.nodes.len());
            spans.push(Span::raw(format!("  {online} of {nodes} nodes")));
            if failed > 0 {
                spans.push(Span::styled(format!("  {failed} failed"), self.look.bad()));
            }
            let jobs = fleet.jobs.len();
            let plural = if jobs == 1 { "" } else { "s" };
            let more = if fleet.is_cut { "+" } else { "" };
            let counts = format!("  {jobs} job{plural}  {loaded}{more} units");
            spans.push(Span::raw(counts));
        }
        let area = self.places.header;
        let line = Line::from(spans);
        let since = format!("  since {}", self.time(since_s));
        if line.width() + since.len() <= usize::from(area.width) {
            Line::raw(since).right_aligned().render(area, buffer);
        }
        line.render(area, buffer);
    }

    /// The title of a list, and what is left of its area.
    fn title(&self, buffer: &mut Buffer, pane: Option<Pane>, title: &str, area: Rect) -> Rect {
        if area.is_empty() {
            return area;
        }
        let has_focus = pane.is_none_or(|pane| pane == self.state.focus);
        // The title lies on a faint rule.
        let (mark, style) = if has_focus {
            ("▶", BOLD.remove_modifier(Modifier::DIM))
        } else {
            ("─", FAINT)
        };
        let rule = "─".repeat(usize::from(area.width));
        put(buffer, area, (0, area.width), &rule, FAINT);
        let line = Line::styled(format!("{mark} {} ", escape(title)), style);
        line.render(Rect { height: 1, ..area }, buffer);
        Rect {
            y: area.y + 1,
            height: area.height - 1,
            ..area
        }
    }

    /// The look of a row in this place of a list: the chosen one is seen by it.
    fn cursor(&self, pane: Pane, index: usize) -> Style {
        let (chosen, _) = self.state.place(pane);
        match (chosen == index, self.state.focus == pane) {
            (true, true) => REVERSED,
            // The node whose units are shown can be seen from elsewhere, too.
            (true, false) if pane == Pane::Nodes => BOLD,
            _ => Style::new(),
        }
    }

    /// The rows of a list that are seen: their places in the list, and where they are.
    fn seen(&self, pane: Pane, area: Rect) -> impl Iterator<Item = (usize, Rect)> + use<> {
        let (_, first) = self.state.place(pane);
        let rows = (area.y..area.y + area.height).map(move |y| Rect {
            y,
            height: 1,
            ..area
        });
        (first..).zip(rows)
    }

    fn nodes(&self, buffer: &mut Buffer) {
        let fleet = &self.state.fleet;
        let area = self.title(buffer, Some(Pane::Nodes), "Nodes", self.places.nodes);
        for (index, row) in self.seen(Pane::Nodes, area) {
            let node = index.checked_sub(1).map(|index| fleet.nodes.get(index));
            let (name, state, style) = match node {
                None => ("all nodes", fleet.status().to_owned(), Style::new()),
                Some(None) => break,
                Some(Some(node)) => {
                    let (state, style) = self.node_state(node, row.width);
                    (node.name.as_str(), state, style)
                }
            };
            let is_stale = self.state.lost.is_some();
            let look = self.cursor(Pane::Nodes, index).patch(faint_if(is_stale));
            buffer.set_style(row, look);
            // A state is short and of one column a letter.
            let width = u16::try_from(state.len())
                .unwrap_or(u16::MAX)
                .min(row.width);
            let name_width = (row.width - width).saturating_sub(1);
            put(buffer, row, (0, name_width), name, Style::new());
            put(buffer, row, (row.width - width, width), &state, style);
        }
    }

    fn node_state(&self, node: &Node, width: u16) -> (String, Style) {
        let failed = node.failed();
        match (node.is_online, node.since_s) {
            (true, _) if failed > 0 => (format!("{failed} failed"), self.look.bad()),
            (true, _) => ("online".to_owned(), self.look.good()),
            (false, since_s) if since_s > 0 && width >= 30 => {
                let state = format!("offline since {}", self.time(since_s));
                (state, self.look.bad())
            }
            (false, _) => ("offline".to_owned(), self.look.bad()),
        }
    }

    fn units(&self, buffer: &mut Buffer) {
        let state = self.state;
        let area = self.places.pane(Pane::Units);
        if area.is_empty() {
            return;
        }
        let rows = state.unit_rows();
        let area = self.title(
            buffer,
            Some(Pane::Units),
            &self.units_title(rows.len()),
            area,
        );
        let columns = Columns::of(area.width, state.chosen_node().is_none());
        if !area.is_empty() {
            for (title, x, width) in columns.all() {
                put(buffer, area, (x, width), title, FAINT);
            }
        }
        let below = Rect {
            y: area.y + 1,
            height: area.height.saturating_sub(1),
            ..area
        };
        for (index, area) in self.seen(Pane::Units, below) {
            let Some(row) = rows.get(index) else { break };
            buffer.set_style(area, self.cursor(Pane::Units, index));
            self.unit(buffer, area, row, &columns);
        }
    }

    /// What is shown, and where in it the cursor is.
    fn units_title(&self, rows: usize) -> String {
        let state = self.state;
        let of = state.chosen_node();
        let of = of.map_or_else(String::new, |node| format!(" of {node}"));
        let show = match state.show {
            Show::Loaded => "",
            Show::Active => ", active",
            Show::Installed => ", installed",
            Show::Failed => ", failed",
        };
        let filter = match state.filter.as_str() {
            "" => String::new(),
            filter => format!(", with '{filter}'"),
        };
        let (chosen, _) = state.place(Pane::Units);
        let place = if rows == 0 { 0 } else { chosen + 1 };
        format!("Units{of}{show}{filter} ({place} of {rows})")
    }

    fn unit(&self, buffer: &mut Buffer, area: Rect, row: &UnitRow<'_>, columns: &Columns) {
        let unit = row.unit;
        buffer.set_style(area, faint_if(unit.is_stale));
        for (title, x, width) in columns.all() {
            let text = match title {
                "NODE" => &row.node.name,
                "UNIT" => row.name,
                "LOAD" => &unit.load,
                "ACTIVE" => &unit.active,
                "SUB" => &unit.sub,
                _ => &unit.description,
            };
            let has_colour = !unit.is_stale && matches!(title, "LOAD" | "ACTIVE");
            let style = has_colour.then(|| self.look.state(text));
            put(buffer, area, (x, width), text, style.unwrap_or_default());
        }
    }

    fn jobs(&self, buffer: &mut Buffer) {
        let jobs = self.state.fleet.jobs.len();
        let title = format!("Jobs ({jobs})");
        let area = self.title(buffer, Some(Pane::Jobs), &title, self.places.jobs);
        let seen = self.seen(Pane::Jobs, area);
        let (_, first) = self.state.place(Pane::Jobs);
        for ((index, row), job) in seen.zip(self.state.job_rows().skip(first)) {
            let (kind, unit, node, state) = (&job.kind, &job.unit, &job.node, &job.state);
            let job = format!("{kind} {unit} {node} {state} #{}", job.id);
            buffer.set_style(row, self.cursor(Pane::Jobs, index));
            put(buffer, row, (0, row.width), &job, Style::new());
        }
    }

    fn log(&self, buffer: &mut Buffer) {
        let area = self.title(buffer, Some(Pane::Log), "Log", self.places.log);
        for (index, row) in self.seen(Pane::Log, area) {
            let Some(entry) = self.state.log.get(index) else {
                break;
            };
            buffer.set_style(row, self.cursor(Pane::Log, index));
            self.entry(entry).render(row, buffer);
        }
    }

    fn entry(&self, entry: &Entry) -> Line<'static> {
        let mut spans = vec![Span::raw(self.time(entry.at_s)), Span::raw(" ")];
        for name in [&entry.node, &entry.unit] {
            if !name.is_empty() {
                spans.push(Span::raw(format!("{} ", escape(name))));
            }
        }
        let words = escape(&entry.words).into_owned();
        spans.push(Span::styled(words, self.look.tone(entry.tone)));
        Line::from(spans)
    }

    fn page(&self, buffer: &mut Buffer) {
        let Some(page) = &self.state.page else { return };
        let (node, unit) = (&page.of.node, &page.of.unit);
        let title = match self.state.fleet.unit(node, unit) {
            Some(known) => {
                format!(
                    "{unit} of {node}: {}",
                    state_words(&known.active, &known.sub)
                )
            }
            None => format!("{unit} of {node}"),
        };
        let area = self.title(buffer, None, &title, self.places.page);
        let waiting = ["…".to_owned()];
        let lines = page.lines.as_deref().unwrap_or(&waiting);
        for (line, row) in lines.iter().skip(page.first).zip(rows(area)) {
            // Of a unit's state the line that tells it has the colour.
            let state = line.trim_start().strip_prefix("Active: ");
            let state = state.and_then(|state| state.split(' ').next());
            let style = state.map(|state| self.look.state(state));
            put(buffer, row, (0, row.width), line, style.unwrap_or_default());
        }
    }

    fn help(&self, buffer: &mut Buffer, first: usize) {
        let area = self.title(buffer, None, "Keys", self.places.page);
        let width = if area.width < 60 { 12 } else { 26 };
        for ((keys, what), row) in KEYS.iter().skip(first).zip(rows(area)) {
            put(buffer, row, (0, width), keys, BOLD);
            let rest = row.width.saturating_sub(width + 1);
            put(buffer, row, (width + 1, rest), what, Style::new());
        }
    }

    fn footer(&self, buffer: &mut Buffer) {
        let state = self.state;
        let (text, style) = match (&state.prompt, &state.notice) {
            (Some(Prompt::Filter(_)), _) => (format!("/{}_", state.filter), BOLD),
            (Some(Prompt::Confirm(kind, of)), _) => {
                let kind = capital(kind.as_str());
                (format!("{kind} {} on {}? y/n", of.unit, of.node), BOLD)
            }
            (None, Some(notice)) => (notice.clone(), BOLD),
            (None, None) => (self.hint().to_owned(), FAINT),
        };
        let area = self.places.footer;
        if !area.is_empty() {
            put(buffer, area, (0, area.width), &text, style);
        }
    }

    /// The keys that one is most likely to want.
    fn hint(&self) -> &'static str {
        if self.state.help.is_some() {
            "Esc close"
        } else if self.state.page.is_some() {
            "Esc close  s start  t stop  r restart"
        } else if self.places.is_small {
            "Tab list  Enter look  h help  q quit"
        } else {
            "Tab list  Enter look  s start  t stop  r restart  / filter  h help  q quit"
        }
    }

    /// The time of day.
    fn time(&self, at_s: u64) -> String {
        let time = self.zone.civil(i64::try_from(at_s).unwrap_or_default());
        format!("{:02}:{:02}:{:02}", time.hour, time.minute, time.second)
    }
}

/// The lines of an area.
fn rows(area: Rect) -> impl Iterator<Item = Rect> {
    let lines = area.y..area.y + area.height;
    lines.map(move |y| Rect {
        y,
        height: 1,
        ..area
    })
}

/// Writes a text, escaped, into a part of an area's first line: from this column on, so many columns.
/// What does not fit is cut, which is seen.
fn put(buffer: &mut Buffer, area: Rect, (x, width): (u16, u16), text: &str, style: Style) {
    let width = width.min(area.width.saturating_sub(x));
    if width == 0 || area.height == 0 {
        return;
    }
    let text = Span::raw(escape(text));
    let (x, columns) = (area.x + x, usize::from(width));
    if text.width() <= columns {
        buffer.set_stringn(x, area.y, &text.content, columns, style);
    } else {
        let (end, _) = buffer.set_stringn(x, area.y, &text.content, columns - 1, style);
        buffer.set_stringn(end, area.y, "…", 1, style);
    }
}

fn faint_if(is_stale: bool) -> Style {
    if is_stale { FAINT } else { Style::new() }
}

fn capital(word: &str) -> String {
    let mut characters = word.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
