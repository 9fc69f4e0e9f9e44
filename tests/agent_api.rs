//! The agent's API on the bus of its node, with real buses, their policy and real managers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "lab/mod.rs"]
mod lab;
#[path = "support/tree.rs"]
mod tree;

use std::time::Duration;

use hirte::agent::api::AGENT;
use lab::{Lab, Node, eventually};

const SOON: Duration = Duration::from_secs(20);
const AT: &str = "org.containers.hirte.Agent /org/containers/hirte org.containers.hirte.Agent";

fn property(node: &Node, name: &str) -> String {
    let shown = node.sh(&format!("busctl get-property {AT} {name}"));
    assert!(shown.success(), "{name}: {shown}");
    let (_, value) = shown.stdout.trim().split_once(' ').unwrap();
    value.trim_matches('"').to_owned()
}

fn number(node: &Node, name: &str) -> u64 {
    property(node, name).parse().unwrap()
}

fn wait(node: &Node, name: &str, value: &str) {
    eventually(SOON, &format!("{name} is {value}"), || {
        property(node, name) == value
    });
}

/// A call that is refused, with a message that says `expected`.
fn refused(node: &Node, command: &str, expected: &str) {
    let found = node.sh(command);
    assert!(
        !found.success() && found.stderr.contains(expected),
        "# {command}\nexpected '{expected}'\n{found}"
    );
}

/// Two nodes, each with a manager; the agent of the first one may join both.
fn nodes() -> Option<(Lab, [Node; 2])> {
    if !lab::require() {
        return None;
    }
    let lab = Lab::builder("agentapi").layer(tree::install_tree()).build();
    let nodes = lab.boot(&[("one", "192.168.42.10"), ("two", "192.168.42.11")]);
    for node in &nodes {
        node.write("/etc/hirte/hirte.conf", "[hirte]\nAllowedNodeNames=one\n");
        node.write("/etc/hirte/agent.conf", "[hirte-agent]\nNodeName=one\n");
        node.systemctl(&["start", "hirte"]);
    }
    nodes[0].systemctl(&["start", "hirte-agent"]);
    Some((lab, nodes))
}

#[test]
fn the_agent_serves_its_node() {
    let Some((_lab, [one, two])) = nodes() else {
        return;
    };
    wait(&one, "Status", "online");
    properties_tell_what_is(&one);
    the_description_is_that_of_the_installed_file(&one);
    only_root_acts(&one);
    a_second_agent_is_refused(&one);
    a_switch_of_managers(&one, &two);
    log_levels_are_told(&one);
}

fn properties_tell_what_is(node: &Node) {
    let address = "tcp:host=127.0.0.1,port=842";
    assert_eq!(property(node, "ManagerAddress"), address);
    assert_eq!(property(node, "LogLevel"), "INFO");
    assert_eq!(number(node, "DisconnectTimestamp"), 0);
    assert_eq!(number(node, "DisconnectTimestampMonotonic"), 0);
    let now = node.sh("date +%s").stdout.trim().parse::<u64>().unwrap();
    assert!(number(node, "LastSeenTimestamp").abs_diff(now) < 30);
    let uptime = node.sh("cut -d. -f1 /proc/uptime").stdout;
    let uptime: u64 = uptime.trim().parse().unwrap();
    let seen = number(node, "LastSeenTimestampMonotonic") / 1_000_000;
    assert!(seen <= uptime + 1 && seen + 30 > uptime, "{seen} {uptime}");
}

fn the_description_is_that_of_the_installed_file(node: &Node) {
    let name = AGENT.name;
    let shown = node.ok(&[
        "busctl",
        "introspect",
        "--xml-interface",
        name,
        "/org/containers/hirte",
    ]);
    let file = node.read(&format!("/usr/share/dbus-1/interfaces/{name}.xml"));
    let installed: Vec<&str> = file
        .lines()
        .filter(|line| !line.trim_start().starts_with("<!--"))
        .skip_while(|line| !line.contains("<interface"))
        .take_while(|line| *line != "</node>")
        .collect();
    assert!(installed.len() > 20, "{file}");
    assert!(shown.contains(&installed.join("\n")), "{shown}\n{file}");
    let tree = node.ok(&["busctl", "tree", "--list", name]);
    assert_eq!(tree.lines().last(), Some("/org/containers/hirte"), "{tree}");
}

