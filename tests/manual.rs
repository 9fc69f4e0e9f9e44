//! The manual pages: they have no mistakes of form, and their lists are those of the documents, which
//! other tests hold against the code.
//!
//! `HIRTE_UPDATE=1 cargo test --test manual` writes the lists in `data/man` anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where a line of a list ends, so that the pages can be read as they are.
const WIDTH: usize = 78;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The pages by their file names.
fn pages() -> Vec<PathBuf> {
    let folder = fs::read_dir(path("data/man")).unwrap();
    let mut pages: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    pages
}

/// The cells of the first table below a line of a document that begins with `heading`, header first.
fn table<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let lines = document
        .lines()
        .skip_while(|line| !line.starts_with(heading));
    let rows = lines.skip(1).skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|'));
    let cells = |row: &'a str| -> Vec<&str> {
        let row = row.trim_start_matches('|').trim_end_matches('|');
        row.split('|').map(str::trim).collect()
    };
    let rows: Vec<Vec<&str>> = rows.map(cells).collect();
    assert!(rows.len() > 2, "no table below {heading}");
    rows
}

/// Text of a document as roff: what stands in backticks is bold, links are their text.
fn roff(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once('[') {
        text.push_str(before);
        match link.split_once("](") {
            Some((words, target)) if !words.contains([']', ' ']) => {
                text.push_str(words);
                rest = target.split_once(')').expect("the end of a link").1;
            }
            _ => {
                text.push('[');
                rest = link;
            }
        }
    }
    text.push_str(rest);
    let mut roff = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = part.replace('\\', "\\e").replace('-', "\\-");
        match index % 2 {
            1 => write!(roff, "\\fB{part}\\fR").unwrap(),
            _ => roff.push_str(&part),
        }
    }
    roff
}

/// The text in lines, none of which roff takes for a request.
fn lines(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().unwrap();
        if !line.is_empty() && line.len() + word.len() >= WIDTH {
            lines.push(String::new());
        } else if !line.is_empty() {
            line.push(' ');
        }
        let line = lines.last_mut().unwrap();
        if line.is_empty() && word.starts_with(['.', '\'']) {
            line.push_str("\\&");
        }
        line.push_str(word);
    }
    lines.join("\n")
}

/// A table as a list of roff.
fn list(rows: &[Vec<&str>]) -> String {
    let (header, rows) = rows.split_first().unwrap();
    let mut list = String::new();
    // The row below the header is the rule.
    for row in rows.iter().skip(1) {
        let tag = match (header[0], row[..].len()) {
            ("key", 3) if row[1] == "(none)" => format!("{} (no default)", row[0]),
            ("key", 3) => format!("{} (default: {})", row[0], row[1]),
            ("command", 3) => format!("{} {}", row[0], row[1].replace('`', "")),
            _ => row[0].to_owned(),
        };
        let (tag, meaning) = (
            roff(tag.trim()),
            lines(&capital(&roff(row.last().unwrap()))),
        );
        let end = if meaning.ends_with('.') { "" } else { "." };
        write!(list, ".TP\n{tag}\n{meaning}{end}\n").unwrap();
    }
    list
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// The headings of the sections about keys of a file, and the list of each.
fn key_sections(document: &str, file: &str) -> String {
    let mut sections = String::new();
    for heading in key_headings(document) {
        let is_agents = heading.contains("of the agent");
        if is_agents == (file == "agent.conf") {
            let title = title(heading.trim_start_matches(['#', ' ']));
            let list = list(&table(document, heading));
            write!(sections, ".SH \"{title}\"\n{list}").unwrap();
        }
    }
    sections
}

/// A heading of a page: capitals, but what stands in backticks is as it has to be written.
fn title(heading: &str) -> String {
    let parts = heading.split('`').enumerate();
    let parts = parts.map(|(index, part)| match index % 2 {
        1 => part.to_owned(),
        _ => part.to_uppercase(),
    });
    parts.collect::<String>().replace('-', "\\-")
}

fn key_headings(document: &str) -> impl Iterator<Item = &str> {
    document
        .lines()
        .filter(|line| line.starts_with("## Keys of "))
}

/// A page with its lists as the documents have them.
fn filled(page: &str) -> String {
    let mut filled = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        filled.push_str(line);
        filled.push('\n');
        let Some((what, source)) = line.strip_prefix(".\\\" ").and_then(|l| l.split_once(": "))
        else {
            continue;
        };
        let (file, heading) = source.split_once(", ").expect("a file and a heading");
        let document = read(file);
        filled.push_str(&match what {
            "table" => list(&table(&document, heading)),
            "sections" => key_sections(&document, heading),
            _ => panic!("{line}"),
        });
        filled.push_str(".\\\" end\n");
        assert!(lines.any(|line| line == ".\\\" end"), "{line} has no end");
    }
    filled
}

