//! State files without a manager: what is wrong with one is told with line and column before
//! anybody is asked, and presets need nobody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
};

/// A file of this test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: impl AsRef<[u8]>) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}.toml", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs hirtectl where there is no bus.
fn hirtectl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hirtectl"))
        .args(args)
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What hirtectl says of a wrong file, the same by every command that reads one; the file's name
/// is left out.
fn complaint(content: impl AsRef<[u8]>) -> String {
    let file = File::new("wrong", content);
    let commands: [&[&str]; 4] = [
        &["state", "diff", file.name()],
        &["state", "apply", file.name()],
        &["state", "apply", "--dry-run", file.name()],
        &["state", "presets", "--node", "a", file.name()],
    ];
    let mut complaints: Vec<String> = commands
        .iter()
        .map(|command| {
            let run = hirtectl(command);
            assert_eq!(run.status.code(), Some(2), "{command:?}: {run:?}");
            assert_eq!(text(&run.stdout), "");
            text(&run.stderr).replace(file.name(), "FILE")
        })
        .collect();
    complaints.dedup();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    complaints.remove(0)
}

#[test]
fn every_mistake_is_told_with_its_line_and_column() {
    let file = "exact = \"yes\"\n\
                [node.laptop]\n\
                \"radio.service\" = \"activ\"\n\
                httpd.service = \"active\"\n\
                \"update\" = \"inactive\"\n\
                [nodes.rpi4]\n";
    assert_eq!(
        complaint(file),
        "FILE:1:9: a text instead of true or false\n\
         FILE:3:19: unknown state 'activ'; expected \"active\", \"inactive\" or a table such as { \
         state = \"active\", enabled = true }\n\
         FILE:4:1: 'httpd' instead of the name of a unit, with its suffix, of one of the kinds \
         service, socket, timer, mount, path, target, automount, swap, slice (a name with dots is \
         quoted: \"httpd.service\")\n\
         FILE:5:1: 'update' instead of the name of a unit, with its suffix, of one of the kinds \
         service, socket, timer, mount, path, target, automount, swap, slice\n\
         FILE:6:2: unknown key 'nodes'; expected 'exact', 'allow', tables [node.NAME] or tables \
         [stage.NAME.NODE]\n"
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    for (content, place) in [
        ("exact = true\n[node.laptop\n", "FILE:2:13: "),
        ("[node.a]\n\"a.service\" = active\n", "FILE:2:15: "),
        (
            "[node.a]\n\"a.service\" = \"active\"\n\"a.service\" = \"active\"\n",
            "FILE:3:1: duplicate key",
        ),
        ("[node.a]\n[node.a]\n", "FILE:2:7: duplicate key"),
    ] {
        let told = complaint(content);
        assert!(told.starts_with(place), "{content}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn a_unit_is_named_once() {
    let file = "[stage.one.a]\n\"a.service\" = \"active\"\n[stage.two.a]\n  \"a.service\" = \
                \"inactive\"\n";
    assert_eq!(
        complaint(file),
        "FILE:4:3: a.service of node 'a' is named twice; the first time at 2:1\n"
    );
}

#[test]
fn what_is_no_file_of_text_is_refused() {
    let told = complaint(b"[node.a]\n\"\xff.service\" = \"active\"\n");
    assert_eq!(told, "Can not read FILE: line 2 is not valid UTF-8\n");
    let told = complaint("#".repeat((1 << 20) + 1));
    assert_eq!(told, "Can not read FILE: it has more than 1048576 bytes\n");
    let run = hirtectl(&["state", "diff", "/nonexistent/file.toml"]);
    assert_eq!(run.status.code(), Some(2), "{run:?}");
    assert!(text(&run.stderr).starts_with("Can not read /nonexistent/file.toml: No such file"));
    let many: Vec<String> = (0..100).map(|n| format!("wrong{n} = 1\n")).collect();
    assert_eq!(complaint(many.concat()).lines().count(), 20);
}

#[test]
fn a_right_file_needs_the_manager() {
    let file = File::new("right", "[node.a]\n\"a.service\" = \"active\"\n");
    for command in ["diff", "apply"] {
        let run = hirtectl(&["state", command, file.name()]);
        assert_eq!(run.status.code(), Some(3), "{run:?}");
    }
    let run = hirtectl(&["state", "show"]);
    assert_eq!(run.status.code(), Some(3), "{run:?}");
    for wrong in ["never", "0", "-1s"] {
        let timeout = format!("--timeout={wrong}");
        let run = hirtectl(&["state", "apply", &timeout, file.name()]);
        assert_eq!(run.status.code(), Some(2), "{run:?}");
        assert_eq!(
            text(&run.stderr),
            format!(
                "--timeout={wrong}: expected a time such as 30s or 2min, up to 7d\n\
                 'hirtectl help' lists the commands.\n"
            )
        );
    }
}

/// `--json` tells mistakes and an absent manager in the shape of all commands.
#[test]
fn what_is_wrong_is_told_as_json_too() {
    let wrong = File::new("wrong", "[node.a]\n\"a.service\" = \"on\"\n");
    let right = File::new("right", "[node.a]\n\"a.service\" = \"active\"\n");
    for (file, status) in [(&wrong, 2), (&right, 3)] {
        for command in ["diff", "apply"] {
            let run = hirtectl(&["state", command, "--json", file.name()]);
            assert_eq!(run.status.code(), Some(status), "{run:?}");
            let told: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
            let error = serde_json::json!({
                "node": null, "message": text(&run.stderr).trim_end(), "status": status,
            });
            assert_eq!(
                told,
                serde_json::json!({ "results": [], "errors": [error] })
            );
        }
    }
}

#[test]
fn presets_need_nobody() {
    let file = File::new(
        "presets",
        "exact = true\nallow = [\"systemd-*\"]\n[stage.base.laptop]\n\"radio.service\" = \"active\"\n\
         [stage.apps.rpi4]\n\"httpd.service\" = \"active\"\n\"update.service\" = \"inactive\"\n\
         [stage.apps.laptop]\n\"getty@tty2.service\" = \"active\"\n",
    );
    let run = hirtectl(&["state", "presets", file.name(), "--node", "laptop"]);
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    assert_eq!(
        text(&run.stdout),
        "# Presets of node laptop, made by 'hirtectl state presets'.\nenable radio.service\n\
         enable getty@.service tty2\ndisable *\n"
    );
    let run = hirtectl(&["state", "presets", file.name(), "--node=moon"]);
    assert_eq!(run.status.code(), Some(5), "{run:?}");
    assert_eq!(
        text(&run.stderr),
        format!(
            "{} does not name node 'moon'; its nodes are: laptop, rpi4\n",
            file.name()
        )
    );
}

/// That a text is a right state file.
fn expect_right(place: &str, text: &str) {
    let read = hirte::state_file::parse(text);
    assert!(
        read.is_ok_and(|file| !file.entries.is_empty()),
        "{place}:\n{text}"
    );
}

#[test]
fn files_in_documents_are_right() {
    let document = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        fs::read_to_string(path).unwrap()
    };
    let guide = document("docs/state-files.md");
    let blocks = guide.split("```toml\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        expect_right("docs/state-files.md", block);
    }
    let page = document("data/man/hirte-state.5").replace("\\-", "-");
    let blocks = page.split("\n.nf\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|rest| rest.split(".fi\n").next().unwrap())
        .collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        expect_right("hirte-state(5)", block);
    }
}

#[test]
fn the_manual_tells_the_kinds_of_units() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/man/hirte-state.5");
    let page = fs::read_to_string(path).unwrap().replace('\n', " ");
    let told = complaint("[node.a]\n\"a\" = \"active\"\n");
    let (_, kinds) = told.trim().split_once("of one of the kinds ").unwrap();
    let (but_last, last) = kinds.rsplit_once(", ").unwrap();
    let sentence = format!("The unit is a {but_last} or {last}.");
    assert!(page.contains(&sentence), "{sentence}");
}
