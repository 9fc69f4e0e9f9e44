//! Monitors: who may use them, what is asked of agents, what is told, and the bounds.

use super::*;
use crate::{
    bus::{ObjectPath, error_name, names, samples::list_of_units},
    core::Credentials,
    manager::state::event::{MonitorMethod, Reason, UnitChange},
};

const OWNER: &str = ":1.5";

impl Manager {
    fn monitor(&mut self) -> u32 {
        let actions = self.call(Object::Manager, Method::CreateMonitor);
        let (ObjectPath(path),) = answer_of(&actions).parse().unwrap();
        let id = path.rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!(path, names::monitor_path(id));
        id
    }

    fn on_monitor(&mut self, id: u32, method: MonitorMethod) -> Vec<Action> {
        self.call(Object::Monitor(id), Method::Monitor(method))
    }

    fn subscribe(&mut self, id: u32, node: &str, units: &[&str]) -> Vec<Action> {
        let (node, units) = (node.to_owned(), units.iter().map(|unit| (*unit).to_owned()));
        let units = units.collect();
        self.on_monitor(id, MonitorMethod::Subscribe { node, units })
    }

    /// The agent of `rpi4` lists these units.
    fn list(&mut self, asked: &[Action], units: &[(&str, &str, &str)]) -> Vec<Action> {
        let request = sent(asked)
            .into_iter()
            .find(|sent| sent.is_call("ListUnits"));
        self.answer(&request.unwrap(), list_of_units(units))
    }

    fn told(&mut self, unit: &str, change: UnitChange) -> Vec<Action> {
        let unit = unit.to_owned();
        self.message(RPI4, FromPeer::Unit { unit, change })
    }

    fn used_by(&mut self, client: &str, id: u32) -> Vec<Action> {
        let call = Call {
            client: Client::on_bus(client),
            ..self.next_call()
        };
        let method = Method::Monitor(MonitorMethod::Close);
        let object = Object::Monitor(id);
        self.event(Event::Call {
            call,
            object,
            method,
        })
    }

    fn known(&mut self, client: &str, uid: Option<u32>) -> Vec<Action> {
        let credentials = uid.map(|uid| Credentials { uid, pid: 7 });
        let client = client.to_owned();
        self.event(Event::ClientKnown {
            client,
            credentials,
        })
    }
}

fn state(active: &str, sub: &str) -> UnitChange {
    let (active, sub) = (active.to_owned(), sub.to_owned());
    let reason = Reason::Real;
    UnitChange::State {
        active,
        sub,
        reason,
    }
}

/// What monitors tell, in words.
fn words(actions: &[Action]) -> Vec<String> {
    let in_words = |signal: &&Signal| match signal {
        Signal::Unit {
            monitor,
            node,
            unit,
            change,
        } => Some(match change {
            UnitChange::New { reason } => format!("{monitor} {node} {unit} new {}", reason.word()),
            UnitChange::State {
                active,
                sub,
                reason,
            } => {
                format!("{monitor} {node} {unit} {active}/{sub} {}", reason.word())
            }
            UnitChange::Properties { .. } => panic!("properties are told to all"),
            UnitChange::Removed { reason } => {
                format!("{monitor} {node} {unit} removed {}", reason.word())
            }
        }),
        _ => None,
    };
    signals(actions).iter().filter_map(in_words).collect()
}

/// What the agents are asked to watch, and to watch no more.
fn watched(actions: &[Action]) -> Vec<(PeerId, String, String)> {
    let of_sent = |sent: Sent| match sent.message {
        ToPeer::CallWithoutReply { method, arguments } => {
            Some((sent.peer, method, arguments.first_str().unwrap().to_owned()))
        }
        _ => None,
    };
    sent(actions).into_iter().filter_map(of_sent).collect()
}

