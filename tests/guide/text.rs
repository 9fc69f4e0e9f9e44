//! The text of the published guides, from which tests take commands and files as they stand there.
//!
//! The text came without its fences and indentation: what needs indentation is indented by the test.

use std::{fs, path::Path};

/// The text of the guide `first` or `second`.
pub fn text(guide: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/guides");
    fs::read_to_string(folder.join(format!("{guide}.txt"))).expect("the guides are committed")
}

/// The content of every file that the guide writes to `path` with `tee` and a here-document, in the
/// order of the text.
pub fn files(guide: &str, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let text = text(guide);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((command, mark)) = line.split_once("<<") else {
            continue;
        };
        let mark = mark.trim().trim_matches('\'');
        let body: Vec<_> = lines.by_ref().take_while(|line| *line != mark).collect();
        if command.split_whitespace().any(|word| word == path) {
            found.push(body.join("\n") + "\n");
        }
    }
    found
}

/// The only file that the guide writes to `path`.
pub fn file(guide: &str, path: &str) -> String {
    let mut found = files(guide, path);
    assert_eq!(found.len(), 1, "{guide} writes {path} so many times");
    found.remove(0)
}
