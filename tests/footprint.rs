//! What the daemons cost while nothing happens: memory, threads, wake-ups. SPECIFICATION.md
//! promises these numbers for the release build on `x86_64`.
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

use std::{io::Write, thread, time::Duration};

/// Resident memory of the release build, and its part that no file backs: heap, stack, relocations.
const RESIDENT_KB: u64 = 3500;
const PRIVATE_KB: u64 = 500;
/// The loop has no helper.
const THREADS: u64 = 1;
/// Of the loop's thread in ten idle seconds: one tick a second wakes it, what the tick sends is
/// answered, and the other side's heartbeat comes every two seconds. Each wakes it, and the
/// reactor's helper may take turns with it.
const WAKE_UPS_IN_10_S: u64 = 60;

#[test]
fn idle_daemons_keep_within_the_budget() {
    if !lab::require() {
        return;
    }
    let is_release = std::env::var_os("HIRTE_INSTALL_TREE").is_some();
    let lab = lab::Lab::builder("idle")
        .layer(tree::install_tree())
        .build();
    let [laptop, rpi4] = guide::first(&lab, &guide::Walk { is_shown: false });
    let idle = Duration::from_secs(10);
    let daemons = [
        (&laptop, "hirte"),
        (&laptop, "hirte-agent"),
        (&rpi4, "hirte-agent"),
    ];
    let before: Vec<u64> = daemons.map(|(node, unit)| wake_ups(node, unit)).into();
    thread::sleep(idle);
    for ((node, unit), before) in daemons.into_iter().zip(before) {
        let woken = wake_ups(node, unit) - before;
        let status = proc_file(node, unit, "status");
        let resident = field(&status, "VmRSS:");
        let threads = field(&status, "Threads:");
        let rollup = proc_file(node, unit, "smaps_rollup");
        // Not Private_Dirty: the lab's files lie on a tmpfs, whose pages always count as dirty.
        let private = field(&rollup, "Anonymous:");
        // Past the harness, which keeps what passing tests print to itself.
        let _ = writeln!(
            std::io::stderr(),
            "budget: {unit} on {}: VmRSS {resident} kB, private {private} kB, \
             {threads} threads, {woken} wake-ups in {} s",
            node.name(),
            idle.as_secs()
        );
        assert_eq!(threads, THREADS, "{unit}");
        assert!(woken <= WAKE_UPS_IN_10_S, "{unit}: {woken} wake-ups");
        if is_release {
            assert!(resident <= RESIDENT_KB, "{unit}: {resident} kB resident");
            assert!(private <= PRIVATE_KB, "{unit}: {private} kB private");
        }
    }
}

/// Files below /proc/PID of a daemon, read in its node: from outside its memory map is out of reach.
fn proc_file(node: &lab::Node, unit: &str, files: &str) -> String {
    let script = format!("cd /proc/$(systemctl show -p MainPID --value {unit}); cat {files}");
    node.ok(&["sh", "-euc", &script])
}

/// How often the threads of a daemon were woken so far.
fn wake_ups(node: &lab::Node, unit: &str) -> u64 {
    let statuses = proc_file(node, unit, "task/*/status");
    let counts = statuses
        .lines()
        .filter_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    counts
        .map(|count| count.trim().parse::<u64>().unwrap())
        .sum()
}

fn field(text: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .expect(name);
    line[name.len()..]
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect(name)
}
