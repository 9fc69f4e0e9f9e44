//! A real manager with agents that are older than it, or that lie: what they do not offer is an
//! error that names the node, and nothing waits for them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "support/bus.rs"]
mod bus;
mod daemons;

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use daemons::{Connection, Manager, Refusal, manager_call, node_call};
use hirte::bus::{Body, CallError, Message, ObjectPath, Value, error_name, names};

/// Unit files or failures.
type Rows = Vec<(String, String, String)>;

fn properties() -> Vec<(&'static str, Value)> {
    vec![("CPUWeight", Value::U64(7))]
}

/// Calls of a node that older agents do not know: the public method, the agent's, arguments.
fn calls() -> Vec<(&'static str, &'static str, Body)> {
    let unit = || Body::of(&("a.service",));
    let transient = Body::of(&(
        "a.service",
        "fail",
        properties(),
        Vec::<(&str, Vec<(&str, Value)>)>::new(),
    ));
    let mut calls = vec![
        ("StartTransientUnit", "StartTransientUnitJob", transient),
        ("SetLogLevel", "SetLogLevel", Body::of(&("debug",))),
    ];
    for (method, arguments) in [
        ("FreezeUnit", unit()),
        ("GetDefaultTarget", Body::default()),
        ("GetUnitFileState", unit()),
        ("KillUnit", Body::of(&("a.service", "all", 9))),
        ("ListUnitFiles", Body::default()),
        ("ResetFailed", Body::default()),
        ("ResetFailedUnit", unit()),
        ("SetDefaultTarget", Body::of(&("a.target", true))),
        (
            "SetUnitProperties",
            Body::of(&("a.service", true, properties())),
        ),
        ("ThawUnit", unit()),
    ] {
        calls.push((method, method, arguments));
    }
    calls
}

/// What sd-bus answers to a method that a program does not have.
fn unknown(agent: &mut Connection<TcpStream>, asked: &Message) {
    let text = format!(
        "Unknown method {} or interface {}.",
        asked.member, asked.interface
    );
    let error = CallError::new(error_name::UNKNOWN_METHOD, text);
    agent.send(Message::error(asked.serial, &error));
}

#[test]
fn what_an_older_agent_does_not_know_is_not_supported() {
    let mut manager = Manager::start();
    let mut watcher = manager.watcher();
    let mut agent = manager.agent("rpi4");
    for (method, of_agent, arguments) in calls() {
        let call = manager.client.send(node_call("rpi4", method, arguments));
        let asked = agent.called(of_agent);
        assert!(asked.flags.expects_reply(), "{method}");
        unknown(&mut agent, &asked);
        let Refusal { name, text } = manager.client.answer(call).unwrap_err();
        assert_eq!(name, error_name::NOT_SUPPORTED, "{method}");
        let begin = format!("Node 'rpi4' does not offer {of_agent}: ");
        assert!(text.starts_with(&begin), "{text}");
    }
    // The fleet's list names the node, too.
    let detailed = manager_call("ListUnitFilesDetailed", Body::default());
    let call = manager.client.send(detailed);
    let asked = agent.called("ListUnitFiles");
    unknown(&mut agent, &asked);
    let answer = manager.client.answer(call).unwrap();
    let (files, failures): (Rows, Rows) = answer.parse().unwrap();
    assert!(files.is_empty());
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].0, "rpi4");
    assert_eq!(failures[0].1, error_name::NOT_SUPPORTED);
    // No job was announced.
    manager.ping();
    let announced = watcher.find(Duration::from_millis(100), |message| {
        message.member == "JobNew"
    });
    assert!(announced.is_err(), "{announced:?}");
    drop(agent);
    manager.assert_well();
}

/// C agents take only these words, and crash on others.
#[test]
fn an_agent_gets_the_log_level_in_capitals_and_delays_nobody() {
    let mut manager = Manager::start();
    let mut agent = manager.agent("rpi4");
    let set = |level: &str| node_call("rpi4", "SetLogLevel", Body::of(&(level,)));
    let refused = manager.client.call(set("BOGUS")).unwrap_err();
    assert_eq!(refused.name, error_name::INVALID_ARGS);
    assert_eq!(refused.text, "Invalid input for log level");
    let call = manager.client.send(set("wArn"));
    let asked = agent.called("SetLogLevel");
    assert_eq!(asked.body, Body::of(&("WARN",)));
    // While this agent thinks others are served.
    let took = ping_of_another(&manager);
    assert!(took < Duration::from_millis(500), "{took:?}");
    agent.send(Message::reply(asked.serial, Body::default()));
    assert_eq!(manager.client.answer(call), Ok(Body::default()));
    drop(agent);
    manager.assert_well();
}

