//! The dialect of Eclipse `BlueChi`: bytes of its agent as captured, and a fleet that is driven by
//! its own Python bindings. Also the example of a plain client in Python.
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
#[path = "guide/mod.rs"]
mod guide;
mod lab;
#[path = "support/pip.rs"]
mod pip;

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use daemons::{Connection, Folder, Manager, SOON, Settings, install, install_tree};
use hirte::{
    bus::{
        Body, Kind, Message, ObjectPath, error_name,
        message::{BodyCheck, announced_len},
        names,
    },
    limits,
};
use lab::{Lab, Node};
use pip::PYTHON;

const BUS: &str = "org.eclipse.bluechi";
const PATH: &str = "/org/eclipse/bluechi";
const CONTROLLER: &str = "org.eclipse.bluechi.Controller";
const AGENT: &str = "org.eclipse.bluechi.internal.Agent";

/// Bytes of the first part of a message, which tell its length.
const FIXED_HEADER_LEN: usize = 16;

/// A manager with the option whose one node is `bar-2`.
fn manager() -> Manager {
    Manager::with(&Settings {
        nodes: &["bar-2"],
        config: "CompatBlueChi=yes\n",
        ..Settings::default()
    })
}

fn controller_call(member: &str, arguments: Body) -> Message {
    Message::call(PATH, CONTROLLER, member, arguments).to(BUS)
}

fn node_call(member: &str, arguments: Body) -> Message {
    let node = format!("{PATH}/node/{}", names::escape_label("bar-2"));
    Message::call(&node, "org.eclipse.bluechi.Node", member, arguments).to(BUS)
}

/// The pieces of a captured conversation, each of one side.
fn captured(text: &str) -> Vec<Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line == "<" || line == ">" {
            pieces.push(Vec::new());
            continue;
        }
        let bytes = line
            .split(' ')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap());
        pieces.last_mut().unwrap().extend(bytes);
    }
    pieces
}

/// Reads as many bytes as the controller has sent, and returns them.
fn read_like(stream: &mut TcpStream, captured: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; captured.len()];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn pass_message(stream: &mut TcpStream) {
    let mut start = [0; FIXED_HEADER_LEN];
    stream.read_exact(&mut start).unwrap();
    let length = announced_len(&start, limits::MAX_MESSAGE).unwrap().unwrap();
    let mut rest = vec![0; length - start.len()];
    stream.read_exact(&mut rest).unwrap();
}

#[test]
fn the_captured_bytes_of_an_agent_get_the_answers_of_its_controller() {
    let pieces = captured(include_str!("data/bluechi-agent.hex"));
    let [hello, welcome, register, registered, start, accepted, done] = &pieces[..] else {
        panic!("the capture has other pieces");
    };
    let manager = manager();
    let mut client = manager.new_client();
    client.watch("type='signal',interface='org.eclipse.bluechi.Controller'");
    let mut agent = manager.connect();
    agent.set_read_timeout(Some(SOON)).unwrap();
    agent.write_all(hello).unwrap();
    let answer = read_like(&mut agent, welcome);
    assert!(answer.starts_with(b"DATA\r\nOK ") && answer.ends_with(b"\r\n"));
    agent.write_all(register).unwrap();
    assert_eq!(read_like(&mut agent, registered), *registered);

    // The captured call is the controller's message number 8; ours is it after six others.
    for _ in 2..8 {
        client.send(node_call("Reload", Body::default()));
        pass_message(&mut agent);
    }
    let arguments = Body::of(&("simple.service", "replace"));
    let call = client.send(node_call("StartUnit", arguments));
    let bytes = read_like(&mut agent, start);
    let message = |bytes: &[u8]| Message::decode(bytes, BodyCheck::Full).unwrap();
    assert_eq!(message(&bytes), message(start));
    agent.write_all(accepted).unwrap();
    let job = ObjectPath(format!("{PATH}/job/1"));
    let new: (u32, ObjectPath) = client.signal("JobNew").body.parse().unwrap();
    assert_eq!(new, (1, job.clone()));
    let answer: (ObjectPath,) = client.answer(call).unwrap().parse().unwrap();
    assert_eq!(answer.0, job);
    agent.write_all(done).unwrap();
    let removed: (u32, ObjectPath, String, String, String) =
        client.signal("JobRemoved").body.parse().unwrap();
    let words = ["bar-2", "simple.service", "done"].map(str::to_owned);
    let [node, unit, result] = words;
    assert_eq!(removed, (1, job, node, unit, result));
}

