//! The documents say what the code does: keys, commands and members are those of its tables, blocks
//! marked `sh lab` work on real nodes and print what the block of text below them shows, and
//! configuration files are understood without a remark.
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
    time::Duration,
};

use hirte::{
    bus::interface::{Argument, Changes, Interface},
    config::{
        AGENT_KEYS, AgentOptions, Key, MANAGER_KEYS, ManagerOptions, NODE_KEYS, Roots, load_agent,
        load_manager,
    },
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
    expect_keys(section(&text, "\n## Keys of a node"), NODE_KEYS);
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
    .map(|status| status.number().to_string());
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
    let generated: String = PUBLIC
        .into_iter()
        .chain([&hirte::agent::api::AGENT])
        .map(members)
        .collect();
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

/// Commands in documents that no node of the lab can run, with the test that stands for them.
const NOT_FOR_THE_LAB: [(&str, &str); 7] = [
    (
        "cargo build --release --features dashboard\n\
         data/install --destdir / --with-dashboard\nsystemd-sysusers\nsystemctl daemon-reload",
        "tests/dashboard.rs has such nodes",
    ),
    (
        "systemctl enable --now hirte-dashboard",
        "tests/dashboard.rs starts it on nodes that have it",
    ),
    (
        "systemctl daemon-reload\nsystemctl reload dbus\nsystemctl restart hirte-dashboard",
        "tests/dashboard.rs does it on nodes that have it",
    ),
    (
        "./demo",
        "it makes a lab of its own; tests/guide.rs takes the same walk",
    ),
    ("./test", "it runs this test"),
    (
        "cargo build --release\ndata/install --destdir /\nsystemd-sysusers\n\
         systemctl daemon-reload\nsystemctl reload dbus",
        "the lab's nodes are made by data/install from the executables that cargo built",
    ),
    (
        "cargo install cross\ncross build --release --target aarch64-unknown-linux-gnu\n\
         data/install --target aarch64-unknown-linux-gnu --destdir tree",
        "tests/cross/run does it",
    ),
];

/// A fenced block of a document.
#[derive(Debug, PartialEq)]
struct Block {
    /// Where it is.
    place: String,
    /// What stands behind the fence.
    info: String,
    text: String,
}

/// The fenced blocks of a document.
fn blocks(name: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let block: Vec<&str> = (&mut lines)
                .map(|(_, line)| line)
                .take_while(|line| *line != "```")
                .collect();
            blocks.push(Block {
                place: format!("{name}:{}", number + 1),
                info: info.to_owned(),
                text: block.join("\n"),
            });
        }
    }
    blocks
}

#[test]
fn blocks_are_found() {
    let found = blocks("x", "```sh\na\n```\n```sh lab\nb\nc\n```\nd\n");
    let found: Vec<(&str, &str, &str)> = found
        .iter()
        .map(|block| (&*block.place, &*block.info, &*block.text))
        .collect();
    assert_eq!(found, [("x:1", "sh", "a"), ("x:4", "sh lab", "b\nc")]);
}

/// The blocks of each document for users and maintainers.
fn documents() -> Vec<Vec<Block>> {
    let mut names = vec!["README.md".to_owned(), "SPECIFICATION.md".to_owned()];
    for entry in fs::read_dir(path("docs")).unwrap() {
        names.push(format!("docs/{}", entry.unwrap().file_name().display()));
    }
    names.retain(|name| {
        Path::new(name)
            .extension()
            .is_some_and(|ending| ending == "md")
    });
    names.sort();
    names
        .iter()
        .map(|name| blocks(name, &document(name)))
        .collect()
}

#[test]
fn every_block_of_commands_is_run_or_known() {
    let documents = documents();
    let commands: Vec<&Block> = documents
        .iter()
        .flatten()
        .filter(|block| block.info.starts_with("sh"))
        .collect();
    for block in &commands {
        let is_known = NOT_FOR_THE_LAB.iter().any(|known| known.0 == block.text);
        let is_marked = block.info == "sh lab";
        assert!(is_known != is_marked, "{}:\n{}", block.place, block.text);
    }
    for (known, _) in NOT_FOR_THE_LAB {
        assert!(commands.iter().any(|block| block.text == known), "{known}");
    }
}

#[test]
fn configuration_files_in_documents_are_understood() {
    let mut read = 0;
    for block in documents().iter().flatten() {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs.conf");
        fs::write(&file, &block.text).unwrap();
        let no_files = Roots {
            data: "/nowhere".into(),
            etc: "/nowhere".into(),
            run: "/nowhere".into(),
        };
        let (file, nothing) = (Some(file.as_path()), |_: &str| None);
        let notices = match &*block.info {
            "ini" if block.text.contains("[hirte]") => {
                load_manager(&no_files, file, &ManagerOptions::default(), nothing)
                    .map(|loaded| loaded.notices)
            }
            "ini" if block.text.contains("[hirte-agent]") => {
                load_agent(&no_files, file, &AgentOptions::default(), nothing)
                    .map(|loaded| loaded.notices)
            }
            _ => continue,
        };
        assert_eq!(notices.unwrap(), [], "{}", block.place);
        read += 1;
    }
    assert!(read >= 3);
}

