//! The documents say what the code does: keys, commands and members are those of its tables, and the
//! commands in blocks marked `sh lab` work on real nodes.
//!
//! `HIRTE_UPDATE=1 cargo test --test docs` writes the list of members in docs/api.md anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "guide/mod.rs"]
mod guide;
#[path = "lab/mod.rs"]
mod lab;
#[path = "support/tree.rs"]
mod tree;

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hirte::{
    bus::interface::{Argument, Changes, Interface},
    config::{AGENT_KEYS, Key, MANAGER_KEYS},
    ctl::ExitStatus,
    manager::api::interfaces::PUBLIC,
};

/// Between these lines docs/api.md is generated.
const MEMBERS: [&str; 2] = ["<!-- members -->\n", "<!-- end -->\n"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn document(name: &str) -> String {
    fs::read_to_string(path(name)).expect("a readable document")
}

/// The part of a document below the heading that begins with `heading`, up to the next of its level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(heading).expect("the heading is there");
    let rest = &text[start + heading.len()..];
    rest.split("\n## ").next().unwrap()
}

/// The rows of all tables in a text as their cells.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect())
        .collect()
}

fn expect_keys<C>(section: &str, keys: &[Key<C>]) {
    let written: Vec<[String; 2]> = rows(section)
        .iter()
        .filter(|cells| cells[0] != "key")
        .map(|cells| [cells[0].to_owned(), cells[1].to_owned()])
        .collect();
    let expected: Vec<[String; 2]> = keys
        .iter()
        .map(|key| {
            let default = match key.default {
                "" => "(none)".to_owned(),
                default => format!("`{default}`"),
            };
            [format!("`{}`", key.name), default]
        })
        .collect();
    assert_eq!(written, expected);
}

#[test]
fn every_key_is_documented_with_its_default() {
    let text = document("docs/configuration.md");
    expect_keys(section(&text, "\n## Keys of the manager"), MANAGER_KEYS);
    expect_keys(section(&text, "\n## Keys of the agent"), AGENT_KEYS);
}

/// The first words of the lines of a program's help between `heading` and the next empty line.
fn words_of_help(program: &str, heading: &str) -> Vec<String> {
    let output = Command::new(program).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let (_, lines) = help.split_once(heading).expect("the heading is there");
    lines
        .trim_start_matches('\n')
        .lines()
        .take_while(|line| !line.is_empty())
        // What begins further to the right goes on with the line above.
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split("  ").next().unwrap().to_owned())
        .collect()
}

/// The options of a program's help as a row of the documents begins with them: `` `-v`, `--version` ``.
/// Help itself, which the programs write in different ways, is left out.
fn options_of(program: &str) -> Vec<String> {
    words_of_help(program, "Options:")
        .iter()
        .filter(|option| !option.contains("--help"))
        .map(|option| format!("`{}`", option.replace(", ", "`, `")))
        .collect()
}

#[test]
fn every_option_of_the_daemons_is_documented() {
    let text = document("docs/configuration.md");
    let text = section(&text, "\n## Command line");
    let (manager, agent) = text.split_once("`hirte-agent`:").unwrap();
    for (table, program) in [
        (manager, env!("CARGO_BIN_EXE_hirte")),
        (agent, env!("CARGO_BIN_EXE_hirte-agent")),
    ] {
        let written: Vec<&str> = rows(table)
            .iter()
            .map(|cells| cells[0])
            .filter(|cell| *cell != "option" && !cell.contains("--help"))
            .collect();
        assert_eq!(written, options_of(program), "{program}");
    }
}

#[test]
fn every_command_and_exit_status_of_hirtectl_is_documented() {
    let text = document("docs/hirtectl.md");
    let first_cells: Vec<String> = rows(&text).iter().map(|row| row[0].to_owned()).collect();
    let program = env!("CARGO_BIN_EXE_hirtectl");
    let commands = words_of_help(program, "Commands:");
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        assert!(first_cells.contains(&format!("`{command}`")), "{command}");
    }
    for option in options_of(program) {
        assert!(first_cells.contains(&option), "{option}");
    }
    let statuses: Vec<String> = rows(section(&text, "\n## Exit status"))
        .iter()
        .skip(1)
        .map(|row| row[0].to_owned())
        .collect();
    let expected = [
        ExitStatus::Done,
        ExitStatus::Failed,
        ExitStatus::Usage,
        ExitStatus::NoManager,
        ExitStatus::NodeOffline,
        ExitStatus::Unknown,
    ]
    .map(|status| (status as u8).to_string());
    assert_eq!(statuses, expected);
}

