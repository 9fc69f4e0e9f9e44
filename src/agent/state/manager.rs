//! The connection to the manager: attempts, registration, liveness and heartbeat.

use std::time::Duration;

use super::{
    Action, Content, FromManager, Outgoing, Pace, Settings, State, Timer, Turn, event::Serials,
    local::announce, retry::Retry,
};
use crate::{
    bus::{Body, CallError, error_name, names},
    core::{Instant, Level, Now},
    limits,
};

/// What is known of the manager and the connection to it.
#[derive(Debug)]
pub(super) struct Manager {
    /// Number of the latest connection.
    connection: u32,
    phase: Phase,
    serials: Serials,
    retry: Retry,
    /// Whether an attempt has ever been made.
    has_tried: bool,
    heard: Instant,
    /// When the last message came; zero for never.
    seen: Now,
    /// Since when the node is not registered; zero while it is.
    disconnected: Now,
    /// Our call that asks whether the manager lives, while it is not answered.
    ping: Option<u32>,
    /// When the next heartbeat is due, if any is wanted.
    heartbeat_due: Instant,
}

#[derive(Debug, PartialEq)]
enum Phase {
    /// No connection, and no attempt.
    Idle,
    /// The edge tries.
    Connecting,
    /// The connection stands, and `Register` waits for its answer.
    Registering { call: u32 },
    /// The node is known to the manager.
    Registered { since: Instant },
}

/// Who waits for an answer: a call of the manager on one of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) connection: u32,
    pub(super) serial: u32,
    pub(super) expects_reply: bool,
}

impl Manager {
    pub(super) fn new(settings: &Settings) -> Self {
        let longest = settings.reconnect_interval.unwrap_or_default();
        Self {
            connection: 0,
            phase: Phase::Idle,
            serials: Serials::default(),
            retry: Retry::new(limits::MANAGER_FIRST_RETRY, longest, settings.loud_retries),
            has_tried: false,
            heard: Instant::default(),
            seen: Now::default(),
            disconnected: Now::default(),
            ping: None,
            heartbeat_due: Instant::default(),
        }
    }

    /// Whether messages can be sent: the manager calls even before it answers `Register`.
    const fn stands(&self) -> bool {
        matches!(
            self.phase,
            Phase::Registering { .. } | Phase::Registered { .. }
        )
    }

    pub(super) const fn is_registered(&self) -> bool {
        matches!(self.phase, Phase::Registered { .. })
    }

    /// The property `Status`.
    pub(super) const fn status(&self) -> &'static str {
        if self.is_registered() {
            "online"
        } else {
            "offline"
        }
    }

    /// When the manager was last heard; zero for never.
    pub(super) const fn seen(&self) -> Now {
        self.seen
    }

    /// Since when the node is not registered; zero while it is.
    pub(super) const fn disconnected(&self) -> Now {
        self.disconnected
    }

    /// The agent runs, and is not registered.
    pub(super) const fn begin(&mut self, now: Now) {
        self.disconnected = now;
    }

    pub(super) const fn has_tried(&self) -> bool {
        self.has_tried
    }

    /// Whether this caller still waits: nothing is answered on another connection than that on
    /// which it was asked.
    pub(super) const fn is_waiting(&self, caller: Caller) -> bool {
        self.stands() && caller.connection == self.connection
    }
}

impl State {
    /// The edge is told to try to reach the manager.
    pub(super) fn connect_manager(&mut self, turn: &mut Turn<'_>) {
        let manager = &mut self.manager;
        manager.has_tried = true;
        manager.connection = manager.connection.wrapping_add(1);
        manager.phase = Phase::Connecting;
        manager.serials = Serials::default();
        let failures = manager.retry.start(turn.at());
        let level = if manager.retry.is_loud() {
            Level::Info
        } else {
            Level::Debug
        };
        let line = if failures == 0 {
            format!("Connecting to manager on {}", self.settings.manager)
        } else {
            format!("Trying to connect to manager (try {failures})")
        };
        turn.log(level, line);
        turn.act(Action::ConnectManager {
            connection: manager.connection,
        });
        let limit = turn.at() + limits::MANAGER_CONNECT;
        self.timers.set(Timer::ManagerConnect, limit);
    }

