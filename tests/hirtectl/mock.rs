//! A manager that behaves as its units' and nodes' names say.
//!
//! Units: `nope` and `gone` do not exist, `refused` is refused, `result-X` ends with the result X,
//! `vanish` makes the manager leave after its reply and `vanish-before-reply` before it, the job of
//! `early` ends before the reply, that of `endless` never, `other-first` and `storm` have other
//! jobs end before; the job of `measured` comes with metrics, that of `unplug` makes its node go
//! offline. `logged` alone has a log. What `exec` runs ends with its last word as status, or
//! with its node if that is `lost`. A monitor of `vanish` tells one of each signal, and then the manager leaves.
//! Nodes: those of the fleet, and `stubborn`, which answers no call in time, `stranger`, which
//! answers nonsense, and `it's, \ odd`.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use hirte::bus::names::{
    JOB_PARENT_PATH, MANAGER_BUS_NAME, MANAGER_INTERFACE, MANAGER_PATH, METRICS_INTERFACE,
    METRICS_PATH, MONITOR_INTERFACE, STREAM_INTERFACE, STREAM_PARENT_PATH, job_path, node_path,
};
use serde::Serialize;
use smol::stream::StreamExt;
use zbus::{
    Connection, DynamicType, Message, ObjectPath, Variant, connection::Builder, message::Type,
};

