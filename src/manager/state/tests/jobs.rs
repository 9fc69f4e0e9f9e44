//! The life of a job.

use super::*;
use crate::bus::{ObjectPath, Value, error_name, marshal};

#[test]
fn a_client_sees_job_new_then_the_reply_then_job_removed() {
    let mut manager = Manager::with_nodes();
    let asked = manager.start("rpi4", "httpd.service");
    let requests = sent(&asked);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].peer, RPI4);
    let expected = Body::of(&("httpd.service", "replace", 1_u32));
    assert!(
        matches!(&requests[0].message, ToPeer::Call { method, arguments }
        if method == "StartUnit" && *arguments == expected)
    );

    let accepted = visible(manager.answer(&requests[0], Body::default()));
    let path = ObjectPath("/org/containers/hirte/job/1".to_owned());
    assert_eq!(accepted[0], Action::Emit(Signal::JobNew { id: 1 }));
    assert!(matches!(&accepted[1], Action::Reply { body, .. } if *body == Body::of(&(path,))));
    assert_eq!(accepted.len(), 2);

    let ended = visible(manager.done(RPI4, 1, "done"));
    assert_eq!(ended, [removed(1, "done")]);
}

#[test]
fn each_kind_of_job_calls_its_method() {
    for kind in JobKind::ALL {
        let mut manager = Manager::with_nodes();
        let method = Method::QueueJob {
            kind,
            unit: "a.service".to_owned(),
            mode: "fail".to_owned(),
        };
        let actions = manager.call(Object::Node("rpi4".to_owned()), method);
        assert!(sent(&actions)[0].is_call(kind.method()));
    }
}

#[test]
fn a_job_that_systemd_refuses_is_never_announced() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.start("rpi4", "nope.service"))[0].clone();
    let name = "org.freedesktop.systemd1.NoSuchUnit".to_owned();
    let error = CallError::from_reply(name.clone(), &Body::of(&("Unit nope.service not found.",)));
    let actions = manager.refuse(&request, error);
    assert_eq!(
        refusal(&actions),
        Some((name.as_str(), "Unit nope.service not found."))
    );
    assert!(signals(&actions).is_empty());
    assert!(visible(manager.done(RPI4, 1, "done")).is_empty());
}

#[test]
fn an_end_before_the_acceptance_is_held_back() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.start("rpi4", "httpd.service"))[0].clone();
    assert!(visible(manager.done(RPI4, 1, "done")).is_empty());
    assert!(visible(manager.done(RPI4, 1, "failed")).is_empty());
    let actions = visible(manager.answer(&request, Body::default()));
    assert_eq!(actions[0], Action::Emit(Signal::JobNew { id: 1 }));
    assert!(matches!(actions[1], Action::Reply { .. }));
    assert_eq!(actions[2..], [removed(1, "done")]);
}

#[test]
fn an_end_counts_once() {
    let mut manager = Manager::with_nodes();
    let id = manager.accepted_job();
    assert_eq!(
        visible(manager.done(RPI4, id, "done")),
        [removed(id, "done")]
    );
    assert!(visible(manager.done(RPI4, id, "failed")).is_empty());
}

#[test]
fn the_loss_of_the_node_ends_its_jobs_and_only_those() {
    let mut manager = Manager::with_nodes();
    let first = manager.accepted_job();
    let second = manager.accepted_job();
    assert!(
        signals(&manager.lose(LAPTOP))
            .iter()
            .all(|signal| !matches!(signal, Signal::JobRemoved { .. }))
    );
    let actions = manager.lose(RPI4);
    assert!(actions.contains(&removed(first, "node-lost")));
    assert!(actions.contains(&removed(second, "node-lost")));
    manager.register(3, "rpi4");
    assert!(visible(manager.done(3, first, "done")).is_empty());
}

#[test]
fn a_job_that_was_not_accepted_when_its_node_is_lost_is_refused() {
    let mut manager = Manager::with_nodes();
    manager.start("rpi4", "httpd.service");
    let actions = manager.lose(RPI4);
    assert_eq!(refusal(&actions).unwrap().0, error_name::OFFLINE);
    let of_job =
        |signal: &&Signal| matches!(signal, Signal::JobNew { .. } | Signal::JobRemoved { .. });
    assert!(!signals(&actions).iter().any(of_job));
}

