//! Proves that nodes of the lab are computers with systemd, and that its faults are the faults that tests mean.
//! What a lab leaves behind is the subject of `lab_traces.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "lab/mod.rs"]
mod lab;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use lab::{Lab, Link, Node, Running, eventually};

const SOON: Duration = Duration::from_secs(30);
/// A while in which something that must not happen would happen.
const A_WHILE: Duration = Duration::from_millis(1500);

/// An echo server on TCP port 7000, by socket activation.
fn serve_echo(node: &Node) {
    node.unit(
        "echo.socket",
        "[Socket]\nListenStream=7000\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
    );
    node.unit(
        "echo@.service",
        "[Service]\nExecStart=cat\nStandardInput=socket\n",
    );
    node.systemctl(&["enable", "--now", "echo.socket"]);
}

/// A client that sends a number every tenth of a second and prints what comes back, or how its connection ended.
fn count_to(node: &Node, server: &Node) -> Running {
    let script = format!(
        "exec 3<>/dev/tcp/{}/7000 || exit; trap '' PIPE; n=0
         while echo $((++n)) >&3 && read -r back <&3; do echo \"got $back\"; sleep 0.1; done; echo ended",
        server.address()
    );
    let client = node.spawn(&["bash", "-c", &script]);
    client.wait_output("got 3\n", SOON);
    client
}

/// Waits until no more answers come; that this is all that happens to the connection.
fn assert_silent(node: &Node, client: &Running) {
    let mut last = String::new();
    eventually(SOON, "answers stop", || {
        std::thread::sleep(Duration::from_millis(500));
        std::mem::replace(&mut last, client.stdout()) == last
    });
    std::thread::sleep(A_WHILE);
    assert_eq!(client.stdout(), last);
    assert!(!last.contains("ended"), "{last}");
    assert!(
        node.sh("ss -Htn state established '( dport = :7000 )'")
            .stdout
            .contains(":7000")
    );
}

/// How an attempt to connect ends that may take a second: 0 well, 124 not in time, 1 with an error.
fn connect(from: &Node, to: &Node) -> Option<i32> {
    let script = format!("exec 3<>/dev/tcp/{}/7000", to.address());
    from.run(&["timeout", "1", "bash", "-c", &script])
        .status
        .code()
}

#[test]
fn nodes_run_systemd() {
    if !lab::require() {
        return;
    }
    let lab = Lab::new("systemd");
    let [laptop, rpi4] = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
    assert_eq!(laptop.ok(&["uname", "-n"]), "laptop");
    assert_eq!(rpi4.ok(&["uname", "-n"]), "rpi4");
    assert_eq!(rpi4.systemctl(&["--failed", "--no-legend"]), "");
    assert_eq!(
        rpi4.ok(&["getent", "hosts", "laptop"])
            .split_whitespace()
            .next(),
        Some("192.168.42.10")
    );
    assert_ne!(laptop.read("/etc/machine-id"), rpi4.read("/etc/machine-id"));

    rpi4.unit(
        "radio.service",
        "[Service]\nExecStart=sh -c 'echo on air; exec sleep infinity'\n",
    );
    rpi4.systemctl(&["start", "radio.service"]);
    rpi4.wait_journal("radio.service", "on air", SOON);
    let pid = rpi4.pid_of("radio.service").expect("a main process");
    assert_eq!(rpi4.read(&format!("/proc/{pid}/comm")), "sleep\n");

    // From outside, as a test process does.
    let bus = format!("--address={}", rpi4.bus_address());
    let output = Command::new("busctl")
        .args([&bus, "status", "org.freedesktop.systemd1"])
        .output();
    assert!(output.expect("run busctl").status.success());

    rpi4.systemctl(&["stop", "radio.service"]);
    assert_eq!(rpi4.pid_of("radio.service"), None);
    assert!(
        !rpi4
            .run(&["systemctl", "is-active", "radio.service"])
            .success()
    );
    assert!(!laptop.run(&["systemctl", "cat", "radio.service"]).success());
}

