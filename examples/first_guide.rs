//! Walks through the first published guide on two real nodes and shows each command with what it
//! printed; a person can then stay and type more. `./demo` builds what it needs and starts it.
//!
//! Needs root, and the installed tree in `HIRTE_INSTALL_TREE`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure ends the demonstration"
)]
#![allow(dead_code, reason = "the lab offers more than a demonstration uses")]

#[path = "../tests/guide/mod.rs"]
mod guide;
#[path = "../tests/lab/mod.rs"]
mod lab;

use std::{
    env,
    io::{IsTerminal, stdin},
    process::{Command, ExitCode},
};

fn main() -> ExitCode {
    let Some(tree) = env::var_os("HIRTE_INSTALL_TREE") else {
        eprintln!("HIRTE_INSTALL_TREE is not set; ./demo sets it");
        return ExitCode::FAILURE;
    };
    if !lab::require() {
        return ExitCode::FAILURE;
    }
    println!("# Two computers with systemd boot: laptop (192.168.42.10), rpi4 (192.168.42.15)");
    let lab = lab::Lab::builder("demo").layer(tree).build();
    let [laptop, rpi4] = guide::first(&lab, &guide::Walk { is_shown: true });
    if stdin().is_terminal() {
        stay(&laptop, &rpi4);
    }
    ExitCode::SUCCESS
}

/// A shell on the laptop, until the person leaves it.
fn stay(laptop: &lab::Node, rpi4: &lab::Node) {
    println!(
        "\n# This is a shell on laptop: try hirtectl status rpi4, hirtectl start rpi4 httpd.service"
    );
    println!(
        "# A shell on rpi4, from another terminal: {}",
        rpi4.enter_command()
    );
    println!("# Both nodes end with this shell.");
    let _ = Command::new("sh")
        .arg("-c")
        .arg(laptop.enter_command())
        .status();
}
