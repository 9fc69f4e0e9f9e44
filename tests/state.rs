//! State files on real nodes: a fleet of four goes from one state to another and back, whatever
//! fails in between, and exact files see whatever changed.
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

use lab::{Lab, Node, Running};

const PATIENCE: Duration = Duration::from_secs(30);

const NODES: [(&str, &str); 4] = [
    ("laptop", "192.168.42.10"),
    ("rpi4", "192.168.42.15"),
    ("camera", "192.168.42.16"),
    ("radio", "192.168.42.17"),
];

/// Units of every node. `gate` fails while `/run/broken` exists and waits while `/run/closed` does.
const UNITS: [(&str, &str); 5] = [
    (
        "one.service",
        "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "two.service",
        "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "gate.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=sh -c 'while [ -e /run/closed ]; \
         do sleep 0.05; done; [ ! -e /run/broken ]'\n",
    ),
    ("ends.service", "[Service]\nType=oneshot\nExecStart=true\n"),
    (
        "stray.service",
        "[Service]\nExecStart=/bin/sleep infinity\n",
    ),
];

const PARKED: &str = r#"[node.laptop]
"one.service" = "inactive"

[node.rpi4]
"one.service" = "active"
"gate.service" = "inactive"

[node.camera]
"two.service" = "inactive"
"gate.service" = "inactive"

[node.radio]
"one.service" = "active"
"#;

/// Stages, so that rpi4 is in two places.
const DRIVING: &str = r#"[stage.sensors.camera]
"two.service" = "active"
"gate.service" = "active"

[stage.sensors.rpi4]
"gate.service" = "active"

[stage.display.radio]
"one.service" = "inactive"

[stage.display.laptop]
"one.service" = "active"

[stage.display.rpi4]
"one.service" = "inactive"
"#;

struct Fleet {
    laptop: Node,
    rpi4: Node,
    camera: Node,
    radio: Node,
    _lab: Lab,
}

impl Fleet {
    fn boot(name: &str) -> Option<Self> {
        if !lab::require() {
            return None;
        }
        let lab = Lab::builder(name).layer(tree::install_tree()).build();
        let nodes = NODES.map(|(name, address)| {
            let node = lab.node(name, address);
            let host = if name == "laptop" {
                "127.0.0.1"
            } else {
                NODES[0].1
            };
            node.write(
                "/etc/hirte/agent.conf",
                format!("[hirte-agent]\nNodeName={name}\nManagerHost={host}\nManagerPort=2020\n"),
            );
            for (unit, content) in UNITS {
                node.unit(unit, content);
            }
            node
        });
        nodes[0].write(
            "/etc/hirte/hirte.conf",
            "[hirte]\nManagerPort=2020\nAllowedNodeNames=laptop,rpi4,camera,radio\n",
        );
        lab.boot_all();
        nodes[0].systemctl(&["enable", "--quiet", "--now", "hirte"]);
        for node in &nodes {
            node.systemctl(&["enable", "--quiet", "--now", "hirte-agent"]);
        }
        let [laptop, rpi4, camera, radio] = nodes;
        let fleet = Self {
            laptop,
            rpi4,
            camera,
            radio,
            _lab: lab,
        };
        fleet.laptop.write("/root/parked.toml", PARKED);
        fleet.laptop.write("/root/driving.toml", DRIVING);
        fleet.wait_online();
        Some(fleet)
    }

    fn wait_online(&self) {
        lab::eventually(PATIENCE, "all nodes are online", || {
            let nodes = self.laptop.ok(&["hirtectl", "list-nodes"]);
            nodes.matches(" online ").count() == NODES.len()
        });
    }

    /// Runs `hirtectl state` with these arguments in /root; its output, when its exit status is as
    /// expected.
    #[track_caller]
    fn state(&self, arguments: &str, status: i32) -> lab::Output {
        let command = format!("cd /root && hirtectl state {arguments}");
        let found = self.laptop.sh(&command);
        assert_eq!(found.status.code(), Some(status), "# {command}\n{found}");
        found
    }

    /// Applies a file, which must print these steps and these complaints.
    #[track_caller]
    fn apply(&self, arguments: &str, status: i32, stdout: &str, stderr: &str) {
        let found = self.state(&format!("apply {arguments}"), status);
        assert_eq!(found.stdout, stdout, "{arguments}: {found}");
        assert_eq!(found.stderr, stderr, "{arguments}: {found}");
    }

