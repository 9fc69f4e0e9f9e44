//! The transport against other implementations and against hostile peers, over real sockets.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use hirte::{
    bus::{Body, Kind, Message},
    wire::{Received, Role, Stream},
};
use support::{run, tcp_pair};

#[test]
fn two_links_talk() {
    run(async |daemon| {
        let (server, client) = tcp_pair().await;
        let server = daemon.open(1, Stream::Tcp(server), Role::Server);
        let client = daemon.open(2, Stream::Tcp(client), Role::PeerClient);
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
        let closed = daemon.inbox.next().await;
        assert!(matches!(closed, (2, Received::Closed(_))), "{closed:?}");
        assert_eq!(daemon.soon().await, None);
    });
}
