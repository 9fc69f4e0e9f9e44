//! The agent's bus: its place there, and the calls that need nothing but the agent.

use super::*;
use crate::agent::state::{LocalCall, Method, Object};

impl Driver {
    /// Calls the agent's object; answers are found by the number of the call.
    pub(super) fn local_call(&mut self, client: &str, serial: u32, method: Method) {
        let call = LocalCall {
            client: client.to_owned(),
            serial,
            expects_reply: true,
        };
        let object = Object::Agent;
        self.event(Event::Bus(FromBus::Call {
            call,
            object,
            method,
        }));
    }

    /// What the bus is told since the last look; all is looked at.
    pub(super) fn told_on_bus(&mut self) -> Vec<String> {
        let done = self.look().into_iter();
        done.filter_map(|(_, action)| match action {
            Action::Reply { call, body } => Some(format!("{} {}", call.serial, body.signature)),
            Action::ReplyError { call, error } => Some(format!("{} {error}", call.serial)),
            Action::PropertiesChanged(changed) => {
                let [(name, Value::Str(value))] = changed.as_slice() else {
                    panic!("{changed:?}");
                };
                Some(format!("{name}={value}"))
            }
            Action::WatchClient(client) => Some(format!("watch {client}")),
            Action::UnwatchClient(client) => Some(format!("unwatch {client}")),
            _ => None,
        })
        .collect()
    }

