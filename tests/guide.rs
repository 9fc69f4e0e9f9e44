//! The published guides work as they stand: configuration, commands and outcome, on real nodes.
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

use std::path::Path;

use guide::Walk;

fn walk(name: &str, walk: fn(&lab::Lab, &Walk) -> [lab::Node; 2]) {
    if !lab::require() {
        return;
    }
    let executables = Path::new(env!("CARGO_BIN_EXE_hirte")).parent().unwrap();
    let tree = tree::install_tree(executables);
    let lab = lab::Lab::builder(name).layer(tree).build();
    walk(&lab, &Walk { is_shown: false });
}

#[test]
fn first_guide() {
    walk("guide1", guide::first);
}

#[test]
fn second_guide() {
    walk("guide2", guide::second);
}
