//! `--json`: one shape for all commands, and the members of each result as docs/hirtectl.md has them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    commands::{Stream, end},
    *,
};

impl Run {
    /// The one JSON document that was printed.
    fn document(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stdout).expect("JSON");
        let members: Vec<&String> = document.as_object().unwrap().keys().collect();
        assert_eq!(members, ["errors", "results"], "{self:?}");
        assert!(self.stdout.ends_with("}\n") && self.stdout.lines().count() == 1);
        document
    }
}

/// The members of a result of a command, or of an event, as the documentation lists them.
fn documented(name: &str) -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/hirtectl.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n## JSON\n").expect("a section on JSON");
    let section = section.split("\n## ").next().unwrap();
    let row = section
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| ")?
                .strip_suffix(" |")?
                .split_once(" | ")
        })
        .find(|(names, _)| names.split(", ").any(|of| of.trim_matches('`') == name));
    let (_, members) = row.unwrap_or_else(|| panic!("{name} is not in the table"));
    let words = members.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

fn expect_members(name: &str, record: &Value) {
    let members: BTreeSet<String> = record.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, documented(name), "{name}");
}

#[test]
fn every_command_that_prints_data_has_the_documented_shape() {
    let (bus, _manager) = bus_with(Fleet::default());
    for (args, results) in [
        (&["list-units"][..], 6),
        (&["list-units", "rpi4"], 3),
        (&["list-unit-files"], 6),
        (&["list-nodes"], 3),
        (&["list-jobs"], 2),
        (&["status"], 3),
        (&["status", "rpi4"], 1),
        (&["start", "rpi4", "a", "b"], 2),
        (&["stop", "rpi4", "a"], 1),
        (&["restart", "rpi4", "a"], 1),
        (&["reload", "rpi4", "a", "--no-block"], 1),
        (&["freeze", "rpi4", "a"], 1),
        (&["thaw", "rpi4", "a"], 1),
        (&["kill", "rpi4", "a"], 1),
        (&["reset-failed"], 2),
        (&["enable", "rpi4", "a"], 1),
        (&["disable", "rpi4", "a"], 1),
        (&["is-enabled", "rpi4", "a"], 1),
        (&["get-default", "rpi4"], 1),
        (&["set-default", "rpi4", "rescue.target"], 2),
        (&["is-online", "node", "rpi4"], 1),
        (&["version"], 1),
    ] {
        let run = bus.run(&[args, &["--json"]].concat());
        assert_eq!((run.status, run.stderr.as_str()), (Some(DONE), ""));
        let document = run.document();
        let records = document["results"].as_array().unwrap();
        assert_eq!(records.len(), results, "{args:?}");
        for record in records {
            expect_members(args[0], record);
        }
        assert_eq!(document["errors"], json!([]));
    }
    let run = bus.run(&["status", "rpi4", "httpd", "static", "--json"]);
    let document = run.document();
    assert_eq!(document["results"].as_array().unwrap().len(), 2);
    expect_members("status NODE UNIT...", &document["results"][0]);
    let unit = &document["results"][0];
    assert_eq!(unit["memory_bytes"], 5_347_738);
    assert_eq!(unit["since"], 1_700_000_000);
    assert_eq!(unit["tasks_max"], Value::Null);
}

#[test]
fn values_are_those_of_people() {
    let (bus, _manager) = bus_with(Fleet::default());
    let run = bus.run(&["list-nodes", "--json"]);
    assert_eq!(
        run.document()["results"],
        json!([
            {"node": "laptop", "status": "online", "ip": "10.0.0.1", "last_seen": 1},
            {"node": "rpi4", "status": "online", "ip": "10.0.0.1", "last_seen": 1},
            {"node": "sleeper", "status": "offline", "ip": null, "last_seen": null},
        ])
    );
    let run = bus.run(&["list-units", "--json", "rpi4", "-f", "b*"]);
    assert_eq!(
        run.document()["results"],
        json!([{
            "node": "rpi4", "unit": "broken.service", "description": "", "load": "loaded",
            "active": "failed", "sub": "failed",
        }])
    );
}

#[test]
fn what_failed_is_in_the_document_and_on_standard_error() {
    let (bus, _manager) = bus_with(Fleet::default());
    let run = bus.run(&["start", "--json", "rpi4", "result-failed", "nope", "a"]);
    let job = |unit: &str, id: u32, result: &str| {
        json!({
            "node": "rpi4", "unit": unit, "operation": "start", "job": id, "result": result,
        })
    };
    let document = run.document();
    assert_eq!(
        document["results"],
        json!([
            job("result-failed.service", 1, "failed"),
            job("a.service", 3, "done")
        ])
    );
    let errors = document["errors"].as_array().unwrap();
    let messages: Vec<&str> = errors
        .iter()
        .map(|error| error["message"].as_str().unwrap())
        .collect();
    assert_eq!(run.stderr.lines().collect::<Vec<_>>(), messages);
    assert_eq!(
        errors[0],
        json!({
            "node": "rpi4", "message": "Node 'rpi4': Unit nope.service not found.", "status": 5,
        })
    );
    expect_members("errors", &errors[0]);
    assert_eq!(run.status, Some(FAILED));

    let document = bus.run(&["list-units", "nonode", "--json"]).document();
    assert_eq!(document["results"], json!([]));
    assert_eq!(document["errors"][0]["status"], 5);
    let run = Bus::start().run(&["list-nodes", "--json"]);
    assert_eq!(run.document()["errors"][0]["node"], Value::Null);
    assert_eq!(run.status, Some(NO_MANAGER));
}

#[test]
fn events_are_an_object_on_a_line() {
    let (bus, _manager) = bus_with(Fleet::default());
    let run = bus.run(&["monitor", "rpi4", "vanish", "--json"]);
    let events: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let names: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "UnitNew",
            "UnitStateChanged",
            "UnitPropertiesChanged",
            "UnitRemoved",
            "error"
        ]
    );
    for event in &events {
        expect_members(event["event"].as_str().unwrap(), event);
    }
    assert_eq!(
        events[2]["properties"],
        json!({
            "ActiveState": "active", "NRestarts": 2, "SubState": "running",
            "Wants": ["a.service", "b.service"],
        })
    );
}

#[test]
fn measurements_are_events() {
    let (bus, _manager) = bus_with(Fleet::default());
    let mut listener = Stream::of(&bus, &["metrics", "listen", "--json"]);
    // The bus may not know yet what is listened to, so jobs run until something is told.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let told = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                bus.run(&["start", "rpi4", "measured"]);
            }
        });
        let mut told = [listener.next(), listener.next()];
        if told[0].contains("StartUnitJobMetrics") {
            told = [listener.next(), told[0].clone()];
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        told.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"))
    });
    expect_members("AgentJobMetrics", &told[0]);
    expect_members("StartUnitJobMetrics", &told[1]);
    assert_eq!(told[0]["systemd_job_us"], 56_789);
    assert_eq!(told[1]["unit_start_us"], Value::Null);
    end(listener.child);
}

#[test]
fn nothing_in_json_steers_a_terminal() {
    let mut fleet = Fleet::default();
    fleet
        .nodes
        .push(("evil\x1b[2J\n\u{9b}\u{202e}\x7f".into(), true));
    let (bus, _manager) = bus_with(fleet);
    let run = bus.run(&["list-nodes", "--json"]);
    let hostile = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!run.stdout.contains(hostile), "{run:?}");
    assert_eq!(
        run.document()["results"][3]["node"],
        "evil\x1b[2J\n\u{9b}\u{202e}\x7f"
    );
}
