//! A real manager with agents whose units depend on each other's, and what it takes over when its
//! configuration changes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "support/bus.rs"]
mod bus;
mod daemons;

use std::{io::Write, net::TcpStream, time::Duration};

use daemons::{Connection, Manager, SOON, Settings, captured, manager_call, within};
use hirte::bus::{
    Body, CallError, Message, ObjectPath, Value, error_name, message::BodyCheck, names,
};

/// A time in which a message would have come.
const QUIET: Duration = Duration::from_millis(200);
const RELOADED: &str = "Reloaded the configuration";
const UNIT: &str = "db.service";
const PATH: &str = "/org/containers/hirte/internal/proxy/1";

fn signal(member: &str, body: Body) -> Message {
    let (path, interface) = (names::INTERNAL_AGENT_PATH, names::INTERNAL_AGENT_INTERFACE);
    Message::signal(path, interface, member, body)
}

fn proxy_new(target: &str) -> Message {
    let path = ObjectPath(PATH.to_owned());
    signal("ProxyNew", Body::of(&(target, UNIT, path)))
}

fn state_changed(active: &str, sub: &str) -> Message {
    signal("UnitStateChanged", Body::of(&(UNIT, active, sub, "real")))
}

/// Nothing of this name comes.
fn silent(agent: &mut Connection<TcpStream>, member: &str) {
    let found = agent.find(QUIET, |message| message.member == member);
    assert!(found.is_err(), "{found:?}");
}

/// Every message of the C manager comes with the same flags, addresses and arguments.
#[test]
fn the_captured_proxies_of_c_agents_are_served_as_by_the_c_manager() {
    let mut manager = Manager::with(&Settings {
        nodes: &["bar-2", "foo"],
        config: "[node foo]\nAllowDependenciesOn=bar-2\n",
        ..Settings::default()
    });
    let mut target = manager.agent("bar-2");
    let mut source = manager.agent("foo");
    for bytes in captured(include_str!("data/proxy-c-agents.hex")) {
        let mut expected = Message::decode(&bytes, BodyCheck::Full).unwrap();
        let of_source = expected.member.starts_with("Proxy") || expected.path.contains("/proxy/");
        let agent = if of_source { &mut source } else { &mut target };
        if expected.sender.is_empty() {
            agent.stream.write_all(&bytes).unwrap();
            continue;
        }
        let mut found = agent.called(&expected.member);
        (expected.serial, found.serial) = (0, 0);
        assert_eq!(found, expected);
    }
    drop((source, target));
    manager.assert_well();
}

#[test]
fn a_proxy_outlives_losses_of_its_source_and_of_its_target() {
    let mut manager = Manager::with(&Settings {
        config: "[node laptop]\nAllowDependenciesOn=rpi4\n",
        ..Settings::default()
    });
    // It waits for a target that is not there.
    let mut source = manager.agent("laptop");
    source.send(proxy_new("rpi4"));
    let mut target = manager.agent("rpi4");
    for method in ["Subscribe", "StartDep"] {
        let asked = target.called(method);
        assert!(!asked.flags.expects_reply());
        assert_eq!(asked.body, Body::of(&(UNIT,)));
    }
    // Older agents do not tell a new manager what they told an old one: their list does.
    let asked = target.called("ListUnits");
    target.send(Message::reply(asked.serial, list_of(UNIT)));
    assert_eq!(source.called("TargetNew").body, Body::of(&("virtual",)));
    let told = source.called("TargetStateChanged");
    assert_eq!(told.body, Body::of(&("active", "running", "virtual")));
    // What a proxy says to it changes nothing.
    let unknown = CallError::new(error_name::UNKNOWN_OBJECT, "Unknown object");
    source.send(Message::error(told.serial, &unknown));

    drop(source);
    manager.wait_node("laptop", "offline", SOON);
    silent(&mut target, "StopDep");
    let mut source = manager.agent("laptop");
    source.send(proxy_new("rpi4"));
    // It is needed as before, so it is not asked for again.
    silent(&mut target, "StartDep");

    drop(target);
    let told = source.called("TargetStateChanged");
    assert_eq!(
        told.body,
        Body::of(&("inactive", "agent-offline", "virtual"))
    );
    source.called("TargetRemoved");
    source.send(signal("ProxyRemoved", Body::of(&("rpi4", UNIT))));
    source
        .call(Message::call(
            "/",
            names::PEER_INTERFACE,
            "Ping",
            Body::default(),
        ))
        .unwrap();
    let mut target = manager.agent("rpi4");
    target.called("StopDep");
    silent(&mut target, "StartDep");
    drop((source, target));
    manager.assert_well();
}

