//! Each command for people: what it asks of the manager, and what it prints.

use super::*;

#[test]
fn units_of_one_command_are_handled_at_once_and_told_one_by_one() {
    let (bus, manager) = bus_with(Fleet::default());
    let run = bus.run(&[
        "start",
        "rpi4",
        "a",
        "result-failed.service",
        "nope",
        "b.socket",
    ]);
    let line = |unit: &str, result: &str| format!("Unit {unit} start operation result: {result}\n");
    let lines = [
        line("a.service", "done"),
        line("result-failed.service", "failed"),
        line("b.socket", "done"),
    ];
    run.expect(
        FAILED,
        &lines.concat(),
        "Node 'rpi4': Unit nope.service not found.\n\
         Node 'rpi4': the job to start result-failed.service failed; the journal of the node says \
         why\n",
    );
    assert_eq!(
        manager.calls(),
        [
            "GetNode rpi4",
            "StartUnit rpi4 a.service replace",
            "StartUnit rpi4 result-failed.service replace",
            "StartUnit rpi4 nope.service replace",
            "StartUnit rpi4 b.socket replace",
        ]
    );
    bus.run(&["stop", "sleeper", "a", "b"])
        .expect(NODE_OFFLINE, "", "Node 'sleeper' is offline\n");
}

#[test]
fn jobs_have_modes_and_need_not_be_awaited() {
    let (bus, manager) = bus_with(Fleet::default());
    bus.run(&[
        "restart",
        "rpi4",
        "endless",
        "--no-block",
        "--job-mode=fail",
    ])
    .expect(
        DONE,
        "Unit endless.service restart operation queued as job 1\n",
        "",
    );
    assert_eq!(manager.calls()[1], "RestartUnit rpi4 endless.service fail");
    let run = bus.run(&["start", "--job-mode", "fial", "rpi4", "a"]);
    assert_eq!(run.status, Some(USAGE), "{run:?}");
    assert!(run.stderr.contains("did you mean 'fail'?"), "{run:?}");
}

#[test]
fn jobs_are_listed_and_cancelled() {
    let (bus, manager) = bus_with(Fleet::default());
    bus.run(&["list-jobs"]).expect(
        DONE,
        "JOB NODE   UNIT          TYPE  STATE\n\
         \x20 7 rpi4   slow.service  start running\n\
         \x2012 laptop other.service start running\n",
        "",
    );
    let run = bus.run(&["list-jobs", "rpi4"]);
    assert_eq!(run.lines()[1..], ["7 rpi4 slow.service start running"]);
    bus.run(&["cancel", "7", "9", "12"])
        .expect(UNKNOWN, "", "There is no job 9\n");
    assert_eq!(
        manager.calls()[1..],
        ["Cancel slow.service", "Cancel other.service"]
    );
}

#[test]
fn what_happens_at_once_is_told_for_each_unit() {
    let (bus, manager) = bus_with(Fleet::default());
    for (args, call) in [
        (&["freeze", "rpi4", "a"][..], "FreezeUnit rpi4 a.service"),
        (&["thaw", "rpi4", "a"], "ThawUnit rpi4 a.service"),
        (&["kill", "rpi4", "a"], "KillUnit rpi4 a.service all 15"),
        (
            &["kill", "rpi4", "a", "--kill-whom=main", "-s", "SIGUSR1"],
            "KillUnit rpi4 a.service main 10",
        ),
        (
            &["reset-failed", "rpi4", "a"],
            "ResetFailedUnit rpi4 a.service",
        ),
    ] {
        let line = format!("Unit a.service {} operation result: done\n", args[0]);
        bus.run(args).expect(DONE, &line, "");
        assert_eq!(manager.calls().last().unwrap(), call);
    }
    bus.run(&["freeze", "rpi4", "nope", "b"]).expect(
        UNKNOWN,
        "Unit b.service freeze operation result: done\n",
        "Node 'rpi4': Unit nope.service not loaded.\n",
    );
    bus.run(&["reset-failed", "rpi4"]).expect(
        DONE,
        "Node rpi4 reset-failed operation result: done\n",
        "",
    );
    bus.run(&["reset-failed"]).expect(
        DONE,
        "Node laptop reset-failed operation result: done\n\
         Node rpi4 reset-failed operation result: done\n",
        "",
    );
    assert_eq!(
        bus.run(&["kill", "rpi4", "a", "--signal=SIGTRM"]).stderr,
        "--signal=SIGTRM: there is no such signal, did you mean 'TERM'?\n\
         'hirtectl help' lists the commands.\n"
    );
}

