//! Dependencies of units on units of other nodes, with real systemd on each: what a person sees who
//! writes `Wants=hirte-proxy@NODE_UNIT.service`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::disallowed_names,
    reason = "nodes are called foo and bar where hirte's dependencies are explained"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "lab/mod.rs"]
mod lab;
#[path = "support/tree.rs"]
mod tree;

use std::{fmt::Write, thread, time::Duration};

use lab::{Lab, Node, eventually};

const SOON: Duration = Duration::from_secs(20);
/// What has not changed after this time does not change.
const QUIET: Duration = Duration::from_millis(700);
/// How often a unit is started while others look at its target.
const LOOKED_AT: usize = 25;

/// `[node bar]` may depend on nobody; `away` never has an agent.
const MANAGER: &str = "[hirte]\nAllowedNodeNames=foo,bar,my_node,away\n\
    [node foo]\nAllowDependenciesOn=bar,my_node,away\n\
    [node my_node]\nAllowDependenciesOn=bar\n";

/// Units that others depend on.
const TARGETS: [(&str, &str); 4] = [
    (
        "db.service",
        "[Unit]\nStopWhenUnneeded=yes\n[Service]\nExecStart=sleep infinity\n",
    ),
    ("web.service", "[Service]\nExecStart=sleep infinity\n"),
    (
        "fails.service",
        "[Service]\nType=oneshot\nExecStart=false\n",
    ),
    (
        "slow.service",
        "[Unit]\nStopWhenUnneeded=yes\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=sh -c 'until test -e /run/go; do sleep 0.05; done'\n",
    ),
];

/// Units that depend on others: name, how, and on what.
const SOURCES: [(&str, &str, &str); 8] = [
    ("app.service", "Wants", "bar_db"),
    ("more.service", "Wants", "bar_db"),
    ("bound.service", "BindsTo", "bar_db"),
    ("needs.service", "Requires", "bar_db"),
    ("page.service", "Wants", "bar_web"),
    ("waits.service", "Requires", "bar_slow"),
    ("broken.service", "Requires", "bar_fails"),
    ("two.service", "Requires", "my_node_db"),
];

/// The nodes: foo has the manager too.
struct Fleet {
    foo: Node,
    bar: Node,
    third: Node,
    lab: Lab,
}

fn fleet(name: &str) -> Option<Fleet> {
    if !lab::require() {
        return None;
    }
    let lab = Lab::builder(name).layer(tree::install_tree()).build();
    let [foo, bar, third] = lab.boot(&[
        ("foo", "192.168.42.10"),
        ("bar", "192.168.42.11"),
        ("third", "192.168.42.12"),
    ]);
    foo.write("/etc/hirte/hirte.conf", MANAGER);
    for (node, name) in [(&foo, "foo"), (&bar, "bar"), (&third, "my_node")] {
        let config = format!("[hirte-agent]\nNodeName={name}\nManagerHost=192.168.42.10\n");
        node.write("/etc/hirte/agent.conf", config);
        for (unit, content) in TARGETS {
            node.write(&format!("/etc/systemd/system/{unit}"), content);
        }
    }
    for (unit, how, target) in SOURCES {
        let proxy = format!("hirte-proxy@{target}.service");
        let content =
            format!("[Unit]\n{how}={proxy}\nAfter={proxy}\n[Service]\nExecStart=sleep infinity\n");
        for node in [&foo, &third] {
            node.write(&format!("/etc/systemd/system/{unit}"), &content);
        }
    }
    for node in [&foo, &bar, &third] {
        node.systemctl(&["daemon-reload"]);
    }
    foo.systemctl(&["start", "hirte", "hirte-agent"]);
    bar.systemctl(&["start", "hirte-agent"]);
    third.systemctl(&["start", "hirte-agent"]);
    let fleet = Fleet {
        foo,
        bar,
        third,
        lab,
    };
    fleet.wait_nodes(3);
    Some(fleet)
}

