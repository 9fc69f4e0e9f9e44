use serde_json::Value;

use super::*;

/// A model that has told everything, with two nodes, of which one is online and has a unit.
fn model() -> Model {
    let mut model = Model::default();
    model.connected(1);
    model.nodes_listed(&[("laptop", true), ("rpi4", false)]);
    model.unit_new("laptop", "*");
    model.unit_new("laptop", "web.service");
    model.unit_state(("laptop", "web.service"), "active", "running", None);
    model.unit_details("laptop", "web.service", "Web", "loaded");
    assert_eq!(model.take_changes(2), Told::Everything);
    assert!(!model.has_changes());
    model
}

fn changes(model: &mut Model) -> Value {
    match model.take_changes(9) {
        Told::Changes(json) => serde_json::from_str(&json).unwrap(),
        Told::Everything => panic!("everything"),
    }
}

fn snapshot(model: &Model) -> Value {
    serde_json::from_str(&model.snapshot(9, Some("token"))).unwrap()
}

#[test]
fn everything_is_told_at_first() {
    let all = snapshot(&model());
    assert_eq!(all["control"], "token");
    assert_eq!(all["manager"]["connected"], true);
    assert_eq!(all["nodes"][0]["name"], "laptop");
    assert_eq!(all["nodes"][1]["online"], false);
    let units = all["units"].as_array().unwrap();
    assert_eq!(units.len(), 1);
    let expected: Value = serde_json::from_str(
        r#"{"node":"laptop","name":"web.service","description":"Web","load":"loaded",
            "active":"active","sub":"running","since":null}"#,
    )
    .unwrap();
    assert_eq!(units[0], expected);
    assert_eq!(all["events"][0]["state"], "connected");
}

#[test]
fn only_what_changed_is_told() {
    let mut model = model();
    model.unit_state(("laptop", "web.service"), "active", "running", Some(3));
    model.node_connection(3, "laptop", true);
    model.node_connection(3, "stranger", true);
    model.unit_removed("laptop", "other.service");
    model.job_state(7, "running");
    assert!(!model.has_changes());

    model.unit_state(("laptop", "web.service"), "failed", "failed", Some(4));
    let told = changes(&mut model);
    assert_eq!(told["units"][0]["active"], "failed");
    assert_eq!(told["units"][0]["since"], 4);
    assert_eq!(told["events"][0]["state"], "failed");
    let members: Vec<&String> = told.as_object().unwrap().keys().collect();
    assert_eq!(members, ["events", "now", "units"]);

    // Another sub state is no event.
    model.unit_state(("laptop", "web.service"), "failed", "dead", Some(5));
    assert_eq!(changes(&mut model)["events"], Value::Null);
    model.unit_removed("laptop", "web.service");
    assert_eq!(changes(&mut model)["gone"][0]["name"], "web.service");
}

#[test]
fn a_node_takes_its_units_with_it() {
    let mut model = model();
    model.node_connection(5, "laptop", false);
    // The monitor tells it, too.
    model.unit_removed("laptop", "web.service");
    let told = changes(&mut model);
    assert_eq!(told["gone"].as_array().unwrap().len(), 1);
    assert_eq!(told["nodes"][0]["online"], false);
    assert_eq!(told["nodes"][0]["seen"], 5);
    assert_eq!(told["events"][0]["about"], "node");
    // A node that is no longer in the configuration.
    model.unit_new("rpi4", "a.service");
    changes(&mut model);
    model.nodes_listed(&[("laptop", false)]);
    let told = changes(&mut model);
    assert_eq!(told["gone"][0]["node"], "rpi4");
    assert_eq!(told["nodes"].as_array().unwrap().len(), 1);
}

