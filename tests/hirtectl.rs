//! hirtectl as people and scripts meet it: the real executable on a private bus of the real
//! dbus-daemon. The manager is a mock, because the real one is tested in the lab; here it is made
//! to fail in every documented way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where it fails"
)]

#[path = "support/bus.rs"]
mod bus;
#[path = "hirtectl/commands.rs"]
mod commands;
#[path = "hirtectl/hostile.rs"]
mod hostile;
#[path = "hirtectl/json.rs"]
mod json;
#[path = "hirtectl/mock.rs"]
mod mock;
#[path = "hirtectl/shells.rs"]
mod shells;
#[path = "support/tree.rs"]
mod tree;
#[path = "support/zbus_runtime.rs"]
mod zbus_runtime;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use bus::Bus as PrivateBus;
use mock::{Fleet, Manager};

/// No command of these tests takes longer than a moment; this one hangs.
const PATIENCE: Duration = Duration::from_secs(30);

const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const NO_MANAGER: i32 = 3;
const NODE_OFFLINE: i32 = 4;
const UNKNOWN: i32 = 5;

fn hirtectl() -> PathBuf {
    tree::program("hirtectl")
}

/// What hirtectl takes for the system bus.
struct Bus(PrivateBus);

impl Bus {
    fn start() -> Self {
        Self(PrivateBus::start_with_system_limits())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(hirtectl());
        command
            .args(args)
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.0.address())
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        let child = self.command(args).spawn().unwrap();
        Run::of(&wait(child))
    }
}

/// What a run of hirtectl left.
#[derive(Debug)]
struct Run {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    fn of(output: &Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    #[track_caller]
    fn expect(&self, status: i32, stdout: &str, stderr: &str) {
        assert_eq!(self.stdout, stdout, "{self:?}");
        assert_eq!(self.stderr, stderr, "{self:?}");
        assert_eq!(self.status, Some(status), "{self:?}");
    }

    /// The lines of the output with runs of blanks as one.
    fn lines(&self) -> Vec<String> {
        self.stdout
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }
}

/// Waits for the end of a child that must end soon.
fn wait(mut child: Child) -> Output {
    let pid = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take().unwrap();
    std::thread::spawn(move || {
        let errors = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut bytes = Vec::new();
        if let Some(stdout) = &mut stdout {
            stdout.read_to_end(&mut bytes).unwrap();
        }
        let stderr = errors.join().unwrap();
        let status = child.wait().unwrap();
        let _ = sender.send(Output {
            status,
            stdout: bytes,
            stderr,
        });
    });
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        panic!("hirtectl did not end within {PATIENCE:?}");
    })
}

fn bus_with(fleet: Fleet) -> (Bus, Manager) {
    let bus = Bus::start();
    let manager = Manager::start(&bus.0.address(), fleet);
    (bus, manager)
}

#[test]
fn units_of_the_fleet_are_listed_as_in_the_guide() {
    let (bus, _manager) = bus_with(Fleet::default());
    let run = bus.run(&["list-units"]);
    let row = |node: &str, id: &str, active: &str, sub: &str| {
        format!("{node:<20}|{id:<59}|{active:>9}|{sub:>9}\n")
    };
    let table = [
        row("NODE", "ID", "ACTIVE", "SUB"),
        "=".repeat(100) + "\n",
        row("laptop", "broken.service", "failed", "failed"),
        row("laptop", "httpd-init.service", "inactive", "dead"),
        row("laptop", "httpd.service", "active", "running"),
        row("rpi4", "broken.service", "failed", "failed"),
        row("rpi4", "httpd-init.service", "inactive", "dead"),
        row("rpi4", "httpd.service", "active", "running"),
    ];
    run.expect(DONE, &table.concat(), "");
}

