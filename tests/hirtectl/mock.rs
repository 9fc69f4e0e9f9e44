//! A manager that behaves as its units' and nodes' names say.
//!
//! Units: `nope` and `gone` do not exist, `refused` is refused, `result-X` ends with the result X,
//! `vanish` makes the manager leave after its reply and `vanish-before-reply` before it, the job of
//! `early` ends before the reply, that of `endless` never, `other-first` and `storm` have other
//! jobs end before.
//! Nodes: those of the fleet, and `stubborn`, which answers no call in time, `stranger`, which
//! answers nonsense, and `it's, \ odd`.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use hirte::{
    bus::names::{MANAGER_BUS_NAME, MANAGER_INTERFACE, MANAGER_PATH, job_path, node_path},
    ctl::runtime::block_on,
};
use serde::Serialize;
use smol::stream::StreamExt;
use zbus::{
    Connection, DynamicType, Message, ObjectPath, Variant, connection::Builder, message::Type,
};

/// What the manager manages.
pub struct Fleet {
    /// Names, and whether they are online.
    pub nodes: Vec<(String, bool)>,
    /// Name, active state and sub state of the units of each node.
    pub units: Vec<(String, String, String)>,
    /// What `ListUnitsDetailed` reports as failed: node, error, message.
    pub failures: Vec<(&'static str, &'static str, &'static str)>,
    /// `ListUnitsDetailed` is refused because its answer is too large.
    pub too_large: bool,
}

impl Default for Fleet {
    fn default() -> Self {
        let unit = |name: &str, active: &str, sub: &str| (name.into(), active.into(), sub.into());
        Self {
            nodes: vec![
                ("laptop".into(), true),
                ("rpi4".into(), true),
                ("sleeper".into(), false),
            ],
            units: vec![
                unit("httpd.service", "active", "running"),
                unit("broken.service", "failed", "failed"),
                unit("httpd-init.service", "inactive", "dead"),
            ],
            failures: Vec::new(),
            too_large: false,
        }
    }
}

/// Calls in the order of their arrival, as words, and a bell for each.
type Log = Arc<(Mutex<Vec<String>>, Condvar)>;

/// The running mock; it ends with its bus.
pub struct Manager {
    log: Log,
    _thread: JoinHandle<()>,
}

impl Manager {
    /// Returns when the manager's name is owned.
    pub fn start(address: &str, fleet: Fleet) -> Self {
        let log = Log::default();
        let (ready, is_ready) = mpsc::channel();
        let (address, served_log) = (address.to_owned(), Arc::clone(&log));
        let thread = std::thread::spawn(move || {
            block_on(async |runtime| {
                let mut messages = Builder::address(address.as_str())
                    .runtime(runtime)
                    .build_message_stream()
                    .await
                    .unwrap();
                let connection = Connection::from(&messages);
                connection.request_name(MANAGER_BUS_NAME).await.unwrap();
                ready.send(()).unwrap();
                let mut mock = Mock {
                    fleet,
                    log: served_log,
                    last_job: 0,
                };
                while let Some(Ok(message)) = messages.next().await {
                    if message.message_type() == Type::MethodCall
                        && !mock.serve(&connection, &message).await
                    {
                        return;
                    }
                }
            });
        });
        is_ready.recv().expect("the mock must reach its bus");
        Self {
            log,
            _thread: thread,
        }
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }

    /// Waits until a call of this method has come.
    pub fn wait_for_call(&self, method: &str) {
        let patience = Duration::from_secs(30);
        let absent = |calls: &mut Vec<String>| !calls.iter().any(|call| call.starts_with(method));
        let (_calls, waited) = self
            .log
            .1
            .wait_timeout_while(self.log.0.lock().unwrap(), patience, absent)
            .unwrap();
        assert!(!waited.timed_out(), "{method} was not called");
    }
}

/// A unit as systemd lists it.
type Listed<'a> = (
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    ObjectPath<'a>,
    u32,
    &'a str,
    ObjectPath<'a>,
);

/// The same behind its node.
type ListedInFleet<'a> = (
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    ObjectPath<'a>,
    u32,
    &'a str,
    ObjectPath<'a>,
);

struct Mock {
    fleet: Fleet,
    log: Log,
    last_job: u32,
}

/// What to send, one message after the other.
type Messages = Vec<Message>;

fn reply<B: Serialize + DynamicType>(call: &Message, body: &B) -> Messages {
    vec![Message::method_return(&call.header()).build(body).unwrap()]
}

fn refuse(call: &Message, name: &str, message: &str) -> Messages {
    vec![
        Message::error(&call.header(), name)
            .build(&message)
            .unwrap(),
    ]
}

fn path(path: &str) -> ObjectPath<'_> {
    ObjectPath::try_from(path).unwrap()
}

