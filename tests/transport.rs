//! How agents reach the manager, on real systemd nodes: addresses of both families, names, Unix
//! sockets, sockets that systemd passed; and the agent of a user.
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
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use daemons::{Manager, Settings, install_tree};
use hirte::bus::names;
use lab::{Lab, Node, eventually};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use socket2::SockRef;

/// For whatever has no promised time: systemd starts services, attempts to connect fail first.
const PATIENCE: Duration = Duration::from_secs(30);
/// A daemon answers systemd at once, whatever else it waits for.
const PROMPT: Duration = Duration::from_secs(4);

const SOCKET: &str = "/run/hirte/hirte-agent.sock";
const QUICK: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n";

fn new_lab(name: &str) -> Lab {
    Lab::builder(name).layer(install_tree()).build()
}

fn configure_manager(node: &Node, lines: &str) {
    let common = "[hirte]\nAllowedNodeNames=laptop,rpi4,rpi4-driver\n";
    let nodes = "[node rpi4-driver]\nAllowDependenciesOn=rpi4\n\
        [node rpi4]\nAllowDependenciesOn=rpi4-driver\n";
    node.write("/etc/hirte/hirte.conf", format!("{common}{lines}{nodes}"));
}

fn configure_agent(node: &Node, lines: &str) {
    let file = format!("[hirte-agent]\nNodeName={}\n{lines}", node.name());
    node.write("/etc/hirte/agent.conf", file);
}

fn restart(node: &Node, unit: &str) {
    node.systemctl(&["restart", unit]);
}

/// Kills the manager, which leaves its socket behind, and waits until systemd has started another.
fn crash_manager(node: &Node) {
    let before = node.pid_of("hirte");
    node.kill("hirte", "KILL");
    eventually(PATIENCE, "another manager runs", || {
        node.pid_of("hirte").is_some_and(|pid| Some(pid) != before)
    });
}

/// Starts the agent anew and waits until it is connected.
fn reconnect(node: &Node) {
    let connections = || {
        node.journal("hirte-agent")
            .matches("Connected to manager")
            .count()
    };
    let before = connections();
    restart(node, "hirte-agent");
    eventually(PATIENCE, "the agent is connected", || {
        connections() > before
    });
}

/// A property of a node, as the manager on `manager` tells it.
fn property(manager: &Node, node: &str, name: &str) -> String {
    let path = names::node_path(node);
    let get = [
        "busctl",
        "--json=short",
        "get-property",
        "org.containers.hirte",
        &path,
        "org.containers.hirte.Node",
        name,
    ];
    let output = manager.run(&get).stdout;
    let value: serde_json::Value = serde_json::from_str(&output).unwrap_or_default();
    value["data"].as_str().unwrap_or("(none)").to_owned()
}

fn wait_status(manager: &Node, node: &str, status: &str) {
    eventually(PATIENCE, &format!("{node} is {status}"), || {
        property(manager, node, "Status") == status
    });
}

/// Waits until a node is online, connected from this address.
fn wait_online_from(manager: &Node, node: &str, address: &str) {
    eventually(
        PATIENCE,
        &format!("{node} is online from {address:?}"),
        || {
            property(manager, node, "Status") == "online"
                && property(manager, node, "PeerIp") == address
        },
    );
}

/// The local addresses on which the manager of a node listens.
fn listens_on(node: &Node) -> Vec<String> {
    let lines = node.ok(&["ss", "--no-header", "-tlnp"]);
    let mut addresses: Vec<String> = lines
        .lines()
        .filter(|line| line.contains("\"hirte\""))
        .map(|line| line.split_whitespace().nth(3).unwrap().to_owned())
        .collect();
    addresses.sort();
    addresses
}

/// Asks the agent to read its configuration again, and waits until it says that it did.
fn reload_agent(node: &Node) -> Duration {
    let count = || node.journal("hirte-agent").matches("Reloaded the").count();
    let (before, begun) = (count(), Instant::now());
    node.systemctl(&["kill", "--signal=HUP", "hirte-agent"]);
    eventually(PATIENCE, "the agent reloads", || count() > before);
    begun.elapsed()
}