#[test]
fn commands_give_their_output_and_status() {
    if !lab::require() {
        return;
    }
    let lab = Lab::new("commands");
    let [node] = lab.boot(&[("node", "192.168.42.10")]);
    let output = node.sh("echo out; echo err >&2; exit 3");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(node.run_with_input(&["cat"], b"text").stdout, "text");

    let client = node.spawn(&[
        "sh",
        "-c",
        "trap 'echo interrupted; exit 7' INT; echo up; while :; do sleep 0.1; done",
    ]);
    client.wait_output("up\n", SOON);
    let output = client.end("INT");
    assert_eq!(
        (output.status.code(), output.stdout.as_str()),
        (Some(7), "up\ninterrupted\n")
    );

    drop(node.spawn(&["sleep", "4242"]));
    eventually(SOON, "a dropped command dies", || {
        !node.sh("cat /proc/[0-9]*/cmdline").stdout.contains("4242")
    });
}

#[test]
fn two_labs_use_the_same_address() {
    if !lab::require() {
        return;
    }
    let guides = [Lab::new("guide"), Lab::new("guide")];
    for (lab, other) in guides.iter().zip(["192.168.1.10", "192.168.1.20"]) {
        let [first, second] = lab.boot(&[("first", "192.168.1.1"), ("second", other)]);
        serve_echo(&second);
        assert_eq!(connect(&first, &second), Some(0));
    }
}

#[test]
fn a_cut_is_silent_and_heals() {
    if !lab::require() {
        return;
    }
    let lab = Lab::new("cut");
    let [laptop, rpi4] = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
    serve_echo(&rpi4);
    let client = count_to(&laptop, &rpi4);
    lab.cut(&laptop, &rpi4);
    assert_silent(&laptop, &client);
    assert_eq!(connect(&laptop, &rpi4), Some(124));

    // A cut belongs to the cable: it is there after a reboot.
    laptop.reboot();
    assert_eq!(connect(&laptop, &rpi4), Some(124));
    lab.heal(&laptop, &rpi4);
    assert_eq!(connect(&laptop, &rpi4), Some(0));

    let client = count_to(&laptop, &rpi4);
    lab.cut(&laptop, &rpi4);
    assert_silent(&laptop, &client);
    lab.heal(&laptop, &rpi4);
    let last = client.stdout();
    eventually(SOON, "answers come again", || {
        client.stdout().len() > last.len()
    });
    assert!(!client.stdout().contains("ended"));
}

#[test]
fn a_cut_can_be_one_way() {
    if !lab::require() {
        return;
    }
    let lab = Lab::new("oneway");
    let nodes = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
    let [laptop, rpi4] = &nodes;
    for node in &nodes {
        node.unit("receive.socket", "[Socket]\nListenDatagram=7001\n");
        let cat = "[Service]\nExecStart=cat\nStandardInput=socket\nStandardOutput=journal\n";
        node.unit("receive.service", cat);
        node.systemctl(&["start", "receive.socket"]);
    }
    let send = |from: &Node, to: &Node, text: &str| {
        let script = format!("echo {text} > /dev/udp/{}/7001", to.address());
        from.ok(&["bash", "-c", &script]);
    };
    lab.cut_one_way(laptop, rpi4);
    send(laptop, rpi4, "lost");
    send(rpi4, laptop, "arrives");
    laptop.wait_journal("receive.service", "arrives", SOON);
    lab.heal(laptop, rpi4);
    send(laptop, rpi4, "healed");
    rpi4.wait_journal("receive.service", "healed", SOON);
    assert!(!rpi4.journal("receive.service").contains("lost"));
}

#[test]
fn a_pulled_cable_is_silent() {
    if !lab::require() {
        return;
    }
    let lab = Lab::new("link");
    let [laptop, rpi4] = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
    serve_echo(&rpi4);
    let client = count_to(&laptop, &rpi4);
    rpi4.link(Link::Down);
    assert_eq!(rpi4.read("/sys/class/net/eth0/carrier"), "0\n");
    assert_silent(&laptop, &client);
    rpi4.link(Link::Up);
    let last = client.stdout();
    eventually(SOON, "answers come again", || {
        client.stdout().len() > last.len()
    });
}

