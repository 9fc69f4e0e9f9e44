//! The edge to the manager.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
};

use super::{
    socket::SocketEvent,
    state::{FromManager, IncomingCall},
};
use crate::{
    bus::{CallError, Kind, Message, message::BodyCheck},
    limits,
    wire::{
        LinkSettings, Received, Stream,
        address::{Endpoint, connect_unix},
        ip::ScopedIp,
        tcp::{self, KeepAlive},
    },
};

/// What a manager may send, and how far it may be behind.
pub(super) const LINK: LinkSettings = LinkSettings {
    max_message: limits::MAX_MESSAGE_FROM_MANAGER,
    max_queued: Some(limits::MAX_QUEUED_TO_MANAGER),
    body_check: BodyCheck::Full,
};

/// Connects to the first endpoint that accepts. Names are resolved each time, as a manager may
/// move; every address of a name is tried.
pub(super) async fn open(
    endpoints: Vec<Endpoint>,
    keep_alive: KeepAlive,
) -> Result<Stream, String> {
    let mut reasons = Vec::new();
    for endpoint in endpoints {
        match endpoint {
            Endpoint::Unix(path) => match connect_unix(&path) {
                Ok(stream) => return Ok(Stream::Unix(stream)),
                Err(error) => reasons.push(format!("{}: {error}", path.display())),
            },
            Endpoint::Tcp { host, port } => match resolve(host.clone(), port).await {
                Err(error) => reasons.push(format!("{host}: {error}")),
                Ok(addresses) => {
                    for address in addresses {
                        match tcp::connect(address, &keep_alive).await {
                            Ok(stream) => return Ok(Stream::Tcp(stream)),
                            Err(error) => reasons.push(format!("{address}: {error}")),
                        }
                    }
                }
            },
        }
    }
    Err(reasons.join("; "))
}

/// The addresses of a host. A name is looked up on another thread, because the system's resolver
/// waits.
async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<ScopedIp>() {
        return Ok(vec![address.socket_addr(port)?]);
    }
    let resolved = smol::unblock(move || (host.as_str(), port).to_socket_addrs()).await?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in resolved {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok(addresses)
}

/// What an event of the link means for the state. A stream that was opened is not for it.
pub(super) fn translate(event: SocketEvent) -> Result<FromManager, Stream> {
    Ok(match event {
        SocketEvent::Opened(Ok(stream)) => return Err(stream),
        SocketEvent::Opened(Err(reason)) => FromManager::Closed(reason),
        SocketEvent::Received(Received::Ready) => FromManager::Connected,
        SocketEvent::Received(Received::Closed(reason)) => FromManager::Closed(reason.to_string()),
        SocketEvent::Received(Received::Message(message)) => translate_message(message),
    })
}

/// What a message of the manager means for the state.
#[must_use]
pub fn translate_message(message: Message) -> FromManager {
    match message.kind {
        Kind::Call => FromManager::Call(IncomingCall {
            serial: message.serial,
            expects_reply: message.flags.expects_reply(),
            path: message.path,
            interface: message.interface,
            member: message.member,
            body: message.body,
        }),
        Kind::Return => FromManager::Answer {
            serial: message.reply_serial,
            result: Ok(message.body),
        },
        Kind::Error => FromManager::Answer {
            serial: message.reply_serial,
            result: Err(CallError::from_reply(message.error_name, &message.body)),
        },
        Kind::Signal => FromManager::Signal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_addresses_need_no_resolver_and_names_keep_each_address_once() {
        smol::block_on(async {
            let v6 = resolve("::1".into(), 842).await.unwrap();
            assert_eq!(v6, ["[::1]:842".parse().unwrap()]);
            let link_local = resolve("fe80::1%lo".into(), 842).await.unwrap();
            assert!(matches!(link_local[..], [SocketAddr::V6(address)] if address.scope_id() != 0));
            assert!(resolve("fe80::1%nowhere".into(), 842).await.is_err());
            let local = resolve("localhost".into(), 842).await.unwrap();
            assert!(local.iter().all(|address| address.ip().is_loopback()));
            let mut unique = local.clone();
            unique.dedup();
            assert_eq!(local, unique);
        });
    }

    #[test]
    fn every_endpoint_is_tried_and_each_failure_told() {
        let endpoints = vec![
            Endpoint::Unix("/nonexistent/one".into()),
            Endpoint::Unix("/nonexistent/two".into()),
        ];
        let error = crate::reactor::block_on(
            &smol::LocalExecutor::new(),
            open(endpoints, KeepAlive::default()),
        )
        .unwrap_err();
        assert!(error.contains("/nonexistent/one: ") && error.contains("; /nonexistent/two: "));
    }
}
