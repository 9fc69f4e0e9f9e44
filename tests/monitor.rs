//! Monitors on real nodes with systemd: what their owners are told adds up to what systemd says,
//! whatever happens to the node, the network and the daemons; and with an agent in C.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "support/bus.rs"]
mod bus;
mod daemons;
mod lab;

use std::{
    collections::BTreeMap,
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use daemons::{Connection, Manager, Refusal, install_tree, manager_call, within};
use hirte::bus::{Body, Kind, Message, ObjectPath, names};
use lab::{Lab, Node};

/// For what takes milliseconds or, with systemd and several labs on one machine, seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// What has not been told after this time is not told.
const QUIET: Duration = Duration::from_secs(1);

const WEB: &str = "[Service]\nExecStart=sleep infinity\n";
const FAILS: &str = "[Service]\nType=oneshot\nExecStart=false\n";

/// A client with one monitor, and what it knows by that.
struct Watcher {
    client: Connection<UnixStream>,
    monitor: String,
    /// Active and sub state by node and unit.
    view: BTreeMap<(String, String), (String, String)>,
    /// What was told, in words, of each unit.
    told: Vec<(String, String, String)>,
}

impl Watcher {
    fn new(mut client: Connection<UnixStream>) -> Self {
        client.watch("type='signal',interface='org.containers.hirte.Monitor'");
        let call = manager_call("CreateMonitor", Body::default());
        let (path,): (ObjectPath,) = client.call(call).unwrap().parse().unwrap();
        Self {
            client,
            monitor: path.0,
            view: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    fn on(node: &Node) -> Self {
        let address = node.bus_address();
        let socket = address.strip_prefix("unix:path=").unwrap();
        Self::new(Connection::to_bus(Path::new(socket)))
    }

    fn call(&mut self, member: &str, arguments: Body) -> Result<Body, Refusal> {
        let call = Message::call(&self.monitor, names::MONITOR_INTERFACE, member, arguments);
        self.client.call(call.to(names::MANAGER_BUS_NAME))
    }

    fn subscribe(&mut self, node: &str, unit: &str) -> u32 {
        let answer = self.call("Subscribe", Body::of(&(node, unit))).unwrap();
        answer.parse::<(u32,)>().unwrap().0
    }

    /// Takes in what was told. Each rule of what is told is held against it.
    fn hear(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let path = self.monitor.clone();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let wanted = |message: &Message| message.kind == Kind::Signal && message.path == path;
            let Ok(message) = self.client.find(left, wanted) else {
                return;
            };
            self.take_in(&message);
        }
    }

    fn take_in(&mut self, message: &Message) {
        let mut arguments = message.body.reader();
        let node = arguments.str().unwrap().to_owned();
        let unit = arguments.str().unwrap().to_owned();
        let key = (node.clone(), unit.clone());
        let known = self.view.get(&key).cloned();
        let words = match message.member.as_str() {
            "UnitNew" => {
                let reason = arguments.str().unwrap();
                assert!(
                    known.is_none() || reason == "virtual",
                    "{unit} is new again"
                );
                let announced = ("inactive".to_owned(), "dead".to_owned());
                self.view.entry(key).or_insert(announced);
                format!("new {reason}")
            }
            "UnitStateChanged" => {
                let [active, sub, reason] = [(); 3].map(|()| arguments.str().unwrap().to_owned());
                let states = (active.clone(), sub.clone());
                let known = known.unwrap_or_else(|| panic!("{unit} is {states:?}, and unknown"));
                assert!(
                    known != states || reason == "virtual",
                    "{unit}: {states:?} again"
                );
                self.view.insert(key, states);
                format!("{active}/{sub} {reason}")
            }
            "UnitRemoved" => {
                assert!(
                    self.view.remove(&key).is_some(),
                    "{unit} is gone, and unknown"
                );
                format!("removed {}", arguments.str().unwrap())
            }
            "UnitPropertiesChanged" => {
                assert!(known.is_some(), "properties of {unit}, which is unknown");
                assert_eq!(message.body.signature, "sssa{sv}");
                format!("properties of {}", arguments.str().unwrap())
            }
            other => panic!("{other}"),
        };
        self.told.push((node, unit, words));
    }

    /// Hears until this was told last of a unit, properties left out. All before is forgotten.
    fn expect(&mut self, node: &str, unit: &str, expected: &[&str]) {
        let begun = Instant::now();
        loop {
            let of_unit = self
                .told
                .iter()
                .filter(|told| told.0 == node && told.1 == unit);
            let states = of_unit.filter(|told| !told.2.starts_with("properties"));
            let words: Vec<&str> = states.map(|told| told.2.as_str()).collect();
            if words == expected {
                break;
            }
            let told = begun.elapsed() < PATIENCE && words.len() <= expected.len();
            assert!(told, "of {unit} was told {words:?}, expected {expected:?}");
            self.hear(Duration::from_millis(20));
        }
        self.told.clear();
    }

    /// Hears until all that is known of these nodes is what their systemds say.
    fn converge(&mut self, nodes: &[&Node]) {
        let begun = Instant::now();
        loop {
            self.hear(Duration::from_millis(300));
            let truth: BTreeMap<_, _> = nodes.iter().flat_map(|node| truth(node)).collect();
            let known = self.view.iter().filter(|((_, unit), _)| unit != "*");
            let known: BTreeMap<_, _> = known
                .map(|(key, states)| (key.clone(), states.clone()))
                .collect();
            if known == truth {
                break;
            }
            let wrong: Vec<_> = known
                .iter()
                .filter(|(key, states)| truth.get(*key) != Some(*states))
                .collect();
            let missing: Vec<_> = truth
                .keys()
                .filter(|key| !known.contains_key(*key))
                .collect();
            assert!(
                begun.elapsed() < PATIENCE,
                "wrong: {wrong:?}, missing: {missing:?}"
            );
        }
        self.told.clear();
    }
}

/// The units that a node's systemd has loaded.
fn truth(node: &Node) -> BTreeMap<(String, String), (String, String)> {
    let list = [
        "list-units",
        "--all",
        "--plain",
        "--full",
        "--no-legend",
        "--no-pager",
    ];
    let lines = node.systemctl(&list);
    let of_line = |line: &str| {
        let words: Vec<&str> = line
            .trim_start_matches(['●', '*', '×', '○', ' '])
            .split_whitespace()
            .collect();
        let [unit, _, active, sub] = words[..4] else {
            panic!("{line}");
        };
        let key = (node.name().to_owned(), unit.to_owned());
        (key, (active.to_owned(), sub.to_owned()))
    };
    lines.lines().map(of_line).collect()
}

/// `laptop` has the manager and an agent, `rpi4` an agent.
fn fleet(name: &str) -> (Lab, Node, Node) {
    let lab = Lab::builder(name).layer(install_tree()).build();
    let laptop = lab.node("laptop", "192.168.42.10");
    let rpi4 = lab.node("rpi4", "192.168.42.15");
    let manager = "[hirte]\nManagerPort=2020\nAllowedNodeNames=laptop,rpi4\n";
    laptop.write("/etc/hirte/hirte.conf", manager);
    for (node, host) in [(&laptop, "127.0.0.1"), (&rpi4, "192.168.42.10")] {
        let name = node.name();
        let agent =
            format!("[hirte-agent]\nNodeName={name}\nManagerHost={host}\nManagerPort=2020\n");
        node.write("/etc/hirte/agent.conf", agent);
        node.write("/etc/systemd/system/web.service", WEB);
        node.write("/etc/systemd/system/fails.service", FAILS);
    }
    lab.boot_all();
    laptop.systemctl(&["enable", "--quiet", "--now", "hirte", "hirte-agent"]);
    rpi4.systemctl(&["enable", "--quiet", "--now", "hirte-agent"]);
    for node in ["laptop", "rpi4"] {
        within(PATIENCE, "the node is online", || {
            let nodes = laptop.run(&["hirtectl", "list-nodes"]).stdout;
            nodes
                .lines()
                .any(|line| line.contains(node) && line.contains("online"))
        });
    }
    (lab, laptop, rpi4)
}

const LOST_AND_BACK: [&str; 4] = [
    "inactive/agent-offline virtual",
    "removed virtual",
    "new virtual",
    "active/running virtual",
];

#[test]
fn what_is_told_adds_up_to_what_systemd_says() {
    if !lab::require() {
        return;
    }
    let (lab, laptop, rpi4) = fleet("monitor");
    let mut one = Watcher::on(&laptop);
    let mut all = Watcher::on(&laptop);
    one.subscribe("rpi4", "web.service");
    all.subscribe("*", "*");
    all.converge(&[&laptop, &rpi4]);
    assert!(all.view.contains_key(&("rpi4".to_owned(), "*".to_owned())));

    // systemd announces a unit that it loads for a job when the job is there already.
    rpi4.systemctl(&["start", "web.service"]);
    one.expect("rpi4", "web.service", &["new real", "active/running real"]);
    all.expect("rpi4", "web.service", &["new real", "active/running real"]);
    rpi4.systemctl(&["stop", "web.service"]);
    let ended = Instant::now();
    within(PATIENCE, "the unit is unloaded", || {
        one.hear(Duration::from_millis(50));
        one.view.is_empty()
    });
    println!("unloaded after {:?}", ended.elapsed());
    assert_eq!(one.told.last().unwrap().2, "removed real");
    one.told.clear();
    rpi4.run(&["systemctl", "start", "fails.service"]);
    all.converge(&[&laptop, &rpi4]);
    let key = ("rpi4".to_owned(), "fails.service".to_owned());
    assert_eq!(all.view[&key].0, "failed");

    // A flood of gone and new units is not told, for nothing has happened.
    rpi4.systemctl(&["start", "web.service"]);
    one.expect("rpi4", "web.service", &["new real", "active/running real"]);
    for command in ["daemon-reload", "daemon-reexec"] {
        rpi4.systemctl(&[command]);
        one.hear(QUIET);
        let states: Vec<_> = one
            .told
            .iter()
            .filter(|told| !told.2.starts_with("prop"))
            .collect();
        assert!(states.is_empty(), "{command}: {states:?}");
        all.converge(&[&laptop, &rpi4]);
    }
    // What happened while systemd could not be watched is found out.
    rpi4.freeze("hirte-agent.service");
    rpi4.systemctl(&["daemon-reexec"]);
    rpi4.systemctl(&["restart", "web.service"]);
    rpi4.thaw("hirte-agent.service");
    all.converge(&[&laptop, &rpi4]);
    one.hear(QUIET);
    assert_eq!(one.view.values().next().unwrap().0, "active");
    one.told.clear();

    rpi4.systemctl(&["restart", "hirte-agent.service"]);
    one.expect("rpi4", "web.service", &LOST_AND_BACK);
    all.converge(&[&laptop, &rpi4]);
    lab.cut(&laptop, &rpi4);
    one.expect("rpi4", "web.service", &LOST_AND_BACK[..2]);
    rpi4.run(&["systemctl", "reset-failed", "fails.service"]);
    lab.heal(&laptop, &rpi4);
    one.expect("rpi4", "web.service", &LOST_AND_BACK[2..]);
    all.converge(&[&laptop, &rpi4]);

    // A client that lost the manager creates its monitor again, and is told what is.
    laptop.kill("hirte.service", "KILL");
    within(PATIENCE, "the manager is back with its node", || {
        let nodes = laptop.run(&["hirtectl", "list-nodes"]).stdout;
        nodes.matches("online").count() == 2
    });
    let mut again = Watcher::on(&laptop);
    again.subscribe("rpi4", "web.service");
    again.expect("rpi4", "web.service", &LOST_AND_BACK[2..]);
    again.subscribe("*", "*");
    again.converge(&[&laptop, &rpi4]);
}

#[test]
fn a_monitor_is_used_by_its_owner_and_root_and_ends_with_its_owner() {
    if !lab::require() {
        return;
    }
    let (_lab, laptop, rpi4) = fleet("owner");
    laptop.ok(&[
        "useradd",
        "--no-create-home",
        "--groups",
        "hirte",
        "watcher",
    ]);
    laptop.ok(&["useradd", "--no-create-home", "stranger"]);
    laptop.systemctl(&["reload", "dbus"]);
    rpi4.systemctl(&["start", "web.service"]);

    let mut watcher = Watcher::on(&laptop);
    let call = |user: &str, what: &str| {
        let path = &watcher.monitor;
        let interface = names::MONITOR_INTERFACE;
        let command = format!("busctl call org.containers.hirte {path} {interface} {what}");
        laptop.sh(&format!("runuser -u {user} -- {command}"))
    };
    let refused = call("watcher", "Subscribe ss rpi4 web.service");
    assert!(refused.stderr.contains("Access denied"), "{refused}");
    assert!(!call("stranger", "Close").success());
    // The bus lets the group through: it was the manager that refused.
    let path = "org.containers.hirte /org/containers/hirte/monitor/99";
    let unknown = format!("busctl call {path} {} Close", names::MONITOR_INTERFACE);
    let unknown = laptop.sh(&format!("runuser -u watcher -- {unknown}"));
    assert!(unknown.stderr.contains("Unknown object"), "{unknown}");
    let allowed = call("root", "Subscribe ss rpi4 web.service");
    assert_eq!(allowed.stdout.trim(), "u 1", "{allowed}");
    watcher.expect("rpi4", "web.service", &LOST_AND_BACK[2..]);
    let created = "busctl call org.containers.hirte /org/containers/hirte \
                   org.containers.hirte.Manager CreateMonitor";
    let created = laptop.sh(&format!("runuser -u watcher -- {created}"));
    assert!(created.stdout.contains("/monitor/"), "{created}");

    // Peers get the unicast signals, and know when they get no more.
    let mut peer = Watcher::on(&laptop);
    let call = daemons::bus_call("GetNameOwner", Body::of(&(names::MANAGER_BUS_NAME,)));
    assert!(watcher.client.call(call).is_ok());
    let name = unique_name(&mut peer.client, &laptop);
    watcher
        .call("AddPeer", Body::of(&(name.as_str(),)))
        .unwrap();
    let refusal = watcher
        .call("AddPeer", Body::of(&("no.name",)))
        .unwrap_err();
    assert_eq!(refusal.name, "org.freedesktop.DBus.Error.InvalidArgs");
    rpi4.systemctl(&["stop", "web.service"]);
    let told = peer.client.signal_within("UnitPropertiesChanged", PATIENCE);
    assert_eq!(told.path, watcher.monitor);

    let tree = || laptop.ok(&["busctl", "tree", "--list", "org.containers.hirte"]);
    let monitor = watcher.monitor.clone();
    assert!(tree().contains(&monitor));
    drop(watcher);
    within(PATIENCE, "the monitor ends", || {
        !tree().lines().any(|line| line == monitor)
    });
    let told = peer.client.signal_within("PeerRemoved", PATIENCE);
    assert_eq!(told.body.first_str(), Some("monitor closed"));
}

/// The unique name of a client: a bus writes it as the sender of a signal to all.
fn unique_name(client: &mut Connection<UnixStream>, node: &Node) -> String {
    let address = node.bus_address();
    let mut other = Connection::to_bus(Path::new(address.strip_prefix("unix:path=").unwrap()));
    other.watch("type='signal',interface='org.example.Test'");
    client.send(Message::signal(
        "/",
        "org.example.Test",
        "Here",
        Body::default(),
    ));
    other.signal_within("Here", PATIENCE).sender
}

/// The units of an agent, as `ListUnits` tells them.
fn listed(units: &[(&str, &str, &str)]) -> Body {
    let path = |path: &str| ObjectPath(path.to_owned());
    let rows: Vec<_> = units
        .iter()
        .map(|(unit, active, sub)| {
            (
                *unit,
                "",
                "loaded",
                *active,
                *sub,
                "",
                path("/a"),
                0_u32,
                "",
                path("/"),
            )
        })
        .collect();
    Body::of(&(rows,))
}

/// The C agent tells nothing of a unit that it was asked to watch by an earlier manager, and of
/// all units it only tells that it watches them.
#[test]
fn an_agent_in_c_need_not_tell_what_is() {
    let manager = Manager::start();
    let mut watcher = Watcher::new(manager.new_client());
    let mut agent = manager.agent("rpi4");
    watcher.subscribe("rpi4", "b.service");
    let subscribe = agent.called("Subscribe");
    assert!(!subscribe.flags.expects_reply());
    assert_eq!(subscribe.body, Body::of(&("b.service",)));
    let units = [
        ("a.service", "active", "running"),
        ("b.service", "failed", "failed"),
    ];
    let answer = |agent: &mut Connection<_>| {
        let call = agent.called("ListUnits");
        agent.send(Message::reply(call.serial, listed(&units)));
    };
    answer(&mut agent);
    watcher.expect(
        "rpi4",
        "b.service",
        &["new virtual", "failed/failed virtual"],
    );

    let all = watcher.subscribe("rpi4", "*");
    assert_eq!(agent.called("Subscribe").body, Body::of(&("*",)));
    let signal = |member, body| {
        let (path, interface) = (names::INTERNAL_AGENT_PATH, names::INTERNAL_AGENT_INTERFACE);
        Message::signal(path, interface, member, body)
    };
    agent.send(signal("UnitNew", Body::of(&("*", "virtual"))));
    answer(&mut agent);
    watcher.expect(
        "rpi4",
        "a.service",
        &["new virtual", "active/running virtual"],
    );
    agent.send(signal(
        "UnitStateChanged",
        Body::of(&("a.service", "failed", "failed", "real")),
    ));
    agent.send(signal(
        "UnitStateChanged",
        Body::of(&("a.service", "failed", "failed", "real")),
    ));
    agent.send(signal("UnitRemoved", Body::of(&("a.service",))));
    watcher.expect("rpi4", "a.service", &["failed/failed real", "removed real"]);
    watcher.call("Unsubscribe", Body::of(&(all,))).unwrap();
    assert_eq!(agent.called("Unsubscribe").body, Body::of(&("*",)));
    let refusal = watcher.call("Unsubscribe", Body::of(&(all,))).unwrap_err();
    assert_eq!(refusal.name, "org.containers.hirte.NoSuchSubscription");
    let refusal = watcher
        .call("Subscribe", Body::of(&("moon", "a.service")))
        .unwrap_err();
    assert_eq!(refusal.text, "Node 'moon' not found");
    drop(watcher);
    assert_eq!(agent.called("Unsubscribe").body, Body::of(&("b.service",)));
    thread::sleep(Duration::from_millis(1));
}
