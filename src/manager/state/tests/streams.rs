//! Streams: who may open one, what an agent may send, and every way in which one ends.

use super::*;
use crate::{
    bus::{Bytes, ObjectPath, Value, body::Entry, error_name, names},
    core::Credentials,
    manager::state::event::{StreamKind, StreamMethod},
};

const CALLER: &str = ":1.5";

fn rpi4() -> Object {
    Object::Node("rpi4".to_owned())
}

fn exec() -> Method {
    Method::OpenStream {
        kind: StreamKind::Exec,
        arguments: Body::of(&(vec!["id", "-u"],)),
    }
}

fn log() -> Method {
    let options: Vec<Entry<&str, Value>> = Vec::new();
    Method::OpenStream {
        kind: StreamKind::Log,
        arguments: Body::of(&("a.service", options)),
    }
}

fn data(stream: u32, bytes: usize) -> FromPeer {
    FromPeer::StreamData {
        stream,
        channel: 1,
        data: Bytes(vec![7; bytes]),
    }
}

fn end(stream: u32, status: i32) -> FromPeer {
    FromPeer::StreamEnd {
        stream,
        status,
        result: "exit-code".to_owned(),
    }
}

/// The calls to the agent among the actions: method and arguments.
fn told(actions: &[Action]) -> Vec<(String, Body)> {
    let of_action = |action: &Action| match action {
        Action::Send {
            message:
                ToPeer::Call { method, arguments } | ToPeer::CallWithoutReply { method, arguments },
            ..
        } => Some((method.clone(), arguments.clone())),
        _ => None,
    };
    actions.iter().filter_map(of_action).collect()
}

/// What the caller, and nobody else, is told of a stream.
fn heard(actions: &[Action]) -> Vec<Signal> {
    let of_action = |action: &Action| match action {
        Action::Emit(signal) => panic!("{signal:?} for everybody"),
        Action::EmitTo { client, signal, .. } => {
            assert_eq!(*client, Client::on_bus(CALLER));
            Some(signal.clone())
        }
        _ => None,
    };
    actions.iter().filter_map(of_action).collect()
}

fn ended(status: i32, result: &str) -> Vec<Signal> {
    vec![Signal::StreamEnd {
        stream: 1,
        status,
        result: result.to_owned(),
    }]
}

fn close_of(stream: u32) -> (String, Body) {
    ("StreamClose".to_owned(), Body::of(&(stream,)))
}

impl Manager {
    fn caller_is(&mut self, uid: u32) -> Vec<Action> {
        let credentials = Some(Credentials { uid, pid: 42 });
        let client = CALLER.to_owned();
        self.event(Event::ClientKnown {
            client,
            credentials,
        })
    }

    /// A stream number 1 from `rpi4`, opened by the caller, which is root.
    fn with_stream() -> Self {
        let mut manager = Self::with_nodes();
        manager.call(rpi4(), exec());
        let asked = manager.caller_is(0);
        let opened = manager.answer(&sent(&asked)[0], Body::default());
        let path = ObjectPath(names::stream_path(1));
        assert_eq!(*answer_of(&opened), Body::of(&(path,)));
        manager
    }

    fn grant(&mut self, bytes: u32) -> Vec<Action> {
        self.call(
            Object::Stream(1),
            Method::Stream(StreamMethod::Grant(bytes)),
        )
    }

    fn is_empty(&self) -> bool {
        !self.state.exists(&Object::Stream(1)) && self.state.children(&Object::Streams).is_empty()
    }
}

#[test]
fn a_stream_is_opened_for_root_once_it_is_known_who_asks() {
    let mut manager = Manager::with_nodes();
    let asked = manager.call(rpi4(), exec());
    assert_eq!(asked, [Action::LookUpClient(CALLER.to_owned())]);
    let asked = manager.caller_is(0);
    let who = format!("{CALLER} (uid 0, pid 42)");
    let arguments = Body::of(&(vec!["id", "-u"], who.as_str(), 1_u32));
    assert_eq!(told(&asked), [("Exec".to_owned(), arguments)]);
    let line = "Stream 1: Exec [\"id\", \"-u\"] on 'rpi4', asked by :1.5 (uid 0, pid 42)";
    assert!(logged(&asked).contains(&(Level::Info, line)));
    assert!(asked.contains(&Action::WatchClient(CALLER.to_owned())));
    // Nobody sees it before the agent has opened it.
    assert!(manager.is_empty());
    // Another one, by whom is known.
    let asked = manager.call(rpi4(), log());
    let options: Vec<Entry<&str, Value>> = Vec::new();
    let arguments = Body::of(&("a.service", options, who.as_str(), 2_u32));
    assert_eq!(told(&asked), [("OpenLog".to_owned(), arguments)]);
}

