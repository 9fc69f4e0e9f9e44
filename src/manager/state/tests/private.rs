//! Clients with a private connection: who gets one, what they may do, and that the bus is not
//! their concern.

use super::*;
use crate::{
    bus::{error_name, samples::list_of_units},
    core::Credentials,
    manager::state::event::{Access, MonitorMethod, PrivateId, Reason, UnitChange},
};

const LIST_NODES: Method = Method::ListNodes {
    with_addresses: false,
};

impl Manager {
    fn attach(&mut self, client: PrivateId, access: Access) -> Vec<Action> {
        let uid = if access == Access::Full { 0 } else { 1000 };
        self.event(Event::PrivateConnected {
            client,
            credentials: Credentials { uid, pid: 42 },
            access,
        })
    }

    fn detach(&mut self, client: PrivateId) -> Vec<Action> {
        let reason = "closed by the other side".to_owned();
        self.event(Event::PrivateClosed { client, reason })
    }

    fn private(&mut self, client: PrivateId, object: Object, method: Method) -> Vec<Action> {
        let call = Call {
            client: Client::Private(client),
            ..self.next_call()
        };
        self.event(Event::Call {
            call,
            object,
            method,
        })
    }

    fn lose_bus(&mut self) -> Vec<Action> {
        let reason = "gone".to_owned();
        self.event(Event::BusLost { reason })
    }
}

fn start() -> Method {
    Method::QueueJob {
        kind: JobKind::Start,
        unit: "httpd.service".to_owned(),
        mode: "replace".to_owned(),
    }
}

fn rpi4() -> Object {
    Object::Node("rpi4".to_owned())
}

fn relay(method: &str) -> Method {
    Method::Relay {
        method: method.to_owned(),
        arguments: Body::default(),
    }
}

fn is_refused(actions: &[Action], client: PrivateId) -> bool {
    actions.contains(&Action::ClosePrivate(client))
}

#[test]
fn a_request_is_logged_with_its_caller_at_once() {
    let mut manager = Manager::with_nodes();
    manager.attach(1, Access::Full);
    let asked = manager.private(1, rpi4(), start());
    let line = "Job 1: StartUnit httpd.service on 'rpi4', mode replace, asked by private \
                connection 1 (uid 0, pid 42)";
    assert_eq!(logged(&asked), [(Level::Info, line)]);
    let accepted = manager.answer(&sent(&asked)[0], Body::default());
    let answered = accepted.iter().any(
        |action| matches!(action, Action::Reply { call, .. } if call.client == Client::Private(1)),
    );
    assert!(answered, "{accepted:?}");
}

#[test]
fn readers_read_and_nobody_else_connects() {
    let mut manager = Manager::with_nodes();
    assert!(is_refused(&manager.attach(1, Access::Nothing), 1));
    assert!(!is_refused(&manager.attach(2, Access::Read), 2));
    for (object, method, may) in [
        (Object::Manager, Method::Ping("x".to_owned()), true),
        (Object::Manager, LIST_NODES, true),
        (Object::Manager, Method::CreateMonitor, true),
        (
            Object::Monitor(1),
            Method::Monitor(MonitorMethod::Close),
            true,
        ),
        (rpi4(), relay("ListUnits"), true),
        (rpi4(), relay("GetUnitFileState"), true),
        (rpi4(), Method::Introspect, true),
        (rpi4(), relay("Reload"), false),
        (rpi4(), relay("KillUnit"), false),
        (rpi4(), relay("NoSuchMethod"), false),
        (rpi4(), start(), false),
        (rpi4(), Method::SetLogLevel("debug".to_owned()), false),
        (Object::Manager, Method::SetMetrics { enabled: true }, false),
        (Object::Job(1), Method::CancelJob, false),
    ] {
        let actions = manager.private(2, object, method.clone());
        let denied = refusal(&actions).is_some_and(|(name, _)| name == error_name::ACCESS_DENIED);
        assert_eq!(denied, !may, "{method:?}: {actions:?}");
        assert!(may || sent(&actions).is_empty());
        // Nobody asks on a connection that was refused or has ended.
        let actions = manager.private(1, Object::Manager, method);
        assert_eq!(refusal(&actions).unwrap().0, error_name::ACCESS_DENIED);
    }
}

#[test]
fn a_reader_does_not_use_the_monitor_of_another() {
    let mut manager = Manager::with_nodes();
    manager.attach(1, Access::Read);
    manager.attach(2, Access::Read);
    manager.attach(3, Access::Full);
    manager.private(1, Object::Manager, Method::CreateMonitor);
    let close = || Method::Monitor(MonitorMethod::Close);
    let refused = manager.private(2, Object::Monitor(1), close());
    assert_eq!(refusal(&refused).unwrap().0, error_name::ACCESS_DENIED);
    let closed = manager.private(3, Object::Monitor(1), close());
    assert_eq!(refusal(&closed), None);
    assert!(!manager.state.exists(&Object::Monitor(1)));
}

