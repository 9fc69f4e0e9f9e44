//! What a message costs: marshalling, and a call with its answer over the loopback, by our links
//! and by zbus. `cargo bench --bench wire`

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, dead_code)]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/support/zbus_runtime.rs"]
mod zbus_runtime;

use std::{hint::black_box, net::TcpStream, time::Instant};

use hirte::{
    bus::{
        Body, Message,
        marshal::{Endian, Writer, validate},
        message::BodyCheck,
    },
    reactor::{self, Async},
    wire::{Received, Role, Stream},
};
use smol::{LocalExecutor, stream::StreamExt};
use support::{Daemon, raw, tcp_pair};
use zbus::{
    Guid, MessageStream,
    connection::{AuthMechanism, Builder},
    message::Type,
};
use zbus_runtime::SmolRuntime;

/// Properties of a service, as many as systemd 252 has.
const PROPERTIES: u32 = 280;
const ROUNDS: u32 = 20_000;

fn main() {
    marshalling();
    let ours = ping_pong_by_links();
    let (server, client) = reactor::block_on(&LocalExecutor::new(), tcp_pair());
    let by_zbus = smol::block_on(ping_pong_by_zbus(server, client));
    println!("call and answer, links   {ours:>8.0} ns");
    println!("call and answer, zbus    {by_zbus:>8.0} ns");
    println!("links / zbus             {:>8.2}", ours / by_zbus);
}

/// Nanoseconds for one `operation`.
fn time(operation: impl Fn()) -> f64 {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        operation();
    }
    nanos(start)
}

/// Nanoseconds for each of the rounds since `start`.
fn nanos(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
}

fn marshalling() {
    let mut message = Message::reply(1, unit_properties());
    message.serial = 1;
    let bytes = message.encode();
    let body = &message.body;
    println!("GetUnitProperties reply  {:>8} bytes", bytes.len());
    let encode = time(|| drop(black_box(message.encode())));
    println!("encode                   {encode:>8.0} ns");
    let check = time(|| {
        validate(&body.signature, black_box(&body.bytes), Endian::Little).unwrap();
    });
    println!("validate the body        {check:>8.0} ns");
    for (name, check) in [
        ("decode, body trusted    ", BodyCheck::Trusted),
        ("decode, body checked    ", BodyCheck::Full),
    ] {
        let decode = time(|| drop(Message::decode(black_box(&bytes), check).unwrap()));
        println!("{name} {decode:>8.0} ns");
    }
    let call = call();
    let bytes = call.encode();
    let encode = time(|| drop(black_box(call.encode())));
    let decode = time(|| drop(Message::decode(black_box(&bytes), BodyCheck::Full).unwrap()));
    println!("small call, encode       {encode:>8.0} ns");
    println!("small call, decode       {decode:>8.0} ns");
}

/// A body `a{sv}` with the types that units have.
fn unit_properties() -> Body {
    let mut writer = Writer::default();
    writer.array(8, |properties| {
        for number in 0..PROPERTIES {
            properties.align(8);
            properties.str(&format!("PropertyOfTheUnit{number}"));
            match number % 4 {
                0 => {
                    properties.signature("s");
                    properties.str("/usr/lib/systemd/system/radio.service");
                }
                1 => {
                    properties.signature("t");
                    properties.u64(u64::MAX);
                }
                2 => {
                    properties.signature("b");
                    properties.bool(true);
                }
                _ => {
                    properties.signature("as");
                    properties.array(4, |names| {
                        names.str("sysinit.target");
                        names.str("system.slice");
                    });
                }
            }
        }
    });
    Body {
        signature: "a{sv}".into(),
        endian: Endian::Little,
        bytes: writer.into_bytes(),
    }
}

fn call() -> Message {
    let mut call = Message::call("/a", "b.c", "Do", Body::of(&("radio.service", "replace")));
    call.serial = 1;
    call
}

fn ping_pong_by_links() -> f64 {
    let daemon = Daemon::default();
    let executor = daemon.executor.clone();
    reactor::block_on(&executor, async {
        let (server, client) = tcp_pair().await;
        let server = daemon.open(1, Stream::Tcp(server), Role::Server);
        let client = daemon.open(2, Stream::Tcp(client), Role::Client);
        let mut call = call();
        let mut start = Instant::now();
        loop {
            match daemon.inbox.next().await {
                (1, Received::Message(message)) => {
                    let mut reply = Message::reply(message.serial, Body::of(&("done",)));
                    reply.serial = message.serial;
                    server.send(&reply);
                    server.flush();
                }
                (2, Received::Message(reply)) => {
                    assert_eq!(reply.reply_serial, call.serial);
                    if call.serial == ROUNDS {
                        break nanos(start);
                    }
                    call.serial += 1;
                    client.send(&call);
                    client.flush();
                }
                (2, Received::Ready) => {
                    start = Instant::now();
                    client.send(&call);
                    client.flush();
                }
                _ => {}
            }
        }
    })
}

async fn ping_pong_by_zbus(server: Async<TcpStream>, client: Async<TcpStream>) -> f64 {
    let runtime = SmolRuntime::default();
    runtime
        .executor()
        .run(async {
            let server = Builder::tcp_stream(raw(server).into_inner().unwrap())
                .server(Guid::generate())
                .auth_mechanism(AuthMechanism::Anonymous)
                .runtime(runtime.clone())
                .p2p()
                .build_message_stream();
            let client = Builder::tcp_stream(raw(client).into_inner().unwrap())
                .auth_mechanism(AuthMechanism::Anonymous)
                .runtime(runtime.clone())
                .p2p()
                .build();
            let (server, client) = smol::future::zip(server, client).await;
            let serve = serve_by_zbus(server.unwrap());
            let client = client.unwrap();
            let ask = async {
                let start = Instant::now();
                for _ in 0..ROUNDS {
                    let arguments = ("radio.service", "replace");
                    client
                        .call_method(None::<&str>, "/a", Some("b.c"), "Do", &arguments)
                        .await
                        .unwrap();
                }
                nanos(start)
            };
            smol::future::or(ask, serve).await
        })
        .await
}

async fn serve_by_zbus(mut stream: MessageStream) -> f64 {
    let connection = zbus::Connection::from(&stream);
    while let Some(message) = stream.next().await {
        let message = message.unwrap();
        if message.message_type() == Type::MethodCall {
            connection.reply(&message.header(), &"done").await.unwrap();
        }
    }
    unreachable!("the client stays connected")
}
