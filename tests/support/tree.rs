//! The installed tree that nodes of the lab get, and the executables that tests run.
#![allow(
    dead_code,
    reason = "each test crate that includes this uses a part of it"
)]

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// An executable of this build: as it is shipped where an installed tree is given.
pub fn program(name: &str) -> PathBuf {
    given().map_or_else(|| built(name), |tree| tree.join("usr/bin").join(name))
}

/// The tree that `HIRTE_INSTALL_TREE` names (`./test` puts the release build there), or one that the
/// install step makes of this build.
///
/// # Panics
/// If the install step fails.
pub fn install_tree() -> PathBuf {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let name = format!("install-{}", std::process::id());
        let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        install(
            &tree,
            built("hirte").parent().expect("it lies in a folder"),
            WITH,
        );
        tree
    };
    TREE.get_or_init(|| given().unwrap_or_else(make)).clone()
}

fn given() -> Option<PathBuf> {
    let tree = env::var_os("HIRTE_INSTALL_TREE").filter(|tree| !tree.is_empty());
    tree.map(PathBuf::from)
}

/// An executable as cargo built it for the test.
fn built(name: &str) -> PathBuf {
    PathBuf::from(match name {
        "hirte" => env!("CARGO_BIN_EXE_hirte"),
        "hirte-agent" => env!("CARGO_BIN_EXE_hirte-agent"),
        "hirtectl" => env!("CARGO_BIN_EXE_hirtectl"),
        #[cfg(feature = "dashboard")]
        "hirte-dashboard" => env!("CARGO_BIN_EXE_hirte-dashboard"),
        #[cfg(feature = "top")]
        "hirtectl-top" => env!("CARGO_BIN_EXE_hirtectl-top"),
        _ => panic!("no executable is named {name}"),
    })
}

/// What is installed besides the three programs: what this test was built with.
const WITH: &[&str] = &[
    #[cfg(feature = "dashboard")]
    "--with-dashboard",
    #[cfg(feature = "top")]
    "--with-top",
];

/// Has the install step make a tree of the executables in a folder.
///
/// # Panics
/// If it fails.
pub fn install(tree: &Path, executables: &Path, with: &[&str]) {
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/install"))
        .arg("--destdir")
        .arg(tree)
        .arg("--bindir-from")
        .arg(executables)
        .args(with)
        .output()
        .expect("data/install runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