impl Mock {
    /// Serves one call; false when the manager is to leave the bus.
    async fn serve(&mut self, connection: &Connection, call: &Message) -> bool {
        let header = call.header();
        let member = header.member().unwrap().to_string();
        let object = header.path().unwrap().to_string();
        let (messages, stay) = if object == MANAGER_PATH {
            (self.manager(&member, call), true)
        } else {
            let node = self.node_at(&object);
            match (node, member.as_str()) {
                (None, _) => {
                    let message = format!("Unknown object '{object}'.");
                    (
                        refuse(call, "org.freedesktop.DBus.Error.UnknownObject", &message),
                        true,
                    )
                }
                (Some((name, online)), "GetAll") => (Self::properties(call, &name, online), true),
                (Some((name, false)), _) => {
                    self.record(&[&member, &name]);
                    (
                        refuse(call, "org.containers.hirte.Offline", "Node is offline"),
                        true,
                    )
                }
                (Some((name, true)), _) => self.node(&name, &member, call),
            }
        };
        connection.send_all(&messages).await.unwrap();
        self.log.1.notify_all();
        stay
    }

    fn record(&self, words: &[&str]) {
        self.log.0.lock().unwrap().push(words.join(" "));
    }

    fn node_at(&self, object: &str) -> Option<(String, bool)> {
        let special = ["stubborn", "stranger", "it's, \\ odd"].map(|name| (name.to_owned(), true));
        let mut nodes = self.fleet.nodes.iter().chain(&special);
        nodes.find(|(name, _)| node_path(name) == object).cloned()
    }

    fn manager(&self, member: &str, call: &Message) -> Messages {
        let body = call.body();
        match member {
            "GetNode" => {
                let name: &str = body.deserialize().unwrap();
                self.record(&[member, name]);
                let object = node_path(name);
                match self.node_at(&object) {
                    Some(_) => reply(call, &path(&object)),
                    None => {
                        let error = "org.freedesktop.DBus.Error.ServiceUnknown";
                        refuse(call, error, "Node not found")
                    }
                }
            }
            "ListNodes" => {
                let state = |online: bool| if online { "online" } else { "offline" };
                let nodes = self.fleet.nodes.iter();
                let nodes: Vec<(&str, zbus::OwnedObjectPath, &str)> = nodes
                    .map(|(name, online)| {
                        (
                            name.as_str(),
                            node_path(name).try_into().unwrap(),
                            state(*online),
                        )
                    })
                    .collect();
                reply(call, &nodes)
            }
            "ListUnitsDetailed" if self.fleet.too_large => refuse(
                call,
                "org.freedesktop.DBus.Error.LimitsExceeded",
                "Too large",
            ),
            "ListUnitsDetailed" => reply(call, &(self.units_of_fleet(), &self.fleet.failures)),
            _ => refuse(call, "org.freedesktop.DBus.Error.UnknownMethod", member),
        }
    }

