//! Who asked, in the log.

use super::*;
use crate::core::Credentials;

fn ask(manager: &mut Manager, client: &str) -> Vec<Action> {
    let call = Call {
        client: Client::on_bus(client),
        ..manager.next_call()
    };
    let method = Method::QueueJob {
        kind: JobKind::Stop,
        unit: "a.service".to_owned(),
        mode: "replace".to_owned(),
    };
    let object = Object::Node("rpi4".to_owned());
    let actions = manager.event(Event::Call {
        call,
        object,
        method,
    });
    manager.answer(&sent(&actions)[0], Body::default());
    actions
}

fn know(manager: &mut Manager, client: &str, pid: u32) -> Vec<Action> {
    manager.event(Event::ClientKnown {
        client: client.to_owned(),
        credentials: Some(Credentials { uid: 0, pid }),
    })
}

fn lines_of(actions: &[Action], ending: &str) -> usize {
    let ends = |line: &&(Level, &str)| line.1.ends_with(ending);
    logged(actions).iter().filter(ends).count()
}

#[test]
fn a_caller_is_looked_up_once_and_remembered() {
    let mut manager = Manager::with_nodes();
    let look_up = Action::LookUpClient(":1.9".to_owned());
    assert!(ask(&mut manager, ":1.9").contains(&look_up));
    assert!(!ask(&mut manager, ":1.9").contains(&look_up));
    let known = know(&mut manager, ":1.9", 7);
    assert_eq!(lines_of(&known, "asked by :1.9 (uid 0, pid 7)"), 2);
    let actions = ask(&mut manager, ":1.9");
    assert_eq!(lines_of(&actions, "asked by :1.9 (uid 0, pid 7)"), 1);
    assert!(!actions.contains(&look_up));
}

#[test]
fn a_caller_that_left_is_logged_as_unknown() {
    let mut manager = Manager::with_nodes();
    ask(&mut manager, ":1.9");
    let client = ":1.9".to_owned();
    let actions = manager.event(Event::ClientKnown {
        client,
        credentials: None,
    });
    assert_eq!(lines_of(&actions, "asked by :1.9 (uid unknown (left))"), 1);
}

#[test]
fn names_of_another_bus_mean_nothing() {
    let mut manager = Manager::with_nodes();
    ask(&mut manager, ":1.9");
    let reason = "gone".to_owned();
    let lost = manager.event(Event::BusLost { reason });
    assert_eq!(lines_of(&lost, "asked by :1.9 (uid unknown (left))"), 1);
    assert!(know(&mut manager, ":1.9", 7).is_empty());
    manager.event(Event::BusAttached);
    let look_up = Action::LookUpClient(":1.9".to_owned());
    assert!(ask(&mut manager, ":1.9").contains(&look_up));
}

#[test]
fn callers_and_waiting_lines_are_bounded() {
    let mut manager = Manager::with_nodes();
    for number in 0..limits::MAX_WAITING_CLIENT_LINES + 9 {
        ask(&mut manager, &format!(":1.{number}"));
    }
    let (_, lines) = manager.state.clients.entries();
    assert_eq!(lines, limits::MAX_WAITING_CLIENT_LINES);
    assert_eq!(lines_of(&ask(&mut manager, ":2.1"), "(uid unknown)"), 1);
    for round in 0..2 {
        for number in 0..limits::MAX_WAITING_CLIENT_LINES {
            let client = format!(":{}.{number}", round + 1);
            ask(&mut manager, &client);
            know(&mut manager, &client, 7);
        }
    }
    let (known, lines) = manager.state.clients.entries();
    assert_eq!((known, lines), (limits::MAX_KNOWN_CLIENTS, 0));
}
