//! What the API offers for a node beyond the guides, each method with its effect on a real
//! systemd: properties, the freezer, signals, unit files, transient units, job modes, log levels,
//! metrics and counters.
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

use lab::{Lab, Node, Running};

const SOON: Duration = Duration::from_secs(10);
const BUS: &str = "org.containers.hirte";
const ROOT: &str = "/org/containers/hirte";

/// What can happen to a unit.
const UNITS: [(&str, &str); 5] = [
    (
        "fails.service",
        "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    ),
    (
        "slow.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sleep 600\n",
    ),
    (
        "half.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 0.5\n",
    ),
    (
        "needs.service",
        "[Unit]\nRequires=fails.service\nAfter=fails.service\n[Service]\nExecStart=/bin/sleep 600\n",
    ),
    ("other.target", "[Unit]\nAllowIsolate=yes\n"),
];

/// The laptop, from which the fleet is controlled, and the node that is acted on.
struct Fleet {
    laptop: Node,
    rpi4: Node,
    _lab: Lab,
}

fn fleet(name: &str) -> Option<Fleet> {
    if !lab::require() {
        return None;
    }
    let lab = Lab::builder(name).layer(tree::install_tree()).build();
    let [laptop, rpi4] = guide::first(&lab, &guide::Walk { is_shown: false });
    for (name, content) in UNITS {
        rpi4.unit(name, content);
    }
    rpi4.systemctl(&["daemon-reload"]);
    rpi4.systemctl(&["start", "httpd.service"]);
    Some(Fleet {
        laptop,
        rpi4,
        _lab: lab,
    })
}

impl Fleet {
    fn check(&self, command: &str, status: i32, expected: &str) -> String {
        let found = self.laptop.sh(command);
        let text = format!("{}{}", found.stdout, found.stderr);
        assert!(
            found.status.code() == Some(status) && text.contains(expected),
            "# {command}\nexpected status {status} and '{expected}'\n{found}\n{}\n{}",
            guide::journals(&self.laptop),
            guide::journals(&self.rpi4)
        );
        found.stdout
    }

    fn busctl(object: &str, interface: &str, call: &str) -> String {
        format!("busctl call {BUS} {ROOT}{object} {BUS}.{interface} {call}")
    }

    /// Calls a method of rpi4's object, which must succeed; what busctl shows.
    fn node(&self, call: &str) -> String {
        self.check(&Self::busctl("/node/rpi4", "Node", call), 0, "")
    }

    /// Calls a method of rpi4's object, which must fail with a message that says `expected`.
    fn node_refuses(&self, call: &str, expected: &str) {
        self.check(&Self::busctl("/node/rpi4", "Node", call), 1, expected);
    }

    fn manager(&self, call: &str) -> String {
        self.check(&Self::busctl("", "Manager", call), 0, "")
    }

    fn manager_refuses(&self, call: &str, expected: &str) {
        self.check(&Self::busctl("", "Manager", call), 1, expected);
    }

    /// The name and text of the error of a call with simple arguments, as dbus-send writes them.
    fn node_error(&self, member: &str, arguments: &str) -> String {
        let command = format!(
            "dbus-send --system --print-reply --dest={BUS} {ROOT}/node/rpi4 {BUS}.Node.{member} \
             {arguments}"
        );
        let found = self.laptop.sh(&command);
        assert_eq!(found.status.code(), Some(1), "{command}: {found}");
        found.stderr
    }

    fn property(&self, interface: &str, name: &str) -> String {
        let command = format!("busctl get-property {BUS} {ROOT} {BUS}.{interface} {name}");
        let shown = self.check(&command, 0, "");
        let (_, value) = shown.trim().split_once(' ').unwrap();
        value.trim_matches('"').to_owned()
    }

    fn counter(&self, name: &str) -> u64 {
        self.property("Counters", name).parse().unwrap()
    }

    /// What rpi4's systemd itself tells of a unit.
    fn shown(&self, unit: &str, property: &str) -> String {
        let shown = self
            .rpi4
            .systemctl(&["show", "--property", property, "--value", unit]);
        shown.trim().to_owned()
    }

    fn wait_shown(&self, unit: &str, property: &str, value: &str) {
        lab::eventually(SOON, &format!("{property} of {unit} is {value}"), || {
            self.shown(unit, property) == value
        });
    }

    /// Follows the manager's signals; one JSON object a line.
    fn watch(&self) -> Running {
        let rule = format!("type='signal',sender='{BUS}'");
        let watch = self
            .laptop
            .spawn(&["busctl", "monitor", "--json=short", "--match", &rule]);
        watch.wait_output("Monitoring", SOON);
        watch
    }

    /// Follows jobs until that of a unit has ended; its result.
    fn result_of(watch: &Running, unit: &str) -> String {
        let mut result = None;
        lab::eventually(SOON, &format!("a job of {unit} ends"), || {
            let seen = watch.stdout();
            let mut ends = seen
                .lines()
                .filter(|line| line.contains("\"JobRemoved\"") && line.contains(unit));
            result = ends.next_back().map(str::to_owned);
            result.is_some()
        });
        let line: serde_json::Value = serde_json::from_str(&result.unwrap()).unwrap();
        line["payload"]["data"][4].as_str().unwrap().to_owned()
    }
}

/// The signals of this name, in order, each with the number of its line.
fn signals(watch: &Running, member: &str) -> Vec<(usize, Vec<serde_json::Value>)> {
    let is_whole = |line: &&str| line.ends_with('}');
    watch
        .stdout()
        .lines()
        .enumerate()
        .filter(|(_, line)| is_whole(line))
        .filter_map(|(number, line)| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            (message["member"] == member).then(|| {
                (
                    number,
                    message["payload"]["data"].as_array().unwrap().clone(),
                )
            })
        })
        .collect()
}