    fn units(&self) -> Vec<Listed<'_>> {
        let units = self.fleet.units.iter();
        units
            .map(|(name, active, sub)| {
                (
                    name.as_str(),
                    "",
                    "loaded",
                    active.as_str(),
                    sub.as_str(),
                    "",
                    path("/u"),
                    0,
                    "",
                    path("/"),
                )
            })
            .collect()
    }

    fn units_of_fleet(&self) -> Vec<ListedInFleet<'_>> {
        let mut all = Vec::new();
        for (node, _) in self.fleet.nodes.iter().filter(|(_, online)| *online) {
            all.extend(
                self.units()
                    .into_iter()
                    .map(|(a, b, c, d, e, f, g, h, i, j)| {
                        (node.as_str(), a, b, c, d, e, f, g, h, i, j)
                    }),
            );
        }
        all
    }

    fn properties(call: &Message, name: &str, online: bool) -> Messages {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = u64::try_from(Duration::try_from(now).unwrap().as_micros()).unwrap();
        let age = if name == "rpi4" { 2_500_000 } else { 0 };
        let (seen, status, ip) = if online {
            (now - age, "online", "10.0.0.1")
        } else {
            (0, "offline", "")
        };
        let properties: HashMap<&str, Variant<'_>> = HashMap::from([
            ("Name", name.into()),
            ("Status", status.into()),
            ("PeerIp", ip.into()),
            ("LastSeenTimestamp", u64::from(online).into()),
            ("LastSeenTimestampMonotonic", seen.into()),
        ]);
        reply(call, &properties)
    }

    fn node(&mut self, node: &str, member: &str, call: &Message) -> (Messages, bool) {
        let body = call.body();
        match member {
            _ if node == "stubborn" => (
                refuse(call, "org.freedesktop.DBus.Error.Timeout", "No answer."),
                true,
            ),
            _ if node == "stranger" => (reply(call, &"nonsense"), true),
            "ListUnits" => {
                self.record(&[member, node]);
                (reply(call, &self.units()), true)
            }
            "Reload" => {
                self.record(&[member, node]);
                (reply(call, &()), true)
            }
            "EnableUnitFiles" => {
                let (units, runtime, force): (Vec<&str>, bool, bool) = body.deserialize().unwrap();
                let flags = format!("{runtime} {force}");
                self.record(&[member, node, &units.join(" "), &flags]);
                (Self::enable(call, &units), true)
            }
            "DisableUnitFiles" => {
                let (units, runtime): (Vec<&str>, bool) = body.deserialize().unwrap();
                self.record(&[member, node, &units.join(" "), &runtime.to_string()]);
                let links: Vec<String> = units.iter().map(|unit| link(unit)).collect();
                let changes: Vec<_> = links
                    .iter()
                    .map(|link| ("unlink", link.as_str(), ""))
                    .collect();
                (reply(call, &changes), true)
            }
            "GetUnitProperties" => {
                let (unit, interface): (&str, &str) = body.deserialize().unwrap();
                assert_eq!(interface, "org.freedesktop.systemd1.Unit");
                (Self::unit_properties(call, unit), true)
            }
            _ => {
                let (unit, mode): (&str, &str) = body.deserialize().unwrap();
                self.record(&[member, node, unit, mode]);
                self.job(node, unit, call)
            }
        }
    }

    fn enable(call: &Message, units: &[&str]) -> Messages {
        match units {
            ["nope.service"] => refuse(
                call,
                "org.freedesktop.DBus.Error.FileNotFound",
                "Unit file nope.service does not exist.",
            ),
            ["static.service"] => reply(call, &(false, Vec::<(&str, &str, &str)>::new())),
            units => {
                let links: Vec<(String, String)> = units
                    .iter()
                    .map(|unit| (link(unit), format!("/usr/lib/systemd/system/{unit}")))
                    .collect();
                let changes: Vec<_> = links
                    .iter()
                    .map(|(link, file)| ("symlink", link.as_str(), file.as_str()))
                    .collect();
                reply(call, &(true, changes))
            }
        }
    }

    fn unit_properties(call: &Message, unit: &str) -> Messages {
        let (load, active, sub, file) = match unit {
            "nope.service" => ("not-found", "inactive", "dead", ""),
            "gone.service" => {
                let error = "org.freedesktop.systemd1.NoSuchUnit";
                return refuse(call, error, "Unit gone.service not found.");
            }
            "static.service" => ("loaded", "inactive", "dead", ""),
            _ => ("loaded", "active", "running", "enabled"),
        };
        let properties: HashMap<&str, Variant<'_>> = HashMap::from([
            ("Id", unit.into()),
            ("LoadState", load.into()),
            ("ActiveState", active.into()),
            ("SubState", sub.into()),
            ("UnitFileState", file.into()),
            ("Wants", vec!["a.service"].into()),
        ]);
        reply(call, &properties)
    }

    fn job(&mut self, node: &str, unit: &str, call: &Message) -> (Messages, bool) {
        self.last_job += 1;
        let id = self.last_job;
        let object = job_path(id);
        let accepted = reply(call, &path(&object));
        let new = signal("JobNew", &(id, path(&object)));
        let removed = |id: u32, result: &str| {
            let object = job_path(id);
            signal("JobRemoved", &(id, path(&object), node, unit, result))
        };
        let name = unit.strip_suffix(".service").unwrap_or(unit);
        let messages = match name {
            "nope" => {
                let error = "org.freedesktop.systemd1.NoSuchUnit";
                return (refuse(call, error, "Unit nope.service not found."), true);
            }
            "refused" => {
                let error = "org.freedesktop.systemd1.OnlyByDependency";
                return (refuse(call, error, "Operation refused."), true);
            }
            "vanish-before-reply" => return (Vec::new(), false),
            "vanish" => return ([new, accepted].concat(), false),
            "endless" => [new, accepted].concat(),
            "early" => [new, removed(id, "done"), accepted].concat(),
            "other-first" => [
                new,
                accepted,
                removed(id + 1, "failed"),
                removed(id, "done"),
            ]
            .concat(),
            "storm" => {
                let others: Messages = (0..500)
                    .flat_map(|other| removed(1000 + other, "failed"))
                    .collect();
                [new, others, accepted, removed(id, "done")].concat()
            }
            _ => {
                let result = name.strip_prefix("result-").unwrap_or("done");
                [new, accepted, removed(id, result)].concat()
            }
        };
        (messages, true)
    }
}

fn link(unit: &str) -> String {
    format!("/etc/systemd/system/multi-user.target.wants/{unit}")
}

fn signal<B: Serialize + DynamicType>(member: &str, body: &B) -> Messages {
    vec![
        Message::signal(MANAGER_PATH, MANAGER_INTERFACE, member)
            .build(body)
            .unwrap(),
    ]
}