#[test]
fn a_fleet_of_ipv6_nodes() {
    if !lab::require() {
        return;
    }
    let lab = new_lab("ipv6");
    let [laptop, rpi4] = lab.boot(&[("laptop", "fd00::10"), ("rpi4", "fd00::15")]);
    let link_local = |node: &Node| {
        let show = [
            "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link",
        ];
        let mut line = String::new();
        eventually(PATIENCE, "the address is known to be unique", || {
            line = node.ok(&show);
            !line.is_empty() && !line.contains("tentative")
        });
        let address = line.split_whitespace().nth(3).unwrap();
        address.split('/').next().unwrap().to_owned()
    };
    let (laptop_link, rpi4_link) = (link_local(&laptop), link_local(&rpi4));

    configure_manager(&laptop, "ManagerPort=2020\n");
    restart(&laptop, "hirte");
    for (host, seen) in [
        ("fd00::10", "fd00::15"),
        ("[fd00::10]", "fd00::15"),
        ("laptop", "fd00::15"),
        (&*format!("{laptop_link}%eth0"), &*rpi4_link),
    ] {
        configure_agent(&rpi4, &format!("ManagerHost={host}\nManagerPort=2020\n"));
        reconnect(&rpi4);
        wait_online_from(&laptop, "rpi4", seen);
    }
    for host in ["fd00::10", &format!("{laptop_link}%eth0")] {
        let address = format!("tcp:host={host},port=2020");
        configure_agent(&rpi4, &format!("ManagerAddress={address}\n"));
        reconnect(&rpi4);
        let is_link = host.contains('%');
        let seen = if is_link { &*rpi4_link } else { "fd00::15" };
        wait_online_from(&laptop, "rpi4", seen);
    }

    // One address with its interface, and one that no node has yet.
    let addresses = format!("ListenAddress=[{laptop_link}%eth0], fd00::77\n");
    configure_manager(&laptop, &format!("ManagerPort=2020\n{addresses}"));
    restart(&laptop, "hirte");
    wait_online_from(&laptop, "rpi4", &rpi4_link);
    let expected = [
        format!("[{laptop_link}]%eth0:2020"),
        "[fd00::77]:2020".to_owned(),
    ];
    assert_eq!(listens_on(&laptop).len(), 2, "{:?}", listens_on(&laptop));
    for address in expected {
        assert!(listens_on(&laptop).contains(&address), "{address}");
    }
    laptop.ok(&["ip", "addr", "add", "fd00::77/64", "dev", "eth0", "nodad"]);
    configure_agent(&rpi4, "ManagerHost=fd00::77\nManagerPort=2020\n");
    reconnect(&rpi4);
    wait_online_from(&laptop, "rpi4", "fd00::15");
}

#[test]
fn addresses_and_names_of_the_manager() {
    if !lab::require() {
        return;
    }
    let lab = new_lab("names");
    let [laptop, rpi4] = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
    configure_manager(&laptop, "ManagerPort=2020\n");
    restart(&laptop, "hirte");
    the_address_of_the_command_line_outlives_a_manager(&laptop, &rpi4);
    live_connections_have_the_configured_settings(&laptop, &rpi4);
    names_are_looked_up_at_each_attempt(&laptop, &rpi4);
    a_kernel_without_ipv6_is_served(&laptop);
}

fn the_address_of_the_command_line_outlives_a_manager(laptop: &Node, rpi4: &Node) {
    let command = "[Service]\nExecStart=\nExecStart=hirte-agent -n rpi4 -a tcp:host=192.168.42.10,port=2020\n";
    let drop_in = "/etc/systemd/system/hirte-agent.service.d/address.conf";
    rpi4.write(drop_in, command);
    rpi4.systemctl(&["daemon-reload"]);
    reconnect(rpi4);
    wait_online_from(laptop, "rpi4", "192.168.42.15");
    for _ in 0..2 {
        crash_manager(laptop);
        wait_online_from(laptop, "rpi4", "192.168.42.15");
    }
    laptop.systemctl(&["stop", "hirte"]);
    rpi4.wait_journal("hirte-agent", "Connecting to manager failed", PATIENCE);
    laptop.systemctl(&["start", "hirte"]);
    wait_online_from(laptop, "rpi4", "192.168.42.15");
    rpi4.ok(&["rm", drop_in]);
    rpi4.systemctl(&["daemon-reload"]);
}

