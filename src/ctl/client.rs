//! One connection to the manager, over its private socket or a bus, and calls of the manager over
//! it.
//!
//! All messages are taken from one inbox in the order of their arrival, so a signal that comes
//! before a reply is kept and not lost.

use std::{
    collections::{BTreeMap, VecDeque},
    env, io,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use smol::{LocalExecutor, future::or};

use super::{
    call::{Answer, Call, Refusal, decode},
    error::{Error, Subject},
    progress::Progress,
};
use crate::{
    bus::{
        Body, Kind, Message,
        body::PathRef,
        message::BodyCheck,
        names::{
            DBUS_NAME, DBUS_PATH, MANAGER_BUS_NAME, MANAGER_INTERFACE, MANAGER_PATH,
            PRIVATE_SOCKET, RUNTIME_FOLDER,
        },
    },
    daemon::bus,
    limits,
    reactor::{self, sleep},
    wire::{Inbox, Link, LinkSettings, Received, Role, Stream, address},
};

/// What runs the tasks of connections, beside the command.
pub(crate) type Executor = Rc<LocalExecutor<'static>>;

/// Runs `main` to its end on this thread, and beside it the tasks of all connections that are made
/// with the executor it is given.
pub(crate) fn block_on<F: Future>(main: impl FnOnce(Executor) -> F) -> F::Output {
    let executor = Executor::default();
    reactor::block_on(&executor, main(Rc::clone(&executor)))
}

/// A signal that [`Client::watch`] or [`Client::watch_jobs`] asked for.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one")]
pub(crate) enum Signal {
    /// The manager's name has another owner, or none.
    ManagerLeft,
    /// Any other.
    Told(Message),
}

/// What comes to a program that waits for several things at once.
#[cfg(feature = "dashboard")]
#[derive(Debug)]
pub(crate) enum Told {
    /// The manager's name has another owner, or none.
    ManagerLeft,
    /// A signal of the manager.
    Signal(Message),
    /// The answer to the call of [`Client::post`] with this serial.
    Answer(u32, Answer),
}

/// The connection.
pub(crate) struct Client {
    link: Link,
    inbox: Inbox<Received>,
    /// Nothing comes any more.
    is_closed: bool,
    /// Whether there is no bus between us and the manager.
    is_private: bool,
    last_serial: u32,
    /// Signals that came while a reply was awaited, each with its bytes. Nothing is in it before
    /// [`watch`](Self::watch), and then only what was asked for and came during one call; without a
    /// bus what all clients are told.
    signals: VecDeque<(Signal, usize)>,
    /// The bytes of all these signals.
    kept_bytes: usize,
    progress: Progress,
}

impl Client {
    /// Connects to the manager's private socket or to the system bus: to one of them where the other
    /// can not be reached. Root tries the socket first, others the bus, whose policy may let them do
    /// more. Where `DBUS_SYSTEM_BUS_ADDRESS` names a bus, nothing else is tried.
    pub async fn connect(executor: &Executor) -> Result<Self, Error> {
        if env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some() {
            return Self::connect_to_bus(executor).await;
        }
        if rustix::process::geteuid().is_root() {
            return match private_stream().await {
                Ok(stream) => Self::open_private(executor, stream).await,
                Err(private) => Self::connect_to_system_bus(executor, Some(private)).await,
            };
        }
        let error = match Self::connect_to_bus(executor).await {
            Err(Error::Connect { error, .. }) => error,
            connected => return connected,
        };
        match private_stream().await {
            Ok(stream) => Self::open_private(executor, stream).await,
            Err(private) => Err(Error::Connect {
                private: Some(private),
                error,
            }),
        }
    }

    /// Connects to the system bus (`DBUS_SYSTEM_BUS_ADDRESS`, or its well-known address), whatever
    /// else there is.
    pub async fn connect_to_bus(executor: &Executor) -> Result<Self, Error> {
        Self::connect_to_system_bus(executor, None).await
    }

    /// The same after the private socket could not be reached, and why.
    async fn connect_to_system_bus(
        executor: &Executor,
        private: Option<(PathBuf, io::Error)>,
    ) -> Result<Self, Error> {
        let client = in_time(async {
            let address = address::system_bus();
            let stream = stream(|| bus::connect(&address)).await?;
            let mut client = Self::open(executor, stream, false).await?;
            client.greet().await?;
            Ok(client)
        });
        let client = client.await;
        client.map_err(|error| Error::Connect { private, error })
    }

    /// Does the handshake with the manager.
    async fn open_private(executor: &Executor, stream: Stream) -> Result<Self, Error> {
        let client = in_time(Self::open(executor, stream, true)).await;
        client.map_err(|error| Error::ConnectPrivate {
            path: private_socket(),
            error,
        })
    }

    /// Does the handshake.
    async fn open(executor: &Executor, stream: Stream, is_private: bool) -> io::Result<Self> {
        let settings = LinkSettings {
            max_message: limits::MAX_BUS_MESSAGE,
            // The calls that wait for answers bound it.
            max_queued: None,
            // Whoever reads a body checks it.
            body_check: BodyCheck::Trusted,
        };
        let inbox = Inbox::new();
        let link = Link::open(executor, stream, Role::Client, settings, &inbox, |it| it);
        loop {
            match inbox.next().await {
                Received::Ready => break,
                Received::Closed(reason) => return Err(io::Error::other(reason.to_string())),
                Received::Message(_) => {}
            }
        }
        Ok(Self {
            link,
            inbox,
            is_closed: false,
            is_private,
            last_serial: 0,
            signals: VecDeque::new(),
            kept_bytes: 0,
            progress: Progress::new(),
        })
    }

    /// The greeting of a bus, without which it passes nothing on.
    async fn greet(&mut self) -> io::Result<()> {
        let hello = Call::new(DBUS_NAME, DBUS_PATH, DBUS_NAME, "Hello", &());
        let reason = match self.ask(hello).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(Refusal { name, message, .. })) => format!("{message} ({name})"),
            Err(error) => error.to_string(),
        };
        Err(io::Error::other(reason))
    }

    /// What the terminal is told when an answer or signal takes long; `None` for nothing.
    pub fn waiting_for(&mut self, label: impl Into<Option<String>>) {
        self.progress.wait_for(label.into());
    }

    /// What it means that the connection has ended.
    const fn lost(&self) -> Error {
        if self.is_private {
            Error::ManagerClosed
        } else {
            Error::BusLost
        }
    }

    /// The path of the node called `name`.
    pub async fn node(&mut self, name: &str) -> Result<String, Error> {
        let call = Call::manager("GetNode", &(name,));
        let body = self.call(call, Subject::Node(name)).await?;
        let (PathRef(path),) = decode("GetNode", &body)?;
        Ok(path.to_owned())
    }

    /// Makes one call; an error reply becomes an error about `subject`.
    pub async fn call(&mut self, call: Call, subject: Subject<'_>) -> Result<Body, Error> {
        self.ask(call)
            .await?
            .map_err(|refusal| Error::from_refusal(refusal, subject))
    }

    /// Makes one call and hands out an error reply as such.
    pub async fn ask(&mut self, call: Call) -> Result<Answer, Error> {
        let mut answer = None;
        self.ask_each([call], |_, given| answer = Some(given))
            .await?;
        answer.ok_or_else(|| self.lost())
    }

    /// Makes many calls, [`limits::WINDOW`] of them at a time (dbus-daemon allows a client to wait
    /// for 128 replies), and hands each answer on with the index of its call, in the order of
    /// arrival. Fails when the bus is lost or nothing is answered for [`limits::CLIENT_CALL`].
    pub async fn ask_each(
        &mut self,
        calls: impl IntoIterator<Item = Call>,
        mut answered: impl FnMut(usize, Answer),
    ) -> Result<(), Error> {
        let mut calls = calls.into_iter().enumerate();
        let mut waiting: BTreeMap<u32, (usize, &'static str)> = BTreeMap::new();
        loop {
            while waiting.len() < limits::WINDOW
                && let Some((index, call)) = calls.next()
            {
                let method = call.method();
                waiting.insert(self.send(call), (index, method));
            }
            self.link.flush();
            let Some(&(_, method)) = waiting.values().next() else {
                return Ok(());
            };
            let (index, reply) = self.reply(&mut waiting, method).await?;
            answered(index, reply.into());
        }
    }

    /// The next answer to one of the calls that wait, `method` among them.
    async fn reply(
        &mut self,
        waiting: &mut BTreeMap<u32, (usize, &'static str)>,
        method: &'static str,
    ) -> Result<(usize, Message), Error> {
        let deadline = Instant::now() + limits::CLIENT_CALL;
        loop {
            let message = self.next_before(deadline).await?;
            let message = message.ok_or(Error::NoAnswer { method })?;
            match message.kind {
                Kind::Call => {}
                Kind::Signal => self.keep(message)?,
                Kind::Return | Kind::Error => {
                    if let Some((index, _)) = waiting.remove(&message.reply_serial) {
                        return Ok((index, message));
                    }
                }
            }
        }
    }

    fn keep(&mut self, message: Message) -> Result<(), Error> {
        let bytes = size_of::<Message>() + message.body.bytes.len();
        if let Some(signal) = read_signal(message) {
            self.kept_bytes += bytes;
            self.signals.push_back((signal, bytes));
        }
        if self.kept_bytes > limits::MAX_KEPT_SIGNALS {
            return Err(Error::Flooded);
        }
        Ok(())
    }

    /// Sends a call and does not wait for the answer, which [`next_told`](Self::next_told) brings;
    /// its serial.
    #[cfg(feature = "dashboard")]
    pub fn post(&mut self, call: Call) -> u32 {
        let serial = self.send(call);
        self.link.flush();
        serial
    }

    /// The next signal, or answer to a call of [`post`](Self::post), in the order of arrival; waits as
    /// long as it takes.
    #[cfg(feature = "dashboard")]
    pub async fn next_told(&mut self) -> Result<Told, Error> {
        if let Some((signal, bytes)) = self.signals.pop_front() {
            self.kept_bytes -= bytes;
            return Ok(match signal {
                Signal::ManagerLeft => Told::ManagerLeft,
                Signal::Told(message) => Told::Signal(message),
            });
        }
        loop {
            let message = self.next().await?;
            let is_of_bus = message.sender == DBUS_NAME;
            match message.kind {
                Kind::Signal if !is_of_bus => return Ok(Told::Signal(message)),
                Kind::Signal if message.member == "NameOwnerChanged" => {
                    return Ok(Told::ManagerLeft);
                }
                Kind::Call | Kind::Signal => {}
                Kind::Return | Kind::Error => {
                    return Ok(Told::Answer(message.reply_serial, message.into()));
                }
            }
        }
    }

    /// Sends a call that is not answered.
    pub fn tell(&mut self, call: Call) {
        self.send(call);
        self.link.flush();
    }

    /// The unique name by which the manager sends on the bus; none without a bus.
    pub async fn manager_name(&mut self) -> Result<Option<String>, Error> {
        if self.is_private {
            return Ok(None);
        }
        let owner = (MANAGER_BUS_NAME,);
        let call = Call::new(DBUS_NAME, DBUS_PATH, DBUS_NAME, "GetNameOwner", &owner);
        let body = self.call(call, Subject::Fleet).await?;
        let (name,): (&str,) = decode("GetNameOwner", &body)?;
        Ok(Some(name.to_owned()))
    }

    /// Has the bus deliver the ends of the node's jobs and the manager's departure.
    pub async fn watch_jobs(&mut self, node: &str) -> Result<(), Error> {
        let jobs = format!(
            "type='signal',sender='{MANAGER_BUS_NAME}',path='{MANAGER_PATH}',\
             interface='{MANAGER_INTERFACE}',member='JobRemoved',arg2={}",
            quote(node)
        );
        self.watch(&[jobs]).await
    }

    /// Has the bus deliver the signals of these match rules and the manager's departure. Without a
    /// bus the manager sends every signal, and its departure ends the connection.
    pub async fn watch(&mut self, rules: &[String]) -> Result<(), Error> {
        if self.is_private {
            return Ok(());
        }
        let owner = format!(
            "type='signal',sender='{DBUS_NAME}',path='{DBUS_PATH}',interface='{DBUS_NAME}',\
             member='NameOwnerChanged',arg0='{MANAGER_BUS_NAME}'"
        );
        for rule in [&owner].into_iter().chain(rules) {
            let rule = &(rule.as_str(),);
            let call = Call::new(DBUS_NAME, DBUS_PATH, DBUS_NAME, "AddMatch", rule);
            self.call(call, Subject::Fleet).await?;
        }
        Ok(())
    }

    /// The next signal in the order of arrival; waits as long as it takes.
    pub async fn next_signal(&mut self) -> Result<Signal, Error> {
        loop {
            if let Some((signal, bytes)) = self.signals.pop_front() {
                self.kept_bytes -= bytes;
                return Ok(signal);
            }
            let message = self.next().await?;
            if message.kind == Kind::Signal
                && let Some(signal) = read_signal(message)
            {
                return Ok(signal);
            }
        }
    }

    /// The next signal, or nothing when there is none in this time.
    pub async fn next_signal_within(&mut self, time: Duration) -> Result<Option<Signal>, Error> {
        let late = async {
            sleep(time).await;
            Ok(None)
        };
        or(async { self.next_signal().await.map(Some) }, late).await
    }

    /// Queues a call; its serial.
    fn send(&mut self, call: Call) -> u32 {
        // 0 is none.
        self.last_serial = self.last_serial.wrapping_add(1).max(1);
        let mut message = call.into_message();
        message.serial = self.last_serial;
        self.link.send(&message);
        self.last_serial
    }

    async fn next(&mut self) -> Result<Message, Error> {
        while !self.is_closed {
            match self.progress.during(self.inbox.next()).await {
                Received::Message(message) => return Ok(message),
                Received::Closed(_) => self.is_closed = true,
                Received::Ready => {}
            }
        }
        Err(self.lost())
    }

    /// The next message, or nothing when there is none at the deadline.
    async fn next_before(&mut self, deadline: Instant) -> Result<Option<Message>, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let late = async {
            sleep(left).await;
            Ok(None)
        };
        or(async { self.next().await.map(Some) }, late).await
    }
}

