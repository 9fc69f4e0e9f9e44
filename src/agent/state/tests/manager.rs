//! The connection to the manager: attempts, registration, liveness, what it may call.

use super::*;
use crate::{bus::error_name, limits};

fn closed() -> FromManager {
    FromManager::Closed("reset".to_owned())
}

#[test]
fn the_start_is_complete_when_systemd_is_there_and_the_manager_is_being_tried() {
    let mut driver = Driver::start(settings());
    driver.pass(5000);
    let actions = driver.look();
    assert!(!actions.iter().any(|(_, action)| *action == Action::Ready));
    assert!(attempts(&actions).is_empty());
    driver.answer_systemd_setup(&[], &[]);
    let actions = driver.look();
    assert!(actions.iter().any(|(_, action)| *action == Action::Ready));
    assert_eq!(attempts(&actions).len(), 1);
}

#[test]
fn the_log_says_what_administrators_look_for() {
    let mut driver = Driver::start(settings());
    driver.answer_systemd_setup(&[], &[]);
    driver.manager_says(closed());
    driver.pass(100);
    driver.register();
    driver.pass(5000);
    driver.manager_says(FromManager::Signal);
    driver.manager_says(closed());
    assert_eq!(
        driver.log(),
        [
            "Acquired the bus name org.containers.hirte.Agent",
            "Connected to systemd",
            "Connecting to manager on tcp:host=10.0.0.1,port=842",
            "Initial manager connection failed, retrying: reset",
            "Trying to connect to manager (try 1)",
            "Connected to manager as 'rpi4'",
            "Disconnected from manager: reset",
        ]
    );
}

#[test]
fn retries_follow_at_once_then_slower_and_never_end() {
    let mut driver = Driver::connected(settings());
    for _ in 0..3 {
        driver.pass(1000);
        driver.manager_says(FromManager::Signal);
    }
    driver.look();
    let lost = driver.millis();
    driver.manager_says(closed());
    let mut starts = Vec::new();
    for _ in 0..120_000 {
        driver.pass(1);
        let new = attempts(&driver.look());
        if !new.is_empty() {
            starts.extend(new.iter().map(|at| at - lost));
            driver.manager_says(closed());
        }
    }
    assert_eq!(starts[..8], [0, 100, 300, 700, 1500, 3100, 5100, 7100]);
    assert_eq!(starts.len(), 5 + (120_000 - 3100) / 2000 + 1);
}

#[test]
fn repeated_failures_do_not_flood_the_log() {
    let mut driver = Driver::connected(settings());
    driver.manager_says(closed());
    for _ in 0..3600 {
        driver.pass(1000);
        driver.manager_says(closed());
    }
    let lines = driver.log().len();
    assert!((60..150).contains(&lines), "{lines} lines in an hour");
}

#[test]
fn a_reconnect_interval_of_none_means_no_further_attempt() {
    let settings = Settings {
        reconnect_interval: None,
        ..settings()
    };
    let mut driver = Driver::connected(settings);
    driver.manager_says(closed());
    driver.pass(600_000);
    assert!(attempts(&driver.look()).is_empty());
}

#[test]
fn a_refused_registration_is_tried_again_at_the_slow_pace() {
    let mut driver = Driver::start(settings());
    driver.answer_systemd_setup(&[], &[]);
    driver.manager_says(FromManager::Connected);
    driver.pass(10);
    let refusal = CallError::new(error_name::ADDRESS_IN_USE, "The node is already connected");
    driver.manager_says(FromManager::Answer {
        serial: 1,
        result: Err(refusal),
    });
    let line = "Registering as 'rpi4' failed: The node is already connected \
                (org.freedesktop.DBus.Error.AddressInUse)";
    assert!(driver.log().iter().any(|logged| logged == line));
    let actions = driver.look();
    assert!(
        actions
            .iter()
            .any(|(_, action)| *action == Action::CloseManager)
    );
    driver.pass(10_000);
    // Later attempts get no answer here, and each may take its time.
    assert_eq!(attempts(&driver.look())[0], 2000);
}

