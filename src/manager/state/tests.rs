//! The rules of the manager, each as one test. A test feeds events and looks at the actions.

mod bluechi;
mod calls;
mod clients;
mod jobs;
mod metrics;
mod monitors;
mod nodes;
mod private;
mod proxies;
mod proxies_over_faults;
mod reload;
mod requests;
mod streams;

use std::time::Duration;

use super::{
    Settings, State, event,
    event::{
        Action, Call, Client, Dialect, Event, FromPeer, Method, Object, PeerId, Signal, ToPeer,
    },
};
use crate::{
    bus::{Body, CallError, JobKind},
    core::{Instant, Level, Now},
    limits,
};

const LAPTOP: PeerId = 1;
const RPI4: PeerId = 2;
const LIST_NODES: Method = Method::ListNodes {
    with_addresses: false,
};
const START: u64 = 1_000_000_000;

/// An agent claims this name.
const fn register(serial: u32, name: String) -> FromPeer {
    FromPeer::Register {
        serial,
        name,
        dialect: Dialect::Hirte,
    }
}

/// A manager of the nodes `laptop` and `rpi4` on the bus, and its clock.
struct Manager {
    state: State,
    now: Now,
    serial: u32,
}

impl Manager {
    /// Neither node is connected.
    fn empty() -> Self {
        Self::with_heartbeats(None)
    }

    /// Neither node is connected; heartbeats are sent at this interval.
    fn with_heartbeats(heartbeat_interval: Option<Duration>) -> Self {
        let settings = Settings {
            nodes: vec!["laptop".into(), "rpi4".into()],
            silence_limit: Duration::from_secs(6),
            heartbeat_interval,
        };
        let mut manager = Self {
            state: State::new(settings),
            now: Now {
                monotonic: Instant(START),
                boottime: Instant(START),
                realtime_us: 1_700_000_000_000_000,
            },
            serial: 0,
        };
        manager.event(Event::Started { last_job_id: 0 });
        manager.event(Event::BusAttached);
        manager
    }

    /// Both nodes are online.
    fn with_nodes() -> Self {
        let mut manager = Self::empty();
        manager.register(LAPTOP, "laptop");
        manager.register(RPI4, "rpi4");
        manager
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.state.handle(self.now, event, &mut actions);
        actions
    }

    fn connect(&mut self, peer: PeerId) -> Vec<Action> {
        self.event(Event::PeerConnected {
            peer,
            address: format!("10.0.0.{peer}"),
            fd: 7,
        })
    }

    fn register(&mut self, peer: PeerId, name: &str) -> Vec<Action> {
        self.connect(peer);
        let name = name.to_owned();
        self.message(peer, register(1, name))
    }

    fn message(&mut self, peer: PeerId, message: FromPeer) -> Vec<Action> {
        self.event(Event::PeerMessage { peer, message })
    }

    fn lose(&mut self, peer: PeerId) -> Vec<Action> {
        let reason = "reset".to_owned();
        self.event(Event::PeerLost { peer, reason })
    }

    fn call(&mut self, object: Object, method: Method) -> Vec<Action> {
        let call = self.next_call();
        self.event(Event::Call {
            call,
            object,
            method,
        })
    }

    fn next_call(&mut self) -> Call {
        self.serial += 1;
        Call {
            client: Client::on_bus(":1.5"),
            serial: self.serial,
            expects_reply: true,
            dialect: Dialect::Hirte,
        }
    }

    fn start(&mut self, node: &str, unit: &str) -> Vec<Action> {
        let method = Method::QueueJob {
            kind: JobKind::Start,
            unit: unit.to_owned(),
            mode: "replace".to_owned(),
        };
        self.call(Object::Node(node.to_owned()), method)
    }

    fn relay(&mut self, node: &str, method: &str, arguments: Body) -> Vec<Action> {
        let method = Method::Relay {
            method: method.to_owned(),
            arguments,
        };
        self.call(Object::Node(node.to_owned()), method)
    }

