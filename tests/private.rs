//! The private socket: the public API without a message bus. A real manager on a bus of its own,
//! and then on a real systemd node whose bus comes and goes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "support/bus.rs"]
mod bus;
mod daemons;
mod lab;

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Command, Output},
    time::Duration,
};

use daemons::{Connection, Manager, SOON, install_tree, manager_call, program, within};
use hirte::{
    bus::{Body, Message, error_name, names},
    core::Now,
    limits,
    manager::state::{
        Settings, State,
        event::{Action, Event},
    },
};
use lab::{Lab, Node};

const PATIENCE: Duration = Duration::from_secs(30);

fn text(output: &Output) -> String {
    let (stdout, stderr) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(stdout).into_owned() + &String::from_utf8_lossy(stderr)
}

fn busctl(manager: &Manager, arguments: &[&str]) -> String {
    let address = format!("--address=unix:path={}", manager.private_socket().display());
    let output = Command::new("busctl")
        .args([&address, "--no-pager"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

#[test]
fn clients_need_no_bus() {
    let mut manager = Manager::start();
    let socket = manager.private_socket();
    let mode = socket.metadata().unwrap().permissions().mode() & 0o7777;
    assert!(mode == 0o660 || mode == 0o600, "{mode:o}");

    // As on a bus, and as without one: no Hello, no destination, no match rules.
    let mut like_bus = Connection::to_bus(&socket);
    let mut plain = Connection::authenticate(UnixStream::connect(&socket).unwrap()).unwrap();
    like_bus.watch("type='signal'");
    let (echo,): (String,) = like_bus
        .call(manager_call("Ping", Body::of(&("well",))))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(echo, "well");
    let agent = manager.agent("rpi4");
    for client in [&mut like_bus, &mut plain] {
        let online = client.signal("NodeConnectionStateChanged");
        let told: (String, String) = online.body.parse().unwrap();
        assert_eq!(told, ("rpi4".to_owned(), "online".to_owned()));
        assert_eq!(online.sender, ":1.0");
        assert_eq!(client.node_status("rpi4").unwrap(), "online");
    }
    let mut call = manager_call("ListNodes", Body::default());
    call.destination.clear();
    assert_eq!(plain.call(call).unwrap().signature, "a(sos)");
    let machine = Message::call("/", names::PEER_INTERFACE, "GetMachineId", Body::default());
    assert_eq!(plain.call(machine).unwrap().signature, "s");
    let unknown = plain
        .call(manager_call("Fly", Body::default()))
        .unwrap_err();
    assert_eq!(unknown.name, error_name::UNKNOWN_METHOD);

    // libsystemd and zbus take it for a bus.
    let tree = busctl(&manager, &["tree", "--list", names::MANAGER_BUS_NAME]);
    assert!(tree.contains("/org/containers/hirte/node/rpi4"), "{tree}");
    let (name, path) = (names::MANAGER_BUS_NAME, names::MANAGER_PATH);
    let shown = busctl(&manager, &["introspect", name, path]);
    for part in ["org.containers.hirte.Manager", ".ListNodes", "\"degraded\""] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let hirtectl = Command::new(program("hirtectl"))
        .arg("list-nodes")
        .env(
            "DBUS_SYSTEM_BUS_ADDRESS",
            format!("unix:path={}", socket.display()),
        )
        .output()
        .unwrap();
    assert!(text(&hirtectl).contains("rpi4   online"), "{hirtectl:?}");

    drop((agent, like_bus, plain));
    manager.assert_well();
    assert_eq!(manager.end().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn nobody_gets_in_by_claims_and_one_that_does_not_read_goes() {
    let mut manager = Manager::start();
    let socket = manager.private_socket();
    // Another user's number, and nobody in particular.
    for claim in ["AUTH EXTERNAL 3939393939", "AUTH ANONYMOUS 00"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "\0{claim}\r\n").unwrap();
        let mut answer = [0; "REJECTED EXTERNAL\r\n".len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"REJECTED EXTERNAL\r\n", "{claim}");
        stream.write_all(b"BEGIN\r\n").unwrap();
        assert_eq!(stream.read(&mut answer).unwrap(), 0, "{claim}");
    }
    let mut deaf = Connection::to_bus(&socket);
    let long = "x".repeat(limits::MAX_MESSAGE_FROM_CLIENT - 1024);
    let calls = 2 * limits::MAX_QUEUED_TO_CLIENT / long.len();
    for _ in 0..calls {
        let ping = manager_call("Ping", Body::of(&(long.as_str(),)));
        if deaf.try_send(ping).is_err() {
            break;
        }
    }
    within(SOON, "it is closed", || {
        manager.log().contains("the other side does not read")
    });
    manager.ping();
    let mut huge = Connection::to_bus(&socket);
    let longer = long + &"x".repeat(2048);
    let _ = huge.try_send(manager_call("Ping", Body::of(&(longer.as_str(),))));
    huge.wait_closed(SOON);

    // More than the most that there may be.
    let clients: Vec<_> = (0..limits::MAX_PRIVATE_CLIENTS)
        .map(|_| Connection::to_bus(&socket))
        .collect();
    let mut one_more = UnixStream::connect(&socket).unwrap();
    one_more.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(one_more.read(&mut [0]).unwrap(), 0);
    drop(clients);
    within(SOON, "there is room again", || {
        let stream = UnixStream::connect(&socket).unwrap();
        let mut client = stream;
        client.set_read_timeout(Some(SOON)).unwrap();
        let _ = client.write_all(b"\0AUTH EXTERNAL\r\n");
        client.read(&mut [0]).is_ok_and(|read| read == 1)
    });
    drop(deaf);
    manager.assert_well();
}

#[test]
fn what_waits_for_all_clients_together_is_bounded() {
    let mut manager = Manager::start();
    let socket = manager.private_socket();
    let long = "x".repeat(limits::MAX_MESSAGE_FROM_CLIENT - 1024);
    // For each of them less waits than is allowed to one.
    let calls = limits::MAX_QUEUED_TO_CLIENT / long.len() / 2;
    let count = 3 * limits::MAX_QUEUED_TO_CLIENTS / (calls * long.len());
    let mut deaf = Vec::new();
    for _ in 0..count {
        let mut client = Connection::to_bus(&socket);
        for _ in 0..calls {
            let _ = client.try_send(manager_call("Ping", Body::of(&(long.as_str(),))));
        }
        deaf.push(client);
    }
    manager.ping();
    let bound = limits::MAX_QUEUED_TO_CLIENTS + 2 * limits::MAX_QUEUED_TO_CLIENT;
    let (idle, used) = (manager.idle_memory_kb, manager.memory_kb());
    println!("{count} clients that do not read: {used} kB, {idle} kB without");
    assert!(used < idle + bound as u64 / 1024, "{used} kB");
    assert!(manager.log().contains("the other side does not read"));
    drop(deaf);
    manager.assert_well();
}

#[test]
fn the_socket_has_one_manager_and_outlives_the_bus() {
    let mut manager = Manager::start();
    let (status, log) = manager.run_rival(&manager.runtime_folder());
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains("private: another manager serves on it"),
        "{log}"
    );

    let mut client = Connection::to_bus(&manager.private_socket());
    let monitor = client.call(manager_call("CreateMonitor", Body::default()));
    assert_eq!(monitor.unwrap().signature, "o");
    manager.bus = bus::Bus::start();
    within(SOON, "the bus is missed", || {
        manager.log().contains("No connection to the bus")
    });
    let mut agent = manager.agent("rpi4");
    client.signal("NodeConnectionStateChanged");
    let subscribe = Message::call(
        "/org/containers/hirte/monitor/1",
        names::MONITOR_INTERFACE,
        "Subscribe",
        Body::of(&("rpi4", "a.service")),
    );
    client.call(subscribe.clone()).unwrap();
    agent.called("ListUnits");
    // It ends with its connection.
    drop(client);
    let mut another = Connection::to_bus(&manager.private_socket());
    within(SOON, "the monitor ends", || {
        let answer = another.call(subscribe.clone());
        answer.is_err_and(|refused| refused.name == error_name::UNKNOWN_OBJECT)
    });
}

/// A node of which all of hirte runs.
fn node(lab: &Lab) -> Node {
    let laptop = lab.node("laptop", "192.168.42.10");
    laptop.write(
        "/etc/hirte/hirte.conf",
        "[hirte]\nManagerPort=2020\nAllowedNodeNames=laptop\n",
    );
    laptop.write(
        "/etc/hirte/agent.conf",
        "[hirte-agent]\nNodeName=laptop\nManagerHost=127.0.0.1\nManagerPort=2020\n",
    );
    laptop.write(
        "/etc/systemd/system/hirte.service.d/record.conf",
        "[Service]\nEnvironment=HIRTE_RECORD=/var/lib/hirte/record\n",
    );
    laptop.write(
        "/etc/systemd/system/quick.service",
        "[Service]\nType=oneshot\nExecStart=true\n",
    );
    laptop.write(
        "/etc/systemd/system/gated.service",
        "[Service]\nType=oneshot\nExecStart=sh -c 'until [ -e /run/gate ]; do sleep 0.05; done'\n",
    );
    lab.boot_all();
    laptop
}

fn expect(node: &Node, command: &str, status: i32, output: &str) {
    let found = node.sh(command);
    let text = format!("{}{}", found.stdout, found.stderr);
    assert!(
        found.status.code() == Some(status) && text.contains(output),
        "# {command}\nexpected status {status} and '{output}'\n{found}\n{}",
        node.journal("hirte.service")
    );
}

/// Another user, with these supplementary groups.
fn as_nobody(groups: &str, command: &str) -> String {
    format!("setpriv --reuid=65534 --regid=65534 {groups} {command}")
}

#[test]
fn a_node_is_controlled_before_during_and_after_its_bus() {
    if !lab::require() {
        return;
    }
    let lab = Lab::builder("private").layer(install_tree()).build();
    let laptop = node(&lab);
    let bus_units = "dbus.socket dbus.service";
    expect(
        &laptop,
        &format!("systemctl mask --runtime --now {bus_units}"),
        0,
        "",
    );
    expect(&laptop, "busctl list", 1, "");
    // systemd is told that they are up.
    laptop.systemctl(&["start", "hirte", "hirte-agent"]);
    lab::eventually(PATIENCE, "the node is online without a bus", || {
        laptop.sh("hirtectl list-nodes").stdout.contains("online")
    });
    expect(&laptop, "hirtectl start laptop quick.service", 0, "done");
    expect(
        &laptop,
        "hirtectl start laptop nope.service",
        5,
        "not found",
    );
    laptop.wait_journal("hirte.service", "private connection", PATIENCE);
    expect(
        &laptop,
        "stat -c '%a %U %G' /run/hirte/private",
        0,
        "660 root hirte",
    );
    let busctl = "busctl --no-pager --address=unix:path=/run/hirte/private";
    let object = "org.containers.hirte /org/containers/hirte";
    expect(
        &laptop,
        &format!("{busctl} introspect {object}"),
        0,
        ".ListNodes",
    );

    who_may_what(&laptop);

    // A job that is asked for without a bus goes on while the bus comes, goes and comes again.
    let job = laptop.spawn(&["hirtectl", "start", "laptop", "gated.service"]);
    expect(
        &laptop,
        &format!("systemctl unmask --runtime {bus_units}"),
        0,
        "",
    );
    laptop.systemctl(&["start", "dbus.socket"]);
    laptop.wait_journal("hirte.service", "Acquired the bus name", PATIENCE);
    let ping = format!("busctl call {object} org.containers.hirte.Manager Ping s well");
    expect(&laptop, &ping, 0, "s \"well\"");
    laptop.systemctl(&["restart", "dbus.service"]);
    lab::eventually(PATIENCE, "the manager is on the new bus", || {
        laptop.sh(&ping).success()
    });
    expect(&laptop, "hirtectl list-nodes", 0, "online");
    // A service that has the group by its unit alone.
    let unit = "systemd-run --quiet --wait --pipe -p User=65534 -p SupplementaryGroups=hirte";
    expect(&laptop, &format!("{unit} hirtectl list-nodes"), 0, "online");
    expect(&laptop, "touch /run/gate", 0, "");
    let ended = job.wait(PATIENCE);
    assert!(
        ended.success() && ended.stdout.contains("result: done"),
        "{ended}"
    );

    replays(&laptop);
    fallbacks(&laptop, &ping);
}

fn who_may_what(laptop: &Node) {
    let group = laptop.sh("getent group hirte | cut -d: -f3").stdout;
    let groups = format!("--groups={}", group.trim());
    let member = |command: &str| as_nobody(&groups, command);
    expect(laptop, &member("hirtectl list-nodes"), 0, "online");
    expect(
        laptop,
        &member("hirtectl list-units laptop"),
        0,
        "hirte.service",
    );
    let denied = "Members of group hirte may list, read and monitor";
    expect(
        laptop,
        &member("hirtectl start laptop quick.service"),
        1,
        denied,
    );
    expect(laptop, &member("hirtectl daemon-reload laptop"), 1, denied);
    let stranger = as_nobody("--clear-groups", "hirtectl list-nodes");
    let tried = "Can not reach the manager: /run/hirte/private: Permission denied (os error 13); \
                 system bus: ";
    expect(laptop, &stranger, 3, tried);
}

/// The socket goes with the manager; what a killed one leaves is in nobody's way.
fn fallbacks(laptop: &Node, ping: &str) {
    expect(laptop, "test -e /run/hirte/private", 1, "");
    expect(laptop, "hirtectl list-nodes", 3, "No manager owns the name");
    laptop.systemctl(&["start", "hirte"]);
    expect(laptop, "systemctl kill --signal=KILL hirte", 0, "");
    lab::eventually(PATIENCE, "hirte is started again", || {
        laptop.sh("hirtectl list-nodes").success()
    });
    // Without the group the socket is for root only, and the bus for everybody as before.
    expect(laptop, "sed -i /^hirte:/d /etc/group", 0, "");
    laptop.systemctl(&["restart", "hirte"]);
    laptop.wait_journal("hirte.service", "is for root only", PATIENCE);
    expect(
        laptop,
        "stat -c '%a %U %G' /run/hirte/private",
        0,
        "600 root root",
    );
    expect(laptop, "hirtectl list-nodes", 0, "laptop");
    // Where there is no private socket the bus is taken.
    expect(laptop, "rm /run/hirte/private", 0, "");
    lab::eventually(PATIENCE, "the manager has its name", || {
        laptop.sh(ping).success()
    });
    expect(laptop, "hirtectl list-nodes", 0, "laptop");
}

/// The recorded run, private connections included, is replayed exactly.
fn replays(laptop: &Node) {
    laptop.systemctl(&["stop", "hirte"]);
    let recording = laptop.read("/var/lib/hirte/record");
    let mut lines = recording.lines();
    let (_, settings, _): (Now, Settings, Vec<Action>) = line(lines.next().unwrap());
    let mut state = State::new(settings);
    for text in lines {
        let (now, event, actions): (Now, Event, Vec<Action>) = line(text);
        let mut replayed = Vec::new();
        state.handle(now, event, &mut replayed);
        assert_eq!(replayed, actions, "{text}");
    }
    for event in [
        "PrivateConnected",
        "PrivateClosed",
        "AccessDenied",
        "BusLost",
    ] {
        assert!(recording.contains(event), "no {event}");
    }
}

fn line<E: serde::de::DeserializeOwned>(text: &str) -> (Now, E, Vec<Action>) {
    let mut line: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut part = |name: &str| line[name].take();
    let (now, event, actions) = (part("now"), part("event"), part("actions"));
    (
        serde_json::from_value(now).unwrap(),
        serde_json::from_value(event).unwrap(),
        serde_json::from_value(actions).unwrap(),
    )
}
