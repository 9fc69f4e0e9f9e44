//! Connections: registration, loss, liveness.

use super::*;
use crate::bus::{Value, error_name};

fn connection_states(actions: &[Action]) -> Vec<(&str, &str)> {
    fn of_signal(signal: &Signal) -> Option<(&str, &str)> {
        match signal {
            Signal::NodeConnectionStateChanged { node, state } => Some((node, state)),
            _ => None,
        }
    }
    signals(actions).into_iter().filter_map(of_signal).collect()
}

fn fleet_is(status: &str) -> Action {
    let changed = vec![("Status".to_owned(), Value::Str(status.to_owned()))];
    let object = Object::Manager;
    Action::Emit(Signal::PropertiesChanged { object, changed })
}

#[test]
fn the_status_of_the_fleet_is_announced_when_it_changes() {
    let mut manager = Manager::empty();
    let changes = |actions: Vec<Action>| {
        let of_manager = |action: &Action| match action {
            Action::Emit(Signal::PropertiesChanged { object, .. }) => *object == Object::Manager,
            _ => false,
        };
        actions.into_iter().filter(of_manager).collect::<Vec<_>>()
    };
    assert_eq!(
        changes(manager.register(LAPTOP, "laptop")),
        [fleet_is("degraded")]
    );
    assert_eq!(changes(manager.register(RPI4, "rpi4")), [fleet_is("up")]);
    assert_eq!(changes(manager.lose(LAPTOP)), [fleet_is("degraded")]);
    assert_eq!(changes(manager.register(3, "laptop")), [fleet_is("up")]);
    assert_eq!(changes(manager.lose(3)), [fleet_is("degraded")]);
    assert_eq!(changes(manager.lose(RPI4)), [fleet_is("down")]);
}

fn error_to(actions: &[Action]) -> Option<(PeerId, String, String)> {
    sent(actions)
        .into_iter()
        .find_map(|sent| match sent.message {
            ToPeer::Error { error, .. } => Some((sent.peer, error.name.into(), error.message)),
            _ => None,
        })
}

#[test]
fn a_registration_is_logged_announced_and_answered_in_this_order() {
    let mut manager = Manager::empty();
    let actions = manager.register(RPI4, "rpi4");
    assert_eq!(
        logged(&actions),
        [
            (Level::Info, "Registered managed node from fd 7 as 'rpi4'"),
            (Level::Info, "Agent 'rpi4' connected from 10.0.0.2"),
        ]
    );
    let changed = vec![
        ("Status".to_owned(), Value::Str("online".to_owned())),
        ("PeerIp".to_owned(), Value::Str("10.0.0.2".to_owned())),
    ];
    let object = Object::Node("rpi4".to_owned());
    let (node, state) = ("rpi4".to_owned(), "online".to_owned());
    assert_eq!(
        visible(actions),
        [
            Action::Admit(RPI4),
            Action::Emit(Signal::PropertiesChanged { object, changed }),
            Action::Emit(Signal::NodeConnectionStateChanged { node, state }),
            fleet_is("degraded"),
            Action::Send {
                peer: RPI4,
                serial: 1,
                message: ToPeer::Return { reply_serial: 1 }
            },
        ]
    );
}

#[test]
fn a_name_that_is_not_allowed_is_refused_and_its_connection_closed() {
    let mut manager = Manager::empty();
    let actions = manager.register(9, "toaster");
    let error = (
        9,
        error_name::SERVICE_UNKNOWN.to_owned(),
        "Unexpected node name".to_owned(),
    );
    assert_eq!(error_to(&actions), Some(error));
    assert_eq!(closed(&actions), [9]);
    assert!(signals(&actions).is_empty());
}

#[test]
fn the_name_of_a_connected_node_is_refused_and_the_node_stays() {
    let mut manager = Manager::with_nodes();
    let actions = manager.register(9, "rpi4");
    let error = (
        9,
        error_name::ADDRESS_IN_USE.to_owned(),
        "The node is already connected".to_owned(),
    );
    assert_eq!(error_to(&actions), Some(error));
    assert_eq!(closed(&actions), [9]);
    let ping = sent(&actions)[0].clone();
    assert_eq!((ping.peer, ping.message.clone()), (RPI4, ToPeer::Ping));
    manager.answer(&ping, Body::default());
    let actions = manager.wait_with(Duration::from_secs(5), |manager| {
        manager.message(RPI4, FromPeer::Heartbeat);
        manager.message(LAPTOP, FromPeer::Heartbeat);
    });
    assert!(closed(&actions).is_empty());
}

