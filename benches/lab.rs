//! hirte on ten real systemd nodes, against the same requests made to the nodes' own systemd.
//!
//! ```text
//! cargo bench --bench lab -- [--nodes 10] [--rounds 3] [--only TEXT]
//! ```
//!
//! With `--only` just the rows that contain the text, such as `ListUnits`.
//!
//! Needs root: the nodes are systemd in namespaces of this machine, joined by a bridge. hirte runs
//! on the first node as its unit says, an agent on each node. Requests through hirte go to the
//! first node's system bus; direct ones to the system bus of the node that they are about. Both
//! are made by the same client, over connections that are open, in turn.

#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss
)]

#[path = "../tests/support/client.rs"]
mod client;
mod common;
#[path = "../tests/lab/mod.rs"]
mod lab;
#[path = "../tests/support/tree.rs"]
mod tree;

use std::{
    env, fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use client::{Addressed, Client, Times, calls, jobs};
use common::{Group, Measured, measure, memory, millis, print_head, print_machine};
use hirte::{
    bus::{Body, Kind, Message, names},
    reactor,
};
use lab::{Lab, Node};
use smol::LocalExecutor;

/// Targets of each node, which start at once. They are loaded all the time, so that `ListUnits` has
/// about as many units as on a computer with a desktop.
const TARGETS: usize = 500;
const TARGET: &str = "[Unit]\nDescription=Starts at once %i\nStartLimitIntervalSec=0\n";
/// The node that is asked where one is: not the manager's.
const ASKED: usize = 1;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let value = |option: &str| {
        let at = arguments.iter().position(|argument| argument == option)?;
        arguments.get(at + 1)
    };
    let number = |option: &str, default: usize| {
        value(option).map_or(default, |text| text.parse().expect("a number"))
    };
    let (nodes, rounds) = (number("--nodes", 10).max(2), number("--rounds", 3));
    let only = value("--only").cloned().unwrap_or_default();
    if !lab::require() {
        return;
    }
    print_machine();
    let tree = tree::install_tree();
    let lab = Lab::builder("bench").layer(tree).build();
    let nodes: Vec<Node> = (0..nodes)
        .map(|index| {
            lab.node(
                &format!("node{index}"),
                &format!("192.168.42.{}", 10 + index),
            )
        })
        .collect();
    lab.boot_all();
    nodes.iter().for_each(prepare);
    start(&nodes);
    println!("\n## {} systemd nodes\n", nodes.len());
    let executor = Rc::new(LocalExecutor::new());
    reactor::block_on(&executor, Bench::run(&executor, &nodes, rounds, only));
}

/// Loads the targets without starting them: an active unit is ordered after them.
fn prepare(node: &Node) {
    let targets: Vec<String> = (0..TARGETS).map(target).collect();
    node.unit("at-once@.target", TARGET);
    let unit = format!("[Unit]\nAfter={}\n", targets.join(" "));
    node.unit("bench.target", &unit);
    node.systemctl(&["start", "bench.target"]);
}

fn target(index: usize) -> String {
    format!("at-once@{:03}.target", index % TARGETS)
}

fn start(nodes: &[Node]) {
    let names: Vec<&str> = nodes.iter().map(Node::name).collect();
    let config = format!("[hirte]\nAllowedNodeNames={}\n", names.join(","));
    nodes[0].write("/etc/hirte/hirte.conf", config);
    nodes[0].systemctl(&["start", "hirte"]);
    for node in nodes {
        let config = format!("[hirte-agent]\nManagerHost={}\n", nodes[0].address());
        node.write("/etc/hirte/agent.conf", config);
        node.systemctl(&["start", "hirte-agent"]);
    }
}

/// Processes on a node that are called `name`, by the numbers that they have on the machine.
fn processes(node: &Node, name: &str) -> Vec<u32> {
    let init = node.pid().expect("the node is on");
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let home = namespace(init);
    fs::read_dir("/proc")
        .expect("list /proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| namespace(*pid) == home)
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|comm| comm.trim_end() == name)
        })
        .collect()
}

fn group(name: &'static str, nodes: &[Node], process: &str) -> Group {
    let pids: Vec<u32> = nodes
        .iter()
        .flat_map(|node| processes(node, process))
        .collect();
    Group::new(name, pids)
}

fn bus_socket(node: &Node) -> PathBuf {
    let address = node.bus_address();
    PathBuf::from(address.trim_start_matches("unix:path="))
}

/// What the two ways to a node's systemd have in common: how a request is addressed.
struct Way {
    client: Client,
    groups: Vec<Group>,
    get_property: fn(usize, usize) -> Addressed,
    start_unit: fn(usize, usize) -> Addressed,
}

