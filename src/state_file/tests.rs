//! Rules of state files, each on the smallest case, and then all of them on random ones.

mod random;

use super::*;

fn read(text: &str) -> StateFile {
    parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn mistakes(text: &str) -> Vec<String> {
    let mistakes = parse(text).expect_err("a wrong file");
    mistakes.iter().map(ToString::to_string).collect()
}

/// A unit in this state, with its unit file in that.
fn unit(active: &str, file: &str) -> Unit {
    Unit {
        load: "loaded".to_owned(),
        active: active.to_owned(),
        sub: "sub".to_owned(),
        active_since_us: 0,
        file: file.to_owned(),
    }
}

fn fleet(units: &[(&str, &str, Unit)]) -> Fleet {
    let mut fleet = Fleet::default();
    for (node, name, unit) in units {
        let node = fleet.nodes.entry((*node).to_owned()).or_default();
        node.units.insert((*name).to_owned(), unit.clone());
    }
    fleet
}

fn steps(file: &str, fleet: &Fleet) -> Vec<String> {
    let steps = plan(&read(file), fleet).unwrap_or_else(|refusals| panic!("{refusals:?}"));
    let line = |step: &Step| format!("{} {} {}", step.node, step.action, step.unit);
    steps.iter().map(line).collect()
}

fn refusals(file: &str, fleet: &Fleet) -> Vec<String> {
    let refusals = plan(&read(file), fleet).expect_err("no way");
    refusals.iter().map(ToString::to_string).collect()
}

fn drifts(file: &str, fleet: &Fleet) -> Vec<String> {
    let drift = diff(&read(file), fleet);
    let line = |drift: &Drift| {
        let place = drift
            .place
            .map_or("-".to_owned(), |place| place.to_string());
        format!(
            "{} {} {place} {} {}",
            drift.node, drift.unit, drift.expected, drift.found
        )
    };
    drift.iter().map(line).collect()
}

#[test]
fn the_order_of_a_file_is_kept() {
    let file = read(
        "[stage.network.b]\n\"z.service\" = \"active\"\n\"a.service\" = \"inactive\"\n\
         [stage.apps.a]\n\"m.service\" = { enabled = false, state = \"active\" }\n\
         [node.b]\n\"b.timer\" = \"active\"\n",
    );
    let order: Vec<_> = file
        .entries
        .iter()
        .map(|entry| {
            (
                entry.stage.as_deref(),
                entry.node.as_str(),
                entry.unit.as_str(),
            )
        })
        .collect();
    assert_eq!(
        order,
        [
            (Some("network"), "b", "z.service"),
            (Some("network"), "b", "a.service"),
            (Some("apps"), "a", "m.service"),
            (None, "b", "b.timer"),
        ]
    );
    let nodes: Vec<_> = file.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(nodes, ["b", "a"]);
    assert_eq!(file.entries[2].wanted.enabled, Some(false));
    assert_eq!(file.entries[2].place, Place { line: 5, column: 1 });
    assert!(!file.is_exact);
}

#[test]
fn mistakes_are_told_with_their_places_and_what_was_expected() {
    for (text, expected) in [
        ("exact = 1", "1:9: a number instead of true or false"),
        ("exakt = true", "1:1: unknown key 'exakt'; expected 'exact'"),
        ("[nodes.a]", "1:2: unknown key 'nodes'; expected 'exact'"),
        ("node = 3", "1:8: a number instead of tables [node.NAME]"),
        (
            "[node]\na = \"active\"",
            "2:5: a text instead of a table of units",
        ),
        (
            "[stage.one]\na = 1",
            "2:5: a number instead of a table of units",
        ),
        (
            "[node.a]\n\"a.service\" = \"running\"",
            "2:15: unknown state 'running'; expected \"active\", \"inactive\" or a table",
        ),
        (
            "[node.a]\n  \"ä\" = \"active\"",
            "2:3: 'ä' instead of the name of a unit",
        ),
        (
            "[node.a]\nhttpd.service = \"active\"",
            "2:1: 'httpd' instead of the name of a unit, with its suffix, of one of the kinds \
             service, socket, timer, mount, path, target, automount, swap, slice (a name with dots \
             is quoted: \"httpd.service\")",
        ),
        (
            "[node.a]\n\"a.service\" = true",
            "2:15: true instead of \"active\"",
        ),
        (
            "[node.a]\n\"a.service\" = {}",
            "2:15: nothing is said of a.service",
        ),
        (
            "[node.a]\n\"a.service\" = { enabled = \"yes\" }",
            "2:27: a text instead of true or false",
        ),
        (
            "[node.a]\n\"a.service\" = { sate = \"active\" }",
            "2:17: unknown key 'sate'; expected 'state' and 'enabled'",
        ),
        (
            "[node.a]\n\"a@.service\" = \"active\"",
            "2:16: a@.service is a template and can not run",
        ),
        (
            "[node.a]\n\"ü.x\" = 1\n\"a.service\" = \"aktive\" # ü",
            "2:1: 'ü.x' instead of the name of a unit",
        ),
        (
            "allow = [\"x\"]",
            "1:1: 'allow' has a meaning only with 'exact = true'",
        ),
        (
            "exact = true\nallow = \"x\"",
            "2:9: a text instead of a list of patterns",
        ),
        (
            "exact = true\nallow = [\"\"]",
            "2:10: an empty text instead of a pattern",
        ),
        ("[node.\"\"]", "1:7: the name of a node is missing"),
        (
            "[stage.x.a]\n\"a.service\" = \"active\"\n[stage.y.a]\n\"a.service\" = \"inactive\"",
            "4:1: a.service of node 'a' is named twice; the first time at 2:1",
        ),
    ] {
        let found = mistakes(text);
        assert!(found[0].starts_with(expected), "{text}: {found:?}");
    }
    // TOML's own words, at its place.
    for (text, place) in [
        ("[node.a\n", "1:"),
        ("exact = true\nexact = true", "2:1: "),
        (
            "[node.a]\n\"a.service\" = \"active\"\n\"a.service\" = \"active\"",
            "3:1: ",
        ),
        ("[node.a]\n[node.a]\n", "2:"),
        ("[node.a]\n\"a.service\" = ", "2:"),
        ("= 1", "1:1: "),
    ] {
        let found = mistakes(text);
        assert!(found[0].starts_with(place), "{text}: {found:?}");
        assert_eq!(found.len(), 1);
    }
    let all = mistakes("b = 1\na = 1\n[node.n]\n\"x\" = 1\n");
    let places: Vec<_> = all.iter().map(|m| m.split(": ").next()).collect();
    assert_eq!(places, [Some("1:1"), Some("2:1"), Some("4:1")]);
}

#[test]
fn stops_come_first_and_in_reverse_then_starts_in_the_order_of_the_file() {
    let file = "[node.a]\n\"one.service\" = \"active\"\n\"two.service\" = \"inactive\"\n\
                [node.b]\n\"three.service\" = \"inactive\"\n\"four.service\" = \"active\"\n";
    let fleet = fleet(&[
        ("a", "one.service", unit("inactive", "static")),
        ("a", "two.service", unit("active", "static")),
        ("b", "three.service", unit("failed", "static")),
        ("b", "four.service", unit("failed", "static")),
    ]);
    assert_eq!(
        steps(file, &fleet),
        [
            "b reset-failed three.service",
            "a stop two.service",
            "a start one.service",
            "b start four.service"
        ]
    );
}

#[test]
fn what_is_as_wanted_takes_no_step() {
    let file = "[node.a]\n\"one.service\" = \"active\"\n\"two.service\" = \"inactive\"\n";
    let fleet = fleet(&[
        ("a", "one.service", unit("reloading", "disabled")),
        ("a", "two.service", unit("inactive", "enabled")),
        ("a", "other.service", unit("failed", "enabled")),
    ]);
    assert_eq!(drifts(file, &fleet), [""; 0]);
    assert_eq!(steps(file, &fleet), [""; 0]);
}

#[test]
fn an_exact_file_judges_what_runs_and_what_is_enabled() {
    let file = "exact = true\nallow = [\"ok-*\"]\n[node.a]\n\"one.service\" = \"active\"\n\
                \"two.service\" = { state = \"active\", enabled = false }\n\"getty@tty1.service\" = \
                \"active\"\n";
    let fleet = fleet(&[
        ("a", "one.service", unit("active", "disabled")),
        ("a", "two.service", unit("active", "enabled-runtime")),
        ("a", "getty@tty1.service", unit("active", "enabled")),
        ("a", "getty@.service", Unit::not_loaded("enabled")),
        ("a", "stray.service", unit("failed", "static")),
        ("a", "extra.timer", unit("active", "enabled")),
        ("a", "idle.service", unit("inactive", "disabled")),
        ("a", "late.service", Unit::not_loaded("enabled")),
        ("a", "ok-one.service", unit("active", "static")),
        ("a", "some.target", unit("active", "static")),
        ("b", "not.service", unit("active", "enabled")),
    ]);
    assert_eq!(
        drifts(file, &fleet),
        [
            "a one.service 4:1 enabled disabled",
            "a two.service 5:1 disabled enabled-runtime",
            "a extra.timer - inactive active (sub)",
            "a extra.timer - disabled enabled",
            "a late.service - disabled enabled",
            "a stray.service - inactive failed (sub)",
        ]
    );
    assert_eq!(
        steps(file, &fleet),
        [
            "a stop extra.timer",
            "a reset-failed stray.service",
            "a disable extra.timer",
            "a disable late.service",
            "a disable two.service",
            "a enable one.service",
        ]
    );
}

#[test]
fn a_named_unit_is_one_that_exists() {
    let file = "[node.a]\n\"one.service\" = \"active\"\n\"two.service\" = \"inactive\"\n";
    let mut masked = unit("inactive", "masked");
    masked.load = "masked".to_owned();
    let known = fleet(&[
        ("a", "one.service", masked),
        ("a", "two.service", Unit::absent()),
    ]);
    assert_eq!(
        drifts(file, &known),
        [
            "a one.service 2:1 active masked",
            "a two.service 3:1 inactive not-found"
        ]
    );
    assert_eq!(
        refusals(file, &known),
        [
            "Node 'a': one.service can not be started: it is masked",
            "Node 'a' has no unit two.service"
        ]
    );
    // A node that was not asked is not judged.
    assert_eq!(drifts(file, &Fleet::default()), [""; 0]);
}

#[test]
fn a_unit_is_known_by_all_its_names() {
    let file = "exact = true\n[node.a]\n\"alias.service\" = \"active\"\n";
    let mut known = fleet(&[("a", "one.service", unit("active", "enabled"))]);
    let node = known.nodes.get_mut("a").unwrap();
    let alias = ("alias.service".to_owned(), "one.service".to_owned());
    node.aliases.extend([alias]);
    assert_eq!(drifts(file, &known), [""; 0]);
    assert_eq!(
        refusals(&format!("{file}\"one.service\" = \"inactive\""), &known),
        ["Node 'a': one.service and alias.service are the same unit"]
    );
}

#[test]
fn no_step_stops_what_carries_the_steps() {
    let known = fleet(&[
        ("a", "hirte-agent.service", unit("active", "enabled")),
        ("a", "systemd-journald.service", unit("active", "static")),
        ("a", "-.mount", unit("active", "generated")),
        ("a", "web.service", unit("active", "static")),
    ]);
    let found = refusals("exact = true\n[node.a]\n", &known);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].starts_with("Node 'a': the file is exact and does not name -.mount"));
    let file = "[node.a]\n\"hirte-agent.service\" = \"inactive\"\n\"systemd-journald.service\" = \
                \"inactive\"";
    let found = refusals(file, &known);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("hirte-agent.service is needed"));
}

