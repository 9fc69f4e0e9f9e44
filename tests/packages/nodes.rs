//! Packages of both kinds on nodes with systemd: installed, started, upgraded, removed.

use std::{path::Path, time::Duration};

use crate::lab::{Lab, Node, eventually};

/// Units that can be enabled.
pub const UNITS: [&str; 4] = [
    "hirte.service",
    "hirte.socket",
    "hirte-agent.service",
    "hirte-dashboard.service",
];
/// Of a unit that the agent's package has, and that cannot be enabled.
const INSTANCE: &str = "hirte-dep@dbus.service";
pub const PATIENCE: Duration = Duration::from_secs(30);
/// What the administrator of the tests has changed in `hirte.conf`.
pub const MANAGER: &str = "[hirte]\nAllowedNodeNames=laptop\n";
const AGENT_DROP_IN: &str = "/etc/hirte/agent.conf.d/50-site.conf";
const AGENT: &str = "[hirte-agent]\nNodeName=laptop\nManagerHost=127.0.0.1\nManagerPort=842\n";

/// A node without hirte that sees folders of packages.
pub fn node(name: &str, folders: &[&Path]) -> (Lab, Node) {
    let mut lab = Lab::builder(name);
    for folder in folders {
        lab = lab.bind(*folder);
    }
    let lab = lab.build();
    let [node] = lab.boot(&[("laptop", "192.168.42.10")]);
    // Of images for containers: no service may start, no document is unpacked.
    node.ok(&[
        "sh",
        "-c",
        "rm -f /usr/sbin/policy-rc.d /etc/dpkg/dpkg.cfg.d/* /etc/apt/apt.conf.d/*",
    ]);
    (lab, node)
}

/// Every path of the node that is named after hirte.
pub fn traces(node: &Node) -> Vec<String> {
    let find = "find /etc /usr /var /run /opt /root -xdev -path '*hirte*' | LC_ALL=C sort";
    let found = node.ok(&["sh", "-c", find]);
    found.lines().map(str::to_owned).collect()
}

/// The state of units as systemctl tells it: `is-active` or `is-enabled`.
pub fn state(node: &Node, question: &str, unit: &str) -> String {
    node.run(&["systemctl", question, unit])
        .stdout
        .trim()
        .to_owned()
}

/// What a fresh installation of the packages looks like: nothing runs, nothing is enabled.
pub fn is_idle(node: &Node) {
    for unit in UNITS {
        assert_eq!(state(node, "is-active", unit), "inactive", "{unit}");
        assert_eq!(state(node, "is-enabled", unit), "disabled", "{unit}");
    }
    let user = node.run(&["systemctl", "--global", "is-enabled", "hirte-agent.service"]);
    assert_eq!(user.stdout.trim(), "disabled");
    node.ok(&["getent", "group", "hirte"]);
    node.ok(&["getent", "passwd", "hirte-agent"]);
    node.ok(&["getent", "passwd", "hirte-dashboard"]);
    node.ok(&["test", "-d", "/run/hirte"]);
    let version = node.ok(&["hirtectl", "--version"]);
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    for program in ["hirtectl-top", "hirte-dashboard"] {
        assert_eq!(node.ok(&[program, "--version"]), version, "{program}");
    }
    // The agent's executable by its other name.
    assert_eq!(node.ok(&["/usr/libexec/hirte-proxy", "--version"]), version);
}

/// What runs before an upgrade: the manager and its socket. The agent is configured and stopped.
#[derive(Debug)]
pub struct Before {
    manager: u32,
    dashboard: u32,
    socket: String,
}

pub fn start(node: &Node) -> Before {
    node.write("/etc/hirte/hirte.conf", MANAGER);
    node.write(AGENT_DROP_IN, AGENT);
    node.systemctl(&["enable", "--now", "hirte.socket"]);
    node.systemctl(&["enable", "--now", "hirte.service"]);
    node.systemctl(&["enable", "--now", "hirte-dashboard.service"]);
    node.systemctl(&["start", INSTANCE]);
    Before {
        dashboard: node
            .pid_of("hirte-dashboard.service")
            .expect("the dashboard runs"),
        manager: node.pid_of("hirte.service").expect("hirte runs"),
        socket: opened(node),
    }
}

fn opened(node: &Node) -> String {
    node.systemctl(&[
        "show",
        "--property=ActiveEnterTimestampMonotonic",
        "hirte.socket",
    ])
}

/// Only what ran was started again, the socket was open all the time, the agent can join, and the bus
/// knows the group.
pub fn is_upgraded(node: &Node, before: &Before) {
    let manager = node.pid_of("hirte.service").expect("hirte runs");
    assert_ne!(manager, before.manager, "hirte was not started again");
    assert_eq!(opened(node), before.socket);
    let dashboard = node.pid_of("hirte-dashboard.service");
    assert_ne!(dashboard.expect("it runs"), before.dashboard);
    for (unit, active, enabled) in [
        ("hirte.service", "active", "enabled"),
        ("hirte.socket", "active", "enabled"),
        ("hirte-agent.service", "inactive", "disabled"),
        ("hirte-dashboard.service", "active", "enabled"),
    ] {
        assert_eq!(state(node, "is-active", unit), active, "{unit}");
        assert_eq!(state(node, "is-enabled", unit), enabled, "{unit}");
        let stale = node.systemctl(&["show", "--property=NeedDaemonReload", "--value", unit]);
        assert_eq!(stale, "no", "{unit}");
    }
    assert_eq!(state(node, "is-active", INSTANCE), "active");
    assert_eq!(node.read("/etc/hirte/hirte.conf"), MANAGER);
    let agent = node.read("/etc/hirte/agent.conf");
    assert!(agent.contains("# Of the second revision."), "{agent}");
    node.systemctl(&["start", "hirte-agent"]);
    eventually(PATIENCE, "the agent is online", || {
        let nodes = node.run(&["hirtectl", "list-nodes"]).stdout;
        nodes.contains("laptop") && nodes.contains("online")
    });
    let reader = [
        "setpriv",
        "--reuid=nobody",
        "--regid=hirte",
        "--clear-groups",
    ];
    let ask = [
        "busctl",
        "get-property",
        "org.containers.hirte",
        "/org/containers/hirte",
    ];
    let property = ["org.containers.hirte.Manager", "Status"];
    assert_eq!(
        node.ok(&[&reader[..], &ask, &property].concat()),
        "s \"up\""
    );
}

/// After the removal nothing runs, and nothing is left but the user, the group, and files that the
/// administrator has written: a drop-in, and what the packaging system has put aside.
pub fn is_gone(node: &Node, before: &[String], further: &[&str]) {
    for unit in UNITS {
        assert_ne!(state(node, "is-active", unit), "active", "{unit}");
        let loaded = node.systemctl(&["show", "--property=LoadState", "--value", unit]);
        assert_eq!(loaded, "not-found", "{unit}");
    }
    assert_eq!(state(node, "is-active", INSTANCE), "inactive");
    assert_eq!(
        node.run(&["pgrep", "-x", "hirte|hirte-agent|hirte-dashboard"])
            .stdout,
        ""
    );
    let left: Vec<String> = traces(node)
        .into_iter()
        .filter(|path| !before.contains(path))
        .collect();
    let own = ["/etc/hirte/agent.conf.d", AGENT_DROP_IN];
    assert_eq!(left, [&own, further].concat());
    assert_eq!(node.read(AGENT_DROP_IN), AGENT);
}
