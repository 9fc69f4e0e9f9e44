//! From text to a state file, or to all its mistakes.

use std::{collections::BTreeMap, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    kind,
    model::{Entry, Mistake, NodeEntry, Place, State, StateFile, Wanted},
};
use crate::limits;

const TOP: &str = "'exact', 'allow', tables [node.NAME] or tables [stage.NAME.NODE]";
const STATE: &str =
    "\"active\", \"inactive\" or a table such as { state = \"active\", enabled = true }";
const WANTED: &str = "'state' and 'enabled'";

/// Reads a state file. The error has its mistakes in the order of their places, at most
/// [`limits::STATE_FILE_MISTAKES`]; text that is no TOML is one mistake.
pub fn parse(text: &str) -> Result<StateFile, Vec<Mistake>> {
    let lines = Lines(text);
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(text.len(), |span| span.start);
        vec![Mistake {
            place: lines.place(start),
            message: error.message().replace('\n', ", "),
        }]
    })?;
    let mut reader = Reader {
        lines,
        file: StateFile::default(),
        units: Vec::new(),
        nodes: Vec::new(),
        mistakes: Vec::new(),
    };
    reader.top(table.get_ref());
    reader.finish()
}

/// A key with its value.
type Pair<'t, 'i> = (
    &'t Spanned<std::borrow::Cow<'i, str>>,
    &'t Spanned<DeValue<'i>>,
);

/// A table's keys in the order of the file; the table itself has them in that of the alphabet.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Pair<'t, 'i>> {
    let mut pairs: Vec<_> = table.iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    pairs
}

