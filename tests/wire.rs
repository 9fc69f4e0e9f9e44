//! The transport against other implementations and against hostile peers, over real sockets.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;
#[path = "support/zbus_runtime.rs"]
mod zbus_runtime;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

use hirte::{
    bus::{Body, Kind, Message, message::BadMessage, names},
    limits, reactor,
    wire::{Closed, LinkSettings, Received, Role, Stream, sasl::HandshakeError},
};
use smol::{
    Async, LocalExecutor, Timer,
    io::{AsyncReadExt, AsyncWriteExt},
};
use support::{Daemon, SETTINGS, alone, bus::Bus, captured, files, raw, run, signal, tcp_pair};
use zbus_runtime::SmolRuntime;

const CLIENT_HELLO: &[u8] = hirte::wire::sasl::CLIENT_HELLO;

#[test]
fn two_links_talk() {
    run(async |daemon| {
        let (server, client) = tcp_pair().await;
        let server = daemon.open(1, Stream::Tcp(server), Role::Server);
        let client = daemon.open(2, Stream::Tcp(client), Role::Client);
        let mut call = Message::call("/a", "b.c", "Do", Body::of(&("text",)));
        call.serial = 7;
        client.send(&call);
        client.flush();
        assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
        assert_eq!(daemon.inbox.next().await, (2, Received::Ready));
        assert_eq!(daemon.message().await, (1, call));
        let mut reply = Message::reply(7, Body::default());
        reply.serial = 1;
        server.send(&reply);
        server.flush();
        let (number, got) = daemon.message().await;
        assert_eq!((number, got.kind, got.reply_serial), (2, Kind::Return, 7));
        drop(server);
        assert_eq!(
            daemon.inbox.next().await,
            (2, Received::Closed(Closed::ByPeer))
        );
        assert_eq!(daemon.soon().await, None);
    });
}

/// The C programs, as captured.
mod c_peers {
    use super::*;

    #[test]
    fn the_bytes_of_a_c_agent_are_served_like_a_c_manager_does() {
        run(async |daemon| {
            let [hello, _, register, reply] = captured();
            let (server, agent) = tcp_pair().await;
            let mut agent = raw(agent);
            let link = daemon.open(1, Stream::Tcp(server), Role::Server);
            agent.write_all(&hello).await.unwrap();
            let mut answer = [0; 43];
            agent.read_exact(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"DATA\r\nOK ") && answer.ends_with(b"\r\n"));
            assert!(answer[9..41].iter().all(u8::is_ascii_hexdigit));
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            agent.write_all(&register).await.unwrap();
            let (_, call) = daemon.message().await;
            assert!(call.is(names::INTERNAL_MANAGER_INTERFACE, "Register"));
            assert_eq!(call.body, Body::of(&("bar-2",)));
            let mut returned = Message::reply(call.serial, Body::default());
            returned.serial = 1;
            names::MANAGER_BUS_NAME.clone_into(&mut returned.sender);
            link.send(&returned);
            link.flush();
            let mut bytes = vec![0; reply.len()];
            agent.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes, reply);
        });
    }

    #[test]
    fn our_agent_sends_the_bytes_of_a_c_agent() {
        run(async |daemon| {
            let [hello, answer, register, reply] = captured();
            let (manager, client) = tcp_pair().await;
            let mut manager = raw(manager);
            let link = daemon.open(1, Stream::Tcp(client), Role::Client);
            let mut call = Message::call(
                names::INTERNAL_MANAGER_PATH,
                names::INTERNAL_MANAGER_INTERFACE,
                "Register",
                Body::of(&("bar-2",)),
            )
            .to(names::MANAGER_BUS_NAME);
            call.serial = 1;
            link.send(&call);
            link.flush();
            let mut bytes = vec![0; 1000];
            let length = manager.read(&mut bytes).await.unwrap();
            assert_eq!(bytes[..length], hello);
            // No message before OK, also when the answer comes in pieces.
            for byte in answer {
                assert_eq!(daemon.soon_within(Duration::from_millis(2)).await, None);
                let early = manager.get_ref().read(&mut bytes);
                assert_eq!(early.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
                manager.write_all(&[byte]).await.unwrap();
            }
            let length = manager.read(&mut bytes).await.unwrap();
            assert_eq!(bytes[..length], register);
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            manager.write_all(&reply).await.unwrap();
            let (_, returned) = daemon.message().await;
            assert_eq!(returned.sender, names::MANAGER_BUS_NAME);
        });
    }
}