#[test]
fn a_late_acceptance_is_cancelled_on_the_agent_and_logged() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.start("rpi4", "httpd.service"))[0].clone();
    let alive = |manager: &mut Manager| {
        manager.message(LAPTOP, FromPeer::Heartbeat);
        manager.message(RPI4, FromPeer::Heartbeat);
    };
    let actions = manager.wait_with(limits::REQUEST, alive);
    assert_eq!(refusal(&actions).unwrap().0, error_name::TIMEOUT);
    let actions = manager.answer(&request, Body::default());
    let cancel = sent(&actions);
    assert!(cancel[0].is_call("JobCancel") && cancel[0].peer == RPI4);
    assert_eq!(logged(&actions)[0].0, Level::Warn);
    assert!(signals(&actions).is_empty() && refusal(&actions).is_none());
    assert!(visible(manager.done(RPI4, 1, "canceled")).is_empty());
}

#[test]
fn a_late_refusal_says_nothing() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.start("rpi4", "httpd.service"))[0].clone();
    manager.wait_with(limits::REQUEST, |manager| {
        manager.message(RPI4, FromPeer::Heartbeat);
    });
    let error = CallError::new(error_name::FAILED, "no");
    assert!(manager.refuse(&request, error).is_empty());
}

#[test]
fn a_node_speaks_only_of_its_own_jobs() {
    let mut manager = Manager::with_nodes();
    let id = manager.accepted_job();
    let forged = manager.done(LAPTOP, id, "done");
    assert!(visible(forged.clone()).is_empty());
    assert_eq!(logged(&forged)[0].0, Level::Warn);
    let state = "running".to_owned();
    let forged = manager.message(LAPTOP, FromPeer::JobStateChanged { id, state });
    assert!(visible(forged).is_empty());
    assert!(manager.state.jobs.announced(id).is_some());
}

#[test]
fn a_connection_that_has_not_registered_speaks_of_no_job() {
    let mut manager = Manager::with_nodes();
    let id = manager.accepted_job();
    manager.connect(9);
    assert!(manager.done(9, id, "done").is_empty());
}

#[test]
fn the_state_is_announced_when_it_changes() {
    let mut manager = Manager::with_nodes();
    let id = manager.accepted_job();
    let mut change = |state: &str| {
        let state = state.to_owned();
        manager.message(RPI4, FromPeer::JobStateChanged { id, state })
    };
    let changed = vec![("State".to_owned(), Value::Str("running".to_owned()))];
    let object = Object::Job(id);
    assert_eq!(
        change("running"),
        [Action::Emit(Signal::PropertiesChanged { object, changed })]
    );
    assert!(change("running").is_empty());
    assert!(change("dancing").is_empty());
}

#[test]
fn a_state_before_the_acceptance_is_seen_as_the_property() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.start("rpi4", "httpd.service"))[0].clone();
    let (id, state) = (1, "running".to_owned());
    let actions = manager.message(RPI4, FromPeer::JobStateChanged { id, state });
    assert!(actions.is_empty());
    manager.answer(&request, Body::default());
    let property = manager
        .state
        .property(&Object::Job(1), "org.containers.hirte.Job", "State");
    assert_eq!(property, Ok(Value::Str("running".to_owned())));
}

#[test]
fn a_job_has_no_deadline_of_its_own() {
    let mut manager = Manager::with_nodes();
    let id = manager.accepted_job();
    manager.wait_with(Duration::from_mins(15), |manager| {
        manager.message(RPI4, FromPeer::Heartbeat);
    });
    assert_eq!(
        visible(manager.done(RPI4, id, "done")),
        [removed(id, "done")]
    );
}