#[test]
fn nobody_but_root_opens_a_stream() {
    for credentials in [Some(Credentials { uid: 1000, pid: 1 }), None] {
        for method in [exec(), log()] {
            let mut manager = Manager::with_nodes();
            manager.call(rpi4(), method.clone());
            let client = CALLER.to_owned();
            let refused = manager.event(Event::ClientKnown {
                client,
                credentials,
            });
            assert_eq!(refusal(&refused).unwrap().0, error_name::ACCESS_DENIED);
            assert_eq!(told(&refused), []);
            assert!(!method.only_reads());
        }
    }
}

#[test]
fn what_can_not_be_right_is_refused_here() {
    let mut manager = Manager::with_nodes();
    let wrong = [
        (Vec::new(), error_name::INVALID_ARGS),
        (vec![""], error_name::INVALID_ARGS),
        (
            vec!["x"; limits::MAX_COMMAND_WORDS + 1],
            error_name::LIMITS_EXCEEDED,
        ),
    ];
    manager.call(rpi4(), exec());
    manager.caller_is(0);
    for (command, error) in wrong {
        let method = Method::OpenStream {
            kind: StreamKind::Exec,
            arguments: Body::of(&(command,)),
        };
        let refused = manager.call(rpi4(), method);
        assert_eq!(refusal(&refused).unwrap().0, error);
    }
    manager.lose(RPI4);
    let refused = manager.call(rpi4(), exec());
    assert_eq!(refusal(&refused).unwrap().0, error_name::OFFLINE);
}

#[test]
fn an_agent_that_knows_no_streams_is_told_of() {
    let mut manager = Manager::with_nodes();
    manager.call(rpi4(), log());
    let asked = manager.caller_is(0);
    let error = CallError::new(error_name::UNKNOWN_METHOD, "Unknown method OpenLog");
    let refused = manager.refuse(&sent(&asked)[0], error);
    let (name, text) = refusal(&refused).unwrap();
    assert_eq!(name, error_name::NOT_SUPPORTED);
    assert!(text.contains("rpi4") && text.contains("OpenLog"), "{text}");
    assert!(manager.is_empty());
    assert!(refused.contains(&Action::UnwatchClient(CALLER.to_owned())));
}

#[test]
fn no_more_is_sent_than_was_granted() {
    let mut manager = Manager::with_stream();
    let granted = manager.grant(100);
    let grant = ("StreamGrant".to_owned(), Body::of(&(1_u32, 100_u32)));
    assert_eq!(told(&granted), [grant]);
    let passed = manager.message(RPI4, data(1, 60));
    assert!(matches!(
        heard(&passed)[..],
        [Signal::StreamData {
            stream: 1,
            channel: 1,
            ..
        }]
    ));
    assert_eq!(heard(&manager.message(RPI4, data(1, 40))).len(), 1);
    let too_much = manager.message(RPI4, data(1, 1));
    assert_eq!(heard(&too_much), ended(-1, "limit"));
    assert_eq!(told(&too_much), [close_of(1)]);
    assert!(manager.is_empty());
    assert_eq!(heard(&manager.message(RPI4, data(1, 1))), []);
}

#[test]
fn what_was_granted_is_bounded() {
    let mut manager = Manager::with_stream();
    manager.grant(limits::MAX_STREAM_CREDIT);
    for bytes in [1, u32::MAX] {
        let refused = manager.grant(bytes);
        assert_eq!(refusal(&refused).unwrap().0, error_name::LIMITS_EXCEEDED);
        assert_eq!(told(&refused), []);
    }
    manager.message(RPI4, data(1, 10));
    assert_eq!(refusal(&manager.grant(10)), None);
}