/// Arguments as `(name: type, ...)`.
fn arguments(arguments: &[Argument]) -> String {
    let list: Vec<String> = arguments
        .iter()
        .map(|Argument(name, signature)| format!("{name}: {signature}"))
        .collect();
    format!("({})", list.join(", "))
}

fn member(text: &mut String, declaration: &str, doc: &str) {
    write!(text, "\n**`{declaration}`**\n\n{doc}\n").unwrap();
}

/// The members of an interface in Markdown.
fn members(interface: &Interface) -> String {
    let mut text = format!("\n### {}\n\n{}\n", interface.name, interface.doc);
    for method in interface.methods {
        let mut declaration = format!("{}{}", method.name, arguments(method.arguments));
        if !method.results.is_empty() {
            write!(declaration, " -> {}", arguments(method.results)).unwrap();
        }
        member(&mut text, &declaration, method.doc);
    }
    for signal in interface.signals {
        let declaration = format!("signal {}{}", signal.name, arguments(signal.arguments));
        member(&mut text, &declaration, signal.doc);
    }
    for property in interface.properties {
        let declaration = format!("property {}: {}", property.name, property.signature);
        let changes = match property.changes {
            Changes::Emitted => "Changes are announced by `PropertiesChanged`.",
            Changes::Constant => "Never changes.",
            Changes::Silent => "Changes without a signal.",
        };
        member(
            &mut text,
            &declaration,
            &format!("{} {changes}", property.doc),
        );
    }
    text
}

#[test]
fn every_member_of_the_api_is_documented() {
    let text = document("docs/api.md");
    let (before, rest) = text.split_once(MEMBERS[0]).unwrap();
    let (_, after) = rest.split_once(MEMBERS[1]).unwrap();
    let generated: String = PUBLIC.into_iter().map(members).collect();
    let expected = [before, MEMBERS[0], &generated, "\n", MEMBERS[1], after].concat();
    if std::env::var_os("HIRTE_UPDATE").is_some() {
        fs::write(path("docs/api.md"), expected).unwrap();
    } else {
        assert!(
            text == expected,
            "docs/api.md: the members are not those of the code; HIRTE_UPDATE=1 writes them anew"
        );
    }
}

/// The fenced blocks of a document whose fence has the info string `sh lab`, with their lines.
fn lab_blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line == "```sh lab" {
            let block: Vec<&str> = (&mut lines)
                .map(|(_, line)| line)
                .take_while(|line| *line != "```")
                .collect();
            blocks.push((number + 1, block.join("\n")));
        }
    }
    blocks
}

#[test]
fn blocks_for_the_lab_are_found() {
    let text = "```sh\na\n```\n```sh lab\nb\nc\n```\nd\n```sh lab\ne\n```\n";
    assert_eq!(lab_blocks(text), [(4, "b\nc".into()), (9, "e".into())]);
}

#[test]
fn examples_work_on_the_nodes_of_the_guide() {
    let mut documents = vec![path("README.md")];
    for entry in fs::read_dir(path("docs")).unwrap() {
        documents.push(entry.unwrap().path());
    }
    documents.retain(|file| file.extension().is_some_and(|ending| ending == "md"));
    documents.sort();
    let blocks: Vec<(String, String)> = documents
        .iter()
        .flat_map(|file| {
            lab_blocks(&fs::read_to_string(file).unwrap())
                .into_iter()
                .map(|(line, block)| (format!("{}:{line}", file.display()), block))
        })
        .collect();
    assert!(!blocks.is_empty());
    if !lab::require() {
        return;
    }
    let executables = Path::new(env!("CARGO_BIN_EXE_hirte")).parent().unwrap();
    let lab = lab::Lab::builder("docs")
        .layer(tree::install_tree(executables))
        .build();
    let [laptop, _rpi4] = guide::first(&lab, &guide::Walk { is_shown: false });
    for (place, block) in blocks {
        let output = laptop.run(&["sh", "-ec", &block]);
        assert!(
            output.success(),
            "{place}:\n{block}\n{output}\n{}",
            guide::journals(&laptop)
        );
    }
}