fn state(node: &Node, unit: &str) -> String {
    let shown = node.run(&["systemctl", "is-active", unit]).stdout;
    shown.trim().to_owned()
}

impl Fleet {
    fn wait_nodes(&self, count: usize) {
        eventually(SOON, "the nodes are online", || {
            let nodes = self.foo.run(&["hirtectl", "list-nodes"]).stdout;
            nodes.matches("online").count() == count
        });
    }

    fn journals(&self) -> String {
        let mut all = String::new();
        for node in [&self.foo, &self.bar, &self.third] {
            let lines = node.run(&[
                "journalctl",
                "--no-pager",
                "-n",
                "60",
                "-o",
                "short-precise",
            ]);
            writeln!(all, "---- {}\n{}", node.name(), lines.stdout).unwrap();
        }
        all
    }

    /// Waits until units are in these states.
    fn expect(&self, what: &str, units: &[(&Node, &str, &str)]) {
        for (node, unit, wanted) in units {
            let is = lab::holds_within(SOON, || state(node, unit) == *wanted);
            assert!(
                is,
                "{what}: {unit} of {} is {}, not {wanted}\n{}",
                node.name(),
                state(node, unit),
                self.journals()
            );
        }
    }

    /// Nothing is left of any dependency.
    fn expect_nothing(&self, what: &str) {
        for node in [&self.foo, &self.bar, &self.third] {
            let left = || {
                let units = ["hirte-proxy@*", "hirte-dep@*"];
                let list = ["systemctl", "list-units", "--plain", "--no-legend"];
                let states = ["--state=active,activating,deactivating,reloading"];
                node.run(&[&list[..], &states[..], &units[..]].concat())
                    .stdout
            };
            assert!(
                lab::holds_within(SOON, || left().is_empty()),
                "{what}: left on {}:\n{}\n{}",
                node.name(),
                left(),
                self.journals()
            );
        }
        self.expect(
            what,
            &[
                (&self.bar, "db.service", "inactive"),
                (&self.third, "db.service", "inactive"),
            ],
        );
    }

    fn start(&self, unit: &str) {
        let started = self.foo.run(&["systemctl", "start", unit]);
        assert!(started.success(), "{unit}: {started}\n{}", self.journals());
    }

    fn stop(&self, unit: &str) {
        self.foo.systemctl(&["stop", unit]);
    }

    /// A start that must fail, and the reason in the journal.
    fn refused(&self, node: &Node, unit: &str, reason: &str) {
        let started = node.run(&["systemctl", "start", unit]);
        assert!(!started.success(), "{unit} was started");
        assert!(
            lab::holds_within(SOON, || node.journal(unit).contains(reason)),
            "{unit}: expected '{reason}'\n{}",
            self.journals()
        );
        node.run(&["systemctl", "reset-failed"]);
    }

    /// The dependency of app.service on bar's db.service is as it shall be.
    fn expect_app(&self, what: &str) {
        let (foo, bar) = (&self.foo, &self.bar);
        self.expect(
            what,
            &[
                (foo, "app.service", "active"),
                (foo, "hirte-proxy@bar_db.service", "active"),
                (bar, "hirte-dep@db.service", "active"),
                (bar, "db.service", "active"),
            ],
        );
    }

    /// Ends the dependency of app.service at its target, which must be noticed, and at its source.
    fn end_app(&self, what: &str) {
        self.bar.systemctl(&["stop", "db.service"]);
        self.expect(
            what,
            &[(&self.foo, "hirte-proxy@bar_db.service", "inactive")],
        );
        assert_eq!(state(&self.foo, "app.service"), "active", "{what}");
        self.stop("app.service");
        self.expect_nothing(what);
    }
}