#[test]
fn unit_files_are_listed_and_their_states_told() {
    let (bus, manager) = bus_with(Fleet::default());
    let run = bus.run(&["list-unit-files", "rpi4"]);
    assert_eq!(
        run.lines()[2..],
        [
            "cups.service | disabled",
            "httpd.service | enabled",
            "rescue.target | static"
        ]
    );
    let run = bus.run(&["list-unit-files", "--filter=*.target"]);
    assert_eq!(run.lines()[0], "NODE |ID | STATE");
    assert_eq!(
        run.lines()[2..],
        [
            "laptop |rescue.target | static",
            "rpi4 |rescue.target | static"
        ]
    );
    for (units, status, states, complaint) in [
        (&["on", "static"][..], DONE, "enabled\nstatic\n", ""),
        (&["on", "off"], FAILED, "enabled\ndisabled\n", ""),
        (
            &["nope"],
            UNKNOWN,
            "",
            "Node 'rpi4': Unit nope.service could not be found.\n",
        ),
    ] {
        let args = [&["is-enabled", "rpi4"], units].concat();
        bus.run(&args).expect(status, states, complaint);
    }
    bus.run(&["get-default", "rpi4"])
        .expect(DONE, "multi-user.target\n", "");
    bus.run(&["set-default", "rpi4", "rescue.target"]).expect(
        DONE,
        "Removed \"/etc/systemd/system/default.target\".\n\
         Created symlink /etc/systemd/system/default.target -> \
         /usr/lib/systemd/system/rescue.target\n",
        "",
    );
    let so_far = manager.calls().len();
    bus.run(&["enable", "rpi4", "a", "-f", "--runtime", "--no-reload"]);
    bus.run(&["disable", "rpi4", "a", "--runtime", "--no-reload"]);
    assert_eq!(
        manager.calls()[so_far..],
        [
            "GetNode rpi4",
            "EnableUnitFiles rpi4 a.service true true",
            "GetNode rpi4",
            "DisableUnitFiles rpi4 a.service true",
        ]
    );
}

#[test]
fn a_fleet_with_too_many_unit_files_is_asked_node_by_node() {
    let (bus, _manager) = bus_with(Fleet {
        too_large: true,
        ..Fleet::default()
    });
    let run = bus.run(&["list-unit-files", "-f", "httpd*"]);
    assert_eq!(
        run.lines()[2..],
        [
            "laptop |httpd.service | enabled",
            "rpi4 |httpd.service | enabled"
        ]
    );
}

#[test]
fn the_status_of_a_unit_tells_what_systemctl_tells() {
    let (bus, _manager) = bus_with(Fleet::default());
    let run = bus.run(&["status", "rpi4", "httpd"]);
    let lines: Vec<&str> = run.stdout.lines().collect();
    let (active, age) = lines[3].split_once("; ").unwrap();
    assert!(age.ends_with("d ago"), "{run:?}");
    assert_eq!(
        (active, &lines[..3], &lines[4..]),
        (
            "     Active: active (running) since Tue 2023-11-14 22:13:20 UTC",
            &[
                "● httpd.service - The web server",
                "       Node: rpi4",
                "     Loaded: loaded (/usr/lib/systemd/system/httpd.service; enabled; preset: \
                 disabled)",
            ][..],
            &[
                "   Main PID: 123",
                "     Status: \"Ready\"",
                "      Tasks: 5",
                "     Memory: 5.0M",
                "        CPU: 52ms",
            ][..]
        )
    );
    assert_eq!((run.status, run.stderr.as_str()), (Some(DONE), ""));
    bus.run(&["status", "rpi4", "static"]).expect(
        DONE,
        "○ static.service\n\
         \x20      Node: rpi4\n\
         \x20    Loaded: loaded\n\
         \x20    Active: inactive (dead)\n",
        "",
    );
}

#[test]
fn log_levels_and_metrics_are_set() {
    let (bus, manager) = bus_with(Fleet::default());
    bus.run(&["set-loglevel", "DEBUG"]).expect(DONE, "", "");
    bus.run(&["set-loglevel", "rpi4", "info"])
        .expect(DONE, "", "");
    bus.run(&["set-loglevel", "LOUD"]).expect(
        FAILED,
        "",
        "Unknown log level 'LOUD' (org.freedesktop.DBus.Error.InvalidArgs)\n",
    );
    bus.run(&["metrics", "enable"]).expect(DONE, "Done\n", "");
    bus.run(&["metrics", "disable"]).expect(DONE, "Done\n", "");
    assert_eq!(
        manager.calls(),
        [
            "SetLogLevel DEBUG",
            "GetNode rpi4",
            "SetLogLevel rpi4 info",
            "SetLogLevel LOUD",
            "EnableMetrics",
            "DisableMetrics",
        ]
    );
    let run = bus.run(&["metrics", "lissten"]);
    assert!(run.stderr.contains("did you mean 'listen'?"), "{run:?}");
}