struct Bench<'a> {
    nodes: &'a [Node],
    rounds: usize,
    /// Rows that do not contain it are left out.
    only: String,
    hirte: Way,
    direct: Way,
}

impl<'a> Bench<'a> {
    async fn run(
        executor: &Rc<LocalExecutor<'static>>,
        nodes: &'a [Node],
        rounds: usize,
        only: String,
    ) {
        let first = bus_socket(&nodes[0]);
        let mut hirte = Client::connect(executor, &[&first]).await;
        wait_online(&mut hirte, nodes.len()).await;
        hirte
            .subscribe(0, names::MANAGER_INTERFACE, "JobRemoved")
            .await;
        let sockets: Vec<PathBuf> = nodes.iter().map(bus_socket).collect();
        let sockets: Vec<&Path> = sockets.iter().map(PathBuf::as_path).collect();
        let mut direct = Client::connect(executor, &sockets).await;
        for node in 0..nodes.len() {
            direct
                .call(to_systemd(node, "Subscribe", Body::default()))
                .await;
            direct
                .subscribe(node, names::SYSTEMD_MANAGER_INTERFACE, "JobRemoved")
                .await;
        }
        let mut bench = Self {
            nodes,
            rounds,
            only,
            hirte: Way {
                client: hirte,
                groups: vec![
                    group("manager", &nodes[..1], "hirte"),
                    group("agents", nodes, "hirte-agent"),
                    group("dbus-daemons", nodes, "dbus-daemon"),
                    group("systemds", nodes, "systemd"),
                ],
                get_property: property_by_hirte,
                start_unit: start_by_hirte,
            },
            direct: Way {
                client: direct,
                groups: vec![
                    group("dbus-daemons", nodes, "dbus-daemon"),
                    group("systemds", nodes, "systemd"),
                ],
                get_property: property_directly,
                start_unit: start_directly,
            },
        };
        bench.all().await;
    }

    async fn all(&mut self) {
        print_head();
        self.properties("GetUnitProperty, one at a time", 1000, 1)
            .await;
        self.properties("GetUnitProperty, 32 in flight", 5000, 32)
            .await;
        let all = self.nodes.len();
        self.jobs("job, one at a time", 1, 1).await;
        self.jobs("job, 32 in flight on one node", 1, 32).await;
        self.jobs("job, 32 in flight on all nodes", all, 32).await;
        self.lists().await;
        self.memory();
        self.restart().await;
    }

    async fn properties(&mut self, what: &str, count: usize, window: usize) {
        if !what.contains(&self.only) {
            return;
        }
        let nodes = self.nodes.len();
        let mut measured = [Measured::default(), Measured::default()];
        for _ in 0..self.rounds {
            for (way, sum) in [&mut self.hirte, &mut self.direct]
                .into_iter()
                .zip(&mut measured)
            {
                let get = way.get_property;
                let node = |number: usize| if window == 1 { ASKED } else { number % nodes };
                let run = calls(&mut way.client, count, window, |n| get(node(n), n));
                sum.add(measure(&way.groups, run).await);
            }
        }
        compare(what, &measured);
    }

    /// Starts each target of some nodes once.
    async fn jobs(&mut self, what: &str, on: usize, window: usize) {
        if !what.contains(&self.only) {
            return;
        }
        let mut measured = [Measured::default(), Measured::default()];
        for _ in 0..self.rounds {
            for (way, sum) in [&mut self.hirte, &mut self.direct]
                .into_iter()
                .zip(&mut measured)
            {
                let start = way.start_unit;
                let node = |number: usize| if on == 1 { ASKED } else { number % on };
                let run = jobs(&mut way.client, TARGETS * on, window, |n| {
                    start(node(n), n / on)
                });
                sum.add(measure(&way.groups, run).await);
                for node in self.nodes {
                    node.systemctl(&["stop", "at-once@*.target"]);
                }
                reactor::sleep(Duration::from_millis(300)).await;
            }
        }
        compare(what, &measured);
    }

    /// The units of all nodes: one request to hirte, or one to each systemd at the same time.
    async fn lists(&mut self) {
        let what = "ListUnits of all nodes";
        if !what.contains(&self.only) {
            return;
        }
        let nodes = self.nodes.len();
        let mut measured = [Measured::default(), Measured::default()];
        for _ in 0..self.rounds {
            let whole = |_| (0, to_manager("ListUnits"));
            let run = calls(&mut self.hirte.client, 20, 1, whole);
            measured[0].add(measure(&self.hirte.groups, run).await);
            let client = &mut self.direct.client;
            let run = async {
                let mut times = Times::new();
                for _ in 0..20 {
                    let started = Instant::now();
                    let one = |node| to_systemd(node, "ListUnits", Body::default());
                    calls(client, nodes, nodes, one).await;
                    times.push(u64::try_from(started.elapsed().as_nanos()).unwrap());
                }
                times
            };
            measured[1].add(measure(&self.direct.groups, run).await);
        }
        let answer = self.hirte.client.call((0, to_manager("ListUnits"))).await;
        let units = count_units(&answer);
        compare(&format!("{what}, {units} units"), &measured);
    }

