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

/// How long a client of the manager waits for an answer. The manager answers within [`REQUEST`]
/// whatever its nodes do; a quarter more is for the bus and a busy machine, and makes it what
/// clients of sd-bus wait.
pub const CLIENT_CALL: Duration = Duration::from_secs(REQUEST.as_secs() * 5 / 4);

/// How long a shell waits for candidates of nodes and units: people who type wait no longer.
pub const COMPLETION: Duration = Duration::from_secs(2);
/// How often hirtectl asks whether what it waits for is online: it may not be there to send a
/// signal.
pub const ONLINE_POLL: Duration = Duration::from_millis(100);

/// Wait of a daemon before another attempt at the bus that failed; it doubles with each.
pub const BUS_FIRST_RETRY: Duration = Duration::from_millis(100);
/// One attempt of a daemon to reach the bus and take its name there: a bus that is slow to
/// start its other clients answers well before.
pub const BUS_ATTACH: Duration = REQUEST;
/// Longest wait before another attempt at the bus.
pub const BUS_LONGEST_RETRY: Duration = Duration::from_secs(2);
/// How long `hirte-proxy` waits for an agent that is not on the bus: an agent that restarts after a
/// failure is back well before.
pub const AGENT_RETURN: Duration = Duration::from_secs(10);
/// How long after its registration an agent stops units that were started for other nodes and that
/// no manager wants: a manager that restarted hears of the proxies of other nodes when they register,
/// and twice as long as proxies of lost nodes are kept.
pub const DEPENDENCY_GRACE: Duration = Duration::from_secs(20);
/// How long the agent waits for systemd's answer: less than [`REQUEST`], so that the manager gets
/// the agent's error, which says what was asked of systemd.
pub const SYSTEMD_REQUEST: Duration = Duration::from_secs(18);
/// How long the agent waits for the answer to its registration. A manager that starts serves
/// thousands of agents one after the other; a lost one is noticed by its silence.
pub const REGISTER_ANSWER: Duration = REQUEST;
/// One attempt of the agent to reach the manager, with all addresses of its name and the
/// handshake: above what resolving a name takes when its servers are silent (5 s each, twice).
pub const MANAGER_CONNECT: Duration = Duration::from_secs(30);
/// One attempt of the agent to reach systemd, with all that is asked first. systemd is silent for
/// seconds while it loads its configuration again on a slow machine.
pub const SYSTEMD_CONNECT: Duration = SYSTEMD_REQUEST;
/// Wait between the first and the second attempt to reach the manager, doubled after each further
/// one. A manager that restarts is gone for about this long.
pub const MANAGER_FIRST_RETRY: Duration = Duration::from_millis(100);
/// Wait between the first and the second attempt to reach systemd, doubled after each further
/// one. systemd is away for a fraction of a second when it executes itself again.
pub const SYSTEMD_FIRST_RETRY: Duration = Duration::from_millis(50);
/// Longest wait between two attempts to reach systemd, which is on this machine and cheap to try.
pub const SYSTEMD_LONGEST_RETRY: Duration = Duration::from_secs(1);
/// A tick this late tells that the daemon itself stood still (stopped, or no CPU time), so that
/// the silence of its peers proves nothing.
pub const STALL: Duration = TICK;
/// A jump of the boot-time clock against the monotonic one that counts as a suspend: far above
/// the microseconds between reading the two.
pub const SUSPEND: Duration = Duration::from_millis(500);
/// Failed attempts in a row that are each logged; later ones only every [`QUIET_RETRY_LOG`]. For
/// those to reach the manager it is the default.
pub const LOUD_RETRIES: u32 = 10;
/// How often attempts that keep failing are logged.
pub const QUIET_RETRY_LOG: Duration = Duration::from_mins(1);

/// How long the proxies of a lost node are kept: units of other nodes on which they depend run on
/// if the node comes back in this time. Some attempts of an agent to connect with the default
/// settings (2 s each, at most 2 s apart), and not much longer, because what only a node needs
/// that has crashed shall end.
pub const PROXY_HOLD: Duration = Duration::from_secs(10);
/// Time in which an agent that came back announces its proxies again. It does so at once after it
/// has registered.
pub const PROXY_ANNOUNCE: Duration = Duration::from_secs(2);