struct Reader<'i> {
    lines: Lines<'i>,
    file: StateFile,
    /// Units, each with where it stands.
    units: Vec<(usize, Entry)>,
    /// Nodes, each with where it is named.
    nodes: Vec<(usize, NodeEntry)>,
    mistakes: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn mistake(&mut self, span: &Range<usize>, message: impl Into<String>) {
        self.mistakes.push((span.start, message.into()));
    }

    /// The table in `value`; that it is none is a mistake.
    fn table<'t, 'i>(
        &mut self,
        value: &'t Spanned<DeValue<'i>>,
        expected: &str,
    ) -> Vec<Pair<'t, 'i>> {
        if let DeValue::Table(table) = value.get_ref() {
            return in_order(table);
        }
        let found = kind_of(value.get_ref());
        self.mistake(&value.span(), format!("{found} instead of {expected}"));
        Vec::new()
    }

    fn top(&mut self, table: &DeTable<'_>) {
        let mut allow = None;
        for (key, value) in in_order(table) {
            match key.get_ref().as_ref() {
                "exact" => match value.get_ref() {
                    DeValue::Boolean(exact) => self.file.is_exact = *exact,
                    other => {
                        let found = kind_of(other);
                        self.mistake(&value.span(), format!("{found} instead of true or false"));
                    }
                },
                "allow" => {
                    self.allow(value);
                    allow = Some(key.span());
                }
                "node" => {
                    for (name, units) in self.table(value, "tables [node.NAME]") {
                        self.node(None, name, units);
                    }
                }
                "stage" => {
                    for (stage, nodes) in self.table(value, "tables [stage.NAME.NODE]") {
                        for (name, units) in self.table(nodes, "tables [stage.NAME.NODE]") {
                            self.node(Some(stage.get_ref()), name, units);
                        }
                    }
                }
                other => {
                    let message = format!("unknown key '{other}'; expected {TOP}");
                    self.mistake(&key.span(), message);
                }
            }
        }
        if let Some(span) = allow.filter(|_| !self.file.is_exact) {
            self.mistake(&span, "'allow' has a meaning only with 'exact = true'");
        }
    }

    fn allow(&mut self, value: &Spanned<DeValue<'_>>) {
        let expected = "a list of patterns such as [\"systemd-*\", \"*.mount\"]";
        let DeValue::Array(patterns) = value.get_ref() else {
            let found = kind_of(value.get_ref());
            return self.mistake(&value.span(), format!("{found} instead of {expected}"));
        };
        for pattern in patterns {
            match pattern.get_ref() {
                DeValue::String(text) if !text.is_empty() => {
                    self.file.allow.push(text.clone().into_owned());
                }
                other => {
                    let found = kind_of(other);
                    self.mistake(&pattern.span(), format!("{found} instead of a pattern"));
                }
            }
        }
    }

    /// A table of units.
    fn node(
        &mut self,
        stage: Option<&str>,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        units: &Spanned<DeValue<'_>>,
    ) {
        let node = name.get_ref().as_ref();
        if node.is_empty() {
            self.mistake(&name.span(), "the name of a node is missing");
        }
        let entry = NodeEntry {
            place: self.lines.place(name.span().start),
            name: node.to_owned(),
        };
        self.nodes.push((name.span().start, entry));
        for (unit, wanted) in self.table(units, "a table of units") {
            let name = unit.get_ref().as_ref();
            if let Err(expected) = kind::check_unit_name(name) {
                let hint = unquoted(wanted.get_ref()).map_or_else(String::new, |suffix| {
                    format!(" (a name with dots is quoted: \"{name}.{suffix}\")")
                });
                let message = format!("'{name}' instead of {expected}{hint}");
                self.mistake(&unit.span(), message);
                continue;
            }
            if let Some(wanted) = self.wanted(name, wanted) {
                let entry = Entry {
                    place: self.lines.place(unit.span().start),
                    stage: stage.map(str::to_owned),
                    node: node.to_owned(),
                    unit: name.to_owned(),
                    wanted,
                };
                self.units.push((unit.span().start, entry));
            }
        }
    }

    /// What is wanted of a unit.
    fn wanted(&mut self, unit: &str, value: &Spanned<DeValue<'_>>) -> Option<Wanted> {
        let mut wanted = Wanted {
            state: None,
            enabled: None,
        };
        match value.get_ref() {
            DeValue::String(_) => wanted.state = Some(self.state(unit, value, STATE)?),
            DeValue::Table(table) => {
                for (key, value) in in_order(table) {
                    match (key.get_ref().as_ref(), value.get_ref()) {
                        ("state", _) => {
                            let expected = "\"active\" or \"inactive\"";
                            wanted.state = Some(self.state(unit, value, expected)?);
                        }
                        ("enabled", DeValue::Boolean(enabled)) => wanted.enabled = Some(*enabled),
                        ("enabled", other) => {
                            let found = kind_of(other);
                            let message = format!("{found} instead of true or false");
                            self.mistake(&value.span(), message);
                            return None;
                        }
                        (other, _) => {
                            let message = format!("unknown key '{other}'; expected {WANTED}");
                            self.mistake(&key.span(), message);
                            return None;
                        }
                    }
                }
                if wanted.state.is_none() && wanted.enabled.is_none() {
                    self.mistake(
                        &value.span(),
                        format!("nothing is said of {unit}; expected {WANTED}"),
                    );
                    return None;
                }
            }
            other => {
                let found = kind_of(other);
                self.mistake(&value.span(), format!("{found} instead of {STATE}"));
                return None;
            }
        }
        Some(wanted)
    }

    fn state(&mut self, unit: &str, value: &Spanned<DeValue<'_>>, expected: &str) -> Option<State> {
        let DeValue::String(word) = value.get_ref() else {
            let found = kind_of(value.get_ref());
            self.mistake(&value.span(), format!("{found} instead of {expected}"));
            return None;
        };
        let state = State::ALL.into_iter().find(|state| state.word() == word);
        if state.is_none() {
            let message = format!("unknown state '{word}'; expected {expected}");
            self.mistake(&value.span(), message);
        } else if kind::is_template(unit) {
            let message = format!(
                "{unit} is a template and can not run; expected an instance of it, or {{ enabled = \
                 true }}"
            );
            self.mistake(&value.span(), message);
            return None;
        }
        state
    }

    /// Brings all into the order of the file.
    fn finish(mut self) -> Result<StateFile, Vec<Mistake>> {
        self.units.sort_by_key(|(start, _)| *start);
        let mut first: BTreeMap<(&str, &str), Place> = BTreeMap::new();
        for (start, entry) in &self.units {
            if let Some(place) = first.get(&(entry.node.as_str(), entry.unit.as_str())) {
                let message = format!(
                    "{} of node '{}' is named twice; the first time at {place}",
                    entry.unit, entry.node
                );
                self.mistakes.push((*start, message));
            } else {
                first.insert((&entry.node, &entry.unit), entry.place);
            }
        }
        if !self.mistakes.is_empty() {
            self.mistakes.sort();
            self.mistakes.truncate(limits::STATE_FILE_MISTAKES);
            let mistakes = self.mistakes.into_iter();
            return Err(mistakes
                .map(|(start, message)| Mistake {
                    place: self.lines.place(start),
                    message,
                })
                .collect());
        }
        self.nodes.sort_by_key(|(start, _)| *start);
        for (_, node) in self.nodes {
            if self.file.nodes.iter().all(|known| known.name != node.name) {
                self.file.nodes.push(node);
            }
        }
        self.file.entries = self.units.into_iter().map(|(_, entry)| entry).collect();
        Ok(self.file)
    }
}

/// The suffix of a unit's name that was written without quotes, so that TOML took its dot for the
/// beginning of a table.
fn unquoted<'t>(value: &'t DeValue<'_>) -> Option<&'t str> {
    let DeValue::Table(table) = value else {
        return None;
    };
    let mut keys = table.keys().map(|key| key.get_ref().as_ref());
    keys.find(|key| kind::CONTROLLED.contains(key))
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(text) if text.is_empty() => "an empty text",
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The text, to find places in it.
#[derive(Clone, Copy)]
struct Lines<'i>(&'i str);

impl Lines<'_> {
    /// The place of a byte.
    fn place(&self, start: usize) -> Place {
        let before = &self.0[..self.0.floor_char_boundary(start)];
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let begin = before.rfind('\n').map_or(0, |end| end + 1);
        Place {
            line,
            column: before[begin..].chars().count() + 1,
        }
    }
}
