//! What the tests of the transport share.

pub mod bus;

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    rc::Rc,
    time::Duration,
};

use hirte::{
    bus::{Body, Message, message::BodyCheck},
    reactor::{self, Async, sleep},
    wire::{Inbox, Link, LinkSettings, Received, Role, Stream, tcp},
};
use smol::{LocalExecutor, future::or};

/// An event and the number of the link that it is from.
pub type Event = (usize, Received);

pub const SETTINGS: LinkSettings = LinkSettings {
    max_message: 1 << 20,
    max_queued: Some(1 << 20),
    body_check: BodyCheck::Full,
};

/// One thread with an executor and an inbox, as a daemon has.
#[derive(Clone, Default)]
pub struct Daemon {
    pub executor: Rc<LocalExecutor<'static>>,
    pub inbox: Inbox<Event>,
}

impl Daemon {
    pub fn open(&self, number: usize, stream: Stream, role: Role) -> Link {
        self.open_with(number, stream, role, SETTINGS)
    }

    pub fn open_with(
        &self,
        number: usize,
        stream: Stream,
        role: Role,
        settings: LinkSettings,
    ) -> Link {
        let wrap = move |received| (number, received);
        Link::open(&self.executor, stream, role, settings, &self.inbox, wrap)
    }

    /// The next message; other events fail the test.
    pub async fn message(&self) -> (usize, Message) {
        match self.inbox.next().await {
            (number, Received::Message(message)) => (number, message),
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// The next event, if it comes while everything that can happen happens.
    pub async fn soon(&self) -> Option<Event> {
        self.soon_within(Duration::from_millis(100)).await
    }

    pub async fn soon_within(&self, time: Duration) -> Option<Event> {
        or(async { Some(self.inbox.next().await) }, async {
            sleep(time).await;
            None
        })
        .await
    }
}

/// Runs a test on one thread, for ten seconds at most.
pub fn run<T, F: Future<Output = T>>(test: impl FnOnce(Daemon) -> F) -> T {
    let daemon = Daemon::default();
    let executor = Rc::clone(&daemon.executor);
    let limited = or(test(daemon), async {
        sleep(Duration::from_secs(10)).await;
        panic!("the test did not end within 10 s");
    });
    reactor::block_on(&executor, limited)
}

/// A listener and its address on the loopback.
pub fn listen() -> (tcp::Listener, SocketAddr) {
    let listener = tcp::listen(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, (Ipv4Addr::LOCALHOST, port).into())
}

/// Both ends of a connection over the loopback; the first is the accepted one.
pub async fn tcp_pair() -> (Async<TcpStream>, Async<TcpStream>) {
    let (listener, address) = listen();
    let client = tcp::connect(address, &tcp::KeepAlive::default())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (server, client)
}

/// The same end of a connection, which is given up here, for code that is not ours, on smol's reactor.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the peer must see its end with the copy's"
)]
pub fn raw(stream: Async<TcpStream>) -> smol::Async<TcpStream> {
    smol::Async::new(stream.get_ref().try_clone().unwrap()).unwrap()
}

/// A signal with `length` bytes of text.
pub fn signal(serial: u32, length: usize) -> Message {
    let text = "x".repeat(length);
    let mut signal = Message::signal("/a", "b.c", "Said", Body::of(&(text.as_str(),)));
    signal.serial = serial;
    signal
}

/// The first four pieces of a captured connection: the agent's greeting, the manager's answer, the
/// agent's `Register`, its reply.
pub fn captured() -> [Vec<u8>; 4] {
    let text = include_str!("../data/handshake-c-agent.hex");
    let mut pieces = Vec::new();
    for line in text.lines() {
        match line {
            "<" | ">" => pieces.push(Vec::new()),
            comment if comment.starts_with('#') => {}
            digits => {
                let bytes = digits.split(' ').map(|byte| u8::from_str_radix(byte, 16));
                let piece = pieces.last_mut().unwrap();
                piece.extend(bytes.map(Result::unwrap));
            }
        }
    }
    pieces.try_into().unwrap()
}

/// Runs one ignored test of this program in a process of its own, on its only thread.
pub fn alone(test: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            test,
            "--test-threads=1",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{errors}"
    );
    print!("{said}");
}

/// Open descriptors of this process.
pub fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
