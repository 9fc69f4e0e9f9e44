//! What goes wrong in the field, on real systemd nodes: daemons that stop, die or start again,
//! networks that swallow packets, nodes that crash.
//!
//! Each test has a lab of its own, so that they run side by side. What is promised as a time is
//! printed as measured.
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
    io::Write,
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use daemons::{Connection, Refusal, install_tree, node_call, within};
use hirte::bus::{Body, ObjectPath};
use lab::{Lab, Link, Node};

/// A silent node is reported offline within this time.
const OFFLINE: Duration = Duration::from_secs(6);
/// A node is online again within this time after its network works again.
const HEALED: Duration = Duration::from_secs(3);
/// Agents are back within this time after a manager has started.
const BACK: Duration = Duration::from_secs(1);
/// What a machine that runs several labs on two processors, and looking only now and then, may
/// add to a promised time.
const ALLOWANCE: Duration = Duration::from_secs(2);
/// Longest time of a call to a node that is well, while another one is not: some hundred times what
/// it takes on an idle machine, and far less than it takes to find out that the other one is lost.
const PROMPT: Duration = Duration::from_secs(2);
/// For what has no promised time: systemd starts a service, a node boots.
const PATIENCE: Duration = Duration::from_secs(30);
/// `HeartbeatInterval=` of an agent where nothing is configured.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// systemd starts our services again after this time (`RestartSec=`).
const RESTART: Duration = Duration::from_millis(500);
/// `WatchdogSec=` of our services.
const WATCHDOG: Duration = Duration::from_secs(10);

/// A unit whose start lasts until the file `/run/gate` exists and then ends as the file says.
const GATED: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\n\
    ExecStart=sh -c 'until [ -e /run/gate ]; do sleep 0.05; done; exit $(cat /run/gate)'\n";
const QUICK: &str = "[Service]\nType=oneshot\nExecStart=true\n";

/// Configuration of the second published guide, as far as it is about time.
const GUIDE_INTERVALS: &str = "HeartbeatInterval=5\nReconnectInterval=10\n";

/// The two nodes of the guide: `laptop` has the manager and an agent, `rpi4` an agent.
struct Fleet {
    laptop: Node,
    rpi4: Node,
    client: Connection<UnixStream>,
    lab: Lab,
}

impl Fleet {
    /// Boots both nodes and waits until they are online. `agent_config` is for both agents.
    fn boot(name: &str, agent_config: &str) -> Self {
        let lab = Lab::builder(name).layer(install_tree()).build();
        let laptop = lab.node("laptop", "192.168.42.10");
        let rpi4 = lab.node("rpi4", "192.168.42.15");
        let manager = "[hirte]\nManagerPort=2020\nAllowedNodeNames=laptop,rpi4\n";
        laptop.write("/etc/hirte/hirte.conf", manager);
        for (node, host) in [(&laptop, "127.0.0.1"), (&rpi4, "192.168.42.10")] {
            let name = node.name();
            let agent = format!(
                "[hirte-agent]\nNodeName={name}\nManagerHost={host}\nManagerPort=2020\n{agent_config}"
            );
            node.write("/etc/hirte/agent.conf", agent);
            node.write("/etc/systemd/system/gated.service", GATED);
            node.write("/etc/systemd/system/quick.service", QUICK);
        }
        lab.boot_all();
        laptop.systemctl(&["enable", "--quiet", "--now", "hirte", "hirte-agent"]);
        rpi4.systemctl(&["enable", "--quiet", "--now", "hirte-agent"]);
        let mut fleet = Self {
            client: watcher(&laptop),
            laptop,
            rpi4,
            lab,
        };
        fleet.wait("laptop", "online", PATIENCE);
        fleet.wait("rpi4", "online", PATIENCE);
        fleet
    }

    /// Waits until the manager reports a node so; how long that took.
    fn wait(&mut self, node: &str, status: &str, bound: Duration) -> Duration {
        within(bound, &format!("{node} is {status}"), || {
            self.client.node_status(node).is_ok_and(|is| is == status)
        })
    }

