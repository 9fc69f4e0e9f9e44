//! Logs and commands of a node over hirtectl, on real systemd: what comes and in which order, how it
//! ends, who may, and that nobody's memory grows when nobody reads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "guide/mod.rs"]
mod guide;
#[path = "lab/mod.rs"]
mod lab;
#[path = "support/tree.rs"]
mod tree;

use std::time::Duration;

use lab::{Lab, Node};

const SOON: Duration = Duration::from_secs(10);
const AGENT: &str = "hirte-agent.service";
const ALLOW: &str = "[hirte-agent]\nAllowExec=yes\n";

/// A service with a line break, a tab, bytes that are no text and an odd name.
const TALKS: &str = "talks@a\\x2db:1.service";

/// The laptop, where hirtectl runs, and the node that is read.
struct Fleet {
    laptop: Node,
    rpi4: Node,
    lab: Lab,
}

fn fleet(name: &str) -> Option<Fleet> {
    if !lab::require() {
        return None;
    }
    let lab = Lab::builder(name).layer(tree::install_tree()).build();
    let [laptop, rpi4] = guide::first_with(&lab, &guide::Walk { is_shown: false }, |node| {
        if node.name() == "rpi4" {
            node.write("/etc/hirte/agent.conf.d/exec.conf", ALLOW);
        }
    });
    Some(Fleet { laptop, rpi4, lab })
}

impl Fleet {
    /// Runs a script on the laptop, which must end with this status; both its outputs.
    fn check(&self, script: &str, status: i32) -> (String, String) {
        let found = self.laptop.sh(script);
        assert!(
            found.status.code() == Some(status),
            "# {script}\nexpected status {status}\n{found}\n{}\n{}",
            guide::journals(&self.laptop),
            guide::journals(&self.rpi4)
        );
        (found.stdout, found.stderr)
    }

    fn printed(&self, script: &str) -> String {
        self.check(script, 0).0
    }

    /// Waits until there is no unit of a stream on the node, and no pipe.
    fn wait_quiet(&self) {
        lab::eventually(SOON, "no unit and no pipe is left", || {
            let left = "systemctl list-units --all --plain --no-legend 'hirte-stream-*'; \
                        ls /run/hirte-agent";
            self.rpi4.sh(left).stdout.trim().is_empty()
        });
    }

    fn memory_kb(node: &Node, unit: &str) -> u64 {
        let pid = node.pid_of(unit).unwrap();
        let status = node.ok(&["grep", "^VmRSS", &format!("/proc/{pid}/status")]);
        let number = status.split_whitespace().nth(1).unwrap();
        number.parse().unwrap()
    }
}