/// Time in which a node gets back all of [`MAX_PROXIES_ANNOUNCED`]: about 100 a second, of which each
/// keeps the other node's systemd busy for some milliseconds.
pub const PROXY_ALLOWANCE: Duration = Duration::from_secs(20);

/// How long one attempt to connect may take: on a vehicle's network an answer takes milliseconds,
/// and the next attempt is due.
pub const CONNECT: Duration = Duration::from_secs(2);
/// Sent data that nobody acknowledged for this long means that the peer is gone, unless another
/// time is configured. Less than the time after which a silent node is offline, so that the cause
/// is known by then.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause of the listener after an error of this machine, such as no free descriptors, so that it
/// neither spins nor stops.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Pause of a client before a bus that had no room for a connection is tried again: bus daemons
/// accept within a few milliseconds.
pub const FULL_BUS_PAUSE: Duration = Duration::from_millis(10);

// Bytes

/// Longest line of a handshake. The longest in use, `AUTH ANONYMOUS` with a trace, is below 100
/// bytes.
pub const MAX_HANDSHAKE_LINE: usize = 256;
/// Longest handshake of one side. The longest in use has four lines.
pub const MAX_HANDSHAKE: usize = 1 << 10;
/// Most bytes that are read of one connection before others have their turn, and the size of the
/// one buffer that all connections share.
pub const READ_BUFFER: usize = 64 << 10;
/// Largest message to or from an agent or systemd: as large as the largest to a bus, because that
/// is where answers go.
pub const MAX_MESSAGE: usize = 16 << 20;
/// Largest message to a bus. dbus-daemon throws a sender off the bus above its limit (32 MiB for
/// one message by default, 16 MiB in dbus-broker's quota for one connection's share).
pub const MAX_BUS_MESSAGE: usize = 16 << 20;
/// Largest body of a message to a bus: what the header needs is less than this.
pub const MAX_BUS_BODY: usize = MAX_BUS_MESSAGE - (4 << 10);
/// Largest properties of a unit that monitors are told: with names before them they still fit into
/// a message to a bus.
pub const MAX_TOLD_PROPERTIES: usize = MAX_BUS_BODY - (4 << 10);
/// Largest message of a peer that has not registered: a Register call has at most a few hundred
/// bytes.
pub const MAX_UNREGISTERED_MESSAGE: usize = 4 << 10;
/// Largest arguments of one request to an agent, which reads no larger message: what the header
/// needs is less than this.
pub const MAX_REQUEST_BODY: usize = MAX_MESSAGE_FROM_MANAGER - (4 << 10);
/// Answers of nodes that wait, in lists of all units, for the other nodes' answers: four of the
/// largest lists, because each client can ask for any number of lists.
pub const MAX_GATHERED: usize = 4 * MAX_BUS_MESSAGE;
/// Longest unit name, job mode or job result: the longest unit name of systemd
/// (`UNIT_NAME_MAX` in its source). Modes and results are single words.
pub const MAX_NAME: usize = 255;
/// Longest D-Bus address of a manager that an agent is told: several endpoints, each with a host
/// name.
pub const MAX_ADDRESS: usize = 4 << 10;
/// Longest message of an error that an agent sent: a sentence, and never too large for a bus.
pub const MAX_ERROR_TEXT: usize = 16 << 10;
/// Messages of one connection that wait to be handled; when they are this many its socket is not
/// read, so that one busy peer slows down only itself.
pub const WINDOW: usize = 64;
/// Bytes of one connection's messages that wait to be handled; like `WINDOW`, for large messages.
pub const WINDOW_BYTES: usize = 1 << 20;
/// Bytes waiting to be sent to one agent. Requests to agents are small; an agent this far behind
/// does not read.
pub const MAX_QUEUED_TO_PEER: usize = 4 << 20;
/// Bytes waiting to be sent to one peer that has not registered: some of the largest answers it can
/// ask for, and small enough that all peers that have not registered together are bearable.
pub const MAX_QUEUED_TO_UNREGISTERED: usize = 16 << 10;
/// Bytes waiting to be sent to a bus above which new calls are refused with `LimitsExceeded`: two
/// of the largest messages.
pub const MAX_QUEUED_TO_BUS: usize = 2 * MAX_BUS_MESSAGE;
/// Largest message from a private connection: a request to an agent is not larger.
pub const MAX_MESSAGE_FROM_CLIENT: usize = MAX_MESSAGE_FROM_MANAGER;
/// Bytes waiting to be sent to one private connection: a window full of large lists. A client this
/// far behind does not read.
pub const MAX_QUEUED_TO_CLIENT: usize = MAX_BUS_MESSAGE;
/// Bytes waiting to be sent to all private connections: above it whoever is furthest behind is
/// closed. As much as lists of all nodes may take.
pub const MAX_QUEUED_TO_CLIENTS: usize = 4 * MAX_QUEUED_TO_CLIENT;
/// Bytes waiting to be sent to a bus at which the connection to it is given up: jobs that run, and
/// those of clients without the bus, have their ends told whether it reads or not. A bus that is
/// this far behind has been stuck for long.
pub const MAX_QUEUED_TO_STUCK_BUS: usize = 4 * MAX_QUEUED_TO_BUS;
/// Bytes of signals that came to a client before the answer that it waits for: far above what a fleet
/// tells in that time, and no burden.
pub const MAX_KEPT_SIGNALS: usize = MAX_BUS_MESSAGE;
/// Largest message from the manager to an agent. The largest are lists of unit files to enable.
pub const MAX_MESSAGE_FROM_MANAGER: usize = 1 << 20;
/// Bytes that an agent has waiting for the manager: two of the largest answers. A manager this
/// far behind does not read.
pub const MAX_QUEUED_TO_MANAGER: usize = 2 * MAX_MESSAGE;
/// Bytes that an agent has waiting for systemd, which does not read while it loads its
/// configuration: some of the largest requests.
pub const MAX_QUEUED_TO_SYSTEMD: usize = 16 * MAX_MESSAGE_FROM_MANAGER;

