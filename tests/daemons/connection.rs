//! A D-Bus connection without a runtime: one thread writes and reads, and sees every byte.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use hirte::{
    bus::{
        Body, Kind, Message,
        message::{BodyCheck, announced_len},
        names,
    },
    wire::sasl::CLIENT_HELLO,
};

use super::SOON;

/// Longest message that a test reads: the longest that D-Bus allows.
const MAX_MESSAGE: usize = 128 << 20;

/// A stream socket.
pub trait Socket: Read + Write {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))
    }
}

impl Socket for UnixStream {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))
    }
}

/// The error that answers a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub name: String,
    pub text: String,
}

/// One end of a connection that speaks D-Bus.
pub struct Connection<S> {
    pub stream: S,
    bytes: Vec<u8>,
    /// Messages that were read while another was waited for.
    waiting: VecDeque<Message>,
    last_serial: u32,
}

impl Connection<UnixStream> {
    /// A client of a message bus.
    pub fn to_bus(socket: &Path) -> Self {
        let mut bus = Self::authenticate(UnixStream::connect(socket).unwrap()).unwrap();
        bus.call(bus_call("Hello", Body::default())).unwrap();
        bus
    }

    /// The property `Status` of a node, or why the manager does not tell.
    pub fn node_status(&mut self, node: &str) -> Result<String, Refusal> {
        let arguments = Body::of(&(names::NODE_INTERFACE, "Status"));
        let call = Message::call(
            &names::node_path(node),
            names::PROPERTIES_INTERFACE,
            "Get",
            arguments,
        );
        let answer = self.call(call.to(names::MANAGER_BUS_NAME))?;
        let (signature, mut value) = answer.reader().variant().unwrap();
        assert_eq!(signature, "s");
        Ok(value.str().unwrap().to_owned())
    }

    /// Gets all signals that the bus delivers to a rule.
    pub fn watch(&mut self, rule: &str) {
        self.call(bus_call("AddMatch", Body::of(&(rule,)))).unwrap();
    }
}

