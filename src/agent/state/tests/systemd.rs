//! The connection to systemd, and what follows its loss.

use super::*;
use crate::{bus::error_name, limits};

fn lost() -> FromSystemd {
    FromSystemd::Closed("closed by the other side".to_owned())
}

fn unit_state(unit: &str, active: &str, sub: &str) -> FromSystemd {
    FromSystemd::UnitProperties {
        unit: unit.to_owned(),
        interface: names::SYSTEMD_UNIT_INTERFACE.to_owned(),
        changed: properties(&[("ActiveState", active), ("SubState", sub)]),
    }
}

/// The calls among these.
fn members(sent: &[Seen]) -> Vec<&str> {
    sent.iter()
        .map(|seen| match seen {
            Seen::Call(member, _, _) => member.as_str(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn the_private_socket_needs_no_more_than_three_calls() {
    let mut driver = Driver::start(settings());
    driver.systemd_says(FromSystemd::Connected);
    let sent = driver.sent_to_systemd();
    assert_eq!(members(&sent), ["Subscribe", "ListJobs", "ListUnits"]);
}

#[test]
fn a_bus_is_greeted_and_asked_for_signals_first() {
    let mut driver = Driver::start(Settings {
        systemd: SystemdAccess::Bus,
        ..settings()
    });
    driver.systemd_says(FromSystemd::Connected);
    let sent = driver.sent_to_systemd();
    let expected = [
        "Hello",
        "AddMatch",
        "AddMatch",
        "AddMatch",
        "AddMatch",
        "Subscribe",
        "ListJobs",
        "ListUnits",
    ];
    assert_eq!(members(&sent), expected);
    for seen in sent {
        if let Seen::Call(member, _, body) = seen
            && member == "AddMatch"
        {
            let rule = body.first_str().unwrap().to_owned();
            zbus::MatchRule::try_from(rule.as_str()).unwrap();
        }
    }
}

#[test]
fn systemd_is_tried_again_at_short_intervals() {
    let mut driver = Driver::connected(settings());
    driver.pass(5000);
    driver.manager_says(FromManager::Signal);
    driver.look();
    let start = driver.millis();
    driver.systemd_says(lost());
    let mut starts = Vec::new();
    for _ in 0..5000 {
        driver.pass(1);
        for (at, action) in driver.look() {
            if let Action::ConnectSystemd { .. } = action {
                starts.push(at - start);
                driver.systemd_says(lost());
            }
        }
    }
    assert_eq!(starts, [0, 50, 150, 350, 750, 1550, 2550, 3550, 4550]);
}

#[test]
fn an_attempt_that_leads_nowhere_is_given_up() {
    let millis = u64::try_from(limits::SYSTEMD_CONNECT.as_millis()).unwrap();
    for answered in 0..3_u32 {
        let mut driver = Driver::start(settings());
        driver.systemd_says(FromSystemd::Connected);
        if answered > 0 {
            driver.answer(1, Ok(Body::default()));
        }
        if answered > 1 {
            driver.answer(2, Ok(list_of_jobs(&[])));
        }
        let first = driver.systemd;
        driver.pass(millis - 1);
        assert_eq!(driver.systemd, first);
        driver.pass(200);
        assert_eq!(driver.systemd, first + 1);
    }
}

#[test]
fn an_error_to_a_first_call_ends_the_attempt() {
    for serial in 1..=3 {
        let mut driver = Driver::start(settings());
        driver.systemd_says(FromSystemd::Connected);
        driver.look();
        driver.answer(serial, Err(CallError::new(error_name::ACCESS_DENIED, "no")));
        let actions = driver.look();
        assert!(
            actions
                .iter()
                .any(|(_, action)| *action == Action::CloseSystemd)
        );
        driver.pass(50);
        assert_eq!(driver.systemd, 2);
    }
}

#[test]
fn without_systemd_requests_are_refused_and_the_manager_is_kept() {
    let mut driver = Driver::connected(settings());
    driver.systemd_says(lost());
    driver.look();
    for stage in 0..2 {
        for (member, body) in [
            ("StartUnit", Body::of(&("a.service", "replace", 1_u32))),
            ("ListUnits", Body::default()),
            ("GetUnitProperties", Body::of(&("a.service", ""))),
        ] {
            let call = driver.call(member, body);
            let error = Seen::Error(call, error_name::FAILED.to_owned());
            assert_eq!(driver.sent_to_manager(), [error], "stage {stage}");
        }
        driver.pass(1);
        driver.systemd_says(FromSystemd::Connected);
        driver.look();
    }
    driver.answer(1, Ok(Body::default()));
    driver.answer(2, Ok(list_of_jobs(&[])));
    driver.answer(3, Ok(list_of_units(&[])));
    driver.accepted("StartUnit", "a.service", 1, 10);
    assert_eq!(driver.manager, 1);
}

#[test]
fn requests_on_the_way_fail_when_systemd_is_lost() {
    let mut driver = Driver::connected(settings());
    let (start, serial) = driver.request("StartUnit", "a.service", 1);
    let list = driver.call("ListUnits", Body::default());
    driver.look();
    let connection = driver.systemd;
    driver.systemd_says(lost());
    let no_reply = |call| Seen::Error(call, error_name::NO_REPLY.to_owned());
    assert_eq!(driver.sent_to_manager(), [no_reply(start), no_reply(list)]);
    driver.pass(1);
    driver.answer_systemd_setup(&[], &[]);
    driver.look();
    let result = Ok(job_path(10));
    let event = FromSystemd::Answer { serial, result };
    driver.event(Event::Systemd { connection, event });
    assert!(driver.look().is_empty());
    driver.accepted("StartUnit", "a.service", 1, 11);
}

#[test]
fn a_job_that_survives_the_loss_goes_on() {
    let mut driver = Driver::connected(settings());
    driver.accepted("StartUnit", "a.service", 1, 10);
    driver.systemd_says(lost());
    driver.pass(1);
    driver.answer_systemd_setup(&[(10, "a.service", "running")], &[]);
    assert_eq!(driver.sent_to_manager(), [running(1)]);
    driver.systemd_says(FromSystemd::JobRemoved {
        number: 10,
        result: "failed".to_owned(),
    });
    assert_eq!(driver.sent_to_manager(), [done(1, "failed")]);
}

/// The call for the properties of a unit, by which a result is inferred.
fn inference(driver: &mut Driver) -> u32 {
    let sent = driver.sent_to_systemd();
    match sent.last() {
        Some(Seen::Call(member, serial, _)) if member == "GetAll" => *serial,
        _ => panic!("{sent:?}"),
    }
}

#[test]
fn jobs_that_ended_unseen_are_reported_with_an_inferred_result() {
    for (method, active, result) in [
        ("StartUnit", "active", "done"),
        ("StartUnit", "failed", "failed"),
        ("StopUnit", "inactive", "done"),
        ("StopUnit", "active", "canceled"),
        ("ReloadUnit", "active", "done"),
    ] {
        let mut driver = Driver::connected(settings());
        driver.accepted(method, "a.service", 1, 10);
        driver.accepted(method, "a.service", 2, 10);
        driver.systemd_says(lost());
        driver.pass(1);
        driver.answer_systemd_setup(&[(11, "b.service", "running")], &[]);
        let serial = inference(&mut driver);
        driver.answer(serial, Ok(properties(&[("ActiveState", active)])));
        let line = format!(
            "{method} unit a.service ended while systemd could not be watched; \
             inferred result: {result} (its unit is {active})"
        );
        assert!(driver.log().contains(&line));
        assert_eq!(driver.sent_to_manager(), [done(1, result), done(2, result)]);
    }
}

#[test]
fn an_inference_survives_a_second_loss_and_never_hangs() {
    let mut driver = Driver::connected(settings());
    driver.accepted("StartUnit", "a.service", 1, 10);
    for _ in 0..2 {
        driver.systemd_says(lost());
        driver.pass(200);
        driver.answer_systemd_setup(&[], &[]);
        inference(&mut driver);
    }
    driver.systemd_says(lost());
    driver.pass(200);
    driver.systemd_says(FromSystemd::Connected);
    driver.answer(1, Ok(Body::default()));
    driver.systemd_says(lost());
    driver.pass(200);
    driver.answer_systemd_setup(&[], &[]);
    let serial = inference(&mut driver);
    driver.answer(serial, Err(CallError::new(error_name::FAILED, "no")));
    assert_eq!(driver.sent_to_manager(), [done(1, "failed")]);

    let mut driver = Driver::connected(Settings {
        manager_threshold: None,
        heartbeat_interval: None,
        ..settings()
    });
    driver.accepted("StartUnit", "a.service", 1, 10);
    driver.systemd_says(lost());
    driver.pass(1);
    driver.answer_systemd_setup(&[], &[]);
    inference(&mut driver);
    driver.pass(18_000);
    assert_eq!(driver.sent_to_manager(), [done(1, "failed")]);
}

#[test]
fn a_job_that_ends_between_the_first_answers_is_not_inferred() {
    let mut driver = Driver::connected(settings());
    driver.accepted("StartUnit", "a.service", 1, 10);
    driver.systemd_says(lost());
    driver.pass(1);
    driver.systemd_says(FromSystemd::Connected);
    driver.answer(1, Ok(Body::default()));
    driver.systemd_says(FromSystemd::JobRemoved {
        number: 10,
        result: "dependency".to_owned(),
    });
    driver.answer(2, Ok(list_of_jobs(&[])));
    driver.answer(3, Ok(list_of_units(&[])));
    assert_eq!(driver.sent_to_manager(), [done(1, "dependency")]);
}

#[test]
fn a_manager_lost_meanwhile_hears_nothing_of_its_jobs() {
    let mut driver = Driver::connected(settings());
    driver.accepted("StartUnit", "a.service", 1, 10);
    driver.systemd_says(lost());
    driver.pass(1);
    driver.answer_systemd_setup(&[], &[]);
    let serial = inference(&mut driver);
    driver.manager_says(FromManager::Closed("reset".to_owned()));
    driver.pass(2000);
    driver.register();
    driver.look();
    driver.answer(serial, Ok(properties(&[("ActiveState", "active")])));
    assert!(driver.look().is_empty());
}

#[test]
fn what_changed_unseen_is_logged() {
    let mut driver = Driver::connected(settings());
    driver.systemd_says(unit_state("a.service", "active", "running"));
    driver.systemd_says(unit_state("b.service", "active", "running"));
    driver.systemd_says(FromSystemd::UnitNew {
        unit: "new.mount".to_owned(),
    });
    driver.systemd_says(unit_state("gone.service", "active", "running"));
    driver.systemd_says(FromSystemd::UnitRemoved {
        unit: "gone.service".to_owned(),
    });
    driver.systemd_says(lost());
    driver.look();
    driver.pass(10);
    driver.answer_systemd_setup(
        &[],
        &[
            ("a.service", "inactive", "dead"),
            ("b.service", "active", "running"),
            ("new.mount", "active", "mounted"),
        ],
    );
    assert_eq!(
        driver.log(),
        [
            "Connected to systemd again after 10 ms",
            "Unit a.service changed from active/running to inactive/dead \
             while systemd could not be watched",
        ]
    );
}

#[test]
fn many_changes_are_logged_as_a_number() {
    let mut driver = Driver::connected(settings());
    for index in 0..100 {
        driver.systemd_says(unit_state(
            &format!("u{index}.service"),
            "active",
            "running",
        ));
    }
    driver.systemd_says(lost());
    driver.pass(1);
    driver.look();
    driver.answer_systemd_setup(&[], &[]);
    let lines = driver.log();
    assert_eq!(lines.len(), 1 + limits::MAX_RESYNC_LINES + 1);
    assert_eq!(
        lines.last().unwrap(),
        "80 more units changed while systemd could not be watched"
    );
}

#[test]
fn a_reload_of_systemd_forgets_nothing() {
    let mut driver = Driver::connected(settings());
    driver.systemd_says(unit_state("a.service", "active", "running"));
    driver.systemd_says(FromSystemd::Reloading(true));
    let unit = || "a.service".to_owned();
    driver.systemd_says(FromSystemd::UnitRemoved { unit: unit() });
    driver.systemd_says(FromSystemd::UnitNew { unit: unit() });
    driver.systemd_says(FromSystemd::Reloading(false));
    driver.systemd_says(FromSystemd::Reloading(true));
    driver.systemd_says(FromSystemd::Reloading(false));
    let sent = driver.sent_to_systemd();
    assert_eq!(members(&sent), ["ListUnits"]);
    let list = || list_of_units(&[("a.service", "active", "exited")]);
    driver.answer(4, Ok(list()));
    let sent = driver.sent_to_systemd();
    assert_eq!(members(&sent), ["ListUnits"]);
    driver.answer(5, Ok(list()));
    driver.systemd_says(lost());
    driver.pass(1);
    driver.look();
    driver.answer_systemd_setup(&[], &[("a.service", "active", "exited")]);
    assert_eq!(driver.log().len(), 1);
}

#[test]
fn a_signal_that_can_not_be_read_is_reported() {
    let mut driver = Driver::connected(settings());
    driver.systemd_says(FromSystemd::Unreadable("JobRemoved of /: x".to_owned()));
    assert_eq!(
        driver.log(),
        ["A signal of systemd can not be read: JobRemoved of /: x"]
    );
}
