//! Executables for 64-bit Arm, which qemu runs, and those of this machine understand each other: the
//! first guide on real nodes, of which one is a Raspberry Pi as far as hirte can tell.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "guide/mod.rs"]
mod guide;
#[path = "lab/mod.rs"]
mod lab;
#[path = "support/tree.rs"]
mod tree;

use std::{env, path::PathBuf};

use guide::Walk;

/// Names an installed tree whose executables are scripts that run the ones for Arm.
const EMULATED_TREE: &str = "HIRTE_EMULATED_TREE";

/// Walks through the first guide with executables for Arm on one node.
fn first_guide_with(emulated: &str) {
    if !lab::require() {
        return;
    }
    // `./test` names the tree also where it does not build it.
    let tree = env::var_os(EMULATED_TREE).map(PathBuf::from);
    let Some(foreign) = tree.filter(|tree| tree.is_dir()) else {
        lab::leave_out(&format!(
            "executables for 64-bit Arm: tests/cross/run makes a tree for {EMULATED_TREE}"
        ));
        return;
    };
    let lab = lab::Lab::builder(&format!("arm-{emulated}"))
        .layer(tree::install_tree())
        .bind(&foreign)
        .build();
    let nodes = guide::first_with(&lab, &Walk { is_shown: false }, |node| {
        if node.name() == emulated {
            let usr = foreign.join("usr/.");
            node.ok(&["cp", "-a", usr.to_str().unwrap(), "/usr"]);
            node.systemctl(&["daemon-reload"]);
        }
    });
    for node in &nodes {
        let script = "readlink /proc/$(systemctl show --property MainPID --value hirte-agent)/exe";
        let executable = node.sh(script).stdout;
        let runs_emulated = executable.contains("qemu-aarch64");
        assert_eq!(runs_emulated, node.name() == emulated, "{executable}");
    }
}

#[test]
fn a_manager_of_this_machine_and_an_agent_for_arm() {
    first_guide_with("rpi4");
}

/// The manager's node also has hirtectl and an agent for Arm.
#[test]
fn a_manager_for_arm_and_an_agent_of_this_machine() {
    first_guide_with("laptop");
}