#[test]
fn units_of_a_node_are_listed_without_its_name_and_filtered() {
    let (bus, _manager) = bus_with(Fleet::default());
    for args in [
        &["list-units", "rpi4", "--filter=httpd*"][..],
        &["list-units", "-fhttpd*", "rpi4"],
        &["list-units", "--filter", "*httpd*", "rpi4"],
    ] {
        let run = bus.run(args);
        let row = |id: &str, active: &str, sub: &str| format!("{id:<80}|{active:>9}|{sub:>9}\n");
        let table = [
            row("ID", "ACTIVE", "SUB"),
            "=".repeat(100) + "\n",
            row("httpd-init.service", "inactive", "dead"),
            row("httpd.service", "active", "running"),
        ];
        run.expect(DONE, &table.concat(), "");
    }
    assert_eq!(
        bus.run(&["list-units", "-f", "nothing*"])
            .stdout
            .lines()
            .count(),
        2
    );
}

#[test]
fn a_long_name_widens_its_column() {
    let long = format!("{}.device", "x".repeat(120));
    let mut fleet = Fleet::default();
    fleet
        .units
        .push((long.clone(), "active".into(), "plugged".into()));
    let (bus, _manager) = bus_with(fleet);
    let run = bus.run(&["list-units"]);
    assert_eq!(run.status, Some(DONE));
    assert!(
        run.stdout
            .contains(&format!("{long}|   active|  plugged\n")),
        "{run:?}"
    );
    let widths: Vec<usize> = run.stdout.lines().map(str::len).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");
}

#[test]
fn nodes_are_listed_for_people_and_for_awk() {
    let (bus, _manager) = bus_with(Fleet::default());
    let run = bus.run(&["list-nodes"]);
    run.expect(
        DONE,
        "NODE    STATE   LAST SEEN\n\
         laptop  online  now\n\
         rpi4    online  2s ago\n\
         sleeper offline never\n",
        "",
    );
}

#[test]
fn status_shows_the_nodes_with_their_addresses() {
    let (bus, _manager) = bus_with(Fleet::default());
    let run = bus.run(&["status"]);
    assert_eq!(
        run.lines()[2..],
        [
            "laptop | online | 10.0.0.1 | now",
            "rpi4 | online | 10.0.0.1 | 2s ago",
            "sleeper | offline | - | never"
        ],
        "{run:?}"
    );
    assert_eq!((run.status, run.stderr.as_str()), (Some(DONE), ""));
    let run = bus.run(&["status", "sleeper"]);
    assert_eq!(run.lines()[0], "NODE | STATE | IP | LAST SEEN");
    assert_eq!(run.lines()[2..], ["sleeper | offline | - | never"]);
    assert_eq!(run.status, Some(DONE));
    bus.run(&["status", "nonode"]).expect(
        UNKNOWN,
        "",
        "Node 'nonode' is not known to the manager\n",
    );
}

#[test]
fn status_shows_units_and_names_those_that_do_not_exist() {
    let (bus, _manager) = bus_with(Fleet::default());
    let run = bus.run(&["status", "rpi4", "httpd.service", "static.service"]);
    run.expect(
        DONE,
        "UNIT           | LOADED | ACTIVE   | SUBSTATE | ENABLED\n\
         -------------------------------------------------------\n\
         httpd.service  | loaded | active   | running  | enabled\n\
         static.service | loaded | inactive | dead     | -\n",
        "",
    );
    let run = bus.run(&[
        "status",
        "rpi4",
        "nope.service",
        "httpd.service",
        "gone.service",
    ]);
    assert_eq!(
        run.lines()[2..],
        ["httpd.service | loaded | active | running | enabled"]
    );
    assert_eq!(
        run.stderr,
        "Node 'rpi4': Unit nope.service could not be found.\n\
         Node 'rpi4': Unit gone.service could not be found.\n"
    );
    assert_eq!(run.status, Some(UNKNOWN));
    bus.run(&["status", "sleeper", "a.service", "b.service"])
        .expect(NODE_OFFLINE, "", "Node 'sleeper' is offline\n");
}