    /// The job `id` of `rpi4`, accepted by its systemd.
    fn accepted_job(&mut self) -> u32 {
        let request = sent(&self.start("rpi4", "httpd.service"))[0].clone();
        self.answer(&request, Body::default());
        self.state.jobs.announced_ids().last().unwrap()
    }

    /// The agent answers one of our calls.
    fn answer(&mut self, request: &Sent, body: Body) -> Vec<Action> {
        let reply_serial = request.serial;
        self.message(request.peer, FromPeer::Return { reply_serial, body })
    }

    /// The agent refuses one of our calls.
    fn refuse(&mut self, request: &Sent, error: CallError) -> Vec<Action> {
        let reply_serial = request.serial;
        self.message(
            request.peer,
            FromPeer::Error {
                reply_serial,
                error,
            },
        )
    }

    fn done(&mut self, peer: PeerId, id: u32, result: &str) -> Vec<Action> {
        let result = result.to_owned();
        self.message(peer, FromPeer::JobDone { id, result })
    }

    /// Moves the clock without running the deadlines on the way, as if the process was stopped.
    fn freeze(&mut self, time: Duration) {
        self.now.monotonic = self.now.monotonic + time;
        self.now.boottime = self.now.boottime + time;
        self.now.realtime_us += u64::try_from(time.as_micros()).unwrap();
    }

    /// Runs the clock, with every deadline on its way.
    fn wait(&mut self, time: Duration) -> Vec<Action> {
        self.wait_with(time, |_| {})
    }

    /// Runs the clock; `each_tick` is called before each deadline.
    fn wait_with(&mut self, time: Duration, mut each_tick: impl FnMut(&mut Self)) -> Vec<Action> {
        let end = self.now.monotonic + time;
        let mut actions = Vec::new();
        while let Some(at) = self.state.next_deadline().filter(|at| *at <= end) {
            self.freeze(at.since(self.now.monotonic));
            each_tick(self);
            actions.extend(self.event(Event::Deadline));
            assert!(self.state.next_deadline() > Some(self.now.monotonic));
        }
        self.freeze(end.since(self.now.monotonic));
        actions
    }
}

/// A message that the manager sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    peer: PeerId,
    serial: u32,
    message: ToPeer,
}

impl Sent {
    fn is_call(&self, name: &str) -> bool {
        matches!(&self.message, ToPeer::Call { method, .. } if method == name)
    }
}

fn sent(actions: &[Action]) -> Vec<Sent> {
    let of_action = |action: &Action| match action {
        Action::Send {
            peer,
            serial,
            message,
        } => Some(Sent {
            peer: *peer,
            serial: *serial,
            message: message.clone(),
        }),
        _ => None,
    };
    actions.iter().filter_map(of_action).collect()
}

fn closed(actions: &[Action]) -> Vec<PeerId> {
    let of_action = |action: &Action| match action {
        Action::Close(peer) => Some(*peer),
        _ => None,
    };
    actions.iter().filter_map(of_action).collect()
}

fn logged(actions: &[Action]) -> Vec<(Level, &str)> {
    fn of_action(action: &Action) -> Option<(Level, &str)> {
        match action {
            Action::Log(level, text) => Some((*level, text)),
            _ => None,
        }
    }
    actions.iter().filter_map(of_action).collect()
}

/// The name of the error that a client gets, and its text.
fn refusal(actions: &[Action]) -> Option<(&str, &str)> {
    actions.iter().find_map(|action| match action {
        Action::ReplyError { error, .. } => Some((error.name.as_ref(), error.message.as_str())),
        _ => None,
    })
}

fn answer_of(actions: &[Action]) -> &Body {
    let found = actions.iter().find_map(|action| match action {
        Action::Reply { body, .. } => Some(body),
        _ => None,
    });
    found.unwrap()
}

fn signals(actions: &[Action]) -> Vec<&Signal> {
    fn of_action(action: &Action) -> Option<&Signal> {
        match action {
            Action::Emit(signal) => Some(signal),
            _ => None,
        }
    }
    actions.iter().filter_map(of_action).collect()
}