#[test]
fn the_captured_bytes_of_an_unknown_agent_get_the_refusal_of_its_controller() {
    let pieces = captured(include_str!("data/bluechi-refused.hex"));
    let [register, refused] = &pieces[..] else {
        panic!("the capture has other pieces");
    };
    let mut manager = manager();
    let mut agent = Connection::authenticate(manager.connect()).unwrap().stream;
    agent.write_all(register).unwrap();
    let message = |bytes: &[u8]| Message::decode(bytes, BodyCheck::Full).unwrap();
    let bytes = read_like(&mut agent, refused);
    assert_eq!(message(&bytes), message(refused));
    // Without the option nobody registers so.
    manager = Manager::start();
    let mut agent = Connection::authenticate(manager.connect()).unwrap();
    let refusal = agent.call(message(register)).unwrap_err();
    assert_eq!(refusal.name, error_name::UNKNOWN_METHOD);
    let call = daemons::bus_call("NameHasOwner", Body::of(&(BUS,)));
    let answer = manager.client.call(call).unwrap();
    assert_eq!(answer.parse(), Ok((false,)));
}

/// An agent that has registered in `BlueChi`'s dialect.
fn agent(manager: &Manager) -> Connection<TcpStream> {
    let mut agent = Connection::authenticate(manager.connect()).unwrap();
    let path = format!("{PATH}/internal");
    let interface = "org.eclipse.bluechi.internal.Controller";
    let register = Message::call(&path, interface, "Register", Body::of(&("bar-2",)));
    agent.call(register.to(BUS)).unwrap();
    agent
}

#[test]
fn both_dialects_see_one_fleet_and_one_failure_spoils_a_list_in_one_of_them() {
    let mut manager = manager();
    let mut agent = agent(&manager);
    assert_eq!(manager.status("bar-2"), "online");
    let mut client = manager.new_client();
    for (call, name) in [
        (
            controller_call("ListUnits", Body::default()),
            Some(error_name::FAILED),
        ),
        (daemons::manager_call("ListUnits", Body::default()), None),
    ] {
        let serial = client.send(call);
        let asked = agent.called("ListUnits");
        assert_eq!(
            (asked.sender.as_str(), asked.interface.as_str()),
            (BUS, AGENT)
        );
        let error = hirte::bus::CallError::new(error_name::FAILED, "no");
        agent.send(Message::error(asked.serial, &error));
        let answer = client.answer(serial);
        assert_eq!(
            answer.as_ref().err().map(|refusal| refusal.name.as_str()),
            name
        );
        if let Err(refusal) = answer {
            assert_eq!(refusal.text, "Request to at least one node failed: no");
        }
    }

    // What the agent says under names of ours is not heard.
    let arguments = Body::of(&("a.service", "replace"));
    let serial = client.send(daemons::node_call("bar-2", "StartUnit", arguments));
    client.watch("type='signal',member='JobRemoved'");
    let start = agent.called("StartUnit");
    agent.send(Message::reply(start.serial, Body::default()));
    client.answer(serial).unwrap();
    let done =
        |interface, result| Message::signal("/a", interface, "JobDone", Body::of(&(1_u32, result)));
    agent.send(done(names::INTERNAL_AGENT_INTERFACE, "failed"));
    agent.send(done(AGENT, "done"));
    let mut senders = Vec::new();
    for _ in 0..2 {
        let removed = client.signal("JobRemoved");
        assert_eq!(removed.kind, Kind::Signal);
        let fields: (u32, ObjectPath, String, String, String) = removed.body.parse().unwrap();
        assert_eq!(fields.4, "done");
        senders.push(removed.interface);
    }
    assert_eq!(senders, [names::MANAGER_INTERFACE, CONTROLLER]);

    // Its proxies are told of their targets in its own names.
    let proxy = ObjectPath(format!("{PATH}/internal/proxy/1"));
    let announced = Body::of(&("nobody", "b.service", proxy.clone()));
    let path = format!("{PATH}/internal/agent");
    agent.send(Message::signal(&path, AGENT, "ProxyNew", announced));
    let told = agent.called("Error");
    assert_eq!(told.interface, "org.eclipse.bluechi.internal.Proxy");
    assert_eq!((told.path, told.destination.as_str()), (proxy.0, BUS));
    assert_eq!(told.body.first_str(), Some("No such node"));

    // Units that have no file are started by agents of ours only, where they are to be a job.
    let (properties, others) = (
        vec![("Description", hirte::bus::Value::Str("d".to_owned()))],
        vec![(
            "b.service",
            vec![("Slice", hirte::bus::Value::Str("s".to_owned()))],
        )],
    );
    let arguments = Body::of(&("t.service", "fail", properties, others));
    let serial = client.send(daemons::node_call(
        "bar-2",
        "StartTransientUnit",
        arguments.clone(),
    ));
    let asked = agent.called("StartTransientUnitJob");
    let error = hirte::bus::CallError::new(error_name::UNKNOWN_METHOD, "Unknown method");
    agent.send(Message::error(asked.serial, &error));
    let refusal = client.answer(serial).unwrap_err();
    assert_eq!(refusal.name, error_name::NOT_SUPPORTED);
    let serial = client.send(node_call("StartTransientUnit", arguments));
    let asked = agent.called("StartTransientUnit");
    let of_systemd = ObjectPath("/org/freedesktop/systemd1/job/7".to_owned());
    agent.send(Message::reply(
        asked.serial,
        Body::of(&(of_systemd.clone(),)),
    ));
    let answer: (ObjectPath,) = client.answer(serial).unwrap().parse().unwrap();
    assert_eq!(answer.0, of_systemd);
}

