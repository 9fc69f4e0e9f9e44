//! What can happen to a manager, and what it can do: the whole contract between the pure state
//! and the edges. Both are written to a recorded run as they are.

mod client;
mod monitor;
mod peer;
mod stream;

use serde::{Deserialize, Serialize};

use super::Settings;
use crate::{
    bus::{Body, Bytes, CallError, JobKind, Value},
    core::{Credentials, Level},
};

pub use client::{Access, Call, Client, PrivateId};
pub use monitor::{MonitorMethod, Reason, UnitChange};
pub use peer::{FromPeer, ToPeer};
pub use stream::{StreamKind, StreamMethod};

/// Number of a connection from an agent, given by the edge and never used again.
pub type PeerId = u64;

/// Whose names and types a client or an agent uses. What differs on the wire is the matter of the
/// edges; the state keeps in mind who speaks which one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// Our own.
    #[default]
    Hirte,
    /// That of Eclipse `BlueChi`.
    BlueChi,
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
    /// The parent of the streams.
    Streams,
    /// The stream with this number.
    Stream(u32),
    /// The object that emits metrics.
    Metrics,
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
    /// `Manager.ListUnitFiles`, or with `detailed` `Manager.ListUnitFilesDetailed`.
    ListUnitFiles {
        /// Whether failures are reported beside the unit files.
        detailed: bool,
    },
    /// `Manager.ListNodes`
    ListNodes {
        /// Whether each node is told with the address of its agent.
        with_addresses: bool,
    },
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
    /// `Node.StartTransientUnit`
    StartTransientUnit {
        /// The unit.
        unit: String,
        /// systemd's job mode.
        mode: String,
        /// All arguments, these two included.
        arguments: Body,
    },
    /// `SetLogLevel` of the manager or of a node.
    SetLogLevel(String),
    /// `Manager.EnableMetrics` or `Manager.DisableMetrics`.
    SetMetrics {
        /// Which of the two.
        enabled: bool,
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
    /// `Node.OpenLog` or `Node.Exec`
    OpenStream {
        /// Which of the two.
        kind: StreamKind,
        /// Its arguments, of the right signature.
        arguments: Body,
    },
    /// A method of a stream.
    Stream(StreamMethod),
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

/// The most that the queues of the edges have held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueHighWater {
    /// Bytes that one agent had to be sent.
    pub agent_bytes: u64,
    /// Bytes that the bus had to be sent.
    pub bus_bytes: u64,
    /// Events that waited for the loop.
    pub events: u64,
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
        /// The name.
        name: String,
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
    /// A client connected to the private socket.
    PrivateConnected {
        /// The connection.
        client: PrivateId,
        /// Who it was when it connected, as the kernel tells.
        credentials: Credentials,
        /// What it may do.
        access: Access,
    },
    /// A private connection ended.
    PrivateClosed {
        /// The connection.
        client: PrivateId,
        /// For the log.
        reason: String,
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
    /// A connection was ended from our side, because the peer broke the protocol or does not read.
    PeerDropped {
        /// The connection.
        peer: PeerId,
        /// For the log.
        reason: String,
    },
    /// What the log is set to: at the start, and when its settings were read again.
    LogSettings {
        /// The least level that is logged.
        level: Level,
        /// Where the log goes, in the word of `LogTarget=`.
        target: String,
    },
    /// The configuration was read again.
    Reload(Settings),
    /// The queues of the edges have been longer than ever before.
    QueueHighWater(QueueHighWater),
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
    /// Send a signal to the bus and to every private connection.
    Emit(Signal),
    /// Send a signal to one client.
    EmitTo {
        /// Which.
        client: Client,
        /// What it speaks.
        dialect: Dialect,
        /// The signal.
        signal: Signal,
    },
    /// Ask the bus who stands behind a name.
    LookUpClient(String),
    /// Tell by [`Event::ClientLeft`] when this client leaves the bus, or has left it already.
    WatchClient(String),
    /// Watch this client no more.
    UnwatchClient(String),
    /// Close a private connection after what was sent to it.
    ClosePrivate(PrivateId),
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
    /// Speak to this peer in a dialect, and hear it in no other. Before, and without this, it is
    /// [`Dialect::Hirte`].
    Speak {
        /// The connection.
        peer: PeerId,
        /// The dialect.
        dialect: Dialect,
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
    /// Log from this level on.
    SetLogLevel(Level),
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
    /// `Stream.Data`
    StreamData {
        /// The stream.
        stream: u32,
        /// 1 for standard output, 2 for standard error.
        channel: u32,
        /// What was read.
        data: Bytes,
    },
    /// `Stream.End`
    StreamEnd {
        /// The stream.
        stream: u32,
        /// Exit status as a shell tells it, or -1.
        status: i32,
        /// The word for how it ended.
        result: String,
    },
    /// `Metrics.StartUnitJobMetrics`
    StartUnitJobMetrics {
        /// Its node.
        node: String,
        /// The job.
        id: u32,
        /// Its unit.
        unit: String,
        /// From the client's call to the agent's report of the end, microseconds.
        job_us: u64,
        /// From leaving the inactive state to being active, microseconds; 0 if it did not.
        unit_us: u64,
    },
    /// `Metrics.AgentJobMetrics`
    AgentJobMetrics {
        /// The node.
        node: String,
        /// Its unit.
        unit: String,
        /// The method that asked for the job.
        method: String,
        /// How long the node's systemd took, microseconds.
        took_us: u64,
    },
    /// `Properties.PropertiesChanged`
    PropertiesChanged {
        /// The object.
        object: Object,
        /// Names and values of the properties that changed.
        changed: Vec<(String, Value)>,
    },
}
