//! The connection to systemd, and what follows its loss.
//!
//! systemd closes its connections when it executes itself again (`systemctl daemon-reexec`); its
//! jobs and their numbers survive. So after a loss the agent connects again, asks which jobs and
//! units there are, and reports what happened in between.

use super::{
    Action, Content, FromSystemd, State, SystemdAccess, Timer, Turn,
    event::Serials,
    infer::unreadable,
    requests::Purpose,
    retry::Retry,
    units::{Unit, read_units},
};
use std::collections::BTreeMap;

use crate::{
    bus::{Body, CallError, names},
    core::{Instant, Level},
    limits,
};

/// What to ask of a message bus, so that it passes on what systemd's private socket sends
/// unasked. That systemd left the bus is told as well.
const MATCH_RULES: [&str; 4] = [
    "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
     interface='org.freedesktop.systemd1.Manager'",
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.DBus.Properties',\
     path_namespace='/org/freedesktop/systemd1/unit'",
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.DBus.Properties',\
     path_namespace='/org/freedesktop/systemd1/job'",
    "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',\
     member='NameOwnerChanged',arg0='org.freedesktop.systemd1'",
];

/// The connection to systemd.
#[derive(Debug)]
pub(super) struct Systemd {
    /// Number of the latest connection.
    connection: u32,
    phase: Phase,
    pub(super) serials: Serials,
    retry: Retry,
    /// When the last connection that was complete was lost.
    lost: Option<Instant>,
    /// Whether systemd loads its configuration: it then announces all units as gone and new.
    is_reloading: bool,
    /// Whether the list of units is asked for again.
    refresh: Refresh,
}

#[derive(Debug, PartialEq)]
enum Phase {
    /// No connection, and no attempt.
    Idle,
    /// The edge tries.
    Connecting,
    /// The connection stands; the first answers are awaited.
    Preparing,
    /// All is known.
    Connected { since: Instant },
}

#[derive(Debug, PartialEq)]
enum Refresh {
    No,
    Asked,
    /// Asked, and outdated before it is answered.
    AskAgain,
}

impl Default for Systemd {
    fn default() -> Self {
        let (first, longest) = (limits::SYSTEMD_FIRST_RETRY, limits::SYSTEMD_LONGEST_RETRY);
        Self {
            connection: 0,
            phase: Phase::Idle,
            serials: Serials::default(),
            retry: Retry::new(first, longest, limits::LOUD_RETRIES),
            lost: None,
            is_reloading: false,
            refresh: Refresh::No,
        }
    }
}

impl Systemd {
    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected { .. })
    }

    pub(super) fn stop(&mut self) {
        self.phase = Phase::Idle;
    }
}

impl State {
    /// The edge is told to try to reach systemd.
    pub(super) fn connect_systemd(&mut self, turn: &mut Turn<'_>) {
        let systemd = &mut self.systemd;
        systemd.connection = systemd.connection.wrapping_add(1);
        systemd.phase = Phase::Connecting;
        systemd.serials = Serials::default();
        systemd.is_reloading = false;
        systemd.refresh = Refresh::No;
        systemd.retry.start(turn.at());
        turn.act(Action::ConnectSystemd {
            connection: systemd.connection,
        });
        let limit = turn.at() + limits::SYSTEMD_CONNECT;
        self.timers.set(Timer::SystemdConnect, limit);
    }

    /// Handles what connection number `connection` reports, if it is the present one.
    pub(super) fn systemd_reported(
        &mut self,
        turn: &mut Turn<'_>,
        connection: u32,
        event: FromSystemd,
    ) {
        if connection != self.systemd.connection || self.systemd.phase == Phase::Idle {
            return;
        }
        match event {
            FromSystemd::Connected => self.prepare_systemd(turn),
            FromSystemd::Closed(reason) => self.drop_systemd(turn, &reason),
            FromSystemd::Answer { serial, result } => self.systemd_answered(turn, serial, result),
            FromSystemd::JobRemoved { number, result } => self.job_removed(turn, number, &result),
            FromSystemd::JobState { number, state } => {
                self.job_state_changed(turn, number, &state);
            }
            FromSystemd::UnitNew { unit } => self.unit_new(turn, &unit),
            FromSystemd::UnitRemoved { unit } if !self.systemd.is_reloading => {
                self.unit_removed(turn, &unit);
                self.stream_unit_gone(turn, &unit);
            }
            FromSystemd::UnitRemoved { .. } => {}
            FromSystemd::UnitProperties {
                unit,
                interface,
                changed,
            } => {
                self.unit_properties(turn, &unit, &interface, &changed);
                self.stream_unit_changed(turn, &unit, &interface, &changed);
            }
            FromSystemd::Reloading(is_reloading) => self.systemd_reloads(turn, is_reloading),
            FromSystemd::Unreadable(reason) => {
                let line = format!("A signal of systemd can not be read: {reason}");
                turn.log(Level::Warn, line);
            }
        }
    }