    /// Starts a unit; the number of the job, once systemd has accepted it.
    fn start(&mut self, node: &str, unit: &str) -> u32 {
        let call = self.ask_start(node, unit);
        let answer = self.client.answer(call).unwrap();
        let (path,): (ObjectPath,) = answer.parse().unwrap();
        path.0.rsplit('/').next().unwrap().parse().unwrap()
    }

    fn ask_start(&mut self, node: &str, unit: &str) -> u32 {
        let arguments = Body::of(&(unit, "replace"));
        self.client.send(node_call(node, "StartUnit", arguments))
    }

    /// Starts the gated unit and waits until its process runs.
    fn start_gated(&mut self, node: &str) -> u32 {
        let job = self.start(node, "gated.service");
        let on = self.node(node);
        within(PATIENCE, "the gated unit starts", || {
            active_state(on, "gated.service") == "activating"
                && on.pid_of("gated.service").is_some()
        });
        job
    }

    fn node(&self, name: &str) -> &Node {
        if name == "rpi4" {
            &self.rpi4
        } else {
            &self.laptop
        }
    }

    /// The result of a job: of its first `JobRemoved`, and there must be one within `bound`.
    fn result(&mut self, job: u32, bound: Duration) -> String {
        let removed = self.client.expect(bound, "JobRemoved", |message| {
            message.member == "JobRemoved" && message.body.reader().u32() == Ok(job)
        });
        let (_, _, _, _, result): (u32, ObjectPath, String, String, String) =
            removed.body.parse().unwrap();
        result
    }

    /// A call that the agent of a node answers; how long it took.
    fn ask(&mut self, node: &str) -> (Result<Body, Refusal>, Duration) {
        let begun = Instant::now();
        let call = self.send_ask(node);
        let answer = self.client.answer_within(call, PATIENCE);
        (answer, begun.elapsed())
    }

    fn send_ask(&mut self, node: &str) -> u32 {
        let arguments = ("quick.service", "org.freedesktop.systemd1.Unit", "Id");
        let call = node_call(node, "GetUnitProperty", Body::of(&arguments));
        self.client.send(call)
    }

    /// Runs a job from its request to its end.
    fn assert_works(&mut self, node: &str) {
        let job = self.start(node, "quick.service");
        assert_eq!(self.result(job, PATIENCE), "done");
    }

    /// Connects the client again, after the bus was another one for a while.
    fn reconnect(&mut self) {
        self.client = watcher(&self.laptop);
    }
}

/// A client of a node's bus that gets the signals of the manager.
fn watcher(node: &Node) -> Connection<UnixStream> {
    let address = node.bus_address();
    let mut client = Connection::to_bus(Path::new(address.strip_prefix("unix:path=").unwrap()));
    client.watch("type='signal',interface='org.containers.hirte.Manager'");
    client
}

fn active_state(node: &Node, unit: &str) -> String {
    node.systemctl(&["show", "--property=ActiveState", "--value", unit])
}

fn open_gate(node: &Node, exit_status: &str) {
    // In one step, so that the unit never reads an empty file.
    node.ok(&[
        "sh",
        "-euc",
        "echo $1 > /run/gate.tmp; mv /run/gate.tmp /run/gate",
        "sh",
        exit_status,
    ]);
}

/// How often the agent of a node has registered since the manager's node booted.
fn registrations(fleet: &Fleet, node: &str) -> usize {
    let journal = fleet.laptop.journal("hirte.service");
    journal.matches(&format!("as '{node}'")).count()
}

fn report(what: &str, measured: Duration, promised: Duration) {
    // Past the harness, which keeps what passing tests print to itself.
    let _ = writeln!(
        std::io::stderr(),
        "{what}: {measured:.2?}, promised {promised:.0?}"
    );
    assert!(
        measured <= promised + ALLOWANCE,
        "{what} took {measured:?}, promised {promised:?}"
    );
}