    /// Handles what connection number `connection` reports, if it is the present one.
    pub(super) fn manager_reported(
        &mut self,
        turn: &mut Turn<'_>,
        connection: u32,
        event: FromManager,
    ) {
        if connection != self.manager.connection || self.manager.phase == Phase::Idle {
            return;
        }
        if let FromManager::Answer { serial, .. } = event
            && self.manager.ping == Some(serial)
        {
            // Even an error is a sign of life.
            self.manager.ping = None;
        }
        self.hear_manager(turn.at());
        if !matches!(event, FromManager::Connected | FromManager::Closed(_)) {
            self.manager.seen = turn.now;
        }
        match event {
            FromManager::Connected => self.register(turn),
            FromManager::Closed(reason) => self.lose_manager(turn, &reason),
            FromManager::Call(call) => self.dispatch(turn, call),
            FromManager::Answer { serial, result } => self.manager_answered(turn, serial, result),
            FromManager::Signal => {}
        }
    }

    fn register(&mut self, turn: &mut Turn<'_>) {
        let call = self.send_to_manager(
            turn,
            Content::Call {
                destination: names::MANAGER_BUS_NAME.into(),
                path: names::INTERNAL_MANAGER_PATH.into(),
                interface: names::INTERNAL_MANAGER_INTERFACE.into(),
                member: "Register".into(),
                body: Body::of(&(self.settings.node.as_str(),)),
            },
        );
        self.manager.phase = Phase::Registering { call };
        self.hear_manager(turn.at());
        self.timers.clear(Timer::ManagerConnect);
        let limit = turn.at() + limits::REGISTER_ANSWER;
        self.timers.set(Timer::Registration, limit);
    }

    fn manager_answered(
        &mut self,
        turn: &mut Turn<'_>,
        serial: u32,
        result: Result<Body, CallError>,
    ) {
        if self.manager.phase == (Phase::Registering { call: serial }) {
            match result {
                Ok(_) => self.registered(turn),
                Err(error) => self.refused(turn, &error.to_string()),
            }
        }
    }

    fn registered(&mut self, turn: &mut Turn<'_>) {
        self.manager.phase = Phase::Registered { since: turn.at() };
        self.manager.disconnected = Now::default();
        self.manager.retry.succeeded();
        self.timers.clear(Timer::Registration);
        if let Some(interval) = self.settings.heartbeat_interval {
            self.set_heartbeat(turn.at() + interval);
        }
        let line = format!("Connected to manager as '{}'", self.settings.node);
        turn.act(Action::Status(line.clone()));
        turn.log(Level::Info, line);
        announce(turn, "Status", self.manager.status());
        self.announce_proxies(turn);
        self.await_dependencies(turn);
    }

    /// Connects to the manager at another address from here on, until the agent ends.
    pub(super) fn switch_manager(
        &mut self,
        turn: &mut Turn<'_>,
        address: String,
    ) -> Result<(), CallError> {
        if address == self.settings.manager {
            let text = "Failed to switch manager because already connected to the manager";
            return Err(CallError::new(error_name::FAILED, text));
        }
        turn.log(Level::Info, format!("Switching to manager on {address}"));
        announce(turn, "ManagerAddress", &address);
        turn.act(Action::SetManagerAddress(address.clone()));
        self.settings.manager = address;
        turn.act(Action::CloseManager);
        self.note_disconnection(turn);
        self.forget_manager(turn);
        self.timers.clear(Timer::ManagerRetry);
        self.manager.retry.succeeded();
        // Before the first attempt systemd is waited for.
        if self.manager.has_tried {
            self.connect_manager(turn);
        }
        Ok(())
    }

    fn note_disconnection(&mut self, turn: &mut Turn<'_>) {
        if self.manager.is_registered() {
            self.manager.disconnected = turn.now;
            announce(turn, "Status", "offline");
        }
    }

    fn refused(&mut self, turn: &mut Turn<'_>, reason: &str) {
        let line = format!("Registering as '{}' failed: {reason}", self.settings.node);
        let next = self.manager.retry.refused();
        let level = if self.manager.retry.is_news(reason) {
            Level::Error
        } else {
            Level::Debug
        };
        turn.log(level, line);
        turn.act(Action::CloseManager);
        self.forget_manager(turn);
        self.retry_manager(turn, next);
    }