mod zbus_peers {
    use zbus::{
        Guid, MessageStream,
        connection::{AuthMechanism, Builder},
        message::Type,
    };

    use super::*;

    /// Two calls and a signal between a zbus connection, made by `build`, and our server.
    fn talk_to_our_server(mechanism: AuthMechanism) {
        run(async |daemon| {
            let (server, client) = tcp_pair().await;
            let link = daemon.open(1, Stream::Tcp(server), Role::Server);
            let runtime = SmolRuntime::default();
            let build = Builder::tcp_stream(raw(client).into_inner().unwrap())
                .auth_mechanism(mechanism)
                .runtime(runtime.clone())
                .p2p()
                .build();
            let zbus = runtime.executor().run(build).await.unwrap();
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            let serve = async {
                for serial in 1..=2 {
                    let (_, call) = daemon.message().await;
                    let (text,): (String,) = call.body.parse().unwrap();
                    let mut reply = Message::reply(call.serial, Body::of(&(text + "!",)));
                    reply.serial = serial;
                    link.send(&reply);
                    link.flush();
                }
                link.send(&signal(3, 5));
                link.flush();
            };
            let ask = async {
                let mut signals = MessageStream::from(&zbus);
                for _ in 0..2 {
                    let reply = zbus
                        .call_method(None::<&str>, "/a", Some("b.c"), "Do", &"text")
                        .await
                        .unwrap();
                    let text: String = reply.body().deserialize().unwrap();
                    assert_eq!(text, "text!");
                }
                loop {
                    let message = smol::stream::StreamExt::next(&mut signals).await;
                    let message = message.unwrap().unwrap();
                    if message.message_type() == Type::Signal {
                        let text: String = message.body().deserialize().unwrap();
                        break assert_eq!(text, "xxxxx");
                    }
                }
            };
            runtime.executor().run(smol::future::zip(serve, ask)).await;
            drop(zbus);
            let closed = runtime.executor().run(daemon.inbox.next()).await;
            assert_eq!(closed, (1, Received::Closed(Closed::ByPeer)));
        });
    }

    #[test]
    fn a_client_without_a_name_is_served() {
        talk_to_our_server(AuthMechanism::Anonymous);
    }

    #[test]
    fn a_client_with_a_uid_is_served() {
        talk_to_our_server(AuthMechanism::External);
    }

    #[test]
    fn our_client_is_served() {
        run(async |daemon| {
            let (server, client) = UnixStream::pair().unwrap();
            let runtime = SmolRuntime::default();
            let build = Builder::unix_stream(server)
                .server(Guid::generate())
                .auth_mechanism(AuthMechanism::External)
                .runtime(runtime.clone())
                .p2p()
                .build_message_stream();
            let client = Stream::Unix(reactor::Async::new(client).unwrap());
            let link = daemon.open(1, client, Role::Client);
            let mut zbus = runtime.executor().run(build).await.unwrap();
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            link.send(&signal(9, 3));
            link.flush();
            let got = runtime
                .executor()
                .run(smol::stream::StreamExt::next(&mut zbus))
                .await;
            let got = got.unwrap().unwrap();
            assert_eq!(got.primary_header().serial_num().get(), 9);
        });
    }
}

mod buses {
    use super::*;