#[test]
fn a_stopped_agent_delays_nobody() {
    if !lab::require() {
        return;
    }
    let mut fleet = Fleet::boot("stopped", "");
    fleet.assert_works("rpi4");
    fleet.rpi4.freeze("hirte-agent.service");
    let begun = Instant::now();
    let relayed = fleet.send_ask("rpi4");
    let job = fleet.ask_start("rpi4", "quick.service");
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(2) {
        let (answer, took) = fleet.ask("laptop");
        answer.unwrap();
        slowest = slowest.max(took);
    }
    println!("slowest call to another node: {slowest:.2?}");
    assert!(slowest < PROMPT, "{slowest:?}");
    fleet.assert_works("laptop");
    for call in [relayed, job] {
        let refusal = fleet.client.answer_within(call, PATIENCE).unwrap_err();
        assert_eq!(refusal.name, "org.containers.hirte.Offline");
    }
    report("a stopped agent's calls end", begun.elapsed(), OFFLINE);
    assert_eq!(fleet.client.node_status("rpi4").unwrap(), "offline");
    let (refused, took) = fleet.ask("rpi4");
    assert_eq!(refused.unwrap_err().text, "Node is offline");
    assert!(took < PROMPT);

    fleet.rpi4.thaw("hirte-agent.service");
    let back = fleet.wait("rpi4", "online", PATIENCE);
    report("a stopped agent goes on and is back", back, HEALED);
    fleet.assert_works("rpi4");
}

#[test]
fn a_killed_manager_is_back_with_all_its_agents() {
    if !lab::require() {
        return;
    }
    let mut fleet = Fleet::boot("manager", "");
    let hirtectl = ["hirtectl", "start", "rpi4", "gated.service"];
    let waiting = fleet.laptop.spawn(&hirtectl);
    within(PATIENCE, "the gated unit starts", || {
        active_state(&fleet.rpi4, "gated.service") == "activating"
    });
    let killed = Instant::now();
    fleet.laptop.kill("hirte.service", "KILL");
    let ended = waiting.wait(PATIENCE);
    println!("hirtectl ends {:.2?} after kill -9", killed.elapsed());
    assert!(!ended.success(), "{ended}");
    assert!(!ended.stderr.is_empty(), "{ended}");
    assert!(killed.elapsed() < Duration::from_secs(3));
    for node in ["laptop", "rpi4"] {
        fleet.wait(node, "online", PATIENCE);
    }
    report("kill -9, both nodes back", killed.elapsed(), RESTART + BACK);
    // The unit was started by systemd, which has not been told to stop it.
    assert_eq!(active_state(&fleet.rpi4, "gated.service"), "activating");
    open_gate(&fleet.rpi4, "0");
    let first = fleet.start("rpi4", "quick.service");
    assert_eq!(fleet.result(first, PATIENCE), "done");

    fleet.laptop.systemctl(&["restart", "hirte.service"]);
    let restarted = Instant::now();
    for node in ["laptop", "rpi4"] {
        fleet.wait(node, "online", PATIENCE);
    }
    report("restart, both nodes back", restarted.elapsed(), BACK);
    let later = fleet.start("rpi4", "quick.service");
    assert!(later > first, "job {later} after job {first}");
    assert_eq!(fleet.result(later, PATIENCE), "done");
}

#[test]
fn a_killed_agent_ends_its_jobs_and_is_back() {
    if !lab::require() {
        return;
    }
    let mut fleet = Fleet::boot("agent", "");
    let job = fleet.start_gated("rpi4");
    let killed = Instant::now();
    fleet.rpi4.kill("hirte-agent.service", "KILL");
    assert_eq!(fleet.result(job, PATIENCE), "node-lost");
    println!("JobRemoved {:.2?} after kill -9", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(2));
    fleet.wait("rpi4", "online", PATIENCE);
    report(
        "kill -9, the agent is back",
        killed.elapsed(),
        RESTART + BACK,
    );
    // The job of systemd goes on; another request for it is merged with it and ends with it.
    let merged = fleet.start("rpi4", "gated.service");
    open_gate(&fleet.rpi4, "0");
    assert_eq!(fleet.result(merged, PATIENCE), "done");
    fleet.assert_works("rpi4");
}

