//! The state, driven by hand: a driver feeds events, owns the clock, and shows what was done.

mod jobs;
mod local;
mod manager;
mod proxies;
mod streams;
mod systemd;
mod watch;

use std::time::Duration;

use super::{
    Action, Content, Event, FromBus, FromManager, FromSystemd, IncomingCall, Outgoing, Pace,
    Settings, State, SystemdAccess,
};
use crate::{
    bus::{Body, CallError, ObjectPath, Value, body::Entry, names, samples::list_of_units},
    core::{Instant, Level, Now},
};

/// What a manager or systemd saw: for signals and calls the member, for answers the serial.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    Call(String, u32, Body),
    Signal(String, Body),
    Return(u32, Body),
    Error(u32, String),
}

pub(super) fn settings() -> Settings {
    Settings {
        node: "rpi4".to_owned(),
        manager: "tcp:host=10.0.0.1,port=842".to_owned(),
        heartbeat_interval: Some(Duration::from_secs(2)),
        reconnect_interval: Some(Duration::from_secs(2)),
        manager_threshold: Some(Duration::from_secs(6)),
        loud_retries: 10,
        allow_exec: true,
        is_of_user: false,
        systemd: SystemdAccess::Private,
        machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
    }
}

/// The state with its surroundings.
pub(super) struct Driver {
    pub(super) state: State,
    now: Now,
    /// What was done since the last look, with the time in milliseconds since the start.
    done: Vec<(u64, Action)>,
    pub(super) manager: u32,
    pub(super) systemd: u32,
    next_call: u32,
}

const START: u64 = 1_000_000_000;
/// More than has room in the number of a proxy.
const START_SINCE_BOOT: u64 = (7 << 32) + START + 77;

impl Driver {
    /// An agent that was started, and has its name on the bus.
    pub(super) fn start(settings: Settings) -> Self {
        let mut driver = Self::start_without_bus(settings);
        driver.event(Event::Bus(FromBus::Attached));
        driver
    }

    /// An agent that was started.
    pub(super) fn start_without_bus(settings: Settings) -> Self {
        let mut driver = Self {
            state: State::new(settings),
            now: Now {
                monotonic: Instant(START),
                boottime: Instant(START_SINCE_BOOT),
                realtime_us: 0,
            },
            done: Vec::new(),
            manager: 0,
            systemd: 0,
            next_call: 100,
        };
        driver.event(Event::Start);
        driver
    }

    /// An agent that is connected to both sides, of which nothing is to be looked at yet.
    pub(super) fn connected(settings: Settings) -> Self {
        let mut driver = Self::start(settings);
        driver.answer_systemd_setup(&[], &[]);
        driver.register();
        driver.look();
        driver
    }