#[test]
fn only_what_can_be_enabled_is() {
    let known = fleet(&[("a", "one.service", unit("active", "static"))]);
    let implied = "exact = true\n[node.a]\n\"one.service\" = \"active\"";
    assert_eq!(drifts(implied, &known), [""; 0]);
    let said = "[node.a]\n\"one.service\" = { enabled = true }";
    assert_eq!(drifts(said, &known), ["a one.service 2:1 enabled static"]);
    assert_eq!(
        refusals(said, &known),
        ["Node 'a': one.service can not be enabled: its unit file is static"]
    );
}

#[test]
fn presets_are_those_of_systemd() {
    let file = "[node.a]\n\"one.service\" = \"active\"\n\"two.service\" = \"inactive\"\n\
                \"getty@tty1.service\" = \"active\"\n\"three.timer\" = { state = \"active\", enabled \
                = false }\n\"getty@tty2.service\" = \"active\"\n[node.b]\n";
    assert_eq!(
        presets(&read(file), "a").unwrap(),
        "# Presets of node a, made by 'hirtectl state presets'.\nenable one.service\n\
         disable two.service\nenable getty@.service tty1 tty2\ndisable three.timer\n"
    );
    let exact = format!("exact = true\n{file}");
    assert!(
        presets(&read(&exact), "a")
            .unwrap()
            .ends_with("\ndisable *\n")
    );
    assert_eq!(presets(&read(&exact), "b").unwrap().lines().count(), 2);
    assert_eq!(presets(&read(file), "c"), None);
}

