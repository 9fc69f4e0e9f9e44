//! What the state decides by a dialect.

use super::*;
use crate::{
    bus::{ObjectPath, Value, body::Entry, names, samples::list_of_units},
    manager::state::event::{MonitorMethod, Reason, UnitChange},
};

impl Manager {
    fn call_in_bluechi(&mut self, client: &str, object: Object, method: Method) -> Vec<Action> {
        let call = Call {
            client: Client::on_bus(client),
            dialect: Dialect::BlueChi,
            ..self.next_call()
        };
        self.event(Event::Call {
            call,
            object,
            method,
        })
    }
}

fn register_in_bluechi(name: &str) -> FromPeer {
    FromPeer::Register {
        serial: 1,
        name: name.to_owned(),
        dialect: Dialect::BlueChi,
    }
}

#[test]
fn an_agent_is_spoken_to_in_the_dialect_in_which_it_calls_first() {
    let mut manager = Manager::empty();
    manager.connect(RPI4);
    let actions = manager.message(RPI4, register_in_bluechi("rpi4"));
    let speak = Action::Speak {
        peer: RPI4,
        dialect: Dialect::BlueChi,
    };
    assert_eq!(actions[0], speak);
    assert!(actions.contains(&Action::Admit(RPI4)));

    // A refusal is told in that dialect too; an agent of ours stays one of ours.
    manager.connect(9);
    let refused = manager.message(9, register_in_bluechi("nobody"));
    assert!(matches!(refused[0], Action::Speak { peer: 9, .. }));
    let ours = manager.register(LAPTOP, "laptop");
    let again = manager.message(LAPTOP, register_in_bluechi("laptop"));
    for action in ours.iter().chain(&again) {
        assert!(!matches!(action, Action::Speak { .. }), "{action:?}");
    }
}

#[test]
fn nodes_are_listed_with_their_addresses() {
    let mut manager = Manager::empty();
    manager.register(RPI4, "rpi4");
    let method = Method::ListNodes {
        with_addresses: true,
    };
    let actions = manager.call_in_bluechi(":1.6", Object::Manager, method);
    let path = |node: &str| ObjectPath(format!("/org/containers/hirte/node/{node}"));
    let nodes = vec![
        ("laptop", path("laptop"), "offline", ""),
        ("rpi4", path("rpi4"), "online", "10.0.0.2"),
    ];
    assert_eq!(answer_of(&actions), &Body::of(&(nodes,)));
}

#[test]
fn when_a_node_was_seen_is_told_in_microseconds() {
    let mut manager = Manager::empty();
    manager.register(RPI4, "rpi4");
    let get = || Method::GetProperty {
        interface: names::NODE_INTERFACE.to_owned(),
        property: "LastSeenTimestamp".to_owned(),
    };
    let node = || Object::Node("rpi4".to_owned());
    let seconds = manager.call(node(), get());
    let value = Value::U64(1_700_000_000);
    assert_eq!(answer_of(&seconds), &Body::of(&(value,)));
    let us = manager.call_in_bluechi(":1.6", node(), get());
    let value = Value::U64(1_700_000_000_000_000);
    assert_eq!(answer_of(&us), &Body::of(&(value,)));
}

#[test]
fn the_controller_has_no_list_of_nodes_among_its_properties() {
    let mut manager = Manager::empty();
    let all = Method::GetAllProperties(names::MANAGER_INTERFACE.to_owned());
    let actions = manager.call_in_bluechi(":1.6", Object::Manager, all);
    let text = |name, value: &str| Entry(name, Value::Str(value.to_owned()));
    let properties = vec![
        text("Status", "down"),
        text("LogLevel", "INFO"),
        text("LogTarget", ""),
    ];
    assert_eq!(answer_of(&actions), &Body::of(&(properties,)));
}

#[test]
fn a_monitor_tells_its_owner_and_its_peers_only() {
    let mut manager = Manager::with_nodes();
    let owner = ":1.6";
    manager.call_in_bluechi(owner, Object::Manager, Method::CreateMonitor);
    let mut on_monitor = |method| {
        let method = Method::Monitor(method);
        manager.call_in_bluechi(owner, Object::Monitor(1), method)
    };
    on_monitor(MonitorMethod::AddPeer(":1.9".to_owned()));
    let asked = on_monitor(MonitorMethod::Subscribe {
        node: "rpi4".to_owned(),
        units: vec!["a.service".to_owned()],
    });
    let request = sent(&asked)
        .into_iter()
        .find(|sent| sent.is_call("ListUnits"))
        .unwrap();
    let snapshot = manager.answer(&request, list_of_units(&[]));
    assert_eq!(snapshot, []);
    let reason = Reason::Real;
    let change = UnitChange::New { reason };
    let unit = "a.service".to_owned();
    let told = manager.message(RPI4, FromPeer::Unit { unit, change });
    let clients: Vec<_> = told
        .iter()
        .map(|action| match action {
            Action::EmitTo {
                client,
                dialect: Dialect::BlueChi,
                signal: Signal::Unit { .. },
            } => client.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(clients, [owner, ":1.9"]);
}