#[test]
fn units_start_and_stop_with_those_of_other_nodes() {
    let Some(fleet) = fleet("cross") else {
        return;
    };
    let (foo, bar, third) = (&fleet.foo, &fleet.bar, &fleet.third);

    fleet.start("app.service");
    fleet.expect_app("start");
    fleet.start("more.service");
    fleet.stop("app.service");
    thread::sleep(QUIET);
    fleet.expect(
        "another source",
        &[
            (bar, "db.service", "active"),
            (foo, "hirte-proxy@bar_db.service", "active"),
        ],
    );
    fleet.stop("more.service");
    fleet.expect_nothing("stop of the last source");

    fleet.start("bound.service");
    fleet.start("app.service");
    bar.systemctl(&["kill", "--signal=KILL", "db.service"]);
    fleet.expect(
        "failure of the target",
        &[
            (foo, "hirte-proxy@bar_db.service", "inactive"),
            (foo, "bound.service", "inactive"),
            (foo, "app.service", "active"),
        ],
    );
    bar.systemctl(&["reset-failed"]);
    fleet.stop("app.service");
    fleet.expect_nothing("failure of the target");

    fleet.start("app.service");
    fleet.end_app("stop of the target");

    fleet.start("app.service");
    bar.systemctl(&["stop", "hirte-dep@db.service"]);
    fleet.expect(
        "stop of the dependency",
        &[
            (bar, "db.service", "inactive"),
            (foo, "hirte-proxy@bar_db.service", "inactive"),
        ],
    );
    fleet.stop("app.service");

    // A target that is not bound to those who need it stays.
    fleet.start("page.service");
    fleet.stop("page.service");
    fleet.expect_nothing("stop of the source");
    assert_eq!(state(bar, "web.service"), "active");

    // The shortest name of a node counts; an escaped one can be longer.
    fleet.start("two.service");
    fleet.start("hirte-proxy@my\\x5fnode_web.service");
    fleet.expect(
        "a name with an underscore",
        &[
            (third, "db.service", "active"),
            (third, "web.service", "active"),
        ],
    );
    fleet.stop("two.service");
    fleet.expect_nothing("a name with an underscore");

    // systemd loads a unit for who looks at it, and unloads it at once.
    let look = "while :; do systemctl is-active db.service; done";
    let looks = [(); 4].map(|()| bar.spawn(&["sh", "-c", look]));
    for _ in 0..LOOKED_AT {
        fleet.start("needs.service");
        fleet.stop("needs.service");
    }
    drop(looks);
    fleet.expect_nothing("looks at the target");
}

#[test]
fn what_can_not_be_started_is_said() {
    let Some(fleet) = fleet("refuse") else {
        return;
    };
    let (foo, bar) = (&fleet.foo, &fleet.bar);
    let failed = "Proxy service failed to start";
    fleet.refused(foo, "hirte-proxy@bar_fails.service", failed);
    assert_eq!(state(foo, "broken.service"), "inactive");
    // The first attempt has left a failed unit, the second must not be taken for it.
    fleet.refused(foo, "hirte-proxy@bar_fails.service", failed);
    fleet.refused(foo, "hirte-proxy@bar_nope.service", failed);
    fleet.refused(foo, "hirte-proxy@bar_nope.service", failed);
    // A unit that is not there and that something refers to is never announced.
    bar.unit(
        "refers.service",
        "[Unit]\nAfter=missing.service\n[Service]\nExecStart=sleep infinity\n",
    );
    bar.systemctl(&["start", "refers.service"]);
    fleet.refused(foo, "hirte-proxy@bar_missing.service", failed);
    bar.systemctl(&["mask", "hidden.service"]);
    fleet.refused(foo, "hirte-proxy@bar_hidden.service", failed);
    fleet.refused(foo, "hirte-proxy@nowhere_db.service", "No such node");
    fleet.refused(foo, "hirte-proxy@no_where_db.service", "No such node");
    fleet.refused(
        bar,
        "hirte-proxy@foo_web.service",
        "Proxy on node not allowed",
    );
    fleet.refused(foo, "hirte-proxy@bar.service", "No underscore");
    fleet.expect_nothing("refusals");

    // A start that is given up leaves nothing. systemd lets a unit that is starting go on, and stops
    // it when it is active and not needed.
    foo.systemctl(&["start", "--no-block", "waits.service"]);
    fleet.expect("waiting", &[(bar, "slow.service", "activating")]);
    fleet.stop("hirte-proxy@bar_slow.service");
    fleet.expect_nothing("a start that was given up");
    bar.write("/run/go", "");
    fleet.expect(
        "a start that was given up",
        &[(bar, "slow.service", "inactive")],
    );
    assert_eq!(state(foo, "hirte-proxy@bar_slow.service"), "inactive");
    foo.systemctl(&["start", "--no-block", "hirte-proxy@away_db.service"]);
    foo.wait_journal("hirte-agent.service", "db.service of node away", SOON);
    fleet.stop("hirte-proxy@away_db.service");
    fleet.expect_nothing("a node that never came");

    // An agent that restarts is waited for, one that stays away is not.
    bar.systemctl(&["stop", "hirte-agent"]);
    fleet.refused(
        bar,
        "hirte-proxy@foo_web.service",
        "hirte-agent is not on the bus",
    );
}