fn live_connections_have_the_configured_settings(laptop: &Node, rpi4: &Node) {
    let manager = "TCPKeepAliveTime=11\nTCPKeepAliveInterval=12\nTCPKeepAliveCount=13\n\
        TCPUserTimeout=14s\n";
    let agent = "TCPKeepAliveTime=21\nTCPKeepAliveInterval=22\nTCPKeepAliveCount=23\n\
        TCPUserTimeout=24500ms\nManagerHost=192.168.42.10\nManagerPort=2020\n";
    configure_manager(laptop, &format!("ManagerPort=2020\n{manager}"));
    configure_agent(rpi4, agent);
    restart(rpi4, "hirte-agent");
    restart(laptop, "hirte");
    wait_online_from(laptop, "rpi4", "192.168.42.15");
    assert_eq!(settings_of(laptop, "hirte"), [11_000, 12_000, 13, 14_000]);
    assert_eq!(
        settings_of(rpi4, "hirte-agent"),
        [21_000, 22_000, 23, 24_500]
    );
    let timers = rpi4.ok(&["ss", "-tno", "dport", "=", ":2020"]);
    assert!(timers.contains("keepalive"), "{timers}");
}

/// Idle time and interval of keepalive in milliseconds, its count, and `TCP_USER_TIMEOUT` in
/// milliseconds, of the one TCP connection of a daemon.
fn settings_of(node: &Node, unit: &str) -> [u128; 4] {
    let socket = connected_socket(node, unit);
    let socket = SockRef::from(&socket);
    assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
    [
        socket.tcp_keepalive_time().unwrap().as_millis(),
        socket.tcp_keepalive_interval().unwrap().as_millis(),
        socket.tcp_keepalive_retries().unwrap().into(),
        socket.tcp_user_timeout().unwrap().unwrap().as_millis(),
    ]
}

/// A copy of the descriptor of a daemon's TCP connection.
fn connected_socket(node: &Node, unit: &str) -> OwnedFd {
    let pid = outer_pid(node, node.pid_of(unit).unwrap());
    let process = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let process = pidfd_open(process, PidfdFlags::empty()).unwrap();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    descriptors
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter_map(|fd| pidfd_getfd(process.as_fd(), fd, PidfdGetfdFlags::empty()).ok())
        .find(|copy| {
            let address = SockRef::from(copy).peer_addr();
            address.is_ok_and(|address| address.as_socket().is_some())
        })
        .expect("a connection")
}

/// The number that a process of a node has outside of the node.
fn outer_pid(node: &Node, inner: u32) -> u32 {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(node.pid().unwrap());
    let numbers = fs::read_dir("/proc").unwrap();
    numbers
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .find(|&pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let own = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let own = own.and_then(|pids| pids.split_whitespace().next_back());
            own == Some(&*inner.to_string()) && namespace(pid) == wanted
        })
        .expect("the process is there")
}

fn names_are_looked_up_at_each_attempt(laptop: &Node, rpi4: &Node) {
    let hosts = |lines: &str| rpi4.write("/etc/hosts", format!("127.0.0.1 localhost\n{lines}"));
    // Nobody answers where the name leads first.
    hosts("192.168.42.99 manager.example\n");
    configure_agent(rpi4, "ManagerHost=manager.example\nManagerPort=2020\n");
    restart(rpi4, "hirte-agent");
    rpi4.wait_journal("hirte-agent", "192.168.42.99:2020: ", PATIENCE);
    hosts("192.168.42.10 manager.example\n");
    wait_online_from(laptop, "rpi4", "192.168.42.15");

    // The second address is tried after the first.
    hosts("192.168.42.98 manager.example\n192.168.42.10 manager.example\n");
    restart(laptop, "hirte");
    wait_online_from(laptop, "rpi4", "192.168.42.15");

    // What a reload can not take over is named.
    configure_agent(
        rpi4,
        "ManagerHost=manager.example\nManagerPort=2021\nHeartbeatInterval=3s\n",
    );
    reload_agent(rpi4);
    let text = "Not reloaded, as it needs a restart of hirte-agent: ManagerPort";
    rpi4.wait_journal("hirte-agent", text, PATIENCE);
    configure_agent(rpi4, "ManagerHost=manager.example\nManagerPort=2020\n");

    // A look-up that nobody answers: the loop goes on, and a later look-up succeeds.
    hosts("");
    rpi4.write(
        "/etc/resolv.conf",
        "nameserver 192.168.42.99\noptions timeout:8 attempts:1\n",
    );
    restart(rpi4, "hirte-agent");
    let took = reload_agent(rpi4);
    assert!(took < PROMPT, "{took:?}");
    let journal = rpi4.journal("hirte-agent");
    let latest = journal.rsplit("Starting hirte-agent").next().unwrap();
    assert!(!latest.contains("failed"), "{latest}");
    rpi4.wait_journal("hirte-agent", "manager.example: ", PATIENCE);
    hosts("192.168.42.10 manager.example\n");
    wait_online_from(laptop, "rpi4", "192.168.42.15");
}

