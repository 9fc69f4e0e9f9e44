//! The executables by themselves: versions, help, wrong usage, the link to the agent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "support/tree.rs"]
mod tree;

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

fn agent() -> PathBuf {
    tree::program("hirte-agent")
}

fn programs() -> Vec<PathBuf> {
    vec![
        tree::program("hirte"),
        agent(),
        tree::program("hirtectl"),
        #[cfg(feature = "dashboard")]
        tree::program("hirte-dashboard"),
    ]
}

fn run(program: &Path, argument: &str) -> (Option<i32>, String, String) {
    let output = Command::new(program).arg(argument).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn each_tells_its_version_and_its_options() {
    for program in programs() {
        let program = program.as_path();
        let version = format!("{}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            run(program, "--version"),
            (Some(0), version, String::new()),
            "{program:?}"
        );
        for option in ["--help", "-h"] {
            let (status, help, errors) = run(program, option);
            assert_eq!(
                (status, errors.as_str()),
                (Some(0), ""),
                "{program:?} {option}"
            );
            assert!(
                help.contains("Usage: ") && help.contains("--version"),
                "{help}"
            );
        }
    }
}

#[test]
fn an_unknown_option_is_an_error() {
    for program in programs() {
        let program = program.as_path();
        let (status, output, errors) = run(program, "--fly");
        assert!(
            status.is_some_and(|status| status != 0),
            "{program:?}: {status:?}"
        );
        assert_eq!(output, "", "{program:?}");
        assert!(errors.contains("--fly"), "{program:?}: {errors}");
    }
}

#[test]
fn a_reader_that_had_enough_is_no_failure() {
    for program in programs() {
        let program = program.as_path();
        for argument in ["--version", "--help"] {
            let (reader, writer) = io::pipe().unwrap();
            drop(reader);
            let mut command = Command::new(program);
            let output = command.arg(argument).stdout(writer).output().unwrap();
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(
                (output.status.code(), errors.as_str()),
                (Some(0), ""),
                "{program:?} {argument}"
            );
        }
    }
}

#[test]
fn the_status_tells_when_nobody_could_be_told() {
    for program in programs() {
        let program = program.as_path();
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(program);
        let ended = command.arg("--fly").stderr(full()).status().unwrap();
        assert!(matches!(ended.code(), Some(1 | 2)), "{program:?}: {ended}");
        let mut command = Command::new(program);
        let ended = command.arg("--version").stdout(full()).status().unwrap();
        assert_eq!(ended.code(), Some(1), "{program:?}");
    }
}

/// The executable of the agent by its other name.
fn proxy(arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile("proxy");
    fs::create_dir_all(&folder).unwrap();
    let link = folder.join("hirte-proxy");
    symlink(agent(), &link).unwrap();
    let absent = "unix:path=/nonexistent/bus";
    let output = Command::new(&link)
        .args(arguments)
        .env("DBUS_SYSTEM_BUS_ADDRESS", absent)
        .env("DBUS_SESSION_BUS_ADDRESS", absent)
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn tempfile(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{name}-{}-{number}", std::process::id());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn the_link_in_libexec_is_the_helper_of_proxies() {
    let version = format!("{}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(proxy(&["--version"]), (Some(0), version, String::new()));
    let (status, help, errors) = proxy(&["--help"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(
        help.contains("Usage: hirte-proxy") && help.contains("--user"),
        "{help}"
    );
    for (arguments, reason) in [
        (&[][..], "Not enough arguments specified"),
        (&["create"], "Not enough arguments specified"),
        (
            &["create", "a_b.service", "c"],
            "Too many arguments specified",
        ),
        (&["foo", "a_b.service"], "Unsupported command foo"),
        (
            &["create", "x.service"],
            "No underscore in unit name 'x.service'",
        ),
        (
            &["create", "foo_.service"],
            "No service specified in unit name 'foo_.service'",
        ),
        (
            &["remove", "foo_x"],
            "Unit name 'foo_x' does not end with .service",
        ),
    ] {
        let told = (Some(1), String::new(), format!("hirte-proxy: {reason}\n"));
        assert_eq!(proxy(arguments), told, "{arguments:?}");
    }
    // Where no agent is there is no proxy to remove.
    let nothing = (Some(0), String::new(), String::new());
    assert_eq!(proxy(&["REMOVE", "a_b.service"]), nothing);
    assert_eq!(proxy(&["-u", "remove", "a_b.service"]), nothing);
}