    #[test]
    fn a_message_bus_serves_our_client() {
        run(async |daemon| {
            let bus = Bus::start();
            let stream = hirte::wire::address::connect_unix(bus.socket()).unwrap();
            let link = daemon.open(1, Stream::Unix(stream), Role::Client);
            let call = |serial, member: &str, body| {
                let mut call = Message::call(names::DBUS_PATH, names::DBUS_NAME, member, body)
                    .to(names::DBUS_NAME);
                call.serial = serial;
                link.send(&call);
                link.flush();
            };
            let answer = async |serial| loop {
                let (_, message) = daemon.message().await;
                if message.reply_serial == serial {
                    assert_eq!(message.sender, names::DBUS_NAME);
                    break message.body;
                }
            };
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            call(1, "Hello", Body::default());
            let (own,): (String,) = answer(1).await.parse().unwrap();
            assert!(own.starts_with(':'));
            let name = names::MANAGER_BUS_NAME;
            call(2, "RequestName", Body::of(&(name, 4_u32)));
            assert_eq!(answer(2).await.parse(), Ok((1_u32,)));
            call(3, "ListNames", Body::default());
            let (all,): (Vec<String>,) = answer(3).await.parse().unwrap();
            assert!(all.contains(&own) && all.iter().any(|listed| listed == name));
            drop(bus);
            loop {
                match daemon.inbox.next().await.1 {
                    Received::Closed(why) => break assert_eq!(why, Closed::ByPeer),
                    Received::Message(_) => {}
                    Received::Ready => panic!("ready twice"),
                }
            }
        });
    }
}

mod framing {
    use super::*;

    /// A link and the raw socket of a peer that has shaken hands with it.
    async fn ready(
        daemon: &Daemon,
        settings: LinkSettings,
    ) -> (hirte::wire::Link, Async<TcpStream>) {
        let (server, peer) = tcp_pair().await;
        let mut peer = raw(peer);
        let link = daemon.open_with(1, Stream::Tcp(server), Role::Server, settings);
        peer.write_all(CLIENT_HELLO).await.unwrap();
        let mut answer = [0; 43];
        peer.read_exact(&mut answer).await.unwrap();
        assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
        (link, peer)
    }

    fn closed(why: Closed) -> support::Event {
        (1, Received::Closed(why))
    }

    #[test]
    fn messages_behind_begin_in_the_same_segment_are_not_lost() {
        run(async |daemon| {
            let (server, peer) = tcp_pair().await;
            let mut peer = raw(peer);
            let all = [
                CLIENT_HELLO,
                &signal(1, 3).encode(),
                &signal(2, 300).encode(),
            ]
            .concat();
            peer.write_all(&all).await.unwrap();
            let _link = daemon.open(1, Stream::Tcp(server), Role::Server);
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            assert_eq!(daemon.message().await.1, signal(1, 3));
            assert_eq!(daemon.message().await.1, signal(2, 300));
        });
    }

    #[test]
    fn every_cut_gives_the_same_messages() {
        run(async |daemon| {
            let (server, peer) = UnixStream::pair().unwrap();
            let server = Stream::Unix(reactor::Async::new(server).unwrap());
            let _link = daemon.open(1, server, Role::Server);
            let messages = [signal(1, 0), signal(2, 40), signal(3, 7)];
            let mut all = CLIENT_HELLO.to_vec();
            for message in &messages {
                all.extend(message.encode());
            }
            // Not blocking: bytes sent one by one soon fill a socket.
            let mut peer = Async::new(peer).unwrap();
            for byte in all {
                peer.write_all(&[byte]).await.unwrap();
                smol::future::yield_now().await;
            }
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            for message in messages {
                assert_eq!(daemon.message().await.1, message);
            }
        });
    }

    #[test]
    fn what_a_peer_sent_before_it_went_is_delivered() {
        run(async |daemon| {
            let (_link, mut peer) = ready(&daemon, SETTINGS).await;
            let half = &signal(3, 100).encode()[..50];
            let all = [&signal(1, 3).encode(), &signal(2, 100_000).encode(), half].concat();
            peer.write_all(&all).await.unwrap();
            drop(peer);
            assert_eq!(daemon.message().await.1.serial, 1);
            assert_eq!(daemon.message().await.1.serial, 2);
            assert_eq!(daemon.inbox.next().await, closed(Closed::ByPeer));
            assert_eq!(daemon.soon().await, None);
        });
    }