#[test]
fn commands_are_run_as_if_they_were_here() {
    let Some(fleet) = fleet("exec") else { return };
    fleet.rpi4.write(
        "/usr/bin/pg_isready",
        "#!/bin/sh\necho \"/var/run/postgresql:5432 - accepting connections $*\"\n",
    );
    fleet.rpi4.ok(&["chmod", "755", "/usr/bin/pg_isready"]);
    let ready = fleet.printed("hirtectl exec rpi4 \"pg_isready -U postgres\"");
    assert_eq!(
        ready,
        "/var/run/postgresql:5432 - accepting connections -U postgres\n"
    );

    // Words reach the program as they are.
    let words = fleet.printed(
        r#"hirtectl exec rpi4 printf '[%s]\n' 'a b' '$HOME' '${HOME}' '%n' '$$' '' '"' '\n' -l --"#,
    );
    assert_eq!(
        words,
        "[a b]\n[$HOME]\n[${HOME}]\n[%n]\n[$$]\n[]\n[\"]\n[\\n]\n[-l]\n[--]\n"
    );
    let script =
        fleet.printed(r#"hirtectl exec rpi4 'A=1; echo "$A ${A}-$$" | sed s/-[0-9]*$//; pwd'"#);
    assert_eq!(script, "1 1\n/\n");

    // Output and errors apart, and the exit status as a shell tells it.
    let (output, errors) = fleet.check("hirtectl exec rpi4 'echo out; echo err >&2; exit 7'", 7);
    assert_eq!((output.as_str(), errors.as_str()), ("out\n", "err\n"));
    fleet.check("hirtectl exec rpi4 true", 0);
    fleet.check("hirtectl exec rpi4 'kill -KILL $$'", 137);
    let (_, errors) = fleet.check("hirtectl exec rpi4 no-such-program a", 127);
    assert!(errors.contains("no-such-program"), "{errors}");
    fleet.check("hirtectl exec rpi4 cat", 0);
    fleet.check("hirtectl exec rpi4 ''", 1);
    fleet.check("hirtectl exec rpi4", 2);
    let (_, errors) = fleet.check("hirtectl exec nobody true", 5);
    assert!(errors.contains("nobody"), "{errors}");

    // Bytes of any value, as many as there are, and faster than they can be taken.
    fleet.rpi4.sh("head -c 9000001 /dev/urandom > /root/data");
    let there = fleet.rpi4.ok(&["sha256sum", "/root/data"]);
    let here = fleet.printed("hirtectl exec rpi4 cat /root/data | sha256sum");
    assert_eq!(there.split(' ').next(), here.split(' ').next());

    // It comes while the command runs.
    let running = fleet
        .laptop
        .spawn(&["hirtectl", "exec", "rpi4", "echo first; sleep 600"]);
    running.wait_output("first", SOON);
    // Ctrl-C, and an end that nobody can catch, stop it.
    let unit = "systemctl list-units --plain --no-legend 'hirte-stream-*'";
    assert!(fleet.rpi4.sh(unit).stdout.contains("hirte-stream-"));
    running.end("INT");
    fleet.wait_quiet();
    let running = fleet.laptop.spawn(&[
        "hirtectl",
        "exec",
        "rpi4",
        "trap '' TERM PIPE; echo first; sleep 600; sleep 600",
    ]);
    running.wait_output("first", SOON);
    running.end("KILL");
    fleet.wait_quiet();

    // Over the bus as over the private socket.
    let bus = "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket";
    fleet.check(&format!("{bus} hirtectl exec rpi4 'exit 9'"), 9);
    let running = fleet.laptop.spawn(&[
        "env",
        bus,
        "hirtectl",
        "exec",
        "rpi4",
        "echo first; sleep 600",
    ]);
    running.wait_output("first", SOON);
    running.end("INT");
    fleet.wait_quiet();

    // Who ran what is in both journals.
    for (node, unit) in [(&fleet.laptop, "hirte.service"), (&fleet.rpi4, AGENT)] {
        let journal = node.journal(unit);
        let line = journal
            .lines()
            .find(|line| line.contains("Exec [\"pg_isready -U postgres\"]"));
        let line = line.unwrap_or_else(|| panic!("{journal}"));
        assert!(line.contains("uid 0, pid "), "{line}");
        assert!(journal.contains("status 7"), "{journal}");
    }
    nobody_else_may(&fleet);
}

fn nobody_else_may(fleet: &Fleet) {
    // Where nobody has allowed it.
    let (_, errors) = fleet.check("hirtectl exec laptop id", 1);
    assert!(errors.contains("AllowExec"), "{errors}");
    assert!(fleet.laptop.journal(AGENT).contains("refused"));
    // Not even the group of those who may read.
    fleet
        .laptop
        .sh("useradd --no-create-home reader; usermod --append --groups hirte reader");
    let bus = "env DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket";
    for way in ["", bus] {
        for command in ["exec rpi4 id", "logs rpi4 httpd.service"] {
            let script = format!(
                "setpriv --reuid reader --regid reader --init-groups {way} hirtectl {command}"
            );
            let (output, errors) = fleet.check(&script, 1);
            assert_eq!(output, "", "{script}: {errors}");
        }
    }
    // Nor anybody with somebody else's stream.
    let close = "busctl call org.containers.hirte /org/containers/hirte/stream/1 \
                 org.containers.hirte.Stream Close";
    let running = fleet
        .laptop
        .spawn(&["hirtectl", "exec", "rpi4", "echo first; sleep 600"]);
    running.wait_output("first", SOON);
    let tree = fleet.printed("busctl tree --list org.containers.hirte | grep stream/");
    let path = tree.trim();
    let (_, errors) = fleet.check(&close.replace("/org/containers/hirte/stream/1", path), 1);
    assert!(errors.contains("Access denied"), "{errors}");
    running.end("INT");
    fleet.wait_quiet();
    fleet.check(close, 1);
}

/// journalctl writes the fields of an entry in any order.
fn entries(json: &str) -> Vec<serde_json::Value> {
    let lines = json.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn logs_are_read_live_and_ends_are_told() {
    let Some(fleet) = fleet("logs") else { return };
    fleet.rpi4.write(
        "/usr/local/bin/talks",
        "#!/bin/sh\nfor i in 1 2 3 4 5; do echo \"<$((i - 1))>line $i\"; done\n\
         printf 'tab\\tand \\377 byte\\n'\nread x < /run/go\necho \"later $x\"\nsleep 600\n",
    );
    fleet
        .rpi4
        .sh("chmod 755 /usr/local/bin/talks; mkfifo /run/go");
    fleet.rpi4.unit(
        "talks@.service",
        "[Service]\nExecStart=/usr/local/bin/talks\nSyslogIdentifier=talker\n",
    );
    fleet.rpi4.systemctl(&["start", TALKS]);
    fleet.rpi4.wait_journal(TALKS, "line 5", SOON);
    let log = |options: &str| fleet.printed(&format!("hirtectl logs rpi4 '{TALKS}' {options}"));

    let all = log("");
    for (number, line) in (1..=5).zip(all.lines().filter(|line| line.contains("line "))) {
        assert!(line.contains(" rpi4 talker["), "{line}");
        assert!(line.ends_with(&format!("]: line {number}")), "{all}");
    }
    assert!(all.contains("blob data]"), "{all}");
    assert_eq!(log("-n 3 -o cat").lines().count(), 3);
    assert_eq!(log("-p 1 -o cat"), "line 1\nline 2\n");
    assert_eq!(log("--until 2001-01-01 -o cat"), "");
    assert!(log("--since=-1h -o cat").contains("line 1"));
    // JSON is journalctl's own.
    let json = log("--json -n 2");
    let own = fleet.rpi4.sh(&format!(
        "journalctl --all --output=json --quiet --lines=2 --unit='{TALKS}'"
    ));
    assert_eq!(entries(&json), entries(&own.stdout));
    // The time is that of journalctl, in the zone of who looks.
    for zone in ["UTC", "Europe/Berlin", "AEST-10AEDT,M10.1.0,M4.1.0/3"] {
        let ours = fleet.printed(&format!(
            "TZ={zone} hirtectl logs rpi4 '{TALKS}' -n 1 -o short-precise | cut -c1-22"
        ));
        let own = format!("TZ={zone} journalctl -u '{TALKS}' -n 1 -o short-precise | cut -c1-22");
        assert_eq!(ours, fleet.rpi4.sh(&own).stdout, "{zone}");
    }
    let (_, errors) = fleet.check("hirtectl logs rpi4 talks.service --since nonsense", 1);
    assert!(errors.contains("nonsense"), "{errors}");
    fleet.check("hirtectl logs rpi4 '*'", 1);
    fleet.check("hirtectl logs rpi4 talks.service -o verbose", 2);
    let first = fleet.printed(&format!("hirtectl logs rpi4 '{TALKS}' -f -o cat | head -1"));
    assert_eq!(first.lines().count(), 1);

    // What comes later.
    let follow = fleet
        .laptop
        .spawn(&["hirtectl", "logs", "-f", "-n", "0", "rpi4", TALKS]);
    lab::eventually(SOON, "the reader is there", || {
        let units = "systemctl list-units --plain --no-legend 'hirte-stream-*'";
        fleet.rpi4.sh(units).stdout.contains("running")
    });
    // journalctl has to have looked before there is something to follow.
    std::thread::sleep(Duration::from_millis(500));
    fleet.rpi4.sh("echo now > /run/go");
    follow.wait_output("]: later now", SOON);

    // systemd executes itself again: it goes on.
    fleet.rpi4.systemctl(&["daemon-reexec"]);
    fleet
        .rpi4
        .wait_journal(AGENT, "Connected to systemd again", SOON);
    let pid = fleet.rpi4.pid_of(TALKS).unwrap();
    fleet.rpi4.sh(&format!(
        "echo after > /proc/{pid}/fd/1 || systemd-cat -t talker true"
    ));
    assert_eq!(fleet.printed("hirtectl exec rpi4 'echo works'"), "works\n");

    // The agent is restarted, or the node cut off, in the middle.
    let running = fleet
        .laptop
        .spawn(&["hirtectl", "exec", "rpi4", "echo first; sleep 600"]);
    running.wait_output("first", SOON);
    fleet.rpi4.systemctl(&["restart", AGENT]);
    for reader in [follow, running] {
        let ended = reader.wait(SOON);
        assert_eq!(ended.status.code(), Some(4), "{ended}");
        assert!(ended.stderr.contains("was lost"), "{ended}");
    }
    fleet.wait_quiet();
    let online = || {
        fleet
            .laptop
            .sh("hirtectl status rpi4")
            .stdout
            .contains("online")
    };
    lab::eventually(SOON, "rpi4 is back", online);

    // An agent that is killed finds what it has left.
    let running = fleet
        .laptop
        .spawn(&["hirtectl", "exec", "rpi4", "echo first; sleep 600"]);
    running.wait_output("first", SOON);
    fleet.rpi4.kill(AGENT, "KILL");
    assert_eq!(running.wait(SOON).status.code(), Some(4));
    fleet.wait_quiet();
    lab::eventually(SOON, "rpi4 is back", online);

    let running = fleet
        .laptop
        .spawn(&["hirtectl", "exec", "rpi4", "echo first; sleep 600"]);
    running.wait_output("first", SOON);
    fleet.lab.cut(&fleet.laptop, &fleet.rpi4);
    assert_eq!(running.wait(2 * SOON).status.code(), Some(4));
    fleet.wait_quiet();
    fleet.check("hirtectl exec rpi4 true", 4);
}

#[test]
fn a_reader_that_stands_still_costs_no_memory() {
    let Some(fleet) = fleet("still") else { return };
    fleet.rpi4.unit(
        "floods.service",
        "[Service]\nExecStart=/bin/sh -c 'yes 0123456789012345678901234567890123456789'\n\
         StandardOutput=journal\nLogRateLimitIntervalSec=0\n",
    );
    // Warm, so that what is compared is what grows.
    fleet.check(
        "hirtectl exec rpi4 'head -c 3000000 /dev/zero' > /dev/null",
        0,
    );
    let memory = || {
        [
            Fleet::memory_kb(&fleet.laptop, "hirte.service"),
            Fleet::memory_kb(&fleet.rpi4, AGENT),
        ]
    };
    let before = memory();
    fleet.rpi4.systemctl(&["start", "floods.service"]);
    let bus = "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket";
    let still: Vec<_> = ["exec rpi4 yes", "logs -f rpi4 floods.service"]
        .into_iter()
        .flat_map(|command| ["env", bus].map(|way| (way, command)))
        .map(|(way, command)| {
            let way = if way == "env" { "" } else { way };
            // Nobody takes what hirtectl writes, so hirtectl grants no more.
            let script = format!("{way} hirtectl {command} | sleep 600");
            fleet.laptop.spawn(&["sh", "-c", &script])
        })
        .collect();
    lab::eventually(SOON, "all streams are open", || {
        let tree = "busctl tree --list org.containers.hirte | grep -c stream/";
        fleet.laptop.sh(tree).stdout.trim() == "4"
    });
    std::thread::sleep(Duration::from_secs(3));
    for (before, after) in before.into_iter().zip(memory()) {
        // Four times the credit, and what the allocator keeps.
        assert!(after < before + 4096, "{before} kB became {after} kB");
    }
    // Others are served meanwhile.
    assert_eq!(fleet.printed("hirtectl exec rpi4 'echo works'"), "works\n");
    assert!(
        fleet
            .printed("hirtectl list-units rpi4")
            .contains("floods.service")
    );
    for reader in still {
        reader.end("KILL");
    }
}