fn a_kernel_without_ipv6_is_served(laptop: &Node) {
    assert_eq!(listens_on(laptop), ["*:2020"]);
    let drop_in = "/etc/systemd/system/hirte.service.d/ipv4.conf";
    laptop.write(
        drop_in,
        "[Service]\nRestrictAddressFamilies=\nRestrictAddressFamilies=AF_INET AF_UNIX\n",
    );
    laptop.systemctl(&["daemon-reload"]);
    restart(laptop, "hirte");
    assert_eq!(listens_on(laptop), ["0.0.0.0:2020"]);
    wait_online_from(laptop, "rpi4", "192.168.42.15");
    laptop.ok(&["rm", drop_in]);
    laptop.systemctl(&["daemon-reload"]);
    // IPv6 is known, and switched off.
    laptop.ok(&["sysctl", "-q", "net.ipv6.conf.all.disable_ipv6=1"]);
    restart(laptop, "hirte");
    wait_online_from(laptop, "rpi4", "192.168.42.15");
    configure_manager(laptop, "ManagerPort=2020\nListenAddress=0.0.0.0\n");
    restart(laptop, "hirte");
    assert_eq!(listens_on(laptop), ["0.0.0.0:2020"]);
    wait_online_from(laptop, "rpi4", "192.168.42.15");
}

#[test]
fn unix_sockets_and_sockets_of_systemd() {
    if !lab::require() {
        return;
    }
    let lab = new_lab("sockets");
    let [laptop, rpi4] = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
    configure_agent(&laptop, &format!("ManagerAddress=unix:path={SOCKET}\n"));
    configure_agent(&rpi4, "ManagerHost=192.168.42.10\n");
    for node in [&laptop, &rpi4] {
        restart(node, "hirte-agent");
    }
    an_agent_by_the_unix_socket(&laptop);
    the_unix_socket_is_for_root(&laptop);
    sockets_of_systemd_are_served_beside_our_own(&laptop, &rpi4);
}

fn exists(node: &Node, path: &str) -> bool {
    node.run(&["test", "-S", path]).success()
}

fn an_agent_by_the_unix_socket(laptop: &Node) {
    configure_manager(laptop, "UseTCP=no\n");
    restart(laptop, "hirte");
    wait_online_from(laptop, "laptop", "");
    assert_eq!(listens_on(laptop), [""; 0]);
    laptop.systemctl(&["kill", "--signal=STOP", "hirte-agent"]);
    laptop.systemctl(&["stop", "hirte"]);
    assert!(!exists(laptop, SOCKET));
    laptop.systemctl(&["start", "hirte"]);
    laptop.systemctl(&["kill", "--signal=CONT", "hirte-agent"]);
    wait_online_from(laptop, "laptop", "");
    crash_manager(laptop);
    wait_online_from(laptop, "laptop", "");

    configure_manager(laptop, "UseTCP=no\nUseUDS=no\n");
    assert!(!laptop.run(&["systemctl", "restart", "hirte"]).success());
    laptop.wait_journal("hirte", "Nothing to listen on", PATIENCE);
    laptop.systemctl(&["stop", "hirte"]);
}

fn the_unix_socket_is_for_root(laptop: &Node) {
    configure_manager(laptop, "");
    restart(laptop, "hirte");
    let address = format!("--address=unix:path={SOCKET}");
    let path = names::INTERNAL_MANAGER_PATH;
    let interface = names::PEER_INTERFACE;
    let call = ["busctl", &address, "call", "x.y", path, interface, "Ping"];
    assert!(laptop.run(&call).success());
    let nobody = ["setpriv", "--reuid=65534", "--clear-groups"];
    let as_nobody = [&nobody[..], &call].concat();
    let refused = laptop.run(&as_nobody);
    assert!(refused.stderr.contains("Permission denied"), "{refused}");
    laptop.ok(&["chmod", "666", SOCKET]);
    assert!(!laptop.run(&as_nobody).success());
    let text = "Connection from a process of uid 65534 refused";
    laptop.wait_journal("hirte", text, PATIENCE);
}