    #[test]
    fn what_a_peer_sent_is_delivered_also_when_writing_to_it_fails_first() {
        run(async |daemon| {
            let (server, mut peer) = UnixStream::pair().unwrap();
            let server = Stream::Unix(reactor::Async::new(server).unwrap());
            let link = daemon.open(1, server, Role::Server);
            let all = [CLIENT_HELLO, &signal(1, 3).encode()].concat();
            peer.write_all(&all).unwrap();
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            assert_eq!(daemon.message().await.1.serial, 1);
            peer.write_all(&signal(2, 3).encode()).unwrap();
            // Not by closing it: a process that another test is just starting has a copy.
            peer.shutdown(Shutdown::Both).unwrap();
            link.send(&signal(1, 3));
            link.flush();
            assert_eq!(daemon.message().await.1.serial, 2);
            let (1, Received::Closed(Closed::Io(why))) = daemon.inbox.next().await else {
                panic!("expected an error of the socket");
            };
            assert!(why.contains("Broken pipe"), "{why}");
            assert_eq!(daemon.soon().await, None);
        });
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_by_its_announcement() {
        run(async |daemon| {
            let (_link, mut peer) = ready(&daemon, SETTINGS).await;
            let announced = b"l\x01\0\x01\0\0\x80\x07\x01\0\0\0\0\0\0\0";
            peer.write_all(&signal(1, 3).encode()).await.unwrap();
            peer.write_all(announced).await.unwrap();
            assert_eq!(daemon.message().await.1.serial, 1);
            let limit = SETTINGS.max_message;
            let bad = BadMessage::TooLong {
                announced: 0x0780_0010,
                limit,
            };
            assert_eq!(daemon.inbox.next().await, closed(Closed::BadMessage(bad)));
            assert_eq!(daemon.soon().await, None);
        });
    }

    #[test]
    fn handling_a_message_can_allow_longer_ones_after_it() {
        run(async |daemon| {
            let settings = LinkSettings {
                max_message: 4096,
                ..SETTINGS
            };
            let (link, mut peer) = ready(&daemon, settings).await;
            let all = [signal(1, 3).encode(), signal(2, 10_000).encode()].concat();
            peer.write_all(&all).await.unwrap();
            Timer::after(Duration::from_millis(50)).await;
            assert_eq!(daemon.message().await.1.serial, 1);
            link.set_max_message(20_000);
            assert_eq!(daemon.message().await.1.serial, 2);
        });
    }

    #[test]
    fn junk_ends_a_link_after_the_good_messages() {
        for junk in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"l\x01\0\x02\0\0\0\0\x01\0\0\0\0\0\0\0",
        ] {
            run(async |daemon| {
                let (_link, mut peer) = ready(&daemon, SETTINGS).await;
                let all = [&signal(1, 3).encode(), junk].concat();
                peer.write_all(&all).await.unwrap();
                assert_eq!(daemon.message().await.1.serial, 1);
                let end = daemon.inbox.next().await;
                let is_bad = matches!(end, (1, Received::Closed(Closed::BadMessage(_))));
                assert!(is_bad, "{end:?}");
                // The socket is closed although the owner still holds the link.
                let mut rest = Vec::new();
                assert!(
                    peer.read_to_end(&mut rest)
                        .await
                        .is_ok_and(|read| read == 0)
                );
            });
        }
    }

    #[test]
    fn a_failed_handshake_is_reported() {
        run(async |daemon| {
            let (server, peer) = tcp_pair().await;
            let mut peer = raw(peer);
            let _link = daemon.open(1, Stream::Tcp(server), Role::Server);
            peer.write_all(b"\n").await.unwrap();
            let why = HandshakeError::FirstByte(b'\n');
            assert_eq!(daemon.inbox.next().await, closed(Closed::Handshake(why)));
            assert_eq!(daemon.soon().await, None);
        });
    }

    #[test]
    fn a_large_message_comes_in_one_piece() {
        run(async |daemon| {
            let settings = LinkSettings {
                max_message: limits::MAX_MESSAGE,
                max_queued: None,
                ..SETTINGS
            };
            let (server, client) = tcp_pair().await;
            let _server = daemon.open_with(1, Stream::Tcp(server), Role::Server, settings);
            let client = daemon.open_with(2, Stream::Tcp(client), Role::Client, settings);
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            assert_eq!(daemon.inbox.next().await, (2, Received::Ready));
            for serial in 1..=3 {
                client.send(&signal(serial, 15 << 20));
            }
            client.flush();
            assert!(client.queued() > 0);
            for serial in 1..=3 {
                let (_, message) = daemon.message().await;
                assert_eq!(message.body.bytes.len(), (15 << 20) + 5);
                assert_eq!(message.serial, serial);
            }
            assert_eq!(client.queued(), 0);
        });
    }
}

