//! What reaches the state, and what the state wants done: plain data, as recorded runs show it.

mod local;
mod source;

pub use local::{FromBus, LocalCall, Method, Object, Target};
pub use source::FromSource;

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    bus::{Body, CallError, Value},
    core::Level,
};

/// Something that happened.
///
/// Every connection has a number, which the state gave it in [`Action::ConnectManager`] or
/// [`Action::ConnectSystemd`]; what an ended connection still reports is known by its number and
/// has no effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The daemon runs. Always the first event.
    Start,
    /// The time that [`super::State::next_deadline`] named has come.
    Alarm,
    /// SIGTERM or SIGINT: end, with success.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// The configuration was read again, and says this.
    Reloaded(Pace),
    /// From the connection to the manager.
    Manager {
        /// Number of the connection.
        connection: u32,
        /// What it reported.
        event: FromManager,
    },
    /// From the connection to systemd.
    Systemd {
        /// Number of the connection.
        connection: u32,
        /// What it reported.
        event: FromSystemd,
    },
    /// From the message bus.
    Bus(FromBus),
    /// From the source of a stream.
    Source {
        /// Number of the source, from [`Action::OpenSource`].
        number: u64,
        /// What it reported.
        event: FromSource,
    },
    /// How the log is set: comes first after the start, and when its settings were read again.
    LogSettings {
        /// The least level that is logged.
        level: Level,
        /// Where the log goes, in the word of `LogTarget=`.
        target: String,
    },
}

/// What of the configuration holds as soon as it is read again: the fields of the same names in
/// [`super::Settings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are those of the settings")]
pub struct Pace {
    pub heartbeat_interval: Option<Duration>,
    pub reconnect_interval: Option<Duration>,
    pub manager_threshold: Option<Duration>,
    pub loud_retries: u32,
    pub allow_exec: bool,
}

/// What the connection to the manager reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromManager {
    /// The connection stands, and the peer speaks D-Bus.
    Connected,
    /// The attempt to connect failed, or the connection ended, for this reason. The last event of
    /// a connection.
    Closed(String),
    /// The manager calls a method.
    Call(IncomingCall),
    /// The manager answers one of our calls.
    Answer {
        /// Serial of our call.
        serial: u32,
        /// The returned arguments, or the error.
        result: Result<Body, CallError>,
    },
    /// A signal of the manager. None is known; each is a sign of life.
    Signal,
}

/// A method call of the manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncomingCall {
    /// The manager's number of the call, which the answer names.
    pub serial: u32,
    /// Whether the manager wants an answer.
    pub expects_reply: bool,
    /// The object called.
    pub path: String,
    /// The interface of the method; empty when the caller left it out.
    pub interface: String,
    /// The method.
    pub member: String,
    /// Its arguments.
    pub body: Body,
}

/// What the connection to systemd reports; the signals are those of org.freedesktop.systemd1(5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromSystemd {
    /// The connection stands.
    Connected,
    /// The attempt to connect failed, or the connection ended, for this reason. On a message bus
    /// also: systemd has left the bus. The last event of a connection.
    Closed(String),
    /// systemd (or the bus) answers one of our calls.
    Answer {
        /// Serial of our call.
        serial: u32,
        /// The returned arguments, or the error.
        result: Result<Body, CallError>,
    },
    /// A job has ended.
    JobRemoved {
        /// systemd's number of the job.
        number: u32,
        /// systemd's word for how it ended.
        result: String,
    },
    /// The `State` of a job has changed.
    JobState {
        /// systemd's number of the job.
        number: u32,
        /// `waiting` or `running`.
        state: String,
    },
    /// A unit was loaded.
    UnitNew {
        /// Name of the unit.
        unit: String,
    },
    /// A unit was unloaded.
    UnitRemoved {
        /// Name of the unit.
        unit: String,
    },
    /// Some of the properties of a unit have changed.
    UnitProperties {
        /// Name of the unit.
        unit: String,
        /// systemd's interface of these properties.
        interface: String,
        /// Those that changed, with their values: `a{sv}`.
        changed: Body,
    },
    /// systemd begins (`true`) or has ended (`false`) to load its configuration again.
    Reloading(bool),
    /// A signal of a known name whose arguments could not be read.
    Unreadable(String),
}