#[test]
fn a_node_whose_name_another_connection_claims_must_show_that_it_lives() {
    let mut manager = Manager::with_nodes();
    manager.register(9, "rpi4");
    let actions = manager.wait(limits::PING_AFTER + limits::TICK);
    assert!(closed(&actions).contains(&RPI4));
    assert!(connection_states(&manager.register(10, "rpi4")).contains(&("rpi4", "online")));
}

#[test]
fn a_second_registration_on_one_connection_is_refused_and_changes_nothing() {
    let mut manager = Manager::with_nodes();
    for name in ["rpi4", "laptop", "toaster"] {
        let (serial, name) = (5, name.to_owned());
        let actions = manager.message(RPI4, FromPeer::Register { serial, name });
        let error = (
            RPI4,
            error_name::ADDRESS_IN_USE.to_owned(),
            "Can't register twice".to_owned(),
        );
        assert_eq!(error_to(&actions), Some(error));
        assert!(closed(&actions).is_empty());
    }
}

#[test]
fn the_loss_of_a_node_is_logged_and_announced() {
    let mut manager = Manager::with_nodes();
    let actions = manager.lose(RPI4);
    assert_eq!(
        logged(&actions),
        [(Level::Info, "Node 'rpi4' disconnected: reset")]
    );
    assert_eq!(connection_states(&actions), [("rpi4", "offline")]);
    assert!(manager.lose(RPI4).is_empty());
    assert!(manager.message(RPI4, FromPeer::Heartbeat).is_empty());
}

#[test]
fn a_connection_that_never_registered_is_an_anonymous_node() {
    let mut manager = Manager::empty();
    manager.connect(9);
    let actions = manager.lose(9);
    assert_eq!(
        logged(&actions),
        [(Level::Debug, "Anonymous node disconnected: reset")]
    );
    assert!(visible(actions).is_empty());
}

#[test]
fn a_connection_must_register_in_time_whatever_else_it_says() {
    let mut manager = Manager::empty();
    manager.connect(9);
    let actions = manager.wait_with(limits::REGISTRATION + limits::TICK, |manager| {
        manager.message(9, FromPeer::Ping { serial: 4 });
    });
    assert_eq!(closed(&actions), [9]);
}

#[test]
fn the_oldest_silent_connection_gives_way_to_another_one() {
    let mut manager = Manager::with_nodes();
    let first = 100;
    let many = u64::try_from(limits::MAX_UNREGISTERED).unwrap();
    for peer in first..first + many {
        assert!(closed(&manager.connect(peer)).is_empty());
    }
    assert_eq!(closed(&manager.connect(first + many)), [first]);
}

#[test]
fn when_nothing_can_be_accepted_the_older_half_of_the_silent_connections_goes() {
    let mut manager = Manager::with_nodes();
    for peer in 100..105 {
        manager.connect(peer);
    }
    let reason = "too many open files".to_owned();
    let failed = Event::AcceptFailed { reason };
    let actions = manager.event(failed.clone());
    assert_eq!(closed(&actions), [100, 101, 102]);
    assert_eq!(logged(&actions)[0].0, Level::Error);
    let actions = manager.event(failed.clone());
    assert_eq!(closed(&actions), [103]);
    assert!(
        logged(&actions)
            .iter()
            .all(|(level, _)| *level == Level::Debug)
    );
    manager.connect(105);
    assert_eq!(logged(&manager.event(failed))[0].0, Level::Error);
}

#[test]
fn a_silent_node_is_asked_after_2_seconds_and_offline_within_6() {
    let mut manager = Manager::with_nodes();
    let heard_at = manager.now.monotonic;
    let actions = manager.wait(limits::PING_AFTER);
    assert_eq!(sent(&actions).len(), 2);
    assert_eq!(sent(&actions)[1].message, ToPeer::Ping);
    let actions = manager.wait(Duration::from_secs(4));
    assert_eq!(
        connection_states(&actions),
        [("laptop", "offline"), ("rpi4", "offline")]
    );
    assert_eq!(
        manager.now.monotonic.since(heard_at),
        Duration::from_secs(6)
    );
    let line = "Did not receive heartbeat from node 'rpi4' since '6000'ms. Disconnecting it...";
    assert!(logged(&actions).contains(&(Level::Warn, line)));
}

