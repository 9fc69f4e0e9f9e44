//! docs/guides.md has a row for every command of both published guides, and what a row claims to be
//! run is in the test that it names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "guide/commands.rs"]
mod commands;
#[path = "guide/text.rs"]
mod text;

use std::{
    fs, panic,
    path::{Path, PathBuf},
};

use commands::Command;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A row of the table: the command, what becomes of it, and where.
struct Row {
    command: String,
    outcome: String,
    places: String,
}

/// The rows below the heading of a guide.
fn rows(heading: &str) -> Vec<Row> {
    let document = read("docs/guides.md");
    let (_, section) = document.split_once(heading).expect("a heading");
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    lines
        .map(|line| {
            // A stroke within a cell is escaped.
            let line = line.replace("\\|", "\0");
            let cells: Vec<String> = line
                .trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().replace('\0', "|"))
                .collect();
            let Ok([command, outcome, places]) = <[String; 3]>::try_from(cells) else {
                panic!("no row of three cells: {line}")
            };
            Row {
                command: command.trim_matches('`').to_owned(),
                outcome,
                places,
            }
        })
        .collect()
}

/// The rows of a guide, each with its command.
fn table(guide: &str, heading: &str) -> Vec<(Command, Row)> {
    let (commands, rows) = (commands::commands(guide), rows(heading));
    let written: Vec<&str> = rows.iter().map(|row| row.command.as_str()).collect();
    let published: Vec<&str> = commands.iter().map(|it| it.line.as_str()).collect();
    for (number, (written, published)) in written.iter().zip(&published).enumerate() {
        assert_eq!(written, published, "row {number} of the {guide} guide");
    }
    assert_eq!(written.len(), published.len(), "rows of the {guide} guide");
    commands.into_iter().zip(rows).collect()
}

/// What stands between back quotes.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Words without what Rust and the shell put around them, so that a command is the same whether it
/// is written as one text or as a list of words.
fn words(text: &str) -> String {
    let plain: String = text
        .replace("\\n", " ")
        .chars()
        .map(|it| {
            if "\"',&[](){}\\`|".contains(it) {
                ' '
            } else {
                it
            }
        })
        .collect();
    let words = plain.split_whitespace().filter(|word| *word != "sudo");
    format!(" {} ", words.collect::<Vec<_>>().join(" "))
}

/// A test with the modules that it takes from elsewhere; nothing if there is no such test.
fn source(name: &str) -> Option<String> {
    let mut source = fs::read_to_string(path(name)).ok()?;
    for line in source.clone().lines() {
        let module = line.strip_prefix("#[path = \"");
        if let Some(module) = module.and_then(|it| it.strip_suffix("\"]")) {
            source += &read(&format!("tests/{module}"));
        }
    }
    Some(source)
}

/// Where links lead to.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1);
    links.filter_map(|link| link.split([')', '#']).next())
}

/// The sources of the tests that a row names, and the pages that it links to if a test follows them.
fn sources(row: &Row) -> Vec<String> {
    let places = code(&row.places);
    let tests = places.iter().filter(|place| place.starts_with("tests/"));
    let mut sources: Vec<String> = tests.filter_map(|place| source(place)).collect();
    for link in links(&row.places) {
        let name = link.rsplit('/').next().unwrap().trim_end_matches(".md");
        let names = [format!("\"{name}"), format!("/{name}.md\"")];
        let is_named = |source: &String| names.iter().any(|name| source.contains(name));
        let is_followed = sources.iter().any(is_named);
        let page = fs::read_to_string(path("docs").join(link));
        sources.extend(page.ok().filter(|_| is_followed));
    }
    sources
}

/// The parts of the second guide that a test runs whole: `commands_of_guide(FROM, TO)` has the lines
/// that they lie between.
fn parts(source: &str) -> Vec<String> {
    let guide = text::text("second");
    let calls = source.split("commands_of_guide(").skip(1);
    let between = calls.filter_map(|call| {
        let mut texts = call.split(')').next()?.split('"').skip(1).step_by(2);
        let mut next = || Some(texts.next()?.replace("\\n", "\n"));
        let (_, rest) = guide.split_once(&next()?)?;
        Some(rest.split_once(&next()?)?.0.to_owned())
    });
    between.collect()
}

/// Whether a test takes a file from the guide, or runs a part of it, or has the command, or the
/// beginning by which it finds the command in the guide's text: two words and more.
fn has(source: &str, command: &Command) -> bool {
    let takes_file = |file: &String| {
        let name = file.rsplit('/').next().unwrap();
        source.contains("text::file") && source.contains(name)
    };
    let words_of_source = words(source);
    let is_beginning = |(at, _)| {
        let beginning: &str = &command.line[..at];
        words(beginning).split_whitespace().count() > 1
            && source.contains(&format!("\"{beginning}\""))
    };
    let is_in = |part: &String| part.contains(&command.script);
    command.file.as_ref().is_some_and(takes_file)
        || parts(source).iter().any(is_in)
        || words_of_source.contains(&words(&command.line))
        || command.line.match_indices(' ').any(is_beginning)
}