    pub(super) fn event(&mut self, event: Event) {
        let mut actions = Vec::new();
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        self.state.handle(self.now, event, &mut actions);
        let text = serde_json::to_string(&actions).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Action>>(&text).unwrap(), actions);
        let at = self.millis();
        for action in actions {
            match action {
                Action::ConnectManager { connection } => self.manager = connection,
                Action::ConnectSystemd { connection } => self.systemd = connection,
                _ => {}
            }
            self.done.push((at, action));
        }
    }

    /// Milliseconds since the start.
    pub(super) fn millis(&self) -> u64 {
        (self.now.monotonic.0 - START) / 1000
    }

    /// Lets time pass, with an alarm at each deadline.
    pub(super) fn pass(&mut self, millis: u64) {
        let end = self.now.monotonic + Duration::from_millis(millis);
        while let Some(deadline) = self.state.next_deadline().filter(|due| *due <= end) {
            assert!(deadline >= self.now.monotonic, "a deadline in the past");
            self.set_time(deadline);
            self.event(Event::Alarm);
            let next = self.state.next_deadline();
            assert!(next.is_none_or(|next| next > deadline), "spins");
        }
        self.set_time(end);
    }

    fn set_time(&mut self, at: Instant) {
        let passed = at.since(self.now.monotonic);
        self.now.monotonic = at;
        self.now.boottime = self.now.boottime + passed;
    }

    /// The process stands still.
    pub(super) fn stall(&mut self, millis: u64) {
        let end = self.now.monotonic + Duration::from_millis(millis);
        self.set_time(end);
        self.event(Event::Alarm);
    }

    /// The machine sleeps.
    pub(super) fn suspend(&mut self, time: Duration) {
        self.now.boottime = self.now.boottime + time;
    }

    /// All that was done since the last look.
    pub(super) fn look(&mut self) -> Vec<(u64, Action)> {
        std::mem::take(&mut self.done)
    }

    /// The lines of the log at `Info` or above since the last look; everything else is kept.
    pub(super) fn log(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        self.done.retain(|(_, action)| match action {
            Action::Log(level, line) => {
                if *level >= Level::Info {
                    lines.push(line.clone());
                }
                false
            }
            _ => true,
        });
        lines
    }

    /// What was sent to the manager since the last look; all is looked at.
    pub(super) fn sent_to_manager(&mut self) -> Vec<Seen> {
        seen(self.look(), |action| match action {
            Action::SendToManager(outgoing) => Some(outgoing),
            _ => None,
        })
    }

    /// What was sent to systemd since the last look; all is looked at.
    pub(super) fn sent_to_systemd(&mut self) -> Vec<Seen> {
        seen(self.look(), |action| match action {
            Action::SendToSystemd(outgoing) => Some(outgoing),
            _ => None,
        })
    }

    pub(super) fn manager_says(&mut self, event: FromManager) {
        let connection = self.manager;
        self.event(Event::Manager { connection, event });
    }

    pub(super) fn systemd_says(&mut self, event: FromSystemd) {
        let connection = self.systemd;
        self.event(Event::Systemd { connection, event });
    }

    pub(super) fn answer(&mut self, serial: u32, result: Result<Body, CallError>) {
        self.systemd_says(FromSystemd::Answer { serial, result });
    }

    /// The connection to the manager stands and the node is registered.
    pub(super) fn register(&mut self) {
        self.manager_says(FromManager::Connected);
        self.manager_says(FromManager::Answer {
            serial: 1,
            result: Ok(Body::default()),
        });
    }

    /// The connection to systemd stands, and it has these jobs and units.
    pub(super) fn answer_systemd_setup(
        &mut self,
        jobs: &[(u32, &str, &str)],
        units: &[(&str, &str, &str)],
    ) {
        self.systemd_says(FromSystemd::Connected);
        self.answer(1, Ok(Body::default()));
        self.answer(2, Ok(list_of_jobs(jobs)));
        self.answer(3, Ok(list_of_units(units)));
    }

    /// The manager calls a method of the agent; returns the serial of the call.
    pub(super) fn call(&mut self, member: &str, body: Body) -> u32 {
        self.next_call += 1;
        self.manager_says(FromManager::Call(IncomingCall {
            serial: self.next_call,
            expects_reply: true,
            path: names::INTERNAL_AGENT_PATH.to_owned(),
            interface: names::INTERNAL_AGENT_INTERFACE.to_owned(),
            member: member.to_owned(),
            body,
        }));
        self.next_call
    }

    /// The manager wants a job: the serials of its call, and of ours to systemd.
    pub(super) fn request(&mut self, member: &str, unit: &str, id: u32) -> (u32, u32) {
        let call = self.call(member, Body::of(&(unit, "replace", id)));
        let sent = self.sent_to_systemd();
        let [Seen::Call(asked, serial, body)] = sent.as_slice() else {
            panic!("{sent:?}");
        };
        assert_eq!(asked, member);
        assert_eq!(*body, Body::of(&(unit, "replace")));
        (call, *serial)
    }

    /// A job that systemd has accepted under `number`.
    pub(super) fn accepted(&mut self, member: &str, unit: &str, id: u32, number: u32) {
        let (call, serial) = self.request(member, unit, id);
        self.answer(serial, Ok(job_path(number)));
        assert_eq!(
            self.sent_to_manager()[0],
            Seen::Return(call, Body::default())
        );
    }
}