#[test]
fn properties_freezer_and_signals_act_on_the_unit() {
    let Some(fleet) = fleet("acts") else {
        return;
    };
    let set = |unit: &str, value: u32| {
        format!("SetUnitProperties 'sba(sv)' {unit} true 1 CPUWeight t {value}")
    };
    fleet.node(&set("httpd.service", 77));
    assert_eq!(fleet.shown("httpd.service", "CPUWeight"), "77");
    fleet.node_refuses(&set("nope.service", 77), "Unit nope.service not found");
    fleet.node_refuses(
        "SetUnitProperties 'sba(sv)' httpd.service true 1 Id s x",
        "Id",
    );
    assert_eq!(fleet.shown("httpd.service", "CPUWeight"), "77");

    let freezer = |state| fleet.wait_shown("httpd.service", "FreezerState", state);
    fleet.node("FreezeUnit s httpd.service");
    freezer("frozen");
    fleet.node("ThawUnit s httpd.service");
    freezer("running");
    let error = fleet.node_error("ThawUnit", "string:nope.service");
    assert!(
        error.contains("Error org.freedesktop.systemd1.NoSuchUnit"),
        "{error}"
    );

    fleet.node("KillUnit ssi httpd.service main 9");
    fleet.wait_shown("httpd.service", "ActiveState", "failed");
    assert_eq!(fleet.shown("httpd.service", "Result"), "signal");
    let error = fleet.node_error("KillUnit", "string:httpd.service string:main int32:15");
    assert!(
        error.contains("Error org.freedesktop.systemd1.NoSuchProcess"),
        "{error}"
    );
    let error = fleet.node_error("KillUnit", "string:httpd.service string:nobody int32:15");
    assert!(
        error.contains("Error org.freedesktop.DBus.Error.InvalidArgs"),
        "{error}"
    );
    fleet.node("ResetFailedUnit s httpd.service");
    assert_eq!(fleet.shown("httpd.service", "ActiveState"), "inactive");
    let error = fleet.node_error("ResetFailedUnit", "string:nope.service");
    assert!(
        error.contains("Error org.freedesktop.systemd1.NoSuchUnit"),
        "{error}"
    );

    let _ = fleet.rpi4.run(&["systemctl", "start", "fails.service"]);
    assert_eq!(fleet.shown("fails.service", "ActiveState"), "failed");
    let error = fleet.node_error("FreezeUnit", "string:fails.service");
    assert!(
        error.contains("Error org.freedesktop.systemd1.UnitInactive"),
        "{error}"
    );
    fleet.node("ResetFailed");
    assert_eq!(fleet.shown("fails.service", "ActiveState"), "inactive");
}

