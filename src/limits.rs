//! Every bound of the system, in one place, each with its reason.

use std::time::Duration;

// Time

/// The one periodic wake-up of a daemon: watchdog, heartbeats and liveness share it.
pub const TICK: Duration = Duration::from_secs(1);
/// A peer that was silent this long is asked whether it lives. Twice the tick, so that an agent
/// with the default heartbeat is hardly ever asked.
pub const PING_AFTER: Duration = Duration::from_secs(2);
/// A connected peer that does not register in this time is closed: a real agent needs
/// milliseconds, and a half-open one must not hold its place.
pub const REGISTRATION: Duration = Duration::from_secs(5);
/// How long the manager waits for an agent's answer. Clients of sd-bus wait 25 s, so they get our
/// error, which names the node, and not their own timeout.
pub const REQUEST: Duration = Duration::from_secs(20);

/// First wait before another attempt at a connection that failed; it doubles with each.
pub const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest wait before another attempt at the bus.
pub const BUS_RETRY_LAST: Duration = Duration::from_secs(2);

// Bytes

/// Largest message to or from an agent or systemd: as large as the largest to a bus, because that
/// is where answers go.
pub const MAX_MESSAGE: usize = 16 << 20;
/// Largest message to a bus. dbus-daemon throws a sender off the bus above its limit (32 MiB for
/// one message by default, 16 MiB in dbus-broker's quota for one connection's share).
pub const MAX_BUS_MESSAGE: usize = 16 << 20;
/// Largest body of a message to a bus: what the header needs is less than this.
pub const MAX_BUS_BODY: usize = MAX_BUS_MESSAGE - (4 << 10);
/// Largest message of a peer that has not registered: a Register call has at most a few hundred
/// bytes.
pub const MAX_UNREGISTERED_MESSAGE: usize = 4 << 10;
/// Largest arguments of one request to an agent, so that one request can not fill the queue of its
/// connection.
pub const MAX_REQUEST_BODY: usize = MAX_QUEUED_TO_PEER / 4;
/// Answers of nodes that wait, in lists of all units, for the other nodes' answers: four of the
/// largest lists, because each client can ask for any number of lists.
pub const MAX_GATHERED: usize = 4 * MAX_BUS_MESSAGE;
/// Longest unit name, job mode or job result: the longest unit name of systemd
/// (`UNIT_NAME_MAX` in its source). Modes and results are single words.
pub const MAX_NAME: usize = 255;
/// Longest message of an error that an agent sent: a sentence, and never too large for a bus.
pub const MAX_ERROR_TEXT: usize = 16 << 10;
/// Messages of one connection that wait to be handled; when they are this many its socket is not
/// read, so that one busy peer slows down only itself.
pub const WINDOW: usize = 64;
/// Bytes waiting to be sent to one agent. Requests to agents are small; an agent this far behind
/// does not read.
pub const MAX_QUEUED_TO_PEER: usize = 4 << 20;
/// Bytes waiting to be sent to a bus above which new calls are refused with `LimitsExceeded`: two
/// of the largest messages.
pub const MAX_QUEUED_TO_BUS: usize = 2 * MAX_BUS_MESSAGE;

// Counts

/// Connections that have not registered. Above it the oldest goes, so that a flood of silent
/// connections can not keep out an agent, which registers within milliseconds.
pub const MAX_UNREGISTERED: usize = 64;
/// Requests of all clients that wait for answers of one node.
pub const MAX_REQUESTS_PER_NODE: usize = 1024;
/// Jobs in flight on one node. systemd itself merges jobs of one unit; this many units at once is
/// a client that has lost control.
pub const MAX_JOBS_PER_NODE: usize = 4096;
/// Callers whose uid and pid are remembered; the least recently used one goes.
pub const MAX_CALLERS: usize = 256;
/// Log lines that wait for their caller's uid and pid.
pub const MAX_PENDING_CALLER_LINES: usize = 256;
/// Job ids that are reserved at once in the high-water mark on disk, so that a file is written
/// once for many jobs.
pub const JOB_ID_BLOCK: u32 = 1024;

const _: () = assert!(PING_AFTER.as_millis() >= 2 * TICK.as_millis());
const _: () = assert!(MAX_UNREGISTERED_MESSAGE < MAX_MESSAGE);
const _: () = assert!(MAX_BUS_BODY <= MAX_GATHERED);
const _: () = assert!(MAX_ERROR_TEXT < MAX_BUS_BODY);
