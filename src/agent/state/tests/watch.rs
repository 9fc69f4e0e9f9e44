//! What the manager is told of the units that it watches.

use super::*;
use crate::bus::error_name;

fn unit_new(unit: &str) -> FromSystemd {
    FromSystemd::UnitNew {
        unit: unit.to_owned(),
    }
}

fn changed(unit: &str, active: &str, sub: &str) -> FromSystemd {
    FromSystemd::UnitProperties {
        unit: unit.to_owned(),
        interface: names::SYSTEMD_UNIT_INTERFACE.to_owned(),
        changed: properties(&[("ActiveState", active), ("SubState", sub)]),
    }
}

impl Driver {
    /// Connected, with these units.
    fn with_units(units: &[(&str, &str, &str)]) -> Self {
        let mut driver = Self::start(settings());
        driver.answer_systemd_setup(&[], units);
        driver.register();
        driver.look();
        driver
    }

    fn subscribe(&mut self, unit: &str) -> Vec<String> {
        self.call("Subscribe", Body::of(&(unit,)));
        self.told()
    }

    /// The signals of units since the last look, in words.
    fn told(&mut self) -> Vec<String> {
        let of_seen = |seen| match seen {
            Seen::Signal(member, body) if member.starts_with("Unit") => {
                if member == "UnitPropertiesChanged" {
                    return Some(format!("{member} {}", body.signature));
                }
                let mut reader = body.reader();
                let words = body.signature.chars().map(|_| reader.str().unwrap());
                Some(format!("{member} {}", words.collect::<Vec<_>>().join(" ")))
            }
            _ => None,
        };
        self.sent_to_manager()
            .into_iter()
            .filter_map(of_seen)
            .collect()
    }
}

#[test]
fn a_subscription_is_told_what_is_also_when_it_is_repeated() {
    let mut driver = Driver::with_units(&[("a.service", "active", "running")]);
    for _ in 0..2 {
        assert_eq!(
            driver.subscribe("a.service"),
            [
                "UnitNew a.service virtual",
                "UnitStateChanged a.service active running virtual"
            ]
        );
    }
    assert!(driver.subscribe("b.service").is_empty());
    assert_eq!(driver.subscribe("*"), ["UnitNew * virtual"]);
}

#[test]
fn only_changes_of_the_states_are_told_and_all_changed_properties() {
    let mut driver = Driver::with_units(&[("a.service", "active", "running")]);
    driver.systemd_says(changed("a.service", "active", "reloading"));
    assert!(driver.told().is_empty());
    driver.subscribe("a.service");
    driver.systemd_says(changed("a.service", "active", "reloading"));
    assert_eq!(driver.told(), ["UnitPropertiesChanged ssa{sv}"]);
    driver.systemd_says(changed("a.service", "failed", "failed"));
    assert_eq!(
        driver.told(),
        [
            "UnitStateChanged a.service failed failed real",
            "UnitPropertiesChanged ssa{sv}"
        ]
    );
    let unit = "a.service".to_owned();
    driver.systemd_says(FromSystemd::UnitRemoved { unit });
    assert_eq!(driver.told(), ["UnitRemoved a.service"]);
}

#[test]
fn states_that_systemd_did_not_announce_are_asked_for_many_at_once() {
    let mut driver = Driver::with_units(&[]);
    driver.subscribe("*");
    driver.systemd_says(unit_new("a.mount"));
    let sent = driver.sent_to_systemd();
    let [Seen::Call(member, serial, _)] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    assert_eq!(member, "ListUnitsByPatterns");
    for unit in ["b.mount", "c.mount"] {
        driver.systemd_says(unit_new(unit));
    }
    assert_eq!(
        driver.told(),
        ["UnitNew b.mount real", "UnitNew c.mount real"]
    );
    driver.answer(
        *serial,
        Ok(list_of_units(&[("a.mount", "active", "mounted")])),
    );
    let done = driver.look();
    let asked = done.iter().find_map(|(_, action)| match action {
        Action::SendToSystemd(Outgoing {
            content: Content::Call { body, .. },
            ..
        }) => Some(body.clone()),
        _ => None,
    });
    let both = vec!["b.mount".to_owned(), "c.mount".to_owned()];
    assert_eq!(asked.unwrap(), Body::of(&(Vec::<String>::new(), both)));
    let changed = Body::of(&("a.mount", "active", "mounted", "real"));
    let told = done.iter().any(|(_, action)| matches!(action,
        Action::SendToManager(Outgoing { content: Content::Signal { body, .. }, .. }) if *body == changed));
    assert!(told, "{done:?}");
}

