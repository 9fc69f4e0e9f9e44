//! The manager with a simulated fleet: thousands of agents without systemd, over loopback TCP.
//!
//! ```text
//! cargo bench --bench fleet -- [--nodes 1000,5000] [--units 100] [--hirte PROGRAM]
//! ```
//!
//! The agents run in a process of their own, the manager on a bus of its own with the limits of a
//! system bus. Only loopback is used; root is not needed.

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
#[path = "../tests/support/fleet.rs"]
mod fleet;
#[path = "../tests/support/primary.rs"]
mod primary;

use std::{
    cell::Cell,
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use client::{Addressed, Client, calls, jobs};
use common::{Group, measure, memory, millis, print_head, print_machine};
use hirte::{
    bus::{Body, Kind, Message, names},
    reactor,
};
use primary::Primary;
use smol::{LocalExecutor, future::zip};

/// `dbus-daemon` lets a client wait for this many answers.
const MAX_REPLIES: usize = 128;
const JOBS: usize = 6000;
const HEARTBEAT_TIME: Duration = Duration::from_secs(10);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--simulate") {
        return simulate(&arguments);
    }
    let value = |option: &str| {
        let at = arguments.iter().position(|argument| argument == option)?;
        arguments.get(at + 1).cloned()
    };
    let sizes = value("--nodes").unwrap_or_else(|| "1000,5000".to_owned());
    let units = value("--units").map_or(100, |units| units.parse().expect("--units NUMBER"));
    let program = value("--hirte").unwrap_or_else(|| env!("CARGO_BIN_EXE_hirte").to_owned());
    print_machine();
    for size in sizes.split(',') {
        let nodes = size.parse().expect("--nodes NUMBER,...");
        Bench::new(&PathBuf::from(&program), nodes, units).run();
    }
}

/// The process of the agents: says each time when all of them are registered.
fn simulate(arguments: &[String]) {
    let number = |index: usize| arguments[index].parse().expect("a number");
    let settings = fleet::Settings {
        manager: arguments[1].parse().expect("an address"),
        nodes: number(2),
        units: number(3),
    };
    let mut was_complete = false;
    fleet::run(settings, |registered| {
        let is_complete = registered == settings.nodes;
        if is_complete && !was_complete {
            println!("complete");
        }
        was_complete = is_complete;
        true
    });
}

struct Bench {
    nodes: usize,
    units: usize,
    primary: Primary,
    agents: Child,
    agents_say: BufReader<ChildStdout>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.agents.kill();
        let _ = self.agents.wait();
    }
}