/// Connects, as soon as the other side has room for a connection.
async fn stream(connect: impl Fn() -> io::Result<Stream>) -> io::Result<Stream> {
    loop {
        match connect() {
            // The listener's backlog is full, and the kernel wakes nobody when there is room again
            // (connect(2), EAGAIN).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sleep(limits::FULL_BUS_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Where the manager serves those who need no bus.
fn private_socket() -> PathBuf {
    Path::new(RUNTIME_FOLDER).join(PRIVATE_SOCKET)
}

/// A connection to the private socket, or why there is none.
async fn private_stream() -> Result<Stream, (PathBuf, io::Error)> {
    let path = private_socket();
    let connected = in_time(stream(|| address::connect_unix(&path).map(Stream::Unix))).await;
    connected.map_err(|error| (path, error))
}

/// Gives up after [`limits::CLIENT_CALL`].
async fn in_time<T>(attempt: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = async {
        sleep(limits::CLIENT_CALL).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    or(attempt, late).await
}

/// Reads a signal. Of those of the bus itself only the departure of the manager concerns us.
fn read_signal(message: Message) -> Option<Signal> {
    let is_of_bus = message.sender == DBUS_NAME;
    match message.member.as_str() {
        "NameOwnerChanged" if is_of_bus => Some(Signal::ManagerLeft),
        _ if is_of_bus => None,
        _ => Some(Signal::Told(message)),
    }
}

/// A job that has ended, as `JobRemoved` tells it: number, path, node, unit, result.
pub(crate) type RemovedJob<'b> = (u32, PathRef<'b>, &'b str, &'b str, &'b str);

/// The job whose end a signal tells, if that is what it tells.
pub(crate) fn removed_job(signal: &Message) -> Result<Option<RemovedJob<'_>>, Error> {
    if signal.member != "JobRemoved" {
        return Ok(None);
    }
    decode("JobRemoved", &signal.body).map(Some)
}

/// A match rule for the signal `member` of the manager's object at `path`; without a member for all
/// of its signals.
pub(crate) fn rule(path: &str, member: Option<&str>) -> String {
    let member = member.map_or_else(String::new, |member| format!(",member='{member}'"));
    format!("type='signal',sender='{MANAGER_BUS_NAME}',path='{path}'{member}")
}

/// A value of a match rule (D-Bus Specification, "Match Rules"): within apostrophes nothing is
/// special but the apostrophe.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::reactor::Async;

    /// Whoever sends without end can not keep us from it.
    #[test]
    fn a_deadline_comes_before_messages_that_are_there() {
        block_on(async |executor| {
            let (near, far) = UnixStream::pair().unwrap();
            let [near, far] = [near, far].map(|end| Stream::Unix(Async::new(end).unwrap()));
            let settings = LinkSettings {
                max_message: limits::MAX_BUS_MESSAGE,
                max_queued: None,
                body_check: BodyCheck::Full,
            };
            let inbox = Inbox::new();
            let server = Link::open(&executor, far, Role::Server, settings, &inbox, |it| it);
            let mut stray = Message::reply(77, Body::default());
            stray.serial = 1;
            server.send(&stray);
            let mut client = Client::open(&executor, near, true).await.unwrap();
            let soon = Instant::now() + Duration::from_secs(20);
            assert!(client.next_before(soon).await.unwrap().is_some());
            server.send(&stray);
            server.flush();
            while client.inbox.is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
            let now = Instant::now();
            assert!(client.next_before(now).await.unwrap().is_none());
            assert!(client.next_before(soon).await.unwrap().is_some());
        });
    }

    #[test]
    fn values_of_match_rules_are_quoted() {
        assert_eq!(quote("rpi4"), "'rpi4'");
        assert_eq!(quote(r"a'b\,c"), r"'a'\''b\,c'");
    }
}