#[test]
fn unit_files_and_the_default_target_are_read_and_set() {
    let Some(fleet) = fleet("files") else {
        return;
    };
    let httpd = "\"/etc/systemd/system/httpd.service\"";
    let files = fleet.node("ListUnitFiles");
    assert!(files.starts_with("a(ss) "), "{files}");
    assert!(files.contains(&format!("{httpd} \"disabled\"")), "{files}");
    assert_eq!(
        fleet.node("GetUnitFileState s httpd.service"),
        "s \"disabled\"\n"
    );
    fleet.node("EnableUnitFiles asbb 1 httpd.service false false");
    assert_eq!(
        fleet.node("GetUnitFileState s httpd.service"),
        "s \"enabled\"\n"
    );
    let error = fleet.node_error("GetUnitFileState", "string:nope.service");
    assert!(
        error.contains("Error org.freedesktop.DBus.Error.FileNotFound"),
        "{error}"
    );

    let all = fleet.manager("ListUnitFiles");
    assert!(all.starts_with("a(sss) "), "{all}");
    assert!(
        all.contains(&format!("\"rpi4\" {httpd} \"enabled\"")),
        "{all}"
    );
    let of_laptop = all.find("\"laptop\" \"/").unwrap();
    assert!(
        of_laptop < all.find("\"rpi4\" \"/").unwrap(),
        "order of the configuration"
    );

    let before = fleet.rpi4.systemctl(&["get-default"]);
    let told = fleet.node("GetDefaultTarget");
    assert_eq!(told, format!("s \"{}\"\n", before.trim()));
    let changes = fleet.node("SetDefaultTarget sb other.target true");
    assert!(
        changes.starts_with("a(sss) ") && changes.contains("\"symlink\""),
        "{changes}"
    );
    assert_eq!(
        fleet.rpi4.systemctl(&["get-default"]).trim(),
        "other.target"
    );
    assert_eq!(fleet.node("GetDefaultTarget"), "s \"other.target\"\n");
    let error = fleet.node_error("SetDefaultTarget", "string:nope.target boolean:true");
    assert!(
        error.contains("Error org.freedesktop.systemd1.NoSuchUnit"),
        "{error}"
    );

    // What fails on one node does not spoil the answer of the other, and is named.
    fleet.rpi4.freeze("hirte-agent.service");
    let detailed = Fleet::busctl("", "Manager", "ListUnitFilesDetailed");
    let detailed = fleet.check(&detailed, 0, "\"laptop\" \"/");
    assert!(
        detailed.starts_with("a(sss)a(sss) ") && detailed.contains(" 1 \"rpi4\" "),
        "{detailed}"
    );
    fleet.rpi4.thaw("hirte-agent.service");
}

fn transient(unit: &str, mode: &str, kind: &str, command: &str) -> String {
    let (path, rest) = command.split_once(' ').unwrap_or((command, ""));
    let arguments: Vec<&str> = std::iter::once(path)
        .chain(rest.split_whitespace())
        .collect();
    format!(
        "StartTransientUnit 'ssa(sv)a(sa(sv))' {unit} {mode} \
         4 Description s transient Type s {kind} RemainAfterExit b true \
         ExecStart 'a(sasb)' 1 {path} {} {} false 0",
        arguments.len(),
        arguments.join(" ")
    )
}

