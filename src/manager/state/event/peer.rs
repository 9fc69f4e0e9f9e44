//! Messages from and to agents.

use serde::{Deserialize, Serialize};

use super::{Dialect, UnitChange};
use crate::bus::{Body, Bytes, CallError};

/// A message of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromPeer {
    /// `internal.Manager.Register`
    Register {
        /// The agent's number of the call.
        serial: u32,
        /// The name that the agent claims.
        name: String,
        /// What the agent speaks.
        dialect: Dialect,
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
    /// `internal.Agent.StreamData`
    StreamData {
        /// Our number of the stream.
        stream: u32,
        /// 1 for standard output, 2 for standard error.
        channel: u32,
        /// What was read.
        data: Bytes,
    },
    /// `internal.Agent.StreamEnd`
    StreamEnd {
        /// Our number of the stream.
        stream: u32,
        /// Exit status as a shell tells it, or -1.
        status: i32,
        /// The word for how it ended.
        result: String,
    },
    /// `internal.Agent.Metrics.AgentJobMetrics`
    JobTime {
        /// The unit of the job.
        unit: String,
        /// The method that asked for it.
        method: String,
        /// How long systemd took, microseconds.
        took_us: u64,
    },
    /// `internal.Agent.ProxyNew`: a unit of this node depends on one of another node.
    ProxyNew {
        /// The other node.
        target: String,
        /// Its unit.
        unit: String,
        /// The agent's object that is told of the unit.
        path: String,
    },
    /// `internal.Agent.ProxyRemoved`
    ProxyRemoved {
        /// The other node.
        target: String,
        /// Its unit.
        unit: String,
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
    /// A call of `internal.Proxy` on one of the agent's proxies.
    Proxy {
        /// The object.
        path: String,
        /// Its method.
        method: String,
        /// Its arguments.
        arguments: Body,
    },
    /// `Peer.Ping`
    Ping,
    /// `internal.Manager.Heartbeat`
    Heartbeat,
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