    #[track_caller]
    fn expect_state(&self, file: &str) {
        let found = self.state(&format!("diff {file}"), 0);
        assert_eq!(found.stdout, "", "{found}");
    }
}

fn is_active(node: &Node, unit: &str) -> String {
    node.run(&["systemctl", "is-active", unit])
        .stdout
        .trim()
        .to_owned()
}

const TO_DRIVING: &str = "\
[1/6] rpi4: stop one.service (display): done
[2/6] radio: stop one.service (display): done
[3/6] camera: start two.service (sensors): done
[4/6] camera: start gate.service (sensors): done
[5/6] rpi4: start gate.service (sensors): done
[6/6] laptop: start one.service (display): done
";
const TO_PARKED: &str = "\
[1/6] camera: stop gate.service: done
[2/6] camera: stop two.service: done
[3/6] rpi4: stop gate.service: done
[4/6] laptop: stop one.service: done
[5/6] rpi4: start one.service: done
[6/6] radio: start one.service: done
";
const GOES_ON: &str = "those before it are done, none after it was begun. The same command again \
                       goes on from here.\n";

#[test]
fn a_fleet_goes_from_one_state_to_another_and_back() {
    let Some(fleet) = Fleet::boot("state") else {
        return;
    };
    fleet.state("apply parked.toml", 0);
    fleet.expect_state("parked.toml");
    fleet.apply("parked.toml", 0, "", "");

    // The drift and the steps, in order, before anything is done.
    let found = fleet.state("diff driving.toml", 1);
    let rows: Vec<Vec<&str>> = found
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["NODE", "UNIT", "LINE", "EXPECTED", "FOUND"]);
    assert_eq!(
        rows[1],
        ["camera", "two.service", "2", "active", "inactive", "(dead)"]
    );
    assert_eq!(rows.len(), 7, "{found}");
    let planned = TO_DRIVING.replace(": done", "");
    fleet.apply("--dry-run driving.toml", 0, &planned, "");
    fleet.expect_state("parked.toml");

    fleet.apply("driving.toml", 0, TO_DRIVING, "");
    fleet.expect_state("driving.toml");
    fleet.apply("parked.toml --rollback --timeout 10s", 0, TO_PARKED, "");
    fleet.expect_state("parked.toml");

    a_unit_that_fails(&fleet);
    a_unit_that_takes_too_long(&fleet);
    an_interruption(&fleet);
    a_unit_that_does_not_stay(&fleet);
    a_node_that_goes_away(&fleet);
    what_can_not_be_is_refused(&fleet);
}

fn a_unit_that_fails(fleet: &Fleet) {
    fleet.rpi4.ok(&["touch", "/run/broken"]);
    let steps: String = TO_DRIVING
        .lines()
        .take(4)
        .flat_map(|line| [line, "\n"])
        .collect();
    let failed = format!("{steps}[5/6] rpi4: start gate.service (sensors): failed\n");
    let reason = "driving.toml:6:1: Node 'rpi4': the job to start gate.service failed; the journal \
                  of the node says why\n";
    let stopped = format!("{reason}Step 5 of 6 failed: {GOES_ON}");
    fleet.apply("driving.toml", 1, &failed, &stopped);
    assert_eq!(is_active(&fleet.laptop, "one.service"), "inactive");
    assert_eq!(is_active(&fleet.rpi4, "gate.service"), "failed");

    // The same command again goes on, and back is a way, too.
    fleet.rpi4.ok(&["rm", "/run/broken"]);
    let rest = "[1/2] rpi4: start gate.service (sensors): done\n\
                [2/2] laptop: start one.service (display): done\n";
    fleet.apply("driving.toml", 0, rest, "");
    fleet.expect_state("driving.toml");
    fleet.apply("parked.toml", 0, TO_PARKED, "");

    // With --rollback everything is as it was.
    fleet.rpi4.ok(&["touch", "/run/broken"]);
    let back = format!(
        "{failed}\
         [back] rpi4: stop gate.service: done\n\
         [back] camera: stop gate.service: done\n\
         [back] camera: stop two.service: done\n\
         [back] radio: start one.service: done\n\
         [back] rpi4: start one.service: done\n"
    );
    let taken_back = format!("{reason}Step 5 of 6 failed: what was done is taken back.\n");
    fleet.apply("--rollback driving.toml", 1, &back, &taken_back);
    fleet.expect_state("parked.toml");

    // The same as JSON.
    let found = fleet.state("apply --json --rollback driving.toml", 1);
    let told: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    let results = told["results"].as_array().unwrap();
    let steps: Vec<String> = results
        .iter()
        .map(|step| {
            let key = |name: &str| step[name].as_str().unwrap();
            [key("action"), key("result")].join(" ")
        })
        .collect();
    let taken = ["stop done", "stop done", "start done", "start done"];
    let back = [
        "stop done",
        "stop done",
        "stop done",
        "start done",
        "start done",
    ];
    assert_eq!(steps, [&taken[..], &["start failed"], &back[..]].concat());
    let is_back = |step: &serde_json::Value| step["rollback"] == true;
    assert_eq!(results.iter().position(is_back), Some(5));
    assert_eq!(
        results[4],
        serde_json::json!({
            "node": "rpi4", "unit": "gate.service", "action": "start", "stage": "sensors",
            "line": 6, "column": 1, "rollback": false, "result": "failed",
        })
    );
    assert_eq!(
        told["errors"],
        serde_json::json!([{"node": "rpi4", "message": reason.trim_end(), "status": 1}])
    );
    fleet.expect_state("parked.toml");
    fleet.rpi4.ok(&["rm", "/run/broken"]);
}

