//! All that the agent decides: plain data and synchronous code.
//!
//! No socket, no clock, no randomness is here. The loop calls [`State::handle`] with each event
//! and performs the actions in order; [`State::next_deadline`] says when to send
//! [`Event::Alarm`]. The same events with the same readings of the clocks give the same actions.
//!
//! - `manager`: the connection to the manager: attempts, registration, liveness, heartbeat
//! - `dispatch`: what the manager calls
//! - `requests`: calls to systemd that wait for an answer, and their deadlines
//! - `jobs`: the jobs that the manager asked for, until systemd has ended them
//! - `systemd`: the connection to systemd, and what follows its loss
//! - `infer`: how a job ended that nobody watched
//! - `local`: the message bus of the node, and what its clients call
//! - `proxies`, `target`: services of this node that stand for units of others
//! - `dependencies`: units of this node on which others depend
//! - `streams`, `transient`: logs and output of commands for the manager
//! - `orders`: units that the agent itself starts and stops
//! - `units`: what is known of the units
//! - `watch`: what the manager is told of them
//! - `retry`, `timers`, `event`: what the others use

mod dependencies;
mod dispatch;
mod event;
mod infer;
mod jobs;
mod local;
mod manager;
mod orders;
mod proxies;
mod requests;
mod retry;
mod streams;
mod systemd;
mod target;
mod timers;
mod transient;
mod units;
mod watch;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::timers::Timer;
pub use event::{
    Action, Content, Event, FromBus, FromManager, FromSource, FromSystemd, IncomingCall, LocalCall,
    Method, Object, Outgoing, Pace, Target,
};
pub(super) use jobs::job_number;
pub use target::BadTarget;

use crate::{
    core::{Instant, Level, Now},
    limits,
};

/// What the agent was told by its configuration and its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The name under which the node registers.
    pub node: String,
    /// The manager's D-Bus address, for the log.
    pub manager: String,
    /// Time between two heartbeats; `None` for no heartbeats. Not zero.
    pub heartbeat_interval: Option<Duration>,
    /// Longest time between the starts of two attempts to reach the manager; `None` when a
    /// connection that failed or was lost is not opened again.
    pub reconnect_interval: Option<Duration>,
    /// A manager silent this long is taken for lost; `None` if never. Not zero.
    pub manager_threshold: Option<Duration>,
    /// Failed attempts in a row to reach the manager that are each logged; later ones are once a
    /// minute.
    pub loud_retries: u32,
    /// Whether the manager may have commands run on the node.
    pub allow_exec: bool,
    /// Whether systemd is that of a user, whose journal is another one.
    pub is_of_user: bool,
    /// How systemd is reached.
    pub systemd: SystemdAccess,
    /// The machine's id (machine-id(5)), for `GetMachineId`; empty if it has none.
    pub machine_id: String,
}

/// How the local systemd is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemdAccess {
    /// On its private socket, which serves root only, needs no message bus and sends every signal
    /// unasked.
    Private,
    /// On the system bus, where signals have to be asked for.
    Bus,
}

/// The state of the agent.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    timers: timers::Timers,
    /// How far the boot-time clock was ahead of the monotonic one: the time spent in suspend.
    suspended: Duration,
    manager: manager::Manager,
    systemd: systemd::Systemd,
    requests: requests::Requests,
    jobs: jobs::Jobs,
    units: units::Units,
    watch: watch::Watch,
    local: local::Local,
    proxies: proxies::Proxies,
    dependencies: dependencies::Dependencies,
    orders: orders::Orders,
    streams: streams::Streams,
    /// Whether the service manager knows that the start is complete.
    is_ready: bool,
    /// Whether the manager wants to know how long systemd's jobs take.
    measures_jobs: bool,
}

/// One call of [`State::handle`]: when it is, and what is to be done.
struct Turn<'a> {
    now: Now,
    actions: &'a mut Vec<Action>,
}

impl Turn<'_> {
    const fn at(&self) -> Instant {
        self.now.monotonic
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn log(&mut self, level: Level, line: impl Into<String>) {
        self.act(Action::Log(level, line.into()));
    }
}

