//! The life of a job, and the calls that are passed on.

use super::*;
use crate::{bus::error_name, limits};

fn removed(number: u32, result: &str) -> FromSystemd {
    FromSystemd::JobRemoved {
        number,
        result: result.to_owned(),
    }
}

fn runs(number: u32) -> FromSystemd {
    FromSystemd::JobState {
        number,
        state: "running".to_owned(),
    }
}

#[test]
fn a_job_is_accepted_runs_and_ends() {
    let mut driver = Driver::connected(settings());
    let (call, serial) = driver.request("StartUnit", "a.service", 7);
    driver.answer(serial, Ok(job_path(10)));
    assert_eq!(
        driver.sent_to_manager(),
        [Seen::Return(call, Body::default())]
    );
    driver.systemd_says(runs(10));
    driver.systemd_says(runs(10));
    assert_eq!(driver.sent_to_manager(), [running(7)]);
    driver.systemd_says(removed(11, "failed"));
    driver.systemd_says(removed(10, "done"));
    assert_eq!(driver.log(), ["Sending JobDone 7, result: done"]);
    assert_eq!(driver.sent_to_manager(), [done(7, "done")]);
    driver.systemd_says(removed(10, "done"));
    assert!(driver.look().is_empty());
}

#[test]
fn requests_that_systemd_merges_all_end() {
    let mut driver = Driver::connected(settings());
    driver.accepted("StartUnit", "a.service", 1, 10);
    driver.systemd_says(runs(10));
    driver.look();
    let (call, serial) = driver.request("RestartUnit", "a.service", 2);
    driver.answer(serial, Ok(job_path(10)));
    assert_eq!(
        driver.sent_to_manager(),
        [Seen::Return(call, Body::default()), running(2)]
    );
    driver.systemd_says(removed(10, "done"));
    assert_eq!(driver.sent_to_manager(), [done(1, "done"), done(2, "done")]);
}

#[test]
fn a_request_merged_into_a_running_job_of_others_is_reported_as_running() {
    let mut driver = Driver::connected(settings());
    driver.systemd_says(runs(10));
    let (call, serial) = driver.request("StartUnit", "a.service", 2);
    driver.answer(serial, Ok(job_path(10)));
    let expected = [Seen::Return(call, Body::default()), running(2)];
    assert_eq!(driver.sent_to_manager(), expected);
}

#[test]
fn refusals_of_systemd_are_forwarded_unchanged() {
    let mut driver = Driver::connected(settings());
    let (call, serial) = driver.request("StartUnit", "nope.service", 1);
    let name = "org.freedesktop.systemd1.NoSuchUnit";
    let refusal = CallError::new(name, "Unit nope.service not found.");
    driver.answer(serial, Err(refusal.clone()));
    let error = driver
        .look()
        .into_iter()
        .find_map(|(_, action)| match action {
            Action::SendToManager(outgoing) => Some(outgoing.content),
            _ => None,
        });
    assert_eq!(
        error,
        Some(Content::Error {
            to: call,
            error: refusal
        })
    );
    driver.accepted("StartUnit", "b.service", 1, 10);
}

#[test]
fn a_job_can_be_canceled_while_it_is_in_flight() {
    let mut driver = Driver::connected(settings());
    driver.accepted("StartUnit", "a.service", 1, 10);
    let call = driver.call("JobCancel", Body::of(&(1_u32,)));
    let sent = driver.sent_to_systemd();
    let [Seen::Call(member, serial, body)] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    assert_eq!(
        (member.as_str(), body),
        ("CancelJob", &Body::of(&(10_u32,)))
    );
    driver.systemd_says(removed(10, "canceled"));
    driver.answer(*serial, Ok(Body::default()));
    assert_eq!(
        driver.sent_to_manager(),
        [done(1, "canceled"), Seen::Return(call, Body::default())]
    );
    for id in [1_u32, 99] {
        let call = driver.call("JobCancel", Body::of(&(id,)));
        let error = Seen::Error(call, error_name::NO_SUCH_JOB.to_owned());
        assert_eq!(driver.sent_to_manager(), [error]);
    }
}

