//! House rules that neither the compiler nor a linter checks.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
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

/// The programs, none of which uses another.
const PROGRAMS: [&str; 3] = ["manager", "agent", "ctl"];

/// The modules in the order of the list in `src/lib.rs`.
fn layers() -> Vec<String> {
    let map = read(&root().join("src/lib.rs"));
    let rows = map.lines().filter_map(|line| line.strip_prefix("//! - "));
    rows.flat_map(|row| {
        let (names, _) = row.split_once(": ").expect("names, and what they are");
        names.split(", ").map(|name| {
            let name = name.strip_prefix("[`").and_then(|n| n.strip_suffix("`]"));
            name.expect("a link to a module").to_owned()
        })
    })
    .collect()
}

/// The code of a source file: without comments and unit tests.
fn code(path: &Path) -> String {
    let source = read(path);
    let lines = source.lines().take(lines_without_tests(&source));
    let mut code = String::new();
    for line in lines.filter(|line| !line.trim_start().starts_with("//")) {
        code.push_str(line);
        code.push('\n');
    }
    code
}

/// The modules of this crate that a piece of code names in `crate::name` or `crate::{name, …}`.
fn modules_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        let rest = &code[at + path.len()..];
        let mut depth = 0;
        let mut is_start = true;
        for piece in rest.split_inclusive(['{', '}', ',', ';', ':', ' ', '\n', '(', ')', '<', '>'])
        {
            let end = piece.chars().next_back().unwrap_or_default();
            let word = piece.trim_end_matches(end);
            if is_start && depth <= 1 && !word.is_empty() {
                used.insert(word.to_owned());
                is_start = false;
            }
            match end {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' => is_start = depth == 1,
                _ => {}
            }
            if depth == 0 && (end == '}' || !is_start) {
                break;
            }
        }
    }
    used
}

#[test]
fn used_modules_are_found() {
    let code = "use crate::core::Level;\nuse crate::{\n    bus::{Body, names::{self, A}},\n    \
                limits,\n    wire::Inbox,\n};\nfn f(x: crate::daemon::X) -> crate::ctl::Y {}\n\
                pub(crate) fn g() { notcrate::zbus(); }";
    let used: Vec<_> = modules_used(code).into_iter().collect();
    assert_eq!(used, ["bus", "core", "ctl", "daemon", "limits", "wire"]);
}

#[test]
fn modules_use_only_those_below_them() {
    let layers = layers();
    let place = |module: &str| layers.iter().position(|layer| layer == module);
    let mut seen = BTreeSet::new();
    for path in files_in("src", "rs") {
        let inside = path.strip_prefix(root().join("src")).expect("a source");
        let mut parts = inside.components();
        let module = parts.next().and_then(|part| part.as_os_str().to_str());
        let module = module.expect("a name").trim_end_matches(".rs");
        let is_test = inside.components().any(|part| part.as_os_str() == "tests")
            || path.file_name().is_some_and(|name| name == "tests.rs");
        if is_test || ["lib", "bin"].contains(&module) {
            continue;
        }
        let here = place(module).unwrap_or_else(|| panic!("{module} is not in src/lib.rs's list"));
        seen.insert(here);
        for used in modules_used(&code(&path)) {
            let there = place(&used).unwrap_or_else(|| panic!("{used} is not in the list"));
            let both_are_programs = PROGRAMS.contains(&module) && PROGRAMS.contains(&used.as_str());
            assert!(
                there == here || (there < here && !both_are_programs),
                "{} uses {used}, which is not below it",
                path.display()
            );
        }
    }
    assert_eq!(seen.len(), layers.len(), "a listed module has no file");
}

#[test]
fn a_state_is_pure() {
    for program in ["manager", "agent", "top"] {
        let files = files_in(&format!("src/{program}/state"), "rs");
        assert!(!files.is_empty());
        for path in files {
            let is_test = path.components().any(|part| part.as_os_str() == "tests");
            if is_test || path.file_name().is_some_and(|name| name == "tests.rs") {
                continue;
            }
            let code = code(&path);
            for used in modules_used(&code) {
                assert!(
                    ["bus", "core", "limits", program].contains(&used.as_str()),
                    "{} uses {used}",
                    path.display()
                );
            }
            let uses = code.lines().filter_map(|line| line.strip_prefix("use "));
            for used in uses {
                let root = used.split([':', ';', '{']).next().unwrap_or_default();
                assert!(
                    ["crate", "self", "super", "std", "serde"].contains(&root),
                    "{} uses {used}",
                    path.display()
                );
            }
            for impure in [
                "std::{fs",
                "std::fs",
                "std::net",
                "std::io",
                "std::env",
                "SystemTime",
            ] {
                assert!(!code.contains(impure), "{} uses {impure}", path.display());
            }
        }
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

/// A test that has another name since would fail in a run that few make.
#[test]
fn unit_tests_that_are_left_out_under_qemu_exist() {
    let script = fs::read_to_string(root().join("tests/cross/run")).expect("it is there");
    let names = script
        .lines()
        .filter_map(|line| line.trim().split_once("::tests::"));
    let mut count = 0;
    for (module, name) in names {
        let module = root().join("src").join(module.replace("::", "/"));
        let files = [module.with_extension("rs"), module.join("mod.rs")];
        let is_there = |file: &PathBuf| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.contains(&format!("fn {name}()"))
        };
        assert!(files.iter().any(is_there), "{name} of {}", module.display());
        count += 1;
    }
    assert_ne!(count, 0);
}
