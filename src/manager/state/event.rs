//! What can happen to a manager, and what it can do: the whole contract between the pure state
//! and the edges. Both are written to a recorded run as they are.

use serde::{Deserialize, Serialize};

use crate::{
    bus::{Body, CallError, JobKind, Value},
    core::Level,
};

/// Number of a connection from an agent, given by the edge and never used again.
pub type PeerId = u64;

/// A method call that waits for its answer: who called, and which of its calls it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Unique name of the caller on the bus.
    pub client: String,
    /// The caller's number of the call.
    pub serial: u32,
    /// Whether the caller waits for an answer.
    pub expects_reply: bool,
}

/// An object of the public API, as its path names it. Whether it exists only the state knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// A path above the manager's object, which exists only to be introspected.
    Above(String),
    /// `/org/containers/hirte`
    Manager,
    /// The parent of the nodes.
    Nodes,
    /// The node with this name.
    Node(String),
    /// The parent of the jobs.
    Jobs,
    /// The job with this number.
    Job(u32),
    /// The parent of the monitors.
    Monitors,
    /// The monitor with this number.
    Monitor(u32),
    /// Any other path.
    Unknown(String),
}

/// A method of the public API with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// `Manager.Ping`: the same text back.
    Ping(String),
    /// `Manager.ListUnits`, or with `detailed` `Manager.ListUnitsDetailed`.
    ListUnits {
        /// Whether failures are reported beside the units.
        detailed: bool,
    },
    /// `Manager.ListNodes`
    ListNodes,
    /// `Manager.GetNode`
    GetNode(String),
    /// `Node.StartUnit` and its kind.
    QueueJob {
        /// Which of the four.
        kind: JobKind,
        /// The unit.
        unit: String,
        /// systemd's job mode.
        mode: String,
    },
    /// A method of a node that its agent answers: one of `bus::relay`.
    Relay {
        /// Its name.
        method: String,
        /// Its arguments, of the right signature.
        arguments: Body,
    },
    /// `Job.Cancel`
    CancelJob,
    /// `Manager.CreateMonitor`
    CreateMonitor,
    /// A method of a monitor.
    Monitor(MonitorMethod),
    /// `Properties.Get`
    GetProperty {
        /// Interface of the property.
        interface: String,
        /// Its name.
        property: String,
    },
    /// `Properties.GetAll`
    GetAllProperties(String),
    /// `Introspectable.Introspect`
    Introspect,
    /// `Peer.Ping`
    PeerPing,
    /// A call that the object's interfaces do not offer, or with wrong arguments: the error that
    /// the caller gets if the object exists.
    Refused(CallError),
}

/// A method of a monitor with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MonitorMethod {
    /// `Monitor.Subscribe` and `Monitor.SubscribeList`
    Subscribe {
        /// The node, or `*` for all.
        node: String,
        /// The units; `*` for all.
        units: Vec<String>,
    },
    /// `Monitor.Unsubscribe`, with the number of the subscription.
    Unsubscribe(u32),
    /// `Monitor.Close`
    Close,
    /// `Monitor.AddPeer`, with a unique name.
    AddPeer(String),
    /// `Monitor.RemovePeer`
    RemovePeer {
        /// Number of the peer.
        peer: u32,
        /// What the peer is told.
        reason: String,
    },
}

/// Why something is told of a unit; the words of the signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// It happened on the node.
    Real,
    /// It tells what is: after a subscription, or when a node is lost or returns.
    Virtual,
}

impl Reason {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Virtual => "virtual",
        }
    }

    /// The reason that a word stands for.
    #[must_use]
    pub fn of(word: &str) -> Self {
        if word == Self::Virtual.word() {
            Self::Virtual
        } else {
            Self::Real
        }
    }
}

/// What is told of a unit, by an agent as to a monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnitChange {
    /// `UnitNew`: it is loaded.
    New {
        /// Why it is told.
        reason: Reason,
    },
    /// `UnitStateChanged`
    State {
        /// `ActiveState`
        active: String,
        /// `SubState`
        sub: String,
        /// Why it is told.
        reason: Reason,
    },
    /// `UnitPropertiesChanged`
    Properties {
        /// systemd's interface of the properties.
        interface: String,
        /// Those that changed, `a{sv}`.
        changed: Body,
    },
    /// `UnitRemoved`: it is no longer loaded, or its node is lost.
    Removed {
        /// Why it is told.
        reason: Reason,
    },
}

