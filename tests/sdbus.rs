//! Peers made with libsystemd's sd-bus, the library of the C programs: a C agent joins our
//! manager, our agent joins a C manager, busctl looks at the manager over TCP.
//!
//! The programs are in `tests/sdbus`. They print what they see, one line for each message.
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
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use daemons::{
    Folder, Manager, SOON, Settings, captured, install_tree, manager_call, node_call, within,
};
use hirte::{
    bus::{
        Body, Message, ObjectPath, error_name,
        message::{BodyCheck, FIXED_HEADER_LEN, announced_len},
        names,
    },
    limits,
};
use lab::Lab;

/// A node without a sign of life is offline after this time.
const OFFLINE: Duration = Duration::from_secs(6);

/// Compiles a program of `tests/sdbus` into `folder`. `None`, and a line that says so, where the
/// compiler or the library is missing.
fn compile(name: &str, folder: &Folder) -> Option<PathBuf> {
    let preprocessed = Command::new("cc")
        .args(["-E", "-x", "c", "-include", "systemd/sd-bus.h", "/dev/null"])
        .output();
    if !preprocessed.is_ok_and(|output| output.status.success()) {
        lab::leave_out("a C compiler and libsystemd (Debian packages gcc, libsystemd-dev)");
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/sdbus/{name}.c"));
    let program = folder.path(name);
    let output = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-o"])
        .args([&program, &source])
        .arg("-lsystemd")
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {problem}", source.display());
    Some(program)
}

/// A C agent. Dropping it ends it.
struct CAgent {
    process: Child,
    /// Of its output, and perhaps of its program.
    folder: Folder,
}

impl CAgent {
    fn start(program: &Path, manager: &Manager, node: &str, folder: Folder) -> Self {
        let process = Command::new(program)
            .arg(format!("tcp:host=127.0.0.1,port={}", manager.port()))
            .arg(node)
            .stdin(Stdio::null())
            .stdout(File::create(folder.path("stdout")).unwrap())
            .spawn()
            .unwrap();
        Self { process, folder }
    }

    fn output(&self) -> String {
        fs::read_to_string(self.folder.path("stdout")).unwrap()
    }

    /// Waits until it has printed this line.
    fn wait_line(&self, line: &str) {
        let begun = Instant::now();
        while !self.output().lines().any(|found| found == line) {
            let output = self.output();
            assert!(begun.elapsed() < SOON, "no line {line:?} in\n{output}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How often it has printed a line that starts so.
    fn count(&self, start: &str) -> usize {
        let output = self.output();
        output
            .lines()
            .filter(|line| line.starts_with(start))
            .count()
    }

    fn wait_end(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        within(SOON, "the C agent ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for CAgent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("---- the output of the C agent\n{}", self.output());
        }
    }
}

/// A real manager whose node `rpi4` has a C agent, which has registered.
fn manager_with_c_agent() -> Option<(Manager, CAgent)> {
    let folder = Folder::new();
    let program = compile("agent", &folder)?;
    let manager = Manager::start();
    let agent = CAgent::start(&program, &manager, "rpi4", folder);
    agent.wait_line("ready");
    Some((manager, agent))
}

fn job_call(job: &ObjectPath) -> Message {
    let cancel = Message::call(&job.0, names::JOB_INTERFACE, "Cancel", Body::default());
    cancel.to(names::MANAGER_BUS_NAME)
}

type Removed = (u32, ObjectPath, String, String, String);

#[test]
fn the_manager_answers_what_a_c_agent_may_ask() {
    let Some((mut manager, agent)) = manager_with_c_agent() else {
        return;
    };
    assert_eq!(manager.status("rpi4"), "online");
    let output = agent.output();
    let answers: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with("called"))
        .collect();
    let from_manager = "ok, sender=org.containers.hirte";
    assert_eq!(
        answers,
        [
            format!("called Register: {from_manager} signature=-"),
            format!("called Ping: {from_manager} signature=-"),
            format!("called GetMachineId: {from_manager} signature=s"),
            format!("called Introspect: {from_manager} signature=s"),
            format!(
                "called Register: {}: Can't register twice",
                error_name::ADDRESS_IN_USE
            ),
        ]
    );
}

#[test]
fn a_name_that_is_taken_or_unknown_is_refused_in_the_words_of_the_c_manager() {
    let Some((mut manager, agent)) = manager_with_c_agent() else {
        return;
    };
    for (name, error, text) in [
        (
            "rpi4",
            error_name::ADDRESS_IN_USE,
            "The node is already connected",
        ),
        (
            "toaster",
            error_name::SERVICE_UNKNOWN,
            "Unexpected node name",
        ),
    ] {
        let mut refused = CAgent::start(&agent.folder.path("agent"), &manager, name, Folder::new());
        assert_eq!(refused.wait_end().code(), Some(1));
        refused.wait_line(&format!("called Register: {error}: {text}"));
    }
    assert_eq!(manager.status("rpi4"), "online");
    assert_eq!(agent.count("disconnected"), 0);
}

#[test]
fn jobs_of_a_c_agent_run_from_their_request_to_their_end() {
    let Some((manager, agent)) = manager_with_c_agent() else {
        return;
    };
    let mut client = manager.watcher();
    for (method, number) in [("StartUnit", 1), ("StopUnit", 2), ("ReloadUnit", 3)] {
        let arguments = Body::of(&("quick.service", "replace"));
        let call = client.send(node_call("rpi4", method, arguments));
        // In the order of the bus: announced, answered, ended.
        let seen: Vec<Message> = (0..3)
            .map(|_| {
                client.expect(SOON, "JobNew, the answer or JobRemoved", |message| {
                    message.reply_serial == call || message.member.starts_with("Job")
                })
            })
            .collect();
        let path = ObjectPath(names::job_path(number));
        let new: (u32, ObjectPath) = seen[0].body.parse().unwrap();
        assert_eq!((seen[0].member.as_str(), new.0), ("JobNew", number));
        let (answer,): (ObjectPath,) = seen[1].body.parse().unwrap();
        assert_eq!((answer.0, seen[1].reply_serial), (path.0, call));
        let (id, _, node, unit, result): Removed = seen[2].body.parse().unwrap();
        let removed = (id, node.as_str(), unit.as_str(), result.as_str());
        assert_eq!(removed, (number, "rpi4", "quick.service", "done"));
        agent.wait_line(&format!("{method} quick.service replace {number}"));
    }
    let arguments = Body::of(&("nope.service", "replace"));
    let refusal = client
        .call(node_call("rpi4", "StartUnit", arguments))
        .unwrap_err();
    assert_eq!(refusal.name, "org.freedesktop.systemd1.NoSuchUnit");
    assert_eq!(refusal.text, "Unit nope.service not found.");
}

#[test]
fn questions_about_units_are_answered_by_a_c_agent() {
    let Some((mut manager, _agent)) = manager_with_c_agent() else {
        return;
    };
    let units = manager
        .client
        .call(manager_call("ListUnits", Body::default()));
    let units = units.unwrap();
    assert_eq!(units.signature, "a(sssssssouso)");
    let text = String::from_utf8_lossy(&units.bytes).into_owned();
    for word in ["rpi4", "quick.service", "slow.service", "A unit of sd-bus"] {
        assert!(text.contains(word), "{word}");
    }
    let arguments = Body::of(&("quick.service", "org.freedesktop.systemd1.Unit", "Id"));
    let call = node_call("rpi4", "GetUnitProperty", arguments);
    let value = manager.client.call(call).unwrap();
    let (signature, mut value) = value.reader().variant().unwrap();
    assert_eq!((signature, value.str().unwrap()), ("s", "Id"));
    // What the C agent does not offer.
    let call = node_call("rpi4", "Reload", Body::default());
    let refusal = manager.client.call(call).unwrap_err();
    assert_eq!(refusal.name, error_name::NOT_SUPPORTED);
}

#[test]
fn a_c_agent_that_only_answers_pings_stays_online_and_its_job_ends_with_it() {
    let Some((mut manager, mut agent)) = manager_with_c_agent() else {
        return;
    };
    let mut client = manager.watcher();
    let arguments = Body::of(&("slow.service", "replace"));
    let started = client.call(node_call("rpi4", "StartUnit", arguments));
    let (job,): (ObjectPath,) = started.unwrap().parse().unwrap();
    let refusal = client.call(job_call(&job)).unwrap_err();
    assert_eq!(refusal.name, error_name::NOT_SUPPORTED);

    let begun = Instant::now();
    while begun.elapsed() < OFFLINE + 2 * limits::TICK {
        assert_eq!(manager.status("rpi4"), "online", "{:?}", begun.elapsed());
        thread::sleep(Duration::from_millis(100));
    }
    let pings = agent.count("got call Ping");
    assert!((2..=4).contains(&pings), "{pings} pings");

    agent.process.kill().unwrap();
    let removed = client.signal("JobRemoved");
    let (_, _, _, unit, result): Removed = removed.body.parse().unwrap();
    assert_eq!(
        (unit.as_str(), result.as_str()),
        ("slow.service", "node-lost")
    );
    manager.wait_node("rpi4", "offline", SOON);
    agent.wait_end();
}

#[test]
fn a_c_agent_notices_the_end_of_the_manager() {
    let Some((mut manager, mut agent)) = manager_with_c_agent() else {
        return;
    };
    assert!(manager.end().success());
    assert!(agent.wait_end().success());
    agent.wait_line("disconnected");
}

/// Reads as many bytes as the C manager has sent, and returns them.
fn read_like(stream: &mut TcpStream, captured: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; captured.len()];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_captured_bytes_of_a_c_agent_get_the_answers_of_the_c_manager() {
    let handshake = captured(include_str!("data/handshake-c-agent.hex"));
    let job = captured(include_str!("data/job-c-agent.hex"));
    let ([hello, welcome, register, registered], [start, accepted, done]) =
        (&handshake[..], &job[..])
    else {
        panic!("the captures have other pieces");
    };
    let nodes = &["bar-2"];
    let mut manager = Manager::with(&Settings {
        nodes,
        ..Settings::default()
    });
    let mut client = manager.watcher();
    let mut agent = manager.connect();
    agent.set_read_timeout(Some(SOON)).unwrap();
    agent.write_all(hello).unwrap();
    let answer = read_like(&mut agent, welcome);
    assert!(answer.starts_with(b"DATA\r\nOK ") && answer.ends_with(b"\r\n"));
    agent.write_all(register).unwrap();
    assert_eq!(read_like(&mut agent, registered), *registered);

    // The captured answer is that to the manager's message number 4.
    for _ in 2..4 {
        client.send(node_call("bar-2", "Reload", Body::default()));
        let mut start = [0; FIXED_HEADER_LEN];
        agent.read_exact(&mut start).unwrap();
        let length = announced_len(&start, limits::MAX_MESSAGE).unwrap().unwrap();
        agent
            .read_exact(&mut vec![0; length - start.len()])
            .unwrap();
    }
    let arguments = Body::of(&("target.service", "replace"));
    let call = client.send(node_call("bar-2", "StartUnit", arguments));
    let bytes = read_like(&mut agent, start);
    let message = |bytes: &[u8]| Message::decode(bytes, BodyCheck::Full).unwrap();
    assert_eq!(message(&bytes), message(start));
    agent.write_all(accepted).unwrap();
    assert_eq!(client.signal("JobNew").body.reader().u32(), Ok(1));
    client.answer(call).unwrap();
    agent.write_all(done).unwrap();
    let (id, _, node, unit, result): Removed = client.signal("JobRemoved").body.parse().unwrap();
    let removed = (id, node.as_str(), unit.as_str(), result.as_str());
    assert_eq!(removed, (1, "bar-2", "target.service", "done"));
    assert_eq!(manager.status("bar-2"), "online");
}

/// busctl on a connection like that of an agent.
fn busctl(manager: &Manager, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("busctl")
        .arg(format!(
            "--address=tcp:host=127.0.0.1,port={}",
            manager.port()
        ))
        .args(["--no-pager", "--no-legend"])
        .args(arguments)
        .output()
        .expect("busctl starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

#[test]
fn busctl_shows_the_internal_objects_of_the_manager() {
    let mut manager = Manager::start();
    let (name, path) = (names::MANAGER_BUS_NAME, names::INTERNAL_MANAGER_PATH);
    let members = busctl(&manager, &["introspect", name, path]).unwrap();
    let members: Vec<Vec<&str>> = members
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for line in [
        [
            names::INTERNAL_MANAGER_INTERFACE,
            "interface",
            "-",
            "-",
            "-",
        ],
        [".Register", "method", "s", "-", "-"],
        [".Introspect", "method", "-", "s", "-"],
        [".GetMachineId", "method", "-", "s", "-"],
        [".Ping", "method", "-", "-", "-"],
    ] {
        assert!(
            members.iter().any(|found| *found == line),
            "{line:?} in {members:?}"
        );
    }
    let tree = busctl(&manager, &["tree", "--list", name]).unwrap();
    let tree: Vec<&str> = tree.lines().collect();
    assert!(
        tree.contains(&path) && tree.contains(&names::DBUS_PATH),
        "{tree:?}"
    );
    let call = |path, interface, member| busctl(&manager, &["call", name, path, interface, member]);
    let peer = names::PEER_INTERFACE;
    assert_eq!(call(path, peer, "Ping").as_deref(), Ok(""));
    assert_eq!(
        call(names::DBUS_PATH, names::DBUS_NAME, "Hello").as_deref(),
        Ok("s \":1.0\"")
    );
    let unknown = call("/nowhere", names::INTROSPECTABLE_INTERFACE, "Introspect").unwrap_err();
    assert!(unknown.contains("Unknown object '/nowhere'"), "{unknown}");
    manager.assert_well();
}

/// What both sides of the handshake of an agent need to be alike, seen by a C manager; on a node,
/// because our agent needs a systemd.
#[test]
fn our_agent_serves_a_c_manager() {
    if !lab::require() {
        return;
    }
    let folder = Folder::new();
    let Some(program) = compile("manager", &folder) else {
        return;
    };
    let lab = Lab::builder("sdbus").layer(install_tree()).build();
    let node = lab.node("rpi4", "192.168.42.15");
    node.write("/usr/local/bin/c-manager", fs::read(program).unwrap());
    let config = "[hirte-agent]\nNodeName=rpi4\nManagerHost=127.0.0.1\nManagerPort=2020\n";
    node.write("/etc/hirte/agent.conf", config);
    let quick = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n";
    node.write("/etc/systemd/system/quick.service", quick);
    let slow = "[Service]\nType=oneshot\nExecStart=sleep 600\n";
    node.write("/etc/systemd/system/slow.service", slow);
    node.boot();
    node.ok(&["chmod", "755", "/usr/local/bin/c-manager"]);
    let manager = node.spawn(&["c-manager", "2020"]);
    manager.wait_output("listening", SOON);
    node.systemctl(&["start", "hirte-agent"]);

    // A first message together with BEGIN would wait in sd-bus until the next one.
    manager.wait_output("registered rpi4 after ", SOON);
    for line in [
        "answer to ListUnits: a(ssssssouso)",
        "answer to StartUnit quick: -",
        "answer to StartUnit slow: -",
        "answer to StartUnit nope: org.freedesktop.systemd1.NoSuchUnit: Unit nope.service not found.",
        "answer to GetUnitProperty: v",
        "answer to GetUnitProperty of s: org.freedesktop.DBus.Error.InvalidArgs: ",
        "answer to Fly: org.freedesktop.DBus.Error.UnknownMethod: ",
        "answer to Ping: -",
        "answer to GetMachineId: s",
        "got signal JobStateChanged signature=us sender=- destination=- ",
        "got signal JobDone signature=us sender=- destination=- ",
        "got signal Heartbeat signature=- sender=- destination=- ",
    ] {
        manager.wait_output(line, SOON);
    }
    let output = manager.stdout();
    println!("{output}");
    let waited = output.split("registered rpi4 after ").nth(1).unwrap();
    let waited: u64 = waited.split(' ').next().unwrap().parse().unwrap();
    assert!(waited < 1000, "{output}");
    let first = output.lines().find(|line| line.starts_with("got "));
    let register = "got call Register signature=s sender=- destination=org.containers.hirte \
                    reply_to=0 answer=yes";
    assert_eq!(first, Some(register), "{output}");
    assert!(!output.contains("UNWANTED"), "{output}");
    assert!(!output.contains("FAILED"), "{output}");

    // An agent whose manager was lost comes back by itself.
    let lost = manager.end("KILL");
    assert!(!lost.stdout.contains("disconnected"), "{}", lost.stdout);
    let manager = node.spawn(&["c-manager", "2020"]);
    manager.wait_output("registered rpi4 after ", SOON);
}