fn removed(id: u32, result: &str) -> Action {
    Action::Emit(Signal::JobRemoved {
        id,
        node: "rpi4".to_owned(),
        unit: "httpd.service".to_owned(),
        result: result.to_owned(),
    })
}

/// What clients and the agents see, without logs and status.
fn visible(actions: Vec<Action>) -> Vec<Action> {
    let hidden = |action: &Action| matches!(action, Action::Log(..) | Action::Status(_));
    actions
        .into_iter()
        .filter(|action| !hidden(action))
        .collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_idle_manager_wakes_only_for_the_tick() {
    let mut manager = Manager::empty();
    for _ in 0..5 {
        let tick = manager.state.next_deadline().unwrap();
        assert_eq!(tick, manager.now.monotonic + limits::TICK);
        assert_eq!(manager.wait(SECOND), [Action::Watchdog]);
    }
}

#[test]
fn it_is_ready_when_the_first_attempt_at_the_bus_has_ended_either_way() {
    for event in [
        Event::BusAttached,
        Event::BusLost {
            reason: "no such file".to_owned(),
        },
    ] {
        let mut manager = Manager::empty();
        manager.state = State::new(manager.state.settings.clone());
        let started = manager.event(Event::Started { last_job_id: 0 });
        assert_eq!(started, [Action::AttachBus]);
        assert!(manager.event(event.clone()).contains(&Action::Ready));
        assert!(!manager.event(event).contains(&Action::Ready));
    }
}

#[test]
fn the_bus_is_tried_again_after_0_and_0_1_and_0_2_and_at_most_2_seconds() {
    let mut manager = Manager::empty();
    let mut waits = Vec::new();
    for _ in 0..8 {
        let reason = "gone".to_owned();
        manager.event(Event::BusLost { reason });
        let lost_at = manager.now.monotonic;
        loop {
            let at = manager.state.next_deadline().unwrap();
            manager.freeze(at.since(manager.now.monotonic));
            if manager.event(Event::Deadline).contains(&Action::AttachBus) {
                break;
            }
        }
        waits.push(manager.now.monotonic.since(lost_at).as_millis());
    }
    assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 2000, 2000]);
    manager.event(Event::BusAttached);
    let reason = "gone".to_owned();
    manager.event(Event::BusLost { reason });
    assert_eq!(manager.state.next_deadline(), Some(manager.now.monotonic));
}

#[test]
fn a_taken_bus_name_ends_the_process_with_status_1() {
    let mut manager = Manager::empty();
    let reason = "another program owns it".to_owned();
    let name = "org.containers.hirte".to_owned();
    let actions = manager.event(Event::BusNameRefused { name, reason });
    assert_eq!(logged(&actions)[0].0, Level::Error);
    assert!(actions.contains(&Action::Exit { status: 1 }));
}

#[test]
fn a_stop_ends_requests_and_jobs_and_closes_every_connection() {
    let mut manager = Manager::with_nodes();
    let id = manager.accepted_job();
    manager.relay("laptop", "ListUnits", Body::default());
    manager.connect(9);
    let actions = manager.event(Event::Stop);
    assert_eq!(closed(&actions), [LAPTOP, RPI4, 9]);
    assert!(actions.contains(&removed(id, "node-lost")));
    assert!(refusal(&actions).is_some());
    assert_eq!(actions.last(), Some(&Action::Exit { status: 0 }));
    let of_caller = |line: &(Level, &str)| line.1.contains("asked by :1.5 (uid unknown (left))");
    assert!(logged(&actions).iter().any(of_caller));
}

#[test]
fn lines_of_the_log_can_not_be_forged() {
    let mut manager = Manager::empty();
    let actions = manager.register(9, "x'\nRegistered managed node from fd 3 as 'rpi4");
    for (_, line) in logged(&actions) {
        assert!(!line.contains('\n'), "{line}");
    }
}
