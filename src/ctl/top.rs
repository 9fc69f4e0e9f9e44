//! `hirtectl top [NODE]`: hands over to `hirtectl-top`, an executable of its own, so that this one
//! stays small.

use std::{
    env,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::error::Error;

/// Its name.
const PROGRAM: &str = "hirtectl-top";

/// Becomes the live view; returns only why it can not.
pub(super) fn run(node: Option<&str>) -> Error {
    let program = program();
    let mut command = Command::new(&program);
    if let Some(node) = node {
        command.args(["--", node]);
    }
    let error = command.exec();
    Error::Top { program, error }
}

/// The one beside this executable; without one, whatever `PATH` has.
fn program() -> PathBuf {
    let executable = env::current_exe().unwrap_or_default();
    let beside = executable.parent().map(|folder| folder.join(PROGRAM));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| Path::new(PROGRAM).to_owned())
}