#[test]
fn jobs_are_requested_and_awaited() {
    let (bus, manager) = bus_with(Fleet::default());
    for (word, method) in [
        ("start", "StartUnit"),
        ("stop", "StopUnit"),
        ("restart", "RestartUnit"),
        ("reload", "ReloadUnit"),
    ] {
        let run = bus.run(&[word, "rpi4", "simple.service"]);
        run.expect(
            DONE,
            &format!("Unit simple.service {word} operation result: done\n"),
            "",
        );
        assert_eq!(
            manager.calls().last().unwrap(),
            &format!("{method} rpi4 simple.service replace")
        );
    }
}

#[test]
fn the_end_of_a_job_is_never_missed() {
    let (bus, _manager) = bus_with(Fleet::default());
    // Before the reply; after that of another job; behind hundreds of others; with a node name
    // that is special in match rules.
    for (node, unit) in [
        ("rpi4", "early.service"),
        ("rpi4", "other-first.service"),
        ("rpi4", "storm.service"),
        ("it's, \\ odd", "simple.service"),
        ("it's, \\ odd", "early.service"),
    ] {
        let run = bus.run(&["start", node, unit]);
        run.expect(
            DONE,
            &format!("Unit {unit} start operation result: done\n"),
            "",
        );
    }
}

#[test]
fn a_job_that_fails_is_a_failure() {
    let (bus, _manager) = bus_with(Fleet::default());
    for (result, status, sentence) in [
        (
            "failed",
            FAILED,
            "Node 'rpi4': the job to start result-failed.service failed; the journal of the node \
             says why\n",
        ),
        (
            "canceled",
            FAILED,
            "Node 'rpi4': the job to start result-canceled.service was cancelled\n",
        ),
        (
            "dependency",
            FAILED,
            "Node 'rpi4': the job to start result-dependency.service failed because a unit that \
             it depends on failed\n",
        ),
        (
            "node-lost",
            NODE_OFFLINE,
            "Node 'rpi4' was lost before the job to start result-node-lost.service had ended\n",
        ),
        ("skipped", DONE, ""),
    ] {
        let unit = format!("result-{result}.service");
        let run = bus.run(&["start", "rpi4", &unit]);
        let line = format!("Unit {unit} start operation result: {result}\n");
        run.expect(status, &line, sentence);
    }
}

#[test]
fn a_manager_that_vanishes_ends_the_wait() {
    for unit in ["vanish.service", "vanish-before-reply.service"] {
        let (bus, _manager) = bus_with(Fleet::default());
        let start = Instant::now();
        let run = bus.run(&["start", "rpi4", unit]);
        assert!(start.elapsed() < Duration::from_secs(5));
        run.expect(
            NO_MANAGER,
            "",
            "The manager left the bus before it had answered; what was asked for may have \
             happened or not\n",
        );
    }
}

#[test]
fn a_bus_that_vanishes_ends_the_wait() {
    let (mut bus, manager) = bus_with(Fleet::default());
    let child = bus
        .command(&["start", "rpi4", "endless.service"])
        .spawn()
        .unwrap();
    manager.wait_for_call("StartUnit");
    bus.0.kill();
    let run = Run::of(&wait(child));
    run.expect(
        NO_MANAGER,
        "",
        "The connection to the system bus was lost\n",
    );
}

#[test]
fn an_interrupt_ends_the_wait_at_once() {
    use std::os::unix::process::ExitStatusExt;
    let (bus, manager) = bus_with(Fleet::default());
    let child = bus
        .command(&["start", "rpi4", "endless.service"])
        .spawn()
        .unwrap();
    manager.wait_for_call("StartUnit");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = wait(child);
    assert_eq!(
        output.status.signal(),
        Some(rustix::process::Signal::INT.as_raw())
    );
}