#[test]
fn a_connection_attempt_and_a_registration_have_deadlines() {
    let mut driver = Driver::start(settings());
    driver.answer_systemd_setup(&[], &[]);
    driver.look();
    driver.pass(limits::MANAGER_CONNECT.as_millis().try_into().unwrap());
    assert_eq!(attempts(&driver.look()), [30_000]);
    let settings = Settings {
        manager_threshold: None,
        ..settings()
    };
    let mut driver = Driver::start(settings);
    driver.answer_systemd_setup(&[], &[]);
    driver.manager_says(FromManager::Connected);
    driver.look();
    driver.pass(20_000);
    assert!(
        driver
            .log()
            .contains(&"Registering as 'rpi4' failed: no answer within 20 s".to_owned())
    );
}

#[test]
fn a_silent_manager_is_asked_and_then_left_within_the_threshold() {
    for offset in [0, 1, 250, 999] {
        let mut driver = Driver::connected(settings());
        driver.pass(1000 + offset);
        driver.manager_says(FromManager::Signal);
        driver.look();
        let heard = driver.millis();
        driver.pass(5999);
        let sent = driver.look();
        let asked = sent.iter().find_map(|(at, action)| match action {
            Action::SendToManager(Outgoing {
                content: Content::Call { member, .. },
                ..
            }) if member == "Ping" => Some(at - heard),
            _ => None,
        });
        assert!((2000..=3000).contains(&asked.unwrap()), "{asked:?}");
        assert!(
            !sent
                .iter()
                .any(|(_, action)| *action == Action::CloseManager)
        );
        driver.pass(1);
        let actions = driver.look();
        assert!(
            actions
                .iter()
                .any(|(_, action)| *action == Action::CloseManager)
        );
        assert_eq!(attempts(&actions), [heard + 6000]);
    }
}

#[test]
fn a_manager_that_answers_is_kept_with_any_threshold() {
    for threshold in [100, 500, 1000, 3000, 6000, 60_000] {
        let settings = Settings {
            manager_threshold: Some(Duration::from_millis(threshold)),
            heartbeat_interval: None,
            ..settings()
        };
        let mut driver = Driver::connected(settings);
        let end = driver.millis() + 3 * threshold + 10_000;
        while driver.millis() < end {
            driver.pass(10);
            for seen in driver.sent_to_manager() {
                if let Seen::Call(member, serial, _) = seen {
                    assert_eq!(member, "Ping");
                    let result = Ok(Body::default());
                    driver.manager_says(FromManager::Answer { serial, result });
                }
            }
        }
        assert!(driver.log().is_empty(), "threshold {threshold}");
        let manager = driver.manager;
        driver.pass(threshold);
        assert_eq!(driver.manager, manager + 1, "threshold {threshold}");
    }
}

#[test]
fn a_manager_that_sends_heartbeats_is_not_asked() {
    let mut driver = Driver::connected(Settings {
        heartbeat_interval: None,
        ..settings()
    });
    for _ in 0..30 {
        driver.pass(1000);
        driver.manager_says(FromManager::Signal);
    }
    assert!(driver.sent_to_manager().is_empty() && driver.log().is_empty());
}

#[test]
fn times_of_a_configuration_that_is_read_again_hold_at_once() {
    let pace = |interval: u64| Pace {
        heartbeat_interval: Some(Duration::from_millis(interval)),
        reconnect_interval: Some(Duration::from_secs(2)),
        manager_threshold: Some(Duration::from_secs(1)),
        loud_retries: 0,
        allow_exec: false,
    };
    let mut driver = Driver::connected(Settings {
        heartbeat_interval: None,
        reconnect_interval: None,
        manager_threshold: None,
        ..settings()
    });
    driver.pass(10_000);
    assert!(driver.sent_to_manager().is_empty());
    driver.event(Event::Reloaded(pace(100)));
    driver.pass(350);
    let beats = driver.sent_to_manager();
    let beats = beats.iter().filter(|seen| **seen == heartbeat());
    assert!((3..=4).contains(&beats.count()));
    // The new threshold, and that the connection is opened again.
    let manager = driver.manager;
    driver.pass(650);
    assert_eq!(driver.manager, manager + 1);

    // One that has given up tries again.
    let mut driver = Driver::connected(Settings {
        reconnect_interval: None,
        ..settings()
    });
    driver.manager_says(FromManager::Closed("reset".to_owned()));
    driver.pass(60_000);
    let manager = driver.manager;
    driver.event(Event::Reloaded(pace(1000)));
    assert_eq!(driver.manager, manager + 1);
}