#[test]
fn a_transient_unit_is_started_by_a_job_like_any_other() {
    let Some(fleet) = fleet("transient") else {
        return;
    };
    let watch = fleet.watch();
    let job = fleet.node(&transient(
        "made.service",
        "replace",
        "oneshot",
        "/bin/sleep 0.5",
    ));
    assert!(job.starts_with(&format!("o \"{ROOT}/job/")), "{job}");
    assert_eq!(Fleet::result_of(&watch, "made.service"), "done");
    assert_eq!(fleet.shown("made.service", "ActiveState"), "active");
    assert_eq!(fleet.shown("made.service", "Transient"), "yes");
    assert_eq!(fleet.shown("made.service", "Description"), "transient");
    let (removed_at, removed) = signals(&watch, "JobRemoved").pop().unwrap();
    let (announced_at, announced) = signals(&watch, "JobNew").pop().unwrap();
    assert_eq!(announced[..2], removed[..2]);
    assert!(announced_at < removed_at);
    assert!(
        job.contains(announced[1].as_str().unwrap()),
        "{job}: {announced:?}"
    );

    fleet.node_refuses(
        &transient("made.service", "replace", "oneshot", "/bin/true"),
        "made.service was already loaded",
    );
    fleet.node(&transient(
        "breaks.service",
        "fail",
        "oneshot",
        "/bin/false",
    ));
    assert_eq!(Fleet::result_of(&watch, "breaks.service"), "failed");
    fleet.node_refuses(
        "StartTransientUnit 'ssa(sv)a(sa(sv))' odd.service replace 1 Nonsense s x 0",
        "Nonsense",
    );

    let job = fleet.node(&transient(
        "long.service",
        "replace",
        "oneshot",
        "/bin/sleep 600",
    ));
    let job = job
        .trim()
        .trim_start_matches("o ")
        .trim_matches('"')
        .to_owned();
    let property = |name: &str| {
        let command = format!("busctl get-property {BUS} {job} {BUS}.Job {name}");
        fleet.check(&command, 0, "").trim().to_owned()
    };
    assert_eq!(property("JobType"), "s \"start\"");
    assert_eq!(property("Unit"), "s \"long.service\"");
    fleet.check(&format!("busctl call {BUS} {job} {BUS}.Job Cancel"), 0, "");
    assert_eq!(Fleet::result_of(&watch, "long.service"), "canceled");
    // Its auxiliary units are made as well.
    fleet.node(
        "StartTransientUnit 'ssa(sv)a(sa(sv))' main.service replace \
         1 ExecStart 'a(sasb)' 1 /bin/sleep 2 sleep 600 false \
         1 aux.service 1 ExecStart 'a(sasb)' 1 /bin/sleep 2 sleep 600 false",
    );
    assert_eq!(Fleet::result_of(&watch, "main.service"), "done");
}