#[test]
fn unit_files_are_enabled_and_disabled_and_then_reloaded() {
    let (bus, manager) = bus_with(Fleet::default());
    bus.run(&["enable", "rpi4", "httpd.service", "b.service"])
        .expect(
            DONE,
            "Created symlink /etc/systemd/system/multi-user.target.wants/httpd.service -> \
         /usr/lib/systemd/system/httpd.service\n\
         Created symlink /etc/systemd/system/multi-user.target.wants/b.service -> \
         /usr/lib/systemd/system/b.service\n",
            "",
        );
    bus.run(&["disable", "rpi4", "httpd.service"]).expect(
        DONE,
        "Removed \"/etc/systemd/system/multi-user.target.wants/httpd.service\".\n",
        "",
    );
    bus.run(&["enable", "rpi4", "static.service"]).expect(
        DONE,
        "",
        "The unit files did not include any enablement information\n",
    );
    bus.run(&["daemon-reload", "rpi4"]).expect(DONE, "", "");
    assert_eq!(
        manager.calls(),
        [
            "GetNode rpi4",
            "EnableUnitFiles rpi4 httpd.service b.service false false",
            "Reload rpi4",
            "GetNode rpi4",
            "DisableUnitFiles rpi4 httpd.service false",
            "Reload rpi4",
            "GetNode rpi4",
            "EnableUnitFiles rpi4 static.service false false",
            "Reload rpi4",
            "GetNode rpi4",
            "Reload rpi4",
        ]
    );
}

#[test]
fn errors_of_nodes_and_units_have_sentences_and_numbers() {
    let (bus, _manager) = bus_with(Fleet::default());
    for args in [
        &["list-units", "nonode"][..],
        &["start", "nonode", "a.service"],
        &["enable", "nonode", "a.service"],
        &["daemon-reload", "nonode"],
        &["status", "nonode", "a.service"],
    ] {
        bus.run(args)
            .expect(UNKNOWN, "", "Node 'nonode' is not known to the manager\n");
    }
    for args in [
        &["list-units", "sleeper"][..],
        &["stop", "sleeper", "a.service"],
        &["disable", "sleeper", "a.service"],
        &["daemon-reload", "sleeper"],
    ] {
        bus.run(args)
            .expect(NODE_OFFLINE, "", "Node 'sleeper' is offline\n");
    }
    bus.run(&["start", "rpi4", "nope.service"]).expect(
        UNKNOWN,
        "",
        "Node 'rpi4': Unit nope.service not found.\n",
    );
    bus.run(&["enable", "rpi4", "nope.service"]).expect(
        UNKNOWN,
        "",
        "Node 'rpi4': Unit file nope.service does not exist.\n",
    );
    bus.run(&["start", "rpi4", "refused.service"]).expect(
        FAILED,
        "",
        "Node 'rpi4': Operation refused. (org.freedesktop.systemd1.OnlyByDependency)\n",
    );
    bus.run(&["daemon-reload", "stubborn"]).expect(
        FAILED,
        "",
        "Node 'stubborn': No answer. (org.freedesktop.DBus.Error.Timeout)\n",
    );
    bus.run(&["list-units", "stranger"]).expect(
        FAILED,
        "",
        "ListUnits of the manager has an unexpected form: signature 's' instead of \
         'a(ssssssouso)'\n",
    );
}

#[test]
fn nodes_that_fail_do_not_hide_the_others() {
    let mut fleet = Fleet::default();
    let timeout = "org.freedesktop.DBus.Error.Timeout";
    fleet
        .failures
        .push(("stubborn", timeout, "No answer within 20 s"));
    let (bus, _manager) = bus_with(fleet);
    let run = bus.run(&["list-units"]);
    assert_eq!(run.stdout.lines().count(), 2 + 6);
    assert_eq!(
        run.stderr,
        "Node 'stubborn': No answer within 20 s (org.freedesktop.DBus.Error.Timeout)\n"
    );
    assert_eq!(run.status, Some(FAILED));

    let mut fleet = Fleet::default();
    fleet
        .failures
        .push(("x", "org.containers.hirte.Offline", "Node is offline"));
    let (bus, _manager) = bus_with(fleet);
    let run = bus.run(&["list-units"]);
    assert_eq!(run.stderr, "Node 'x' is offline\n");
    assert_eq!(run.status, Some(NODE_OFFLINE));
}