    /// Asks for all that has to be known. The answers come in the order of the calls.
    fn prepare_systemd(&mut self, turn: &mut Turn<'_>) {
        self.systemd.phase = Phase::Preparing;
        if self.settings.systemd == SystemdAccess::Bus {
            self.ask_bus(turn, "Hello", Body::default());
            for rule in MATCH_RULES {
                self.ask_bus(turn, "AddMatch", Body::of(&(rule,)));
            }
        }
        for (member, purpose) in [
            ("Subscribe", Purpose::Setup),
            ("ListJobs", Purpose::ListJobs),
            ("ListUnits", Purpose::ListUnits),
        ] {
            self.ask_systemd_manager(turn, member, Body::default(), purpose);
        }
    }

    fn ask_bus(&mut self, turn: &mut Turn<'_>, member: &'static str, body: Body) {
        let content = Content::Call {
            destination: names::DBUS_NAME.into(),
            path: names::DBUS_PATH.into(),
            interface: names::DBUS_NAME.into(),
            member: member.into(),
            body,
        };
        self.ask_systemd(turn, content, Purpose::Setup);
    }

    pub(super) fn setup_answered(&mut self, turn: &mut Turn<'_>, result: Result<Body, CallError>) {
        if let Err(error) = result {
            self.drop_systemd(turn, &error.to_string());
        }
    }

    /// systemd has told which units it has, the last of the first answers: the connection is
    /// complete.
    pub(super) fn units_listed(&mut self, turn: &mut Turn<'_>, result: Result<Body, CallError>) {
        let earlier = match self.replace_units(result) {
            Ok(earlier) => earlier,
            Err(error) => return self.drop_systemd(turn, &error.to_string()),
        };
        self.systemd.phase = Phase::Connected { since: turn.at() };
        self.systemd.retry.succeeded();
        self.timers.clear(Timer::SystemdConnect);
        if let Some(lost) = self.systemd.lost.take() {
            let away = turn.at().since(lost).as_millis();
            turn.log(
                Level::Info,
                format!("Connected to systemd again after {away} ms"),
            );
            self.log_differences(turn, &earlier);
        } else {
            turn.log(Level::Info, "Connected to systemd");
        }
        self.report_differences(turn, &earlier);
        self.send_orders(turn);
        self.check_stream_units(turn);
        if !self.manager.has_tried() {
            self.stop_forgotten_streams(turn);
            self.recover_dependencies();
            self.connect_manager(turn);
            self.become_ready(turn);
        }
    }

    fn replace_units(
        &mut self,
        result: Result<Body, CallError>,
    ) -> Result<BTreeMap<String, Unit>, CallError> {
        let listed = read_units(&result?).map_err(|reason| unreadable("ListUnits", &reason))?;
        Ok(self.units.replace(listed))
    }

    pub(super) fn systemd_connect_overdue(&mut self, turn: &mut Turn<'_>) {
        let waited = limits::SYSTEMD_CONNECT.as_secs();
        self.drop_systemd(turn, &format!("no connection within {waited} s"));
    }

    /// The connection to systemd is gone or of no use. Jobs stay: their end is found out when
    /// systemd is back.
    pub(super) fn drop_systemd(&mut self, turn: &mut Turn<'_>, reason: &str) {
        let systemd = &mut self.systemd;
        let next = if let Phase::Connected { since } = systemd.phase {
            systemd.lost = Some(turn.at());
            let line = format!("The connection to systemd was lost: {reason}");
            turn.log(Level::Warn, line);
            systemd.retry.lost(since, turn.at())
        } else {
            let level = if systemd.retry.is_news(reason) {
                Level::Warn
            } else {
                Level::Debug
            };
            turn.log(level, format!("Connecting to systemd failed: {reason}"));
            systemd.retry.failed()
        };
        systemd.phase = Phase::Idle;
        turn.act(Action::CloseSystemd);
        self.timers.clear(Timer::SystemdConnect);
        self.timers.set(Timer::SystemdRetry, next.max(turn.at()));
        self.jobs.forget_running();
        self.watch.forget_questions();
        self.fail_requests(turn);
    }

    /// While systemd loads its configuration it announces every unit as gone and then as new,
    /// without its states: what is known stays, and is asked for again afterwards.
    fn systemd_reloads(&mut self, turn: &mut Turn<'_>, is_reloading: bool) {
        self.systemd.is_reloading = is_reloading;
        if is_reloading {
            return;
        }
        if self.systemd.refresh == Refresh::No {
            self.refresh_units(turn);
        } else {
            self.systemd.refresh = Refresh::AskAgain;
        }
    }

    fn refresh_units(&mut self, turn: &mut Turn<'_>) {
        self.systemd.refresh = Refresh::Asked;
        self.ask_systemd_manager(turn, "ListUnits", Body::default(), Purpose::RefreshUnits);
    }

    pub(super) fn units_refreshed(&mut self, turn: &mut Turn<'_>, result: Result<Body, CallError>) {
        match self.replace_units(result) {
            Ok(earlier) => {
                self.report_differences(turn, &earlier);
                self.check_stream_units(turn);
            }
            Err(error) => {
                let line = format!("The units are not known after a reload of systemd: {error}");
                turn.log(Level::Warn, line);
            }
        }
        let refresh = std::mem::replace(&mut self.systemd.refresh, Refresh::No);
        if refresh == Refresh::AskAgain {
            self.refresh_units(turn);
        }
    }
}