#[test]
fn heartbeats_keep_their_interval() {
    for (interval, expected) in [
        (100, 300),
        (700, 42),
        (1000, 29),
        (1500, 20),
        (2000, 15),
        (5000, 6),
    ] {
        let settings = Settings {
            heartbeat_interval: Some(Duration::from_millis(interval)),
            manager_threshold: None,
            ..settings()
        };
        let mut driver = Driver::connected(settings);
        driver.pass(30_000);
        let beats = driver.sent_to_manager();
        assert!(beats.iter().all(|seen| *seen == heartbeat()));
        assert!(
            beats.len().abs_diff(expected) <= 1,
            "{interval} ms: {}",
            beats.len()
        );
    }
    let settings = Settings {
        heartbeat_interval: None,
        manager_threshold: None,
        ..settings()
    };
    let mut driver = Driver::connected(settings);
    driver.pass(30_000);
    assert!(driver.sent_to_manager().is_empty());
}

#[test]
fn silence_while_we_slept_or_stood_still_proves_nothing() {
    let mut driver = Driver::connected(settings());
    driver.pass(500);
    let manager = driver.manager;
    driver.stall(60_000);
    assert_eq!(driver.manager, manager);
    driver.pass(5999);
    assert_eq!(driver.manager, manager);
    driver.pass(1);
    assert_eq!(driver.manager, manager + 1);

    let mut driver = Driver::connected(settings());
    driver.pass(5500);
    driver.suspend(Duration::from_hours(8));
    driver.pass(5500);
    assert_eq!(driver.manager, manager);
    assert!(
        driver
            .log()
            .contains(&"The machine was suspended for 28800 s".to_owned())
    );
    driver.pass(1000);
    assert_eq!(driver.manager, manager + 1);
}

#[test]
fn what_an_ended_connection_reports_has_no_effect() {
    let mut driver = Driver::connected(settings());
    let old = driver.manager;
    driver.pass(10_000);
    assert!(driver.manager > old);
    driver.register();
    driver.look();
    let connection = old;
    for event in [FromManager::Connected, closed(), FromManager::Signal] {
        driver.event(Event::Manager { connection, event });
    }
    assert!(driver.look().is_empty());
}

#[test]
fn the_manager_may_ask_whether_we_live() {
    let mut driver = Driver::connected(settings());
    for (serial, member) in [(5, "Ping"), (6, "GetMachineId"), (7, "Other")] {
        driver.manager_says(FromManager::Call(IncomingCall {
            serial,
            expects_reply: true,
            path: "/".to_owned(),
            interface: names::PEER_INTERFACE.to_owned(),
            member: member.to_owned(),
            body: Body::default(),
        }));
    }
    assert_eq!(
        driver.sent_to_manager(),
        [
            Seen::Return(5, Body::default()),
            Seen::Return(6, Body::of(&("0123456789abcdef0123456789abcdef",))),
            Seen::Error(7, error_name::UNKNOWN_METHOD.to_owned()),
        ]
    );
}

#[test]
fn wrong_calls_are_refused_and_unwanted_answers_not_sent() {
    let mut driver = Driver::connected(settings());
    let call = |path: &str, interface: &str, member: &str, expects_reply| {
        FromManager::Call(IncomingCall {
            serial: 9,
            expects_reply,
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            body: Body::of(&(true,)),
        })
    };
    let (path, interface) = (names::INTERNAL_AGENT_PATH, names::INTERNAL_AGENT_INTERFACE);
    for (event, error) in [
        (
            call("/other", interface, "StartUnit", true),
            error_name::UNKNOWN_OBJECT,
        ),
        (
            call(path, "org.other", "StartUnit", true),
            error_name::UNKNOWN_INTERFACE,
        ),
        (
            call(path, interface, "Nonsense", true),
            error_name::UNKNOWN_METHOD,
        ),
        (
            call(path, interface, "StartUnit", true),
            error_name::INVALID_ARGS,
        ),
        (
            call(path, interface, "JobCancel", true),
            error_name::INVALID_ARGS,
        ),
        (call(path, "", "ListUnits", true), error_name::INVALID_ARGS),
    ] {
        driver.manager_says(event);
        assert_eq!(driver.sent_to_manager(), [Seen::Error(9, error.to_owned())]);
    }
    driver.manager_says(call(path, interface, "Subscribe", false));
    assert!(driver.sent_to_manager().is_empty());
}