impl Bench {
    /// Starts the manager and the agents, and reports how they register.
    fn new(program: &Path, nodes: usize, units: usize) -> Self {
        println!("\n## {nodes} simulated nodes with {units} units each\n");
        let primary = Primary::start(program, &fleet::node_names(nodes));
        let manager = Group::new("manager", [primary.manager_pid()]);
        let memory_before = memory(primary.manager_pid());
        let cpu_before = manager.cpu();
        let started = Instant::now();
        let mut agents = Command::new(env::current_exe().expect("this program"))
            .args(["--simulate", &primary.address().to_string()])
            .args([nodes.to_string(), units.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the agents");
        let agents_say = BufReader::new(agents.stdout.take().expect("a pipe"));
        let mut bench = Self {
            nodes,
            units,
            primary,
            agents,
            agents_say,
        };
        bench.wait_complete();
        let wall = started.elapsed();
        let cpu = manager.cpu().saturating_sub(cpu_before);
        println!(
            "- registrations: all within {:.2} s, {:.0} per second; manager {:.0} µs of CPU each",
            wall.as_secs_f64(),
            nodes as f64 / wall.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / nodes as f64
        );
        std::thread::sleep(Duration::from_secs(1));
        let after = memory(bench.primary.manager_pid());
        println!(
            "- memory of the manager: {} kB resident, {} kB private before, {} kB and {} kB with \
             all nodes: {:.2} kB private for each connected node",
            memory_before.0,
            memory_before.1,
            after.0,
            after.1,
            (after.1 as f64 - memory_before.1 as f64) / nodes as f64
        );
        bench
    }

    fn wait_complete(&mut self) {
        let mut line = String::new();
        self.agents_say.read_line(&mut line).expect("read");
        assert_eq!(line, "complete\n", "the agents ended");
    }

    fn groups(&self) -> [Group; 3] {
        [
            Group::new("manager", [self.primary.manager_pid()]),
            Group::new("dbus-daemon", [self.primary.bus_pid()]),
            Group::new("all agents", [self.agents.id()]),
        ]
    }

    fn run(mut self) {
        self.heartbeats();
        let executor = Rc::new(LocalExecutor::new());
        reactor::block_on(&executor, self.requests(&executor));
        self.restart();
    }

    fn heartbeats(&self) {
        let manager = Group::new("manager", [self.primary.manager_pid()]);
        let before = manager.cpu();
        std::thread::sleep(HEARTBEAT_TIME);
        let used = manager.cpu().saturating_sub(before);
        println!(
            "- heartbeats every 2 s: the manager takes {:.2} % of a core, {:.1} µs each\n",
            used.as_secs_f64() / HEARTBEAT_TIME.as_secs_f64() * 100.0,
            used.as_secs_f64() * 1e6 / (self.nodes as f64 * HEARTBEAT_TIME.as_secs_f64() / 2.0)
        );
    }

    /// The same requests over the private socket.
    async fn without_bus(&self, executor: &Rc<LocalExecutor<'static>>, groups: &[Group]) {
        let socket = self.primary.private_socket();
        let mut client = Client::connect(executor, &[&socket]).await;
        let get_property = |number| self.get_property(number);
        let run = calls(&mut client, 2000, 1, ping);
        measure(groups, run)
            .await
            .print("Ping, private socket, one at a time");
        let run = calls(&mut client, 2000, 1, get_property);
        measure(groups, run)
            .await
            .print("GetUnitProperty, private socket, one at a time");
        let run = calls(&mut client, JOBS, 32, get_property);
        measure(groups, run)
            .await
            .print("GetUnitProperty, private socket, 32 in flight");
    }

    async fn requests(&self, executor: &Rc<LocalExecutor<'static>>) {
        let socket = self.primary.bus_socket();
        let mut client = Client::connect(executor, &[&socket]).await;
        let mut other = Client::connect(executor, &[&socket]).await;
        client
            .subscribe(0, names::MANAGER_INTERFACE, "JobRemoved")
            .await;
        let groups = self.groups();
        let get_property = |number| self.get_property(number);
        let start = |number| self.start_unit(number);
        let list_nodes = |_| (0, to_manager("ListNodes"));
        let list = |number| self.on_node(number, "ListUnits", Body::default());
        print_head();
        jobs(&mut client, 500, 32, start).await;

        let run = calls(&mut client, 2000, 1, ping);
        measure(&groups, run).await.print("Ping, one at a time");
        let run = calls(&mut client, 2000, 1, get_property);
        measure(&groups, run)
            .await
            .print("GetUnitProperty, one at a time");
        let run = calls(&mut client, JOBS, 32, get_property);
        measure(&groups, run)
            .await
            .print("GetUnitProperty, 32 in flight");
        self.without_bus(executor, &groups).await;
        let run = jobs(&mut client, 1000, 1, start);
        measure(&groups, run).await.print("job, one at a time");
        let run = jobs(&mut client, JOBS, 32, start);
        measure(&groups, run).await.print("job, 32 in flight");
        let run = jobs(&mut client, JOBS, MAX_REPLIES - 1, start);
        measure(&groups, run).await.print("job, 127 in flight");

        let run = calls(&mut client, 100, 1, list_nodes);
        measure(&groups, run)
            .await
            .print("ListNodes with heartbeats only");
        let is_over = Cell::new(false);
        let load = async {
            jobs(&mut client, JOBS, 32, start).await;
            is_over.set(true);
        };
        let probe = async {
            let mut times = Vec::new();
            while !is_over.get() {
                times.extend(calls(&mut other, 1, 1, list_nodes).await);
                reactor::sleep(Duration::from_millis(5)).await;
            }
            times
        };
        let loaded = async { zip(load, probe).await.1 };
        measure(&[], loaded)
            .await
            .print("ListNodes beside 32 jobs in flight");

        let run = calls(&mut client, self.nodes, 32, list);
        let measured = measure(&groups, run).await;
        measured.print("ListUnits of each node, 32 in flight");
        let answer = client.call((0, to_manager("ListUnits"))).await;
        if answer.kind == Kind::Error {
            let text = answer.body.first_str().unwrap_or_default();
            println!(
                "\n- ListUnits of all nodes at once: {} ({text})",
                answer.error_name
            );
        } else {
            let whole = |_| (0, to_manager("ListUnits"));
            let run = calls(&mut client, 20, 1, whole);
            measure(&groups, run)
                .await
                .print("ListUnits of all nodes at once");
            println!("\n- that answer has {} bytes", answer.body.bytes.len());
        }
    }

    fn on_node(&self, number: usize, member: &str, body: Body) -> Addressed {
        let node = fleet::node_name(number % self.nodes);
        let path = names::node_path(&node);
        let call = Message::call(&path, names::NODE_INTERFACE, member, body);
        (0, call.to(names::MANAGER_BUS_NAME))
    }

    fn get_property(&self, number: usize) -> Addressed {
        let unit = fleet::unit_name(number % self.units);
        let arguments = (unit.as_str(), names::SYSTEMD_UNIT_INTERFACE, "ActiveState");
        self.on_node(number, "GetUnitProperty", Body::of(&arguments))
    }

    fn start_unit(&self, number: usize) -> Addressed {
        let unit = fleet::unit_name(number % self.units);
        self.on_node(number, "StartUnit", Body::of(&(unit.as_str(), "replace")))
    }

    fn restart(&mut self) {
        let killed = Instant::now();
        self.primary.kill_manager();
        self.primary.start_manager();
        self.wait_complete();
        println!(
            "- all nodes are back {:.0} ms after kill -9 of the manager and its start",
            millis(killed.elapsed())
        );
    }
}

fn to_manager(member: &str) -> Message {
    let body = Body::default();
    Message::call(names::MANAGER_PATH, names::MANAGER_INTERFACE, member, body)
        .to(names::MANAGER_BUS_NAME)
}

fn ping(_: usize) -> Addressed {
    let call = Message {
        body: Body::of(&("well",)),
        ..to_manager("Ping")
    };
    (0, call)
}
