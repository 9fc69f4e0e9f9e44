//! A real manager with a thousand simulated nodes. No systemd and no root is needed.

#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, and uses a part of what it shares with the benchmarks"
)]

#[path = "support/client.rs"]
mod client;
#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/primary.rs"]
mod primary;
#[path = "support/tree.rs"]
mod tree;

use std::{
    collections::BTreeMap,
    process::Command,
    rc::Rc,
    time::{Duration, Instant},
};

use client::Client;
use fleet::Fleet;
use hirte::{
    bus::{Body, Kind, Message, ObjectPath, error_name, names},
    reactor,
};
use primary::Primary;
use smol::{LocalExecutor, future::or};

const NODES: usize = 1000;
const UNITS: usize = 300;
/// For anything that hangs; a debug build on a busy machine needs a part of it.
const LIMIT: Duration = Duration::from_mins(3);
/// `dbus-daemon` lets one connection wait for 128 answers.
const CALLS_OF_A_CONNECTION: usize = 100;

fn start() -> (Primary, Fleet) {
    let hirte = tree::program("hirte");
    let primary = Primary::start(&hirte, &fleet::node_names(NODES));
    let agents = Fleet::start(fleet::Settings {
        manager: primary.address(),
        nodes: NODES,
        units: UNITS,
    });
    (primary, agents)
}

/// Runs a test on one thread, within `LIMIT`.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Rc<LocalExecutor<'static>>) -> F) {
    let executor = Rc::new(LocalExecutor::new());
    let limited = or(test(Rc::clone(&executor)), async {
        reactor::sleep(LIMIT).await;
        panic!("the test did not end within {LIMIT:?}");
    });
    reactor::block_on(&executor, limited);
}

fn to_manager(member: &str) -> Message {
    let body = Body::default();
    Message::call(names::MANAGER_PATH, names::MANAGER_INTERFACE, member, body)
        .to(names::MANAGER_BUS_NAME)
}

/// Waits until `ListNodes` shows every node online, in the order of the configuration.
async fn all_online(client: &mut Client) {
    loop {
        let answer = client.call((0, to_manager("ListNodes"))).await;
        let (nodes,) = answer
            .body
            .parse::<(Vec<(String, ObjectPath, String)>,)>()
            .unwrap();
        let names: Vec<&String> = nodes.iter().map(|node| &node.0).collect();
        assert!(names.into_iter().eq(&fleet::node_names(NODES)));
        if nodes.iter().all(|node| node.2 == "online") {
            return;
        }
        reactor::sleep(Duration::from_millis(100)).await;
    }
}

async fn owner(client: &mut Client) -> String {
    let body = Body::of(&(names::MANAGER_BUS_NAME,));
    let answer = client.ask_bus(0, "GetNameOwner", body).await;
    answer.body.first_str().unwrap().to_owned()
}

/// One test, so that the fleet registers once.
#[test]
fn a_thousand_nodes() {
    let (primary, agents) = start();
    let socket = primary.bus_socket();
    run(async |executor| {
        let mut client = Client::connect(&executor, &[&socket]).await;
        all_online(&mut client).await;
        // The manager knows of a registration before its agent has read the answer.
        while agents.registered() < NODES {
            reactor::sleep(Duration::from_millis(10)).await;
        }
        let owner_before = owner(&mut client).await;

        let answer = client.call((0, to_manager("ListUnits"))).await;
        assert_eq!(answer.kind, Kind::Error);
        assert_eq!(answer.error_name, error_name::LIMITS_EXCEEDED);

        let sockets = vec![socket.as_path(); NODES.div_ceil(CALLS_OF_A_CONNECTION)];
        let mut clients = Client::connect(&executor, &sockets).await;
        one_job_on_each_node(&mut clients).await;

        all_online(&mut client).await;
        assert_eq!(
            owner(&mut client).await,
            owner_before,
            "a new bus connection"
        );
    });
    hirtectl_lists_all_units(&primary);
    // Whether this machine has the group is not the matter here.
    let is_of_the_group = |line: &&str| line.contains("The private socket is for root only");
    let warnings: Vec<String> = primary
        .log()
        .lines()
        .filter(|line| {
            line.contains("WARN") || line.contains("ERROR") || line.contains("disconnected")
        })
        .filter(|line| !is_of_the_group(line))
        .map(str::to_owned)
        .collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
}

/// Each job is announced once, answered, and removed once.
async fn one_job_on_each_node(clients: &mut Client) {
    for member in ["JobNew", "JobRemoved"] {
        clients.subscribe(0, names::MANAGER_INTERFACE, member).await;
    }
    for index in 0..NODES {
        let path = names::node_path(&fleet::node_name(index));
        let body = Body::of(&("unit000.service", "replace"));
        let call = Message::call(&path, names::NODE_INTERFACE, "StartUnit", body);
        clients.send((
            index / CALLS_OF_A_CONNECTION,
            call.to(names::MANAGER_BUS_NAME),
        ));
    }
    let mut new = BTreeMap::<u32, usize>::new();
    let mut removed = BTreeMap::<u32, String>::new();
    let mut answers = 0;
    while answers < NODES || removed.len() < NODES {
        let (_, message) = clients.next().await;
        match (message.kind, message.member.as_str()) {
            (Kind::Return, _) => answers += 1,
            (Kind::Signal, "JobNew") => {
                let (id, _) = message.body.parse::<(u32, ObjectPath)>().unwrap();
                *new.entry(id).or_default() += 1;
            }
            (Kind::Signal, "JobRemoved") => {
                let (id, _, node, unit, result) = message
                    .body
                    .parse::<(u32, ObjectPath, String, String, String)>()
                    .unwrap();
                assert_eq!(
                    (unit.as_str(), result.as_str()),
                    ("unit000.service", "done")
                );
                assert_eq!(new.get(&id), Some(&1), "job {id} was not announced");
                assert_eq!(removed.insert(id, node), None, "job {id} ended twice");
            }
            (Kind::Signal, _) => {}
            _ => panic!("{message:?}"),
        }
    }
    assert_eq!(new.len(), NODES);
    let mut nodes: Vec<String> = removed.into_values().collect();
    nodes.sort();
    assert_eq!(nodes, fleet::node_names(NODES));
}

/// It asks node by node when the manager can not answer for all.
fn hirtectl_lists_all_units(primary: &Primary) {
    let hirtectl = tree::program("hirtectl");
    let bus = format!("unix:path={}", primary.bus_socket().display());
    let started = Instant::now();
    let output = Command::new(hirtectl)
        .arg("list-units")
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let rows = stdout
        .lines()
        .filter(|line| line.contains(".service"))
        .count();
    assert_eq!(rows, NODES * UNITS);
    assert!(started.elapsed() < LIMIT);
}