/// Size at which a recorded run ends: it is made for one failure, and must not fill the disk.
pub const MAX_RECORD: u64 = 1 << 30;

// Counts

/// Signals of one kind that become one event: whoever sends many at once wants one thing.
pub const SIGNALS_AT_ONCE: usize = 16;
/// Descriptors of which the kernel tells at once; more are told in the next turn.
pub const REACTOR_EVENTS: usize = 64;
/// Events that are handled before what they sent is written: enough to write many messages at
/// once, and few enough that nobody waits long for an answer.
pub const EVENTS_PER_TURN: usize = 256;

/// Connections that wait to be accepted; the kernel caps it to its own bound (`somaxconn`).
pub const LISTEN_BACKLOG: i32 = 4096;
/// Places of the event queue whose memory is kept when it is empty.
pub const KEPT_INBOX_EVENTS: usize = 4 * WINDOW;
/// Connections that have not registered. Above it the oldest goes, so that a flood of silent
/// connections can not keep out an agent. When a manager restarts, its whole fleet connects at
/// once, and each agent needs a round trip on the network to register: accepting this many
/// connections takes tens of milliseconds, a round trip takes a few.
pub const MAX_UNREGISTERED: usize = 1024;
/// Requests of all clients that wait for answers of one node.
pub const MAX_REQUESTS_PER_NODE: usize = 1024;
/// Jobs of one node whose acceptance is overdue and would be cancelled, should it come. An agent of
/// ours has its own deadline and cancels them itself.
pub const MAX_LATE_JOBS: usize = 64;
/// Jobs in flight on one node. systemd itself merges jobs of one unit; this many units at once is
/// a client that has lost control.
pub const MAX_JOBS_PER_NODE: usize = 4096;
/// Calls of the agent that wait for systemd's answer: what the manager may have in flight.
pub const MAX_REQUESTS_TO_SYSTEMD: usize = MAX_REQUESTS_PER_NODE;
/// Units that the agent remembers: as many as systemd itself can have (`MANAGER_MAX_NAMES`).
pub const MAX_UNITS: usize = 131_072;
/// Units whose states the agent asks of systemd at once: many units that are loaded together take
/// few questions, and a question stays far below the largest message.
pub const MAX_STATES_ASKED: usize = 256;
/// Units of one node on which other nodes depend: what the proxies of some nodes need.
pub const MAX_DEPENDENCIES: usize = 4 * MAX_PROXIES_PER_NODE;
/// Units that the agent itself has to start or stop, each of them for a proxy or a dependency that
/// began or ended.
pub const MAX_ORDERS: usize = 2 * (MAX_PROXIES_PER_NODE + MAX_DEPENDENCIES);
/// systemd's running jobs that the agent remembers, whoever started them: one for each unit.
pub const MAX_RUNNING_JOBS: usize = MAX_UNITS;
/// Units that changed while systemd could not be watched and get a line in the log each.
pub const MAX_RESYNC_LINES: usize = 20;
/// Clients whose uid and pid are remembered; the one that called least recently goes.
pub const MAX_KNOWN_CLIENTS: usize = 256;
/// Log lines that wait for their client's uid and pid.
pub const MAX_WAITING_CLIENT_LINES: usize = 256;
/// Private connections of clients: a node has a handful of programs and people that use them.
pub const MAX_PRIVATE_CLIENTS: usize = 128;
/// Those of members of group `hirte`, so that they can not take the places of root.
pub const MAX_PRIVATE_READERS: usize = 64;
/// Monitors of one client: a program needs one or a few.
pub const MAX_MONITORS_PER_CLIENT: usize = 64;
/// Monitors of all clients.
pub const MAX_MONITORS: usize = 1024;
/// Subscriptions of one monitor; more units fit into one subscription.
pub const MAX_SUBSCRIPTIONS_PER_MONITOR: usize = 1024;
/// Units of one subscription, above what anybody names one by one.
pub const MAX_UNITS_PER_LIST: usize = 1024;
/// Pairs of node and unit in the subscriptions of one monitor, where `*` is one unit and a
/// subscription to all nodes counts for each: what an agent is told for them has some MB.
pub const MAX_WATCHED_PER_MONITOR: usize = 65_536;
/// The same for all monitors: about 100 MB.
pub const MAX_WATCHED: usize = 16 * MAX_WATCHED_PER_MONITOR;
/// Clients that get what a monitor's owner gets.
pub const MAX_PEERS_PER_MONITOR: usize = 64;
/// Units of one node whose states the manager keeps for monitors: ten times what a large system
/// has loaded; changes of others are not told.
pub const MAX_WATCHED_UNITS_PER_NODE: usize = 16_384;
/// Proxies of one node: more than a large system has services. Each makes a unit of another node
/// run.
pub const MAX_PROXIES_PER_NODE: usize = 1024;
/// Proxies that one node can announce at once, and may again after [`PROXY_ALLOWANCE`] of quiet: all
/// that it can have, twice, for an agent that connects again at once. Each is work for the agent and
/// the systemd of another node.
pub const MAX_PROXIES_ANNOUNCED: u32 = 2048;
/// Units of one node of which it is not known whether its agent has heard to let go of them: as
/// many as one source can have let go at once.
pub const MAX_UNHEARD_STOPS: usize = MAX_PROXIES_PER_NODE;
/// Calls of one agent's proxies whose failure is still logged when it comes.
pub const MAX_PROXY_CALLS: usize = 64;
/// Longest object path of a proxy: those of agents have about 50 bytes.
pub const MAX_PROXY_PATH: usize = 255;
/// Job ids that are reserved at once in the high-water mark on disk, so that a file is written
/// once for many jobs.
pub const JOB_ID_BLOCK: u32 = 1024;

