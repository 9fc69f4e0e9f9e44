//! The manager's place on the message bus: connecting, taking the name, asking who callers are.
//!
//! One attempt goes connect, `Hello`, `RequestName`, and ends attached or failed; when to try
//! again the state decides.

use std::{collections::BTreeMap, io, rc::Rc};

use smol::LocalExecutor;

use crate::{
    bus::{Body, Kind, Message, marshal::Malformed, message::BodyCheck, names},
    limits,
    manager::state::event::{Credentials, Event},
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

/// The connection, at whatever stage it is.
#[derive(Default)]
pub(super) struct ApiBus {
    link: Option<Link>,
    next_serial: u32,
    /// Our calls without an answer.
    pending: BTreeMap<u32, Asked>,
    attached: bool,
    congested: bool,
}

/// What an answer of the bus is for.
enum Asked {
    Hello,
    Name,
    Credentials(String),
    /// Whether this client, whose leaving is to be told, is there at all.
    Presence(String),
    /// Nothing follows from it.
    Nothing,
}

impl ApiBus {
    /// Takes the socket of an attempt, or its failure.
    pub(super) fn connected<E: 'static>(
        &mut self,
        stream: io::Result<Stream>,
        executor: &Rc<LocalExecutor<'static>>,
        inbox: &Inbox<E>,
        wrap: fn(Received) -> E,
    ) -> Option<Event> {
        self.detach();
        match stream {
            Ok(stream) => {
                let settings = LinkSettings {
                    max_message: limits::MAX_BUS_MESSAGE,
                    max_queued: None,
                    body_check: BodyCheck::Trusted,
                };
                let link = Link::open(executor, stream, Role::Client, settings, inbox, wrap);
                self.link = Some(link);
                None
            }
            Err(error) => Some(Event::BusLost {
                reason: error.to_string(),
            }),
        }
    }

    fn detach(&mut self) {
        self.link = None;
        self.pending.clear();
        self.attached = false;
        self.congested = false;
    }

    /// Takes what the connection brought. A message that is not the bus's own goes to `api`.
    pub(super) fn received(
        &mut self,
        received: Received,
        api: impl FnOnce(&mut Self, Message) -> Option<Event>,
    ) -> Option<Event> {
        match received {
            Received::Ready => {
                self.ask("Hello", Body::default(), Asked::Hello);
                None
            }
            Received::Closed(reason) => {
                self.detach();
                Some(Event::BusLost {
                    reason: reason.to_string(),
                })
            }
            Received::Message(message) => match message.kind {
                Kind::Call => api(self, message),
                Kind::Signal => client_left(&message),
                Kind::Return | Kind::Error => self.answered(&message),
            },
        }
    }

    fn answered(&mut self, message: &Message) -> Option<Event> {
        let asked = self.pending.remove(&message.reply_serial)?;
        let refused = (message.kind == Kind::Error).then(|| {
            let text = message.body.first_str().unwrap_or_default();
            format!("{text} ({})", message.error_name)
        });
        match (asked, refused) {
            (Asked::Hello, None) => {
                let arguments = (names::MANAGER_BUS_NAME, REPLACE_EXISTING_DO_NOT_QUEUE);
                self.ask("RequestName", Body::of(&arguments), Asked::Name);
                None
            }
            (Asked::Hello, Some(reason)) => {
                self.detach();
                Some(Event::BusLost { reason })
            }
            (Asked::Name, None) => Some(self.named(&message.body)),
            (Asked::Name, Some(reason)) => Some(Event::BusNameRefused { reason }),
            (Asked::Presence(client), Some(_)) => Some(Event::ClientLeft { client }),
            (Asked::Presence(_), None) | (Asked::Nothing, _) => None,
            (Asked::Credentials(client), refused) => {
                let credentials = match refused {
                    None => parse_credentials(&message.body).ok().flatten(),
                    Some(_) => None,
                };
                Some(Event::ClientKnown {
                    client,
                    credentials,
                })
            }
        }
    }

    /// Tells when `client` leaves the bus. That it is there is asked after the rule was added, so
    /// that it can not leave unnoticed; where the bus adds no more rules it counts as gone.
    pub(super) fn watch(&mut self, client: String) {
        let rule = Body::of(&(departure(&client).as_str(),));
        let presence = Body::of(&(client.as_str(),));
        self.ask("AddMatch", rule, Asked::Presence(client.clone()));
        self.ask("GetNameOwner", presence, Asked::Presence(client));
    }

    /// Watches `client` no more.
    pub(super) fn unwatch(&mut self, client: &str) {
        let rule = Body::of(&(departure(client).as_str(),));
        self.ask("RemoveMatch", rule, Asked::Nothing);
    }

    fn named(&mut self, answer: &Body) -> Event {
        match answer.parse::<(u32,)>() {
            Ok((PRIMARY_OWNER | ALREADY_OWNER,)) => {
                self.attached = true;
                Event::BusAttached
            }
            _ => Event::BusNameRefused {
                reason: "another program owns it".to_owned(),
            },
        }
    }

    /// Asks the bus who `client` is.
    pub(super) fn look_up(&mut self, client: String) {
        let body = Body::of(&(client.as_str(),));
        self.ask("GetConnectionCredentials", body, Asked::Credentials(client));
    }

    fn ask(&mut self, member: &str, body: Body, purpose: Asked) {
        let call = Message::call(names::DBUS_PATH, names::DBUS_NAME, member, body);
        if let Some(serial) = self.send(call.to(names::DBUS_NAME)) {
            self.pending.insert(serial, purpose);
        }
    }

    /// Sends a message and returns its number. Before the name is ours nobody waits for messages
    /// of the API, and without a connection there is nobody to send to.
    pub(super) fn send_if_attached(&mut self, message: Message) {
        if self.attached {
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
    pub(super) fn overflow(&mut self) -> Option<Event> {
        let queued = self.link.as_ref().map_or(0, Link::queued);
        if self.congested || queued <= limits::MAX_QUEUED_TO_BUS {
            return None;
        }
        self.flush()
    }

    /// Bytes that wait to be sent.
    pub(super) fn queued(&self) -> u64 {
        let queued = self.link.as_ref().map_or(0, Link::queued);
        u64::try_from(queued).unwrap_or(u64::MAX)
    }

    /// Writes what was sent, and tells when more, or again less, waits than should.
    pub(super) fn flush(&mut self) -> Option<Event> {
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
        Some(Event::BusCongested(congested))
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
fn client_left(message: &Message) -> Option<Event> {
    if message.sender != names::DBUS_NAME || !message.is(names::DBUS_NAME, "NameOwnerChanged") {
        return None;
    }
    let (client, _, owner): (String, String, String) = message.body.parse().ok()?;
    owner.is_empty().then_some(Event::ClientLeft { client })
}

/// Connects to the bus that the environment names, or to the system bus.
pub(super) fn connect() -> io::Result<Stream> {
    let address = address::system_bus();
    let endpoints =
        address::parse(&address).map_err(|error| io::Error::other(error.to_string()))?;
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