    /// Sets when the next attempt starts, if there is to be one.
    fn retry_manager(&mut self, turn: &mut Turn<'_>, next: Instant) {
        if self.settings.reconnect_interval.is_some() {
            self.timers.set(Timer::ManagerRetry, next.max(turn.at()));
        } else {
            let line = "Not connecting to manager again, because ReconnectInterval is 0";
            turn.act(Action::Status(line.to_owned()));
            turn.log(Level::Warn, line);
        }
    }

    pub(super) fn registration_overdue(&mut self, turn: &mut Turn<'_>) {
        let waited = limits::REGISTER_ANSWER.as_secs();
        self.refused(turn, &format!("no answer within {waited} s"));
    }

    pub(super) fn manager_connect_overdue(&mut self, turn: &mut Turn<'_>) {
        let waited = limits::MANAGER_CONNECT.as_secs();
        turn.act(Action::CloseManager);
        self.lose_manager(turn, &format!("no connection within {waited} s"));
    }

    pub(super) fn manager_silent(&mut self, turn: &mut Turn<'_>) {
        let silent = turn.at().since(self.manager.heard).as_millis();
        turn.act(Action::CloseManager);
        self.lose_manager(turn, &format!("the manager was silent for {silent} ms"));
    }

    /// The connection is gone, or the attempt to make one failed.
    fn lose_manager(&mut self, turn: &mut Turn<'_>, reason: &str) {
        let manager = &mut self.manager;
        let next = if let Phase::Registered { since } = manager.phase {
            turn.log(Level::Warn, format!("Disconnected from manager: {reason}"));
            manager.retry.lost(since, turn.at())
        } else {
            let was_shown = manager.retry.is_news(reason);
            let next = manager.retry.failed();
            let level = if was_shown { Level::Warn } else { Level::Debug };
            if manager.connection == 1 {
                let line = format!("Initial manager connection failed, retrying: {reason}");
                turn.log(Level::Warn, line);
            } else {
                turn.log(level, format!("Connecting to manager failed: {reason}"));
            }
            next
        };
        self.note_disconnection(turn);
        self.forget_manager(turn);
        turn.act(Action::Status("Trying to connect to manager".to_owned()));
        self.retry_manager(turn, next);
    }

    /// Nothing of a connection outlives it: its requests are not answered, its jobs not reported.
    pub(super) fn forget_manager(&mut self, turn: &mut Turn<'_>) {
        self.close_streams(turn);
        self.manager.phase = Phase::Idle;
        self.manager.ping = None;
        self.jobs.forget_requests();
        self.watch.forget_subscriptions();
        self.dependencies.forget();
        self.measures_jobs = false;
        for timer in [
            Timer::Heartbeat,
            Timer::Ping,
            Timer::ManagerSilence,
            Timer::ManagerConnect,
            Timer::Registration,
            Timer::Remainders,
        ] {
            self.timers.clear(timer);
        }
    }

    fn send_to_manager(&mut self, turn: &mut Turn<'_>, content: Content) -> u32 {
        let serial = self.manager.serials.next();
        turn.act(Action::SendToManager(Outgoing { serial, content }));
        serial
    }

    /// Answers a call of the manager, unless its connection is gone or it wants no answer.
    pub(super) fn reply(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        result: Result<Body, CallError>,
    ) {
        if caller.expects_reply && self.manager.is_waiting(caller) {
            let to = caller.serial;
            let content = match result {
                Ok(body) => Content::Return { to, body },
                Err(error) => Content::Error { to, error },
            };
            self.send_to_manager(turn, content);
        }
    }

    /// Signals the manager, if a connection stands.
    pub(super) fn signal(&mut self, turn: &mut Turn<'_>, member: &'static str, body: Body) {
        let agent = (names::INTERNAL_AGENT_PATH, names::INTERNAL_AGENT_INTERFACE);
        self.signal_of(turn, agent, member, body);
    }

    /// Signals as another object and interface than the agent's own.
    pub(super) fn signal_of(
        &mut self,
        turn: &mut Turn<'_>,
        (path, interface): (&'static str, &'static str),
        member: &'static str,
        body: Body,
    ) {
        if self.manager.stands() {
            let content = Content::Signal {
                path: path.into(),
                interface: interface.into(),
                member: member.into(),
                body,
            };
            self.send_to_manager(turn, content);
        }
    }