#[test]
fn dependencies_outlive_every_fault() {
    let Some(fleet) = fleet("outlive") else {
        return;
    };
    let (foo, bar) = (&fleet.foo, &fleet.bar);
    let kill = |node: &Node, unit: &str| {
        let before = node.pid_of(unit);
        node.kill(unit, "KILL");
        eventually(SOON, "it is back", || {
            let pid = node.pid_of(unit);
            pid.is_some() && pid != before
        });
    };
    let reexec = |node: &Node| {
        node.run(&["systemctl", "daemon-reexec"]);
    };
    let restart_bus = |node: &Node| {
        node.systemctl(&["restart", "dbus.service"]);
        node.wait_journal("hirte-agent.service", "No connection to the bus", SOON);
    };
    let faults: [(&str, &dyn Fn()); 9] = [
        ("reload of units", &|| {
            foo.systemctl(&["daemon-reload"]);
            bar.systemctl(&["daemon-reload"]);
        }),
        ("manager", &|| kill(foo, "hirte.service")),
        ("agent of the source", &|| kill(foo, "hirte-agent.service")),
        ("agent of the target", &|| kill(bar, "hirte-agent.service")),
        ("systemd of the source", &|| reexec(foo)),
        ("systemd of the target", &|| reexec(bar)),
        ("network", &|| {
            fleet.lab.cut(foo, bar);
            thread::sleep(Duration::from_secs(7));
            fleet.lab.heal(foo, bar);
        }),
        ("offline target", &|| {
            bar.systemctl(&["stop", "hirte-agent"]);
            thread::sleep(QUIET);
            bar.systemctl(&["start", "hirte-agent"]);
        }),
        ("bus of the source", &|| restart_bus(foo)),
    ];
    for (fault, happen) in faults {
        println!("{fault}");
        bar.run(&["rm", "-f", "/run/go"]);
        fleet.start("app.service");
        foo.systemctl(&["start", "--no-block", "waits.service"]);
        fleet.expect(fault, &[(bar, "slow.service", "activating")]);
        happen();
        fleet.wait_nodes(3);
        thread::sleep(QUIET);
        fleet.expect_app(fault);
        fleet.expect(
            fault,
            &[
                (foo, "hirte-proxy@bar_slow.service", "activating"),
                (bar, "slow.service", "activating"),
            ],
        );
        bar.write("/run/go", "");
        fleet.expect(fault, &[(foo, "waits.service", "active")]);
        fleet.stop("waits.service");
        fleet.expect(fault, &[(bar, "slow.service", "inactive")]);
        fleet.end_app(fault);
    }
}

