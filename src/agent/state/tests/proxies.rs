//! Proxies, the units that other nodes depend on, and both over every loss.

use super::*;
use crate::{
    agent::state::{Method, Target},
    limits,
};

const SERVICE: &str = "hirte-proxy@bar_db.service";

fn target(service: &str, node: &str, unit: &str) -> Target {
    Target {
        service: service.to_owned(),
        node: node.to_owned(),
        unit: unit.to_owned(),
    }
}

fn database() -> Target {
    target(SERVICE, "bar", "db.service")
}

/// The path of a proxy, counted from 1: numbers begin with the time of the start.
fn path(number: u32) -> String {
    let start = u32::try_from(START_SINCE_BOOT & u64::from(u32::MAX)).unwrap();
    names::proxy_path(start + number)
}

fn new(node: &str, unit: &str, number: u32) -> Seen {
    let path = ObjectPath(path(number));
    Seen::Signal("ProxyNew".to_owned(), Body::of(&(node, unit, path)))
}

fn removed(node: &str, unit: &str) -> Seen {
    Seen::Signal("ProxyRemoved".to_owned(), Body::of(&(node, unit)))
}

/// The one order among the calls of systemd: its number.
fn order(seen: &[Seen], member: &str, unit: &str) -> u32 {
    let orders = seen
        .iter()
        .filter(|seen| matches!(seen, Seen::Call(member, ..) if member.ends_with("Unit")));
    match orders.collect::<Vec<_>>().as_slice() {
        [Seen::Call(found, serial, body)]
            if found == member && *body == Body::of(&(unit, "replace")) =>
        {
            *serial
        }
        other => panic!("{other:?}"),
    }
}

fn stop(seen: &[Seen], unit: &str) -> u32 {
    order(seen, "StopUnit", unit)
}

impl Driver {
    fn create(&mut self, serial: u32, target: Target) {
        self.local_call(":1.7", serial, Method::CreateProxy(target));
    }

    /// The manager calls a proxy.
    fn proxy(&mut self, number: u32, member: &str, body: Body) -> u32 {
        self.next_call += 1;
        let serial = self.next_call;
        self.manager_says(FromManager::Call(IncomingCall {
            serial,
            expects_reply: true,
            path: path(number),
            interface: names::INTERNAL_PROXY_INTERFACE.to_owned(),
            member: member.to_owned(),
            body,
        }));
        serial
    }

    fn target_is(&mut self, number: u32, active: &str, reason: &str) {
        self.proxy(
            number,
            "TargetStateChanged",
            Body::of(&(active, "sub", reason)),
        );
    }

    fn established(&mut self, number: u32, target: Target) {
        self.create(1, target);
        self.target_is(number, "active", "real");
        self.look();
    }

    fn lose_manager(&mut self) {
        self.manager_says(FromManager::Closed("reset".to_owned()));
        self.pass(3000);
        self.look();
    }

    fn lose_systemd(&mut self) {
        self.systemd_says(FromSystemd::Closed("reset".to_owned()));
        self.pass(1000);
        self.look();
    }

    fn unit_is(&mut self, unit: &str, active: &str) {
        self.systemd_says(FromSystemd::UnitProperties {
            unit: unit.to_owned(),
            interface: names::SYSTEMD_UNIT_INTERFACE.to_owned(),
            changed: properties(&[("ActiveState", active), ("SubState", "sub")]),
        });
    }
}

#[test]
fn a_proxy_is_answered_when_its_target_is_active() {
    let mut driver = Driver::connected(settings());
    driver.create(1, database());
    let done = driver.look();
    driver.done.clone_from(&done);
    assert_eq!(driver.sent_to_manager(), [new("bar", "db.service", 1)]);
    driver.done = done;
    assert_eq!(driver.told_on_bus(), ["watch :1.7"]);
    // What is known of an offline or a not yet started target is no failure.
    let call = driver.proxy(1, "TargetNew", Body::of(&("virtual",)));
    assert_eq!(
        driver.sent_to_manager(),
        [Seen::Return(call, Body::default())]
    );
    driver.target_is(1, "inactive", "virtual");
    driver.proxy(1, "TargetRemoved", Body::of(&("virtual",)));
    driver.target_is(1, "activating", "real");
    assert_eq!(driver.told_on_bus(), Vec::<String>::new());
    driver.target_is(1, "active", "virtual");
    assert_eq!(driver.told_on_bus(), ["unwatch :1.7", "1 "]);
    driver.target_is(1, "active", "real");
    driver.target_is(1, "deactivating", "real");
    assert_eq!(driver.told_on_bus(), Vec::<String>::new());
}

