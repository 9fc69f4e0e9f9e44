//! The commands of the published guides, in the order of the text.
//!
//! The text came without its fences, so each line is judged by itself: it is prose, a comment, part
//! of a diagram, output, a list of names, a command, or belongs to a file that a command writes. A
//! line that none of these rules knows is an error: nothing of a guide is passed over in silence.
#![allow(
    dead_code,
    reason = "each test crate that includes this uses a part of it"
)]

use std::iter::Peekable;
use std::str::Lines;

use super::text;

/// What the guides call. Prose and names begin otherwise.
const PROGRAMS: [&str; 21] = [
    "augenrules",
    "busctl",
    "chmod",
    "chown",
    "dnf",
    "echo",
    "firewall-cmd",
    "groupadd",
    "hirtectl",
    "journalctl",
    "mkdir",
    "openssl",
    "ping",
    "sed",
    "ss",
    "ssh",
    "systemctl",
    "tee",
    "telnet",
    "top",
    "usermod",
];

/// Lines that show names of units, which nobody is to type.
const NAMES: [&str; 6] = [
    "webapp-frontend.service",
    "webapp-backend.service",
    "webapp-database.service",
    "infrastructure-*.service # Infrastructure services",
    "app-*.service # Application services",
    "monitor-*.service # Monitoring services",
];

/// What begins a diagram.
const DIAGRAMS: [&str; 3] = ["graph TB", "graph LR", "sequenceDiagram"];

/// A command of a guide, or a file that it shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Command {
    /// On one line: of a here-document the line that begins it, of a file its path.
    pub line: String,
    /// All of it as published, for a shell.
    pub script: String,
    /// The file that it writes, with `tee` and a here-document or as the guide shows it.
    pub file: Option<String>,
}

/// The commands of a guide, in the order of the text.
///
/// # Panics
/// If a line is nothing that is known.
pub fn commands(guide: &str) -> Vec<Command> {
    of_text(&text::text(guide), guide == "first")
}

/// The command that a guide has in this form, on one line.
///
/// # Panics
/// If it does not have it.
pub fn command(guide: &str, line: &str) -> Command {
    let mut found = commands(guide);
    found.retain(|command| command.line == line);
    found
        .pop()
        .unwrap_or_else(|| panic!("the {guide} guide has no command {line:?}"))
}

/// `has_prompts`: `# ` stands before commands, not before comments, and what follows up to an empty
/// line was printed.
pub fn of_text(text: &str, has_prompts: bool) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut lines = text.lines().peekable();
    let mut path = "";
    while let Some(line) = lines.next() {
        if DIAGRAMS.contains(&line) {
            while lines.next_if(|line| is_of_diagram(line)).is_some() {}
        } else if let Some(rest) = line.strip_prefix("# ") {
            if has_prompts {
                commands.push(read(rest, &mut lines));
                while lines.next_if(|line| !line.is_empty()).is_some() {}
            }
        } else if line.starts_with('[') {
            let mut content = format!("{line}\n");
            while let Some(line) = lines.next_if(|line| !line.is_empty()) {
                content = content + line + "\n";
            }
            commands.push(Command {
                line: path.to_owned(),
                script: content,
                file: Some(path.to_owned()),
            });
        } else if PROGRAMS.contains(&program(line)) {
            commands.push(read(line, &mut lines));
        } else {
            let is_known = is_prose(line) || NAMES.contains(&line) || is_of_a_log(line);
            assert!(is_known, "neither a command nor prose: {line:?}");
            let named = line.split_whitespace().find(|it| it.starts_with("/etc/"));
            path = named.map_or(path, |path| path.trim_end_matches(':'));
        }
    }
    commands
}

/// Reads a command to its end.
fn read(line: &str, lines: &mut Peekable<Lines<'_>>) -> Command {
    let mut command = Command {
        line: line.to_owned(),
        script: line.to_owned(),
        file: None,
    };
    let mut next = || lines.next().expect("a command has an end");
    if let Some((tee, mark)) = line.split_once("<<") {
        let mark = mark.trim().trim_matches('\'');
        let path = tee.split_whitespace().find(|word| word.starts_with('/'));
        command.file = path.map(str::to_owned);
        loop {
            let line = next();
            command.script = command.script + "\n" + line;
            if line == mark {
                return command;
            }
        }
    }
    while let Some(begun) = command.line.strip_suffix('\\') {
        let line = next();
        command.line = begun.to_owned() + line;
        command.script = command.script + "\n" + line;
    }
    command
}

/// The first word of a line, without `sudo` and the user behind it.
fn program(line: &str) -> &str {
    let line = line.strip_prefix("sudo ").unwrap_or(line);
    let user = line.strip_prefix("-u ").and_then(|it| it.split_once(' '));
    let line = user.map_or(line, |(_, line)| line);
    line.split(' ').next().unwrap_or_default()
}

fn is_of_diagram(line: &str) -> bool {
    let first = line.split(' ').next().unwrap_or_default();
    ["subgraph", "end", "style", "participant"].contains(&first)
        || line.split_once('[').is_some_and(|(name, rest)| {
            name.chars().all(|it| it.is_ascii_alphanumeric()) && rest.ends_with(']')
        })
        || ["-->", "->>", ".->"].iter().any(|it| line.contains(it))
}

/// Commands begin with a small letter or a path, prose does not, and has no sign of the shell.
fn is_prose(line: &str) -> bool {
    let begins = ["- ", "  • ", ""]
        .iter()
        .find_map(|it| line.strip_prefix(it));
    let first = begins.and_then(|line| line.chars().next());
    let is_of_shell = ["<<", " | ", "$(", "&&", "=$"];
    first.is_none_or(|it| it.is_uppercase() || it.is_ascii_digit())
        && !line.split(' ').next().is_some_and(|it| it.contains('='))
        && !line.ends_with('\\')
        && !is_of_shell.iter().any(|it| line.contains(it))
}

fn is_of_a_log(line: &str) -> bool {
    line.starts_with("Mar 13 ")
}