fn job_time(unit: &str, took_us: u64) -> Message {
    Message::signal(
        names::INTERNAL_AGENT_METRICS_PATH,
        names::INTERNAL_AGENT_METRICS_INTERFACE,
        "AgentJobMetrics",
        Body::of(&(unit, "StartUnit", took_us)),
    )
}

#[test]
fn agents_are_told_to_measure_without_an_answer_and_time_only_their_own_jobs() {
    let mut manager = Manager::start();
    let mut watcher = manager.watcher();
    let mut owner = manager.agent("rpi4");
    let enable = || manager_call("EnableMetrics", Body::default());
    manager.client.call(enable()).unwrap();
    let refused = manager.client.call(enable()).unwrap_err();
    assert_eq!(refused.name, error_name::INCONSISTENT_MESSAGE);
    let mut other = manager.agent("laptop");
    for agent in [&mut owner, &mut other] {
        let asked = agent.called("EnableMetrics");
        assert!(!asked.flags.expects_reply());
        assert_eq!(asked.path, names::INTERNAL_AGENT_PATH);
        // Older agents refuse it although nobody asked: that means nothing.
        unknown(agent, &asked);
    }
    let start = node_call("rpi4", "StartUnit", Body::of(&("a.service", "replace")));
    let call = manager.client.send(start);
    let asked = owner.called("StartUnit");
    let (_, _, id): (String, String, u32) = asked.body.parse().unwrap();
    owner.send(Message::reply(asked.serial, Body::default()));
    manager.client.answer(call).unwrap();

    let flood = |agent: &mut Connection<TcpStream>| {
        for took in 0..1000 {
            agent.send(job_time("a.service", took));
            agent.send(job_time("b.service", took));
        }
        agent.send(Message::signal(
            names::INTERNAL_AGENT_METRICS_PATH,
            names::INTERNAL_AGENT_METRICS_INTERFACE,
            "AgentJobMetrics",
            Body::of(&(7_u32,)),
        ));
        agent.live(Duration::from_millis(100)).unwrap();
    };
    flood(&mut other);
    flood(&mut owner);
    let done = Message::signal(
        names::INTERNAL_AGENT_PATH,
        names::INTERNAL_AGENT_INTERFACE,
        "JobDone",
        Body::of(&(id, "done")),
    );
    owner.send(done);
    for time in [1_000_u64, 4_500] {
        let asked = owner.called("GetUnitProperty");
        owner.send(Message::reply(asked.serial, Body::of(&(Value::U64(time),))));
    }
    let measured = watcher.signal("StartUnitJobMetrics");
    assert_eq!(measured.path, names::METRICS_PATH);
    let (node, job, unit, _, unit_us): (String, String, String, u64, u64) =
        measured.body.parse().unwrap();
    let expected = ("rpi4", names::job_path(id), "a.service", 3_500);
    assert_eq!((node.as_str(), job, unit.as_str(), unit_us), expected);
    let timed = watcher.signal("AgentJobMetrics");
    assert_eq!(
        timed.body,
        Body::of(&("rpi4", "a.service", "StartUnit", 0_u64))
    );
    let removed = watcher.signal("JobRemoved");
    let (number, path): (u32, ObjectPath) = head(&removed.body);
    assert_eq!((number, path.0), (id, names::job_path(id)));
    let further = watcher.find(Duration::from_millis(200), |message| {
        message.member == "AgentJobMetrics"
    });
    assert!(further.is_err(), "{further:?}");
    manager
        .client
        .call(manager_call("DisableMetrics", Body::default()))
        .unwrap();
    assert!(!owner.called("DisableMetrics").flags.expects_reply());
    drop((owner, other));
    manager.assert_well();
}

/// The first two arguments of `JobRemoved`.
fn head(body: &Body) -> (u32, ObjectPath) {
    let mut reader = body.reader();
    let number = reader.u32().unwrap();
    (number, ObjectPath(reader.path().unwrap().to_owned()))
}

/// How long the manager takes to answer another client.
fn ping_of_another(manager: &Manager) -> Duration {
    let mut client = manager.new_client();
    let begun = Instant::now();
    let ping = manager_call("Ping", Body::of(&("well",)));
    client.call(ping).unwrap();
    begun.elapsed()
}