#[test]
fn heartbeats_reach_an_agent_in_its_names() {
    let manager = Manager::with(&Settings {
        nodes: &["bar-2"],
        config: "CompatBlueChi=yes\nHeartbeatInterval=200ms\n",
        ..Settings::default()
    });
    let heartbeat = agent(&manager).signal("Heartbeat");
    assert_eq!(
        heartbeat.interface,
        "org.eclipse.bluechi.internal.Controller"
    );
    assert_eq!(heartbeat.path, format!("{PATH}/internal"));
    assert_eq!(heartbeat.sender, BUS);
    assert!(heartbeat.body.bytes.is_empty());
}

#[test]
fn busctl_walks_through_the_objects_of_both_dialects() {
    let manager = manager();
    let _agent = agent(&manager);
    for (name, path) in [(BUS, PATH), (names::MANAGER_BUS_NAME, names::MANAGER_PATH)] {
        let output = Command::new("busctl")
            .arg(format!("--address={}", manager.bus.address()))
            .args(["--no-pager", "--list", "tree", name])
            .output()
            .expect("busctl starts");
        let tree = String::from_utf8_lossy(&output.stdout).into_owned();
        let node = format!("{path}/node/bar_2d2");
        assert!(tree.lines().any(|line| line == node), "{tree}{output:?}");
    }
}

/// An installed tree that has the bus policy of `BlueChi`'s name too.
fn install_with_bluechi(folder: &Folder) -> PathBuf {
    let programs = install_tree().join("usr/bin");
    let tree = folder.path("with-bluechi");
    install(&tree, &programs, &["--with-bluechi"]);
    tree
}

/// `BlueChi`'s bindings, as the package index has them: this version with this hash. What of them, or
/// of the libraries that they need, can not be had.
fn bindings() -> Result<PathBuf, String> {
    let modules = Command::new(PYTHON)
        .args(["-c", "import dasbus, gi, pip"])
        .output();
    match modules {
        Ok(output) if output.status.success() => pip::libraries("tests/bluechi/requirements.txt"),
        _ => Err("python3-dasbus, python3-gi and python3-pip".to_owned()),
    }
}