#[test]
fn an_answer_to_the_ping_is_enough_to_stay_online() {
    let mut manager = Manager::with_nodes();
    for _ in 0..30 {
        let actions = manager.wait(SECOND);
        assert!(closed(&actions).is_empty());
        for ping in sent(&actions) {
            assert_eq!(ping.message, ToPeer::Ping);
            assert!(manager.answer(&ping, Body::default()).is_empty());
        }
    }
}

#[test]
fn a_refused_ping_shows_life_too() {
    let mut manager = Manager::with_nodes();
    let pings = sent(&manager.wait(limits::PING_AFTER));
    for ping in pings {
        manager.refuse(&ping, CallError::new(error_name::UNKNOWN_METHOD, "?"));
    }
    assert!(closed(&manager.wait(Duration::from_secs(5))).is_empty());
}

#[test]
fn a_short_limit_still_leaves_time_to_answer() {
    for millis in [1, 500, 1500, 2500, 3500] {
        let mut manager = Manager::with_nodes();
        manager.state.settings.silence_limit = Duration::from_millis(millis);
        for _ in 0..10 {
            let actions = manager.wait(SECOND);
            assert!(closed(&actions).is_empty(), "{millis} ms");
            for ping in sent(&actions) {
                manager.answer(&ping, Body::default());
            }
        }
        assert_eq!(
            closed(&manager.wait(Duration::from_millis(millis + 2000))).len(),
            2
        );
    }
}

#[test]
fn without_a_limit_silence_is_no_loss() {
    let mut manager = Manager::with_nodes();
    manager.state.settings.silence_limit = Duration::ZERO;
    assert!(closed(&manager.wait(Duration::from_mins(1))).is_empty());
}

#[test]
fn after_a_suspend_every_node_gets_one_full_threshold() {
    let mut manager = Manager::with_nodes();
    manager.wait(Duration::from_secs(5));
    manager.now.boottime = manager.now.boottime + Duration::from_hours(1);
    let actions = manager.wait(Duration::from_secs(5));
    assert!(closed(&actions).is_empty());
    assert_eq!(closed(&manager.wait(SECOND * 2)).len(), 2);
}

#[test]
fn time_in_which_the_manager_itself_stood_still_is_no_silence() {
    let mut manager = Manager::with_nodes();
    manager.wait(Duration::from_secs(3));
    manager.connect(9);
    manager.freeze(Duration::from_mins(1));
    assert!(closed(&manager.event(Event::Deadline)).is_empty());
    manager.message(RPI4, FromPeer::Heartbeat);
    assert_eq!(closed(&manager.wait(Duration::from_secs(3))), [LAPTOP]);
}

#[test]
fn any_message_updates_when_the_node_was_last_seen() {
    let mut manager = Manager::with_nodes();
    manager.freeze(Duration::from_secs(2));
    manager.message(RPI4, FromPeer::Other);
    let get = |name: &str| {
        let object = Object::Node("rpi4".to_owned());
        manager
            .state
            .property(&object, "org.containers.hirte.Node", name)
    };
    assert_eq!(get("LastSeenTimestamp"), Ok(Value::U64(1_700_000_002)));
    assert_eq!(
        get("LastSeenTimestampMonotonic"),
        Ok(Value::U64(START + 2_000_000))
    );
}

#[test]
fn agents_get_answers_to_pings_and_to_calls_of_anything_else() {
    let mut manager = Manager::with_nodes();
    let actions = manager.message(RPI4, FromPeer::Ping { serial: 8 });
    assert_eq!(
        sent(&actions)[0].message,
        ToPeer::Return { reply_serial: 8 }
    );
    let error = CallError::new(error_name::UNKNOWN_METHOD, "Unknown method 'X'.");
    let (serial, reply_serial) = (9, 9);
    let refused = ToPeer::Error {
        reply_serial,
        error: error.clone(),
    };
    let actions = manager.message(RPI4, FromPeer::UnknownCall { serial, error });
    assert_eq!(sent(&actions)[0].message, refused);
}