/// Streams of one client: a program reads a few logs at once.
pub const MAX_STREAMS_PER_CLIENT: usize = 16;
/// Streams from one node: each is a unit with its processes there.
pub const MAX_STREAMS_PER_NODE: usize = 32;
/// Streams of all clients.
pub const MAX_STREAMS: usize = 64;
/// Bytes of a stream that its reader may have asked for and not got: above what a network of 10 ms
/// carries meanwhile at 25 MB/s. It bounds what waits for one reader on the whole way.
pub const MAX_STREAM_CREDIT: u32 = 256 << 10;
/// Bytes of a stream that are read, and sent, at once: what a pipe holds.
pub const STREAM_CHUNK: u32 = 64 << 10;
/// Bytes of all words of a command: half of what Linux takes as one word (`MAX_ARG_STRLEN`), so that
/// they fit with the environment.
pub const MAX_COMMAND_BYTES: usize = 64 << 10;
/// Words of a command.
pub const MAX_COMMAND_WORDS: usize = 1024;
/// Bytes of a word by which a log is chosen, such as a time: the longest that people write have a
/// few dozen.
pub const MAX_LOG_OPTION: usize = 256;
/// How long a command may take to end after it was told to, before it is killed: a person waits.
pub const COMMAND_STOP: Duration = Duration::from_secs(5);
/// Bytes of one entry of a journal that hirtectl shows; more than journald takes from one line of a
/// service by a factor of 20.
pub const LOG_ENTRY_BYTES: usize = 1 << 20;