#[test]
fn a_subscription_is_answered_and_then_told_what_is_in_the_order_of_the_names() {
    let mut manager = Manager::with_nodes();
    let id = manager.monitor();
    let actions = manager.subscribe(id, "rpi4", &["*"]);
    assert_eq!(*answer_of(&actions), Body::of(&(1_u32,)));
    assert_eq!(
        watched(&actions),
        [(RPI4, "Subscribe".to_owned(), "*".to_owned())]
    );
    let units = [
        ("b.service", "failed", "failed"),
        ("a.service", "active", "running"),
    ];
    assert_eq!(
        words(&manager.list(&actions, &units)),
        [
            "1 rpi4 * new virtual",
            "1 rpi4 a.service new virtual",
            "1 rpi4 a.service active/running virtual",
            "1 rpi4 b.service new virtual",
            "1 rpi4 b.service failed/failed virtual",
        ]
    );
    let news = manager.told("c.service", state("active", "running"));
    assert_eq!(
        words(&news),
        [
            "1 rpi4 c.service new virtual",
            "1 rpi4 c.service active/running real"
        ]
    );
    assert!(words(&manager.told("c.service", state("active", "running"))).is_empty());
    let reason = Reason::Real;
    let news = manager.told("c.service", UnitChange::Removed { reason });
    assert_eq!(words(&news), ["1 rpi4 c.service removed real"]);
    assert!(words(&manager.told("c.service", UnitChange::Removed { reason })).is_empty());
}

#[test]
fn a_lost_node_is_told_and_its_return_too() {
    let mut manager = Manager::with_nodes();
    let id = manager.monitor();
    let asked = manager.subscribe(id, "*", &["a.service", "b.service"]);
    let of_rpi4: Vec<Action> = asked
        .into_iter()
        .filter(|action| matches!(action, Action::Send { peer: RPI4, .. }))
        .collect();
    let units = [
        ("a.service", "active", "running"),
        ("b.service", "inactive", "dead"),
    ];
    manager.list(&of_rpi4, &units);
    assert_eq!(
        words(&manager.lose(RPI4)),
        [
            "1 rpi4 a.service inactive/agent-offline virtual",
            "1 rpi4 a.service removed virtual",
            "1 rpi4 b.service removed virtual",
        ]
    );
    let back = manager.register(9, "rpi4");
    assert!(words(&back).is_empty());
    let asked: Vec<String> = watched(&back).into_iter().map(|asked| asked.2).collect();
    assert_eq!(asked, ["a.service", "b.service"]);
    assert_eq!(
        words(&manager.list(&back, &units[..1])),
        [
            "1 rpi4 a.service new virtual",
            "1 rpi4 a.service active/running virtual"
        ]
    );
}

#[test]
fn an_agent_watches_a_unit_once_for_all_monitors() {
    let mut manager = Manager::with_nodes();
    let (one, two) = (manager.monitor(), manager.monitor());
    assert_eq!(
        watched(&manager.subscribe(one, "rpi4", &["a.service"])).len(),
        1
    );
    assert!(watched(&manager.subscribe(two, "rpi4", &["a.service"])).is_empty());
    assert!(watched(&manager.on_monitor(one, MonitorMethod::Unsubscribe(1))).is_empty());
    let ended = manager.on_monitor(two, MonitorMethod::Close);
    assert_eq!(
        watched(&ended),
        [(RPI4, "Unsubscribe".to_owned(), "a.service".to_owned())]
    );
    assert_eq!(
        refusal(&manager.on_monitor(one, MonitorMethod::Unsubscribe(1))).unwrap(),
        (
            error_name::NO_SUCH_SUBSCRIPTION,
            "Subscription '1' not found"
        )
    );
    let gone = manager.on_monitor(two, MonitorMethod::Close);
    assert_eq!(refusal(&gone).unwrap().0, error_name::UNKNOWN_OBJECT);
}