#[test]
fn a_target_that_does_not_start_is_an_error() {
    for end in ["failed", "inactive", "gone"] {
        let mut driver = Driver::connected(settings());
        driver.create(1, database());
        driver.look();
        match end {
            "gone" => drop(driver.proxy(1, "TargetRemoved", Body::of(&("real",)))),
            state => driver.target_is(1, state, "real"),
        }
        let done = driver.look();
        driver.done.clone_from(&done);
        let told = driver.told_on_bus();
        assert_eq!(
            told,
            [
                "unwatch :1.7",
                "1 Proxy service failed to start (org.containers.hirte.ActivationFailed)"
            ]
        );
        driver.done.clone_from(&done);
        assert!(driver.sent_to_systemd().is_empty());
        driver.done = done;
        assert_eq!(
            driver.sent_to_manager()[1..],
            [removed("bar", "db.service")]
        );
        // It can be tried again.
        driver.create(2, database());
        assert_eq!(driver.sent_to_manager(), [new("bar", "db.service", 2)]);
    }
}

#[test]
fn a_target_that_ends_later_stops_the_local_service() {
    for end in ["failed", "inactive", "gone", "refused"] {
        let mut driver = Driver::connected(settings());
        driver.established(1, database());
        driver.target_is(1, "inactive", "virtual");
        assert_eq!(driver.sent_to_systemd(), []);
        match end {
            "gone" => drop(driver.proxy(1, "TargetRemoved", Body::of(&("real",)))),
            "refused" => drop(driver.proxy(1, "Error", Body::of(&("Not allowed",)))),
            state => driver.target_is(1, state, "real"),
        }
        let done = driver.look();
        driver.done.clone_from(&done);
        assert_eq!(
            driver.sent_to_manager()[1..],
            [removed("bar", "db.service")]
        );
        driver.done = done;
        stop(&driver.sent_to_systemd(), SERVICE);
    }
}

#[test]
fn a_second_proxy_for_a_unit_is_refused_and_others_are_not() {
    let mut driver = Driver::connected(settings());
    driver.create(1, database());
    driver.look();
    driver.create(2, database());
    driver.create(3, target("other.service", "bar", "db.service"));
    let exists = "Proxy already exists (org.freedesktop.DBus.Error.AddressInUse)";
    assert_eq!(
        driver.told_on_bus(),
        [format!("2 {exists}"), format!("3 {exists}")]
    );
    driver.create(4, target("a.service", "bar", "web.service"));
    driver.create(5, target("b.service", "foo", "db.service"));
    let sent = driver.sent_to_manager();
    assert_eq!(
        sent,
        [new("bar", "web.service", 2), new("foo", "db.service", 3)]
    );
    driver.create(6, target("a.service", "bar", "web.socket"));
    driver.create(7, target("", "bar", "web.service"));
    driver.create(8, target("a.service", &"b".repeat(256), "web.service"));
    let told = driver.told_on_bus();
    assert!(told.len() == 3 && told.iter().all(|text| text.contains("InvalidArgs")));
}