mod bounds {
    use super::*;

    #[test]
    fn a_flood_fills_its_window_and_others_are_served() {
        const FLOOD: u32 = 20_000;
        run(async |daemon| {
            let (server, flooder) = tcp_pair().await;
            let (other_server, other) = tcp_pair().await;
            let _one = daemon.open(1, Stream::Tcp(server), Role::Server);
            let _other = daemon.open(2, Stream::Tcp(other_server), Role::Server);
            let other = daemon.open(3, Stream::Tcp(other), Role::Client);
            let mut flooder = raw(flooder).into_inner().unwrap();
            flooder.set_nonblocking(false).unwrap();
            let flood = std::thread::spawn(move || {
                flooder.write_all(CLIENT_HELLO).unwrap();
                // Bytes that were not read would make the end of the connection a reset, which
                // drops what is under way.
                flooder.read_exact(&mut [0; 43]).unwrap();
                for serial in 1..=FLOOD {
                    flooder.write_all(&signal(serial, 50).encode()).unwrap();
                }
            });
            let mut ready = 0;
            while ready < 3 {
                ready += u32::from(daemon.inbox.next().await.1 == Received::Ready);
            }
            other.send(&signal(1, 50));
            other.flush();
            // The flooder has had all the time it wants; the other one comes right behind one
            // window.
            Timer::after(Duration::from_millis(500)).await;
            let mut waiting = Vec::new();
            while let Some(event) = daemon.inbox.try_next() {
                waiting.push(event);
            }
            let of = |number| waiting.iter().filter(|event| event.0 == number).count();
            assert!(of(1) <= limits::WINDOW, "{} messages of the flooder", of(1));
            assert_eq!(of(2), 1);
            let mut last = 0;
            let mut check = |(number, received): support::Event| {
                match (number, received) {
                    (1, Received::Message(message)) => {
                        assert!(message.serial == last + 1 || last == 0, "after {last}");
                        last = message.serial;
                    }
                    (1, other) => panic!("{other:?} after message {last}"),
                    _ => {}
                }
                last
            };
            for event in waiting {
                check(event);
            }
            while check(daemon.inbox.next().await) < FLOOD {}
            flood.join().unwrap();
            assert_eq!(
                daemon.inbox.next().await,
                (1, Received::Closed(Closed::ByPeer))
            );
        });
    }

    #[test]
    fn a_peer_that_does_not_read_is_closed_once_and_in_order() {
        run(async |daemon| {
            let (server, peer) = tcp_pair().await;
            let mut peer = raw(peer);
            let link = daemon.open(1, Stream::Tcp(server), Role::Server);
            // All of it is read at once, so the message is in the inbox with `Ready`.
            let all = [CLIENT_HELLO, &signal(1, 3).encode()].concat();
            peer.write_all(&all).await.unwrap();
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            let limit = SETTINGS.max_queued.unwrap();
            let mut sent = 0;
            let mut most = 0;
            while sent < 100 << 20 {
                link.send(&signal(1, 100_000));
                link.flush();
                sent += 100_000;
                most = most.max(link.queued());
            }
            assert!(
                most > limit && most < limit + 200_000,
                "{most} bytes queued"
            );
            assert_eq!(link.queued(), 0, "what can not be sent is dropped");
            assert_eq!(daemon.message().await.1.serial, 1);
            let (1, Received::Closed(Closed::QueueFull { queued, .. })) = daemon.inbox.next().await
            else {
                panic!("expected a full queue");
            };
            assert!(queued > limit);
            link.send(&signal(2, 3));
            link.flush();
            assert_eq!(daemon.soon().await, None);
        });
    }

    #[test]
    fn a_slow_reader_gets_everything_in_order() {
        run(async |daemon| {
            let (server, client) = tcp_pair().await;
            let settings = LinkSettings {
                max_queued: None,
                ..SETTINGS
            };
            let server = daemon.open_with(1, Stream::Tcp(server), Role::Server, settings);
            let _client = daemon.open(2, Stream::Tcp(client), Role::Client);
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            assert_eq!(daemon.inbox.next().await, (2, Received::Ready));
            for serial in 1..=2000 {
                server.send(&signal(serial, 20_000));
                server.flush();
            }
            assert!(server.queued() > 1 << 20);
            for serial in 1..=2000 {
                assert_eq!(daemon.message().await.1.serial, serial);
            }
        });
    }