    fn memory(&self) {
        let manager = processes(&self.nodes[0], "hirte");
        let agent = processes(&self.nodes[ASKED], "hirte-agent");
        println!();
        for (name, pids) in [("manager", manager), ("an agent", agent)] {
            let (resident, private) = pids.first().map_or((0, 0), |pid| memory(*pid));
            println!("- memory of {name}: {resident} kB resident, {private} kB private");
        }
    }

    async fn restart(&mut self) {
        let mut times = Vec::new();
        for _ in 0..3 {
            let killed = Instant::now();
            self.nodes[0].kill("hirte.service", "KILL");
            wait_online(&mut self.hirte.client, self.nodes.len()).await;
            times.push(format!("{:.0}", millis(killed.elapsed())));
            reactor::sleep(Duration::from_secs(3)).await;
        }
        println!(
            "- after kill -9 of the manager all nodes are back within {} ms, of which systemd \
             waits 100 ms before it starts it again",
            times.join(", ")
        );
    }
}

/// Prints what was measured through hirte, directly, and how they relate.
fn compare(what: &str, [hirte, direct]: &[Measured; 2]) {
    hirte.print(&format!("{what}: hirte"));
    direct.print(&format!("{what}: direct"));
    let (through, directly) = (millis(hirte.median()), millis(direct.median()));
    println!(
        "| ratio hirte/direct | | {:.2} ({:+.3} ms) | | {:.2} | |",
        through / directly,
        through - directly,
        hirte.per_second() / direct.per_second()
    );
}

async fn wait_online(client: &mut Client, nodes: usize) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.call((0, to_manager("ListNodes"))).await;
        let online = |bytes: &[u8]| bytes == b"\0online\0";
        if answer.kind == Kind::Return
            && answer
                .body
                .bytes
                .windows(8)
                .filter(|bytes| online(bytes))
                .count()
                == nodes
        {
            return;
        }
        assert!(Instant::now() < end, "not all nodes are online: {answer:?}");
        reactor::sleep(Duration::from_millis(5)).await;
    }
}

fn count_units(answer: &Message) -> usize {
    let mut units = answer.body.reader().array(8).expect("a list of units");
    let mut count = 0;
    while !units.is_at_end() {
        units.skip(b"(sssssssouso)").expect("a unit");
        count += 1;
    }
    count
}

fn to_manager(member: &str) -> Message {
    let body = Body::default();
    Message::call(names::MANAGER_PATH, names::MANAGER_INTERFACE, member, body)
        .to(names::MANAGER_BUS_NAME)
}

fn to_systemd(node: usize, member: &str, body: Body) -> Addressed {
    let interface = names::SYSTEMD_MANAGER_INTERFACE;
    let call = Message::call(names::SYSTEMD_PATH, interface, member, body);
    (node, call.to(names::SYSTEMD_NAME))
}

fn to_node(node: usize, member: &str, body: Body) -> Addressed {
    let path = names::node_path(&format!("node{node}"));
    let call = Message::call(&path, names::NODE_INTERFACE, member, body);
    (0, call.to(names::MANAGER_BUS_NAME))
}

fn property_by_hirte(node: usize, number: usize) -> Addressed {
    let unit = target(number);
    let arguments = (unit.as_str(), names::SYSTEMD_UNIT_INTERFACE, "ActiveState");
    to_node(node, "GetUnitProperty", Body::of(&arguments))
}

fn property_directly(node: usize, number: usize) -> Addressed {
    let path = names::systemd_unit_path(&target(number));
    let body = Body::of(&(names::SYSTEMD_UNIT_INTERFACE, "ActiveState"));
    let call = Message::call(&path, names::PROPERTIES_INTERFACE, "Get", body);
    (node, call.to(names::SYSTEMD_NAME))
}

fn start_by_hirte(node: usize, number: usize) -> Addressed {
    let body = Body::of(&(target(number).as_str(), "replace"));
    to_node(node, "StartUnit", body)
}

fn start_directly(node: usize, number: usize) -> Addressed {
    let body = Body::of(&(target(number).as_str(), "replace"));
    to_systemd(node, "StartUnit", body)
}