fn a_unit_that_takes_too_long(fleet: &Fleet) {
    fleet.camera.ok(&["touch", "/run/closed"]);
    let found = fleet.state("apply --timeout=1 driving.toml", 1);
    assert!(
        found.stderr.contains(
            "driving.toml:3:1: Node 'camera': the job to start gate.service had not ended after 1s \
             and was taken back; gate.service is failed (failed)\nStep 4 of 6 failed"
        ),
        "{found}"
    );
    assert_eq!(is_active(&fleet.camera, "gate.service"), "failed");
    assert_eq!(is_active(&fleet.camera, "two.service"), "active");
    fleet.camera.ok(&["rm", "/run/closed"]);
    fleet.state("apply parked.toml", 0);
    fleet.expect_state("parked.toml");
}

/// Ctrl-C ends hirtectl, the job goes on, and the same command does the rest.
fn an_interruption(fleet: &Fleet) {
    let running = halfway(fleet, &[]);
    let _ = running.end("INT");
    assert_eq!(is_active(&fleet.camera, "gate.service"), "activating");
    assert_eq!(is_active(&fleet.laptop, "one.service"), "inactive");
    fleet.camera.ok(&["rm", "/run/closed"]);
    fleet.state("apply driving.toml", 0);
    fleet.expect_state("driving.toml");
    fleet.state("apply parked.toml", 0);
}

fn a_unit_that_does_not_stay(fleet: &Fleet) {
    let file = "[node.radio]\n\"ends.service\" = \"active\"\n";
    fleet.laptop.write("/root/ends.toml", file);
    fleet.apply(
        "ends.toml",
        1,
        "[1/1] radio: start ends.service: failed\n",
        &format!(
            "ends.toml:2:1: Node 'radio': ends.service is inactive (dead) after it was told to \
             start\nStep 1 of 1 failed: {GOES_ON}"
        ),
    );

    // A unit that another one brings back.
    let upholds = "[Unit]\nUpholds=stray.service\n[Service]\nExecStart=/bin/sleep infinity\n";
    fleet.radio.unit("upholds.service", upholds);
    fleet
        .radio
        .systemctl(&["start", "upholds.service", "stray.service"]);
    let file = "[node.radio]\n\"stray.service\" = \"inactive\"\n";
    fleet.laptop.write("/root/stray.toml", file);
    let found = fleet.state("apply stray.toml", 1);
    assert!(
        found
            .stderr
            .contains("stray.service is active (running) after"),
        "{found}"
    );
    fleet.radio.systemctl(&["stop", "upholds.service"]);
    fleet.state("apply stray.toml", 0);
}

/// Begins a transition and waits until it starts the gated unit of camera.
fn halfway(fleet: &Fleet, arguments: &[&str]) -> Running {
    fleet.camera.ok(&["touch", "/run/closed"]);
    let command = [
        &["hirtectl", "state", "apply"],
        arguments,
        &["/root/driving.toml"],
    ];
    let running = fleet.laptop.spawn(&command.concat());
    running.wait_output("camera: start two.service (sensors): done", PATIENCE);
    lab::eventually(PATIENCE, "the unit starts", || {
        is_active(&fleet.camera, "gate.service") == "activating"
    });
    running
}