    #[test]
    fn a_closed_link_is_silent_and_sends_what_it_can() {
        run(async |daemon| {
            let (server, client) = tcp_pair().await;
            let server = daemon.open(1, Stream::Tcp(server), Role::Server);
            let client = daemon.open(2, Stream::Tcp(client), Role::Client);
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            assert_eq!(daemon.inbox.next().await, (2, Received::Ready));
            client.send(&signal(1, 3));
            client.flush();
            Timer::after(Duration::from_millis(20)).await;
            // A message of the client waits in the inbox and is not delivered any more.
            server.send(&signal(1, 3));
            server.close();
            server.close();
            assert_eq!(daemon.inbox.next().await.0, 2);
            assert_eq!(
                daemon.inbox.next().await,
                (2, Received::Closed(Closed::ByPeer))
            );
            drop(server);
            assert_eq!(daemon.soon().await, None);
        });
    }

    #[test]
    fn a_half_closed_peer_is_closed() {
        run(async |daemon| {
            let (server, peer) = tcp_pair().await;
            let mut peer = raw(peer);
            let _link = daemon.open(1, Stream::Tcp(server), Role::Server);
            peer.write_all(CLIENT_HELLO).await.unwrap();
            peer.get_ref().shutdown(Shutdown::Write).unwrap();
            assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
            assert_eq!(
                daemon.inbox.next().await,
                (1, Received::Closed(Closed::ByPeer))
            );
        });
    }
}

/// Tests that look at the whole process, so each has one of its own.
mod process {
    use super::*;

    #[test]
    fn reset_connections_leave_nothing_behind() {
        alone("process::child_resets_1000_connections");
    }

    #[test]
    #[ignore = "run by reset_connections_leave_nothing_behind"]
    fn child_resets_1000_connections() {
        run(async |daemon| {
            let (listener, address) = support::listen();
            let mut links = std::collections::BTreeMap::new();
            let mut descriptors = 0;
            for round in 0..1000 {
                let mut peer = TcpStream::connect(address).unwrap();
                let says: &[u8] = match round % 4 {
                    0 => b"",
                    1 => b"\0AUTH EXT",
                    2 => CLIENT_HELLO,
                    _ => &[CLIENT_HELLO, &signal(1, 3).encode()].concat(),
                };
                peer.write_all(says).unwrap();
                let peer_socket = socket2::SockRef::from(&peer);
                peer_socket.set_linger(Some(Duration::ZERO)).unwrap();
                drop(peer);
                let (stream, _) = listener.accept().await.unwrap();
                links.insert(round, daemon.open(round, Stream::Tcp(stream), Role::Server));
                if round % 10 == 9 {
                    while !links.is_empty() {
                        if let (number, Received::Closed(_)) = daemon.inbox.next().await {
                            assert!(links.remove(&number).is_some(), "closed twice");
                        }
                    }
                }
                if round == 9 {
                    descriptors = files();
                }
            }
            assert_eq!(files(), descriptors);
            assert_eq!(daemon.soon().await, None);
            let mut links = Vec::new();
            let mut peers = Vec::new();
            for number in 0..100 {
                peers.push(TcpStream::connect(address).unwrap());
                let (stream, _) = listener.accept().await.unwrap();
                links.push(daemon.open(number, Stream::Tcp(stream), Role::Server));
            }
            assert_eq!(files(), descriptors + 200);
            links.clear();
            assert_eq!(
                files(),
                descriptors + 100,
                "dropped links are closed at once"
            );
            // Their tasks end as soon as they run.
            while !daemon.executor.is_empty() {
                smol::future::yield_now().await;
            }
        });
    }

    #[test]
    fn a_listener_outlives_the_lack_of_descriptors() {
        alone("process::child_has_no_descriptors");
    }