/// Who stands behind a bus name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User of the process.
    pub uid: u32,
    /// The process.
    pub pid: u32,
}

/// A message of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromPeer {
    /// `internal.Manager.Register`
    Register {
        /// The agent's number of the call.
        serial: u32,
        /// The name that the agent claims.
        name: String,
    },
    /// `Peer.Ping`
    Ping {
        /// The agent's number of the call.
        serial: u32,
    },
    /// `Peer.GetMachineId`
    MachineId {
        /// The agent's number of the call.
        serial: u32,
    },
    /// `org.freedesktop.DBus.Hello`: a client that takes the connection for a message bus.
    Hello {
        /// The client's number of the call.
        serial: u32,
    },
    /// `Introspectable.Introspect`
    Introspect {
        /// The client's number of the call.
        serial: u32,
        /// The object.
        path: String,
    },
    /// A call of anything else.
    UnknownCall {
        /// The agent's number of the call.
        serial: u32,
        /// What the agent gets for it.
        error: CallError,
    },
    /// The answer to one of our calls.
    Return {
        /// Our number of the call.
        reply_serial: u32,
        /// The answer.
        body: Body,
    },
    /// The refusal of one of our calls.
    Error {
        /// Our number of the call.
        reply_serial: u32,
        /// The refusal.
        error: CallError,
    },
    /// `internal.Agent.JobDone`
    JobDone {
        /// The job.
        id: u32,
        /// systemd's word for how it ended.
        result: String,
    },
    /// `internal.Agent.JobStateChanged`
    JobStateChanged {
        /// The job.
        id: u32,
        /// systemd's word for its state.
        state: String,
    },
    /// `internal.Agent.UnitNew` and the others of units.
    Unit {
        /// The unit.
        unit: String,
        /// What is told of it.
        change: UnitChange,
    },
    /// `internal.Agent.Heartbeat`
    Heartbeat,
    /// A signal that we do not know, or an answer nobody waits for: it shows that the peer lives.
    Other,
}

/// A message to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToPeer {
    /// A call of `internal.Agent`.
    Call {
        /// Its method.
        method: String,
        /// Its arguments.
        arguments: Body,
    },
    /// A call of `internal.Agent` that is not answered.
    CallWithoutReply {
        /// Its method.
        method: String,
        /// Its arguments.
        arguments: Body,
    },
    /// `Peer.Ping`
    Ping,
    /// The answer to a call of the agent.
    Return {
        /// The agent's number of the call.
        reply_serial: u32,
    },
    /// The answer to `Peer.GetMachineId`.
    MachineId {
        /// The agent's number of the call.
        reply_serial: u32,
    },
    /// The answer to `Hello`: a name, as clients of a bus have one.
    Welcome {
        /// The client's number of the call.
        reply_serial: u32,
    },
    /// The answer to `Introspect`.
    Introspection {
        /// The client's number of the call.
        reply_serial: u32,
        /// The object.
        path: String,
        /// Last elements of the paths of the objects below it.
        children: Vec<String>,
    },
    /// The refusal of a call of the agent.
    Error {
        /// The agent's number of the call.
        reply_serial: u32,
        /// The refusal.
        error: CallError,
    },
}