#[test]
fn who_has_not_registered_may_look_at_the_objects() {
    let mut manager = Manager::empty();
    let (peer, fd, address) = (9, 7, "10.0.0.9".to_owned());
    manager.event(Event::PeerConnected { peer, address, fd });
    let mut answer = |message| sent(&manager.message(peer, message))[0].message.clone();
    assert_eq!(
        answer(FromPeer::Hello { serial: 1 }),
        ToPeer::Welcome { reply_serial: 1 }
    );
    assert_eq!(
        answer(FromPeer::MachineId { serial: 2 }),
        ToPeer::MachineId { reply_serial: 2 }
    );
    let (serial, path) = (3, "/org/containers".to_owned());
    assert_eq!(
        answer(FromPeer::Introspect {
            serial,
            path: path.clone()
        }),
        ToPeer::Introspection {
            reply_serial: 3,
            path,
            children: vec!["hirte".to_owned()]
        }
    );
    // To look around is not to register.
    let actions = manager.wait(limits::REGISTRATION + limits::TICK);
    assert_eq!(closed(&actions), [9]);
}

#[test]
fn a_unix_socket_has_no_address() {
    let mut manager = Manager::empty();
    let (peer, address, fd) = (RPI4, String::new(), 8);
    manager.event(Event::PeerConnected { peer, address, fd });
    let (serial, name) = (1, "rpi4".to_owned());
    let actions = manager.message(peer, FromPeer::Register { serial, name });
    let line = "Agent 'rpi4' connected from a Unix socket";
    assert!(logged(&actions).contains(&(Level::Info, line)));
}

#[test]
fn a_peer_can_not_make_a_long_line_of_the_log() {
    let mut manager = Manager::with_nodes();
    let name = "\n".repeat(limits::MAX_MESSAGE);
    let actions = manager.message(RPI4, FromPeer::Register { serial: 9, name });
    let lines = logged(&actions);
    assert!(lines.iter().any(|(level, _)| *level == Level::Warn));
    for (_, line) in lines {
        assert!(!line.contains('\n') && line.len() <= 2 * limits::LOG_MESSAGE_BYTES);
    }
}

/// How many heartbeats a peer was sent.
fn heartbeats(actions: &[Action], peer: PeerId) -> usize {
    let is_heartbeat = |sent: &Sent| sent.peer == peer && sent.message == ToPeer::Heartbeat;
    sent(actions).into_iter().filter(is_heartbeat).count()
}

#[test]
fn heartbeats_go_to_every_node_at_the_configured_interval() {
    for (interval_ms, expected) in [(200, 50), (1000, 10), (2500, 4), (7000, 1)] {
        let mut manager = Manager::with_heartbeats(Some(Duration::from_millis(interval_ms)));
        manager.connect(9);
        let idle = manager.wait(Duration::from_secs(1));
        assert!(sent(&idle).is_empty());
        manager.register(RPI4, "rpi4");
        let first = manager.wait(Duration::from_secs(1));
        assert!(heartbeats(&first, RPI4) >= 1 || interval_ms >= 1000);
        manager.register(LAPTOP, "laptop");
        let actions = manager.wait_with(Duration::from_secs(10), |manager| {
            manager.message(RPI4, FromPeer::Other);
            manager.message(LAPTOP, FromPeer::Other);
        });
        for peer in [RPI4, LAPTOP] {
            let count = heartbeats(&actions, peer);
            assert!(count.abs_diff(expected) <= 1, "{interval_ms} ms: {count}");
        }
        assert_eq!(heartbeats(&actions, 9), 0);
    }
    let mut manager = Manager::with_nodes();
    assert_eq!(heartbeats(&manager.wait(Duration::from_secs(5)), RPI4), 0);
}

#[test]
fn a_node_that_sends_no_heartbeats_is_asked_and_stays() {
    let mut manager = Manager::with_nodes();
    let end = manager.now.monotonic + Duration::from_secs(30);
    let mut pings = 0;
    while manager.now.monotonic < end {
        let actions = manager.wait(limits::TICK);
        assert!(closed(&actions).is_empty());
        for ping in sent(&actions) {
            assert_eq!(ping.message, ToPeer::Ping);
            pings += 1;
            manager.answer(&ping, Body::default());
        }
    }
    assert!(pings >= 20, "{pings}");
}