    #[test]
    #[ignore = "run by a_listener_outlives_the_lack_of_descriptors"]
    fn child_has_no_descriptors() {
        use rustix::process::{Resource, getrlimit, setrlimit};
        run(async |_| {
            let (listener, address) = support::listen();
            let _peer = TcpStream::connect(address).unwrap();
            let all = getrlimit(Resource::Nofile);
            let mut none = all;
            none.current = Some(0);
            setrlimit(Resource::Nofile, none).unwrap();
            let start = std::time::Instant::now();
            for _ in 0..2 {
                let error = listener.accept().await.unwrap_err();
                assert_eq!(error.raw_os_error(), Some(24), "EMFILE");
            }
            assert!(start.elapsed() >= 2 * limits::ACCEPT_PAUSE);
            setrlimit(Resource::Nofile, all).unwrap();
            listener.accept().await.unwrap();
        });
    }

    #[test]
    fn idle_links_are_small_and_sleep() {
        alone("process::child_has_idle_links");
    }

    /// The sum over all threads of a number in `/proc/self/task/*/status`.
    fn threads(field: &str) -> (usize, u64) {
        let threads = std::fs::read_dir("/proc/self/task").unwrap();
        let numbers: Vec<u64> = threads
            .map(|thread| {
                let status = std::fs::read_to_string(thread.unwrap().path().join("status"));
                let status = status.unwrap();
                let line = status.lines().find(|line| line.starts_with(field)).unwrap();
                line.split_whitespace().nth(1).unwrap().parse().unwrap()
            })
            .collect();
        (numbers.len(), numbers.iter().sum())
    }

    /// Anonymous memory of this process in bytes.
    fn memory() -> u64 {
        let (count, sum) = threads("RssAnon");
        sum / count as u64 * 1024
    }

    async fn connect(
        daemon: &Daemon,
        listener: &hirte::wire::tcp::Listener,
        address: std::net::SocketAddr,
    ) -> (hirte::wire::Link, TcpStream) {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.set_nodelay(true).unwrap();
        peer.write_all(CLIENT_HELLO).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let link = daemon.open(1, Stream::Tcp(stream), Role::Server);
        assert_eq!(daemon.inbox.next().await, (1, Received::Ready));
        // Each has carried messages, one of them cut by the end of the first read.
        let mut bytes = signal(1, 1000).encode();
        bytes.extend(signal(2, 1000).encode());
        let (first, second) = bytes.split_at(1500);
        peer.write_all(first).unwrap();
        assert_eq!(daemon.message().await.1.serial, 1);
        peer.write_all(second).unwrap();
        assert_eq!(daemon.message().await.1.serial, 2);
        link.send(&signal(1, 1000));
        link.flush();
        (link, peer)
    }

    #[test]
    #[ignore = "run by idle_links_are_small_and_sleep"]
    fn child_has_idle_links() {
        const LINKS: u64 = 5000;
        let descriptors = hirte::daemon::raise_descriptor_limit();
        assert!(descriptors > 2 * LINKS + 100, "{descriptors} descriptors");
        let (of_the_test, _) = threads("voluntary_ctxt_switches");
        let daemon = Daemon::default();
        let executor: std::rc::Rc<LocalExecutor<'static>> = daemon.executor.clone();
        hirte::reactor::block_on(&executor, async {
            let (listener, address) = support::listen();
            let _warm = connect(&daemon, &listener, address).await;
            let before = memory();
            let mut links = Vec::new();
            for _ in 0..LINKS {
                links.push(connect(&daemon, &listener, address).await);
            }
            let bytes = (memory() - before) / LINKS;
            println!("{bytes} bytes for each idle link");
            assert!(bytes < 2000, "{bytes} bytes for each idle link");

            // Nothing happens, so nobody wakes: seen by a thread that is no part of the reactor.
            let look = || {
                std::thread::sleep(Duration::from_millis(500));
                let (count, before) = threads("voluntary_ctxt_switches");
                std::thread::sleep(Duration::from_secs(3));
                let (_, after) = threads("voluntary_ctxt_switches");
                (count, after - before)
            };
            let (count, wakes) = smol::unblock(look).await;
            println!("{wakes} wake-ups in 3 s");
            let looking = 1;
            assert_eq!(count - looking, of_the_test, "no thread is added");
            assert_eq!(wakes, 1, "that of the thread that looks");
        });
    }
}