#[test]
fn connections_are_bounded_and_members_do_not_keep_root_out() {
    let mut manager = Manager::with_nodes();
    let readers = limits::MAX_PRIVATE_READERS as u64;
    let all = limits::MAX_PRIVATE_CLIENTS as u64;
    for client in 0..readers {
        assert!(!is_refused(&manager.attach(client, Access::Read), client));
    }
    assert!(is_refused(&manager.attach(readers, Access::Read), readers));
    for client in readers..all {
        assert!(!is_refused(&manager.attach(client, Access::Full), client));
    }
    assert!(is_refused(&manager.attach(all, Access::Full), all));
    manager.detach(0);
    assert!(!is_refused(&manager.attach(all, Access::Read), all));
}

#[test]
fn what_the_bus_does_is_not_their_concern() {
    let mut manager = Manager::with_nodes();
    manager.attach(1, Access::Full);
    let of_bus = sent(&manager.relay("rpi4", "Reload", Body::default()))[0].clone();
    let of_private = sent(&manager.private(1, rpi4(), relay("Reload")))[0].clone();
    let of_all = Method::ListUnits { detailed: false };
    let lists = sent(&manager.private(1, Object::Manager, of_all));
    let job = sent(&manager.private(1, rpi4(), start()))[0].clone();
    manager.event(Event::BusCongested(true));
    let refused = manager.call(Object::Manager, LIST_NODES);
    assert_eq!(refusal(&refused).unwrap().0, error_name::LIMITS_EXCEEDED);
    let served = manager.private(1, Object::Manager, LIST_NODES);
    assert_eq!(refusal(&served), None);
    for method in [
        MonitorMethod::Unsubscribe(1),
        MonitorMethod::AddPeer(":1.9".to_owned()),
    ] {
        let told = manager.private(1, Object::Monitor(1), Method::Monitor(method));
        assert_eq!(refusal(&told).unwrap().0, error_name::LIMITS_EXCEEDED);
    }
    manager.lose_bus();
    assert!(manager.answer(&of_bus, Body::default()).is_empty());
    let answered = |actions: &[Action]| {
        let to_client = |action: &&Action| matches!(action, Action::Reply { call, .. } if call.client == Client::Private(1));
        actions.iter().filter(to_client).count()
    };
    let answer = manager.answer(&of_private, Body::default());
    assert_eq!(answered(&answer), 1);
    manager.answer(&lists[0], list_of_units(&[]));
    let listed = manager.answer(&lists[1], list_of_units(&[]));
    assert_eq!(answered(&listed), 1);
    let accepted = manager.answer(&job, Body::default());
    assert_eq!(answered(&accepted), 1);
    assert_eq!(signals(&accepted), [&Signal::JobNew { id: 1 }]);
}

#[test]
fn a_monitor_outlives_the_bus_and_ends_with_its_connection() {
    let mut manager = Manager::with_nodes();
    manager.attach(1, Access::Read);
    let created = manager.private(1, Object::Manager, Method::CreateMonitor);
    let watches = |action: &Action| matches!(action, Action::WatchClient(_));
    assert!(!created.iter().any(watches), "the bus knows nothing of it");
    let on_monitor = |manager: &mut Manager, method| {
        manager.private(1, Object::Monitor(1), Method::Monitor(method))
    };
    let peer = MonitorMethod::AddPeer(":1.9".to_owned());
    assert!(on_monitor(&mut manager, peer).iter().any(watches));
    let (node, units) = ("rpi4".to_owned(), vec!["a.service".to_owned()]);
    let asked = on_monitor(&mut manager, MonitorMethod::Subscribe { node, units });
    let list = sent(&asked);
    let list = list.iter().find(|sent| sent.is_call("ListUnits")).unwrap();
    let told = manager.answer(list, list_of_units(&[("a.service", "active", "running")]));
    assert_eq!(signals(&told).len(), 2);

    // What is missed for the bus's sake is told when the bus is gone.
    manager.event(Event::BusCongested(true));
    let gone = UnitChange::Removed {
        reason: Reason::Real,
    };
    let unit = "a.service".to_owned();
    let change = gone.clone();
    let missed = manager.message(RPI4, FromPeer::Unit { unit, change });
    assert!(signals(&missed).is_empty());
    let asked = sent(&manager.lose_bus());
    let told = manager.answer(&asked[0], list_of_units(&[]));
    assert_eq!(signals(&told).len(), 1, "{told:?}");

    let properties = UnitChange::Properties {
        interface: "i".to_owned(),
        changed: list_of_units(&[]),
    };
    let unit = "a.service".to_owned();
    let told = manager.message(
        RPI4,
        FromPeer::Unit {
            unit,
            change: properties,
        },
    );
    let to = |action: &Action| match action {
        Action::EmitTo { client, .. } => Some(client.clone()),
        _ => None,
    };
    let told: Vec<_> = told.iter().filter_map(to).collect();
    assert_eq!(told, [Client::Private(1)], "the peer went with the bus");

    manager.detach(1);
    assert!(!manager.state.exists(&Object::Monitor(1)));
    assert!(manager.detach(1).is_empty());
}