// The live view, hirtectl-top

/// Units of all nodes that the live view keeps: some 300 nodes with all that a system has loaded, in
/// about 30 MB.
pub const TOP_UNITS: usize = 100_000;
/// Jobs that it keeps, above what anybody reads.
pub const TOP_JOBS: usize = MAX_JOBS_PER_NODE;
/// Entries of its log: what a person scrolls back.
pub const TOP_LOG_ENTRIES: usize = 1000;
/// Characters of a name or description that it keeps, above what a screen shows of one.
pub const TOP_TEXT: usize = 256;
/// Lines that it shows of one unit: the status and the latest entries of the log, which may have some
/// lines each.
pub const TOP_PAGE_LINES: usize = 1000;
/// Characters of such a line.
pub const TOP_PAGE_LINE: usize = 4096;
/// Characters of its filter.
pub const TOP_FILTER: usize = 64;
/// Jobs that were asked for in it and have not ended, and its calls that wait for an answer: each of
/// those has a connection of its own for so long.
pub const TOP_REQUESTS: usize = 16;
/// Nodes that it asks for their lists at the same time, each over a connection of its own, so that some
/// that do not answer hold up no other. With 4 MiB each, which is some 10,000 units, their answers fit
/// into what the manager queues for a bus.
pub const TOP_LISTS: usize = 8;
/// Time between two pictures, but for keys: as fast as people see what changes.
pub const TOP_PICTURE: Duration = Duration::from_millis(40);
/// How long it waits for more of the same before it asks a node for its list of units: new units
/// come in groups.
pub const TOP_SETTLE: Duration = Duration::from_millis(500);
/// Wait before another attempt to reach a manager that is gone.
pub const TOP_RETRY: Duration = Duration::from_secs(1);
/// How long the rest of a key's sequence may take before it was the Escape key: terminals send it at
/// once, a slow network may not.
pub const TOP_ESCAPE: Duration = Duration::from_millis(50);

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
/// Bytes of a line that is too long which an error repeats: enough to find it.
pub const CONFIG_QUOTED_BYTES: usize = 64;
/// Bytes of a node's name: what a file name may have, so that a name can become one.
pub const NODE_NAME_BYTES: usize = 255;
/// Bytes of the name of a network interface (`IFNAMSIZ` of Linux, without the final zero).
pub const INTERFACE_NAME_BYTES: usize = 15;
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

// State files

/// Bytes of one state file: ten thousand units, above what a fleet is made of by hand; a bigger file
/// is a wrong path.
pub const STATE_FILE_BYTES: usize = 1 << 20;
/// Mistakes of a state file that are told at once: more are mostly the same one repeated.
pub const STATE_FILE_MISTAKES: usize = 20;
/// How long the end of a step that ran out of time is waited for after it was taken back: most
/// services stop at once, and what is still stopping then is told.
pub const STEP_TAKEN_BACK: Duration = REQUEST;

