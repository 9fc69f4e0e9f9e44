//! The picture of a state.
//!
//! Whatever other computers have written is escaped here, and the buffer below takes no control
//! characters either.

use std::borrow::Cow;

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table, Widget},
};

use super::{
    layout::Places,
    state::{Entry, KEYS, Pane, Prompt, Show, State, Tone, UnitRow},
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
        let failed: usize = fleet.nodes.iter().map(super::state::Node::failed).sum();
        let mut spans = vec![
            Span::styled("hirte ", BOLD),
            Span::styled(status, self.look.state(status).add_modifier(Modifier::BOLD)),
        ];
        if let Some(reason) = &self.state.lost {
            spans.push(Span::raw(format!(": {}", escape(reason))));
        } else {
            let nodes = fleet.nodes.len();
            let more = if fleet.is_cut { "+" } else { "" };
            spans.push(Span::raw(format!(
                "  {} of {nodes} nodes  {} jobs  {}{more} units",
                fleet.online(),
                fleet.jobs.len(),
                fleet.units
            )));
            if failed > 0 {
                spans.push(Span::styled(format!("  {failed} failed"), self.look.bad()));
            }
        }
        let area = self.places.header;
        Line::from(spans).render(area, buffer);
        let since = format!(" since {}", self.time(since_s));
        if usize::from(area.width) > 60 {
            Line::raw(since).right_aligned().render(area, buffer);
        }
    }

    /// The title of a list, and what is left of its area.
    fn title(&self, buffer: &mut Buffer, pane: Option<Pane>, title: &str, area: Rect) -> Rect {
        if area.is_empty() {
            return area;
        }
        let has_focus = pane.is_none_or(|pane| pane == self.state.focus);
        let style = if has_focus { BOLD } else { FAINT };
        let width = usize::from(area.width);
        buffer.set_stringn(area.x, area.y, "─".repeat(width), width, FAINT);
        let mark = if has_focus { "▶" } else { "─" };
        let title = format!("{mark} {} ", escape(title));
        buffer.set_stringn(area.x, area.y, title, width, style);
        Rect {
            y: area.y + 1,
            height: area.height - 1,
            ..area
        }
    }

    /// The place of the cursor among the rows that are seen, and the style of a row there.
    fn cursor(&self, pane: Pane, index: usize) -> Style {
        let (chosen, _) = self.state.place(pane);
        match (chosen == index, self.state.focus == pane) {
            (true, true) => REVERSED,
            // The node whose units are shown can be seen from elsewhere, too.
            (true, false) if pane == Pane::Nodes => BOLD,
            _ => Style::new(),
        }
    }

    fn nodes(&self, buffer: &mut Buffer) {
        let fleet = &self.state.fleet;
        let area = self.title(
            buffer,
            Some(Pane::Nodes),
            "Nodes",
            self.places.pane(Pane::Nodes),
        );
        let (_, first) = self.state.place(Pane::Nodes);
        let all = Row::new([Cell::new("all nodes"), Cell::new(self.state.fleet.status())])
            .style(self.cursor(Pane::Nodes, 0));
        let nodes = fleet.nodes.iter().enumerate().map(|(index, node)| {
            let failed = node.failed();
            let (state, style) = match (node.is_online, failed, node.since_s) {
                (true, 0, _) => ("online".to_owned(), self.look.good()),
                (true, failed, _) => (format!("{failed} failed"), self.look.bad()),
                (false, _, 0) => ("offline".to_owned(), self.look.bad()),
                (false, _, since_s) => (format!("offline {}", self.time(since_s)), self.look.bad()),
            };
            let row = Row::new([
                Cell::new(text(&node.name)),
                Cell::new(Line::styled(state, style).right_aligned()),
            ]);
            let stale = if self.state.lost.is_some() {
                FAINT
            } else {
                Style::new()
            };
            row.style(stale.patch(self.cursor(Pane::Nodes, index + 1)))
        });
        let rows = [all].into_iter().chain(nodes);
        let state_width = if area.width < 30 { 7 } else { 16 };
        let rows = rows.skip(first).take(usize::from(area.height));
        Widget::render(
            Table::new(rows, [Constraint::Min(8), Constraint::Length(state_width)]),
            area,
            buffer,
        );
    }

    fn units(&self, buffer: &mut Buffer) {
        let state = self.state;
        let area = self.places.pane(Pane::Units);
        if area.is_empty() {
            return;
        }
        let rows = state.unit_rows();
        let node = state.chosen_node();
        let mut title = match node {
            Some(node) => format!("Units of {node}"),
            None => "Units".to_owned(),
        };
        title.push_str(match state.show {
            Show::All => "",
            Show::Active => ", active",
            Show::Failed => ", failed",
        });
        if !state.filter.is_empty() {
            title.push_str(", with '");
            title.push_str(&state.filter);
            title.push('\'');
        }
        let (chosen, first) = state.place(Pane::Units);
        let place = if rows.is_empty() { 0 } else { chosen + 1 };
        title.push_str(&format!(" ({place} of {})", rows.len()));
        let area = self.title(buffer, Some(Pane::Units), &title, area);
        let columns = Columns::of(area.width, node.is_none());
        let seen = rows
            .iter()
            .enumerate()
            .skip(first)
            .take(state.height(Pane::Units));
        let seen = seen.map(|(index, row)| {
            let style = self.cursor(Pane::Units, index);
            self.unit(row, columns, style)
        });
        let table = Table::new(seen, columns.widths()).header(columns.header().style(FAINT));
        Widget::render(table, area, buffer);
    }

    fn unit<'r>(&self, row: &UnitRow<'r>, columns: Columns, style: Style) -> Row<'r> {
        let unit = row.unit;
        let stale = if unit.is_stale { FAINT } else { Style::new() };
        let coloured = |state: &'r str| {
            let style = if unit.is_stale {
                Style::new()
            } else {
                self.look.state(state)
            };
            Cell::new(Span::styled(text(state), style))
        };
        let mut cells = Vec::new();
        if columns.has_node {
            cells.push(Cell::new(text(&row.node.name)));
        }
        cells.push(Cell::new(text(row.name)));
        if columns.has_load {
            cells.push(coloured(&unit.load));
        }
        cells.push(coloured(&unit.active));
        cells.push(Cell::new(text(&unit.sub)));
        if columns.has_description {
            cells.push(Cell::new(text(&unit.description)));
        }
        Row::new(cells).style(stale.patch(style))
    }

    fn jobs(&self, buffer: &mut Buffer) {
        let jobs = self.state.fleet.jobs.len();
        let title = format!("Jobs ({jobs})");
        let area = self.title(
            buffer,
            Some(Pane::Jobs),
            &title,
            self.places.pane(Pane::Jobs),
        );
        let (_, first) = self.state.place(Pane::Jobs);
        let seen = self.state.job_rows().enumerate().skip(first);
        for ((index, job), y) in seen.zip(area.y..area.y + area.height) {
            let job = format!(
                "{} {} {} {} #{}",
                job.kind, job.unit, job.node, job.state, job.id
            );
            let line = Line::styled(text(&job).into_owned(), self.cursor(Pane::Jobs, index));
            line.render(
                Rect {
                    y,
                    height: 1,
                    ..area
                },
                buffer,
            );
        }
    }

    fn log(&self, buffer: &mut Buffer) {
        let area = self.title(buffer, Some(Pane::Log), "Log", self.places.pane(Pane::Log));
        let (_, first) = self.state.place(Pane::Log);
        let places = first..self.state.log.len();
        for (index, y) in places.zip(area.y..area.y + area.height) {
            if let Some(entry) = self.state.log.get(index) {
                let line = self.entry(entry).style(self.cursor(Pane::Log, index));
                line.render(
                    Rect {
                        y,
                        height: 1,
                        ..area
                    },
                    buffer,
                );
            }
        }
    }

    fn entry<'s>(&self, entry: &'s Entry) -> Line<'s> {
        let mut spans = vec![Span::styled(self.time(entry.at_s), FAINT), Span::raw(" ")];
        for name in [&entry.node, &entry.unit] {
            if !name.is_empty() {
                spans.push(Span::raw(text(name)));
                spans.push(Span::raw(" "));
            }
        }
        spans.push(Span::styled(text(&entry.words), self.look.tone(entry.tone)));
        Line::from(spans)
    }

    fn page(&self, buffer: &mut Buffer) {
        let Some(page) = &self.state.page else { return };
        let title = format!("{} of {}", page.of.unit, page.of.node);
        let area = self.title(buffer, None, &title, self.places.page);
        let Some(lines) = &page.lines else {
            Line::raw("…").render(area, buffer);
            return;
        };
        let lines = lines.iter().skip(page.first).take(usize::from(area.height));
        // The lines are escaped, but for what the view itself has put there.
        let lines: Vec<Line<'_>> = lines.map(|line| self.page_line(line)).collect();
        Paragraph::new(lines).render(area, buffer);
    }

    /// A line of a unit's page; that of its state has the state's colour.
    fn page_line<'l>(&self, line: &'l str) -> Line<'l> {
        let state = line.trim_start().strip_prefix("Active: ");
        let style = state
            .and_then(|state| state.split(' ').next())
            .map_or(Style::new(), |state| self.look.state(state));
        Line::styled(text(line), style)
    }

    fn help(&self, buffer: &mut Buffer, first: usize) {
        let area = self.title(buffer, None, "Keys", self.places.page);
        let rows = KEYS.iter().skip(first).take(usize::from(area.height));
        let rows = rows.map(|(keys, what)| Row::new([Span::styled(*keys, BOLD), Span::raw(*what)]));
        let width = if area.width < 60 { 12 } else { 26 };
        Widget::render(
            Table::new(rows, [Constraint::Length(width), Constraint::Min(10)]),
            area,
            buffer,
        );
    }

    fn footer(&self, buffer: &mut Buffer) {
        let state = self.state;
        let line = match (&state.prompt, &state.notice) {
            (Some(Prompt::Filter(_)), _) => {
                let filter = escape(&state.filter);
                Line::from(vec![
                    Span::styled(format!("/{filter}"), BOLD),
                    Span::styled(" ", REVERSED),
                ])
            }
            (Some(Prompt::Confirm(kind, of)), _) => {
                let kind = kind.as_str();
                let question = format!("{} {} on {}? y/n", capital(kind), of.unit, of.node);
                Line::styled(text(&question).into_owned(), BOLD)
            }
            (None, Some(notice)) => Line::styled(text(notice).into_owned(), BOLD),
            (None, None) => {
                let keys = match (state.help.is_some(), state.page.is_some()) {
                    (true, _) => "Esc close  q close",
                    (false, true) => "Esc close  s start  t stop  r restart",
                    (false, false) if self.places.is_small => {
                        "Tab list  Enter look  h help  q quit"
                    }
                    (false, false) => {
                        "Tab list  Enter look  s start  t stop  r restart  / filter  f failed  a active  \
                         h help  q quit"
                    }
                };
                Line::styled(keys, FAINT)
            }
        };
        line.render(self.places.footer, buffer);
    }

    /// The time of day.
    fn time(&self, at_s: u64) -> String {
        let time = self.zone.civil(i64::try_from(at_s).unwrap_or_default());
        format!("{:02}:{:02}:{:02}", time.hour, time.minute, time.second)
    }
}

/// The columns of units, as many as there is room for.
#[derive(Clone, Copy, Debug)]
struct Columns {
    has_node: bool,
    has_load: bool,
    has_description: bool,
}

impl Columns {
    const fn of(width: u16, has_node: bool) -> Self {
        Self {
            has_node,
            has_load: width >= 50,
            has_description: width >= 76,
        }
    }

    fn header(self) -> Row<'static> {
        let mut names = vec!["UNIT"];
        if self.has_node {
            names.insert(0, "NODE");
        }
        if self.has_load {
            names.push("LOAD");
        }
        names.extend(["ACTIVE", "SUB"]);
        if self.has_description {
            names.push("DESCRIPTION");
        }
        Row::new(names)
    }

    fn widths(self) -> Vec<Constraint> {
        let mut widths = Vec::new();
        if self.has_node {
            widths.push(Constraint::Max(16));
        }
        widths.push(Constraint::Fill(1));
        if self.has_load {
            widths.push(Constraint::Length(9));
        }
        widths.extend([Constraint::Length(8), Constraint::Length(8)]);
        if self.has_description {
            widths.push(Constraint::Fill(1));
        }
        widths
    }
}

fn text(text: &str) -> Cow<'_, str> {
    escape(text)
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