fn a_node_that_goes_away(fleet: &Fleet) {
    let running = halfway(fleet, &[]);
    fleet.camera.crash();
    let found = running.wait(PATIENCE);
    assert_eq!(found.status.code(), Some(4), "{found}");
    let lost = "Node 'camera' was lost before the job to start gate.service had ended\n";
    assert_eq!(
        found.stderr,
        format!("/root/driving.toml:3:1: {lost}Step 4 of 6 failed: {GOES_ON}")
    );
    assert_eq!(is_active(&fleet.rpi4, "gate.service"), "inactive");
    assert_eq!(is_active(&fleet.rpi4, "one.service"), "inactive");

    // Without it nothing is begun; diff tells the others' drift, and that it is not all.
    let found = fleet.state("apply driving.toml", 4);
    assert_eq!(found.stdout, "");
    assert_eq!(found.stderr, "Node 'camera' is offline\n");
    let found = fleet.state("diff driving.toml", 4);
    assert!(
        found.stdout.contains("gate.service") && !found.stdout.contains("camera"),
        "{found}"
    );
    let found = fleet.state("show", 4);
    assert!(
        found.stdout.contains("[node.rpi4]") && !found.stdout.contains("camera"),
        "{found}"
    );

    // When it is back the same command does the rest.
    fleet.camera.boot();
    fleet.wait_online();
    let rest: Vec<&str> = TO_DRIVING.lines().skip(2).collect();
    let rest = rest.join("\n") + "\n";
    let mut expected = rest;
    for number in 1..=4 {
        expected = expected.replace(&format!("[{}/6]", number + 2), &format!("[{number}/4]"));
    }
    fleet.apply("driving.toml", 0, &expected, "");
    fleet.expect_state("driving.toml");
    fleet.state("apply parked.toml", 0);

    // What it did not do is taken back on the others.
    let running = halfway(fleet, &["--rollback"]);
    fleet.camera.kill_all();
    let found = running.wait(PATIENCE);
    assert_eq!(found.status.code(), Some(4), "{found}");
    assert!(
        found.stdout.ends_with(
            "[back] camera: stop gate.service: failed\n\
             [back] camera: stop two.service: failed\n\
             [back] radio: start one.service: done\n\
             [back] rpi4: start one.service: done\n"
        ),
        "{found}"
    );
    fleet.camera.boot();
    fleet.wait_online();
    fleet.expect_state("parked.toml");
}

fn what_can_not_be_is_refused(fleet: &Fleet) {
    for (content, status, complaint) in [
        (
            "[node.rpi4]\n\"one.service\" = \"inactive\"\n[node.moon]\n",
            5,
            "wrong.toml:3:7: node 'moon' is not known to the manager; its nodes are: laptop, rpi4, \
             camera, radio\n",
        ),
        (
            "[node.rpi4]\n\"one.service\" = \"inactive\"\n\"typo.service\" = \"active\"\n",
            5,
            "wrong.toml:3:1: Node 'rpi4' has no unit typo.service\n",
        ),
        (
            "[node.rpi4]\n\"one.service\" = \"inactive\"\n\"gate.service\" = { enabled = true }\n",
            1,
            "wrong.toml:3:1: Node 'rpi4': gate.service can not be enabled: its unit file is static\n",
        ),
        (
            "[node.rpi4]\n\"one.service\" = \"inactive\"\n\"hirte-agent.service\" = \"inactive\"\n",
            1,
            "wrong.toml:3:1: Node 'rpi4': hirte-agent.service is needed to carry out the steps, and \
             can not be stopped or disabled by them\n",
        ),
    ] {
        fleet.laptop.write("/root/wrong.toml", content);
        fleet.apply("wrong.toml", status, "", complaint);
    }
    fleet.expect_state("parked.toml");
}