#[test]
fn cancel_asks_the_agent_and_job_removed_follows() {
    let mut manager = Manager::with_nodes();
    let id = manager.accepted_job();
    let request = sent(&manager.call(Object::Job(id), Method::CancelJob))[0].clone();
    assert!(request.is_call("JobCancel"));
    let actions = manager.answer(&request, Body::default());
    assert_eq!(answer_of(&actions), &Body::default());
    assert_eq!(
        visible(manager.done(RPI4, id, "canceled")),
        [removed(id, "canceled")]
    );
    let again = manager.call(Object::Job(id), Method::CancelJob);
    assert_eq!(
        refusal(&again),
        Some((
            error_name::UNKNOWN_OBJECT,
            "Unknown object '/org/containers/hirte/job/1'."
        ))
    );
}

#[test]
fn cancel_on_an_agent_without_it_is_not_supported() {
    let mut manager = Manager::with_nodes();
    let id = manager.accepted_job();
    let request = sent(&manager.call(Object::Job(id), Method::CancelJob))[0].clone();
    let actions = manager.refuse(&request, CallError::new(error_name::UNKNOWN_METHOD, "?"));
    assert_eq!(refusal(&actions).unwrap().0, error_name::NOT_SUPPORTED);
}

#[test]
fn ids_start_above_those_of_earlier_runs_and_are_kept_ahead_of_use() {
    let mut manager = Manager::empty();
    manager.state = State::new(manager.state.settings.clone());
    manager.event(Event::Started { last_job_id: 500 });
    manager.register(RPI4, "rpi4");
    let actions = manager.start("rpi4", "httpd.service");
    assert_eq!(actions[0], Action::KeepJobIds(500 + limits::JOB_ID_BLOCK));
    assert_eq!(
        manager.state.jobs.running.keys().collect::<Vec<_>>(),
        [&501]
    );
    let mut kept = 0;
    for _ in 1..=limits::JOB_ID_BLOCK {
        let actions = manager.start("rpi4", "httpd.service");
        kept += actions
            .iter()
            .filter(|action| matches!(action, Action::KeepJobIds(_)))
            .count();
        if let Some(request) = sent(&actions).first() {
            manager.refuse(request, CallError::new(error_name::FAILED, "no"));
        }
    }
    assert_eq!(kept, 1);
}

#[test]
fn ids_that_overflow_leave_out_the_jobs_that_still_run() {
    let mut manager = Manager::with_nodes();
    let old = manager.accepted_job();
    assert_eq!(old, 1);
    manager.state.jobs.start_after(u32::MAX);
    let actions = manager.start("rpi4", "httpd.service");
    assert_eq!(actions[0], Action::KeepJobIds(1 + limits::JOB_ID_BLOCK));
    assert_eq!(
        manager.state.jobs.running.keys().collect::<Vec<_>>(),
        [&1, &2]
    );
}

#[test]
fn a_node_has_a_bounded_number_of_jobs() {
    let mut manager = Manager::with_nodes();
    for _ in 0..limits::MAX_JOBS_PER_NODE {
        manager.accepted_job();
    }
    let actions = manager.start("rpi4", "httpd.service");
    assert_eq!(refusal(&actions).unwrap().0, error_name::LIMITS_EXCEEDED);
    assert!(sent(&actions).is_empty());
    manager.done(RPI4, 1, "done");
    assert_eq!(sent(&manager.start("rpi4", "httpd.service")).len(), 1);
}

#[test]
fn words_of_clients_and_agents_are_bounded() {
    let mut manager = Manager::with_nodes();
    let actions = manager.start("rpi4", &"x".repeat(limits::MAX_NAME + 1));
    assert_eq!(refusal(&actions).unwrap().0, error_name::INVALID_ARGS);
    let id = manager.accepted_job();
    let actions = manager.done(RPI4, id, &"é".repeat(1 << 20));
    let Some(Signal::JobRemoved { result, .. }) = signals(&actions).first().copied() else {
        panic!("{actions:?}");
    };
    assert_eq!(result.len(), limits::MAX_NAME - 1);
}

