//! A daemon's place on a message bus: connecting, taking its names, asking who callers are.
//!
//! One attempt goes connect, `Hello`, `RequestName` for each name, and ends attached or failed;
//! when to try again the state decides.

use std::{collections::BTreeMap, io, rc::Rc};

use smol::LocalExecutor;

use crate::{
    bus::{Body, Kind, Message, marshal::Malformed, message::BodyCheck, names},
    core::Credentials,
    limits,
    wire::{
        address::{self, Endpoint},
        inbox::Inbox,
        link::{Link, LinkSettings, Received, Role, Stream},
    },
};

/// `RequestName` flags ("org.freedesktop.DBus.RequestName"): take the name from an owner that
/// allows it, and do not wait in the queue for it.
const REPLACE_EXISTING_DO_NOT_QUEUE: u32 = 2 | 4;
/// `RequestName` answers: we own the name.
const PRIMARY_OWNER: u32 = 1;
const ALREADY_OWNER: u32 = 4;

/// What a bus brings to its daemon.
#[derive(Debug)]
pub enum BusEvent {
    /// All names are ours.
    Attached,
    /// The bus could not be reached, or went away: its clients and their calls are gone.
    Lost {
        /// For the log.
        reason: String,
    },
    /// The bus does not give us a name: another program owns it, or the policy forbids it.
    NameRefused {
        /// The name.
        name: &'static str,
        /// For the log.
        reason: String,
    },
    /// More (or again less) waits to be sent than a new call should add to.
    Congested(bool),
    /// Somebody calls one of our methods.
    Call(Message),
    /// The answer to [`Bus::look_up`].
    ClientKnown {
        /// The name that was looked up.
        client: String,
        /// `None` when it left the bus before.
        credentials: Option<Credentials>,
    },
    /// A client of [`Bus::watch`] is not on the bus any more.
    ClientLeft {
        /// Its name.
        client: String,
    },
}

/// The connection, at whatever stage it is.
pub struct Bus {
    /// The names that we take, in this order.
    names: Vec<&'static str>,
    link: Option<Link>,
    next_serial: u32,
    /// Our calls without an answer.
    pending: BTreeMap<u32, Asked>,
    /// Whether one of the names is ours, so that others may call us.
    is_named: bool,
    congested: bool,
}

/// What an answer of the bus is for.
enum Asked {
    Hello,
    /// The name at this place of our names.
    Name(usize),
    Credentials(String),
    /// Whether this client, whose leaving is to be told, is there at all.
    Presence(String),
    /// Nothing follows from it.
    Nothing,
}

impl Bus {
    /// A bus on which these names are to be ours. There is at least one.
    #[must_use]
    pub const fn new(names: Vec<&'static str>) -> Self {
        Self {
            names,
            link: None,
            next_serial: 0,
            pending: BTreeMap::new(),
            is_named: false,
            congested: false,
        }
    }