#[test]
fn an_exact_file_sees_whatever_changes() {
    let Some(fleet) = Fleet::boot("exact") else {
        return;
    };
    for node in [&fleet.rpi4, &fleet.radio] {
        node.systemctl(&["enable", "--quiet", "--now", "one.service"]);
    }
    fleet.camera.systemctl(&["start", "two.service"]);

    // What is shown is what is.
    fleet.state("show --exact > exact.toml", 0);
    let text = fleet.laptop.read("/root/exact.toml");
    assert!(
        text.starts_with("exact = true\n\n[node.laptop]\n"),
        "{text}"
    );
    for line in [
        "\"hirte.service\" = \"active\"",
        "\"one.service\" = \"active\"",
        "\"two.service\" = { state = \"active\", enabled = false }",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}:\n{text}");
    }
    fleet.expect_state("exact.toml");
    fleet.apply("exact.toml", 0, "", "");
    fleet.state("show > loose.toml", 0);
    fleet.expect_state("loose.toml");
    presets_keep_what_is_enabled(&fleet);

    // One added, one removed, a preset changed.
    fleet.rpi4.systemctl(&["start", "stray.service"]);
    fleet
        .radio
        .systemctl(&["disable", "--quiet", "--now", "one.service"]);
    fleet.radio.ok(&["rm", "/etc/systemd/system/one.service"]);
    fleet.radio.systemctl(&["daemon-reload"]);
    fleet
        .camera
        .systemctl(&["enable", "--quiet", "two.service"]);
    let found = fleet.state("diff --json exact.toml", 1);
    let told: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    let drift: Vec<String> = told["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|drift| {
            let key = |name: &str| drift[name].as_str().unwrap().to_owned();
            [key("node"), key("unit"), key("expected"), key("found")].join(" ")
        })
        .collect();
    assert_eq!(
        drift,
        [
            "camera two.service disabled enabled",
            "radio one.service active not-found",
            "rpi4 stray.service inactive active (running)",
        ],
        "{found}"
    );
    assert!(told["results"][2]["line"].is_null() && told["errors"] == serde_json::json!([]));

    // A unit that is not there can not be started: nothing is done at all.
    let found = fleet.state("apply exact.toml", 5);
    assert!(
        found
            .stderr
            .contains("Node 'radio' has no unit one.service"),
        "{found}"
    );
    assert_eq!(is_active(&fleet.rpi4, "stray.service"), "active");
    let (name, content) = UNITS[0];
    fleet.radio.unit(name, content);
    fleet.apply(
        "exact.toml",
        0,
        "[1/4] rpi4: stop stray.service: done\n\
         [2/4] camera: disable two.service: done\n\
         [3/4] radio: start one.service: done\n\
         [4/4] radio: enable one.service: done\n",
        "",
    );
    fleet.expect_state("exact.toml");
    assert_eq!(is_active(&fleet.rpi4, "stray.service"), "inactive");

    // What a file allows is no drift.
    fleet.rpi4.systemctl(&["start", "stray.service"]);
    fleet.state("diff exact.toml", 1);
    let allows = text.replace("exact = true\n", "exact = true\nallow = [\"stray.*\"]\n");
    fleet.laptop.write("/root/allows.toml", allows);
    fleet.expect_state("allows.toml");

    // It has to say what a node can not do without.
    let bare = "exact = true\n[node.rpi4]\n\"one.service\" = \"active\"\n";
    fleet.laptop.write("/root/bare.toml", bare);
    let found = fleet.state("apply bare.toml", 1);
    let agent = "bare.toml: Node 'rpi4': the file is exact and does not name hirte-agent.service";
    assert!(
        found.stdout.is_empty() && found.stderr.contains(agent),
        "{found}"
    );
    assert_eq!(is_active(&fleet.rpi4, "stray.service"), "active");
}

/// The presets of a shown file change nothing, on a node where hirtectl has no manager.
fn presets_keep_what_is_enabled(fleet: &Fleet) {
    let text = fleet.laptop.read("/root/exact.toml");
    fleet.radio.write("/root/exact.toml", &text);
    let preset = "/etc/systemd/system-preset/00-hirte.preset";
    fleet.radio.sh("mkdir -p /etc/systemd/system-preset");
    let command = format!("hirtectl state presets --node radio /root/exact.toml > {preset}");
    let made = fleet.radio.sh(&command);
    assert!(made.success(), "{made}");
    let presets = fleet.radio.read(preset);
    assert!(presets.contains("\nenable one.service\n"), "{presets}");
    assert!(presets.ends_with("\ndisable *\n"), "{presets}");
    fleet.radio.ok(&["systemctl", "preset-all"]);
    fleet.expect_state("exact.toml");
    // And what somebody enabled is undone by them.
    fleet.radio.systemctl(&["enable", "--quiet", "two.service"]);
    let found = fleet.state("diff exact.toml", 1);
    assert!(found.stdout.contains("two.service"), "{found}");
    fleet.radio.ok(&["systemctl", "preset-all"]);
    fleet.expect_state("exact.toml");
}