// Dashboard

/// Connections of browsers and other clients of the dashboard; more wait to be accepted. A browser
/// keeps up to six, so that a team and its scripts have room.
pub const MAX_HTTP_CONNECTIONS: usize = 128;
/// Pages of the dashboard that follow live, each with one of these connections: half, so that pages
/// that are left open can not keep out who asks for something.
pub const MAX_HTTP_FOLLOWERS: usize = 64;
/// How long a connection may take for the whole head of a request, be idle between two, or take for
/// the body of one: a browser needs milliseconds, and a slow one must not hold its place.
pub const HTTP_REQUEST: Duration = Duration::from_secs(10);
/// How long nothing may be taken of what is sent to a client of the dashboard, before it counts as gone:
/// most gaps of a phone's network are shorter, and a page that was cut off connects again.
pub const HTTP_STALL: Duration = Duration::from_secs(20);
/// Bytes of the head of a request: those of browsers have about one kilobyte, and a reverse proxy adds
/// as much.
pub const HTTP_HEAD_BYTES: usize = 16 << 10;
/// Fields of the head of a request: browsers send about 20.
pub const HTTP_HEAD_FIELDS: usize = 64;
/// Bytes of the body of a request: the name of a node, the name of a unit and two words, with room for
/// what is escaped.
pub const HTTP_BODY_BYTES: usize = 4 << 10;
/// Bytes of a piece in which a large answer is sent.
pub const HTTP_PIECE: usize = 32 << 10;
/// Requests for jobs that wait for the manager's acceptance: people click a few.
pub const MAX_HTTP_JOBS: usize = 64;
/// How long the dashboard gathers changes before it tells them to its pages: nobody sees a difference,
/// and a node that comes online with its units is told at once.
pub const DASHBOARD_SETTLE: Duration = Duration::from_millis(100);
/// Bytes of the latest changes, from which a page that lost its connection goes on; one that missed
/// more gets everything anew.
pub const DASHBOARD_KEPT_CHANGES: usize = 1 << 20;
/// Events that the dashboard shows: what is read of a log before somebody looks into the journal.
pub const DASHBOARD_EVENTS: usize = 200;
/// Characters of a description or state that the dashboard keeps, above what a page shows of one.
pub const DASHBOARD_TEXT: usize = 256;
/// How old what a page gets at first may be, the dashboard's time among it: so long one copy in memory
/// serves all who ask, as long as nothing changes.
pub const DASHBOARD_FRESH: Duration = Duration::from_secs(1);
/// How often a page hears from the dashboard when nothing happens, so that it notices a connection
/// that died in silence. Reverse proxies end one after 60 s without a word.
pub const DASHBOARD_BEAT: Duration = Duration::from_secs(15);
/// How often at most the dashboard asks a node for descriptions of units that are new.
pub const DASHBOARD_LISTING: Duration = Duration::from_secs(2);

// Log

/// Bytes of one message in the log; the rest is cut. Our longest messages have a few hundred, and
/// this stays far below the 200 kB that a datagram to the journal can carry by default.
pub const LOG_MESSAGE_BYTES: usize = 16 * 1024;
/// How long a daemon waits for a journal that does not read, once: the queue of a datagram socket
/// is short (10 by default), so a burst has to wait, but a stopped journal must not stop us.
pub const LOG_JOURNAL_WAIT: Duration = Duration::from_millis(250);

// How they relate