#[test]
fn a_reload_of_systemd_is_no_loss_of_units() {
    let mut driver = Driver::with_units(&[
        ("a.service", "active", "running"),
        ("b.service", "active", "running"),
    ]);
    driver.subscribe("*");
    driver.systemd_says(FromSystemd::Reloading(true));
    for unit in ["a.service", "b.service"] {
        let unit = unit.to_owned();
        driver.systemd_says(FromSystemd::UnitRemoved { unit });
    }
    driver.systemd_says(unit_new("a.service"));
    driver.systemd_says(FromSystemd::Reloading(false));
    let sent = driver.look();
    let serial = sent.iter().find_map(|(_, action)| match action {
        Action::SendToSystemd(outgoing) => Some(outgoing.serial),
        _ => None,
    });
    driver.answer(
        serial.unwrap(),
        Ok(list_of_units(&[("a.service", "active", "running")])),
    );
    assert_eq!(
        driver.told(),
        [
            "UnitStateChanged b.service inactive dead real",
            "UnitRemoved b.service"
        ]
    );
}

#[test]
fn what_changed_while_systemd_was_away_is_real() {
    let mut driver = Driver::with_units(&[
        ("a.service", "active", "running"),
        ("b.service", "failed", "failed"),
    ]);
    driver.subscribe("*");
    driver.systemd_says(FromSystemd::Closed("gone".to_owned()));
    driver.pass(1);
    driver.look();
    driver.answer_systemd_setup(
        &[],
        &[
            ("a.service", "failed", "failed"),
            ("c.service", "active", "running"),
        ],
    );
    assert_eq!(
        driver.told(),
        [
            "UnitStateChanged a.service failed failed real",
            "UnitRemoved b.service",
            "UnitNew c.service real",
            "UnitStateChanged c.service active running real",
        ]
    );
}

#[test]
fn a_list_for_the_manager_is_learned_from_before_it_is_passed_on() {
    let mut driver = Driver::with_units(&[("a.service", "active", "running")]);
    driver.subscribe("a.service");
    let call = driver.call("ListUnits", Body::default());
    let sent = driver.sent_to_systemd();
    let [Seen::Call(_, serial, _)] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    let list = list_of_units(&[("a.service", "failed", "failed")]);
    driver.answer(*serial, Ok(list.clone()));
    let change = Body::of(&("a.service", "failed", "failed", "real"));
    assert_eq!(
        driver.sent_to_manager(),
        [
            Seen::Signal("UnitStateChanged".to_owned(), change),
            Seen::Return(call, list)
        ]
    );
}

#[test]
fn subscriptions_end_by_themselves_and_with_their_connection() {
    let mut driver = Driver::with_units(&[("a.service", "active", "running")]);
    for unit in ["a.service", "*"] {
        driver.subscribe(unit);
        let call = driver.call("Unsubscribe", Body::of(&(unit,)));
        assert_eq!(
            driver.sent_to_manager(),
            [Seen::Return(call, Body::default())]
        );
        let call = driver.call("Unsubscribe", Body::of(&(unit,)));
        assert_eq!(
            driver.sent_to_manager(),
            [Seen::Error(call, error_name::FAILED.to_owned())]
        );
    }
    driver.subscribe("a.service");
    driver.manager_says(FromManager::Closed("reset".to_owned()));
    driver.pass(100);
    driver.register();
    driver.look();
    driver.systemd_says(changed("a.service", "failed", "failed"));
    assert!(driver.told().is_empty());
}