#[test]
fn peers_of_a_crashed_node_see_silence() {
    if !lab::require() {
        return;
    }
    let lab = Lab::new("crash");
    let [laptop, rpi4] = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
    serve_echo(&rpi4);
    rpi4.write("/var/lib/kept", "on disk");
    rpi4.write("/run/lost", "in memory");
    let client = count_to(&laptop, &rpi4);
    rpi4.crash();
    assert!(!rpi4.is_on());
    assert_eq!(rpi4.pid(), None);
    assert_silent(&laptop, &client);

    // Switched off, its disk can be read and written.
    assert_eq!(rpi4.read("/var/lib/kept"), "on disk");
    rpi4.write("/var/lib/changed", "offline");
    rpi4.boot();
    assert_eq!(rpi4.read("/var/lib/changed"), "offline");
    assert!(!rpi4.run(&["test", "-e", "/run/lost"]).success());
    // The computer that started does not know the connection, and says so when asked.
    client.wait_output("ended", SOON);
    assert_eq!(connect(&laptop, &rpi4), Some(0));
}

#[test]
fn peers_of_a_killed_node_see_the_end() {
    if !lab::require() {
        return;
    }
    let lab = Lab::new("kill");
    let [laptop, rpi4] = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
    serve_echo(&rpi4);
    let client = count_to(&laptop, &rpi4);
    rpi4.kill_all();
    client.wait_output("ended", SOON);
}

#[test]
fn a_node_reboots_and_is_switched_off_in_order() {
    if !lab::require() {
        return;
    }
    let lab = Lab::new("reboot");
    let [node] = lab.boot(&[("node", "192.168.42.10")]);
    node.unit(
        "order.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=sh -c 'echo start >> /var/lib/order'\n\
         ExecStop=sh -c 'echo stop >> /var/lib/order'\n[Install]\nWantedBy=multi-user.target\n",
    );
    node.systemctl(&["enable", "--now", "order.service"]);
    let boot_id = node.read("/proc/sys/kernel/random/boot_id");
    node.reboot();
    assert_eq!(node.boots(), 2);
    assert_ne!(node.read("/proc/sys/kernel/random/boot_id"), boot_id);
    assert_eq!(node.read("/var/lib/order"), "start\nstop\nstart\n");

    // Also when the node itself asks for it.
    node.run(&["systemctl", "reboot"]);
    eventually(SOON, "the node reboots", || node.boots() == 3);
    node.wait_up();
    node.power_off();
    assert_eq!(
        node.read("/var/lib/order"),
        "start\nstop\nstart\nstop\nstart\nstop\n"
    );
    node.boot();
    assert_eq!(node.boots(), 4);
}

#[test]
fn a_frozen_process_is_there_and_silent() {
    if !lab::require() {
        return;
    }
    let lab = Lab::new("freeze");
    let [node] = lab.boot(&[("node", "192.168.42.10")]);
    node.unit(
        "tick.service",
        "[Service]\nExecStart=sh -c 'while :; do echo tick; sleep 0.05; done'\n",
    );
    node.systemctl(&["start", "tick.service"]);
    node.wait_journal("tick.service", "tick", SOON);
    node.freeze("tick.service");
    let pid = node.pid_of("tick.service").expect("a main process");
    let state = || {
        node.read(&format!("/proc/{pid}/stat"))
            .split(' ')
            .nth(2)
            .map(str::to_owned)
    };
    eventually(SOON, "the process is stopped", || {
        state().as_deref() == Some("T")
    });
    assert_eq!(node.systemctl(&["is-active", "tick.service"]), "active");
    node.thaw("tick.service");
    eventually(SOON, "the process goes on", || {
        state().as_deref() != Some("T")
    });
    node.kill("tick.service", "KILL");
    eventually(SOON, "the unit fails", || {
        node.run(&["systemctl", "is-failed", "tick.service"])
            .success()
    });
}