// Both are looked at once a tick, so that what is asked at one tick is answered at the next.
const _: () = assert!(PING_AFTER.as_millis() >= 2 * TICK.as_millis());
const _: () = assert!(MAX_HANDSHAKE_LINE < MAX_HANDSHAKE && MAX_HANDSHAKE < READ_BUFFER);
const _: () = assert!(WINDOW >= 2 && WINDOW_BYTES > MAX_UNREGISTERED_MESSAGE);
const _: () = assert!(MAX_UNREGISTERED_MESSAGE < MAX_MESSAGE);
const _: () = assert!(MAX_UNREGISTERED_MESSAGE < MAX_QUEUED_TO_UNREGISTERED);
// The answers of nodes go to a bus, and errors with them.
const _: () = assert!(MAX_MESSAGE <= MAX_BUS_MESSAGE && MAX_BUS_BODY < MAX_BUS_MESSAGE);
const _: () = assert!(MAX_BUS_BODY <= MAX_GATHERED);
const _: () = assert!(MAX_ERROR_TEXT < MAX_BUS_BODY);
const _: () = assert!(MAX_REQUEST_BODY < MAX_MESSAGE_FROM_MANAGER);
// One of the largest messages always fits into an empty queue.
const _: () = assert!(MAX_UNREGISTERED_MESSAGE < MAX_QUEUED_TO_UNREGISTERED);
const _: () = assert!(MAX_MESSAGE_FROM_MANAGER < MAX_QUEUED_TO_PEER);
const _: () = assert!(MAX_MESSAGE < MAX_QUEUED_TO_MANAGER);
// What all streams may have under way leaves room for the largest message, and never makes a queue
// so long that its peer is closed for it.
const _: () = assert!(MAX_STREAMS * MAX_STREAM_CREDIT as usize <= MAX_QUEUED_TO_BUS / 2);
const _: () =
    assert!(MAX_STREAMS_PER_NODE * MAX_STREAM_CREDIT as usize <= MAX_QUEUED_TO_MANAGER / 2);
const _: () =
    assert!(MAX_STREAMS_PER_CLIENT * MAX_STREAM_CREDIT as usize <= MAX_QUEUED_TO_CLIENT / 2);
const _: () = assert!(STREAM_CHUNK <= MAX_STREAM_CREDIT);
const _: () = assert!(MAX_STREAMS_PER_CLIENT <= MAX_STREAMS_PER_NODE);
const _: () = assert!(MAX_PRIVATE_READERS < MAX_PRIVATE_CLIENTS);
const _: () = assert!(MAX_PROXIES_ANNOUNCED as usize >= 2 * MAX_PROXIES_PER_NODE);
const _: () = assert!(MAX_MESSAGE_FROM_MANAGER < MAX_QUEUED_TO_SYSTEMD);
const _: () = assert!(MAX_BUS_MESSAGE < MAX_QUEUED_TO_BUS);
const _: () = assert!(PROXY_HOLD.as_millis() < DEPENDENCY_GRACE.as_millis());
const _: () = assert!(PROXY_ANNOUNCE.as_millis() < PROXY_HOLD.as_millis());
// Who is asked gives up before who asks.
const _: () = assert!(SYSTEMD_REQUEST.as_millis() < REQUEST.as_millis());
const _: () = assert!(REQUEST.as_millis() < CLIENT_CALL.as_millis());
const _: () = assert!(CONNECT.as_millis() < MANAGER_CONNECT.as_millis());
const _: () = assert!(BUS_FIRST_RETRY.as_millis() < BUS_LONGEST_RETRY.as_millis());
const _: () = assert!(SYSTEMD_FIRST_RETRY.as_millis() < SYSTEMD_LONGEST_RETRY.as_millis());
const _: () = assert!(MAX_LATE_JOBS < MAX_REQUESTS_PER_NODE);
const _: () = assert!(MAX_REQUESTS_TO_SYSTEMD <= MAX_JOBS_PER_NODE);
const _: () = assert!(EVENTS_PER_TURN >= WINDOW);
const _: () = assert!(MAX_HTTP_FOLLOWERS < MAX_HTTP_CONNECTIONS);
const _: () = assert!(HTTP_BODY_BYTES > 4 * MAX_NAME && HTTP_HEAD_BYTES >= 8 << 10);
const _: () = assert!(DASHBOARD_BEAT.as_millis() < HTTP_STALL.as_millis());
const _: () = assert!(CONFIG_QUOTED_CHARS < LOG_MESSAGE_BYTES);
const _: () = assert!(CONFIG_TIME_MIN.as_millis() < CONFIG_TIME_MAX.as_millis());