#[test]
fn what_is_missed_while_the_bus_is_congested_is_told_afterwards() {
    let mut manager = Manager::with_nodes();
    let id = manager.monitor();
    let asked = manager.subscribe(id, "rpi4", &["*"]);
    let units = [
        ("a.service", "active", "running"),
        ("b.service", "active", "running"),
    ];
    manager.list(&asked, &units);
    manager.event(Event::BusCongested(true));
    let reason = Reason::Real;
    assert!(words(&manager.told("a.service", UnitChange::Removed { reason })).is_empty());
    assert!(words(&manager.told("b.service", state("failed", "failed"))).is_empty());
    let relieved = manager.event(Event::BusCongested(false));
    assert!(words(&manager.told("b.service", state("inactive", "dead"))).is_empty());
    assert_eq!(
        words(&manager.list(&relieved, &[("b.service", "inactive", "dead")])),
        [
            "1 rpi4 * new virtual",
            "1 rpi4 a.service removed virtual",
            "1 rpi4 b.service new virtual",
            "1 rpi4 b.service inactive/dead virtual",
        ]
    );
    // A node that is lost meanwhile can not be listed.
    manager.event(Event::BusCongested(true));
    assert!(words(&manager.lose(RPI4)).is_empty());
    assert_eq!(
        words(&manager.event(Event::BusCongested(false)))
            .last()
            .unwrap(),
        "1 rpi4 b.service removed virtual"
    );
}

#[test]
fn a_list_that_fails_is_asked_for_again_with_the_tick() {
    let mut manager = Manager::with_nodes();
    let id = manager.monitor();
    let asked = sent(&manager.subscribe(id, "rpi4", &["a.service"]));
    let error = CallError::new(error_name::FAILED, "The agent is not connected to systemd");
    let list = asked.iter().find(|sent| sent.is_call("ListUnits")).unwrap();
    assert!(sent(&manager.refuse(list, error)).is_empty());
    let tick = manager.wait(SECOND);
    let told = manager.list(&tick, &[("a.service", "active", "running")]);
    assert_eq!(words(&told).len(), 2);
}

#[test]
fn only_owner_and_root_use_a_monitor_and_who_is_unknown_is_looked_up() {
    let mut manager = Manager::with_nodes();
    let id = manager.monitor();
    let look_up = Action::LookUpClient(":1.8".to_owned());
    assert_eq!(manager.used_by(":1.8", id), [look_up]);
    let refused = manager.known(":1.8", Some(1000));
    assert_eq!(refusal(&refused).unwrap().0, error_name::ACCESS_DENIED);
    let refused = manager.used_by(":1.8", id);
    assert_eq!(refusal(&refused).unwrap().0, error_name::ACCESS_DENIED);
    manager.used_by(":1.9", id);
    let refused = manager.known(":1.9", None);
    assert_eq!(refusal(&refused).unwrap().0, error_name::ACCESS_DENIED);
    manager.used_by(":1.10", id);
    assert_eq!(refusal(&manager.known(":1.10", Some(0))), None);
    assert!(!manager.state.exists(&Object::Monitor(id)));
}

