//! The edge to the local systemd: on its private socket as root, otherwise on the system bus.

use std::path::Path;

use rustix::net::sockopt::socket_peercred;

use super::{
    socket::SocketEvent,
    state::{FromSystemd, SystemdAccess, job_number},
};
use crate::{
    bus::{
        Body, CallError, Kind, Message, ObjectPath,
        marshal::Malformed,
        message::BodyCheck,
        names::{
            self, PROPERTIES_INTERFACE, SYSTEMD_JOB_INTERFACE, SYSTEMD_MANAGER_INTERFACE,
            SYSTEMD_NAME, SYSTEMD_UNIT_INTERFACE, unescape_label,
        },
    },
    limits,
    wire::{
        LinkSettings, Received, Stream,
        address::{self, Endpoint, connect_unix},
    },
};

/// Where systemd serves root without a bus (`systemd(1)` calls it the private socket).
const PRIVATE_SOCKET: &str = "/run/systemd/private";

/// What systemd may send, and how far it may be behind.
pub(super) const LINK: LinkSettings = LinkSettings {
    max_message: limits::MAX_MESSAGE,
    max_queued: Some(limits::MAX_QUEUED_TO_SYSTEMD),
    body_check: BodyCheck::Trusted,
};

/// Connects to systemd, or to the bus that it is on.
pub(super) fn open(access: SystemdAccess) -> Result<Stream, String> {
    match access {
        SystemdAccess::Private => open_private(),
        SystemdAccess::Bus => open_bus(),
    }
}

fn open_private() -> Result<Stream, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{PRIVATE_SOCKET}: {error}");
    let stream = connect_unix(Path::new(PRIVATE_SOCKET)).map_err(|error| failed(&error))?;
    let peer = socket_peercred(stream.get_ref()).map_err(|error| failed(&error))?;
    if !peer.uid.is_root() {
        let uid = peer.uid.as_raw();
        return Err(failed(&format!("served by uid {uid}, expected root")));
    }
    Ok(Stream::Unix(stream))
}

fn open_bus() -> Result<Stream, String> {
    let endpoints = address::parse(&address::system_bus()).map_err(|error| error.to_string())?;
    let mut reasons = Vec::new();
    for endpoint in endpoints {
        let Endpoint::Unix(path) = endpoint else {
            reasons.push("the system bus has to be on this machine".to_owned());
            continue;
        };
        match connect_unix(&path) {
            Ok(stream) => return Ok(Stream::Unix(stream)),
            Err(error) => reasons.push(format!("{}: {error}", path.display())),
        }
    }
    Err(reasons.join("; "))
}

/// Reads what systemd sends.
#[derive(Debug)]
pub struct Translator {
    access: SystemdAccess,
    /// systemd's unique name on the bus: anybody there can send us a signal that looks like one
    /// of systemd's.
    owner: String,
}

impl Translator {
    /// For a connection of this kind.
    #[must_use]
    pub const fn new(access: SystemdAccess) -> Self {
        Self {
            access,
            owner: String::new(),
        }
    }

    /// What an event of the link means for the state, if anything. A stream that was opened is
    /// not for it.
    pub(super) fn translate(&mut self, event: SocketEvent) -> Result<Option<FromSystemd>, Stream> {
        Ok(match event {
            SocketEvent::Opened(Ok(stream)) => {
                self.owner.clear();
                return Err(stream);
            }
            SocketEvent::Opened(Err(reason)) => Some(FromSystemd::Closed(reason)),
            SocketEvent::Received(Received::Ready) => Some(FromSystemd::Connected),
            SocketEvent::Received(Received::Closed(reason)) => {
                Some(FromSystemd::Closed(reason.to_string()))
            }
            SocketEvent::Received(Received::Message(message)) => self.translate_message(message),
        })
    }

    /// What a message means for the state, if anything.
    pub fn translate_message(&mut self, message: Message) -> Option<FromSystemd> {
        let serial = message.reply_serial;
        match message.kind {
            Kind::Call => None,
            Kind::Return => {
                self.learn_owner(&message);
                let result = Ok(message.body);
                Some(FromSystemd::Answer { serial, result })
            }
            Kind::Error => {
                self.learn_owner(&message);
                let result = Err(CallError::from_reply(message.error_name, &message.body));
                Some(FromSystemd::Answer { serial, result })
            }
            Kind::Signal => self.translate_signal(&message),
        }
    }