#[test]
fn the_mode_of_a_job_is_systemds() {
    let Some(fleet) = fleet("modes") else {
        return;
    };
    let watch = fleet.watch();
    let busy = || {
        fleet.node("StartUnit ss slow.service replace");
        fleet.wait_shown("slow.service", "ActiveState", "activating");
    };
    busy();
    let error = fleet.node_error("StopUnit", "string:slow.service string:fail");
    assert!(
        error.contains("Error org.freedesktop.systemd1.TransactionIsDestructive"),
        "{error}"
    );
    assert_eq!(fleet.shown("slow.service", "ActiveState"), "activating");
    fleet.node("StopUnit ss slow.service replace");
    fleet.wait_shown("slow.service", "ActiveState", "failed");
    lab::eventually(SOON, "both jobs end", || {
        signals(&watch, "JobRemoved").len() == 2
    });
    let results: Vec<_> = signals(&watch, "JobRemoved")
        .into_iter()
        .map(|(_, removed)| removed[4].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(results, ["canceled", "done"]);

    let error = fleet.node_error("StartUnit", "string:httpd.service string:isolate");
    assert!(
        error.contains("Error org.freedesktop.systemd1.NoIsolation"),
        "{error}"
    );
    let error = fleet.node_error("StartUnit", "string:httpd.service string:sideways");
    assert!(
        error.contains("Error org.freedesktop.DBus.Error.InvalidArgs")
            && error.contains("sideways"),
        "{error}"
    );
    fleet.node("StartUnit ss needs.service replace");
    assert_eq!(Fleet::result_of(&watch, "needs.service"), "dependency");
    fleet.node("StartUnit ss needs.service ignore-dependencies");
    lab::eventually(SOON, "it starts without what it needs", || {
        Fleet::result_of(&watch, "needs.service") == "done"
    });
    assert_eq!(fleet.shown("needs.service", "ActiveState"), "active");
    assert_eq!(fleet.shown("fails.service", "ActiveState"), "failed");
}

#[test]
fn log_levels_are_set_in_any_case_and_wrong_ones_refused() {
    let Some(fleet) = fleet("log") else {
        return;
    };
    let restart = || fleet.check("hirtectl restart rpi4 httpd.service", 0, "done");
    let request = "Request to RestartUnit unit: httpd.service";
    let requests = |node: &Node, unit: &str, text: &str| node.journal(unit).matches(text).count();
    // The guide has restarted it once.
    let before = requests(&fleet.rpi4, "hirte-agent.service", request);
    fleet.node("SetLogLevel s Error");
    restart();
    assert_eq!(
        requests(&fleet.rpi4, "hirte-agent.service", request),
        before
    );
    fleet.node("SetLogLevel s info");
    restart();
    lab::eventually(SOON, "the agent logs requests again", || {
        requests(&fleet.rpi4, "hirte-agent.service", request) == before + 1
    });
    let error = fleet.node_error("SetLogLevel", "string:loud");
    assert!(
        error.contains("Error org.freedesktop.DBus.Error.InvalidArgs: Invalid input for log level"),
        "{error}"
    );
    restart();
    lab::eventually(SOON, "a wrong level changes nothing", || {
        requests(&fleet.rpi4, "hirte-agent.service", request) == before + 2
    });

    assert_eq!(fleet.property("Manager", "LogTarget"), "journald");
    let level = fleet.property("Manager", "LogLevel");
    let job = "RestartUnit httpd.service on 'rpi4'";
    let before = requests(&fleet.laptop, "hirte.service", job);
    fleet.manager("SetLogLevel s eRRor");
    assert_eq!(fleet.property("Manager", "LogLevel"), "ERROR");
    restart();
    assert_eq!(requests(&fleet.laptop, "hirte.service", job), before);
    fleet.manager_refuses("SetLogLevel s TRACE", "Invalid input for log level");
    assert_eq!(fleet.property("Manager", "LogLevel"), "ERROR");
    // The configuration holds again once it is read again.
    fleet.laptop.systemctl(&["reload", "hirte"]);
    lab::eventually(SOON, "the level of the configuration is back", || {
        fleet.property("Manager", "LogLevel") == level
    });
}

#[test]
fn metrics_measure_jobs_and_survive_a_reconnect() {
    let Some(fleet) = fleet("metrics") else {
        return;
    };
    let introspect = format!("busctl introspect {BUS} {ROOT}/metrics");
    fleet.check(&introspect, 1, "Unknown object");
    fleet.manager_refuses("DisableMetrics", "Metrics already disabled");
    fleet.manager("EnableMetrics");
    fleet.manager_refuses("EnableMetrics", "Metrics already enabled");
    fleet.check(&introspect, 0, "StartUnitJobMetrics");
    fleet.check(&format!("busctl tree --list {BUS}"), 0, "hirte/metrics\n");

    let watch = fleet.watch();
    fleet.check("hirtectl start rpi4 half.service", 0, "done");
    lab::eventually(SOON, "the start is measured", || {
        !signals(&watch, "StartUnitJobMetrics").is_empty()
    });
    let one = |member: &str| {
        let mut all = signals(&watch, member);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    };
    let (timed_at, timed) = one("AgentJobMetrics");
    let (removed_at, removed) = one("JobRemoved");
    let (measured_at, measured) = one("StartUnitJobMetrics");
    assert!(timed_at < removed_at && removed_at < measured_at);
    assert_eq!(timed[..3], ["rpi4", "half.service", "StartUnit"]);
    assert_eq!(measured[0], "rpi4");
    assert_eq!(measured[1], removed[1], "the job's path");
    assert_eq!(measured[2], "half.service");
    let agent_us = timed[3].as_u64().unwrap();
    let (job_us, unit_us) = (measured[3].as_u64().unwrap(), measured[4].as_u64().unwrap());
    // What systemd took is within what the agent saw, and that within what the manager saw.
    assert!(
        500_000 <= unit_us && unit_us <= agent_us && agent_us <= job_us && job_us < 5_000_000,
        "{unit_us} {agent_us} {job_us}"
    );
    let time = |property| {
        fleet
            .shown("half.service", property)
            .parse::<u64>()
            .unwrap()
    };
    let shown = time("ActiveEnterTimestampMonotonic") - time("InactiveExitTimestampMonotonic");
    assert_eq!(unit_us, shown);

    // Only starts have the second signal, and one that fails has no time of its unit.
    fleet.check("hirtectl stop rpi4 half.service", 0, "done");
    fleet.check("hirtectl start rpi4 fails.service", 1, "failed");
    lab::eventually(SOON, "the failed start is measured", || {
        signals(&watch, "StartUnitJobMetrics").len() == 2
    });
    let failed = signals(&watch, "StartUnitJobMetrics").pop().unwrap().1;
    assert_eq!(
        (&failed[2], &failed[4]),
        (&"fails.service".into(), &0.into())
    );
    assert_eq!(signals(&watch, "AgentJobMetrics").len(), 3);

    // An agent that comes back is told again.
    fleet.rpi4.systemctl(&["restart", "hirte-agent"]);
    lab::eventually(SOON, "rpi4 is back", || {
        fleet.counter("Reconnects") == 1 && fleet.property("Manager", "Status") == "up"
    });
    fleet.check("hirtectl start rpi4 half.service", 0, "done");
    lab::eventually(SOON, "jobs are measured after a reconnect", || {
        signals(&watch, "AgentJobMetrics").len() == 4
            && signals(&watch, "StartUnitJobMetrics").len() == 3
    });

    fleet.manager("DisableMetrics");
    fleet.check(&introspect, 1, "Unknown object");
    fleet.check("hirtectl restart rpi4 half.service", 0, "done");
    fleet.check("hirtectl start rpi4 half.service", 0, "done");
    let ended = signals(&watch, "JobRemoved").len();
    lab::eventually(SOON, "the watch has seen all", || {
        signals(&watch, "JobRemoved").len() >= ended.max(6)
    });
    assert_eq!(signals(&watch, "AgentJobMetrics").len(), 4);
    assert_eq!(signals(&watch, "StartUnitJobMetrics").len(), 3);
}

#[test]
fn an_offline_node_refuses_everything_and_the_fleet_shows_it() {
    let Some(fleet) = fleet("offline") else {
        return;
    };
    assert_eq!(fleet.property("Manager", "Status"), "up");
    let jobs = fleet.counter("Jobs");
    fleet.check("hirtectl restart rpi4 httpd.service", 0, "done");
    assert_eq!(fleet.counter("Jobs"), jobs + 1);
    assert_eq!(fleet.counter("Registrations"), 2);
    let watch = fleet.watch();
    fleet.node("StartUnit ss slow.service replace");
    fleet.rpi4.systemctl(&["stop", "hirte-agent"]);
    lab::eventually(SOON, "the fleet is degraded", || {
        fleet.property("Manager", "Status") == "degraded"
    });
    assert!(
        watch.stdout().contains("\"degraded\""),
        "Status is announced"
    );
    assert_eq!(fleet.counter("JobsLost"), 1);
    assert_eq!(fleet.counter("Disconnects"), 1);
    let refused = fleet.counter("RequestsRefused");
    let calls = [
        "SetUnitProperties 'sba(sv)' httpd.service true 0",
        "FreezeUnit s httpd.service",
        "ThawUnit s httpd.service",
        "KillUnit ssi httpd.service main 9",
        "ListUnitFiles",
        "GetUnitFileState s httpd.service",
        "ResetFailed",
        "ResetFailedUnit s httpd.service",
        "GetDefaultTarget",
        "SetDefaultTarget sb other.target true",
        "SetLogLevel s DEBUG",
        "StartTransientUnit 'ssa(sv)a(sa(sv))' made.service replace 0 0",
    ];
    for call in calls {
        fleet.node_refuses(call, "Node is offline");
    }
    assert_eq!(
        fleet.counter("RequestsRefused"),
        refused + calls.len() as u64
    );
    let error = fleet.node_error("ResetFailed", "");
    assert!(
        error.contains("Error org.containers.hirte.Offline"),
        "{error}"
    );
    let files = fleet.manager("ListUnitFiles");
    assert!(files.contains("\"laptop\"") && !files.contains("\"rpi4\""));
    fleet.laptop.systemctl(&["stop", "hirte-agent"]);
    lab::eventually(SOON, "the fleet is down", || {
        fleet.property("Manager", "Status") == "down"
    });
    assert_eq!(fleet.manager("ListUnitFiles"), "a(sss) 0\n");
    for mark in [
        "JobsHighWater",
        "NodeRequestsHighWater",
        "EventQueueHighWater",
    ] {
        assert!(fleet.counter(mark) > 0, "{mark}");
    }
}

/// Members of the group `hirte` read; what changes something stays with root.
#[test]
fn members_of_the_group_read_and_change_nothing() {
    let Some(fleet) = fleet("group") else {
        return;
    };
    let groups = [
        "useradd",
        "--no-create-home",
        "--groups",
        "hirte",
        "watcher",
    ];
    fleet.laptop.ok(&groups);
    fleet.laptop.systemctl(&["reload", "dbus"]);
    let as_watcher = |command: &str| format!("runuser -u watcher -- {command}");
    let node = |call: &str| as_watcher(&Fleet::busctl("/node/rpi4", "Node", call));
    let manager = |call: &str| as_watcher(&Fleet::busctl("", "Manager", call));
    for command in [
        node("ListUnitFiles"),
        node("GetUnitFileState s httpd.service"),
        node("GetDefaultTarget"),
        manager("ListUnitFiles"),
        manager("ListUnitFilesDetailed"),
        as_watcher(&format!(
            "busctl get-property {BUS} {ROOT} {BUS}.Counters Jobs"
        )),
        as_watcher(&format!(
            "busctl get-property {BUS} {ROOT} {BUS}.Manager Status"
        )),
    ] {
        fleet.check(&command, 0, "");
    }
    for command in [
        node("SetUnitProperties 'sba(sv)' httpd.service true 1 CPUWeight t 77"),
        node("FreezeUnit s httpd.service"),
        node("ThawUnit s httpd.service"),
        node("KillUnit ssi httpd.service main 9"),
        node("ResetFailed"),
        node("ResetFailedUnit s httpd.service"),
        node("SetDefaultTarget sb other.target true"),
        node("SetLogLevel s DEBUG"),
        node(&transient(
            "made.service",
            "replace",
            "oneshot",
            "/bin/true",
        )),
        manager("SetLogLevel s DEBUG"),
        manager("EnableMetrics"),
        manager("DisableMetrics"),
    ] {
        fleet.check(&command, 1, "Access denied");
    }
    assert_eq!(fleet.shown("httpd.service", "ActiveState"), "active");
}