#[test]
fn a_monitor_tells_everything_as_the_c_program_does() {
    let (bus, manager) = bus_with(Fleet::default());
    bus.run(&["monitor", "rpi4", "vanish,b.socket"]).expect(
        NO_MANAGER,
        "Monitor path: /org/containers/hirte/monitor/1\n\
         Subscribing to node 'rpi4' and unit 'vanish.service'\n\
         Subscribing to node 'rpi4' and unit 'b.socket'\n\
         [rpi4] vanish.service\n\tUnit created (reason: virtual)\n\
         [rpi4] vanish.service\n\tUnit state changed (reason: real)\n\tActive: active (running)\n\
         [rpi4] vanish.service\n\tUnit properties changed (Interface: \
         org.freedesktop.systemd1.Unit)\n\tActiveState: active\n\tNRestarts: 2\n\
         \tSubState: running\n\tWants: [\"a.service\",\"b.service\"]\n\
         [rpi4] vanish.service\n\tUnit removed (reason: real)\n",
        "The manager left the bus\n",
    );
    assert_eq!(
        manager.calls(),
        ["SubscribeList rpi4 vanish.service b.socket"]
    );
    let (bus, manager) = bus_with(Fleet::default());
    let child = bus.command(&["monitor"]).spawn().unwrap();
    manager.wait_for_call("SubscribeList * *");
    end(child);
    let run = bus.run(&["monitor", "nonode"]);
    assert_eq!(run.status, Some(UNKNOWN), "{run:?}");
}