/// Cuts the network silently, once while it is quiet and once with requests on the way. The first
/// cut is healed `healed_after` the node is reported offline.
fn survive_partitions(mut fleet: Fleet, healed_after: Duration) {
    fleet.lab.cut(&fleet.laptop, &fleet.rpi4);
    let quiet = fleet.wait("rpi4", "offline", PATIENCE);
    report("quiet partition, offline", quiet, OFFLINE);
    thread::sleep(healed_after);
    fleet.lab.heal(&fleet.laptop, &fleet.rpi4);
    let back = fleet.wait("rpi4", "online", PATIENCE);
    report("quiet partition, back", back, HEALED);

    let job = fleet.start_gated("rpi4");
    fleet.lab.cut(&fleet.laptop, &fleet.rpi4);
    let begun = Instant::now();
    let call = fleet.send_ask("rpi4");
    let refusal = fleet.client.answer_within(call, PATIENCE).unwrap_err();
    assert_eq!(refusal.name, "org.containers.hirte.Offline");
    assert_eq!(fleet.result(job, PATIENCE), "node-lost");
    assert_eq!(fleet.client.node_status("rpi4").unwrap(), "offline");
    report("busy partition, offline", begun.elapsed(), OFFLINE);
    open_gate(&fleet.rpi4, "0");
    fleet.lab.heal(&fleet.laptop, &fleet.rpi4);
    let back = fleet.wait("rpi4", "online", PATIENCE);
    report("busy partition, back", back, HEALED);
    fleet.assert_works("rpi4");
}

#[test]
fn a_silent_partition_is_noticed() {
    if lab::require() {
        // Long enough for the agent to wait between its attempts as long as it ever does.
        survive_partitions(Fleet::boot("partition", ""), Duration::from_secs(8));
    }
}

#[test]
fn a_silent_partition_is_noticed_with_the_intervals_of_the_guide() {
    if lab::require() {
        survive_partitions(Fleet::boot("intervals", GUIDE_INTERVALS), Duration::ZERO);
    }
}

#[test]
fn packets_lost_in_one_direction_are_a_partition_too() {
    if !lab::require() {
        return;
    }
    let mut fleet = Fleet::boot("oneway", "");
    // Where only the manager's packets are lost it hears one more heartbeat; those after it wait in
    // the agent's kernel for the first one to be acknowledged.
    for (from, to, promised) in [
        ("laptop", "rpi4", OFFLINE + HEARTBEAT),
        ("rpi4", "laptop", OFFLINE),
    ] {
        fleet.lab.cut_one_way(fleet.node(from), fleet.node(to));
        let offline = fleet.wait("rpi4", "offline", PATIENCE);
        report(
            &format!("no packet from {from}, offline"),
            offline,
            promised,
        );
        fleet.lab.heal(&fleet.laptop, &fleet.rpi4);
        let back = fleet.wait("rpi4", "online", PATIENCE);
        report(&format!("no packet from {from}, back"), back, HEALED);
    }
    fleet.assert_works("rpi4");
}