/// Everything that can happen to a manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The process runs and listens. Always the first event.
    Started {
        /// High-water mark of the job ids of earlier runs; 0 when there is none.
        last_job_id: u32,
    },
    /// We have our name on the bus.
    BusAttached,
    /// The bus could not be reached, or went away: its clients and their calls are gone.
    BusLost {
        /// For the log.
        reason: String,
    },
    /// The bus does not give us our name: another program owns it, or the policy forbids it.
    BusNameRefused {
        /// For the log.
        reason: String,
    },
    /// More (or again less) waits to be sent to the bus than a new call should add to.
    BusCongested(bool),
    /// A client called a method.
    Call {
        /// Who, and which of its calls.
        call: Call,
        /// The object.
        object: Object,
        /// The method.
        method: Method,
    },
    /// The answer to [`Action::LookUpClient`].
    ClientKnown {
        /// The name that was looked up.
        client: String,
        /// `None` when it left the bus before.
        credentials: Option<Credentials>,
    },
    /// A client of [`Action::WatchClient`] is not on the bus any more.
    ClientLeft {
        /// Its name.
        client: String,
    },
    /// A connection was accepted.
    PeerConnected {
        /// Its number.
        peer: PeerId,
        /// IP address of the other end, empty for a Unix socket.
        address: String,
        /// Our file descriptor, for the log.
        fd: i32,
    },
    /// An agent, or who connected as one, sent a message.
    PeerMessage {
        /// The connection.
        peer: PeerId,
        /// The message.
        message: FromPeer,
    },
    /// A connection ended.
    PeerLost {
        /// The connection.
        peer: PeerId,
        /// For the log.
        reason: String,
    },
    /// A connection could not be accepted for lack of descriptors or memory.
    AcceptFailed {
        /// For the log.
        reason: String,
    },
    /// The time that `next_deadline` named has come.
    Deadline,
    /// The process was asked to stop.
    Stop,
}

/// Everything that a manager can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Answer a client.
    Reply {
        /// The call.
        call: Call,
        /// The answer.
        body: Body,
    },
    /// Refuse a client's call.
    ReplyError {
        /// The call.
        call: Call,
        /// The refusal.
        error: CallError,
    },
    /// Answer `Introspect`.
    ReplyIntrospection {
        /// The call.
        call: Call,
        /// The object.
        object: Object,
        /// Last elements of the paths of the objects below it.
        children: Vec<String>,
    },
    /// Send a signal to the bus.
    Emit(Signal),
    /// Send a signal to one client.
    EmitTo {
        /// Its name.
        client: String,
        /// The signal.
        signal: Signal,
    },
    /// Ask the bus who stands behind a name.
    LookUpClient(String),
    /// Tell by [`Event::ClientLeft`] when this client leaves the bus, or has left it already.
    WatchClient(String),
    /// Watch this client no more.
    UnwatchClient(String),
    /// Connect to the bus and take our name there.
    AttachBus,
    /// Send a message to an agent.
    Send {
        /// The connection.
        peer: PeerId,
        /// Our number of the message.
        serial: u32,
        /// The message.
        message: ToPeer,
    },
    /// The peer has registered and may send messages of full size.
    Admit(PeerId),
    /// Close a connection after what was sent to it.
    Close(PeerId),
    /// Keep this high-water mark of the job ids for the next run.
    KeepJobIds(u32),
    /// The process is up.
    Ready,
    /// What `systemctl status` shows.
    Status(String),
    /// The loop turns: tell systemd's watchdog.
    Watchdog,
    /// Write a line to the log.
    Log(Level, String),
    /// End the process.
    Exit {
        /// Its exit status.
        status: u8,
    },
}

/// Signals of the public API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// `Manager.JobNew`
    JobNew {
        /// The job.
        id: u32,
    },
    /// `Manager.JobRemoved`
    JobRemoved {
        /// The job.
        id: u32,
        /// Its node.
        node: String,
        /// Its unit.
        unit: String,
        /// systemd's word for how it ended, or `node-lost`.
        result: String,
    },
    /// `Manager.NodeConnectionStateChanged`
    NodeConnectionStateChanged {
        /// The node.
        node: String,
        /// `online` or `offline`.
        state: String,
    },
    /// What a monitor tells of a unit.
    Unit {
        /// The monitor.
        monitor: u32,
        /// The node.
        node: String,
        /// The unit.
        unit: String,
        /// What is told of it.
        change: UnitChange,
    },
    /// `Monitor.PeerRemoved`
    PeerRemoved {
        /// The monitor.
        monitor: u32,
        /// Why.
        reason: String,
    },
    /// `Properties.PropertiesChanged`
    PropertiesChanged {
        /// The object.
        object: Object,
        /// Names and values of the properties that changed.
        changed: Vec<(String, Value)>,
    },
}