#[test]
fn a_job_whose_client_is_gone_with_its_bus_is_announced_all_the_same() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.start("rpi4", "httpd.service"))[0].clone();
    let reason = "gone".to_owned();
    manager.event(Event::BusLost { reason });
    let actions = visible(manager.answer(&request, Body::default()));
    assert_eq!(actions, [Action::Emit(Signal::JobNew { id: 1 })]);
}

#[test]
fn every_request_for_a_job_is_logged_with_its_caller() {
    let mut manager = Manager::with_nodes();
    let asked = manager.start("rpi4", "httpd.service");
    assert!(asked.contains(&Action::LookUpClient(":1.5".to_owned())));
    let credentials = Some(crate::core::Credentials { uid: 0, pid: 42 });
    let client = ":1.5".to_owned();
    let known = manager.event(Event::ClientKnown {
        client,
        credentials,
    });
    let line =
        "Job 1: StartUnit httpd.service on 'rpi4', mode replace, asked by :1.5 (uid 0, pid 42)";
    assert_eq!(logged(&known), [(Level::Info, line)]);
}

/// `StartTransientUnit` with one property and one further unit, in either byte order.
fn transient(endian: marshal::Endian) -> Method {
    let mut writer = marshal::Writer::with_order(endian, 0);
    let property = |writer: &mut marshal::Writer| {
        writer.array(8, |writer| {
            writer.align(8);
            writer.str("CPUWeight");
            writer.signature("t");
            writer.u64(7);
        });
    };
    writer.str("made.service");
    writer.str("fail");
    property(&mut writer);
    writer.array(8, |writer| {
        writer.align(8);
        writer.str("other.service");
        property(writer);
    });
    let arguments = Body {
        signature: "ssa(sv)a(sa(sv))".into(),
        endian,
        bytes: writer.into_bytes(),
    };
    let (unit, mode) = ("made.service".to_owned(), "fail".to_owned());
    Method::StartTransientUnit {
        unit,
        mode,
        arguments,
    }
}

#[test]
fn a_transient_unit_is_started_by_a_job_with_its_number_at_the_end() {
    for endian in [marshal::Endian::Little, marshal::Endian::Big] {
        let mut manager = Manager::with_nodes();
        let method = transient(endian);
        let Method::StartTransientUnit { arguments, .. } = &method else {
            unreachable!()
        };
        let before = arguments.clone();
        let asked = manager.call(Object::Node("rpi4".to_owned()), method);
        let request = sent(&asked)[0].clone();
        let ToPeer::Call { method, arguments } = &request.message else {
            panic!("{request:?}");
        };
        assert_eq!(method, "StartTransientUnitJob");
        assert_eq!(arguments.signature, "ssa(sv)a(sa(sv))u");
        marshal::validate(&arguments.signature, &arguments.bytes, endian).unwrap();
        assert!(arguments.bytes.starts_with(&before.bytes));
        let mut reader = arguments.reader();
        for part in ["s", "s", "a(sv)", "a(sa(sv))"] {
            reader.skip(part.as_bytes()).unwrap();
        }
        assert_eq!(reader.u32(), Ok(1));

        let accepted = manager.answer(&request, Body::default());
        assert_eq!(signals(&accepted), [&Signal::JobNew { id: 1 }]);
        let properties = manager.state.properties(&Object::Job(1), "").unwrap();
        let kind = properties.iter().find(|entry| entry.0 == "JobType");
        assert_eq!(kind.unwrap().1, Value::Str("start".to_owned()));
        assert!(!signals(&manager.done(RPI4, 1, "done")).is_empty());
    }
}

#[test]
fn an_agent_without_transient_jobs_is_named() {
    let mut manager = Manager::with_nodes();
    let method = transient(marshal::Endian::Little);
    let request = sent(&manager.call(Object::Node("rpi4".to_owned()), method))[0].clone();
    let error = CallError::new(error_name::UNKNOWN_METHOD, "Unknown method X.");
    let text = "Node 'rpi4' does not offer StartTransientUnitJob: Unknown method X.";
    let refused = manager.refuse(&request, error);
    assert_eq!(refusal(&refused), Some((error_name::NOT_SUPPORTED, text)));
    assert!(signals(&refused).is_empty());
}