use crate::zbus_runtime::block_on;

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
        } else if object == MONITOR {
            self.monitor(&member, call)
        } else if object.starts_with(JOB_PARENT_PATH) {
            (self.job_object(&object, &member, call), true)
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
                if self.node_at(&object).is_some() {
                    return reply(call, &path(&object));
                }
                refuse(
                    call,
                    "org.freedesktop.DBus.Error.ServiceUnknown",
                    "Node not found",
                )
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
            "ListUnitsDetailed" | "ListUnitFilesDetailed" if self.fleet.too_large => refuse(
                call,
                "org.freedesktop.DBus.Error.LimitsExceeded",
                "Too large",
            ),
            "ListUnitFilesDetailed" => {
                let nodes = self.fleet.nodes.iter().filter(|(_, online)| *online);
                let files: Vec<_> = nodes
                    .flat_map(|(node, _)| {
                        UNIT_FILES.map(|(path, state)| (node.as_str(), path, state))
                    })
                    .collect();
                reply(call, &(files, &self.fleet.failures))
            }
            "CreateMonitor" => reply(call, &path(MONITOR)),
            "SetLogLevel" => {
                let level: &str = body.deserialize().unwrap();
                self.record(&[member, level]);
                if level == "LOUD" {
                    let error = "org.freedesktop.DBus.Error.InvalidArgs";
                    return refuse(call, error, "Unknown log level 'LOUD'");
                }
                reply(call, &())
            }
            "EnableMetrics" | "DisableMetrics" => {
                self.record(&[member]);
                reply(call, &())
            }
            "Get" => {
                let all = self.fleet.nodes.iter().all(|(_, online)| *online);
                let status = if all { "up" } else { "degraded" };
                reply(call, &Variant::from(status))
            }
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
            "Reload" | "ResetFailed" => {
                self.record(&[member, node]);
                (reply(call, &()), true)
            }
            "FreezeUnit" | "ThawUnit" | "ResetFailedUnit" => {
                let unit: &str = body.deserialize().unwrap();
                self.record(&[member, node, unit]);
                (at_once(call, unit), true)
            }
            "KillUnit" => {
                let (unit, whom, signal): (&str, &str, i32) = body.deserialize().unwrap();
                self.record(&[member, node, unit, whom, &signal.to_string()]);
                (at_once(call, unit), true)
            }
            "ListUnitFiles" => (reply(call, &UNIT_FILES.to_vec()), true),
            "GetUnitFileState" => {
                let unit: &str = body.deserialize().unwrap();
                let state = match unit {
                    "nope.service" => return (at_once(call, unit), true),
                    "off.service" => "disabled",
                    "static.service" => "static",
                    _ => "enabled",
                };
                (reply(call, &state), true)
            }
            "GetDefaultTarget" => (reply(call, &"multi-user.target"), true),
            "SetDefaultTarget" => {
                let (target, force): (&str, bool) = body.deserialize().unwrap();
                self.record(&[member, node, target, &force.to_string()]);
                let link = "/etc/systemd/system/default.target";
                let file = format!("/usr/lib/systemd/system/{target}");
                let changes = vec![("unlink", link, ""), ("symlink", link, file.as_str())];
                (reply(call, &changes), true)
            }
            "SetLogLevel" => {
                let level: &str = body.deserialize().unwrap();
                self.record(&[member, node, level]);
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
            "OpenLog" => {
                let (unit, options): (&str, HashMap<&str, Variant<'_>>) =
                    body.deserialize().unwrap();
                let mut names: Vec<&str> = options.into_keys().collect();
                names.sort_unstable();
                self.record(&[member, node, unit, &names.join(" ")]);
                (Self::log(call, unit), true)
            }
            "Exec" => {
                let words: Vec<&str> = body.deserialize().unwrap();
                self.record(&[member, node, &words.join("|")]);
                let (status, result) = match words.last() {
                    Some(&"lost") => (-1, "node-lost"),
                    Some(word) => (word.parse().unwrap_or(0), "exited"),
                    None => (0, "exited"),
                };
                let pieces: [(u32, &[u8]); 2] = [(1, b"out\n"), (2, b"err\n")];
                (stream(call, &pieces, (status, result)), true)
            }
            "GetUnitProperties" => {
                let (unit, interface): (&str, &str) = body.deserialize().unwrap();
                assert_eq!(interface, "");
                (Self::unit_properties(call, unit), true)
            }
            _ => {
                let (unit, mode): (&str, &str) = body.deserialize().unwrap();
                self.record(&[member, node, unit, mode]);
                self.job(node, unit, call)
            }
        }
    }

    /// The log of the only unit that has one; for others this is an agent that knows no logs.
    fn log(call: &Message, unit: &str) -> Messages {
        if unit != "logged.service" {
            let error = "org.freedesktop.DBus.Error.UnknownMethod";
            return refuse(call, error, "Unknown method OpenLog.");
        }
        let entry = br#"{"__REALTIME_TIMESTAMP":"1700000000000000","_COMM":"httpd","_PID":"7","MESSAGE":"Serving"}"#;
        let (start, rest) = entry.split_at(20);
        let pieces: [(u32, &[u8]); 3] = [(1, start), (1, rest), (1, b"\n")];
        stream(call, &pieces, (0, "exited"))
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

    fn monitor(&mut self, member: &str, call: &Message) -> (Messages, bool) {
        let body = call.body();
        assert_eq!(member, "SubscribeList");
        let (node, units): (&str, Vec<&str>) = body.deserialize().unwrap();
        self.record(&[member, node, &units.join(" ")]);
        if node != "*" && self.node_at(&node_path(node)).is_none() {
            let error = "org.freedesktop.DBus.Error.ServiceUnknown";
            return (refuse(call, error, "Node not found"), true);
        }
        let accepted = reply(call, &1_u32);
        if !units.contains(&"vanish.service") {
            return (accepted, true);
        }
        let unit = "vanish.service";
        let properties: HashMap<&str, Variant<'_>> = HashMap::from([
            ("ActiveState", "active".into()),
            ("NRestarts", 2_u32.into()),
            ("SubState", "running".into()),
            ("Wants", vec!["a.service", "b.service"].into()),
        ]);
        let interface = "org.freedesktop.systemd1.Unit";
        let signals = vec![
            told("UnitNew", &("rpi4", unit, "virtual")),
            told(
                "UnitStateChanged",
                &("rpi4", unit, "active", "running", "real"),
            ),
            told(
                "UnitPropertiesChanged",
                &("rpi4", unit, interface, &properties),
            ),
            told("UnitRemoved", &("rpi4", unit, "real")),
        ];
        ([accepted, signals].concat(), false)
    }

    /// Jobs 7 and 12 are there.
    fn job_object(&self, object: &str, member: &str, call: &Message) -> Messages {
        let unit = match object.rsplit('/').next().unwrap() {
            "job" => {
                assert_eq!(member, "Introspect");
                return reply(call, &"<node><node name=\"12\"/><node name=\"7\"/></node>");
            }
            "7" => "slow.service",
            "12" => "other.service",
            _ => {
                let error = "org.freedesktop.DBus.Error.UnknownObject";
                return refuse(call, error, "Unknown object");
            }
        };
        if member == "Cancel" {
            self.record(&[member, unit]);
            return reply(call, &());
        }
        let node = if unit == "slow.service" {
            "rpi4"
        } else {
            "laptop"
        };
        let properties: HashMap<&str, Variant<'_>> = HashMap::from([
            ("Id", 7_u32.into()),
            ("Node", node.into()),
            ("Unit", unit.into()),
            ("JobType", "start".into()),
            ("State", "running".into()),
        ]);
        reply(call, &properties)
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
        let mut properties: HashMap<&str, Variant<'_>> = HashMap::from([
            ("Id", unit.into()),
            ("LoadState", load.into()),
            ("ActiveState", active.into()),
            ("SubState", sub.into()),
            ("UnitFileState", file.into()),
            ("Wants", vec!["a.service"].into()),
        ]);
        if unit == "httpd.service" {
            properties.extend([
                ("Description", Variant::from("The web server")),
                (
                    "FragmentPath",
                    "/usr/lib/systemd/system/httpd.service".into(),
                ),
                ("UnitFilePreset", "disabled".into()),
                ("ActiveEnterTimestamp", 1_700_000_000_000_000_u64.into()),
                ("MainPID", 123_u32.into()),
                ("TasksCurrent", 5_u64.into()),
                ("TasksMax", u64::MAX.into()),
                ("MemoryCurrent", 5_347_738_u64.into()),
                ("CPUUsageNSec", 52_000_000_u64.into()),
                ("Result", "success".into()),
                ("StatusText", "Ready".into()),
            ]);
        }
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
            "measured" => {
                let of_agent = (node, unit, "StartUnit", 56_789_u64);
                let of_job = (node, object.as_str(), unit, 123_456_u64, 0_u64);
                let before = vec![metric("AgentJobMetrics", &of_agent)];
                let after = vec![metric("StartUnitJobMetrics", &of_job)];
                [new, accepted, before, removed(id, "done"), after].concat()
            }
            "unplug" => {
                for (name, online) in &mut self.fleet.nodes {
                    *online &= name != node;
                }
                let lost = signal("NodeConnectionStateChanged", &(node, "offline"));
                [new, accepted, removed(id, "done"), lost].concat()
            }
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

