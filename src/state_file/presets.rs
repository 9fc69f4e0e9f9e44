//! From a state file to systemd.preset(5).

use std::{collections::BTreeMap, fmt::Write};

use super::{
    kind,
    model::{Entry, StateFile},
};

/// The presets of one node: a line for each unit of which the file says whether it starts by itself
/// or runs, in its order, and of an exact file a last line that disables all others. systemd takes
/// the first line that fits, so this file has to be read before those of the distribution.
///
/// A unit without `[Install]` has no presets; the line changes nothing, and something else has to
/// pull the unit in. Nothing if the file does not name the node.
#[must_use]
pub fn presets(file: &StateFile, node: &str) -> Option<String> {
    if file.nodes.iter().all(|entry| entry.name != node) {
        return None;
    }
    let mut instances: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut lines = Vec::new();
    for entry in file.entries_of(node) {
        let enabled = is_enabled(entry);
        match kind::split_instance(&entry.unit) {
            // The first line that names a template decides, so all its instances stand there.
            Some((template, instance)) if enabled && !instance.is_empty() => {
                if !instances.contains_key(&template) {
                    lines.push((true, template.clone()));
                }
                instances.entry(template).or_default().push(instance);
            }
            _ => lines.push((enabled, entry.unit.clone())),
        }
    }
    let mut text = format!("# Presets of node {node}, made by 'hirtectl state presets'.\n");
    for (enabled, unit) in lines {
        let verb = if enabled { "enable" } else { "disable" };
        // Writing to a String does not fail.
        let _ = write!(text, "{verb} {unit}");
        for instance in instances
            .get(&unit)
            .into_iter()
            .flatten()
            .filter(|_| enabled)
        {
            let _ = write!(text, " {instance}");
        }
        text.push('\n');
    }
    if file.is_exact {
        text.push_str("disable *\n");
    }
    Some(text)
}

/// What the file says, or what it means by the unit's state.
fn is_enabled(entry: &Entry) -> bool {
    let runs = || entry.wanted.state == Some(super::State::Active);
    entry.wanted.enabled.unwrap_or_else(runs)
}
