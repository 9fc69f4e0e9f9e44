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

use guide::Walk;

fn walk(name: &str, walk: fn(&lab::Lab, &Walk) -> [lab::Node; 2]) {
    if !lab::require() {
        return;
    }
    let tree = tree::install_tree();
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