#[test]
fn a_monitor_ends_with_its_owner_and_tells_its_peers() {
    let mut manager = Manager::with_nodes();
    let created = manager.call(Object::Manager, Method::CreateMonitor);
    assert!(created.contains(&Action::WatchClient(OWNER.to_owned())));
    let peer = || MonitorMethod::AddPeer(":1.9".to_owned());
    let added = manager.on_monitor(1, peer());
    assert!(added.contains(&Action::WatchClient(":1.9".to_owned())));
    let again = manager.on_monitor(1, peer());
    assert_eq!(refusal(&again).unwrap().0, error_name::INVALID_ARGS);
    let bad = manager.on_monitor(1, MonitorMethod::AddPeer("org.example".to_owned()));
    assert_eq!(refusal(&bad).unwrap().0, error_name::INVALID_ARGS);

    let asked = manager.subscribe(1, "rpi4", &["a.service"]);
    manager.list(&asked, &[("a.service", "active", "running")]);
    let (interface, changed) = ("i".to_owned(), list_of_units(&[]));
    let told = manager.told("a.service", UnitChange::Properties { interface, changed });
    let to = |action: &Action| match action {
        Action::EmitTo { client, .. } => client.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(told.iter().map(to).collect::<Vec<_>>(), [OWNER, ":1.9"]);

    let client = OWNER.to_owned();
    let left = manager.event(Event::ClientLeft { client });
    let reason = "monitor closed".to_owned();
    let signal = Signal::PeerRemoved { monitor: 1, reason };
    let client = Client::on_bus(":1.9");
    assert!(left.contains(&Action::EmitTo { client, signal }));
    assert!(left.contains(&Action::UnwatchClient(OWNER.to_owned())));
    assert!(left.contains(&Action::UnwatchClient(":1.9".to_owned())));
    assert_eq!(watched(&left).len(), 1);
    assert!(!manager.state.exists(&Object::Monitor(1)));
}

#[test]
fn every_bound_has_its_error() {
    let mut manager = Manager::with_nodes();
    let id = manager.monitor();
    let cases: [(&str, &[&str], &str); 5] = [
        ("moon", &["a.service"], error_name::SERVICE_UNKNOWN),
        ("rpi4", &[], error_name::INVALID_ARGS),
        ("rpi4", &["a*"], error_name::INVALID_ARGS),
        ("rpi4", &[""], error_name::INVALID_ARGS),
        ("rpi4", &["a.service\n"], error_name::INVALID_ARGS),
    ];
    for (node, units, name) in cases {
        let refused = manager.subscribe(id, node, units);
        assert_eq!(refusal(&refused).unwrap().0, name, "{node} {units:?}");
    }
    let names: Vec<String> = (0..=limits::MAX_UNITS_PER_LIST)
        .map(|n| format!("u{n}.service"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let too_many = manager.subscribe(id, "rpi4", &names);
    assert_eq!(refusal(&too_many).unwrap().0, error_name::LIMITS_EXCEEDED);
    // Two nodes, so that half as many lists are as much as a monitor may watch.
    for _ in 0..limits::MAX_WATCHED_PER_MONITOR / (2 * limits::MAX_UNITS_PER_LIST) {
        assert_eq!(refusal(&manager.subscribe(id, "*", &names[1..])), None);
    }
    let too_much = manager.subscribe(id, "rpi4", &["a.service"]);
    assert_eq!(refusal(&too_much).unwrap().0, error_name::LIMITS_EXCEEDED);
    for _ in 1..limits::MAX_MONITORS_PER_CLIENT {
        manager.monitor();
    }
    let refused = manager.call(Object::Manager, Method::CreateMonitor);
    assert_eq!(refusal(&refused).unwrap().0, error_name::LIMITS_EXCEEDED);
    manager.on_monitor(id, MonitorMethod::Close);
    let id = manager.monitor();
    for _ in 0..limits::MAX_SUBSCRIPTIONS_PER_MONITOR {
        assert_eq!(
            refusal(&manager.subscribe(id, "rpi4", &["a.service"])),
            None
        );
    }
    let refused = manager.subscribe(id, "rpi4", &["a.service"]);
    assert_eq!(refusal(&refused).unwrap().0, error_name::LIMITS_EXCEEDED);
    for number in 0..limits::MAX_PEERS_PER_MONITOR {
        let peer = MonitorMethod::AddPeer(format!(":1.{}", 100 + number));
        assert_eq!(refusal(&manager.on_monitor(id, peer)), None);
    }
    let refused = manager.on_monitor(id, MonitorMethod::AddPeer(":1.99".to_owned()));
    assert_eq!(refusal(&refused).unwrap().0, error_name::LIMITS_EXCEEDED);
}

#[test]
fn an_agent_can_not_make_the_manager_remember_without_bound() {
    let mut manager = Manager::with_nodes();
    let id = manager.monitor();
    let asked = manager.subscribe(id, "rpi4", &["*"]);
    manager.list(&asked, &[]);
    let mut told = 0;
    for number in 0..limits::MAX_WATCHED_UNITS_PER_NODE + 10 {
        let reason = Reason::Real;
        let actions = manager.told(&format!("u{number}.service"), UnitChange::New { reason });
        told += words(&actions).len();
    }
    // The subscription to all units is one.
    assert_eq!(told, limits::MAX_WATCHED_UNITS_PER_NODE - 1);
    for name in ["", "a b", &"x".repeat(300), "*"] {
        assert!(words(&manager.told(name, state("active", "running"))).is_empty());
    }
}