#[test]
fn jobs_go_on_while_systemd_executes_itself_again() {
    if !lab::require() {
        return;
    }
    let mut fleet = Fleet::boot("reexec", "");
    let before = registrations(&fleet, "rpi4");
    for (node, exit_status, result) in [
        ("rpi4", "0", "done"),
        ("laptop", "0", "done"),
        ("rpi4", "7", "failed"),
    ] {
        let on = fleet.node(node).clone();
        on.run(&["rm", "-f", "/run/gate"]);
        on.run(&["systemctl", "stop", "gated.service"]);
        on.run(&["systemctl", "reset-failed", "gated.service"]);
        let job = fleet.start_gated(node);
        on.systemctl(&["daemon-reexec"]);
        let took = within(PATIENCE, "the agent has systemd again", || {
            let (answer, _) = fleet.ask(node);
            // Until then an answer comes at once, and names the reason.
            answer
                .inspect_err(|refusal| assert!(refusal.text.contains("systemd"), "{refusal:?}"))
                .is_ok()
        });
        println!("{node}: first answer after daemon-reexec: {took:.2?}");
        let early = fleet.client.find(Duration::ZERO, |message| {
            message.member == "JobRemoved" && message.body.reader().u32() == Ok(job)
        });
        assert!(early.is_err(), "the job runs on: {early:?}");
        open_gate(&on, exit_status);
        assert_eq!(fleet.result(job, PATIENCE), result);
        fleet.assert_works(node);
    }
    assert_eq!(registrations(&fleet, "rpi4"), before);

    // Nobody was there to see how this one ended: the agent finds out.
    fleet.rpi4.run(&["rm", "-f", "/run/gate"]);
    fleet
        .rpi4
        .run(&["systemctl", "reset-failed", "gated.service"]);
    let job = fleet.start_gated("rpi4");
    fleet.rpi4.freeze("hirte-agent.service");
    fleet.rpi4.systemctl(&["daemon-reexec"]);
    open_gate(&fleet.rpi4, "7");
    within(PATIENCE, "the gated unit fails", || {
        active_state(&fleet.rpi4, "gated.service") == "failed"
    });
    fleet.rpi4.thaw("hirte-agent.service");
    assert_eq!(fleet.result(job, PATIENCE), "failed");
}

#[test]
fn a_restart_of_the_bus_is_survived() {
    if !lab::require() {
        return;
    }
    let mut fleet = Fleet::boot("bus", "");
    let pids = |fleet: &Fleet| {
        let pid = |node: &Node, unit: &str| node.pid_of(unit);
        [
            pid(&fleet.laptop, "hirte.service"),
            pid(&fleet.laptop, "hirte-agent.service"),
            pid(&fleet.rpi4, "hirte-agent.service"),
        ]
    };
    let before = (pids(&fleet), registrations(&fleet, "rpi4"));
    let job = fleet.start_gated("rpi4");
    fleet.rpi4.systemctl(&["restart", "dbus.service"]);
    fleet.ask("rpi4").0.unwrap();
    open_gate(&fleet.rpi4, "0");
    assert_eq!(fleet.result(job, PATIENCE), "done");
    fleet.assert_works("rpi4");

    fleet.start_gated("laptop");
    let restarted = Instant::now();
    fleet.laptop.systemctl(&["restart", "dbus.service"]);
    fleet.reconnect();
    fleet.wait("rpi4", "online", PATIENCE);
    println!("the manager has its name after {:.2?}", restarted.elapsed());
    assert_eq!(fleet.client.node_status("laptop").unwrap(), "online");
    open_gate(&fleet.laptop, "0");
    for node in ["laptop", "rpi4"] {
        fleet.ask(node).0.unwrap();
        fleet.assert_works(node);
    }
    let after = (pids(&fleet), registrations(&fleet, "rpi4"));
    assert_eq!(before, after, "neither a process nor a connection was lost");
}

#[test]
fn requests_that_systemd_merges_all_end() {
    if !lab::require() {
        return;
    }
    let mut fleet = Fleet::boot("merged", "");
    let first = fleet.start_gated("rpi4");
    let second = fleet.start("rpi4", "gated.service");
    let parallel = fleet
        .laptop
        .spawn(&["hirtectl", "start", "rpi4", "gated.service"]);
    let third = fleet.client.signal("JobNew").body;
    assert!(third.reader().u32().is_ok());
    thread::sleep(Duration::from_millis(300));
    open_gate(&fleet.rpi4, "0");
    for job in [first, second] {
        assert_eq!(fleet.result(job, PATIENCE), "done");
    }
    let ended = parallel.wait(PATIENCE);
    assert!(ended.success(), "{ended}");

    // A stop takes the place of a start that waits: both end, each as it is.
    fleet.rpi4.run(&["rm", "-f", "/run/gate"]);
    fleet.rpi4.systemctl(&["stop", "gated.service"]);
    let start = fleet.start_gated("rpi4");
    let stop = Body::of(&("gated.service", "replace"));
    let call = fleet.client.send(node_call("rpi4", "StopUnit", stop));
    fleet.client.answer(call).unwrap();
    assert_eq!(fleet.result(start, PATIENCE), "canceled");
    fleet.assert_works("rpi4");
}