#[test]
fn an_acceptance_that_comes_too_late_is_canceled() {
    let mut driver = Driver::connected(settings());
    keep_manager(&mut driver, 0);
    let (call, serial) = driver.request("StartUnit", "a.service", 1);
    let sent = keep_manager(&mut driver, 17_999);
    assert!(sent.is_empty(), "{sent:?}");
    let sent = keep_manager(&mut driver, 1);
    assert_eq!(sent, [Seen::Error(call, error_name::TIMEOUT.to_owned())]);
    driver.answer(serial, Ok(job_path(10)));
    let sent = driver.sent_to_systemd();
    assert!(matches!(&sent[..], [Seen::Call(member, _, body)]
        if member == "CancelJob" && *body == Body::of(&(10_u32,))));
    driver.systemd_says(removed(10, "canceled"));
    assert!(driver.sent_to_manager().is_empty());
}

#[test]
fn a_late_acceptance_leaves_the_job_to_another_request() {
    let mut driver = Driver::connected(settings());
    let (_, late) = driver.request("StartUnit", "a.service", 1);
    keep_manager(&mut driver, 10_000);
    let (_, in_time) = driver.request("StartUnit", "a.service", 2);
    keep_manager(&mut driver, 9_000);
    driver.answer(in_time, Ok(job_path(10)));
    driver.answer(late, Ok(job_path(10)));
    assert!(driver.sent_to_systemd().is_empty());
    driver.systemd_says(removed(10, "done"));
    assert_eq!(driver.sent_to_manager(), [done(2, "done")]);
}

/// Lets time pass with a manager that lives, and returns what else it was sent.
fn keep_manager(driver: &mut Driver, millis: u64) -> Vec<Seen> {
    let mut others = Vec::new();
    let end = driver.millis() + millis;
    while driver.millis() < end {
        driver.pass((end - driver.millis()).min(1000));
        for seen in driver.sent_to_manager() {
            match seen {
                Seen::Call(_, serial, _) => {
                    let result = Ok(Body::default());
                    driver.manager_says(FromManager::Answer { serial, result });
                }
                seen if seen == heartbeat() => {}
                other => others.push(other),
            }
        }
    }
    others
}

#[test]
fn nothing_of_a_lost_connection_reaches_the_next_one() {
    let mut driver = Driver::connected(settings());
    driver.accepted("StartUnit", "a.service", 1, 10);
    let (_, waiting) = driver.request("StartUnit", "b.service", 2);
    let listing = driver.call("ListUnits", Body::default());
    let [Seen::Call(_, list, _)] = driver.sent_to_systemd()[..] else {
        panic!("no call");
    };
    driver.manager_says(FromManager::Closed("reset".to_owned()));
    driver.pass(2000);
    driver.register();
    driver.look();
    driver.answer(list, Ok(list_of_units(&[])));
    driver.answer(waiting, Ok(job_path(11)));
    assert_eq!(
        driver.log(),
        ["StartUnit unit b.service was accepted after the loss of the manager that wanted it"]
    );
    driver.systemd_says(runs(10));
    driver.systemd_says(removed(10, "done"));
    driver.systemd_says(removed(11, "done"));
    assert!(driver.sent_to_manager().is_empty(), "call {listing}");
    // The numbers are free for the manager, which may have started anew.
    driver.accepted("StartUnit", "a.service", 1, 12);
    driver.accepted("StartUnit", "b.service", 2, 13);
}

#[test]
fn a_number_is_used_for_one_job_at_a_time() {
    let mut driver = Driver::connected(settings());
    driver.request("StartUnit", "a.service", 1);
    let body = Body::of(&("b.service", "replace", 1_u32));
    let call = driver.call("StartUnit", body);
    let error = Seen::Error(call, error_name::INVALID_ARGS.to_owned());
    assert_eq!(driver.sent_to_manager(), [error]);
}

#[test]
fn requests_and_jobs_are_bounded() {
    let mut driver = Driver::connected(settings());
    let id = |index: usize| u32::try_from(index).unwrap();
    for index in 0..limits::MAX_REQUESTS_TO_SYSTEMD {
        driver.request("StartUnit", "a.service", id(index));
    }
    let call = driver.call("ListUnits", Body::default());
    let limit = |call| Seen::Error(call, error_name::LIMITS_EXCEEDED.to_owned());
    assert_eq!(driver.sent_to_manager(), [limit(call)]);

    let mut driver = Driver::connected(settings());
    for index in 0..limits::MAX_JOBS_PER_NODE {
        driver.accepted("StartUnit", "a.service", id(index), id(index));
    }
    let body = Body::of(&("b.service", "replace", 9999_u32));
    let call = driver.call("StartUnit", body);
    assert_eq!(driver.sent_to_manager(), [limit(call)]);
    driver.systemd_says(removed(5, "done"));
    driver.look();
    driver.accepted("StartUnit", "b.service", 9999, 9999);
}

