//! The installed introspection files are what the code describes and a running manager answers.
//! What a running agent answers `tests/agent_api.rs` compares.
//!
//! `HIRTE_UPDATE=1 cargo test --test interfaces` writes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "support/bus.rs"]
mod bus;
mod daemons;

use std::{collections::BTreeSet, fs, path::Path};

use daemons::{Manager, manager_call, node_call};
use hirte::{
    agent,
    bus::{Body, Message, ObjectPath, Value, body::Entry, interface::Interface, names},
    manager::api::interfaces::PUBLIC,
};

/// The interfaces of both daemons.
fn all() -> impl Iterator<Item = &'static Interface> {
    PUBLIC.into_iter().chain([&agent::api::AGENT])
}

#[test]
fn installed_files_equal_the_description() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dbus/interfaces");
    for interface in all() {
        let file = folder.join(format!("{}.xml", interface.name));
        if std::env::var_os("HIRTE_UPDATE").is_some() {
            fs::write(&file, interface.file()).unwrap();
        }
        let installed = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(installed, interface.file(), "{}", file.display());
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), all().count());
}

#[test]
fn every_member_is_documented() {
    for interface in all() {
        let docs = (interface
            .methods
            .iter()
            .map(|method| (method.name, method.doc)))
        .chain(
            interface
                .signals
                .iter()
                .map(|signal| (signal.name, signal.doc)),
        )
        .chain(
            interface
                .properties
                .iter()
                .map(|property| (property.name, property.doc)),
        );
        for (name, doc) in docs {
            assert!(
                doc.ends_with('.') && !doc.contains("--"),
                "{}.{name}: {doc}",
                interface.name
            );
        }
    }
}

/// The interfaces of an XML description, without comments.
fn described(xml: &str) -> BTreeSet<String> {
    let lines = xml.lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.starts_with("<!--")).collect();
    let blocks = lines.split_inclusive(|line| *line == "</interface>");
    let starts = |block: &[&str]| block.iter().position(|line| line.starts_with("<interface"));
    blocks
        .filter_map(|block| Some(block[starts(block)?..].join("\n")))
        .collect()
}

#[test]
fn a_running_manager_answers_the_installed_files() {
    let manager = Manager::start();
    let mut agent = manager.agent("rpi4");
    let mut client = manager.new_client();
    let monitor = manager_call("CreateMonitor", Body::default());
    let (monitor,): (ObjectPath,) = client.call(monitor).unwrap().parse().unwrap();
    let metrics = manager_call("EnableMetrics", Body::default());
    client.call(metrics).unwrap();
    let start = Body::of(&("a.service", "replace"));
    let serial = client.send(node_call("rpi4", "StartUnit", start));
    let asked = agent.called("StartUnit");
    agent.send(Message::reply(asked.serial, Body::default()));
    let (job,): (ObjectPath,) = client.answer(serial).unwrap().parse().unwrap();
    let options: Vec<Entry<&str, Value>> = Vec::new();
    let open = node_call("rpi4", "OpenLog", Body::of(&("a.service", options)));
    let serial = client.send(open);
    let asked = agent.called("OpenLog");
    agent.send(Message::reply(asked.serial, Body::default()));
    let (stream,): (ObjectPath,) = client.answer(serial).unwrap().parse().unwrap();

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dbus/interfaces");
    let mut compared = BTreeSet::new();
    for path in [
        names::MANAGER_PATH.to_owned(),
        names::node_path("rpi4"),
        job.0,
        monitor.0,
        stream.0,
        format!("{}/metrics", names::MANAGER_PATH),
    ] {
        let (interface, member) = (names::INTROSPECTABLE_INTERFACE, "Introspect");
        let call = Message::call(&path, interface, member, Body::default());
        let answer = client.call(call.to(names::MANAGER_BUS_NAME)).unwrap();
        let answered = described(answer.first_str().unwrap());
        for standard in ["Introspectable", "Peer", "Properties"] {
            let start = format!("<interface name=\"org.freedesktop.DBus.{standard}\">");
            let is_there = answered.iter().any(|one| one.starts_with(&start));
            assert!(is_there, "{path}: {standard}");
        }
        for interface in PUBLIC {
            let start = format!("<interface name=\"{}\">", interface.name);
            let found = answered.iter().find(|one| one.starts_with(&start));
            if let Some(found) = found {
                let file = folder.join(format!("{}.xml", interface.name));
                let installed = described(&fs::read_to_string(file).unwrap());
                assert_eq!(installed.first(), Some(found), "{path}");
                compared.insert(interface.name);
            }
        }
    }
    let all: BTreeSet<_> = PUBLIC.into_iter().map(|one| one.name).collect();
    assert_eq!(compared, all);
}