#[test]
fn every_command_has_a_row_and_is_where_the_row_says() {
    let mut faults = Vec::new();
    let guides = [
        ("first", "\n## The first guide"),
        ("second", "\n## The second guide"),
    ];
    for (command, row) in guides
        .iter()
        .flat_map(|(guide, heading)| table(guide, heading))
    {
        let sources = sources(&row);
        let changed = |change: &str| {
            let code = code(change).into_iter().map(words).collect::<Vec<_>>();
            move |it: &String| code.iter().any(|code| words(it).contains(code))
        };
        let is_true = match row.outcome.split_once(": ") {
            None if row.outcome.split("; ").next() == Some("run") => {
                sources.iter().any(|it| has(it, &command))
            }
            Some(("run with a change", change)) => sources.iter().any(changed(change)),
            Some(("not run", why)) => !why.is_empty(),
            _ => false,
        };
        if !is_true {
            faults.push(format!(
                "{} | {} | {}",
                row.command, row.outcome, row.places
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_table_is_found_from_the_readme() {
    assert!(read("README.md").contains("(docs/guides.md)"));
}

#[test]
fn pages_of_recipes_are_found_from_the_table() {
    let table = read("docs/guides.md");
    for entry in fs::read_dir(path("docs/recipes")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(table.contains(&format!("(recipes/{name})")), "{name}");
    }
}

const SCRIPTS: &str = "tests/recipes_scripts.rs";

/// The pages of recipes that are scripts.
fn pages_about_scripts() -> Vec<String> {
    let pages = fs::read_dir(path("docs/recipes")).unwrap();
    let mut pages: Vec<String> = pages
        .map(|page| fs::read_to_string(page.unwrap().path()).unwrap())
        .collect();
    pages.retain(|page| page.contains(SCRIPTS));
    assert!(pages.len() > 4, "{}", pages.len());
    pages
}

/// The blocks of a page whose fence begins so, each with the rest of the fence.
fn blocks<'a>(page: &'a str, fence: &str) -> Vec<(&'a str, &'a str)> {
    let fence = format!("\n```{fence}");
    let blocks = page
        .split(&fence)
        .skip(1)
        .map(|it| it.split_once('\n').unwrap());
    blocks
        .map(|(info, text)| (info, text.split("\n```").next().unwrap()))
        .collect()
}

/// What the pages about scripts show is in their tests, or the guide's own.
#[test]
fn commands_on_the_pages_about_scripts_are_run() {
    let source = words(&source(SCRIPTS).unwrap());
    let published: Vec<String> = commands::commands("second")
        .iter()
        .map(|it| words(&it.line))
        .collect();
    for page in pages_about_scripts() {
        for line in blocks(&page, "sh").iter().flat_map(|it| it.1.lines()) {
            let line = words(line);
            assert!(
                source.contains(&line) || published.contains(&line),
                "{line}"
            );
        }
    }
}

/// The lines of a file without indentation and empty ones.
fn lines(file: &str) -> Vec<&str> {
    let lines = file.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).collect()
}

/// Files on the pages about scripts are the guide's, but for lines that the page tells with the
/// guide's form.
#[test]
fn files_on_the_pages_about_scripts_are_the_guides() {
    let mut compared = Vec::new();
    for page in pages_about_scripts() {
        let told = page.replace("\\|", "|");
        let is_told = |line: &str| told.contains(&format!("`{line}`"));
        for (path, content) in blocks(&page, "text /") {
            let path = format!("/{path}");
            let published = text::file("second", &path);
            let (shown, published) = (lines(content), lines(&published));
            assert_eq!(shown.len(), published.len(), "{path}");
            for (shown, published) in shown.iter().zip(published) {
                let is_same = *shown == published || is_told(shown) && is_told(published);
                assert!(is_same, "{path}: {shown}\nin the guide: {published}");
            }
            compared.push(path);
        }
    }
    assert_eq!(compared.len(), 10, "{compared:?}");
}

#[test]
fn lines_are_told_apart() {
    let text = "Prose that names systemctl.\n# A comment\nsudo tee /a << 'EOF'\n# body\nrm\nEOF\n\
                graph TB\nA --> B\nMore\nsudo -u me busctl a \\\nb\n";
    let found = commands::of_text(text, false);
    let lines: Vec<&str> = found.iter().map(|it| it.line.as_str()).collect();
    assert_eq!(lines, ["sudo tee /a << 'EOF'", "sudo -u me busctl a b"]);
    assert_eq!(found[0].script, "sudo tee /a << 'EOF'\n# body\nrm\nEOF");
    assert_eq!(found[0].file.as_deref(), Some("/a"));

    let text = "In /etc/x.conf:\n\n[x]\nA=1\n\n# systemctl start x\noutput\n\nProse";
    let found = commands::of_text(text, true);
    assert_eq!(found[0].script, "[x]\nA=1\n");
    assert_eq!(found[0].file.as_deref(), Some("/etc/x.conf"));
    assert_eq!(found[1].line, "systemctl start x");
}

#[test]
fn no_line_is_passed_over() {
    for line in [
        "unknown --word",
        "./script",
        "A=1 command",
        "Command | other",
        "Go \\",
    ] {
        let read = panic::catch_unwind(|| commands::of_text(line, false));
        assert!(read.is_err(), "{line}");
    }
    assert!(commands::of_text("Prose: more of it", false).is_empty());
}

#[test]
fn words_are_compared() {
    let source = r#"node.systemctl(&["enable", "--now", "x"]); run("sudo busctl call \"a\"")"#;
    assert!(words(source).contains(&words("sudo busctl call \"a\"")));
    assert!(words(source).contains(&words("enable --now x")));
    assert!(!words(source).contains(&words("enable --now y")));
}