/// What changes on one side of a fault reaches the other side after it.
#[test]
fn what_ended_during_a_fault_is_caught_up() {
    let Some(fleet) = fleet("catchup") else {
        return;
    };
    let (foo, bar, third) = (&fleet.foo, &fleet.bar, &fleet.third);
    for (what, node) in [("source", foo), ("target", bar)] {
        let what = format!("stop without the agent of the {what}");
        fleet.start("app.service");
        fleet.expect_app(&what);
        node.systemctl(&["stop", "hirte-agent"]);
        fleet.stop("app.service");
        fleet.expect(&what, &[(foo, "hirte-proxy@bar_db.service", "inactive")]);
        node.systemctl(&["start", "hirte-agent"]);
        fleet.expect_nothing(&what);
    }

    // The agents of foo and bar live on, so they know what has ended.
    let what = "stop of the target without a manager";
    fleet.start("app.service");
    fleet.expect_app(what);
    foo.systemctl(&["stop", "hirte"]);
    bar.systemctl(&["stop", "db.service"]);
    foo.systemctl(&["start", "hirte"]);
    fleet.wait_nodes(3);
    let proxy = (foo, "hirte-proxy@bar_db.service", "inactive");
    fleet.expect(what, &[proxy, (bar, "db.service", "inactive")]);
    assert_eq!(state(foo, "app.service"), "active", "{what}");
    fleet.stop("app.service");
    fleet.expect_nothing(what);

    let what = "stop of a target that is cut off";
    fleet.start("bound.service");
    fleet.start("app.service");
    fleet.lab.cut(foo, bar);
    fleet.wait_nodes(2);
    bar.systemctl(&["stop", "db.service"]);
    // It needs the unit only from here on, and gets it.
    third.systemctl(&["start", "--no-block", "more.service"]);
    thread::sleep(QUIET);
    fleet.lab.heal(foo, bar);
    fleet.wait_nodes(3);
    let ended = [proxy, (foo, "bound.service", "inactive")];
    fleet.expect(what, &ended);
    fleet.expect(
        what,
        &[
            (third, "more.service", "active"),
            (bar, "db.service", "active"),
        ],
    );
    third.systemctl(&["stop", "more.service"]);
    fleet.stop("app.service");
    fleet.expect_nothing(what);

    let what = "a target that boots again";
    fleet.start("app.service");
    fleet.expect_app(what);
    bar.reboot();
    assert_eq!(state(bar, "db.service"), "inactive", "{what}");
    bar.systemctl(&["start", "hirte-agent"]);
    fleet.expect_app(what);

    let what = "a source that does not come back";
    third.systemctl(&["start", "more.service"]);
    fleet.expect(what, &[(third, "more.service", "active")]);
    fleet.stop("app.service");
    thread::sleep(QUIET);
    assert_eq!(state(bar, "db.service"), "active", "{what}");
    third.crash();
    fleet.expect(
        what,
        &[
            (bar, "hirte-dep@db.service", "inactive"),
            (bar, "db.service", "inactive"),
        ],
    );
    third.boot();
    third.systemctl(&["start", "hirte-agent"]);
}

#[test]
fn what_ended_without_a_manager_is_not_kept() {
    let Some(fleet) = fleet("unmanaged") else {
        return;
    };
    let (foo, bar) = (&fleet.foo, &fleet.bar);
    let what = "stop without a manager";
    fleet.start("app.service");
    fleet.expect_app(what);
    foo.systemctl(&["stop", "hirte"]);
    fleet.stop("app.service");
    assert_eq!(state(bar, "db.service"), "active", "{what}");
    foo.systemctl(&["start", "hirte"]);
    fleet.wait_nodes(3);
    let longest = hirte::limits::DEPENDENCY_GRACE + SOON;
    eventually(longest, what, || state(bar, "db.service") == "inactive");
    fleet.expect_nothing(what);
}