    /// Only systemd and the bus itself are called, and a bus lets only the called one answer. So
    /// whoever answers under a unique name is systemd.
    fn learn_owner(&mut self, answer: &Message) {
        if self.access == SystemdAccess::Bus && answer.sender.starts_with(':') {
            answer.sender.clone_into(&mut self.owner);
        }
    }

    fn translate_signal(&self, message: &Message) -> Option<FromSystemd> {
        if self.access == SystemdAccess::Bus && message.sender != self.owner {
            let is_departure = message.sender == names::DBUS_NAME
                && message.is(names::DBUS_NAME, "NameOwnerChanged")
                && message.body.first_str() == Some(SYSTEMD_NAME);
            return is_departure
                .then(|| FromSystemd::Closed("systemd has left the bus".to_owned()));
        }
        let read = match (message.interface.as_str(), message.member.as_str()) {
            (PROPERTIES_INTERFACE, "PropertiesChanged") => {
                properties_changed(&message.path, &message.body)
            }
            (SYSTEMD_MANAGER_INTERFACE, member) => manager_signal(member, &message.body),
            _ => return None,
        };
        read.unwrap_or_else(|reason| {
            let line = format!("{} of {}: {reason}", message.member, message.path);
            Some(FromSystemd::Unreadable(line))
        })
    }
}

fn manager_signal(member: &str, body: &Body) -> Result<Option<FromSystemd>, Malformed> {
    Ok(Some(match member {
        "JobRemoved" => {
            let (number, _, _, result): (u32, ObjectPath, String, String) = body.parse()?;
            FromSystemd::JobRemoved { number, result }
        }
        "UnitNew" => {
            let (unit, _): (String, ObjectPath) = body.parse()?;
            FromSystemd::UnitNew { unit }
        }
        "UnitRemoved" => {
            let (unit, _): (String, ObjectPath) = body.parse()?;
            FromSystemd::UnitRemoved { unit }
        }
        "Reloading" => {
            let (is_reloading,) = body.parse()?;
            FromSystemd::Reloading(is_reloading)
        }
        _ => return Ok(None),
    }))
}

/// Reads `PropertiesChanged`, of which there are many, only as far as it is of use.
fn properties_changed(path: &str, body: &Body) -> Result<Option<FromSystemd>, Malformed> {
    let interface = body.first_str().unwrap_or_default();
    if interface == SYSTEMD_JOB_INTERFACE {
        let [state] = read_words(body, ["State"])?;
        return Ok(job_number(path)
            .zip(state)
            .map(|(number, state)| FromSystemd::JobState { number, state }));
    }
    let name = path
        .strip_prefix(names::SYSTEMD_UNIT_PARENT_PATH)
        .and_then(|name| name.strip_prefix('/'));
    let (SYSTEMD_UNIT_INTERFACE, Some(name)) = (interface, name) else {
        return Ok(None);
    };
    let unit = unescape_label(name).ok_or(Malformed {
        offset: 0,
        expected: "the path of a unit",
    })?;
    let [load, active, sub] = read_words(body, ["LoadState", "ActiveState", "SubState"])?;
    let has_news = load.is_some() || active.is_some() || sub.is_some();
    Ok(has_news.then_some(FromSystemd::UnitState {
        unit,
        load,
        active,
        sub,
    }))
}

