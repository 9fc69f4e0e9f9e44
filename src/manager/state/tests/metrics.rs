//! How long jobs and starts take, and what happened how often.

use super::*;
use crate::bus::{Value, body::Entry, error_name};

fn switch(manager: &mut Manager, enabled: bool) -> Vec<Action> {
    manager.call(Object::Manager, Method::SetMetrics { enabled })
}

fn is_command(sent: &Sent, name: &str) -> bool {
    matches!(&sent.message, ToPeer::CallWithoutReply { method, arguments }
        if method == name && arguments.bytes.is_empty())
}

fn time_told(manager: &mut Manager, peer: PeerId, unit: &str, method: &str) -> Vec<Action> {
    let (unit, method) = (unit.to_owned(), method.to_owned());
    let took_us = 5_000;
    manager.message(
        peer,
        FromPeer::JobTime {
            unit,
            method,
            took_us,
        },
    )
}

fn measured(id: u32, job_us: u64, unit_us: u64) -> Signal {
    Signal::StartUnitJobMetrics {
        node: "rpi4".to_owned(),
        id,
        unit: "httpd.service".to_owned(),
        job_us,
        unit_us,
    }
}

/// A manager that measures, and a job of `rpi4`.
fn measuring() -> (Manager, u32) {
    let mut manager = Manager::with_nodes();
    switch(&mut manager, true);
    let job = manager.accepted_job();
    (manager, job)
}

fn time(micros: u64) -> Body {
    Body::of(&(Value::U64(micros),))
}

#[test]
fn they_are_switched_once_and_every_agent_is_told() {
    let mut manager = Manager::empty();
    manager.register(LAPTOP, "laptop");
    let refused = switch(&mut manager, false);
    let expected = (error_name::INCONSISTENT_MESSAGE, "Metrics already disabled");
    assert_eq!(refusal(&refused), Some(expected));
    assert!(refusal(&manager.call(Object::Metrics, Method::Introspect)).is_some());

    let enabled = switch(&mut manager, true);
    let told = sent(&enabled);
    assert!(told.len() == 1 && is_command(&told[0], "EnableMetrics"));
    assert_eq!(answer_of(&enabled), &Body::default());
    assert!(refusal(&manager.call(Object::Metrics, Method::Introspect)).is_none());
    let refused = switch(&mut manager, true);
    let expected = (error_name::INCONSISTENT_MESSAGE, "Metrics already enabled");
    assert_eq!(refusal(&refused), Some(expected));

    // A node that comes later is told before it has its answer.
    let told = sent(&manager.register(RPI4, "rpi4"));
    assert!(is_command(&told[0], "EnableMetrics"));
    assert_eq!(told[1].message, ToPeer::Return { reply_serial: 1 });

    let told = sent(&switch(&mut manager, false));
    assert!(told.len() == 2 && told.iter().all(|sent| is_command(sent, "DisableMetrics")));
    assert!(refusal(&manager.call(Object::Metrics, Method::Introspect)).is_some());
}

#[test]
fn a_start_is_measured_around_its_end() {
    let (mut manager, job) = measuring();
    manager.freeze(Duration::from_millis(7));
    let told = visible(time_told(&mut manager, RPI4, "httpd.service", "StartUnit"));
    let expected = Signal::AgentJobMetrics {
        node: "rpi4".to_owned(),
        unit: "httpd.service".to_owned(),
        method: "StartUnit".to_owned(),
        took_us: 5_000,
    };
    assert_eq!(told, [Action::Emit(expected)]);

    let ended = manager.done(RPI4, job, "done");
    assert_eq!(visible(ended.clone())[0], removed(job, "done"));
    let asked = sent(&ended);
    let properties = [
        "InactiveExitTimestampMonotonic",
        "ActiveEnterTimestampMonotonic",
    ];
    assert_eq!(asked.len(), properties.len());
    for (sent, property) in asked.iter().zip(properties) {
        let unit = "org.freedesktop.systemd1.Unit";
        let arguments = Body::of(&("httpd.service", unit, property));
        let method = "GetUnitProperty".to_owned();
        assert_eq!(sent.message, ToPeer::Call { method, arguments });
    }
    // What the answers take is not part of the job's time.
    manager.freeze(SECOND);
    assert!(signals(&manager.answer(&asked[1], time(5_500))).is_empty());
    let actions = manager.answer(&asked[0], time(2_000));
    assert_eq!(signals(&actions), [&measured(job, 7_000, 3_500)]);
}

#[test]
fn a_unit_that_did_not_become_active_has_no_time() {
    let error = || CallError::new(error_name::FAILED, "?");
    for answers in [
        [Ok(time(9_000)), Ok(time(2_000))],
        [Ok(time(9_000)), Err(error())],
        [Err(error()), Err(error())],
        [Ok(Body::of(&(Value::Str("x".to_owned()),))), Ok(time(1))],
        [Ok(Body::of(&("x",))), Ok(time(1))],
    ] {
        let (mut manager, job) = measuring();
        let asked = sent(&manager.done(RPI4, job, "failed"));
        let mut all = Vec::new();
        for (asked, answer) in asked.iter().zip(answers) {
            all.extend(match answer {
                Ok(body) => manager.answer(asked, body),
                Err(error) => manager.refuse(asked, error),
            });
        }
        assert_eq!(signals(&all), [&measured(job, 0, 0)]);
    }
}

#[test]
fn only_starts_whose_end_was_reported_are_measured() {
    let (mut manager, _) = measuring();
    let method = Method::QueueJob {
        kind: JobKind::Stop,
        unit: "a.service".to_owned(),
        mode: "replace".to_owned(),
    };
    let request = sent(&manager.call(Object::Node("rpi4".to_owned()), method))[0].clone();
    manager.answer(&request, Body::default());
    assert!(sent(&manager.done(RPI4, 2, "done")).is_empty());
    // The first job ends with its node.
    let lost = manager.lose(RPI4);
    assert!(lost.contains(&removed(1, "node-lost")));
    assert!(sent(&lost).is_empty());
}