#[test]
fn a_node_that_crashes_or_reboots_is_lost_and_back() {
    if !lab::require() {
        return;
    }
    let mut fleet = Fleet::boot("crash", "");
    let job = fleet.start_gated("rpi4");
    fleet.rpi4.link(Link::Down);
    let crashed = Instant::now();
    fleet.rpi4.crash();
    assert_eq!(fleet.result(job, PATIENCE), "node-lost");
    report("crash, JobRemoved", crashed.elapsed(), OFFLINE);
    assert_eq!(fleet.client.node_status("rpi4").unwrap(), "offline");
    fleet.rpi4.link(Link::Up);
    fleet.rpi4.boot();
    let booted = fleet.wait("rpi4", "online", PATIENCE);
    println!("online {booted:.2?} after the boot");

    let job = fleet.start_gated("rpi4");
    fleet.rpi4.reboot();
    let result = fleet.result(job, PATIENCE);
    println!("a job in flight while its node reboots: {result}");
    assert!(["canceled", "failed", "node-lost"].contains(&result.as_str()));
    fleet.wait("rpi4", "online", PATIENCE);
    fleet.assert_works("rpi4");
}

#[test]
fn the_watchdog_ends_daemons_that_are_stuck() {
    if !lab::require() {
        return;
    }
    let mut fleet = Fleet::boot("watchdog", "");
    let daemons = [
        (fleet.laptop.clone(), "hirte.service"),
        (fleet.rpi4.clone(), "hirte-agent.service"),
    ];
    let stuck = Instant::now();
    for (node, unit) in &daemons {
        node.freeze(unit);
    }
    for (node, unit) in &daemons {
        within(
            WATCHDOG + PATIENCE,
            &format!("{unit} is started again"),
            || node.systemctl(&["show", "--property=NRestarts", "--value", unit]) == "1",
        );
    }
    for node in ["laptop", "rpi4"] {
        fleet.wait(node, "online", PATIENCE);
    }
    println!("all are back {:.2?} after SIGSTOP", stuck.elapsed());
    fleet.assert_works("rpi4");
}