#[test]
fn answered_calls_leave_nothing_behind_an_unanswered_one() {
    let mut driver = Driver::connected(settings());
    driver.call("ListUnits", Body::default());
    driver.look();
    for _ in 0..10 {
        driver.call("Reload", Body::default());
        let sent = driver.sent_to_systemd();
        let [Seen::Call(_, serial, _)] = sent.as_slice() else {
            panic!("{sent:?}");
        };
        driver.answer(*serial, Ok(Body::default()));
    }
    assert_eq!(driver.state.requests.entries(), [1, 1, 0]);
}

#[test]
fn late_jobs_and_running_jobs_are_bounded() {
    let mut driver = Driver::connected(settings());
    for round in 0..2 {
        for index in 0..limits::MAX_REQUESTS_TO_SYSTEMD {
            let id = round * limits::MAX_REQUESTS_TO_SYSTEMD + index;
            driver.request("StartUnit", "a.service", u32::try_from(id).unwrap());
        }
        keep_manager(&mut driver, 18_000);
    }
    let most = limits::MAX_REQUESTS_TO_SYSTEMD;
    assert_eq!(driver.state.requests.entries(), [0, 0, most]);
    for number in 0..=u32::try_from(limits::MAX_RUNNING_JOBS).unwrap() {
        driver.systemd_says(runs(number));
    }
    assert_eq!(driver.state.jobs.running(), limits::MAX_RUNNING_JOBS);
}

#[test]
fn calls_are_passed_on_and_answers_passed_back() {
    let unit_interface = names::SYSTEMD_UNIT_INTERFACE;
    for (member, body, systemd_member, systemd_body) in [
        ("ListUnits", Body::default(), "ListUnits", Body::default()),
        ("Reload", Body::default(), "Reload", Body::default()),
        (
            "EnableUnitFiles",
            Body::of(&(vec!["a.service".to_owned()], false, true)),
            "EnableUnitFiles",
            Body::of(&(vec!["a.service".to_owned()], false, true)),
        ),
        (
            "DisableUnitFiles",
            Body::of(&(vec!["a.service".to_owned()], true)),
            "DisableUnitFiles",
            Body::of(&(vec!["a.service".to_owned()], true)),
        ),
        (
            "GetUnitProperties",
            Body::of(&("a.service", "")),
            "GetAll",
            Body::of(&("",)),
        ),
        (
            "GetUnitProperty",
            Body::of(&("a.service", unit_interface, "Id")),
            "Get",
            Body::of(&(unit_interface, "Id")),
        ),
    ] {
        let mut driver = Driver::connected(settings());
        let call = driver.call(member, body);
        let sent = driver.sent_to_systemd();
        let [Seen::Call(asked, serial, asked_body)] = sent.as_slice() else {
            panic!("{sent:?}");
        };
        assert_eq!(
            (asked.as_str(), asked_body),
            (systemd_member, &systemd_body)
        );
        let answer = Body::of(&("whatever", 7_u32));
        driver.answer(*serial, Ok(answer.clone()));
        assert_eq!(driver.sent_to_manager(), [Seen::Return(call, answer)]);
    }
}

#[test]
fn properties_are_asked_of_the_units_object() {
    let mut driver = Driver::connected(settings());
    driver.call("GetUnitProperties", Body::of(&("a-b.service", "")));
    let path = driver
        .look()
        .into_iter()
        .find_map(|(_, action)| match action {
            Action::SendToSystemd(Outgoing {
                content: Content::Call { path, .. },
                ..
            }) => Some(path),
            _ => None,
        });
    assert_eq!(
        path.as_deref(),
        Some("/org/freedesktop/systemd1/unit/a_2db_2eservice")
    );
}

#[test]
fn calls_that_systemd_does_not_answer_have_a_deadline() {
    let mut driver = Driver::connected(settings());
    let first = driver.call("ListUnits", Body::default());
    keep_manager(&mut driver, 9000);
    let second = driver.call("Reload", Body::default());
    let overdue = |call| Seen::Error(call, error_name::TIMEOUT.to_owned());
    assert_eq!(keep_manager(&mut driver, 9000), [overdue(first)]);
    assert_eq!(keep_manager(&mut driver, 9000), [overdue(second)]);
}