#[test]
fn a_layer_is_as_if_installed() {
    if !lab::require() {
        return;
    }
    let tree = std::env::temp_dir().join(format!("hirte-lab-layer-{}", std::process::id()));
    let write = |path: &str, content: &str| {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("create a folder");
        fs::write(path, content).expect("write a file");
    };
    write("usr/bin/example", "#!/bin/sh\nid -gn example\n");
    let executable = tree.join("usr/bin/example");
    fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).expect("set the mode");
    write(
        "usr/lib/sysusers.d/example.conf",
        "u example - \"An example\"\n",
    );
    write("etc/example/example.conf", "[example]\n");
    write(
        "usr/lib/systemd/system/example.service",
        "[Service]\nUser=example\nExecStart=busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus \
         RequestName su org.example.Lab 0\nType=oneshot\nRemainAfterExit=yes\n[Install]\nWantedBy=multi-user.target\n",
    );
    write(
        "usr/share/dbus-1/system.d/org.example.Lab.conf",
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
         <busconfig><policy user=\"example\"><allow own=\"org.example.Lab\"/></policy></busconfig>\n",
    );
    let lab = Lab::builder("layer")
        .layer(&tree)
        .unmask("timers.target")
        .build();
    fs::remove_dir_all(&tree).expect("remove the tree");

    let node = lab.node("node", "192.168.42.10");
    node.write("/etc/example/agent.conf.d/test.conf", "[example]\n");
    node.boot();
    assert_eq!(node.ok(&["example"]), "example");
    assert_eq!(
        node.ok(&["ls", "/etc/example"]),
        "agent.conf.d\nexample.conf"
    );
    node.systemctl(&["enable", "--now", "example.service"]);
    assert_eq!(node.systemctl(&["is-active", "timers.target"]), "active");
    node.unmask("systemd-tmpfiles-clean.timer");
    assert_eq!(
        node.systemctl(&["is-active", "systemd-tmpfiles-clean.timer"]),
        "active"
    );
}

#[test]
fn folders_are_bound_read_only() {
    if !lab::require() {
        return;
    }
    let lab = Lab::builder("bind")
        .bind(env!("CARGO_MANIFEST_DIR"))
        .build();
    let [node] = lab.boot(&[("node", "192.168.42.10")]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert_eq!(
        node.read(file),
        fs::read_to_string(file).expect("read Cargo.toml")
    );
    let output = node.run(&["touch", file]);
    assert!(output.stderr.contains("Read-only"), "{output}");
}

#[test]
fn plain_folders_hold_overlays_across_boots() {
    if !lab::require() {
        return;
    }
    let lab = Lab::builder("plain").plain("/var/lib/plain").build();
    let [one, other] = lab.boot(&[("one", "192.168.42.10"), ("other", "192.168.42.15")]);
    let mount = "cd /var/lib/plain; mkdir -p upper work root
                 mount -t overlay -o lowerdir=/etc,upperdir=upper,workdir=work overlay root";
    one.ok(&["sh", "-euc", &format!("{mount}; echo kept > root/file")]);
    one.reboot();
    assert_eq!(one.read("/var/lib/plain/upper/file"), "kept\n");
    assert_eq!(other.ok(&["ls", "-A", "/var/lib/plain"]), "");
}

#[test]
fn ten_nodes_boot_and_reach_each_other() {
    if !lab::require() {
        return;
    }
    let begin = Instant::now();
    let lab = Lab::new("ten");
    let manager = lab.node("manager", "fd00::1");
    let nodes: Vec<Node> = (2..11)
        .map(|number| lab.node(&format!("node{number}"), &format!("fd00::{number}")))
        .collect();
    lab.boot_all();
    println!("10 nodes up after {:?}", begin.elapsed());
    serve_echo(&manager);
    for node in &nodes {
        assert_eq!(connect(node, &manager), Some(0));
    }
    lab.cut(&manager, &nodes[0]);
    assert_eq!(connect(&nodes[0], &manager), Some(124));
}