    /// The present connection, as the one on which call number `serial` came.
    pub(super) const fn caller(&self, serial: u32, expects_reply: bool) -> Caller {
        Caller {
            connection: self.manager.connection,
            serial,
            expects_reply,
        }
    }

    fn hear_manager(&mut self, now: Instant) {
        self.manager.heard = now;
        let Some(threshold) = self.settings.manager_threshold else {
            return;
        };
        if self.manager.stands() {
            self.timers.set(Timer::ManagerSilence, now + threshold);
            let ping_after = ping_after(threshold);
            if ping_after < limits::PING_AFTER && self.manager.ping.is_none() {
                self.timers.set(Timer::Ping, now + ping_after);
            }
        }
    }

    /// The manager gets one full threshold, because we could not have heard it.
    pub(super) fn excuse_silence(&mut self, now: Instant) {
        self.hear_manager(now);
        self.set_heartbeat(now);
    }

    /// Asks a silent manager whether it lives.
    pub(super) fn ping_if_silent(&mut self, turn: &mut Turn<'_>) {
        let Some(threshold) = self.settings.manager_threshold else {
            return;
        };
        let is_silent = self.manager.heard + ping_after(threshold) <= turn.at();
        if is_silent && self.manager.stands() && self.manager.ping.is_none() {
            let ping = self.send_to_manager(
                turn,
                Content::Call {
                    destination: names::MANAGER_BUS_NAME.into(),
                    path: names::INTERNAL_MANAGER_PATH.into(),
                    interface: names::PEER_INTERFACE.into(),
                    member: "Ping".into(),
                    body: Body::default(),
                },
            );
            self.manager.ping = Some(ping);
        }
    }

    /// The configuration was read again.
    pub(super) fn reloaded(&mut self, turn: &mut Turn<'_>, pace: Pace) {
        let settings = &mut self.settings;
        let was_resting = settings.reconnect_interval.is_none();
        settings.heartbeat_interval = pace.heartbeat_interval;
        settings.reconnect_interval = pace.reconnect_interval;
        settings.manager_threshold = pace.manager_threshold;
        settings.loud_retries = pace.loud_retries;
        settings.allow_exec = pace.allow_exec;
        let longest = pace.reconnect_interval.unwrap_or_default();
        self.manager.retry.set(longest, pace.loud_retries);
        for timer in [Timer::Heartbeat, Timer::Ping, Timer::ManagerSilence] {
            self.timers.clear(timer);
        }
        self.excuse_silence(turn.at());
        let is_idle = matches!(self.manager.phase, Phase::Idle) && self.manager.has_tried;
        if is_idle && was_resting && pace.reconnect_interval.is_some() {
            self.connect_manager(turn);
        }
    }

    /// Sets when the next heartbeat is due. Only an interval shorter than the tick has a timer of
    /// its own.
    fn set_heartbeat(&mut self, due: Instant) {
        self.manager.heartbeat_due = due;
        let interval = self.settings.heartbeat_interval;
        let is_short = interval.is_some_and(|interval| interval < limits::TICK);
        if is_short && matches!(self.manager.phase, Phase::Registered { .. }) {
            self.timers.set(Timer::Heartbeat, due);
        }
    }

    /// Sends a heartbeat if one is due. The next is due an interval after this one was, so that
    /// lateness does not add up.
    pub(super) fn heartbeat_if_due(&mut self, turn: &mut Turn<'_>) {
        let due = self.manager.heartbeat_due;
        let (Phase::Registered { .. }, Some(interval)) =
            (&self.manager.phase, self.settings.heartbeat_interval)
        else {
            return;
        };
        if due <= turn.at() {
            self.signal(turn, "Heartbeat", Body::default());
            let next = due + interval;
            let is_ahead = next > turn.at();
            self.set_heartbeat(if is_ahead { next } else { turn.at() + interval });
        }
    }
}

/// The silence after which the manager is asked whether it lives: early enough for an answer well
/// within the threshold.
fn ping_after(threshold: Duration) -> Duration {
    limits::PING_AFTER.min(threshold / 3)
}