#[test]
fn credit_reaches_the_node_while_the_bus_is_congested() {
    let mut manager = Manager::with_stream();
    manager.event(Event::BusCongested(true));
    assert_eq!(told(&manager.grant(10)).len(), 1);
    assert!(refusal(&manager.call(rpi4(), exec())).is_some());
}

#[test]
fn a_stream_belongs_to_its_caller_and_its_node() {
    let mut manager = Manager::with_stream();
    for method in [StreamMethod::Grant(1), StreamMethod::Close] {
        let call = Call {
            client: Client::on_bus(":1.6"),
            ..manager.next_call()
        };
        let refused = manager.event(Event::Call {
            call,
            object: Object::Stream(1),
            method: Method::Stream(method),
        });
        assert_eq!(refusal(&refused).unwrap().0, error_name::ACCESS_DENIED);
    }
    manager.grant(10);
    for message in [data(1, 1), end(1, 0)] {
        assert_eq!(manager.message(LAPTOP, message), []);
    }
    assert!(!manager.is_empty());
}

#[test]
fn every_end_is_told_once_and_leaves_nothing() {
    let mut manager = Manager::with_stream();
    let over = manager.message(RPI4, end(1, 7));
    assert_eq!(heard(&over), ended(7, "exit-code"));
    assert!(manager.is_empty());
    assert_eq!(manager.message(RPI4, end(1, 7)), []);

    let mut manager = Manager::with_stream();
    let lost = manager.lose(RPI4);
    let told_to_caller: Vec<_> = lost
        .iter()
        .filter(|action| matches!(action, Action::EmitTo { .. }))
        .collect();
    assert_eq!(told_to_caller.len(), 1);
    assert!(matches!(
        told_to_caller[0],
        Action::EmitTo { signal: Signal::StreamEnd { status: -1, result, .. }, .. }
            if result == "node-lost"
    ));
    assert!(manager.is_empty());

    let mut manager = Manager::with_stream();
    let closed = manager.call(Object::Stream(1), Method::Stream(StreamMethod::Close));
    assert_eq!(told(&closed), [close_of(1)]);
    assert_eq!(heard(&closed), []);
    assert_eq!(*answer_of(&closed), Body::default());

    let mut manager = Manager::with_stream();
    let client = CALLER.to_owned();
    let left = manager.event(Event::ClientLeft { client });
    assert_eq!(told(&left), [close_of(1)]);
    assert!(manager.is_empty());

    let mut manager = Manager::with_stream();
    let reason = "gone".to_owned();
    let lost = manager.event(Event::BusLost { reason });
    assert_eq!(told(&lost), [close_of(1)]);
    assert!(manager.is_empty());
}

#[test]
fn a_caller_that_leaves_before_the_answer_leaves_nothing() {
    let mut manager = Manager::with_nodes();
    manager.call(rpi4(), exec());
    let asked = manager.caller_is(0);
    let client = CALLER.to_owned();
    let left = manager.event(Event::ClientLeft { client });
    assert_eq!(told(&left), [close_of(1)]);
    assert_eq!(manager.answer(&sent(&asked)[0], Body::default()), []);

    // An agent that does not answer is not waited for, and told to forget it.
    let asked = manager.call(rpi4(), exec());
    assert_eq!(sent(&asked).len(), 1);
    let mut late = Vec::new();
    for _ in 0..21 {
        manager.message(RPI4, FromPeer::Heartbeat);
        manager.message(LAPTOP, FromPeer::Heartbeat);
        late.extend(manager.wait(Duration::from_secs(1)));
    }
    assert_eq!(refusal(&late).unwrap().0, error_name::TIMEOUT);
    assert!(told(&late).contains(&close_of(2)));
}

#[test]
fn streams_are_few() {
    let mut manager = Manager::with_stream();
    for _ in 1..limits::MAX_STREAMS_PER_CLIENT {
        assert_eq!(refusal(&manager.call(rpi4(), exec())), None);
    }
    let refused = manager.call(rpi4(), exec());
    assert_eq!(refusal(&refused).unwrap().0, error_name::LIMITS_EXCEEDED);
}