#[test]
fn a_fleet_too_large_for_one_message_is_asked_node_by_node() {
    let mut fleet = Fleet {
        too_large: true,
        ..Fleet::default()
    };
    fleet.nodes.push(("stubborn".into(), true));
    fleet.nodes.push(("stranger".into(), true));
    let (bus, manager) = bus_with(fleet);
    let run = bus.run(&["list-units", "--filter=h*"]);
    assert_eq!(
        run.lines()[2..],
        [
            "laptop |httpd-init.service | inactive| dead",
            "laptop |httpd.service | active| running",
            "rpi4 |httpd-init.service | inactive| dead",
            "rpi4 |httpd.service | active| running",
        ]
    );
    assert!(run.stderr.starts_with(
        "Node 'stubborn': No answer. (org.freedesktop.DBus.Error.Timeout)\n\
         ListUnits of the manager has an unexpected form: "
    ));
    assert_eq!(run.status, Some(FAILED));
    assert!(!manager.calls().contains(&"ListUnits sleeper".to_owned()));
}

#[test]
fn without_a_manager_that_is_what_is_said() {
    let bus = Bus::start();
    let sentence = "No manager owns the name org.containers.hirte on the system bus: is \
                    hirte.service running?\n";
    for args in [
        &["list-units"][..],
        &["list-units", "rpi4"],
        &["list-nodes"],
        &["start", "rpi4", "a.service"],
        &["status", "rpi4", "a.service"],
    ] {
        bus.run(args).expect(NO_MANAGER, "", sentence);
    }
    let address = "unix:path=/nonexistent/bus";
    let child = bus
        .command(&["list-nodes"])
        .env("DBUS_SYSTEM_BUS_ADDRESS", address)
        .spawn()
        .unwrap();
    let run = Run::of(&wait(child));
    assert!(
        run.stderr
            .starts_with("Can not connect to the system bus: "),
        "{run:?}"
    );
    assert_eq!(run.status, Some(NO_MANAGER));
}

#[test]
fn a_bus_that_forbids_the_call_is_quoted() {
    let bus = Bus(PrivateBus::start_with_policy(
        r#"<deny send_interface="org.containers.hirte.Node" send_member="Reload"/>"#,
    ));
    let _manager = Manager::start(&bus.0.address(), Fleet::default());
    let run = bus.run(&["daemon-reload", "rpi4"]);
    assert!(
        run.stderr
            .starts_with("The system bus does not allow this user to do that: "),
        "{run:?}"
    );
    assert_eq!(run.status, Some(FAILED));
}

#[test]
fn names_can_not_steer_the_terminal() {
    let mut fleet = Fleet::default();
    fleet
        .nodes
        .push(("evil\x1b[2J\nroot online now".into(), true));
    fleet.units.push((
        "a\x1b]0;title\x07\u{9b}31m.service".into(),
        "act\rive".into(),
        "x".into(),
    ));
    fleet
        .failures
        .push(("e\x1b[31m", "some.Error", "two\nlines\u{202e}"));
    let (bus, _manager) = bus_with(fleet);
    for args in [
        &["list-nodes"][..],
        &["list-units"],
        &["list-units", "rpi4"],
        &["status"],
        &["start", "rpi4", "a\x1b[31m.service"],
        &["start", "no\x1b[31mde", "a.service"],
        &["no\x1b[31mcommand"],
    ] {
        let run = bus.run(args);
        for text in [&run.stdout, &run.stderr] {
            let hostile = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(hostile), "{run:?}");
        }
    }
    let run = bus.run(&["list-nodes"]);
    assert_eq!(run.stdout.lines().count(), 1 + 4);
    assert!(
        run.stdout
            .contains("evil\\x1b[2J\\x0aroot online now online"),
        "{run:?}"
    );
}