const TRANSIENT: &str = "ssa(sv)a(sa(sv))";

/// The arguments of `StartTransientUnit`.
fn transient(unit: &str) -> Body {
    let properties = vec![("CPUWeight", Value::U64(7))];
    let others = vec![("other.service", properties.clone())];
    Body::of(&(unit, "fail", properties, others))
}

#[test]
fn a_transient_unit_is_started_by_a_job() {
    let mut driver = Driver::connected(settings());
    for (id, unit) in [(7, "made.service"), (8, "made2.service")] {
        let properties = vec![("CPUWeight", Value::U64(7))];
        let others = vec![("other.service", properties.clone())];
        let body = Body::of(&(unit, "fail", properties, others, id));
        let call = driver.call("StartTransientUnitJob", body);
        let sent = driver.sent_to_systemd();
        let [Seen::Call(member, serial, body)] = sent.as_slice() else {
            panic!("{sent:?}");
        };
        assert_eq!(member, "StartTransientUnit");
        assert_eq!(*body, transient(unit));
        assert_eq!(body.signature, TRANSIENT);
        driver.answer(*serial, Ok(job_path(id)));
        driver.systemd_says(removed(id, "done"));
        let expected = [Seen::Return(call, Body::default()), done(id, "done")];
        assert_eq!(driver.sent_to_manager(), expected);
    }
}

/// Other managers may want a transient unit without a job of their own.
#[test]
fn a_transient_unit_without_a_number_is_passed_on() {
    let mut driver = Driver::connected(settings());
    let call = driver.call("StartTransientUnit", transient("made.service"));
    let sent = driver.sent_to_systemd();
    let [Seen::Call(member, serial, body)] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    assert_eq!(
        (member.as_str(), body),
        ("StartTransientUnit", &transient("made.service"))
    );
    driver.answer(*serial, Ok(job_path(10)));
    assert_eq!(driver.sent_to_manager(), [Seen::Return(call, job_path(10))]);
}

#[test]
fn job_times_are_told_while_the_manager_wants_them() {
    let mut driver = Driver::connected(settings());
    let refusal = |call| Seen::Error(call, error_name::INVALID_ARGS.to_owned());
    let call = driver.call("DisableMetrics", Body::default());
    assert_eq!(driver.sent_to_manager(), [refusal(call)]);
    driver.accepted("StartUnit", "a.service", 1, 10);
    driver.pass(30);
    let call = driver.call("EnableMetrics", Body::default());
    assert_eq!(
        driver.sent_to_manager(),
        [Seen::Return(call, Body::default())]
    );
    let call = driver.call("EnableMetrics", Body::default());
    assert_eq!(driver.sent_to_manager(), [refusal(call)]);
    driver.pass(12);
    driver.systemd_says(removed(10, "done"));
    let time = Body::of(&("a.service", "StartUnit", 42_000_u64));
    let time = Seen::Signal("AgentJobMetrics".to_owned(), time);
    assert_eq!(driver.sent_to_manager(), [time, done(1, "done")]);

    driver.call("DisableMetrics", Body::default());
    driver.accepted("StopUnit", "a.service", 2, 11);
    driver.systemd_says(removed(11, "done"));
    assert_eq!(driver.sent_to_manager(), [done(2, "done")]);

    // Another connection starts without.
    driver.call("EnableMetrics", Body::default());
    driver.manager_says(FromManager::Closed("reset".to_owned()));
    driver.pass(10);
    driver.register();
    driver.look();
    driver.accepted("StartUnit", "a.service", 1, 12);
    driver.systemd_says(removed(12, "done"));
    assert_eq!(driver.sent_to_manager(), [done(1, "done")]);
}

#[test]
fn a_log_level_is_set_and_a_wrong_one_refused() {
    let mut driver = Driver::connected(settings());
    for (text, level) in [("DEBUG", Level::Debug), ("error", Level::Error)] {
        driver.call("SetLogLevel", Body::of(&(text,)));
        let actions = driver.look();
        assert_eq!(actions[0].1, Action::SetLogLevel(level));
        assert!(matches!(actions[1].1, Action::PropertiesChanged(_)));
        assert!(matches!(actions[2].1, Action::SendToManager(_)));
    }
    let call = driver.call("SetLogLevel", Body::of(&("loud",)));
    let refused = Seen::Error(call, error_name::INVALID_ARGS.to_owned());
    assert_eq!(driver.sent_to_manager(), [refused]);
}
