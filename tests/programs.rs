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
};

fn agent() -> PathBuf {
    tree::program("hirte-agent", env!("CARGO_BIN_EXE_hirte-agent"))
}

fn programs() -> [PathBuf; 3] {
    [
        tree::program("hirte", env!("CARGO_BIN_EXE_hirte")),
        agent(),
        tree::program("hirtectl", env!("CARGO_BIN_EXE_hirtectl")),
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

#[test]
fn the_link_in_libexec_is_no_second_agent() {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("proxy-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let link = folder.join("hirte-proxy");
    symlink(agent(), &link).unwrap();
    let (status, _, errors) = run(&link, "create");
    assert_eq!(status, Some(1));
    assert!(errors.starts_with("hirte-proxy: "), "{errors}");
    fs::remove_dir_all(&folder).unwrap();
}
