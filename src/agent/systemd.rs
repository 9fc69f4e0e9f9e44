//! The edge to the local systemd: on its private socket as its own user, otherwise on the system
//! bus.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use rustix::{
    net::sockopt::socket_peercred,
    process::{Uid, geteuid},
};

use super::{
    socket::SocketEvent,
    state::{FromSystemd, SystemdAccess, job_number},
};
use crate::{
    bus::{
        Body, CallError, Kind, Message, ObjectPath,
        marshal::{Malformed, Reader},
        message::BodyCheck,
        names::{
            self, PROPERTIES_INTERFACE, SYSTEMD_JOB_INTERFACE, SYSTEMD_MANAGER_INTERFACE,
            SYSTEMD_NAME, unescape_label,
        },
    },
    limits,
    wire::{
        LinkSettings, Received, Stream,
        address::{self, Endpoint, connect_unix},
    },
};

/// What systemd may send, and how far it may be behind.
pub(super) const LINK: LinkSettings = LinkSettings {
    max_message: limits::MAX_MESSAGE,
    max_queued: Some(limits::MAX_QUEUED_TO_SYSTEMD),
    body_check: BodyCheck::Trusted,
};

/// Which systemd is meant, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A socket on which it serves its own user without a bus (`systemd(1)` calls it the private
    /// socket), and that user.
    Private(PathBuf, Uid),
    /// The system bus.
    Bus,
}

impl Place {
    /// The systemd that runs the machine.
    pub(super) fn of_machine() -> Self {
        if geteuid().is_root() {
            Self::Private("/run/systemd/private".into(), Uid::ROOT)
        } else {
            Self::Bus
        }
    }

    /// The systemd of the user whose runtime folder (`XDG_RUNTIME_DIR`) this is.
    pub(super) fn of_user(runtime_folder: Option<OsString>) -> Result<Self, NoRuntimeFolder> {
        let folder = runtime_folder.filter(|folder| Path::new(folder).is_absolute());
        let folder = PathBuf::from(folder.ok_or(NoRuntimeFolder)?);
        Ok(Self::Private(folder.join("systemd/private"), geteuid()))
    }

    /// What the state has to know of it.
    pub(super) const fn access(&self) -> SystemdAccess {
        match self {
            Self::Private(..) => SystemdAccess::Private,
            Self::Bus => SystemdAccess::Bus,
        }
    }
}

/// The environment does not tell where the user's systemd is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRuntimeFolder;

impl fmt::Display for NoRuntimeFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "--user needs XDG_RUNTIME_DIR, the absolute path of the user's runtime folder"
        )
    }
}

impl std::error::Error for NoRuntimeFolder {}

/// Connects to systemd, or to the bus that it is on.
pub(super) fn open(place: &Place) -> Result<Stream, String> {
    match place {
        Place::Private(socket, owner) => open_private(socket, *owner),
        Place::Bus => open_bus(),
    }
}

fn open_private(socket: &Path, owner: Uid) -> Result<Stream, String> {
    let failed = |error: &dyn fmt::Display| format!("{}: {error}", socket.display());
    let stream = connect_unix(socket).map_err(|error| failed(&error))?;
    let peer = socket_peercred(stream.get_ref()).map_err(|error| failed(&error))?;
    if peer.uid != owner {
        let (found, expected) = (peer.uid.as_raw(), owner.as_raw());
        return Err(failed(&format!(
            "served by uid {found}, expected uid {expected}"
        )));
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

/// Reads `PropertiesChanged` of a job or a unit.
fn properties_changed(path: &str, body: &Body) -> Result<Option<FromSystemd>, Malformed> {
    if body.signature != "sa{sv}as" {
        return Err(Malformed {
            offset: 0,
            expected: "an interface and its changed properties",
        });
    }
    let mut reader = body.reader();
    let interface = reader.str()?;
    let entries = reader.clone().array(8)?;
    if interface == SYSTEMD_JOB_INTERFACE {
        let state = job_state(entries)?;
        return Ok(job_number(path)
            .zip(state)
            .map(|(number, state)| FromSystemd::JobState { number, state }));
    }
    let name = path
        .strip_prefix(names::SYSTEMD_UNIT_PARENT_PATH)
        .and_then(|name| name.strip_prefix('/'));
    let Some(name) = name.filter(|_| !entries.is_at_end()) else {
        return Ok(None);
    };
    let unit = unescape_label(name).ok_or(Malformed {
        offset: 0,
        expected: "the path of a unit",
    })?;
    Ok(Some(FromSystemd::UnitProperties {
        unit,
        interface: interface.to_owned(),
        changed: body.dictionary(&mut reader)?,
    }))
}

/// `State` among the changed properties of a job.
fn job_state(mut entries: Reader<'_>) -> Result<Option<String>, Malformed> {
    while !entries.is_at_end() {
        entries.align(8)?;
        let name = entries.str()?;
        let (signature, mut value) = entries.variant()?;
        if (name, signature) == ("State", "s") {
            return Ok(Some(value.str()?.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Value, body::Entry, names::SYSTEMD_UNIT_INTERFACE};

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
    fn the_systemd_of_a_user_is_in_its_runtime_folder() {
        let place = Place::of_user(Some("/run/user/1000".into())).unwrap();
        let socket = "/run/user/1000/systemd/private".into();
        assert_eq!(place, Place::Private(socket, geteuid()));
        assert_eq!(place.access(), SystemdAccess::Private);
        for folder in [None, Some("".into()), Some("run".into())] {
            assert_eq!(Place::of_user(folder), Err(NoRuntimeFolder));
        }
    }

    #[test]
    fn a_private_socket_of_another_user_is_refused() {
        let path = std::env::temp_dir().join(format!("hirte-private-{}", std::process::id()));
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        open(&Place::Private(path.clone(), geteuid())).unwrap();
        let error = open(&Place::Private(path.clone(), Uid::from_raw(4711))).unwrap_err();
        assert!(error.ends_with("expected uid 4711"), "{error}");
        std::fs::remove_file(path).unwrap();
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
            changed(SYSTEMD_UNIT_INTERFACE, entries.clone()),
        );
        assert_eq!(
            read(message),
            Some(FromSystemd::UnitProperties {
                unit: "a-unit.service".to_owned(),
                interface: SYSTEMD_UNIT_INTERFACE.to_owned(),
                changed: Body::of(&(entries,)),
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
