//! A lean D-Bus client on the project's own transport, the same for hirte and for systemd.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    rc::Rc,
    time::Instant,
};

use hirte::{
    bus::{Body, Kind, Message, message::BodyCheck, names},
    limits,
    wire::{Inbox, Link, LinkSettings, Received, Role, Stream, address::connect_unix},
};
use smol::LocalExecutor;

/// Connections to one bus or several, whose messages come in one order.
pub struct Client {
    connections: Vec<Connection>,
    inbox: Inbox<(usize, Received)>,
}

struct Connection {
    link: Link,
    serial: u32,
}

/// A message to send, and the connection that it goes over.
pub type Addressed = (usize, Message);

impl Client {
    /// Connects to the bus at each socket.
    pub async fn connect(executor: &Rc<LocalExecutor<'static>>, sockets: &[&Path]) -> Self {
        let inbox = Inbox::new();
        let mut connections = Vec::new();
        for (index, socket) in sockets.iter().enumerate() {
            let stream = connect_unix(socket);
            let stream = stream.unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
            let settings = LinkSettings {
                max_message: limits::MAX_BUS_MESSAGE + limits::READ_BUFFER,
                max_queued: None,
                body_check: BodyCheck::Trusted,
            };
            let (stream, role) = (Stream::Unix(stream), Role::Client);
            let wrap = move |received| (index, received);
            let link = Link::open(executor, stream, role, settings, &inbox, wrap);
            connections.push(Connection { link, serial: 0 });
        }
        let mut client = Self { connections, inbox };
        for connection in 0..sockets.len() {
            client.ask_bus(connection, "Hello", Body::default()).await;
        }
        client
    }

    /// Number of connections.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Sends a message and returns its number.
    pub fn send(&mut self, (connection, mut message): Addressed) -> u32 {
        let connection = &mut self.connections[connection];
        connection.serial += 1;
        message.serial = connection.serial;
        connection.link.send(&message);
        connection.link.flush();
        connection.serial
    }

    /// The next message and its connection.
    pub async fn next(&self) -> Addressed {
        loop {
            match self.inbox.next().await {
                (_, Received::Ready) => {}
                (connection, Received::Message(message)) => return (connection, message),
                (_, Received::Closed(reason)) => panic!("the bus is gone: {reason}"),
            }
        }
    }

    /// Calls and waits for the answer, which may be an error; signals before it are dropped.
    pub async fn call(&mut self, call: Addressed) -> Message {
        let from = call.0;
        let serial = self.send(call);
        loop {
            let (connection, message) = self.next().await;
            if connection == from && message.reply_serial == serial {
                return message;
            }
        }
    }

    /// Calls the bus itself.
    pub async fn ask_bus(&mut self, connection: usize, member: &str, body: Body) -> Message {
        let call = Message::call(names::DBUS_PATH, names::DBUS_NAME, member, body);
        let answer = self.call((connection, call.to(names::DBUS_NAME))).await;
        assert_eq!(answer.kind, Kind::Return, "{member}: {answer:?}");
        answer
    }

    /// Asks the bus for a signal.
    pub async fn subscribe(&mut self, connection: usize, interface: &str, member: &str) {
        let rule = format!("type='signal',interface='{interface}',member='{member}'");
        self.ask_bus(connection, "AddMatch", Body::of(&(rule.as_str(),)))
            .await;
    }
}

/// Time of each operation in nanoseconds, in the order in which they ended.
pub type Times = Vec<u64>;

/// Makes `count` calls, `window` at a time, each of which must succeed.
pub async fn calls(
    client: &mut Client,
    count: usize,
    window: usize,
    mut call: impl FnMut(usize) -> Addressed,
) -> Times {
    let mut started = BTreeMap::new();
    let mut times = Times::with_capacity(count);
    let mut sent = 0;
    while times.len() < count {
        while sent < count && started.len() < window {
            let call = call(sent);
            let (connection, at) = (call.0, Instant::now());
            started.insert((connection, client.send(call)), at);
            sent += 1;
        }
        let (connection, answer) = client.next().await;
        if let Some(at) = started.remove(&(connection, answer.reply_serial)) {
            assert_eq!(answer.kind, Kind::Return, "{answer:?}");
            times.push(nanos(at));
        }
    }
    times
}

/// Runs `count` jobs, `window` at a time, each from its request to its `JobRemoved`, to which the
/// first connection to each bus must be subscribed. Each must end as `done`.
pub async fn jobs(
    client: &mut Client,
    count: usize,
    window: usize,
    mut call: impl FnMut(usize) -> Addressed,
) -> Times {
    let mut requests = BTreeMap::new();
    let mut accepted = BTreeMap::new();
    let mut removed_early = BTreeSet::new();
    let mut times = Times::with_capacity(count);
    let mut sent = 0;
    while times.len() < count {
        while sent < count && requests.len() + accepted.len() < window {
            let call = call(sent);
            let (connection, at) = (call.0, Instant::now());
            requests.insert((connection, client.send(call)), at);
            sent += 1;
        }
        let (connection, message) = client.next().await;
        if let Some(at) = requests.remove(&(connection, message.reply_serial)) {
            assert_eq!(message.kind, Kind::Return, "{message:?}");
            let job = message.body.reader().path().expect("a job").to_owned();
            if removed_early.remove(&(connection, job.clone())) {
                times.push(nanos(at));
            } else {
                accepted.insert((connection, job), at);
            }
        } else if message.kind == Kind::Signal && message.member == "JobRemoved" {
            let mut arguments = message.body.reader();
            arguments.u32().expect("a number");
            let job = (connection, arguments.path().expect("a job").to_owned());
            assert!(
                message
                    .body
                    .bytes
                    .windows(5)
                    .any(|bytes| bytes == b"done\0"),
                "{message:?}"
            );
            match accepted.remove(&job) {
                Some(at) => times.push(nanos(at)),
                // systemd may tell of the end of a job before it answers the request for it.
                None => drop(removed_early.insert(job)),
            }
        }
    }
    times
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
