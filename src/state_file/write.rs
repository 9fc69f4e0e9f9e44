//! From what is to a state file.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    fleet::{Enablement, Node, Unit},
    kind,
    model::State,
};

/// A state file that says what the nodes are, in their given order. It names every unit that an
/// exact file judges and that runs or failed, in the order in which they became active; a unit that
/// failed is written as inactive. An exact one also tells which unit files are enabled, where that
/// does not follow from the state.
#[must_use]
pub fn write(nodes: &[(String, Node)], is_exact: bool) -> String {
    let mut text = String::new();
    if is_exact {
        text.push_str("exact = true\n");
    }
    for (name, node) in nodes {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a String does not fail.
        let _ = writeln!(text, "[node.{}]", key(name));
        for (unit, known) in in_order(node) {
            of_unit(&mut text, unit, known, is_exact);
        }
        if is_exact {
            for (unit, known) in node.enabled().filter(|(unit, _)| !is_shown(node, unit)) {
                of_file(&mut text, unit, known);
            }
        }
    }
    text
}

/// The units that run or failed.
fn in_order(node: &Node) -> Vec<(&str, &Unit)> {
    let mut units: Vec<_> = node.running().collect();
    // What never became active (it failed) comes last.
    units.sort_by_key(|(name, unit)| (unit.active_since_us.wrapping_sub(1), *name));
    units
}

/// Whether a unit file's enablement is told by a unit that runs: itself, or an enabled instance.
fn is_shown(node: &Node, unit: &str) -> bool {
    let is_instance = |name: &str| {
        kind::split_instance(name)
            .is_some_and(|(template, _)| kind::is_template(unit) && template == unit)
    };
    let shown: BTreeSet<&str> = node
        .running()
        .filter(|(name, known)| *name == unit || (is_instance(name) && known.is_enabled()))
        .map(|(name, _)| name)
        .collect();
    !shown.is_empty()
}

fn of_unit(text: &mut String, name: &str, unit: &Unit, is_exact: bool) {
    let state = if unit.is_failed() || unit.active == "deactivating" {
        State::Inactive
    } else {
        State::Active
    };
    let enabled = match unit.enablement() {
        Enablement::Enabled { .. } => Some(true),
        Enablement::Disabled | Enablement::Masked => Some(false),
        Enablement::Fixed => None,
    };
    let said = enabled.filter(|enabled| is_exact && *enabled != (state == State::Active));
    let word = state.word();
    let _ = match said {
        Some(enabled) => write!(
            text,
            "{} = {{ state = \"{word}\", enabled = {enabled} }}",
            key(name)
        ),
        None => write!(text, "{} = \"{word}\"", key(name)),
    };
    // What is neither active nor inactive can not be wanted, and is seen as drift.
    if !unit.is_active() {
        let _ = write!(text, " # {}", unit.active);
    }
    text.push('\n');
}

/// An enabled unit that does not run, or is of a kind that is judged by its unit file alone.
fn of_file(text: &mut String, name: &str, unit: &Unit) {
    let wanted = if kind::is_template(name) {
        "{ enabled = true }"
    } else if unit.is_active() {
        "\"active\""
    } else {
        "{ state = \"inactive\", enabled = true }"
    };
    let _ = writeln!(text, "{} = {wanted}", key(name));
}

/// A key of TOML: bare where it can be, otherwise in quotes.
fn key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_bare) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}