fn large_fleet() -> Fleet {
    Fleet {
        nodes: (0..100)
            .map(|number| (format!("node{number}"), true))
            .collect(),
        units: (0..300)
            .map(|number| {
                (
                    format!("u{number:03}.service"),
                    "active".into(),
                    "running".into(),
                )
            })
            .collect(),
        ..Fleet::default()
    }
}

#[test]
fn long_lists_arrive_whole() {
    let (bus, _manager) = bus_with(large_fleet());
    let run = bus.run(&["list-units"]);
    assert_eq!(run.stdout.lines().count(), 2 + 100 * 300);
    assert_eq!((run.status, run.stderr.as_str()), (Some(DONE), ""));
    assert_eq!(bus.run(&["list-nodes"]).stdout.lines().count(), 1 + 100);
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let (bus, _manager) = bus_with(large_fleet());
    let mut child = bus.command(&["list-units"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("NODE "));
    let run = Run::of(&wait(child));
    run.expect(DONE, "", "");
}

#[test]
fn output_that_can_not_be_written_is_an_error() {
    let (bus, _manager) = bus_with(Fleet::default());
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let child = bus.command(&["list-nodes"]).stdout(full).spawn().unwrap();
    let run = Run::of(&wait(child));
    let sentence = "Can not write to standard output: No space left on device (os error 28)\n";
    run.expect(FAILED, "", sentence);
}

#[test]
fn colours_are_for_terminals_only() {
    let (bus, _manager) = bus_with(Fleet::default());
    let on_terminal = |no_color: Option<&str>| {
        let mut command = Command::new("script");
        command
            .args([
                "-qec",
                &format!("{} list-nodes", hirtectl().display()),
                "/dev/null",
            ])
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.0.address())
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .envs(no_color.map(|value| ("NO_COLOR", value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command
            .spawn()
            .expect("this test needs script (Debian package bsdutils)");
        Run::of(&wait(child)).stdout
    };
    let coloured = on_terminal(None);
    assert!(
        coloured.contains("laptop  \x1b[32monline\x1b[0m  now"),
        "{coloured}"
    );
    assert!(
        coloured.contains("\x1b[31moffline\x1b[0m never"),
        "{coloured}"
    );
    assert!(!on_terminal(Some("1")).contains('\x1b'));
    assert!(!bus.run(&["list-nodes"]).stdout.contains('\x1b'));
}

#[test]
fn the_command_line_is_checked_before_the_bus_is_asked() {
    let bus = Bus::start();
    let hint = "'hirtectl help' lists the commands.\n";
    let wrong: [(&[&str], &str); 5] = [
        (&["frobnicate"], "Unknown command 'frobnicate'\n"),
        (&[], "No command given\n"),
        (&["start", "rpi4"], "Missing argument: UNIT...\n"),
        (&["list-nodes", "--filter=x"], "Unknown option '--filter'\n"),
        (&["list-units", "-f"], "Option '-f' needs a value\n"),
    ];
    for (args, complaint) in wrong {
        bus.run(args)
            .expect(USAGE, "", &format!("{complaint}{hint}"));
    }
    for args in [&["--version"][..], &["version"], &["-v"]] {
        bus.run(args)
            .expect(DONE, concat!(env!("CARGO_PKG_VERSION"), "\n"), "");
    }
    for args in [
        &["help"][..],
        &["--help"],
        &["-h"],
        &["help", "start"],
        &["start", "-h"],
    ] {
        let run = bus.run(args);
        assert!(run.stdout.starts_with("Usage: hirtectl "), "{run:?}");
        assert_eq!((run.status, run.stderr.as_str()), (Some(DONE), ""));
    }
}