    /// Takes the socket of an attempt, or its failure.
    pub fn connected<E: 'static>(
        &mut self,
        stream: io::Result<Stream>,
        executor: &Rc<LocalExecutor<'static>>,
        inbox: &Inbox<E>,
        wrap: fn(Received) -> E,
    ) -> Option<BusEvent> {
        self.detach();
        match stream {
            Ok(stream) => {
                let settings = LinkSettings {
                    max_message: limits::MAX_BUS_MESSAGE,
                    max_queued: Some(limits::MAX_QUEUED_TO_STUCK_BUS),
                    body_check: BodyCheck::Trusted,
                };
                let link = Link::open(executor, stream, Role::Client, settings, inbox, wrap);
                self.link = Some(link);
                None
            }
            Err(error) => Some(BusEvent::Lost {
                reason: error.to_string(),
            }),
        }
    }

    fn detach(&mut self) {
        self.link = None;
        self.pending.clear();
        self.is_named = false;
        self.congested = false;
    }

    /// Takes what the connection brought.
    pub fn received(&mut self, received: Received) -> Option<BusEvent> {
        match received {
            Received::Ready => {
                self.ask("Hello", Body::default(), Asked::Hello);
                None
            }
            Received::Closed(reason) => {
                self.detach();
                Some(BusEvent::Lost {
                    reason: reason.to_string(),
                })
            }
            Received::Message(message) => match message.kind {
                Kind::Call => Some(BusEvent::Call(message)),
                Kind::Signal => client_left(&message),
                Kind::Return | Kind::Error => self.answered(&message),
            },
        }
    }

    fn answered(&mut self, message: &Message) -> Option<BusEvent> {
        let asked = self.pending.remove(&message.reply_serial)?;
        let refused = (message.kind == Kind::Error).then(|| {
            let text = message.body.first_str().unwrap_or_default();
            format!("{text} ({})", message.error_name)
        });
        match (asked, refused) {
            (Asked::Hello, None) => self.take_name(0),
            (Asked::Hello, Some(reason)) => {
                self.detach();
                Some(BusEvent::Lost { reason })
            }
            (Asked::Name(at), None) => self.named(at, &message.body),
            (Asked::Name(at), Some(reason)) => Some(self.refused(at, reason)),
            (Asked::Presence(client), Some(_)) => Some(BusEvent::ClientLeft { client }),
            (Asked::Presence(_), None) | (Asked::Nothing, _) => None,
            (Asked::Credentials(client), refused) => {
                let credentials = match refused {
                    None => parse_credentials(&message.body).ok().flatten(),
                    Some(_) => None,
                };
                Some(BusEvent::ClientKnown {
                    client,
                    credentials,
                })
            }
        }
    }

    /// Tells when `client` leaves the bus. That it is there is asked after the rule was added, so
    /// that it can not leave unnoticed; where the bus adds no more rules it counts as gone.
    pub fn watch(&mut self, client: String) {
        let rule = Body::of(&(departure(&client).as_str(),));
        let presence = Body::of(&(client.as_str(),));
        self.ask("AddMatch", rule, Asked::Presence(client.clone()));
        self.ask("GetNameOwner", presence, Asked::Presence(client));
    }

    /// Watches `client` no more.
    pub fn unwatch(&mut self, client: &str) {
        let rule = Body::of(&(departure(client).as_str(),));
        self.ask("RemoveMatch", rule, Asked::Nothing);
    }

    /// Asks for the name at this place; after the last one we are attached.
    fn take_name(&mut self, at: usize) -> Option<BusEvent> {
        let Some(name) = self.names.get(at) else {
            return Some(BusEvent::Attached);
        };
        let arguments = Body::of(&(*name, REPLACE_EXISTING_DO_NOT_QUEUE));
        self.ask("RequestName", arguments, Asked::Name(at));
        None
    }

    fn named(&mut self, at: usize, answer: &Body) -> Option<BusEvent> {
        match answer.parse::<(u32,)>() {
            Ok((PRIMARY_OWNER | ALREADY_OWNER,)) => {
                // Who knows one name may call before we have the next one.
                self.is_named = true;
                self.take_name(at + 1)
            }
            _ => Some(self.refused(at, "another program owns it".to_owned())),
        }
    }

    fn refused(&self, at: usize, reason: String) -> BusEvent {
        let name = self.names[at];
        BusEvent::NameRefused { name, reason }
    }

    /// Asks the bus who `client` is.
    pub fn look_up(&mut self, client: String) {
        let body = Body::of(&(client.as_str(),));
        self.ask("GetConnectionCredentials", body, Asked::Credentials(client));
    }

    fn ask(&mut self, member: &str, body: Body, purpose: Asked) {
        let call = Message::call(names::DBUS_PATH, names::DBUS_NAME, member, body);
        if let Some(serial) = self.send(call.to(names::DBUS_NAME)) {
            self.pending.insert(serial, purpose);
        }
    }

    /// Sends a message of the API. Before a name is ours nobody waits for it.
    pub fn send_if_attached(&mut self, message: Message) {
        if self.is_named {
            self.send(message);
        }
    }

    fn send(&mut self, mut message: Message) -> Option<u32> {
        let link = self.link.as_ref()?;
        self.next_serial = self.next_serial.checked_add(1).unwrap_or(1);
        message.serial = self.next_serial;
        link.send(&message);
        Some(self.next_serial)
    }

    /// Tells before the end of the turn when more waits than should, so that what one turn sends
    /// is bounded.
    pub fn overflow(&mut self) -> Option<BusEvent> {
        let queued = self.link.as_ref().map_or(0, Link::queued);
        if self.congested || queued <= limits::MAX_QUEUED_TO_BUS {
            return None;
        }
        self.flush()
    }

    /// Bytes that wait to be sent.
    pub fn queued(&self) -> u64 {
        let queued = self.link.as_ref().map_or(0, Link::queued);
        u64::try_from(queued).unwrap_or(u64::MAX)
    }

    /// Writes what was sent, and tells when more, or again less, waits than should.
    pub fn flush(&mut self) -> Option<BusEvent> {
        let link = self.link.as_ref()?;
        link.flush();
        let bound = if self.congested {
            limits::MAX_QUEUED_TO_BUS / 2
        } else {
            limits::MAX_QUEUED_TO_BUS
        };
        let congested = link.queued() > bound;
        if congested == self.congested {
            return None;
        }
        self.congested = congested;
        Some(BusEvent::Congested(congested))
    }
}