const UNITS: [(&str, &str); 2] = [
    (
        "fails.service",
        "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    ),
    (
        "slow.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sleep 600\n",
    ),
];

/// Runs a program in Python on a node. It must succeed within a minute; what it printed.
fn python(node: &Node, path: &str, arguments: &[&str], source: &str, script: &str) -> String {
    node.write(script, source);
    let mut command = vec!["timeout", "60", "env", path, PYTHON, script];
    command.extend(arguments);
    let output = node.run(&command);
    let journals = guide::journals(node);
    assert!(
        output.success(),
        "{script} {arguments:?}: {output}\n{journals}"
    );
    output.stdout
}

#[test]
fn bluechis_own_bindings_and_a_plain_client_drive_a_fleet() {
    if !lab::require() {
        return;
    }
    let folder = Folder::new();
    let bindings = match bindings() {
        Ok(bindings) => bindings,
        Err(missing) => return lab::leave_out(&missing),
    };
    let lab = Lab::builder("bluechi")
        .layer(install_with_bluechi(&folder))
        .bind(&bindings)
        .build();
    let compat = "[hirte]\nCompatBlueChi=yes\n";
    let prepare = |node: &Node| node.write("/etc/hirte/hirte.conf.d/bluechi.conf", compat);
    let [laptop, rpi4] = guide::first_with(&lab, &guide::Walk { is_shown: false }, prepare);
    for (name, content) in UNITS {
        rpi4.unit(name, content);
    }
    rpi4.systemctl(&["daemon-reload"]);

    let path = format!("PYTHONPATH={}", bindings.display());
    let bindings = include_str!("bluechi/bindings.py");
    let printed = python(&laptop, &path, &[], bindings, "/root/bindings.py");
    assert_eq!(printed, "all is as BlueChi's clients expect it\n");

    a_plain_client_starts_units(&laptop, &rpi4);
    members_of_the_group_look_under_hirtes_name_only(&laptop);
    without_its_policy_the_name_is_refused(&laptop);
}

fn a_plain_client_starts_units(laptop: &Node, rpi4: &Node) {
    rpi4.systemctl(&["stop", "httpd.service"]);
    let client = include_str!("../examples/plain_client.py");
    let script = "/root/plain_client.py";
    let unit = ["rpi4", "httpd.service"];
    let printed = python(laptop, "LC_ALL=C.UTF-8", &unit, client, script);
    for expected in [" starts httpd.service on rpi4\n", " has ended: done\n"] {
        assert!(printed.contains(expected), "{printed}");
    }
    let states = ["inactive (dead), virtual", "active (running), real"];
    let mut told = printed
        .lines()
        .filter_map(|line| line.strip_prefix("httpd.service is "));
    assert!(told.any(|state| states.contains(&state)), "{printed}");

    let fails = laptop.run(&["timeout", "60", PYTHON, script, "rpi4", "fails.service"]);
    assert!(fails.stdout.contains(" has ended: failed\n"), "{fails}");
    assert_eq!(fails.status.code(), Some(1), "{fails}");
    let unknown = laptop.run(&["timeout", "60", PYTHON, script, "nobody", "a.service"]);
    let error = "org.freedesktop.DBus.Error.ServiceUnknown: Node not found\n";
    assert_eq!(unknown.stderr, error, "{unknown}");
}

fn members_of_the_group_look_under_hirtes_name_only(laptop: &Node) {
    laptop.ok(&[
        "useradd",
        "--no-create-home",
        "--groups",
        "hirte",
        "watcher",
    ]);
    // dbus-daemon has read the groups of users that it knows already.
    laptop.systemctl(&["reload", "dbus"]);
    let lists = |name: &str, path: &str, interface: &str| {
        let call = ["busctl", "call", name, path, interface, "ListNodes"];
        let command = ["runuser", "-u", "watcher", "--"];
        laptop.run(&[&command[..], &call].concat())
    };
    let ours = lists(
        names::MANAGER_BUS_NAME,
        names::MANAGER_PATH,
        names::MANAGER_INTERFACE,
    );
    assert!(ours.success(), "{ours}");
    let theirs = lists(BUS, PATH, CONTROLLER);
    assert!(!theirs.success(), "{theirs}");
    let reading = ["runuser", "-u", "watcher", "--", "busctl", "introspect"];
    laptop.ok(&[&reading[..], &[BUS, PATH]].concat());
}

fn without_its_policy_the_name_is_refused(laptop: &Node) {
    let policy = "/usr/share/dbus-1/system.d/org.eclipse.bluechi.conf";
    laptop.ok(&["rm", policy]);
    laptop.systemctl(&["reload", "dbus"]);
    let restarted = laptop.run(&["systemctl", "restart", "hirte"]);
    assert!(!restarted.success(), "{restarted}");
    let reason = "Failed to acquire the bus name org.eclipse.bluechi";
    laptop.wait_journal("hirte.service", reason, Duration::from_secs(10));
    let remedy = "data/install --with-bluechi";
    laptop.wait_journal("hirte.service", remedy, Duration::from_secs(10));
}