    fn property(&mut self, name: &str) -> Value {
        self.look();
        let (interface, property) = (names::AGENT_INTERFACE.to_owned(), name.to_owned());
        self.local_call(
            ":1.7",
            1,
            Method::GetProperty {
                interface,
                property,
            },
        );
        let done = self.look();
        let [(_, Action::Reply { body, .. })] = done.as_slice() else {
            panic!("{done:?}");
        };
        let mut reader = body.reader();
        match reader.variant().unwrap() {
            ("s", mut value) => Value::Str(value.str().unwrap().to_owned()),
            ("t", mut value) => Value::U64(value.u64().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn word(&mut self, name: &str) -> String {
        match self.property(name) {
            Value::Str(word) => word,
            other => panic!("{other:?}"),
        }
    }

    fn number(&mut self, name: &str) -> u64 {
        match self.property(name) {
            Value::U64(number) => number,
            other => panic!("{other:?}"),
        }
    }
}

fn attempts_at_bus(done: &[(u64, Action)]) -> Vec<u64> {
    let attempts = done.iter();
    attempts
        .filter(|(_, action)| *action == Action::AttachBus)
        .map(|(at, _)| *at)
        .collect()
}

#[test]
fn a_missing_bus_is_tried_again_and_delays_nothing() {
    let mut driver = Driver::start_without_bus(settings());
    let lost = || Event::Bus(FromBus::Lost("no such file".to_owned()));
    driver.answer_systemd_setup(&[], &[]);
    assert_eq!(attempts(&driver.done).len(), 1);
    let is_ready = |driver: &Driver| {
        let ready = driver.done.iter();
        ready.filter(|(_, action)| *action == Action::Ready).count()
    };
    assert_eq!(is_ready(&driver), 0);
    driver.event(lost());
    assert_eq!(is_ready(&driver), 1);
    for wait in [0, 100, 200, 400, 800, 1600] {
        driver.pass(wait);
        driver.event(lost());
    }
    let found = attempts_at_bus(&driver.done);
    let waits: Vec<u64> = found.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [0, 100, 200, 400, 800, 1600]);
    let lines = driver.log();
    let told = lines.iter().filter(|line| line.contains("to the bus"));
    assert_eq!(told.count(), 1, "{lines:?}");
    driver.pass(2000);
    driver.event(Event::Bus(FromBus::Attached));
    assert_eq!(is_ready(&driver), 1);
    let lines = driver.log();
    assert!(lines.contains(&"Acquired the bus name org.containers.hirte.Agent".to_owned()));
}

#[test]
fn a_bus_that_does_not_answer_is_tried_again() {
    let mut driver = Driver::start_without_bus(settings());
    driver.answer_systemd_setup(&[], &[]);
    driver.look();
    driver.pass(21_000);
    assert_eq!(attempts_at_bus(&driver.look()), [20_000]);
}

#[test]
fn a_name_that_is_refused_ends_the_agent_with_a_failure() {
    let mut driver = Driver::connected(settings());
    driver.event(Event::Bus(FromBus::NameRefused {
        name: names::AGENT_BUS_NAME.to_owned(),
        reason: "another program owns it".to_owned(),
    }));
    let done = driver.look();
    let [(_, Action::Log(Level::Error, line)), .., (_, exit)] = done.as_slice() else {
        panic!("{done:?}");
    };
    assert_eq!(
        line,
        "Failed to acquire the bus name org.containers.hirte.Agent: another program owns it"
    );
    assert_eq!(*exit, Action::Exit { status: 1 });
    assert_eq!(driver.state.next_deadline(), None);
}

#[test]
fn properties_tell_of_the_manager() {
    let mut driver = Driver::start(settings());
    assert_eq!(driver.word("Status"), "offline");
    assert_eq!(driver.number("DisconnectTimestampMonotonic"), START);
    assert_eq!(driver.number("LastSeenTimestampMonotonic"), 0);
    driver.now.realtime_us = 1_700_000_000_900_000;
    driver.answer_systemd_setup(&[], &[]);
    driver.look();
    driver.register();
    assert_eq!(driver.told_on_bus(), ["Status=online"]);
    assert_eq!(driver.word("Status"), "online");
    assert_eq!(driver.number("DisconnectTimestamp"), 0);
    assert_eq!(driver.number("LastSeenTimestamp"), 1_700_000_000);
    assert_eq!(driver.number("LastSeenTimestampMonotonic"), START);
    driver.pass(1000);
    driver.look();
    driver.manager_says(FromManager::Closed("reset".to_owned()));
    assert_eq!(driver.told_on_bus(), ["Status=offline"]);
    assert_eq!(
        driver.number("DisconnectTimestampMonotonic"),
        START + 1_000_000
    );
    assert_eq!(driver.number("DisconnectTimestamp"), 1_700_000_000);
    assert_eq!(driver.number("LastSeenTimestampMonotonic"), START);
    // Losing an attempt is no news.
    driver.pass(10);
    driver.look();
    driver.manager_says(FromManager::Closed("refused".to_owned()));
    assert_eq!(driver.told_on_bus(), Vec::<String>::new());
}

#[test]
fn the_settings_of_the_log_are_told_when_they_change() {
    let mut driver = Driver::connected(settings());
    let set = |level| Event::LogSettings {
        level,
        target: "journald".to_owned(),
    };
    driver.event(set(Level::Info));
    assert_eq!(driver.told_on_bus(), ["LogTarget=journald"]);
    driver.call("SetLogLevel", Body::of(&("debug",)));
    assert_eq!(driver.told_on_bus(), ["LogLevel=DEBUG"]);
    assert_eq!(driver.word("LogLevel"), "DEBUG");
    assert_eq!(driver.word("LogTarget"), "journald");
    driver.event(set(Level::Debug));
    assert_eq!(driver.told_on_bus(), Vec::<String>::new());
    driver.event(set(Level::Info));
    assert_eq!(driver.told_on_bus(), ["LogLevel=INFO"]);
}

#[test]
fn a_switch_goes_to_the_other_manager_at_once_and_for_good() {
    const OTHER: &str = "tcp:host=10.0.0.2,port=842";
    let mut driver = Driver::connected(settings());
    let old = driver.manager;
    let same = settings().manager;
    driver.local_call(":1.7", 1, Method::SwitchManager(same));
    let told = driver.told_on_bus();
    assert_eq!(
        told,
        [
            "1 Failed to switch manager because already connected to the manager \
          (org.freedesktop.DBus.Error.Failed)"
        ]
    );
    driver.local_call(":1.7", 2, Method::SwitchManager(OTHER.to_owned()));
    let done = driver.look();
    let place = |wanted: &Action| done.iter().position(|(_, action)| action == wanted);
    let switched = place(&Action::SetManagerAddress(OTHER.to_owned())).unwrap();
    let closed = place(&Action::CloseManager).unwrap();
    let connection = driver.manager;
    let connected = place(&Action::ConnectManager { connection }).unwrap();
    assert!(switched < closed && closed < connected && connection != old);
    driver.done = done;
    let told = driver.told_on_bus();
    assert_eq!(
        told,
        [
            format!("ManagerAddress={OTHER}"),
            "Status=offline".to_owned(),
            "2 ".to_owned()
        ]
    );
    driver.register();
    assert_eq!(driver.word("Status"), "online");
    assert_eq!(driver.word("ManagerAddress"), OTHER);
    driver.manager_says(FromManager::Closed("reset".to_owned()));
    driver.pass(1);
    let done = driver.look();
    assert!(
        !done
            .iter()
            .any(|(_, action)| matches!(action, Action::SetManagerAddress(_)))
    );
}

#[test]
fn unknown_objects_and_a_congested_bus_refuse() {
    let mut driver = Driver::connected(settings());
    let call = |method| {
        let call = LocalCall {
            client: ":1.7".to_owned(),
            serial: 1,
            expects_reply: true,
        };
        let object = Object::Unknown("/nowhere".to_owned());
        Event::Bus(FromBus::Call {
            call,
            object,
            method,
        })
    };
    driver.event(call(Method::PeerPing));
    driver.event(call(Method::MachineId));
    driver.event(call(Method::Introspect));
    let told = driver.told_on_bus();
    assert_eq!(told[..2], ["1 ", "1 s"]);
    assert!(told[2].contains("UnknownObject"), "{told:?}");
    driver.event(Event::Bus(FromBus::Congested(true)));
    driver.local_call(":1.7", 2, Method::PeerPing);
    driver.event(Event::Bus(FromBus::Congested(false)));
    driver.local_call(":1.7", 3, Method::PeerPing);
    let told = driver.told_on_bus();
    assert!(told[0].contains("LimitsExceeded"), "{told:?}");
    assert_eq!(told[1], "3 ");
}