/// The only monitor.
const MONITOR: &str = "/org/containers/hirte/monitor/1";

/// The unit files of each node.
const UNIT_FILES: [(&str, &str); 3] = [
    ("/usr/lib/systemd/system/rescue.target", "static"),
    ("/etc/systemd/system/httpd.service", "enabled"),
    ("/usr/lib/systemd/system/cups.service", "disabled"),
];

/// The answer of what is done to a unit at once.
fn at_once(call: &Message, unit: &str) -> Messages {
    match unit {
        "nope.service" => {
            let error = "org.freedesktop.systemd1.NoSuchUnit";
            refuse(call, error, "Unit nope.service not loaded.")
        }
        _ => reply(call, &()),
    }
}

/// A stream with all that it brings, for the caller alone.
fn stream(call: &Message, pieces: &[(u32, &[u8])], end: (i32, &str)) -> Messages {
    let object = format!("{STREAM_PARENT_PATH}/1");
    let header = call.header();
    let signal = |member: &'static str| {
        Message::signal(object.as_str(), STREAM_INTERFACE, member)
            .destination(header.sender().unwrap().to_owned())
    };
    let mut messages = reply(call, &path(&object));
    let data = pieces.iter().map(|piece| signal("Data").build(piece));
    messages.extend(data.map(Result::unwrap));
    messages.push(signal("End").build(&end).unwrap());
    messages
}

fn told<B: Serialize + DynamicType>(member: &str, body: &B) -> Message {
    Message::signal(MONITOR, MONITOR_INTERFACE, member)
        .build(body)
        .unwrap()
}

fn metric<B: Serialize + DynamicType>(member: &str, body: &B) -> Message {
    Message::signal(METRICS_PATH, METRICS_INTERFACE, member)
        .build(body)
        .unwrap()
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