/// Something to be done by the edges, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Write a line to the log.
    Log(Level, String),
    /// Open connection number `connection` to the manager. Every address its name has is tried.
    ConnectManager {
        /// Number of the connection.
        connection: u32,
    },
    /// Close the connection to the manager, or give up the attempt.
    CloseManager,
    /// Send to the manager.
    SendToManager(Outgoing),
    /// Open connection number `connection` to systemd.
    ConnectSystemd {
        /// Number of the connection.
        connection: u32,
    },
    /// Close the connection to systemd, or give up the attempt.
    CloseSystemd,
    /// Send to systemd.
    SendToSystemd(Outgoing),
    /// Reach the message bus, and take the agent's name there.
    AttachBus,
    /// Answer a client.
    Reply {
        /// Its call.
        call: LocalCall,
        /// The returned arguments.
        body: Body,
    },
    /// Refuse a client's call.
    ReplyError {
        /// The call.
        call: LocalCall,
        /// Why.
        error: CallError,
    },
    /// Answer `Introspect`.
    ReplyIntrospection {
        /// The call.
        call: LocalCall,
        /// The object.
        object: Object,
    },
    /// Tell clients of new values of the agent's properties.
    PropertiesChanged(Vec<(String, Value)>),
    /// Report when a client leaves the bus.
    WatchClient(String),
    /// Report it no more.
    UnwatchClient(String),
    /// Make the pipes to which standard output and standard error of a unit go.
    OpenSource {
        /// Number of the source, never used twice while the system runs.
        number: u64,
    },
    /// Read so many bytes more of a source when they come.
    ReadSource {
        /// Number of the source.
        number: u64,
        /// How many.
        bytes: u32,
    },
    /// Nobody writes to a source any more: it is drained once what is in its pipes was read.
    DrainSource {
        /// Number of the source.
        number: u64,
    },
    /// Remove the pipes of a source.
    CloseSource {
        /// Number of the source.
        number: u64,
    },
    /// Connect to the manager at this D-Bus address from here on.
    SetManagerAddress(String),
    /// Tell the service manager that the start is complete.
    Ready,
    /// Tell the service manager in one line what the daemon does.
    Status(String),
    /// Tell the service manager that the daemon works.
    Watchdog,
    /// Read the configuration again, and take over the settings of the log.
    ReloadConfiguration,
    /// Log from this level on, until the settings of the log are read again.
    SetLogLevel(Level),
    /// End the daemon.
    Exit {
        /// Exit status of the process.
        status: u8,
    },
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Number of the message on its connection, never 0.
    pub serial: u32,
    /// The message.
    pub content: Content,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// Calls a method.
    Call {
        /// For whom the call is.
        destination: Cow<'static, str>,
        /// The object.
        path: Cow<'static, str>,
        /// The interface of the method.
        interface: Cow<'static, str>,
        /// The method.
        member: Cow<'static, str>,
        /// Its arguments.
        body: Body,
    },
    /// Answers a call.
    Return {
        /// Serial of the call.
        to: u32,
        /// The returned arguments.
        body: Body,
    },
    /// Refuses a call.
    Error {
        /// Serial of the call.
        to: u32,
        /// Why.
        error: CallError,
    },
    /// Emits a signal.
    Signal {
        /// The object.
        path: Cow<'static, str>,
        /// The interface of the signal.
        interface: Cow<'static, str>,
        /// The signal.
        member: Cow<'static, str>,
        /// Its arguments.
        body: Body,
    },
}

/// Numbers the messages of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Serials(u32);

impl Serials {
    /// The next number. After 2³² messages the numbers start again, without 0.
    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.checked_add(1).unwrap_or(1);
        self.0
    }
}