#[test]
fn a_proxy_ends_when_it_is_removed_its_caller_leaves_or_its_unit_ends() {
    let stopped = "1 Proxy service stopped (org.freedesktop.DBus.Error.Failed)".to_owned();
    let remove = |driver: &mut Driver| {
        driver.local_call(":1.9", 2, Method::RemoveProxy(database()));
    };
    let leave = |driver: &mut Driver| {
        driver.event(Event::Bus(FromBus::ClientLeft(":1.7".to_owned())));
    };
    let end = |driver: &mut Driver| driver.unit_is(SERVICE, "failed");
    let ends: [&dyn Fn(&mut Driver); 3] = [&remove, &leave, &end];
    for (index, ends) in ends.iter().enumerate() {
        let mut driver = Driver::connected(settings());
        driver.unit_is(SERVICE, "activating");
        driver.create(1, database());
        driver.look();
        ends(&mut driver);
        let done = driver.look();
        driver.done.clone_from(&done);
        assert_eq!(driver.sent_to_manager(), [removed("bar", "db.service")]);
        driver.done = done;
        let told = driver.told_on_bus();
        assert_eq!(told[..2], ["unwatch :1.7".to_owned(), stopped.clone()]);
        assert_eq!(told.len(), if index == 0 { 3 } else { 2 });
        // A late call of the manager finds nothing.
        driver.target_is(1, "active", "real");
        assert!(matches!(
            driver.sent_to_manager().as_slice(),
            [Seen::Error(_, name)] if name.ends_with("UnknownObject")
        ));
        remove(&mut driver);
        assert_eq!(driver.told_on_bus(), ["2 "]);
    }
    // An established one does not need its caller.
    let mut driver = Driver::connected(settings());
    driver.unit_is(SERVICE, "activating");
    driver.established(1, database());
    driver.unit_is(SERVICE, "active");
    leave(&mut driver);
    assert_eq!(driver.sent_to_manager(), []);
    driver.unit_is(SERVICE, "inactive");
    assert_eq!(driver.sent_to_manager(), [removed("bar", "db.service")]);
}

#[test]
fn proxies_outlive_the_loss_of_the_manager() {
    let mut driver = Driver::connected(settings());
    driver.established(1, database());
    driver.create(2, target("a.service", "bar", "web.service"));
    driver.lose_manager();
    driver.create(3, target("b.service", "foo", "web.service"));
    assert_eq!(driver.sent_to_manager(), []);
    driver.register();
    let sent = driver.sent_to_manager();
    assert_eq!(
        sent[1..],
        [
            new("bar", "db.service", 1),
            new("bar", "web.service", 2),
            new("foo", "web.service", 3)
        ]
    );
    driver.target_is(2, "active", "virtual");
    assert_eq!(driver.told_on_bus(), ["2 "]);
    driver.lose_manager();
    driver.local_call(":1.7", 4, Method::RemoveProxy(database()));
    driver.look();
    driver.register();
    let sent = driver.sent_to_manager();
    assert_eq!(
        sent[1..],
        [new("bar", "web.service", 2), new("foo", "web.service", 3)]
    );
}

#[test]
fn a_caller_that_lost_the_bus_takes_its_proxy_up_again() {
    let mut driver = Driver::connected(settings());
    driver.create(1, database());
    driver.event(Event::Bus(FromBus::Lost("gone".to_owned())));
    driver.pass(200);
    driver.event(Event::Bus(FromBus::Attached));
    driver.look();
    driver.local_call(":1.3", 1, Method::CreateProxy(database()));
    assert_eq!(driver.told_on_bus(), ["watch :1.3"]);
    driver.target_is(1, "active", "real");
    assert_eq!(driver.told_on_bus(), ["unwatch :1.3", "1 "]);
}

impl Driver {
    fn lose_bus(&mut self, millis: u64) {
        self.event(Event::Bus(FromBus::Lost("gone".to_owned())));
        self.pass(millis);
        self.event(Event::Bus(FromBus::Attached));
    }
}

#[test]
fn a_caller_that_lost_the_bus_is_told_what_happened_meanwhile() {
    let mut driver = Driver::connected(settings());
    driver.create(1, database());
    driver.event(Event::Bus(FromBus::Lost("gone".to_owned())));
    driver.target_is(1, "active", "real");
    driver.lose_bus(200);
    driver.look();
    driver.local_call(":1.3", 1, Method::CreateProxy(database()));
    driver.local_call(":1.4", 2, Method::CreateProxy(database()));
    let told = driver.told_on_bus();
    assert_eq!(told[0], "1 ");
    assert!(told[1].starts_with("2 Proxy already exists"), "{told:?}");
}