/// The rule for the bus's signal that `client` has left ("org.freedesktop.DBus.NameOwnerChanged").
fn departure(client: &str) -> String {
    format!(
        "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',\
         interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{client}'"
    )
}

/// That a client has left, as the bus itself tells.
fn client_left(message: &Message) -> Option<BusEvent> {
    if message.sender != names::DBUS_NAME || !message.is(names::DBUS_NAME, "NameOwnerChanged") {
        return None;
    }
    let (client, _, owner): (String, String, String) = message.body.parse().ok()?;
    owner.is_empty().then_some(BusEvent::ClientLeft { client })
}

/// Connects to the bus at this address, a list of which the first that answers is taken.
pub fn connect(address: &str) -> io::Result<Stream> {
    let endpoints = address::parse(address).map_err(|error| io::Error::other(error.to_string()))?;
    let mut last = io::Error::other(format!("'{address}' names no bus"));
    for endpoint in endpoints {
        let connected = match endpoint {
            Endpoint::Unix(path) => address::connect_unix(&path).map(Stream::Unix),
            Endpoint::Tcp { .. } => Err(io::Error::other("a bus over TCP has no credentials")),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// `GetConnectionCredentials`: `a{sv}` with `UnixUserID` and `ProcessID`, both `u`.
fn parse_credentials(body: &Body) -> Result<Option<Credentials>, Malformed> {
    let (mut uid, mut pid) = (None, None);
    let mut entries = body.reader().array(8)?;
    while !entries.is_at_end() {
        entries.align(8)?;
        let key = entries.str()?;
        let (signature, mut value) = entries.variant()?;
        match (key, signature) {
            ("UnixUserID", "u") => uid = Some(value.u32()?),
            ("ProcessID", "u") => pid = Some(value.u32()?),
            _ => {}
        }
    }
    Ok(uid.zip(pid).map(|(uid, pid)| Credentials { uid, pid }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Value, body::Entry};

    #[test]
    fn credentials_are_found_among_others() {
        let entries = vec![
            Entry("LinuxSecurityLabel", Value::Str("unconfined".into())),
            Entry("ProcessID", Value::U32(42)),
            Entry("UnixUserID", Value::U32(1000)),
        ];
        let found = parse_credentials(&Body::of(&(entries,))).unwrap();
        assert_eq!(found, Some(Credentials { uid: 1000, pid: 42 }));
        let without = Body::of(&(vec![Entry("ProcessID", Value::U32(42))],));
        assert_eq!(parse_credentials(&without).unwrap(), None);
    }
}
