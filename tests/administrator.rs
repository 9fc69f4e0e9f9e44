//! What an administrator meets on real nodes: exit statuses, cancelled jobs, who may do what, and
//! busctl as with any good service.
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

use std::time::Duration;

use lab::{Lab, Node};

/// Has hirtectl take the system bus, although there is a private socket.
const OVER_BUS: &str = "env DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket";
/// The same for the socket, although there is a bus.
const OVER_PRIVATE_SOCKET: &str = "env DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/hirte/private";
const NODE: &str = "/org/containers/hirte/node/rpi4 org.containers.hirte.Node";

/// The two nodes of the first guide at its end, and units for what can happen to a job.
fn fleet(name: &str) -> Option<(Lab, [Node; 2])> {
    if !lab::require() {
        return None;
    }
    let lab = Lab::builder(name).layer(tree::install_tree()).build();
    let nodes = guide::first(&lab, &guide::Walk { is_shown: false });
    let rpi4 = &nodes[1];
    rpi4.unit(
        "fails.service",
        "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    );
    rpi4.unit(
        "slow.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sleep 600\n",
    );
    rpi4.systemctl(&["daemon-reload"]);
    Some((lab, nodes))
}

fn expect(node: &Node, command: &str, status: i32, output: &str) {
    let found = node.sh(command);
    let text = format!("{}{}", found.stdout, found.stderr);
    assert!(
        found.status.code() == Some(status) && text.contains(output),
        "[{}]# {command}\nexpected status {status} and '{output}'\n{found}\n{}",
        node.name(),
        guide::journals(node)
    );
}

#[test]
fn exit_statuses_tell_the_truth() {
    let Some((_lab, [laptop, rpi4])) = fleet("status") else {
        return;
    };
    expect(
        &laptop,
        "hirtectl start rpi4 fails.service",
        1,
        "result: failed",
    );
    expect(
        &laptop,
        "hirtectl start rpi4 nope.service",
        5,
        "nope.service not found",
    );
    expect(&laptop, "hirtectl start moon httpd.service", 5, "moon");
    expect(&laptop, "hirtectl list-units moon", 5, "moon");
    expect(&laptop, "hirtectl fly", 2, "fly");
    expect(
        &laptop,
        "hirtectl status rpi4 nope.service",
        5,
        "nope.service could not be found",
    );
    rpi4.systemctl(&["stop", "hirte-agent"]);
    lab::eventually(Duration::from_secs(5), "rpi4 is offline", || {
        laptop.ok(&["hirtectl", "list-nodes"]).contains("offline")
    });
    expect(&laptop, "hirtectl start rpi4 httpd.service", 4, "offline");
    expect(&laptop, "hirtectl list-units rpi4", 4, "offline");
    expect(&laptop, "hirtectl list-units", 0, "laptop");
    laptop.systemctl(&["stop", "hirte"]);
    expect(&laptop, "hirtectl list-nodes", 3, "manager");
}

#[test]
fn a_job_can_be_cancelled_and_says_so() {
    let Some((_lab, [laptop, rpi4])) = fleet("cancel") else {
        return;
    };
    let client = laptop.spawn(&["hirtectl", "start", "rpi4", "slow.service"]);
    lab::eventually(Duration::from_secs(5), "the job runs", || {
        rpi4.run(&["systemctl", "is-active", "slow.service"])
            .stdout
            .contains("activating")
    });
    let jobs = laptop.ok(&["busctl", "tree", "--list", "org.containers.hirte"]);
    let job = jobs
        .lines()
        .find(|path| path.contains("/job/"))
        .expect("a job")
        .to_owned();
    let state =
        format!("busctl get-property org.containers.hirte {job} org.containers.hirte.Job State");
    lab::eventually(Duration::from_secs(5), "the job's state is running", || {
        laptop.sh(&state).stdout == "s \"running\"\n"
    });
    let cancel = format!("busctl call org.containers.hirte {job} org.containers.hirte.Job Cancel");
    expect(&laptop, &cancel, 0, "");
    let ended = client.wait(Duration::from_secs(5));
    assert!(ended.stdout.contains("result: canceled"), "{ended}");
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    expect(&laptop, &cancel, 1, "Unknown object");
}

#[test]
fn busctl_works_as_with_any_good_service() {
    let Some((_lab, [laptop, _rpi4])) = fleet("busctl") else {
        return;
    };
    expect(
        &laptop,
        "busctl tree org.containers.hirte",
        0,
        "/org/containers/hirte/node/rpi4",
    );
    for path in ["", "/node", "/job", "/node/rpi4"] {
        let command = format!("busctl introspect org.containers.hirte /org/containers/hirte{path}");
        expect(&laptop, &command, 0, "org.freedesktop.DBus.Introspectable");
    }
    let manager = "org.containers.hirte /org/containers/hirte org.containers.hirte.Manager";
    expect(
        &laptop,
        &format!("busctl call {manager} Ping s hello"),
        0,
        "s \"hello\"",
    );
    expect(
        &laptop,
        &format!("busctl get-property {manager} Nodes"),
        0,
        "as 2 \"laptop\" \"rpi4\"",
    );
    expect(
        &laptop,
        &format!("busctl call {manager} GetNode s moon"),
        1,
        "Node not found",
    );
    let property = "GetUnitProperty sss httpd.service org.freedesktop.systemd1.Unit ActiveState";
    expect(
        &laptop,
        &format!("busctl call org.containers.hirte {NODE} {property}"),
        0,
        "v s \"inactive\"",
    );
    let monitor = laptop.spawn(&["busctl", "monitor", "org.containers.hirte"]);
    monitor.wait_output("Monitoring", Duration::from_secs(5));
    let start = format!("{OVER_BUS} hirtectl start rpi4 httpd.service");
    expect(&laptop, &start, 0, "done");
    monitor.wait_output("JobRemoved", Duration::from_secs(5));
    let seen = monitor.stdout();
    let at = |member: &str| {
        seen.find(member)
            .unwrap_or_else(|| panic!("{member} in {seen}"))
    };
    assert!(
        at("Member=StartUnit") < at("Member=JobNew")
            && at("Member=JobNew") < at("Member=JobRemoved")
    );
    let log = laptop.journal("hirte.service");
    assert!(
        log.contains("StartUnit httpd.service on 'rpi4', mode replace"),
        "{log}"
    );
    assert!(log.contains("(uid 0, pid "), "{log}");
}

/// Over the bus and the private socket a member of the group `hirte` may look and not touch, others
/// may do nothing.
#[test]
fn members_of_the_group_may_look_and_not_touch() {
    let Some((_lab, [laptop, _rpi4])) = fleet("policy") else {
        return;
    };
    laptop.ok(&[
        "useradd",
        "--no-create-home",
        "--groups",
        "hirte",
        "watcher",
    ]);
    laptop.ok(&["useradd", "--no-create-home", "stranger"]);
    // dbus-daemon has read the groups of users that it knows already.
    laptop.systemctl(&["reload", "dbus"]);
    let as_user = |user: &str, command: &str| format!("runuser -u {user} -- {command}");
    for command in [
        "hirtectl list-units rpi4",
        "hirtectl list-nodes",
        "hirtectl status rpi4 httpd.service",
    ] {
        let privately = format!("{OVER_PRIVATE_SOCKET} {command}");
        expect(&laptop, &as_user("watcher", command), 0, "");
        expect(&laptop, &as_user("watcher", &privately), 0, "");
        assert_ne!(
            laptop.sh(&as_user("stranger", command)).status.code(),
            Some(0),
            "{command}"
        );
    }
    for command in [
        "hirtectl start rpi4 httpd.service",
        "hirtectl enable rpi4 httpd.service",
    ] {
        let privately = format!("{OVER_PRIVATE_SOCKET} {command}");
        let denied = "does not allow";
        let ways = [
            ("watcher", command, denied),
            ("watcher", &privately, "Members of group hirte may"),
            ("stranger", command, denied),
            ("stranger", &privately, "Permission denied"),
        ];
        for (user, command, denied) in ways {
            let refused = laptop.sh(&as_user(user, command));
            assert_ne!(
                refused.status.code(),
                Some(0),
                "{user}: {command}: {refused}"
            );
            assert!(refused.stderr.contains(denied), "{user}: {refused}");
        }
    }
}