#[test]
fn an_end_before_the_acceptance_counts_from_when_it_was_told() {
    let mut manager = Manager::with_nodes();
    switch(&mut manager, true);
    let request = sent(&manager.start("rpi4", "httpd.service"))[0].clone();
    manager.freeze(Duration::from_millis(3));
    manager.done(RPI4, 1, "done");
    manager.freeze(SECOND);
    let asked = sent(&manager.answer(&request, Body::default()));
    manager.answer(&asked[0], time(1));
    let actions = manager.answer(&asked[1], time(2));
    assert_eq!(signals(&actions), [&measured(1, 3_000, 1)]);
}

#[test]
fn the_loss_of_the_node_ends_the_wait_for_its_times() {
    let (mut manager, job) = measuring();
    manager.done(RPI4, job, "done");
    let lost = manager.lose(RPI4);
    assert_eq!(signals(&lost)[0], &measured(job, 0, 0));
}

#[test]
fn a_node_times_only_its_own_jobs_and_each_once() {
    let (mut manager, _) = measuring();
    for (peer, unit, method) in [
        (LAPTOP, "httpd.service", "StartUnit"),
        (RPI4, "other.service", "StartUnit"),
        (RPI4, "httpd.service", "StopUnit"),
        (9, "httpd.service", "StartUnit"),
    ] {
        assert!(signals(&time_told(&mut manager, peer, unit, method)).is_empty());
    }
    let tell = |manager: &mut Manager| {
        signals(&time_told(manager, RPI4, "httpd.service", "StartUnit")).len()
    };
    assert_eq!((tell(&mut manager), tell(&mut manager)), (1, 0));
}

#[test]
fn nothing_is_told_while_they_are_disabled() {
    let (mut manager, job) = measuring();
    let asked = sent(&manager.done(RPI4, job, "done"));
    let second = manager.accepted_job();
    switch(&mut manager, false);
    assert!(signals(&time_told(&mut manager, RPI4, "httpd.service", "StartUnit")).is_empty());
    for asked in &asked {
        assert!(signals(&manager.answer(asked, time(1))).is_empty());
    }
    assert!(sent(&manager.done(RPI4, second, "done")).is_empty());
}

fn counters(manager: &mut Manager) -> Vec<(&'static str, u64)> {
    let count = |Entry(name, value)| match value {
        Value::U64(count) => (name, count),
        other => panic!("{name} is {other:?}"),
    };
    let all = manager.state.counters.properties();
    all.into_iter()
        .map(count)
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn what_happens_is_counted() {
    let mut manager = Manager::with_nodes();
    assert_eq!(counters(&mut manager), [("Registrations", 2)]);
    let first = manager.accepted_job();
    let second = manager.accepted_job();
    manager.accepted_job();
    manager.done(RPI4, first, "done");
    manager.done(RPI4, second, "failed");
    manager.relay("rpi4", "Reload", Body::default());
    manager.relay("rpi4", "Reload", Body::default());
    manager.lose(RPI4);
    manager.relay("rpi4", "Reload", Body::default());
    manager.register(8, "toaster");
    manager.register(9, "rpi4");
    manager.relay("rpi4", "Reload", Body::default());
    manager.wait_with(limits::REQUEST, |manager| {
        manager.message(9, FromPeer::Heartbeat);
        manager.message(LAPTOP, FromPeer::Heartbeat);
    });
    manager.event(Event::BusCongested(true));
    manager.relay("rpi4", "Reload", Body::default());
    let reason = "not a valid message".to_owned();
    manager.event(Event::PeerDropped { peer: 9, reason });
    manager.event(Event::QueueHighWater(event::QueueHighWater {
        agent_bytes: 70,
        bus_bytes: 0,
        events: 9,
    }));
    let expected = [
        ("Requests", 8),
        ("RequestsRefused", 5),
        ("RequestsTimedOut", 1),
        ("RequestsOverLimit", 1),
        ("Jobs", 3),
        ("JobsFailed", 2),
        ("JobsLost", 1),
        ("Registrations", 3),
        ("RegistrationsRefused", 1),
        ("Reconnects", 1),
        ("Disconnects", 2),
        ("PeersDropped", 2),
        ("JobsHighWater", 3),
        ("NodeRequestsHighWater", 2),
        ("AgentQueueHighWater", 70),
        ("EventQueueHighWater", 9),
    ];
    assert_eq!(counters(&mut manager), expected);
    // A stop closes connections that are not at fault.
    manager.event(Event::Stop);
    assert!(counters(&mut manager).contains(&("PeersDropped", 2)));
}

#[test]
fn counters_are_properties_of_the_manager_as_described() {
    use crate::manager::api::interfaces::{COUNTERS, MANAGER};
    let manager = Manager::with_nodes();
    let named = |interface: &str| -> Vec<&str> {
        let found = manager
            .state
            .properties(&Object::Manager, interface, Dialect::Hirte);
        found.unwrap().into_iter().map(|entry| entry.0).collect()
    };
    let described = |interface: &crate::bus::interface::Interface| -> Vec<&str> {
        interface
            .properties
            .iter()
            .map(|property| property.name)
            .collect()
    };
    assert_eq!(named(COUNTERS.name), described(&COUNTERS));
    assert_eq!(named(MANAGER.name), described(&MANAGER));
    assert_eq!(
        named(""),
        [described(&MANAGER), described(&COUNTERS)].concat()
    );
}