/// The named properties that are strings, from the arguments `sa{sv}as` of `PropertiesChanged`.
fn read_words<const N: usize>(
    body: &Body,
    names: [&str; N],
) -> Result<[Option<String>; N], Malformed> {
    if body.signature != "sa{sv}as" {
        return Err(Malformed {
            offset: 0,
            expected: "an interface and its changed properties",
        });
    }
    let mut reader = body.reader();
    reader.str()?;
    let mut changed = reader.array(8)?;
    let mut words = [const { None }; N];
    while !changed.is_at_end() {
        changed.align(8)?;
        let name = changed.str()?;
        let (signature, mut value) = changed.variant()?;
        if signature == "s"
            && let Some(index) = names.iter().position(|wanted| *wanted == name)
        {
            words[index] = Some(value.str()?.to_owned());
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Value, body::Entry};

    fn signal(path: &str, interface: &str, member: &str, body: Body) -> Message {
        let mut message = Message::signal(path, interface, member, body);
        message.serial = 1;
        SYSTEMD_NAME.clone_into(&mut message.sender);
        message
    }

    fn read(message: Message) -> Option<FromSystemd> {
        let mut translator = Translator::new(SystemdAccess::Private);
        let event = SocketEvent::Received(Received::Message(message));
        translator.translate(event).unwrap()
    }

    fn changed(interface: &str, entries: Vec<Entry<&'static str, Value>>) -> Body {
        Body::of(&(interface, entries, Vec::<String>::new()))
    }

    fn word(text: &str) -> Value {
        Value::Str(text.to_owned())
    }

    #[test]
    fn changed_states_of_units_and_jobs_are_read() {
        let entries = vec![
            Entry("Job", Value::U32(0)),
            Entry("ActiveState", word("active")),
            Entry("SubState", word("running")),
        ];
        let message = signal(
            "/org/freedesktop/systemd1/unit/a_2dunit_2eservice",
            PROPERTIES_INTERFACE,
            "PropertiesChanged",
            changed(SYSTEMD_UNIT_INTERFACE, entries),
        );
        assert_eq!(
            read(message),
            Some(FromSystemd::UnitState {
                unit: "a-unit.service".to_owned(),
                load: None,
                active: Some("active".to_owned()),
                sub: Some("running".to_owned()),
            })
        );
        let message = signal(
            "/org/freedesktop/systemd1/job/7",
            PROPERTIES_INTERFACE,
            "PropertiesChanged",
            changed(SYSTEMD_JOB_INTERFACE, vec![Entry("State", word("running"))]),
        );
        let state = "running".to_owned();
        assert_eq!(
            read(message),
            Some(FromSystemd::JobState { number: 7, state })
        );
    }

    #[test]
    fn signals_of_the_manager_are_read() {
        let path = || ObjectPath("/a".to_owned());
        let manager_signal = |member, body| {
            read(signal(
                names::SYSTEMD_PATH,
                SYSTEMD_MANAGER_INTERFACE,
                member,
                body,
            ))
        };
        assert_eq!(
            manager_signal(
                "JobRemoved",
                Body::of(&(7_u32, path(), "a.service", "done"))
            ),
            Some(FromSystemd::JobRemoved {
                number: 7,
                result: "done".to_owned()
            })
        );
        assert_eq!(
            manager_signal("Reloading", Body::of(&(true,))),
            Some(FromSystemd::Reloading(true))
        );
        assert_eq!(manager_signal("UnitFilesChanged", Body::default()), None);
        assert!(matches!(
            manager_signal("UnitNew", Body::of(&(1_u32,))),
            Some(FromSystemd::Unreadable(_))
        ));
    }

    #[test]
    fn on_a_bus_only_systemd_speaks_for_systemd() {
        let mut translator = Translator::new(SystemdAccess::Bus);
        let mut read = |sender: &str, mut message: Message| {
            sender.clone_into(&mut message.sender);
            let event = SocketEvent::Received(Received::Message(message));
            translator.translate(event).unwrap()
        };
        let reloading = || {
            let body = Body::of(&(true,));
            signal(
                names::SYSTEMD_PATH,
                SYSTEMD_MANAGER_INTERFACE,
                "Reloading",
                body,
            )
        };
        assert_eq!(read(":1.1", reloading()), None);
        assert!(read(":1.1", Message::reply(1, Body::default())).is_some());
        assert!(read(":1.1", reloading()).is_some());
        assert_eq!(read(":1.66", reloading()), None);
        let departure = || {
            let body = Body::of(&(SYSTEMD_NAME, ":1.1", ""));
            signal(names::DBUS_PATH, names::DBUS_NAME, "NameOwnerChanged", body)
        };
        assert_eq!(read(":1.66", departure()), None);
        assert!(matches!(
            read(names::DBUS_NAME, departure()),
            Some(FromSystemd::Closed(_))
        ));
    }
}
