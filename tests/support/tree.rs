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

/// An executable as it is installed in the tree that `HIRTE_INSTALL_TREE` names, or as cargo `built`
/// it for the test.
pub fn program(name: &str, built: &str) -> PathBuf {
    env::var_os("HIRTE_INSTALL_TREE").map_or_else(
        || PathBuf::from(built),
        |tree| Path::new(&tree).join("usr/bin").join(name),
    )
}

/// The tree that `HIRTE_INSTALL_TREE` names (`./test` puts the release build there), or one with
/// the executables in the folder `executables`, made by the install step.
///
/// # Panics
/// If the install step fails.
pub fn install_tree(executables: &Path) -> PathBuf {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    let make = || match env::var_os("HIRTE_INSTALL_TREE") {
        Some(tree) if !tree.is_empty() => PathBuf::from(tree),
        _ => install(executables),
    };
    TREE.get_or_init(make).clone()
}

/// What is installed besides the three programs: what this test was built with.
const WITH: &[&str] = &[
    #[cfg(feature = "dashboard")]
    "--with-dashboard",
    #[cfg(feature = "top")]
    "--with-top",
];

fn install(executables: &Path) -> PathBuf {
    let tree =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("install-{}", std::process::id()));
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/install"))
        .arg("--destdir")
        .arg(&tree)
        .arg("--bindir-from")
        .arg(executables)
        .args(WITH)
        .output()
        .expect("data/install runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    tree
}
