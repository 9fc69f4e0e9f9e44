//! House rules that neither the compiler nor a linter checks.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines that a source file may have, its unit tests not counted: what can be read in one sitting.
const LINES: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files that belong to the project and exist: committed ones, and those that would be, where
/// there is git; elsewhere (an unpacked release) all but hidden folders and build output.
fn files() -> Vec<PathBuf> {
    let git = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached"])
        .args(["--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let mut files = match git {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)
            .expect("file names are UTF-8")
            .split_terminator('\0')
            .map(|name| root().join(name))
            .filter(|path| path.is_file())
            .collect(),
        _ => walk(root()),
    };
    files.sort();
    assert!(files.contains(&root().join("src/lib.rs")), "{files:?}");
    files
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let entry = entry.expect("a readable entry");
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with('.');
        let kind = entry.file_type().expect("a file type");
        if kind.is_dir() && !hidden && name != "target" {
            files.extend(walk(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

/// The files below `folder` that end in `.extension`.
fn files_in(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files = files();
    files.retain(|path| {
        path.starts_with(root().join(folder)) && path.extension().is_some_and(|e| e == extension)
    });
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines of a source file before its unit tests.
fn lines_without_tests(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    tests.unwrap_or(lines.len())
}

#[test]
fn source_files_can_be_read_in_one_sitting() {
    for path in files_in("src", "rs") {
        // A module of unit tests in a file of its own.
        if path.file_name().is_some_and(|name| name == "tests.rs")
            || path.components().any(|part| part.as_os_str() == "tests")
        {
            continue;
        }
        let lines = lines_without_tests(&read(&path));
        assert!(
            lines <= LINES,
            "{} has {lines} lines without its tests, more than {LINES}",
            path.display()
        );
    }
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let mut roots = files_in("src/bin", "rs");
    roots.retain(|path| path.parent() == Some(&root().join("src/bin")));
    assert!(!roots.is_empty());
    roots.push(root().join("src/lib.rs"));
    for path in roots {
        assert!(
            read(&path)
                .lines()
                .any(|line| line == "#![forbid(unsafe_code)]"),
            "{} does not forbid unsafe code",
            path.display()
        );
    }
}

/// The targets of `[text](target)` outside code in a Markdown text.
fn links(markdown: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut fenced = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // What lies between a pair of backticks is every second piece.
        for text in line.split('`').step_by(2) {
            for (start, _) in text.match_indices("](") {
                if let Some((target, _)) = text[start + 2..].split_once(')') {
                    let target = target.split_whitespace().next().unwrap_or_default();
                    links.push(target.to_owned());
                }
            }
        }
    }
    links
}

#[test]
fn links_are_found_outside_code_only() {
    let text =
        "a [b](c.md) `[d](e)` [f](g#h \"title\")\n```sh\n[i](j)\n```\n[`k`](l) ![m](n.svg)\n";
    assert_eq!(links(text), ["c.md", "g#h", "l", "n.svg"]);
}

#[test]
fn relative_links_in_documents_lead_somewhere() {
    for path in files_in("", "md") {
        let folder = path.parent().expect("a file lies in a folder");
        for link in links(&read(&path)) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            assert!(
                folder.join(file).exists(),
                "{} links to {link}, which is not there",
                path.display()
            );
        }
    }
}

#[test]
fn no_file_names_a_place_outside_the_project() {
    // Pieced together, so that this file is not one that names them.
    let places = [["..", "shared"].join("/"), ["", "work", ""].join("/")];
    for path in files() {
        let text = fs::read(&path).expect("a readable file");
        let text = String::from_utf8_lossy(&text);
        for place in &places {
            for (number, line) in text.lines().enumerate() {
                assert!(
                    !line.contains(place.as_str()),
                    "{}:{} names {place}",
                    path.display(),
                    number + 1
                );
            }
        }
    }
}