#[test]
fn a_proxy_whose_caller_does_not_come_back_ends() {
    let return_time = u64::try_from(limits::AGENT_RETURN.as_millis()).unwrap();
    for is_active in [false, true] {
        let mut driver = Driver::connected(settings());
        driver.create(1, database());
        driver.lose_bus(200);
        if is_active {
            driver.target_is(1, "active", "real");
        }
        driver.look();
        driver.heard_for(return_time - 1);
        // Whoever waits for an answer is not concerned.
        driver.create(2, Target::parse("bar_web.service").unwrap());
        let told = driver.sent_to_manager();
        assert_eq!(told.last(), Some(&new("bar", "web.service", 2)));
        assert!(!told.contains(&removed("bar", "db.service")));
        driver.heard_for(1);
        assert_eq!(driver.sent_to_manager(), [removed("bar", "db.service")]);
    }
}

/// A start of the unit takes the place of its stop, or comes just before what is told of its end.
#[test]
fn a_unit_of_a_proxy_that_is_active_has_a_proxy() {
    let mut driver = Driver::connected(settings());
    driver.established(1, database());
    driver.unit_is(SERVICE, "active");
    driver.target_is(1, "failed", "real");
    let serial = stop(&driver.sent_to_systemd(), SERVICE);
    driver.unit_is(SERVICE, "deactivating");
    driver.unit_is(SERVICE, "active");
    assert_eq!(driver.sent_to_manager(), []);
    driver.answer(serial, Ok(job_path(7)));
    let result = "canceled".to_owned();
    driver.systemd_says(FromSystemd::JobRemoved { number: 7, result });
    assert_eq!(driver.sent_to_manager(), [new("bar", "db.service", 2)]);

    driver.unit_is(SERVICE, "inactive");
    assert_eq!(driver.sent_to_manager(), [removed("bar", "db.service")]);
    driver.unit_is(SERVICE, "active");
    assert_eq!(driver.sent_to_manager(), [new("bar", "db.service", 3)]);
}

#[test]
fn a_name_with_underscores_is_split_until_the_manager_knows_the_node() {
    let mut driver = Driver::connected(settings());
    let first = Target::parse("my_node_db.service").unwrap();
    driver.create(1, first.clone());
    assert_eq!(driver.sent_to_manager(), [new("my", "node_db.service", 1)]);
    let no_such_node = || Body::of(&("No such node",));
    driver.proxy(1, "Error", no_such_node());
    let sent = driver.sent_to_manager();
    assert_eq!(
        sent[1..],
        [
            removed("my", "node_db.service"),
            new("my_node", "db.service", 2)
        ]
    );
    driver.target_is(2, "active", "real");
    assert_eq!(driver.told_on_bus(), ["unwatch :1.7", "1 "]);
    // Who removes it knows the first split only.
    driver.local_call(":1.7", 2, Method::RemoveProxy(first.clone()));
    assert_eq!(driver.sent_to_manager(), [removed("my_node", "db.service")]);

    driver.create(3, first);
    driver.proxy(3, "Error", no_such_node());
    driver.look();
    driver.proxy(4, "Error", no_such_node());
    let told = driver.told_on_bus();
    assert_eq!(
        told[1],
        "3 No such node (org.containers.hirte.ActivationFailed)"
    );
}

#[test]
fn an_agent_that_restarts_finds_its_proxies() {
    let mut driver = Driver::start(settings());
    driver.answer_systemd_setup(
        &[],
        &[
            (SERVICE, "active", "exited"),
            ("hirte-proxy@bar_web.service", "activating", "start"),
            ("hirte-proxy@bar_old.service", "failed", "failed"),
            ("hirte-proxy@nonsense.service", "active", "exited"),
        ],
    );
    driver.look();
    driver.register();
    assert_eq!(driver.sent_to_manager()[1..], [new("bar", "db.service", 1)]);
    driver.target_is(1, "failed", "real");
    stop(&driver.sent_to_systemd(), SERVICE);
}