#[test]
fn journals_tell_what_has_happened() {
    if !lab::require() {
        return;
    }
    let mut fleet = Fleet::boot("journal", "");
    // It takes effect without a restart.
    let debug = "[hirte]\nLogLevel=DEBUG\n";
    fleet
        .laptop
        .write("/etc/hirte/hirte.conf.d/debug.conf", debug);
    fleet.laptop.systemctl(&["reload", "hirte.service"]);
    let reloaded = "Reloaded the configuration";
    fleet
        .laptop
        .wait_journal("hirte.service", reloaded, PATIENCE);
    // The caller is a process of the node, whose id the log tells.
    let start = "echo $$; exec busctl call org.containers.hirte /org/containers/hirte/node/rpi4 \
        org.containers.hirte.Node StartUnit ss gated.service replace >/dev/null";
    let pid = fleet.laptop.ok(&["sh", "-euc", start]);
    let line = "StartUnit gated.service on 'rpi4', mode replace, asked by :1.";
    fleet.laptop.wait_journal("hirte.service", line, PATIENCE);
    let manager = entries(&fleet.laptop, "hirte.service");
    let asked = manager.iter().find(|entry| entry.message.contains(line));
    let asked = &asked.unwrap().message;
    assert!(asked.starts_with("Job "), "{asked}");
    assert!(
        asked.ends_with(&format!("(uid 0, pid {pid})")),
        "{asked}, not {pid}"
    );
    open_gate(&fleet.rpi4, "0");
    fleet
        .rpi4
        .wait_journal("hirte-agent.service", "Sending JobDone", PATIENCE);

    fleet.laptop.systemctl(&["stop", "hirte.service"]);
    let lost = "Disconnected from manager";
    fleet
        .rpi4
        .wait_journal("hirte-agent.service", lost, PATIENCE);
    let again = "Trying to connect to manager (try ";
    fleet
        .rpi4
        .wait_journal("hirte-agent.service", again, PATIENCE);
    fleet.laptop.systemctl(&["start", "hirte.service"]);
    fleet.wait("rpi4", "online", PATIENCE);
    fleet.rpi4.systemctl(&["stop", "hirte-agent.service"]);
    fleet.wait("rpi4", "offline", PATIENCE);
    // Nobody may be called so: the agent tries for ever, and both sides say why.
    let wrong = "[hirte-agent]\nNodeName=stranger\nManagerHost=192.168.42.10\nManagerPort=2020\n";
    fleet.rpi4.write("/etc/hirte/agent.conf", wrong);
    fleet.rpi4.systemctl(&["start", "hirte-agent.service"]);
    let refused = "Registering as 'stranger' failed: Unexpected node name";
    fleet
        .rpi4
        .wait_journal("hirte-agent.service", refused, PATIENCE);

    let refused = "Registration of a node as 'stranger' refused: ";
    fleet
        .laptop
        .wait_journal("hirte.service", refused, PATIENCE);

    let manager = entries(&fleet.laptop, "hirte.service");
    for (priority, start) in [
        (INFO, "Starting hirte "),
        (INFO, "Waiting for connection requests on port 2020..."),
        (INFO, "Registered managed node from fd "),
        (INFO, "Agent 'rpi4' connected from 192.168.42.15"),
        (INFO, "Agent 'laptop' connected from 127.0.0.1"),
        (INFO, "Node 'rpi4' disconnected"),
        (DEBUG, "Connection from 192.168.42.15 on fd "),
        (WARNING, refused),
    ] {
        assert_entry(&manager, priority, start);
    }
    let agent = entries(&fleet.rpi4, "hirte-agent.service");
    for (priority, start) in [
        (INFO, "Starting hirte-agent "),
        (INFO, "Connecting to manager on "),
        (INFO, "Connected to manager as 'rpi4'"),
        (
            INFO,
            "Request to StartUnit unit: gated.service - Action: replace",
        ),
        (INFO, "Sending JobDone 1, result: done"),
        (WARNING, "Disconnected from manager: "),
        (ERROR, "Registering as 'stranger' failed: "),
    ] {
        assert_entry(&agent, priority, start);
    }
}

const ERROR: &str = "3";
const WARNING: &str = "4";
const INFO: &str = "6";
const DEBUG: &str = "7";

/// What a daemon wrote to the journal by itself.
#[derive(Debug)]
struct Entry {
    priority: String,
    message: String,
}

fn entries(node: &Node, unit: &str) -> Vec<Entry> {
    // Not what systemd says about the unit.
    let matches = format!("_SYSTEMD_UNIT={unit}");
    let journal = node.ok(&["journalctl", "--boot", "--output=json", &matches]);
    let text = |entry: &serde_json::Value, key: &str| {
        let value = entry[key].as_str();
        value
            .unwrap_or_else(|| panic!("no {key} in {entry}"))
            .to_owned()
    };
    journal
        .lines()
        .map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(text(&entry, "_TRANSPORT"), "journal", "{entry}");
            assert_eq!(
                text(&entry, "SYSLOG_IDENTIFIER"),
                unit.trim_end_matches(".service")
            );
            Entry {
                priority: text(&entry, "PRIORITY"),
                message: text(&entry, "MESSAGE"),
            }
        })
        .collect()
}

fn assert_entry(entries: &[Entry], priority: &str, start: &str) {
    assert!(
        entries
            .iter()
            .any(|entry| entry.priority == priority && entry.message.starts_with(start)),
        "no {start:?} with priority {priority} in {entries:#?}"
    );
}
