//! The recipes of the second guide that are scripts and units of the primary node, as published, on
//! real nodes: dependent services and a deployment with a database, monitoring, the health check of
//! cron, the dashboard, backup and recovery, troubleshooting. docs/recipes tells each.
//!
//! Commands are run from the guide's text, each whole and through `sudo`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "guide/commands.rs"]
mod commands;
#[path = "lab/mod.rs"]
mod lab;
#[path = "guide/text.rs"]
mod text;
#[path = "support/tree.rs"]
mod tree;

#[path = "recipes/backup.rs"]
mod backup;
#[path = "recipes/dashboard.rs"]
mod dashboard;
#[path = "recipes/deploying.rs"]
mod deploying;
#[path = "recipes/monitoring.rs"]
mod monitoring;
#[path = "recipes/troubleshooting.rs"]
mod troubleshooting;

use std::{path::Path, time::Duration};

use lab::{Lab, Node, Output};

const SOON: Duration = Duration::from_secs(20);
/// What matters of a service is that systemd starts it.
const SERVICE: &str =
    "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
const BROKEN: &str = "[Service]\nType=oneshot\nExecStart=false\n";

/// What the recipes need on the machine of the tests, each with its Debian package.
const NEEDED: [(&str, &str); 9] = [
    ("/usr/bin/faketime", "faketime"),
    ("/usr/bin/firewall-cmd", "firewalld"),
    ("/usr/bin/pg_createcluster", "postgresql"),
    ("/usr/bin/ping", "iputils-ping"),
    ("/usr/bin/sudo", "sudo"),
    ("/usr/bin/telnet", "inetutils-telnet"),
    ("/usr/bin/top", "procps"),
    ("/usr/lib/python3/dist-packages/flask", "python3-flask"),
    ("/usr/sbin/cron", "cron"),
];

/// The guide's two nodes with its configuration, connected.
struct Fleet {
    primary: Node,
    agent: Node,
    lab: Lab,
}

fn fleet(name: &str, set_up: impl FnOnce(lab::Builder) -> lab::Builder) -> Option<Fleet> {
    if !lab::require() {
        return None;
    }
    let is_missing = |needed: &&(&str, &str)| !Path::new(needed.0).exists();
    if let Some((_, package)) = NEEDED.iter().find(is_missing) {
        lab::leave_out(&format!("Debian's {package}"));
        return None;
    }
    let builder = Lab::builder(name).layer(tree::install_tree());
    let lab = set_up(builder).build();
    let [primary, agent] = lab.boot(&[("primary", "192.168.1.10"), ("agent", "192.168.1.20")]);
    let nodes = [&primary, &agent];
    let configurations = text::files("second", "/etc/hirte/agent.conf");
    for (node, configuration) in nodes.into_iter().zip(configurations) {
        node.write("/etc/hirte/agent.conf", configuration);
    }
    published(&primary, "sudo tee /etc/hirte/hirte.conf << EOF");
    published(&primary, "sudo systemctl start hirte hirte-agent");
    published(&primary, "sudo systemctl enable hirte hirte-agent");
    published(&agent, "sudo systemctl start hirte-agent");
    let fleet = Fleet {
        primary,
        agent,
        lab,
    };
    wait_states(&fleet.primary, "primary online\nagent online\n");
    Some(fleet)
}

/// Waits until the manager tells these states of its nodes.
fn wait_states(primary: &Node, states: &str) {
    let names = "hirtectl list-nodes | tail -n +2 | awk '{print $1, $2}'";
    lab::eventually(SOON, states, || primary.sh(names).stdout == states);
}

/// Runs a command of the second guide as it stands there.
fn published(node: &Node, line: &str) -> String {
    run(node, &commands::command("second", line).script)
}

/// Runs a script of a person's shell, which must succeed, and returns what it printed.
fn run(node: &Node, script: &str) -> String {
    let output = try_to(node, script);
    assert!(
        output.success(),
        "[{}]# {script}\n{output}\n{}\n{}",
        node.name(),
        node.journal("hirte.service"),
        node.journal("hirte-agent.service")
    );
    output.stdout
}

fn try_to(node: &Node, script: &str) -> Output {
    node.run(&["bash", "-c", script])
}

/// Starts a command of a guide that shows what happens until it is ended.
fn follow(node: &Node, guide: &str, line: &str) -> lab::Running {
    let script = commands::command(guide, line).script;
    node.spawn(&["bash", "-c", &script])
}

/// Makes a program that is a script.
fn program(node: &Node, path: &str, script: &str) {
    node.write(path, format!("#!/bin/sh\n{script}\n"));
    node.ok(&["chmod", "755", path]);
}

fn state_of(node: &Node, unit: &str) -> String {
    let output = node.run(&["systemctl", "is-active", unit]);
    output.stdout.trim().to_owned()
}
