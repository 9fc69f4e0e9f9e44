//! Every bound of the system, in one place, each with its reason.

use std::time::Duration;

// Configuration files

/// Bytes of one configuration file: the names of 40,000 nodes, far above any fleet; a bigger file is
/// a wrong path.
pub const CONFIG_FILE_BYTES: usize = 1024 * 1024;
/// Bytes of one line of a configuration file: the names of 5,000 nodes; a longer line is not text.
pub const CONFIG_LINE_BYTES: usize = 128 * 1024;
/// Drop-in files of one daemon: people and packages write a handful, a generator gone wild more.
pub const CONFIG_DROP_INS: usize = 256;
/// Characters of a wrong text that an error repeats: enough to recognise it, and still one line.
pub const CONFIG_QUOTED_CHARS: usize = 80;
/// Bytes of a node's name: what a file name may have, so that a name can become one.
pub const NODE_NAME_BYTES: usize = 255;
/// Bytes of a host name as the DNS limits it (RFC 1035, 2.3.4, without the root's dot).
pub const HOST_NAME_BYTES: usize = 253;
/// The shortest interval or threshold: below it the daemons would be busy with their own timers, and
/// a bare `5` meant as seconds, where milliseconds are read, is noticed.
pub const CONFIG_TIME_MIN: Duration = Duration::from_millis(100);
/// The longest interval or threshold: longer is a slip of the unit, and deadlines stay far from the
/// end of any clock.
pub const CONFIG_TIME_MAX: Duration = Duration::from_hours(7 * 24);
/// Seconds of `TCP_KEEPIDLE` and `TCP_KEEPINTVL` that Linux accepts (tcp(7), `MAX_TCP_KEEPIDLE`).
pub const TCP_KEEPALIVE_SECONDS: u64 = 32767;
/// Probes of `TCP_KEEPCNT` that Linux accepts (tcp(7), `MAX_TCP_KEEPCNT`).
pub const TCP_KEEPALIVE_COUNT: u32 = 127;

// Log

/// Bytes of one message in the log; the rest is cut. Our longest messages have a few hundred, and
/// this stays far below the 200 kB that a datagram to the journal can carry by default.
pub const LOG_MESSAGE_BYTES: usize = 16 * 1024;
/// How long a daemon waits for a journal that does not read, once: the queue of a datagram socket
/// is short (10 by default), so a burst has to wait, but a stopped journal must not stop us.
pub const LOG_JOURNAL_WAIT: Duration = Duration::from_millis(250);
