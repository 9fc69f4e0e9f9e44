//! The methods that the manager answers by itself, and which objects exist.

use super::*;
use crate::bus::{ObjectPath, error_name};

fn node(name: &str) -> Object {
    Object::Node(name.to_owned())
}

#[test]
fn ping_is_an_echo() {
    let mut manager = Manager::empty();
    let actions = manager.call(Object::Manager, Method::Ping("hello".to_owned()));
    assert_eq!(answer_of(&actions), &Body::of(&("hello",)));
}

#[test]
fn nodes_are_listed_in_the_order_of_the_configuration() {
    let mut manager = Manager::empty();
    manager.register(RPI4, "rpi4");
    let actions = manager.call(Object::Manager, LIST_NODES);
    let path = |node: &str| ObjectPath(format!("/org/containers/hirte/node/{node}"));
    let nodes = vec![
        ("laptop", path("laptop"), "offline"),
        ("rpi4", path("rpi4"), "online"),
    ];
    assert_eq!(answer_of(&actions), &Body::of(&(nodes,)));
}

#[test]
fn get_node_knows_configured_nodes_only() {
    let mut manager = Manager::empty();
    let actions = manager.call(Object::Manager, Method::GetNode("rpi4".to_owned()));
    let path = ObjectPath("/org/containers/hirte/node/rpi4".to_owned());
    assert_eq!(answer_of(&actions), &Body::of(&(path,)));
    let actions = manager.call(Object::Manager, Method::GetNode("x".to_owned()));
    assert_eq!(
        refusal(&actions),
        Some((error_name::SERVICE_UNKNOWN, "Node not found"))
    );
}

#[test]
fn calls_of_an_offline_node_are_refused_and_its_properties_are_not() {
    let mut manager = Manager::empty();
    let offline = Some(("org.containers.hirte.Offline", "Node is offline"));
    assert_eq!(refusal(&manager.start("rpi4", "a.service")), offline);
    let relayed = manager.relay("rpi4", "ListUnits", Body::default());
    assert_eq!(refusal(&relayed), offline);
    let all = Method::GetAllProperties("org.containers.hirte.Node".to_owned());
    let actions = manager.call(node("rpi4"), all);
    assert_eq!(answer_of(&actions).signature, "a{sv}");
}

#[test]
fn objects_that_do_not_exist_are_unknown() {
    let mut manager = Manager::with_nodes();
    let objects = [
        (node("x"), "/org/containers/hirte/node/x"),
        (Object::Job(7), "/org/containers/hirte/job/7"),
        (Object::Unknown("/x".to_owned()), "/x"),
    ];
    for (object, path) in objects {
        let text = format!("Unknown object '{path}'.");
        let actions = manager.call(object.clone(), Method::Introspect);
        assert_eq!(
            refusal(&actions),
            Some((error_name::UNKNOWN_OBJECT, text.as_str()))
        );
        let actions = manager.call(object, Method::PeerPing);
        assert_eq!(answer_of(&actions), &Body::default());
    }
}

#[test]
fn a_job_that_was_not_accepted_is_no_object() {
    let mut manager = Manager::with_nodes();
    manager.start("rpi4", "a.service");
    assert!(refusal(&manager.call(Object::Job(1), Method::Introspect)).is_some());
}

#[test]
fn a_method_on_an_object_without_it_is_answered() {
    let mut manager = Manager::with_nodes();
    let reload = || Method::Relay {
        method: "Reload".to_owned(),
        arguments: Body::default(),
    };
    assert!(refusal(&manager.call(Object::Manager, reload())).is_some());
    assert!(refusal(&manager.call(Object::Manager, Method::CancelJob)).is_some());
    let error = CallError::new(error_name::UNKNOWN_METHOD, "?");
    let actions = manager.call(node("rpi4"), Method::Refused(error));
    assert_eq!(refusal(&actions), Some((error_name::UNKNOWN_METHOD, "?")));
}

#[test]
fn a_congested_bus_refuses_calls_until_it_flows() {
    let mut manager = Manager::with_nodes();
    manager.event(Event::BusCongested(true));
    let actions = manager.call(Object::Manager, LIST_NODES);
    assert_eq!(refusal(&actions).unwrap().0, error_name::LIMITS_EXCEEDED);
    manager.event(Event::BusCongested(false));
    assert_eq!(refusal(&manager.call(Object::Manager, LIST_NODES)), None);
}