#[test]
fn what_ended_while_systemd_was_away_is_found_and_what_was_to_stop_is_stopped() {
    let other = "hirte-proxy@bar_web.service";
    let mut driver = Driver::connected(settings());
    for (number, service) in [(1, SERVICE), (2, other)] {
        driver.unit_is(service, "activating");
        driver.established(number, Target::parse(&service[12..]).unwrap());
        driver.unit_is(service, "active");
    }
    driver.lose_systemd();
    driver.target_is(2, "failed", "real");
    driver.look();
    driver.answer_systemd_setup(&[], &[(other, "active", "exited")]);
    let done = driver.look();
    driver.done.clone_from(&done);
    assert_eq!(driver.sent_to_manager(), [removed("bar", "db.service")]);
    driver.done = done;
    stop(&driver.sent_to_systemd(), other);
}

const KEEPER: &str = "hirte-dep@db.service";

fn start(seen: &[Seen]) -> u32 {
    order(seen, "StartUnit", KEEPER)
}

impl Driver {
    fn depend(&mut self) -> u32 {
        self.call("StartDep", Body::of(&("db.service",)));
        start(&self.sent_to_systemd())
    }
}

#[test]
fn units_that_others_depend_on_are_kept() {
    let mut driver = Driver::connected(settings());
    let serial = driver.depend();
    driver.answer(serial, Ok(job_path(7)));
    let result = "done".to_owned();
    driver.systemd_says(FromSystemd::JobRemoved { number: 7, result });
    assert_eq!(driver.sent_to_manager(), []);
    driver.call("StopDep", Body::of(&("db.service",)));
    let serial = stop(&driver.sent_to_systemd(), KEEPER);
    let gone = CallError::from_reply(
        "org.freedesktop.systemd1.NoSuchUnit".to_owned(),
        &Body::of(&("not loaded",)),
    );
    driver.answer(serial, Err(gone));
    assert_eq!(driver.log(), Vec::<String>::new());
    let refused = driver.call("StartDep", Body::of(&("db.socket",)));
    assert!(matches!(
        driver.sent_to_manager().as_slice(),
        [Seen::Error(call, _)] if *call == refused
    ));
}

/// Whoever waits for a unit has to hear that it does not come, also where it never changed.
#[test]
fn a_unit_that_can_not_start_is_told_as_what_it_is() {
    let refusal = || CallError::new("org.freedesktop.systemd1.NoSuchUnit", "not found");
    let dead = |reason: &str| {
        let body = Body::of(&("db.service", "inactive", "sub", reason));
        Seen::Signal("UnitStateChanged".to_owned(), body)
    };
    // It is loaded, and systemd refuses.
    let mut driver = Driver::connected(settings());
    driver.unit_is("db.service", "inactive");
    let serial = driver.depend();
    driver.answer(serial, Err(refusal()));
    assert_eq!(driver.sent_to_manager(), [dead("real")]);
    // It is loaded, and what it needs fails.
    let serial = driver.depend();
    driver.answer(serial, Ok(job_path(8)));
    let result = "dependency".to_owned();
    driver.systemd_says(FromSystemd::JobRemoved { number: 8, result });
    assert_eq!(driver.sent_to_manager(), [dead("real")]);
    // It tries again by itself.
    let serial = driver.depend();
    driver.unit_is("db.service", "activating");
    driver.answer(serial, Ok(job_path(9)));
    driver.look();
    let result = "dependency".to_owned();
    driver.systemd_says(FromSystemd::JobRemoved { number: 9, result });
    assert_eq!(driver.sent_to_manager(), []);
    // Nobody knows it.
    let mut driver = Driver::connected(settings());
    let serial = driver.depend();
    driver.answer(serial, Err(refusal()));
    let unit = |member: &str, body| Seen::Signal(member.to_owned(), body);
    assert_eq!(
        driver.sent_to_manager(),
        [
            unit("UnitNew", Body::of(&("db.service", "real"))),
            unit(
                "UnitStateChanged",
                Body::of(&("db.service", "inactive", "dead", "real"))
            ),
            unit("UnitRemoved", Body::of(&("db.service",)))
        ]
    );
    // Nobody wants it any more.
    let serial = driver.depend();
    driver.call("StopDep", Body::of(&("db.service",)));
    driver.look();
    driver.answer(serial, Err(refusal()));
    assert_eq!(driver.sent_to_manager(), []);
}