impl<S: Socket> Connection<S> {
    /// Goes through the handshake as agents and clients of sd-bus do.
    pub fn authenticate(mut stream: S) -> io::Result<Self> {
        stream.set_timeout(SOON)?;
        stream.write_all(CLIENT_HELLO)?;
        let mut answer = Vec::new();
        for _ in 0..2 {
            while !answer.ends_with(b"\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                answer.push(byte[0]);
            }
            answer.push(b' ');
        }
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("DATA\r\n OK "), "{text:?}");
        Ok(Self {
            stream,
            bytes: Vec::new(),
            waiting: VecDeque::new(),
            last_serial: 0,
        })
    }

    /// Sends a message under the next number, which it returns.
    pub fn send(&mut self, message: Message) -> u32 {
        self.try_send(message).unwrap()
    }

    pub fn try_send(&mut self, mut message: Message) -> io::Result<u32> {
        self.last_serial += 1;
        message.serial = self.last_serial;
        self.stream.write_all(&message.encode())?;
        Ok(self.last_serial)
    }

    /// Number of the message that was sent last.
    pub const fn last_serial(&self) -> u32 {
        self.last_serial
    }

    /// Sends a call and waits for its answer; a panic if it does not come soon.
    pub fn call(&mut self, call: Message) -> Result<Body, Refusal> {
        let serial = self.send(call);
        self.answer(serial)
    }

    /// Waits for the answer to the call with this number; a panic if it does not come soon.
    pub fn answer(&mut self, serial: u32) -> Result<Body, Refusal> {
        self.answer_within(serial, SOON)
    }

    pub fn answer_within(&mut self, serial: u32, bound: Duration) -> Result<Body, Refusal> {
        let answer = self.expect(bound, "an answer", |message| message.reply_serial == serial);
        match answer.kind {
            Kind::Error => Err(Refusal {
                text: answer.body.first_str().unwrap_or_default().to_owned(),
                name: answer.error_name,
            }),
            _ => Ok(answer.body),
        }
    }

    /// The next signal of this name; a panic if it does not come soon.
    pub fn signal(&mut self, member: &str) -> Message {
        self.signal_within(member, SOON)
    }

    pub fn signal_within(&mut self, member: &str, bound: Duration) -> Message {
        self.expect(bound, member, |message| {
            message.kind == Kind::Signal && message.member == member
        })
    }

    /// The next call of this name; a panic if it does not come soon.
    pub fn called(&mut self, member: &str) -> Message {
        self.expect(SOON, member, |message| {
            message.kind == Kind::Call && message.member == member
        })
    }

    /// The first message, waiting or to come, that is wanted; others are kept.
    pub fn expect(
        &mut self,
        bound: Duration,
        what: &str,
        wanted: impl Fn(&Message) -> bool,
    ) -> Message {
        let found = self.find(bound, wanted);
        found.unwrap_or_else(|error| panic!("no {what} within {bound:?}: {error}"))
    }

    pub fn find(
        &mut self,
        bound: Duration,
        wanted: impl Fn(&Message) -> bool,
    ) -> io::Result<Message> {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return Ok(self.waiting.remove(at).unwrap());
        }
        let end = Instant::now() + bound;
        loop {
            let message = self.receive(end.saturating_duration_since(Instant::now()))?;
            if wanted(&message) {
                return Ok(message);
            }
            self.waiting.push_back(message);
        }
    }

    /// Answers each `Peer.Ping` that comes, for as long as `time`.
    pub fn live(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        loop {
            match self.receive(end.saturating_duration_since(Instant::now())) {
                Ok(message) => self.waiting.push_back(message),
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads until the other end closes the connection, however it does that.
    pub fn wait_closed(&mut self, bound: Duration) {
        let closed = self.find(bound, |_| false).unwrap_err();
        assert_ne!(closed.kind(), ErrorKind::TimedOut, "still open");
    }

    /// The next message in the order of the connection. `Peer.Ping` is answered here, as sd-bus
    /// does for every program.
    fn receive(&mut self, bound: Duration) -> io::Result<Message> {
        let end = Instant::now() + bound;
        loop {
            let message = self.read_message(end)?;
            if message.kind == Kind::Call && message.is(names::PEER_INTERFACE, "Ping") {
                self.try_send(Message::reply(message.serial, Body::default()))?;
                continue;
            }
            return Ok(message);
        }
    }

    fn read_message(&mut self, end: Instant) -> io::Result<Message> {
        loop {
            let length = announced_len(&self.bytes, MAX_MESSAGE).expect("a message");
            if let Some(length) = length.filter(|length| *length <= self.bytes.len()) {
                let message: Vec<u8> = self.bytes.drain(..length).collect();
                return Ok(Message::decode(&message, BodyCheck::Full).expect("a valid message"));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream
                .set_timeout(left.max(Duration::from_millis(1)))?;
            let mut buffer = vec![0; 64 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.bytes.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A call of the bus itself.
pub fn bus_call(member: &str, arguments: Body) -> Message {
    Message::call(names::DBUS_PATH, names::DBUS_NAME, member, arguments).to(names::DBUS_NAME)
}

/// A call of a node's object at the manager.
pub fn node_call(node: &str, member: &str, arguments: Body) -> Message {
    Message::call(
        &names::node_path(node),
        names::NODE_INTERFACE,
        member,
        arguments,
    )
    .to(names::MANAGER_BUS_NAME)
}

/// What an agent says first.
pub fn register(name: &str) -> Message {
    Message::call(
        names::INTERNAL_MANAGER_PATH,
        names::INTERNAL_MANAGER_INTERFACE,
        "Register",
        Body::of(&(name,)),
    )
    .to(names::MANAGER_BUS_NAME)
}
