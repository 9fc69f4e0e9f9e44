//! Agents of `BlueChi`: who registered in its dialect is heard and spoken to in that one only.

use std::collections::BTreeSet;

use super::rename;
use crate::{
    bus::{Kind, Message},
    manager::{
        peers,
        state::event::{Dialect, FromPeer, PeerId, ToPeer},
    },
};

/// Which connections are spoken to in `BlueChi`'s dialect.
#[derive(Debug, Default)]
pub struct Agents {
    is_offered: bool,
    speakers: BTreeSet<PeerId>,
}

impl Agents {
    /// No connection yet; agents of `BlueChi` are welcome if `is_offered`.
    #[must_use]
    pub const fn new(is_offered: bool) -> Self {
        Self {
            is_offered,
            speakers: BTreeSet::new(),
        }
    }

    /// From here on the connection is one of an agent of this dialect.
    pub fn speak(&mut self, peer: PeerId, dialect: Dialect) {
        match dialect {
            Dialect::Hirte => self.speakers.remove(&peer),
            Dialect::BlueChi => self.speakers.insert(peer),
        };
    }

    /// The connection has ended.
    pub fn forget(&mut self, peer: PeerId) {
        self.speakers.remove(&peer);
    }

    /// What a message of an agent means.
    #[must_use]
    pub fn decode(&self, peer: PeerId, message: Message) -> FromPeer {
        if self.speakers.contains(&peer) {
            return decode_theirs(message);
        }
        if self.is_offered && message.is(rename::INTERNAL_CONTROLLER_INTERFACE, "Register") {
            return in_their_dialect(peers::decode(rename::message_of_ours(message)));
        }
        peers::decode(message)
    }

    /// The message that carries `content` to an agent, as our message number `serial`.
    #[must_use]
    pub fn encode(&self, peer: PeerId, serial: u32, content: ToPeer) -> Message {
        let message = peers::encode(serial, content);
        if self.speakers.contains(&peer) {
            rename::message(message)
        } else {
            message
        }
    }
}

/// A message of an agent of theirs. What it says under our names means nothing.
fn decode_theirs(message: Message) -> FromPeer {
    if !rename::is_ours(&message.interface) {
        return in_their_dialect(peers::decode(rename::message_of_ours(message)));
    }
    if message.kind == Kind::Call && message.flags.expects_reply() {
        return peers::unknown_method(&message);
    }
    FromPeer::Other
}

fn in_their_dialect(message: FromPeer) -> FromPeer {
    match message {
        FromPeer::Register { serial, name, .. } => FromPeer::Register {
            serial,
            name,
            dialect: Dialect::BlueChi,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Body, CallError, error_name, names};

    const PEER: PeerId = 7;

    fn register(path: &str, interface: &str) -> Message {
        Message::call(path, interface, "Register", Body::of(&("rpi4",)))
    }

    fn done(interface: &str) -> Message {
        let body = Body::of(&(7_u32, "done"));
        Message::signal("/a", interface, "JobDone", body)
    }

    #[test]
    fn their_agents_register_only_if_that_is_offered() {
        let path = "/org/eclipse/bluechi/internal";
        let call = || register(path, rename::INTERNAL_CONTROLLER_INTERFACE);
        let expected = FromPeer::Register {
            serial: 0,
            name: "rpi4".to_owned(),
            dialect: Dialect::BlueChi,
        };
        assert_eq!(Agents::new(true).decode(PEER, call()), expected);
        let refused = Agents::new(false).decode(PEER, call());
        assert!(
            matches!(refused, FromPeer::UnknownCall { .. }),
            "{refused:?}"
        );
        let elsewhere = register("/", rename::INTERNAL_CONTROLLER_INTERFACE);
        let refused = Agents::new(true).decode(PEER, elsewhere);
        assert!(
            matches!(refused, FromPeer::UnknownCall { .. }),
            "{refused:?}"
        );
    }

    #[test]
    fn an_agent_is_heard_in_its_own_dialect_only() {
        let mut agents = Agents::new(true);
        let heard = FromPeer::JobDone {
            id: 7,
            result: "done".to_owned(),
        };
        let theirs = "org.eclipse.bluechi.internal.Agent";
        let ours = names::INTERNAL_AGENT_INTERFACE;
        assert_eq!(agents.decode(PEER, done(ours)), heard);
        assert_eq!(agents.decode(PEER, done(theirs)), FromPeer::Other);
        agents.speak(PEER, Dialect::BlueChi);
        assert_eq!(agents.decode(PEER, done(theirs)), heard);
        assert_eq!(agents.decode(PEER, done(ours)), FromPeer::Other);
        let call = register(
            names::INTERNAL_MANAGER_PATH,
            names::INTERNAL_MANAGER_INTERFACE,
        );
        let refused = agents.decode(PEER, call);
        assert!(
            matches!(refused, FromPeer::UnknownCall { .. }),
            "{refused:?}"
        );
        agents.forget(PEER);
        assert_eq!(agents.decode(PEER, done(ours)), heard);
    }

    #[test]
    fn what_both_dialects_have_is_understood_in_both() {
        let mut agents = Agents::new(true);
        agents.speak(PEER, Dialect::BlueChi);
        let ping = Message::call("/", names::PEER_INTERFACE, "Ping", Body::default());
        assert_eq!(agents.decode(PEER, ping), FromPeer::Ping { serial: 0 });
        let error = CallError::new(error_name::FAILED, "no");
        let message = Message::error(3, &error);
        let expected = FromPeer::Error {
            reply_serial: 3,
            error,
        };
        assert_eq!(agents.decode(PEER, message), expected);
    }

    #[test]
    fn calls_carry_the_names_of_the_agent() {
        let mut agents = Agents::new(true);
        let call = || ToPeer::Call {
            method: "Reload".to_owned(),
            arguments: Body::default(),
        };
        let sender = |agents: &Agents| agents.encode(PEER, 1, call()).sender;
        assert_eq!(sender(&agents), names::MANAGER_BUS_NAME);
        agents.speak(PEER, Dialect::BlueChi);
        let message = agents.encode(PEER, 1, call());
        assert_eq!(message.sender, rename::BUS_NAME);
        assert_eq!(message.destination, "org.eclipse.bluechi.Agent");
        assert_eq!(message.path, "/org/eclipse/bluechi/internal/agent");
        assert_eq!(message.interface, "org.eclipse.bluechi.internal.Agent");
    }
}