#[test]
fn lists_are_those_of_the_documents() {
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        let expected = filled(&page);
        if std::env::var_os("HIRTE_UPDATE").is_some() {
            fs::write(&path, expected).unwrap();
        } else {
            assert!(
                page == expected,
                "{}: HIRTE_UPDATE=1 writes its lists anew",
                path.display()
            );
        }
    }
}

#[test]
fn pages_have_no_mistakes_of_form() {
    let pages = pages();
    let names: Vec<&str> = pages
        .iter()
        .map(|page| page.file_name().unwrap().to_str().unwrap())
        .collect();
    for name in [
        "agent.conf.5",
        "hirte-agent.1",
        "hirte-dashboard.1",
        "hirte-proxy.1",
        "hirte-state.5",
        "hirte.1",
        "hirte.conf.5",
        "hirtectl-top.1",
        "hirtectl.1",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    let output = Command::new("mandoc")
        .args(["-T", "lint", "-W", "style"])
        .args(&pages)
        .output()
        .expect("this test needs mandoc");
    // Pages that others installed are not there.
    let complaints = String::from_utf8(output.stdout).unwrap();
    assert!(complaints.is_empty(), "{complaints}");
}

/// The options that `command` of hirtectl has by its help, as a row of the documents begins.
fn options(command: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_hirtectl"))
        .arg("help")
        .args(command)
        .output()
        .unwrap();
    options_in(&String::from_utf8(output.stdout).unwrap())
}

fn options_in(help: &str) -> Vec<String> {
    let (_, options) = help.split_once("\nOptions:\n").expect("options");
    let options = options.lines().take_while(|line| !line.is_empty());
    let options = options.filter_map(|line| line.strip_prefix("  -"));
    options
        .map(|line| format!("-{}", line.split("  ").next().unwrap()))
        .filter(|option| !option.contains("--help"))
        .map(|option| format!("`{}`", option.replace(", ", "`, `")))
        .collect()
}

/// The one program whose options are in no document.
#[test]
fn every_option_of_hirte_proxy_is_in_its_page() {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hirte-proxy");
    let _ = fs::remove_file(&program);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hirte-agent"), &program).unwrap();
    let output = Command::new(&program).arg("--help").output().unwrap();
    let mut expected = options_in(&String::from_utf8(output.stdout).unwrap());
    expected.push("`-h`, `--help`".to_owned());
    let page = read("data/man/hirte-proxy.1").replace('\\', "");
    let written: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".BR -"))
        .map(|line| format!("`-{}`", line.replace(" \", \" ", "`, `")))
        .collect();
    assert_eq!(written, expected);
}

#[test]
fn every_option_of_every_command_is_documented() {
    let document = read("docs/hirtectl.md");
    let commands = table(&document, "# hirtectl");
    let mut expected: BTreeSet<String> = options(&[]).into_iter().collect();
    for row in &commands[2..] {
        let command = row[0].trim_matches('`');
        if command != "help" {
            let words: Vec<&str> = command.split(' ').collect();
            expected.extend(options(&words));
        }
    }
    expected.insert("`-h`, `--help`".to_owned());
    let written: BTreeSet<String> = table(&document, "## Options")[2..]
        .iter()
        .map(|row| row[0].to_owned())
        .collect();
    assert!(expected.len() > 10);
    assert_eq!(written, expected);
}