/// A list of one unit that runs.
fn list_of(unit: &str) -> Body {
    let path = |path: &str| ObjectPath(path.to_owned());
    let row = (
        unit,
        "",
        "loaded",
        "active",
        "running",
        "",
        path("/u"),
        0_u32,
        "",
        path("/"),
    );
    Body::of(&(vec![row],))
}

#[test]
fn a_reload_takes_over_nodes_and_dependencies_and_disturbs_nobody_else() {
    let mut manager = Manager::with(&Settings {
        nodes: &["laptop", "rpi4", "old"],
        config: "[node laptop]\nAllowDependenciesOn=rpi4\n",
        ..Settings::default()
    });
    let mut watcher = manager.watcher();
    let mut source = manager.agent("laptop");
    let mut target = manager.agent("rpi4");
    let mut old = manager.agent("old");
    source.send(proxy_new("rpi4"));
    target.called("StartDep");
    target.send(state_changed("active", "running"));
    source.called("TargetStateChanged");

    // A file with an error changes nothing.
    let settings = |config| Settings {
        nodes: &["rpi4", "laptop"],
        config,
        ..Settings::default()
    };
    manager.reload(&settings("[node]\n"), "Configuration not reloaded: ");
    assert!(
        manager
            .log()
            .contains("hirte.conf:6: '[node]': expected [node NAME]")
    );
    assert_eq!(manager.status("old"), "online");

    // Nodes come and go.
    let config = "TCPKeepAliveTime=7\n[node new_1]\nAllowed=yes\n[node laptop]\n\
                  AllowDependenciesOn=rpi4\n";
    manager.reload(&settings(config), RELOADED);
    assert!(
        manager
            .log()
            .contains("it needs a restart of hirte: TCPKeepAliveTime")
    );
    old.wait_closed(SOON);
    let changed = watcher.expect(SOON, "Nodes", |message| {
        message.member == "PropertiesChanged"
            && message.path == names::MANAGER_PATH
            && String::from_utf8_lossy(&message.body.bytes).contains("Nodes")
    });
    let bytes = String::from_utf8_lossy(&changed.body.bytes).into_owned();
    assert!(
        bytes.contains("new_1") && !bytes.contains("old"),
        "{bytes:?}"
    );
    let get = manager_call("GetNode", Body::of(&("old",)));
    assert!(manager.client.call(get).is_err());
    let new = manager.agent("new_1");
    assert_eq!(manager.status("new_1"), "online");
    drop(new);

    // What is no longer allowed ends, and says why to who asks again.
    silent(&mut target, "StopDep");
    manager.reload(&settings(""), RELOADED);
    target.called("StopDep");
    let told = source.called("TargetStateChanged");
    assert_eq!(told.body, Body::of(&("inactive", "not-allowed", "real")));
    source.send(proxy_new("rpi4"));
    let refused = source.called("Error");
    let reason = refused.body.first_str().unwrap();
    assert!(
        reason.starts_with("Proxy on node not allowed: "),
        "{reason}"
    );
    for agent in [&mut source, &mut target] {
        agent.live(QUIET).unwrap();
    }
    within(SOON, "the nodes are online", || {
        manager.status("rpi4") == "online"
    });
    let level = Message::call(
        names::MANAGER_PATH,
        names::PROPERTIES_INTERFACE,
        "Get",
        Body::of(&(names::MANAGER_INTERFACE, "LogLevel")),
    );
    let get_level = |manager: &mut Manager| {
        let call = level.clone().to(names::MANAGER_BUS_NAME);
        manager.client.call(call).unwrap()
    };
    let level_is = |level: &str| Body::of(&(Value::Str(level.to_owned()),));
    assert_eq!(get_level(&mut manager), level_is("DEBUG"));
    manager.reload(&settings("LogLevel=INFO\n"), RELOADED);
    assert_eq!(get_level(&mut manager), level_is("INFO"));
    drop((source, target, old));
    manager.assert_well();
}