impl State {
    /// The state before [`Event::Start`].
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            timers: timers::Timers::default(),
            suspended: Duration::ZERO,
            manager: manager::Manager::new(&settings),
            systemd: systemd::Systemd::default(),
            requests: requests::Requests::default(),
            jobs: jobs::Jobs::default(),
            units: units::Units::default(),
            watch: watch::Watch::default(),
            local: local::Local::default(),
            proxies: proxies::Proxies::default(),
            dependencies: dependencies::Dependencies::default(),
            orders: orders::Orders::default(),
            streams: streams::Streams::default(),
            is_ready: false,
            measures_jobs: false,
            settings,
        }
    }

    /// Handles one event and appends what is to be done.
    pub fn handle(&mut self, now: Now, event: Event, actions: &mut Vec<Action>) {
        let turn = &mut Turn { now, actions };
        self.notice_suspend(turn, &event);
        match event {
            Event::Start => self.start(turn),
            Event::Alarm => self.alarm(turn),
            Event::Stop => self.stop(turn),
            Event::Reload => turn.act(Action::ReloadConfiguration),
            Event::Reloaded(pace) => self.reloaded(turn, pace),
            Event::Manager { connection, event } => self.manager_reported(turn, connection, event),
            Event::Systemd { connection, event } => self.systemd_reported(turn, connection, event),
            Event::Bus(event) => self.bus_reported(turn, event),
            Event::Source { number, event } => self.source_reported(turn, number, event),
            Event::LogSettings { level, target } => self.log_set(turn, level, target),
        }
    }

    /// When [`Event::Alarm`] is to be sent.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn start(&mut self, turn: &mut Turn<'_>) {
        self.timers.set(Timer::Tick, turn.at() + limits::TICK);
        self.manager.begin(turn.now);
        self.proxies.begin(turn.now.boottime);
        self.attach_bus(turn);
        self.connect_systemd(turn);
    }

    /// The start is complete when systemd is known and the first attempt at the bus has ended: not
    /// only when bus and manager are reached, for which a boot must not wait.
    fn become_ready(&mut self, turn: &mut Turn<'_>) {
        if !self.is_ready && self.manager.has_tried() && self.local.has_tried() {
            self.is_ready = true;
            turn.act(Action::Ready);
        }
    }

    /// systemd's jobs run on; the manager ends its view of them when it sees the node go.
    fn stop(&mut self, turn: &mut Turn<'_>) {
        turn.log(Level::Info, "Stopping");
        self.end(turn, 0);
    }

    fn end(&mut self, turn: &mut Turn<'_>, status: u8) {
        self.forget_manager(turn);
        self.systemd.stop();
        self.requests.clear();
        self.timers.clear_all();
        turn.act(Action::CloseManager);
        turn.act(Action::CloseSystemd);
        turn.act(Action::Exit { status });
    }

    fn alarm(&mut self, turn: &mut Turn<'_>) {
        while let Some((timer, due)) = self.timers.take_due(turn.at()) {
            match timer {
                Timer::Tick => self.tick(turn, due),
                Timer::Heartbeat => self.heartbeat_if_due(turn),
                Timer::Ping => self.ping_if_silent(turn),
                Timer::ManagerSilence => self.manager_silent(turn),
                Timer::ManagerConnect => self.manager_connect_overdue(turn),
                Timer::Registration => self.registration_overdue(turn),
                Timer::ManagerRetry => self.connect_manager(turn),
                Timer::SystemdConnect => self.systemd_connect_overdue(turn),
                Timer::SystemdAnswer => self.systemd_answers_overdue(turn),
                Timer::SystemdRetry => self.connect_systemd(turn),
                Timer::BusConnect => self.bus_overdue(turn),
                Timer::BusRetry => self.attach_bus(turn),
                Timer::Remainders => self.stop_remainders(turn),
                Timer::Callers => self.end_unclaimed(turn),
            }
        }
    }

    /// `due` is when the tick should have come: ticks stay on their grid however late they are
    /// served.
    fn tick(&mut self, turn: &mut Turn<'_>, due: Instant) {
        let now = turn.at();
        let on_grid = due + limits::TICK;
        let next = if on_grid > now {
            on_grid
        } else {
            now + limits::TICK
        };
        self.timers.set(Timer::Tick, next);
        turn.act(Action::Watchdog);
        if now.since(due) >= limits::STALL {
            self.excuse_silence(now);
        }
        self.ping_if_silent(turn);
        self.heartbeat_if_due(turn);
    }

    /// Nobody could be heard while the machine slept.
    fn notice_suspend(&mut self, turn: &mut Turn<'_>, event: &Event) {
        let suspended = turn.now.boottime.since(turn.at());
        if *event == Event::Start {
            self.suspended = suspended;
        }
        let slept = suspended.saturating_sub(self.suspended);
        if slept >= limits::SUSPEND {
            self.suspended = suspended;
            turn.log(
                Level::Info,
                format!("The machine was suspended for {} s", slept.as_secs()),
            );
            self.excuse_silence(turn.at());
        }
    }
}