fn seen(
    done: Vec<(u64, Action)>,
    mut outgoing: impl FnMut(Action) -> Option<Outgoing>,
) -> Vec<Seen> {
    done.into_iter()
        .filter_map(|(_, action)| outgoing(action))
        .map(|Outgoing { serial, content }| match content {
            Content::Call { member, body, .. } => Seen::Call(member.into_owned(), serial, body),
            Content::Signal { member, body, .. } => Seen::Signal(member.into_owned(), body),
            Content::Return { to, body } => Seen::Return(to, body),
            Content::Error { to, error } => Seen::Error(to, error.name.into_owned()),
        })
        .collect()
}

pub(super) fn job_path(number: u32) -> Body {
    Body::of(&(ObjectPath(format!(
        "/org/freedesktop/systemd1/job/{number}"
    )),))
}

pub(super) fn list_of_jobs(jobs: &[(u32, &str, &str)]) -> Body {
    let path = || ObjectPath("/a".to_owned());
    let rows: Vec<_> = jobs
        .iter()
        .map(|(number, unit, state)| (*number, *unit, "start", *state, path(), path()))
        .collect();
    Body::of(&(rows,))
}

pub(super) fn properties(of_unit: &[(&'static str, &str)]) -> Body {
    let entries: Vec<_> = of_unit
        .iter()
        .map(|(name, value)| Entry(*name, Value::Str((*value).to_owned())))
        .collect();
    Body::of(&(entries,))
}

pub(super) fn done(id: u32, result: &str) -> Seen {
    Seen::Signal("JobDone".to_owned(), Body::of(&(id, result)))
}

pub(super) fn running(id: u32) -> Seen {
    Seen::Signal("JobStateChanged".to_owned(), Body::of(&(id, "running")))
}

pub(super) fn heartbeat() -> Seen {
    Seen::Signal("Heartbeat".to_owned(), Body::default())
}

/// The attempts to reach the manager among these actions: when each started.
pub(super) fn attempts(done: &[(u64, Action)]) -> Vec<u64> {
    done.iter()
        .filter(|(_, action)| matches!(action, Action::ConnectManager { .. }))
        .map(|(at, _)| *at)
        .collect()
}

#[test]
fn the_same_events_give_the_same_actions() {
    let run = || {
        let mut driver = Driver::connected(settings());
        driver.accepted("StartUnit", "a.service", 1, 10);
        driver.pass(60_000);
        format!("{:?}", driver.look())
    };
    assert_eq!(run(), run());
}

#[test]
fn an_idle_agent_wakes_on_the_tick_only() {
    let mut driver = Driver::connected(settings());
    for second in 1..=30 {
        let next = driver.state.next_deadline().unwrap();
        assert_eq!(next, Instant(START + second * 1_000_000));
        driver.pass(1000);
        let pings = driver.sent_to_manager();
        for seen in pings {
            if let Seen::Call(_, serial, _) = seen {
                let result = Ok(Body::default());
                driver.manager_says(FromManager::Answer { serial, result });
            }
        }
    }
}

#[test]
fn a_stop_ends_everything() {
    let mut driver = Driver::connected(settings());
    driver.accepted("StartUnit", "a.service", 1, 10);
    driver.event(Event::Stop);
    let actions: Vec<Action> = driver
        .look()
        .into_iter()
        .map(|(_, action)| action)
        .collect();
    assert_eq!(
        actions[1..],
        [
            Action::CloseManager,
            Action::CloseSystemd,
            Action::Exit { status: 0 }
        ]
    );
    assert_eq!(driver.state.next_deadline(), None);
    driver.systemd_says(FromSystemd::JobRemoved {
        number: 10,
        result: "done".to_owned(),
    });
    assert!(driver.look().is_empty());
}
