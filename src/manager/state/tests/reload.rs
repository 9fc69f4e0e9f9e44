//! What becomes of nodes and of those who look at them when the configuration is read again.

use super::*;
use crate::bus::Value;

fn nodes_changed(names: &[&str]) -> Signal {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    Signal::PropertiesChanged {
        object: Object::Manager,
        changed: vec![("Nodes".to_owned(), Value::Strings(names))],
    }
}

fn fleet_is(status: &str) -> Signal {
    Signal::PropertiesChanged {
        object: Object::Manager,
        changed: vec![("Status".to_owned(), Value::Str(status.to_owned()))],
    }
}

impl Manager {
    fn listed_nodes(&mut self) -> Vec<(String, String)> {
        let actions = self.call(Object::Manager, Method::ListNodes);
        let mut reader = answer_of(&actions).reader().array(8).unwrap();
        let mut nodes = Vec::new();
        while !reader.is_at_end() {
            reader.align(8).unwrap();
            let name = reader.str().unwrap().to_owned();
            reader.path().unwrap();
            nodes.push((name, reader.str().unwrap().to_owned()));
        }
        nodes
    }

    fn introspects(&mut self, name: &str) -> bool {
        let object = Object::Node(name.to_owned());
        let actions = self.call(object, Method::Introspect);
        refusal(&actions).is_none()
    }
}

fn pairs(nodes: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, status): &(&str, &str)| ((*name).to_owned(), (*status).to_owned());
    nodes.iter().map(owned).collect()
}

#[test]
fn nothing_happens_when_nothing_has_changed() {
    let mut manager = Manager::with_nodes();
    let actions = manager.reload(vec!["laptop".into(), "rpi4".into()]);
    assert_eq!(actions, []);
}

#[test]
fn a_node_that_is_new_can_register() {
    let mut manager = Manager::with_nodes();
    let refused = manager.register(3, "camera_1");
    assert_eq!(closed(&refused), [3]);
    assert!(!manager.introspects("camera_1"));
    let actions = manager.reload(vec!["camera_1".into(), "rpi4".into(), "laptop".into()]);
    let names = ["camera_1", "rpi4", "laptop"];
    assert_eq!(
        signals(&actions),
        [&nodes_changed(&names), &fleet_is("degraded")]
    );
    assert_eq!(
        logged(&actions),
        [(Level::Info, "Node 'camera_1' is allowed")]
    );
    assert!(actions.contains(&Action::Status("2 of 3 nodes online".to_owned())));
    assert!(manager.introspects("camera_1"));
    assert_eq!(
        manager.listed_nodes(),
        pairs(&[
            ("camera_1", "offline"),
            ("rpi4", "online"),
            ("laptop", "online")
        ])
    );
    let registered = manager.register(4, "camera_1");
    assert!(signals(&registered).contains(&&fleet_is("up")));
}

#[test]
fn a_node_that_is_removed_goes_as_one_that_is_lost() {
    let mut manager = Manager::with_nodes();
    let id = manager.accepted_job();
    let actions = manager.reload(vec!["laptop".into()]);
    assert_eq!(closed(&actions), [RPI4]);
    assert!(actions.contains(&removed(id, "node-lost")));
    let offline = Signal::NodeConnectionStateChanged {
        node: "rpi4".to_owned(),
        state: "offline".to_owned(),
    };
    let signals = signals(&actions);
    assert!(signals.contains(&&offline));
    assert_eq!(signals.last(), Some(&&nodes_changed(&["laptop"])));
    assert!(!manager.introspects("rpi4"));
    assert_eq!(manager.listed_nodes(), pairs(&[("laptop", "online")]));
    assert_eq!(closed(&manager.register(5, "rpi4")), [5]);
    // It is as before when it is allowed again.
    manager.reload(vec!["laptop".into(), "rpi4".into()]);
    assert!(closed(&manager.register(6, "rpi4")).is_empty());
    assert_eq!(manager.state.nodes.len(), 2);
}

#[test]
fn subscriptions_to_all_nodes_include_those_that_come() {
    use crate::manager::state::event::MonitorMethod;
    let mut manager = Manager::with_nodes();
    manager.call(Object::Manager, Method::CreateMonitor);
    let on_monitor =
        |manager: &mut Manager, method| manager.call(Object::Monitor(1), Method::Monitor(method));
    let subscribe = |node: &str| MonitorMethod::Subscribe {
        node: node.to_owned(),
        units: vec!["a.service".to_owned(), "b.service".to_owned()],
    };
    on_monitor(&mut manager, subscribe("*"));
    on_monitor(&mut manager, subscribe("rpi4"));
    manager.reload(vec!["laptop".into(), "camera_1".into()]);
    let registered = manager.register(3, "camera_1");
    let is_subscribe = |sent: &Sent| matches!(&sent.message, ToPeer::CallWithoutReply { method, .. } if method == "Subscribe");
    assert_eq!(
        sent(&registered)
            .iter()
            .filter(|sent| is_subscribe(sent))
            .count(),
        2
    );
    let unknown = on_monitor(&mut manager, subscribe("rpi4"));
    assert_eq!(refusal(&unknown).unwrap().1, "Node 'rpi4' not found");
    // What was subscribed to holds when the node is back.
    manager.reload(vec!["rpi4".into(), "camera_1".into()]);
    let registered = manager.register(4, "rpi4");
    assert_eq!(
        sent(&registered)
            .iter()
            .filter(|sent| is_subscribe(sent))
            .count(),
        2
    );
    on_monitor(&mut manager, MonitorMethod::Close);
    assert!(!manager.state.monitors.exists(1));
}

#[test]
fn lists_have_the_order_of_the_configuration() {
    let mut manager = Manager::with_nodes();
    let method = Method::ListUnits { detailed: false };
    manager.reload(vec!["rpi4".into(), "laptop".into()]);
    let asked = manager.call(Object::Manager, method);
    let units = |name| crate::bus::samples::list_of_units(&[(name, "active", "running")]);
    let mut answer = Vec::new();
    for (request, unit) in sent(&asked).iter().zip(["a.service", "b.service"]) {
        answer = manager.answer(request, units(unit));
    }
    let mut reader = answer_of(&answer).reader().array(8).unwrap();
    reader.align(8).unwrap();
    assert_eq!(reader.str(), Ok("rpi4"));
}

#[test]
fn the_limit_of_silence_changes_at_once() {
    let mut manager = Manager::with_nodes();
    let nodes = vec!["laptop".into(), "rpi4".into()];
    manager.event(Event::Reload(Settings {
        nodes,
        silence_limit: Duration::ZERO,
        heartbeat_interval: None,
    }));
    assert!(closed(&manager.wait(Duration::from_mins(1))).is_empty());
}