/// What the policy of the bus lets whom do.
fn only_root_acts(node: &Node) {
    node.ok(&["useradd", "--no-create-home", "--groups", "hirte", "reader"]);
    node.ok(&["useradd", "--no-create-home", "stranger"]);
    node.systemctl(&["reload", "dbus"]);
    let create = format!("busctl call {AT} CreateProxy sss a.service one b.service");
    let switch = format!("busctl call {AT} SwitchManager s tcp:host=10.0.0.1,port=1");
    let read = format!("busctl get-property {AT} Status");
    let by = |user: &str, command: &str| format!("runuser -u {user} -- {command}");
    for user in ["reader", "stranger"] {
        refused(node, &by(user, &create), "denied");
        refused(node, &by(user, &switch), "denied");
    }
    refused(node, &by("stranger", &read), "denied");
    assert!(node.sh(&by("reader", &read)).success());
    let ping = "busctl call org.containers.hirte.Agent /org/containers/hirte \
                org.freedesktop.DBus.Peer Ping";
    assert!(node.sh(&by("stranger", ping)).success());
    refused(
        node,
        &format!("busctl call {AT} CreateProxy sss a.service one b.socket"),
        "Only services",
    );
    let remove = format!("busctl call {AT} RemoveProxy sss a.service one b.service");
    assert!(node.sh(&remove).success());
}

fn a_second_agent_is_refused(node: &Node) {
    let second = node.sh("HIRTE_LOG_TARGET=stderr hirte-agent -n other");
    assert_eq!(second.status.code(), Some(1), "{second}");
    let reason = "Failed to acquire the bus name org.containers.hirte.Agent: another program \
                  owns it";
    assert!(second.stderr.contains(reason), "{second}");
    assert_eq!(property(node, "Status"), "online");
}

fn a_switch_of_managers(one: &Node, two: &Node) {
    const OTHER: &str = "tcp:host=192.168.42.11,port=842";
    let switch = |address: &str| format!("busctl call {AT} SwitchManager s {address}");
    refused(
        one,
        &switch("tcp:host=127.0.0.1,port=842"),
        "already connected to the manager",
    );
    refused(one, &switch("192.168.42.11"), "192.168.42.11");
    let watched = one.spawn(&[
        "busctl",
        "monitor",
        "--match=type='signal',member='PropertiesChanged'",
    ]);
    watched.wait_output("Monitoring", SOON);
    assert!(one.sh(&switch(OTHER)).success());
    let online = |node: &Node| {
        let nodes = node.run(&["hirtectl", "list-nodes"]).stdout;
        nodes.contains("online")
    };
    eventually(SOON, "the other manager has the node", || online(two));
    eventually(SOON, "the first manager has lost it", || !online(one));
    wait(one, "Status", "online");
    assert_eq!(property(one, "ManagerAddress"), OTHER);
    for text in ["ManagerAddress", OTHER, "offline", "online"] {
        watched.wait_output(text, SOON);
    }

    two.systemctl(&["stop", "hirte"]);
    wait(one, "Status", "offline");
    let now = one.sh("date +%s").stdout.trim().parse::<u64>().unwrap();
    assert!(number(one, "DisconnectTimestamp").abs_diff(now) < 30);
    assert!(number(one, "DisconnectTimestampMonotonic") > 0);
    two.systemctl(&["start", "hirte"]);
    wait(one, "Status", "online");
    // It holds until the agent ends.
    one.systemctl(&["restart", "hirte-agent"]);
    wait(one, "ManagerAddress", "tcp:host=127.0.0.1,port=842");
    wait(one, "Status", "online");
}

fn log_levels_are_told(one: &Node) {
    let node = "org.containers.hirte /org/containers/hirte/node/one org.containers.hirte.Node";
    assert!(
        one.sh(&format!("busctl call {node} SetLogLevel s debug"))
            .success()
    );
    wait(one, "LogLevel", "DEBUG");
    one.systemctl(&["reload", "hirte-agent"]);
    wait(one, "LogLevel", "INFO");
}