#[test]
fn introspection_walks_down_to_every_node_and_job() {
    let mut manager = Manager::with_nodes();
    manager.accepted_job();
    for (path, children) in [
        ("/", vec!["org"]),
        ("/org", vec!["containers"]),
        ("/org/containers", vec!["hirte"]),
        (
            "/org/containers/hirte",
            vec!["node", "job", "monitor", "stream"],
        ),
        ("/org/containers/hirte/node", vec!["laptop", "rpi4"]),
        ("/org/containers/hirte/job", vec!["1"]),
        ("/org/containers/hirte/node/rpi4", vec![]),
        ("/org/containers/hirte/job/1", vec![]),
    ] {
        let actions = manager.call(Object::at(path), Method::Introspect);
        let [
            Action::ReplyIntrospection {
                object,
                children: found,
                ..
            },
        ] = &actions[..]
        else {
            panic!("{path}: {actions:?}");
        };
        assert_eq!(
            (object.path().as_str(), found),
            (path, &children.iter().map(|c| (*c).to_owned()).collect())
        );
    }
}

#[test]
fn a_path_has_one_spelling() {
    assert_eq!(Object::at("/org/containers/hirte/job/7"), Object::Job(7));
    assert_eq!(
        Object::at("/org/containers/hirte/node/bar_2d2"),
        node("bar-2")
    );
    for path in [
        "/org/containers/hirte/job/07",
        "/org/containers/hirte/job/+7",
        "/org/containers/hirte/job/4294967296",
        "/org/containers/hirte/node/bar-2",
        "/org/containers/hirte/node/a/b",
        "/org/containers/hirtex",
        "/or",
    ] {
        assert_eq!(Object::at(path), Object::Unknown(path.to_owned()));
    }
}

#[test]
fn unknown_interfaces_and_properties_are_named() {
    let mut manager = Manager::with_nodes();
    let get = |interface: &str, property: &str| Method::GetProperty {
        interface: interface.to_owned(),
        property: property.to_owned(),
    };
    let actions = manager.call(node("rpi4"), get("a.b", "Name"));
    assert_eq!(refusal(&actions).unwrap().0, error_name::UNKNOWN_INTERFACE);
    let actions = manager.call(node("rpi4"), get("org.containers.hirte.Node", "Nme"));
    assert_eq!(refusal(&actions).unwrap().0, error_name::UNKNOWN_PROPERTY);
    let actions = manager.call(
        Object::Manager,
        get("org.containers.hirte.Manager", "Nodes"),
    );
    assert_eq!(answer_of(&actions).signature, "v");
}

fn set_level(manager: &mut Manager, object: Object, level: &str) -> Vec<Action> {
    manager.call(object, Method::SetLogLevel(level.to_owned()))
}

#[test]
fn a_log_level_is_taken_in_any_case_and_sent_in_one() {
    for (given, level) in [("dEBUG", "DEBUG"), ("warning", "WARN"), ("ERROR", "ERROR")] {
        let mut manager = Manager::with_nodes();
        let request = sent(&set_level(&mut manager, node("rpi4"), given))[0].clone();
        let (method, arguments) = ("SetLogLevel".to_owned(), Body::of(&(level,)));
        assert_eq!(request.message, ToPeer::Call { method, arguments });
        let answered = manager.answer(&request, Body::default());
        assert_eq!(answer_of(&answered), &Body::default());

        let actions = set_level(&mut manager, Object::Manager, given);
        let level = Level::parse(level).unwrap();
        assert!(actions.contains(&Action::SetLogLevel(level)));
        assert_eq!(answer_of(&actions), &Body::default());
    }
}

#[test]
fn a_wrong_log_level_reaches_nobody() {
    let mut manager = Manager::with_nodes();
    for object in [node("rpi4"), node("laptop"), Object::Manager] {
        let actions = set_level(&mut manager, object, "loud");
        let expected = (error_name::INVALID_ARGS, "Invalid input for log level");
        assert_eq!(refusal(&actions), Some(expected));
        assert_eq!(actions.len(), 1);
    }
}

#[test]
fn the_settings_of_the_log_are_properties_that_announce_their_changes() {
    use crate::bus::Value;
    let mut manager = Manager::with_nodes();
    let set = |level, target: &str| Event::LogSettings {
        level,
        target: target.to_owned(),
    };
    manager.event(set(Level::Info, "journald"));
    assert!(manager.event(set(Level::Info, "journald")).is_empty());
    let changed = |name: &str, value: &str| Signal::PropertiesChanged {
        object: Object::Manager,
        changed: vec![(name.to_owned(), Value::Str(value.to_owned()))],
    };
    let actions = manager.event(set(Level::Info, "stderr"));
    assert_eq!(signals(&actions), [&changed("LogTarget", "stderr")]);
    let actions = set_level(&mut manager, Object::Manager, "debug");
    assert_eq!(signals(&actions), [&changed("LogLevel", "DEBUG")]);
    let actions = set_level(&mut manager, Object::Manager, "debug");
    assert!(signals(&actions).is_empty());
}