fn sockets_of_systemd_are_served_beside_our_own(laptop: &Node, rpi4: &Node) {
    // The port of the configuration, passed: the agent's connection starts the manager.
    laptop.systemctl(&["stop", "hirte"]);
    laptop.systemctl(&["start", "hirte.socket"]);
    wait_status(laptop, "rpi4", "online");
    wait_status(laptop, "laptop", "online");
    assert_eq!(listens_on(laptop), ["*:842"]);
    let log = laptop.journal("hirte");
    assert!(log.contains("Listening on [::]:842, passed by systemd"));

    // Two more that are passed, beside two of our own.
    let sockets = "[Socket]\nListenStream=192.168.42.10:843\nListenStream=/run/agents.sock\n";
    laptop.write("/etc/systemd/system/hirte.socket.d/more.conf", sockets);
    laptop.systemctl(&["daemon-reload"]);
    // Not at once: until the socket is gone, a connection of an agent starts the manager again.
    laptop.systemctl(&["stop", "hirte.socket"]);
    laptop.systemctl(&["stop", "hirte.service"]);
    configure_manager(laptop, "ManagerPort=2020\n");
    laptop.systemctl(&["start", "hirte.socket"]);
    laptop.systemctl(&["start", "hirte.service"]);
    assert_eq!(listens_on(laptop), ["*:2020", "*:842", "192.168.42.10:843"]);
    assert!(exists(laptop, SOCKET) && exists(laptop, "/run/agents.sock"));
    wait_online_from(laptop, "laptop", "");
    for port in [842, 843, 2020] {
        let place = format!("ManagerHost=192.168.42.10\nManagerPort={port}\n");
        configure_agent(rpi4, &place);
        reconnect(rpi4);
        wait_online_from(laptop, "rpi4", "192.168.42.15");
    }
    configure_agent(laptop, "ManagerAddress=unix:path=/run/agents.sock\n");
    reconnect(laptop);
    wait_online_from(laptop, "laptop", "");
    restart(laptop, "hirte");
    wait_online_from(laptop, "laptop", "");
    assert!(exists(laptop, "/run/agents.sock"));
}

/// Stands for logind, which only makes the runtime folder of the user.
const RUNTIME_FOLDER: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\n\
    ExecStart=install -d -m 0700 -o %i /run/user/%i\n";
/// What PAM would set for the user.
const USER_MANAGER: &str = "[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n";
const USER_AGENT: &str = "[Service]\nExecStart=\n\
    ExecStart=/usr/bin/hirte-agent --user -n rpi4-driver\n";

#[test]
fn an_agent_controls_the_systemd_of_its_user() {
    if !lab::require() {
        return;
    }
    let lab = new_lab("user");
    let node = lab.node("rpi4", "192.168.42.15");
    configure_manager(&node, "");
    configure_agent(&node, "ManagerHost=127.0.0.1\n");
    node.write(
        "/etc/systemd/system/user-runtime-dir@.service",
        RUNTIME_FOLDER,
    );
    node.write("/etc/systemd/system/user@.service.d/lab.conf", USER_MANAGER);
    node.write("/etc/systemd/user/quick.service", QUICK);
    node.write(
        "/etc/systemd/user/hirte-agent.service.d/name.conf",
        USER_AGENT,
    );
    node.boot();
    node.ok(&["useradd", "--create-home", "--uid=4711", "driver"]);
    node.systemctl(&["start", "hirte", "hirte-agent", "user@4711"]);
    let as_user = |command: &[&str]| {
        let user = [
            "setpriv",
            "--reuid=4711",
            "--regid=4711",
            "--clear-groups",
            "env",
            "XDG_RUNTIME_DIR=/run/user/4711",
            "HOME=/home/driver",
        ];
        node.run(&[&user, command].concat())
    };
    let enabled = as_user(&["systemctl", "--user", "enable", "--now", "hirte-agent"]);
    assert!(enabled.success(), "{enabled}");
    wait_status(&node, "rpi4", "online");
    wait_status(&node, "rpi4-driver", "online");
    node.ok(&["hirtectl", "start", "rpi4-driver", "quick.service"]);
    let active = as_user(&["systemctl", "--user", "is-active", "quick.service"]);
    assert_eq!(active.stdout.trim(), "active", "{active}");
    let of_machine = node.run(&["hirtectl", "start", "rpi4", "quick.service"]);
    assert!(!of_machine.success(), "{of_machine}");
    let units = node.ok(&["hirtectl", "list-units", "rpi4-driver"]);
    assert!(units.contains("default.target"), "{units}");

    units_of_machine_and_user_need_each_other(&node, &as_user);

    let lost = as_user(&["env", "-u", "XDG_RUNTIME_DIR", "hirte-agent", "-u"]);
    assert_eq!(lost.status.code(), Some(1));
    assert!(
        lost.stderr.contains("--user needs XDG_RUNTIME_DIR"),
        "{lost}"
    );
}