#[test]
fn what_is_written_is_no_drift() {
    let mut early = unit("active", "static");
    early.active_since_us = 5;
    let mut late = unit("active", "disabled");
    late.active_since_us = 7;
    let known = fleet(&[
        ("rpi.4", "z-early.service", early),
        ("rpi.4", "a-late.service", late),
        ("rpi.4", r"dev-a\x2db.mount", unit("active", "")),
        ("rpi.4", "getty@tty1.service", unit("active", "enabled")),
        ("rpi.4", "getty@.service", Unit::not_loaded("enabled")),
        ("rpi.4", "serial@.service", Unit::not_loaded("enabled")),
        ("rpi.4", "idle.service", unit("inactive", "enabled")),
        ("rpi.4", "off.service", unit("inactive", "disabled")),
        ("rpi.4", "remote-fs.target", unit("active", "enabled")),
    ]);
    let nodes: Vec<_> = known.nodes.clone().into_iter().collect();
    let text = write(&nodes, true);
    assert_eq!(
        text,
        "exact = true\n\n[node.\"rpi.4\"]\n\
         \"z-early.service\" = \"active\"\n\
         \"a-late.service\" = { state = \"active\", enabled = false }\n\
         \"dev-a\\\\x2db.mount\" = \"active\"\n\
         \"getty@tty1.service\" = \"active\"\n\
         \"idle.service\" = { state = \"inactive\", enabled = true }\n\
         \"remote-fs.target\" = \"active\"\n\
         \"serial@.service\" = { enabled = true }\n"
    );
    assert_eq!(drifts(&text, &known), [""; 0]);
    assert_eq!(drifts(&write(&nodes, false), &known), [""; 0]);
    assert!(write(&nodes, false).starts_with("[node.\"rpi.4\"]\n"));

    let failed = fleet(&[("a", "x.service", unit("failed", "static"))]);
    let nodes: Vec<_> = failed.nodes.clone().into_iter().collect();
    let text = write(&nodes, false);
    assert_eq!(text, "[node.a]\n\"x.service\" = \"inactive\" # failed\n");
    assert_eq!(
        drifts(&text, &failed),
        ["a x.service 2:1 inactive failed (sub)"]
    );
}