/// A run that goes on until it is ended, line by line.
pub struct Stream {
    pub child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Stream {
    pub fn of(bus: &Bus, args: &[&str]) -> Self {
        let mut child = bus.command(args).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub fn next(&mut self) -> String {
        self.lines.next().expect("a line").unwrap()
    }
}

pub fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn measurements_are_told_as_they_come() {
    let (bus, _manager) = bus_with(Fleet::default());
    let mut people = Stream::of(&bus, &["metrics", "listen"]);
    assert_eq!(people.next(), "Waiting for metrics signals...");
    bus.run(&["start", "rpi4", "measured"]);
    for line in [
        "[rpi4] Agent systemd StartUnit job on measured.service net measured time: 56.8ms",
        "[rpi4] Job /org/containers/hirte/job/1 to start unit measured.service:",
        "\tHirte job gross measured time: 123.5ms",
        "\tUnit net start time (from properties): 0.0ms",
    ] {
        assert_eq!(people.next(), line);
    }
    end(people.child);
}

#[test]
fn a_view_is_shown_again_when_it_changes() {
    for args in [&["status", "-w"][..], &["monitor", "node-connection"]] {
        let (bus, _manager) = bus_with(Fleet::default());
        let mut view = Stream::of(&bus, args);
        let mut rows = || -> Vec<String> {
            let lines = std::iter::from_fn(|| Some(view.next()));
            lines.take_while(|line| !line.is_empty()).collect()
        };
        assert!(rows()[3].starts_with("rpi4    | online  | 10.0.0.1 |"));
        bus.run(&["start", "rpi4", "unplug"]);
        assert!(rows()[3].starts_with("rpi4    | offline | -        |"));
        end(view.child);
    }
    let (bus, manager) = bus_with(Fleet::default());
    let mut unit = Stream::of(&bus, &["status", "--watch", "rpi4", "httpd", "--json"]);
    assert!(unit.next().contains("\"unit\":\"httpd.service\""));
    bus.run(&["start", "rpi4", "unplug"]);
    assert_eq!(
        unit.next(),
        r#"{"event":"error","node":"rpi4","message":"Node 'rpi4' is offline","status":4}"#
    );
    manager.wait_for_call("SubscribeList rpi4 httpd.service");
    end(unit.child);
}

#[test]
fn whether_something_is_online_is_a_question_for_scripts() {
    let (bus, _manager) = bus_with(Fleet::default());
    for (args, status, answer) in [
        (&["is-online", "node", "rpi4"][..], DONE, "online\n"),
        (&["is-online", "node", "sleeper"], FAILED, "offline\n"),
        (&["is-online", "system"], FAILED, "degraded\n"),
    ] {
        bus.run(args).expect(status, answer, "");
    }
    bus.run(&["is-online", "node", "nonode", "--wait=5s"])
        .expect(UNKNOWN, "", "Node 'nonode' is not known to the manager\n");
    bus.run(&["is-online", "agent"]).expect(
        NO_MANAGER,
        "",
        "No agent owns the name org.containers.hirte.Agent on the system bus: is \
         hirte-agent.service running?\n",
    );
    let begun = Instant::now();
    let run = bus.run(&["is-online", "node", "sleeper", "--wait=300"]);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    run.expect(FAILED, "offline\n", "");
    let run = bus.run(&["is-online", "sistem"]);
    assert_eq!(run.status, Some(USAGE));
    assert!(run.stderr.contains("did you mean 'system'?"), "{run:?}");

    let mut watched = Stream::of(&bus, &["is-online", "node", "rpi4", "--monitor"]);
    assert_eq!(watched.next(), "online");
    bus.run(&["start", "rpi4", "unplug"]);
    assert_eq!(watched.next(), "offline");
    assert_eq!(watched.child.wait().unwrap().code(), Some(FAILED));
}

#[test]
fn what_comes_online_in_time_is_awaited() {
    let bus = Bus::start();
    let child = bus
        .command(&["is-online", "system", "--wait=20s"])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let _manager = Manager::start(
        &bus.0.address(),
        Fleet {
            nodes: vec![("rpi4".into(), true)],
            ..Fleet::default()
        },
    );
    Run::of(&wait(child)).expect(DONE, "up\n", "");
}

#[test]
fn a_terminal_is_told_what_is_waited_for() {
    let (bus, manager) = bus_with(Fleet::default());
    let on_terminal = |word: &str| {
        Command::new("script")
            .args([
                "-qec",
                &format!("{} {word} rpi4 endless", env!("CARGO_BIN_EXE_hirtectl")),
                "/dev/null",
            ])
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.0.address())
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs script (Debian package bsdutils)")
    };
    let mut terminal = on_terminal("start");
    let mut piped = bus.command(&["start", "rpi4", "endless"]).spawn().unwrap();
    manager.wait_for_call("StartUnit");
    let expected = "\rWaiting for rpi4 to start endless.service (1 s)\x1b[K";
    let mut line = vec![0; expected.len()];
    let mut shown = terminal.stdout.take().unwrap();
    shown.read_exact(&mut line).unwrap();
    assert_eq!(String::from_utf8(line).unwrap(), expected);
    end(terminal);
    piped.kill().unwrap();
    let piped = wait(piped);
    assert_eq!((piped.stdout, piped.stderr), (Vec::new(), Vec::new()));
}

#[test]
fn logs_are_shown_and_stand_behind_the_status_of_a_unit() {
    let (bus, manager) = bus_with(Fleet::default());
    let entry = "Nov 14 22:13:20 rpi4 httpd[7]: Serving\n";
    bus.run(&["logs", "rpi4", "logged", "-fn5", "--since=-1h"])
        .expect(DONE, entry, "");
    assert_eq!(
        manager.calls().last().unwrap(),
        "OpenLog rpi4 logged.service follow lines since"
    );
    let run = bus.run(&["logs", "--json", "rpi4", "logged"]);
    assert_eq!(run.status, Some(DONE), "{run:?}");
    assert!(
        run.stdout.starts_with("{\"__REALTIME_TIMESTAMP\""),
        "{run:?}"
    );
    assert_eq!(run.stdout.lines().count(), 1, "{run:?}");
    bus.run(&["logs", "rpi4", "other"]).expect(
        FAILED,
        "",
        "Node 'rpi4': Unknown method OpenLog. (org.freedesktop.DBus.Error.UnknownMethod)\n",
    );
    let run = bus.run(&["status", "rpi4", "logged"]);
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(
        run.stdout.ends_with(&format!("\n\n{entry}")),
        is_root,
        "{run:?}"
    );
    let run = bus.run(&["logs", "-o", "verbos", "rpi4", "logged"]);
    assert_eq!(run.status, Some(USAGE), "{run:?}");
}

#[test]
fn a_command_on_a_node_ends_with_its_own_status() {
    let (bus, manager) = bus_with(Fleet::default());
    bus.run(&["exec", "rpi4", "exit", "--help", "--", "7"])
        .expect(7, "out\n", "err\n");
    assert_eq!(
        manager.calls().last().unwrap(),
        "Exec rpi4 exit|--help|--|7"
    );
    bus.run(&["exec", "rpi4", "true"])
        .expect(DONE, "out\n", "err\n");
    bus.run(&["exec", "rpi4", "lost"]).expect(
        NODE_OFFLINE,
        "out\n",
        "err\nNode 'rpi4' was lost before the command had ended\n",
    );
    bus.run(&["exec", "sleeper", "true"])
        .expect(NODE_OFFLINE, "", "Node 'sleeper' is offline\n");
}