#[test]
fn installed_units_are_shown_while_they_are_not_loaded() {
    let mut model = model();
    let installed = ["web.service", "spare.service"].map(str::to_owned);
    model.units_installed("laptop", installed.into());
    let told = changes(&mut model);
    assert_eq!(told["units"][0]["name"], "spare.service");
    assert_eq!(told["units"][0]["load"], UNLOADED);
    model.unit_new("laptop", "spare.service");
    assert_eq!(changes(&mut model)["units"][0]["load"], "");
    model.unit_removed("laptop", "web.service");
    let told = changes(&mut model);
    assert_eq!(told["units"][0]["load"], UNLOADED);
    assert_eq!(told["units"][0]["description"], "Web");
    model.node_connection(5, "laptop", false);
    assert_eq!(snapshot(&model)["units"].as_array().unwrap().len(), 0);
}

#[test]
fn jobs_come_and_go() {
    let mut model = model();
    model.job_told(Job {
        id: 7,
        node: "laptop".to_owned(),
        unit: "web.service".to_owned(),
        kind: "stop".to_owned(),
        state: "waiting".to_owned(),
    });
    model.job_state(7, "running");
    assert_eq!(changes(&mut model)["jobs"][0]["state"], "running");
    model.job_ended(5, 7, ("laptop", "web.service"), "done");
    // One that nobody was told of.
    model.job_ended(6, 8, ("laptop", "web.service"), "failed");
    let told = changes(&mut model);
    assert_eq!(told["jobs"], Value::Array(Vec::new()));
    assert_eq!(told["events"][0]["detail"], "stop");
    assert_eq!(told["events"][1]["state"], "failed");
}

#[test]
fn a_lost_manager_leaves_what_was_last() {
    let mut model = model();
    for _ in 0..2 {
        model.lost(5, "gone");
    }
    let told = changes(&mut model);
    assert_eq!(told["manager"]["reason"], "gone");
    assert_eq!(told["events"].as_array().unwrap().len(), 1);
    assert!(!model.has_changes());
    assert_eq!(snapshot(&model)["units"].as_array().unwrap().len(), 1);
    model.connected(6);
    assert_eq!(model.take_changes(6), Told::Everything);
    assert_eq!(snapshot(&model)["units"].as_array().unwrap().len(), 0);
}

#[test]
fn events_are_bounded() {
    let mut model = model();
    for time in 0..3 * limits::DASHBOARD_EVENTS as u64 {
        model.node_connection(time, "laptop", time % 2 == 1);
    }
    let told = changes(&mut model);
    assert_eq!(
        told["events"].as_array().unwrap().len(),
        limits::DASHBOARD_EVENTS
    );
    let all = snapshot(&model);
    let events = all["events"].as_array().unwrap();
    assert_eq!(events.len(), limits::DASHBOARD_EVENTS);
    assert!(events[0]["id"].as_u64() < events[1]["id"].as_u64());
}

#[test]
fn texts_are_bounded() {
    let mut model = model();
    let long = "\u{e4}".repeat(2 * limits::DASHBOARD_TEXT);
    let kept = "\u{e4}".repeat(limits::DASHBOARD_TEXT);
    model.unit_new("laptop", &"w".repeat(limits::MAX_NAME + 1));
    model.unit_state(("laptop", "web.service"), &long, &long, Some(2));
    model.unit_details("laptop", "web.service", &long, &long);
    model.job_ended(3, 1, ("laptop", "web.service"), &long);
    let all = snapshot(&model);
    let units = all["units"].as_array().unwrap();
    assert_eq!(units.len(), 1);
    for name in ["active", "sub", "description", "load"] {
        assert_eq!(units[0][name], kept.as_str(), "{name}");
    }
    let events = all["events"].as_array().unwrap();
    let last_two = &events[events.len() - 2..];
    assert!(last_two.iter().all(|event| event["state"] == kept.as_str()));
    // The same once more is no change.
    changes(&mut model);
    model.unit_details("laptop", "web.service", &long, &long);
    model.unit_state(("laptop", "web.service"), &long, &long, Some(4));
    assert!(!model.has_changes());
}