/// A service that needs one of another node, with which it ends.
fn needs(proxy: &str) -> String {
    format!(
        "[Unit]\nBindsTo=hirte-proxy@{proxy}.service\nAfter=hirte-proxy@{proxy}.service\n\
         [Service]\nExecStart=sleep infinity\n"
    )
}

const UNNEEDED: &str = "[Unit]\nStopWhenUnneeded=yes\n[Service]\nExecStart=sleep infinity\n";

/// Runs a command for somebody.
type Runs<'r> = &'r dyn Fn(&[&str]) -> lab::Output;

fn units_of_machine_and_user_need_each_other(node: &Node, as_user: Runs<'_>) {
    let (of_user, of_machine) = ("/etc/systemd/user", "/etc/systemd/system");
    node.write(&format!("{of_user}/app.service"), needs("rpi4_db"));
    node.write(&format!("{of_machine}/db.service"), UNNEEDED);
    node.write(
        &format!("{of_machine}/panel.service"),
        needs("rpi4-driver_session"),
    );
    node.write(&format!("{of_user}/session.service"), UNNEEDED);
    let user = |words: &[&str]| as_user(&[&["systemctl", "--user"], words].concat());
    let machine = |words: &[&str]| node.run(&[&["systemctl"], words].concat());
    let sides: [(Runs<'_>, _, Runs<'_>, _); 2] = [
        (&user, "app.service", &machine, "db.service"),
        (&machine, "panel.service", &user, "session.service"),
    ];
    for systemctl in [&user as Runs<'_>, &machine] {
        let reloaded = systemctl(&["daemon-reload"]);
        assert!(reloaded.success(), "{reloaded}");
    }
    for (source, app, target, db) in sides {
        let becomes = |side: Runs<'_>, unit: &str, wanted: &str| {
            let what = format!("{unit} is {wanted}");
            eventually(PATIENCE, &what, || {
                side(&["is-active", unit]).stdout.trim() == wanted
            });
        };
        for end in [&["stop", app][..], &["kill", "--signal=KILL", db]] {
            let started = source(&["start", app]);
            let journal = node.ok(&["journalctl", "--no-pager", "-n", "60"]);
            assert!(started.success(), "{app}: {started}\n{journal}");
            becomes(target, &format!("hirte-dep@{db}"), "active");
            assert_eq!(target(&["is-active", db]).stdout.trim(), "active");
            let ended = if end[0] == "stop" {
                source(end)
            } else {
                target(end)
            };
            assert!(ended.success(), "{end:?}: {ended}");
            becomes(source, app, "inactive");
            becomes(target, &format!("hirte-dep@{db}"), "inactive");
            let wanted = if end[0] == "stop" {
                "inactive"
            } else {
                "failed"
            };
            becomes(target, db, wanted);
        }
    }
}

#[test]
fn heartbeats_reach_an_agent() {
    let manager = Manager::with(&Settings {
        config: "HeartbeatInterval=200ms\n",
        ..Settings::default()
    });
    let begun = Instant::now();
    let mut agent = manager.agent("rpi4");
    for _ in 0..5 {
        let signal = agent.signal("Heartbeat");
        assert_eq!(signal.interface, names::INTERNAL_MANAGER_INTERFACE);
        assert_eq!(signal.path, names::INTERNAL_MANAGER_PATH);
        assert_eq!(signal.sender, names::MANAGER_BUS_NAME);
        assert!(signal.body.bytes.is_empty());
    }
    assert!(begun.elapsed() >= Duration::from_millis(600));
}

#[test]
fn a_unix_socket_that_is_in_use_is_left_alone() {
    let mut manager = Manager::start();
    let socket = manager.runtime_folder().join("hirte-agent.sock");
    assert!(socket.exists());
    let (_, log) = manager.run_rival(&manager.runtime_folder());
    let text = format!(
        "Failed to listen on {}: another process listens there",
        socket.display()
    );
    assert!(log.contains(&text), "{log}");
    assert!(log.contains("Waiting for connection requests"), "{log}");
    UnixStream::connect(&socket).unwrap();
    assert!(manager.end().success());
    assert!(!socket.exists());
}