/// systemd loads a unit for whoever looks at it, and unloads it at once. To those who wait for it this
/// would be its end.
#[test]
fn a_unit_that_is_unloaded_just_before_its_start_has_not_ended() {
    let unit = || "db.service".to_owned();
    let removed = |driver: &mut Driver| {
        driver.systemd_says(FromSystemd::UnitRemoved { unit: unit() });
    };
    let told = |driver: &mut Driver| {
        let seen = driver.sent_to_manager().into_iter();
        let told = seen.filter_map(|seen| match seen {
            Seen::Signal(member, _) => Some(member),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let depend = || {
        let mut driver = Driver::connected(settings());
        driver.call("Subscribe", Body::of(&("db.service",)));
        driver.unit_is("db.service", "inactive");
        driver.look();
        let serial = driver.depend();
        removed(&mut driver);
        assert_eq!(told(&mut driver), Vec::<String>::new());
        (driver, serial)
    };
    let end = |driver: &mut Driver, result: &str| {
        let result = result.to_owned();
        driver.systemd_says(FromSystemd::JobRemoved { number: 7, result });
    };

    let (mut driver, serial) = depend();
    driver.answer(serial, Ok(job_path(7)));
    driver.unit_is("db.service", "active");
    assert_eq!(
        told(&mut driver),
        ["UnitStateChanged", "UnitPropertiesChanged"]
    );
    end(&mut driver, "done");
    assert_eq!(told(&mut driver), Vec::<String>::new());
    driver.unit_is("db.service", "inactive");
    removed(&mut driver);
    let ended = ["UnitStateChanged", "UnitPropertiesChanged", "UnitRemoved"];
    assert_eq!(told(&mut driver), ended);

    let (mut driver, serial) = depend();
    driver.answer(serial, Ok(job_path(7)));
    end(&mut driver, "failed");
    assert_eq!(told(&mut driver), ["UnitStateChanged", "UnitRemoved"]);

    let (mut driver, serial) = depend();
    driver.answer(serial, Ok(job_path(7)));
    end(&mut driver, "done");
    assert_eq!(told(&mut driver), ["UnitRemoved"]);

    let (mut driver, _) = depend();
    driver.call("StopDep", Body::of(&("db.service",)));
    assert_eq!(told(&mut driver), ["UnitRemoved"]);
}

#[test]
fn a_dependency_that_systemd_could_not_be_told_is_started_when_it_is_back() {
    let mut driver = Driver::connected(settings());
    driver.lose_systemd();
    driver.call("StartDep", Body::of(&("db.service",)));
    assert_eq!(driver.sent_to_systemd(), []);
    driver.answer_systemd_setup(&[], &[]);
    let serial = start(&driver.sent_to_systemd());
    // Accepted, and not ended before systemd is lost again.
    driver.answer(serial, Ok(job_path(7)));
    driver.lose_systemd();
    driver.answer_systemd_setup(&[], &[]);
    start(&driver.sent_to_systemd());
}

#[test]
fn what_no_node_depends_on_any_more_is_stopped_after_a_registration() {
    let grace = u64::try_from(limits::DEPENDENCY_GRACE.as_millis()).unwrap();
    let stopped = |driver: &mut Driver| {
        let sent = driver.sent_to_systemd();
        sent.iter()
            .any(|seen| matches!(seen, Seen::Call(member, ..) if member == "StopUnit"))
    };
    let mut driver = Driver::start(settings());
    driver.answer_systemd_setup(&[], &[(KEEPER, "active", "exited")]);
    driver.look();
    driver.register();
    driver.heard_for(grace - 1);
    assert!(!stopped(&mut driver));
    driver.heard_for(1);
    assert!(stopped(&mut driver));

    let mut driver = Driver::start(settings());
    driver.answer_systemd_setup(&[], &[(KEEPER, "active", "exited")]);
    driver.register();
    driver.look();
    driver.depend();
    driver.heard_for(grace);
    assert!(!stopped(&mut driver));
    // Without a manager nothing is known, and nothing is stopped.
    driver.lose_manager();
    driver.pass(10 * grace);
    assert!(!stopped(&mut driver));
}

/// What was stopped while no manager could hear of it is told to the one that asks for it, once.
#[test]
fn a_unit_that_ended_without_a_manager_is_not_started_again() {
    let ended = |driver: &mut Driver| {
        driver.call("StartDep", Body::of(&("db.service",)));
        let done = driver.look();
        driver.done.clone_from(&done);
        let orders = driver.sent_to_systemd().into_iter();
        let starts =
            orders.filter(|seen| matches!(seen, Seen::Call(member, ..) if member == "StartUnit"));
        let starts = starts.count();
        driver.done = done;
        let told = driver.sent_to_manager().into_iter();
        let told = told
            .filter(|seen| matches!(seen, Seen::Signal(member, _) if member == "UnitStateChanged"));
        let told: Vec<_> = told.collect();
        assert_eq!(told.len() + starts, 1, "{told:?}");
        starts == 0
    };
    let lives = [
        ("db.service", "active", "running"),
        (KEEPER, "active", "exited"),
    ];
    let end = |driver: &mut Driver| {
        driver.unit_is("db.service", "inactive");
        driver.unit_is(KEEPER, "inactive");
    };
    let register = |driver: &mut Driver| {
        driver.register();
        driver.look();
    };

    // While the manager was away, or had perhaps not heard of it, and only once.
    for is_away in [true, false] {
        let mut driver = Driver::start(settings());
        driver.answer_systemd_setup(&[], &[]);
        register(&mut driver);
        driver.depend();
        driver.unit_is("db.service", "active");
        driver.unit_is(KEEPER, "active");
        if is_away {
            driver.lose_manager();
            end(&mut driver);
        } else {
            end(&mut driver);
            driver.lose_manager();
        }
        register(&mut driver);
        assert!(ended(&mut driver));
        assert!(!ended(&mut driver));
        // A manager that heard of it and asks again wants it started.
        end(&mut driver);
        driver.look();
        assert!(!ended(&mut driver));
    }

    // Before a manager was there that had not heard of it, and unseen by the agent.
    for unseen in [false, true] {
        let mut driver = Driver::start(settings());
        driver.answer_systemd_setup(&[], &lives);
        driver.look();
        if unseen {
            driver.lose_systemd();
            driver.answer_systemd_setup(&[], &[]);
        } else {
            end(&mut driver);
        }
        register(&mut driver);
        assert!(ended(&mut driver));
    }

    // What runs again, what was let go, and what nobody asked for in time is started.
    for case in ["runs", "let go", "late"] {
        let mut driver = Driver::start(settings());
        driver.answer_systemd_setup(&[], &lives);
        end(&mut driver);
        register(&mut driver);
        match case {
            "runs" => driver.unit_is("db.service", "active"),
            "let go" => drop(driver.call("StopDep", Body::of(&("db.service",)))),
            _ => driver.heard_for(u64::try_from(limits::DEPENDENCY_GRACE.as_millis()).unwrap()),
        }
        driver.look();
        assert!(!ended(&mut driver), "{case}");
    }
}

impl Driver {
    /// Time passes with a manager that is heard all the time.
    fn heard_for(&mut self, millis: u64) {
        let end = self.millis() + millis;
        while self.millis() < end {
            self.pass((end - self.millis()).min(1000));
            self.manager_says(FromManager::Signal);
        }
    }
}

#[test]
fn the_number_of_proxies_is_bounded() {
    let mut driver = Driver::connected(settings());
    for index in 0..limits::MAX_PROXIES_PER_NODE {
        driver.create(1, target("a.service", "bar", &format!("{index}.service")));
    }
    driver.look();
    driver.create(2, target("a.service", "bar", "more.service"));
    let told = driver.told_on_bus();
    assert!(
        told.len() == 1 && told[0].contains("LimitsExceeded"),
        "{told:?}"
    );
}