/// Every file of tests is in the table of docs/testing.md.
#[test]
fn every_test_is_documented() {
    let text = document("docs/testing.md");
    for entry in fs::read_dir(path("tests")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|ending| ending == "rs") {
            let name = file.file_name().unwrap().display();
            assert!(text.contains(&format!("`tests/{name}`")), "{name}");
        }
    }
}

/// A line of output as it can be compared: numbers and the white space between columns differ from
/// run to run, and `now` is an age like others.
fn comparable(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        words.push(if word == "now" { "0s ago" } else { word });
    }
    let mut compared = String::new();
    for character in words.join(" ").chars() {
        match character {
            '0'..='9' if compared.ends_with('0') => {}
            '0'..='9' => compared.push('0'),
            // A rule is as long as the table is wide.
            '=' | '-' if compared.ends_with(character) => {}
            other => compared.push(other),
        }
    }
    compared
}

#[test]
fn output_is_compared_without_numbers_and_widths() {
    assert_eq!(
        comparable("laptop | now"),
        comparable("laptop   |  12s ago")
    );
    assert_eq!(comparable("===="), comparable("======="));
    assert_ne!(comparable("rpi4 online"), comparable("rpi4 offline"));
}

/// That the lines of `shown` are in `printed`, in this order.
fn expect_output(place: &str, shown: &str, printed: &str) {
    let mut lines = printed.lines().map(comparable);
    for line in shown.lines() {
        let wanted = comparable(line);
        assert!(
            lines.any(|printed| printed == wanted),
            "{place}: {line:?} was not printed, or not there:\n{printed}"
        );
    }
}

fn nodes(prefix: &str) -> lab::Builder {
    lab::Lab::builder(prefix).layer(tree::install_tree())
}

#[test]
fn examples_work_on_the_nodes_of_the_guide() {
    if !lab::require() {
        return;
    }
    let lab = nodes("docs").build();
    let [laptop, _rpi4] = guide::first(&lab, &guide::Walk { is_shown: false });
    let mut ran = 0;
    for document in documents() {
        // Each document starts from the same state.
        laptop.ok(&["hirtectl", "start", "rpi4", "httpd.service"]);
        let next = document.iter().skip(1).map(Some).chain([None]);
        for (block, next) in document.iter().zip(next) {
            if block.info != "sh lab" {
                continue;
            }
            let Block { place, text, .. } = block;
            let output = laptop.run(&["bash", "-eo", "pipefail", "-c", text]);
            assert!(
                output.success(),
                "{place}:\n{text}\n{output}\n{}",
                guide::journals(&laptop)
            );
            if let Some(shown) = next.filter(|next| next.info == "text") {
                expect_output(&shown.place, &shown.text, &output.stdout);
            }
            ran += 1;
        }
    }
    assert!(ran > 10, "{ran}");
}

/// Builds the example as cargo does for a person, and returns the folder that it is in.
fn build_state_manager() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--locked",
            "--offline",
            "--example",
            "state_manager",
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("debug/examples")
}

#[test]
fn the_state_manager_starts_its_unit_whenever_the_node_comes() {
    if !lab::require() {
        return;
    }
    let folder = build_state_manager();
    let lab = nodes("state").bind(&folder).build();
    let [laptop, rpi4] = guide::first(&lab, &guide::Walk { is_shown: false });
    let program = folder.join("state_manager");
    let usage = laptop.run(&[program.to_str().unwrap()]);
    assert_eq!(usage.status.code(), Some(1), "{usage}");

    let patience = Duration::from_secs(20);
    let running = laptop.spawn(&[program.to_str().unwrap(), "rpi4", "httpd.service"]);
    let started = "for httpd.service on rpi4 has ended: done\n";
    running.wait_output(started, patience);
    rpi4.systemctl(&["is-active", "httpd.service"]);

    rpi4.systemctl(&["stop", "hirte-agent", "httpd.service"]);
    running.wait_output("Node rpi4 is offline\n", patience);
    rpi4.systemctl(&["start", "hirte-agent"]);
    running.wait_output("Node rpi4 is online\n", patience);
    lab::eventually(patience, "the unit is started again", || {
        running.stdout().matches(started).count() == 2
    });
    rpi4.systemctl(&["is-active", "httpd.service"]);
}
