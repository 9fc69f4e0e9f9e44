//! hirtectl on real nodes: each command has the effect on a real systemd that it tells of, and what
//! it tells is what that systemd says.
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
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

/// What can happen to a unit.
const UNITS: [(&str, &str); 5] = [
    (
        "fails.service",
        "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    ),
    (
        "slow.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sleep 600\n",
    ),
    (
        "half.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 0.5\n",
    ),
    (
        "traps.service",
        "[Service]\nExecStart=/bin/sh -c 'trap \"touch /run/trapped\" USR1; while :; do sleep \
         0.05; done'\n",
    ),
    (
        "wanted.service",
        "[Service]\nExecStart=/bin/sleep 600\n[Install]\nWantedBy=multi-user.target\n\
         Alias=alias.service\n",
    ),
];

/// The laptop, from which the fleet is controlled, and the node that is acted on.
struct Fleet {
    laptop: Node,
    rpi4: Node,
    _lab: Lab,
}

impl Fleet {
    fn boot() -> Self {
        let lab = Lab::builder("hirtectl").layer(tree::install_tree()).build();
        let [laptop, rpi4] = guide::first(&lab, &guide::Walk { is_shown: false });
        for (name, content) in UNITS {
            rpi4.unit(name, content);
        }
        rpi4.systemctl(&["daemon-reload"]);
        Self {
            laptop,
            rpi4,
            _lab: lab,
        }
    }

    /// Runs hirtectl, which must end so and print this, on standard output or error.
    fn check(&self, arguments: &str, status: i32, expected: &[&str]) -> String {
        let found = self.laptop.sh(&format!("hirtectl {arguments}"));
        let text = format!("{}{}", found.stdout, found.stderr);
        assert!(
            found.status.code() == Some(status) && expected.iter().all(|part| text.contains(part)),
            "# hirtectl {arguments}\nexpected status {status} and {expected:?}\n{found}\n{}\n{}",
            guide::journals(&self.laptop),
            guide::journals(&self.rpi4)
        );
        found.stdout
    }

    fn results(&self, arguments: &str) -> Vec<Value> {
        let text = self.check(&format!("{arguments} --json"), 0, &[]);
        let document: Value = serde_json::from_str(&text).expect("JSON");
        document["results"].as_array().unwrap().clone()
    }

    /// What rpi4's systemd itself tells of a unit.
    fn shown(&self, unit: &str, property: &str) -> String {
        let shown = self
            .rpi4
            .systemctl(&["show", "--property", property, "--value", unit]);
        shown.trim().to_owned()
    }
}

#[test]
fn each_command_does_what_it_tells() {
    if !lab::require() {
        return;
    }
    let fleet = Fleet::boot();
    jobs_run_side_by_side(&fleet);
    jobs_are_cancelled(&fleet);
    processes_are_frozen_and_signalled(&fleet);
    unit_files_change(&fleet);
    a_unit_is_shown_as_systemctl_shows_it(&fleet);
    lists_are_those_of_systemd(&fleet);
    log_and_metrics(&fleet);
    watchers_are_told(&fleet);
    bash_completes_the_live_fleet(&fleet);
}

fn jobs_run_side_by_side(fleet: &Fleet) {
    let began = std::time::Instant::now();
    fleet.check(
        "start rpi4 half httpd fails nope",
        1,
        &[
            "Unit half.service start operation result: done\n",
            "Unit httpd.service start operation result: done\n",
            "Unit fails.service start operation result: failed\n",
            "Unit nope.service not found",
        ],
    );
    println!("four jobs took {:?}", began.elapsed());
    assert_eq!(fleet.shown("half.service", "ActiveState"), "active");
    fleet.check("restart rpi4 half httpd", 0, &["half.service restart"]);
    fleet.check("reload rpi4 httpd", 0, &["reload operation result: done"]);
    fleet.check("stop rpi4 half", 0, &[]);
    assert_eq!(fleet.shown("half.service", "ActiveState"), "inactive");
    fleet.check(
        "reset-failed rpi4 fails",
        0,
        &["fails.service reset-failed"],
    );
    assert_eq!(fleet.shown("fails.service", "ActiveState"), "inactive");
    fleet.check("start rpi4 fails", 1, &[]);
    fleet.check("reset-failed", 0, &["Node laptop", "Node rpi4"]);
    assert_eq!(fleet.shown("fails.service", "ActiveState"), "inactive");
    fleet.check("reset-failed rpi4 nope", 5, &["nope.service"]);
}

fn jobs_are_cancelled(fleet: &Fleet) {
    fleet.check(
        "start rpi4 slow --no-block",
        0,
        &["Unit slow.service start operation queued as job "],
    );
    let jobs = fleet.results("list-jobs rpi4");
    let [job] = &jobs[..] else {
        panic!("{jobs:?}");
    };
    assert_eq!(job["unit"], "slow.service");
    assert_eq!(fleet.results("list-jobs laptop").len(), 0);
    fleet.check(
        "stop rpi4 slow --job-mode=fail",
        1,
        &["org.freedesktop.systemd1.TransactionIsDestructive"],
    );
    fleet.check(&format!("cancel {}", job["job"]), 0, &[]);
    lab::eventually(SOON, "the job is gone", || {
        fleet.results("list-jobs").is_empty()
    });
    fleet.check(&format!("cancel {}", job["job"]), 5, &["There is no job"]);
}

fn processes_are_frozen_and_signalled(fleet: &Fleet) {
    fleet.check("start rpi4 traps", 0, &[]);
    fleet.check("freeze rpi4 traps", 0, &["traps.service freeze"]);
    assert_eq!(fleet.shown("traps.service", "FreezerState"), "frozen");
    fleet.check("status rpi4 traps", 0, &["    Freezer: frozen\n"]);
    fleet.check("thaw rpi4 traps", 0, &["traps.service thaw"]);
    assert_eq!(fleet.shown("traps.service", "FreezerState"), "running");
    fleet.check(
        "freeze rpi4 traps half",
        5,
        &["traps.service freeze", "half.service not loaded"],
    );
    fleet.check("thaw rpi4 traps", 0, &[]);
    let kill = "kill rpi4 traps --kill-whom=main --signal=SIGUSR1";
    fleet.check(kill, 0, &["traps.service kill"]);
    lab::eventually(SOON, "the signal arrived", || {
        fleet.rpi4.run(&["test", "-e", "/run/trapped"]).success()
    });
    fleet.check("kill rpi4 traps", 0, &[]);
    lab::eventually(SOON, "the unit ended", || {
        fleet.shown("traps.service", "ActiveState") == "inactive"
    });
    fleet.check("kill rpi4 traps", 5, &["traps.service not loaded"]);
}

fn unit_files_change(fleet: &Fleet) {
    let state = || {
        fleet
            .rpi4
            .run(&["systemctl", "is-enabled", "wanted.service"])
    };
    fleet.check("is-enabled rpi4 wanted", 1, &["disabled\n"]);
    fleet.check(
        "enable rpi4 wanted --runtime",
        0,
        &["Created symlink /run/"],
    );
    assert_eq!(state().stdout, "enabled-runtime\n");
    fleet.check("is-enabled rpi4 wanted", 0, &["enabled-runtime\n"]);
    fleet.check("disable rpi4 wanted --runtime", 0, &["Removed \"/run/"]);
    let link = "/etc/systemd/system/alias.service";
    fleet
        .rpi4
        .ok(&["ln", "-s", "/etc/systemd/system/slow.service", link]);
    fleet.check("enable rpi4 wanted", 1, &["alias.service already exists"]);
    fleet.check("enable rpi4 wanted --force", 0, &["Created symlink /etc/"]);
    let target = fleet.rpi4.ok(&["readlink", link]);
    assert_eq!(target.trim(), "/etc/systemd/system/wanted.service");
    fleet.check(
        "is-enabled rpi4 wanted dbus nope",
        5,
        &["enabled\nstatic\n", "nope.service could not be found"],
    );
    fleet.check("disable rpi4 wanted", 0, &["Removed "]);

    // What is loaded is older than its file until somebody reloads.
    fleet.check("start rpi4 wanted", 0, &[]);
    let file = "/etc/systemd/system/wanted.service";
    let longer = format!("[Unit]\nDescription=Other\n{}", fleet.rpi4.read(file));
    fleet.rpi4.write(file, longer);
    fleet.check("enable rpi4 wanted --no-reload", 0, &[]);
    assert_eq!(fleet.shown("wanted.service", "NeedDaemonReload"), "yes");
    fleet.check("daemon-reload rpi4", 0, &[]);
    assert_eq!(fleet.shown("wanted.service", "Description"), "Other");

    let default = fleet.check("get-default rpi4", 0, &[".target\n"]);
    let default = default.trim();
    assert_eq!(fleet.rpi4.ok(&["systemctl", "get-default"]).trim(), default);
    fleet.check("set-default rpi4 rescue.target", 0, &["Created symlink"]);
    assert_eq!(
        fleet.rpi4.ok(&["systemctl", "get-default"]).trim(),
        "rescue.target"
    );
    fleet.check(&format!("set-default rpi4 {default}"), 0, &["Removed"]);
    fleet.check("set-default rpi4 nope.target", 5, &["nope.target"]);
}

/// The values of lines that must be the same in both.
fn facts(status: &str) -> Vec<String> {
    let labels = ["Loaded:", "Active:", "Main PID:", "Tasks:"];
    let lines = status.lines().map(str::trim);
    let facts = lines.filter(|line| labels.iter().any(|label| line.starts_with(label)));
    facts
        .map(|line| {
            // Ages are counted at another moment, and systemctl adds the name of the process.
            let line = line.split(';').take(2).collect::<Vec<_>>().join(";");
            let line = if line.starts_with("Active") {
                line.split(';').next().unwrap().to_owned()
            } else {
                line
            };
            line.replace(" (sleep)", "")
        })
        .collect()
}

fn a_unit_is_shown_as_systemctl_shows_it(fleet: &Fleet) {
    for unit in ["httpd.service", "fails.service", "multi-user.target"] {
        fleet.laptop.run(&["hirtectl", "start", "rpi4", unit]);
        let ours = fleet.check(&format!("status rpi4 {unit}"), 0, &[unit]);
        let theirs = fleet
            .rpi4
            .sh(&format!(
                "TZ=UTC LC_ALL=C systemctl status --no-pager -n0 {unit}"
            ))
            .stdout;
        let comparable = |text: &str| -> Vec<String> {
            let facts = facts(text).into_iter();
            facts
                .map(|fact| match fact.split_once("Loaded: loaded (") {
                    // Newer versions of systemctl write it in other words.
                    Some((_, rest)) => rest
                        .replace("vendor preset", "preset")
                        .split(';')
                        .take(2)
                        .map(|part| part.trim().trim_end_matches(')'))
                        .collect::<Vec<_>>()
                        .join(";"),
                    None => fact,
                })
                .collect()
        };
        let (ours, theirs) = (comparable(&ours), comparable(&theirs));
        assert!(ours.len() >= 2, "{ours:?}");
        assert_eq!(ours, theirs, "{unit}");
    }
    let unit = &fleet.results("status rpi4 httpd")[0];
    assert_eq!(
        unit["main_pid"].to_string(),
        fleet.shown("httpd.service", "MainPID")
    );
    let memory = fleet.shown("httpd.service", "MemoryCurrent");
    // Where the memory controller is off systemd does not know.
    assert_eq!(unit["memory_bytes"].is_null(), memory == "[not set]");
    let shown = fleet.shown("httpd.service", "TasksCurrent");
    assert_eq!(unit["tasks"].as_u64(), shown.parse().ok());
}

fn lists_are_those_of_systemd(fleet: &Fleet) {
    let names = |list: &[Value]| -> Vec<String> {
        let names = list.iter().map(|row| row["unit"].as_str().unwrap());
        names.map(str::to_owned).collect()
    };
    let files = fleet.results("list-unit-files rpi4");
    let theirs = fleet
        .rpi4
        .ok(&["systemctl", "list-unit-files", "--no-legend", "--no-pager"]);
    let mut theirs: Vec<&str> = theirs
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    theirs.sort_unstable();
    assert_eq!(names(&files), theirs);
    let both = fleet.results("list-unit-files");
    assert!(both.iter().any(|file| file["node"] == "laptop"));
    let units = fleet.results("list-units rpi4 --filter='httpd*'");
    assert_eq!(names(&units), ["httpd.service"]);
    assert_eq!(units[0]["description"], "The web server of the guide");
}

fn log_and_metrics(fleet: &Fleet) {
    fleet.check("set-loglevel DEBUG", 0, &[]);
    fleet.check("set-loglevel rpi4 debug", 0, &[]);
    fleet.check("set-loglevel info", 0, &[]);
    fleet.check("set-loglevel rpi4 INFO", 0, &[]);
    fleet.check("set-loglevel rpi4 loud", 1, &["InvalidArgs"]);
    fleet.check("metrics enable", 0, &["Done\n"]);
    fleet.check("metrics enable", 1, &["InconsistentMessage"]);
    let listener = fleet.laptop.spawn(&["hirtectl", "metrics", "listen"]);
    listener.wait_output("Waiting for metrics signals...", SOON);
    fleet.check("start rpi4 half", 0, &[]);
    lab::eventually(SOON, "the start of half a second is measured", || {
        const START: &str = "Unit net start time (from properties): ";
        let told = listener.stdout();
        let measured = told
            .split_once(START)
            .and_then(|(_, rest)| rest.split_once("ms"));
        let measured = measured.and_then(|(time_ms, _)| time_ms.parse().ok());
        measured.is_some_and(|time_ms: f64| time_ms >= 500.0)
    });
    let told = listener.end("INT").stdout;
    assert!(
        told.contains("[rpi4] Agent systemd StartUnit job on half.service"),
        "{told}"
    );
    fleet.check("metrics disable", 0, &["Done\n"]);
    fleet.check("stop rpi4 half", 0, &[]);
}

fn watchers_are_told(fleet: &Fleet) {
    let laptop = &fleet.laptop;
    let monitor = laptop.spawn(&["hirtectl", "monitor", "rpi4", "httpd,half"]);
    let all = laptop.spawn(&["hirtectl", "monitor", "--json"]);
    let view = laptop.spawn(&["hirtectl", "status", "--watch", "rpi4", "httpd", "half"]);
    let online = laptop.spawn(&["hirtectl", "is-online", "node", "rpi4", "--monitor"]);
    let nodes = laptop.spawn(&["hirtectl", "monitor", "node-connection", "--json"]);
    monitor.wait_output(
        "[rpi4] httpd.service\n\tUnit created (reason: virtual)\n",
        SOON,
    );
    all.wait_output(r#""node":"laptop","unit":"hirte.service""#, SOON);
    view.wait_output("httpd.service | loaded | active   | running", SOON);
    online.wait_output("online\n", SOON);
    nodes.wait_output(r#"{"node":"rpi4","status":"online""#, SOON);
    fleet.check("start rpi4 half", 0, &[]);
    for part in [
        "[rpi4] half.service\n\tUnit state changed (reason: real)\n\tActive: active (exited)\n",
        // Whatever else a signal carries is told, too.
        "\tActiveState: active\n",
        "\tSubState: exited\n",
        "\tActiveEnterTimestamp: 1",
        "(Interface: org.freedesktop.systemd1.Service)",
    ] {
        monitor.wait_output(part, SOON);
    }
    view.wait_output("half.service  | loaded | active | exited", SOON);
    fleet.rpi4.systemctl(&["stop", "hirte-agent"]);
    nodes.wait_output(r#"{"node":"rpi4","status":"offline""#, SOON);
    assert_eq!(online.wait(SOON).status.code(), Some(1));
    monitor.wait_output(
        "[rpi4] httpd.service\n\tUnit removed (reason: virtual)\n",
        SOON,
    );
    view.wait_output("Node 'rpi4' is offline", SOON);
    view.end("INT");
    fleet.check("is-online system", 1, &["degraded\n"]);
    fleet.check("is-online node rpi4", 1, &["offline\n"]);
    fleet.check("is-online agent", 0, &["online\n"]);
    let waiting = laptop.spawn(&["hirtectl", "is-online", "system", "--wait=20s"]);
    fleet.rpi4.systemctl(&["start", "hirte-agent"]);
    assert_eq!(waiting.wait(SOON).stdout, "up\n");
    fleet.laptop.systemctl(&["restart", "hirte"]);
    for (watcher, program) in [(monitor, "monitor"), (all, "--json"), (nodes, "nodes")] {
        let ended = watcher.wait(SOON);
        assert_eq!(ended.status.code(), Some(3), "{program}: {ended}");
    }
    fleet.check("is-online system --wait=30s", 0, &["up\n"]);
}

fn bash_completes_the_live_fleet(fleet: &Fleet) {
    let complete = |words: &str| {
        let script = format!(
            "source /usr/share/bash-completion/completions/hirtectl; COMP_WORDS=({words}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _hirtectl; echo \"${{COMPREPLY[@]}}\""
        );
        fleet.laptop.ok(&["bash", "-c", &script]).trim().to_owned()
    };
    assert_eq!(complete("hirtectl start rp"), "rpi4");
    assert_eq!(complete("hirtectl stop rpi4 htt"), "httpd.service");
    assert_eq!(complete("hirtectl enable rpi4 want"), "wanted.service");
}
