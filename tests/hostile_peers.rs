//! A real manager against peers that nobody wants: whatever one of them does, the others are
//! served, the manager keeps its name on the bus, and nothing of it is left when it has gone.
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
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use daemons::{Connection, Manager, SOON, Settings, node_call, register, within};
use hirte::{
    bus::{Body, CallError, Flags, Message, marshal::Endian, names},
    limits,
    wire::sasl::CLIENT_HELLO,
};
use socket2::SockRef;

/// Longest time in which a call is answered while another peer does its worst: a person notices
/// nothing, and an idle machine needs a thousandth of it.
const PROMPT: Duration = Duration::from_millis(500);
/// What the ticks of the manager and a loaded machine add to a time limit.
const ALLOWANCE: Duration = Duration::from_secs(2);

/// Ends a connection with a reset instead of a proper end.
fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
}

/// Waits until the manager closes a connection; how long it took.
fn wait_end(mut stream: &TcpStream, bound: Duration) -> Duration {
    let begun = Instant::now();
    stream.set_read_timeout(Some(bound)).unwrap();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("not closed within {bound:?}: {error}"),
        }
        assert!(begun.elapsed() < bound, "not closed within {bound:?}");
    }
    begun.elapsed()
}

/// Whether the manager has closed a connection.
fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut byte = [0];
    let read = stream.read(&mut byte);
    stream.set_nonblocking(false).unwrap();
    !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// An agent's signal.
fn signal(member: &str, arguments: Body) -> Message {
    Message::signal(
        names::INTERNAL_AGENT_PATH,
        names::INTERNAL_AGENT_INTERFACE,
        member,
        arguments,
    )
}

fn start_unit(node: &str) -> Message {
    node_call(node, "StartUnit", Body::of(&("httpd.service", "replace")))
}

/// A call that any agent answers.
fn get_property(node: &str) -> Message {
    let arguments = ("a.service", "org.freedesktop.systemd1.Unit", "Id");
    node_call(node, "GetUnitProperty", Body::of(&arguments))
}

#[test]
fn a_thousand_resets_do_not_stop_the_listener() {
    let mut manager = Manager::start();
    for _ in 0..1000 {
        reset(manager.connect());
    }
    let begun = Instant::now();
    let agent = manager.agent("rpi4");
    println!("registered after {:?}", begun.elapsed());
    assert_eq!(manager.status("rpi4"), "online");
    drop(agent);
    manager.assert_well();
}

#[test]
fn resets_within_and_after_the_handshake_do_no_harm() {
    let mut manager = Manager::start();
    for cut in 0..=CLIENT_HELLO.len() {
        let mut stream = manager.connect();
        stream.write_all(&CLIENT_HELLO[..cut]).unwrap();
        reset(stream);
    }
    for _ in 0..50 {
        let agent = manager.agent("rpi4");
        reset(agent.stream);
        manager.wait_node("rpi4", "offline", SOON);
    }
    manager.assert_well();
}

#[test]
fn an_agent_registers_when_all_descriptors_are_in_use() {
    let mut manager = Manager::with(&Settings {
        descriptors: Some(64),
        ..Settings::default()
    });
    let idle: Vec<TcpStream> = (0..80).map(|_| manager.connect()).collect();
    within(SOON, "the descriptors are used up", || {
        manager.log().contains("Failed to accept a connection")
    });
    let begun = Instant::now();
    let agent = manager.agent("rpi4");
    println!("registered after {:?}", begun.elapsed());
    assert_eq!(manager.status("rpi4"), "online");
    drop((idle, agent));
    let again = manager.agent("rpi4");
    drop(again);
    manager.assert_well();
}

#[test]
fn above_the_limit_the_oldest_unregistered_connection_goes() {
    let mut manager = Manager::start();
    let idle: Vec<TcpStream> = (0..limits::MAX_UNREGISTERED)
        .map(|_| manager.connect())
        .collect();
    let most = manager.idle_descriptors() + limits::MAX_UNREGISTERED;
    within(SOON, "all are accepted", || manager.descriptors() == most);
    let more: Vec<TcpStream> = (0..6).map(|_| manager.connect()).collect();
    for stream in &idle[..6] {
        wait_end(stream, SOON);
    }
    // The end of a connection is seen here a moment before its descriptor is closed there.
    within(SOON, "as many as before", || manager.descriptors() == most);
    let agent = manager.agent("rpi4");
    assert_eq!(manager.status("rpi4"), "online");
    // Its connection has sent another one away; the others stay until their time is over.
    assert!(!idle[7..].iter().chain(&more).any(is_closed));
    for stream in idle[7..].iter().chain(&more) {
        wait_end(stream, limits::REGISTRATION + ALLOWANCE);
    }
    drop(agent);
    manager.assert_well();
}

#[test]
fn who_does_not_register_in_time_is_sent_away() {
    let mut manager = Manager::start();
    let silent = manager.connect();
    let mut one_byte = manager.connect();
    one_byte.write_all(&[0]).unwrap();
    let mut half_handshake = manager.connect();
    half_handshake
        .write_all(&CLIENT_HELLO[..CLIENT_HELLO.len() / 2])
        .unwrap();
    let no_call = Connection::authenticate(manager.connect()).unwrap();
    let mut half_call = Connection::authenticate(manager.connect()).unwrap();
    let mut call = register("rpi4");
    call.serial = 1;
    half_call.stream.write_all(&call.encode()[..40]).unwrap();
    let mut talks = Connection::authenticate(manager.connect()).unwrap();
    let mut drips = manager.connect();

    let begun = Instant::now();
    let bound = limits::REGISTRATION + ALLOWANCE;
    // Bytes and messages other than the one that is due do not prolong the time.
    let mut hello = CLIENT_HELLO.iter().cycle();
    while begun.elapsed() < bound && !(is_closed(&drips) && is_closed(&talks.stream)) {
        let _ = drips.write_all(&[*hello.next().unwrap()]);
        let _ = talks.try_send(signal("Heartbeat", Body::default()));
        manager.ping();
        thread::sleep(Duration::from_millis(300));
    }
    for stream in [&silent, &one_byte, &half_handshake, &drips] {
        wait_end(stream, bound.saturating_sub(begun.elapsed()));
    }
    for peer in [&no_call, &half_call, &talks] {
        wait_end(&peer.stream, bound.saturating_sub(begun.elapsed()));
    }
    println!("all are gone after {:?}", begun.elapsed());
    manager.assert_well();
}

#[test]
fn what_is_no_handshake_ends_the_connection() {
    let mut manager = Manager::start();
    for wrong in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x01AUTH EXTERNAL\r\n",
        b"\0BEGIN\r\n",
        b"\0AUTH KERBEROS\r\nBEGIN\r\n",
        b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\nnot a message",
        b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\nl\x01\0\x02\0\0\0\0\x01\0\0\0\0\0\0\0",
    ] {
        let mut stream = manager.connect();
        stream.write_all(wrong).unwrap();
        let took = wait_end(&stream, SOON);
        assert!(took < limits::REGISTRATION, "{wrong:?} {took:?}");
    }
    manager.assert_well();
}

#[test]
fn an_endless_line_is_not_kept() {
    let mut manager = Manager::start();
    for start in [&b"\0"[..], b"\0AUTH EXTERNAL ", b"\0AUTH EXTERNAL\r\n"] {
        let mut stream = manager.connect();
        stream.write_all(start).unwrap();
        let line = vec![b'3'; 1 << 20];
        let sent = (0..64).take_while(|_| stream.write_all(&line).is_ok());
        let sent = sent.count();
        assert!(sent < 64, "{sent} MiB of a line were taken");
        wait_end(&stream, SOON);
    }
    // Many short lines are no better.
    let mut stream = manager.connect();
    stream.write_all(b"\0").unwrap();
    let lines = b"ERROR\r\n".repeat(100_000);
    assert!((0..64).any(|_| stream.write_all(&lines).is_err()));
    manager.assert_well();
}

/// The start of a message that announces a body of 120 MiB.
fn header_of_120_mib() -> Vec<u8> {
    let mut message = signal("JobDone", Body::of(&("x",)));
    message.serial = 1;
    let mut bytes = message.encode();
    bytes[4..8].copy_from_slice(&(120_u32 << 20).to_le_bytes());
    bytes
}

#[test]
fn an_announced_length_takes_no_memory() {
    let mut manager = Manager::start();
    let before = manager.memory_kb();
    let mut unregistered = Connection::authenticate(manager.connect()).unwrap();
    let mut registered = manager.agent("rpi4");
    for peer in [&mut unregistered, &mut registered] {
        peer.stream.write_all(&header_of_120_mib()).unwrap();
        wait_end(&peer.stream, SOON);
    }
    // Up to the limit a length is believed, and memory is taken for what has come.
    let mut slow = manager.agent("rpi4");
    let mut header = header_of_120_mib();
    header[4..8].copy_from_slice(&(15_u32 << 20).to_le_bytes());
    slow.stream.write_all(&header).unwrap();
    slow.stream.write_all(&[0; 1000]).unwrap();
    manager.ping();
    let grown = manager.memory_kb().saturating_sub(before);
    println!("{grown} kB more");
    let bound = manager.small_growth_kb();
    assert!(grown < bound, "{grown} kB for messages that did not come");
    drop((unregistered, registered, slow));
    manager.assert_well();
}

#[test]
fn an_unregistered_peer_may_not_send_much() {
    let mut manager = Manager::start();
    let mut peer = Connection::authenticate(manager.connect()).unwrap();
    let name = "x".repeat(limits::MAX_UNREGISTERED_MESSAGE);
    peer.send(register(&name));
    wait_end(&peer.stream, SOON);
    manager.assert_well();
}

#[test]
fn a_wrong_name_is_refused() {
    let mut manager = Manager::start();
    for name in ["nobody", "", "rpi4 ", "RPI4", "../rpi4"] {
        let mut peer = Connection::authenticate(manager.connect()).unwrap();
        let refusal = peer.call(register(name)).unwrap_err();
        assert_eq!(refusal.name, "org.freedesktop.DBus.Error.ServiceUnknown");
        assert_eq!(refusal.text, "Unexpected node name");
        peer.wait_closed(SOON);
    }
    assert_eq!(manager.status("rpi4"), "offline");
    assert!(manager.log().contains("'nobody'"));
    manager.assert_well();
}

#[test]
fn the_name_of_a_connected_node_stays_with_it() {
    let mut manager = Manager::start();
    let mut first = manager.agent("rpi4");
    let begun = Instant::now();
    // Long enough for the manager to judge the first one, which lives.
    while begun.elapsed() < limits::PING_AFTER * 2 {
        let mut second = Connection::authenticate(manager.connect()).unwrap();
        let refusal = second.call(register("rpi4")).unwrap_err();
        assert_eq!(refusal.name, "org.freedesktop.DBus.Error.AddressInUse");
        assert_eq!(refusal.text, "The node is already connected");
        first.live(Duration::from_millis(200)).unwrap();
    }
    let refusal = first.call(register("laptop")).unwrap_err();
    assert_eq!(refusal.text, "Can't register twice");

    let call = manager.client.send(get_property("rpi4"));
    let asked = first.called("GetUnitProperty");
    let value = Body::of(&(hirte::bus::Value::Str("a.service".to_owned()),));
    first.send(Message::reply(asked.serial, value.clone()));
    assert_eq!(manager.client.answer(call), Ok(value));
    drop(first);
    manager.assert_well();
}

#[test]
fn a_dead_owner_of_a_name_is_replaced_soon() {
    let mut manager = Manager::start();
    let dead = manager.agent("rpi4");
    let begun = Instant::now();
    let alive = loop {
        let mut next = Connection::authenticate(manager.connect()).unwrap();
        match next.call(register("rpi4")) {
            Ok(_) => break next,
            Err(refusal) => assert_eq!(refusal.text, "The node is already connected"),
        }
        assert!(begun.elapsed() < limits::PING_AFTER + ALLOWANCE);
        thread::sleep(Duration::from_millis(100));
    };
    println!("replaced after {:?}", begun.elapsed());
    wait_end(&dead.stream, SOON);
    drop(alive);
    manager.assert_well();
}

#[test]
fn a_node_speaks_only_for_its_own_jobs() {
    let mut manager = Manager::start();
    let mut watcher = manager.watcher();
    let mut owner = manager.agent("laptop");
    let mut other = manager.agent("rpi4");
    for id in 0..100_u32 {
        other.send(signal("JobDone", Body::of(&(id, "done"))));
    }
    let start = manager.client.send(start_unit("laptop"));
    let asked = owner.called("StartUnit");
    let (unit, mode, id): (String, String, u32) = asked.body.parse().unwrap();
    assert_eq!((unit.as_str(), mode.as_str()), ("httpd.service", "replace"));
    // Before and after its acceptance: the job is not the other one's.
    let forge = |other: &mut Connection<TcpStream>| {
        other.send(signal("JobDone", Body::of(&(id, "forged"))));
        other.send(signal("JobStateChanged", Body::of(&(id, "running"))));
        other.send(register("rpi4"));
        // Its answer comes after the signals have been handled.
        let refused = other.last_serial();
        other.answer(refused).unwrap_err();
    };
    forge(&mut other);
    owner.send(Message::reply(asked.serial, Body::default()));
    manager.client.answer(start).unwrap();
    let (new, _): (u32, hirte::bus::ObjectPath) = watcher.signal("JobNew").body.parse().unwrap();
    assert_eq!(new, id);
    forge(&mut other);
    owner.send(signal("JobDone", Body::of(&(id, "failed"))));
    let removed = watcher.signal("JobRemoved");
    let expected = Body::of(&(
        id,
        hirte::bus::ObjectPath(names::job_path(id)),
        "laptop",
        "httpd.service",
        "failed",
    ));
    assert_eq!(removed.body, expected);
    // It was the only end of a job, and the state was never another one's to change.
    manager.ping();
    let further = watcher.find(Duration::from_millis(200), |message| {
        message.member == "JobRemoved" || message.path == names::job_path(id)
    });
    assert!(further.is_err(), "{further:?}");
    assert!(manager.log().contains("which is not its own"));
    drop((owner, other));
    manager.assert_well();
}

#[test]
fn answers_that_nobody_asked_for_mean_nothing() {
    let mut manager = Manager::start();
    let mut agent = manager.agent("rpi4");
    let mut other = manager.agent("laptop");
    let units = manager.client.send(get_property("rpi4"));
    let asked = agent.called("GetUnitProperty");
    let wrong = Body::of(&(hirte::bus::Value::Str("wrong".to_owned()),));
    let right = Body::of(&(hirte::bus::Value::Str("right".to_owned()),));
    for serial in (1..200).filter(|serial| *serial != asked.serial) {
        agent.send(Message::reply(serial, wrong.clone()));
        let error = CallError::new("org.freedesktop.DBus.Error.Failed", "wrong");
        agent.send(Message::error(serial, &error));
    }
    // The number of another node's call is no better.
    other.send(Message::reply(asked.serial, wrong.clone()));
    other.live(Duration::from_millis(100)).unwrap();
    agent.send(Message::reply(asked.serial, right.clone()));
    agent.send(Message::reply(asked.serial, wrong));
    assert_eq!(manager.client.answer(units), Ok(right));
    assert_eq!(manager.status("rpi4"), "online");
    drop((agent, other));
    manager.assert_well();
}

/// An answer to a call, as bytes that no careful program would send.
fn raw_answer(serial: u32, signature: &str, endian: Endian, body: &[u8]) -> Vec<u8> {
    let body = Body {
        signature: signature.to_owned().into(),
        endian,
        bytes: body.to_vec(),
    };
    let mut message = Message::reply(serial, body);
    message.serial = 100;
    message.encode()
}

/// One unit of a list, with its path and name as given.
fn unit_list(name: &[u8], path: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 8];
    let text = |body: &mut Vec<u8>, text: &[u8]| {
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
        body.extend_from_slice(text);
        body.push(0);
    };
    text(&mut body, name);
    for _ in 0..5 {
        text(&mut body, b"");
    }
    text(&mut body, path);
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend_from_slice(&[0; 4]);
    text(&mut body, b"");
    text(&mut body, b"/");
    let length = u32::try_from(body.len() - 8).unwrap();
    body[..4].copy_from_slice(&length.to_le_bytes());
    body
}

const UNITS: &str = "a(ssssssouso)";

#[test]
fn malformed_answers_cost_only_the_agent_its_connection() {
    let mut manager = Manager::start();
    let variants = |depth: usize| [&b"\x01v\0".repeat(depth)[..], b"\x01y\0\x01"].concat();
    let good_list = unit_list(b"a.service", b"/a");
    let mut padded = good_list.clone();
    padded[4] = 1;
    let mut long = good_list.clone();
    long[0] ^= 0x10;
    let cases: &[(&str, &str, Vec<u8>)] = &[
        ("ListUnits", UNITS, unit_list(b"\xff\xfe", b"/a")),
        ("ListUnits", UNITS, unit_list(b"a\0b", b"/a")),
        ("ListUnits", UNITS, unit_list(b"a.service", b"not a path")),
        ("ListUnits", UNITS, unit_list(b"a.service", b"/a//b")),
        ("ListUnits", UNITS, unit_list(b"a.service", b"")),
        ("ListUnits", UNITS, padded),
        ("ListUnits", UNITS, long),
        ("ListUnits", UNITS, good_list[..20].to_vec()),
        ("ListUnits", UNITS, vec![0xff; 64]),
        ("ListUnits", UNITS, [&good_list[..], &[0; 8]].concat()),
        ("GetUnitProperty", "v", b"\x01b\0\0\x02\0\0\0".to_vec()),
        ("GetUnitProperty", "v", b"\x02ss\0".to_vec()),
        ("GetUnitProperty", "v", b"\x01(\0".to_vec()),
        ("GetUnitProperty", "v", b"\x01z\0\0".to_vec()),
        ("GetUnitProperty", "v", b"\x01g\0\x01(\0".to_vec()),
        ("GetUnitProperty", "v", b"\x01o\0\0\x01\0\0\0a\0".to_vec()),
        ("GetUnitProperty", "v", variants(100)),
        ("GetUnitProperty", "v", variants(20_000)),
    ];
    for (method, signature, body) in cases {
        let mut agent = manager.agent("rpi4");
        let call = match *method {
            "ListUnits" => node_call("rpi4", "ListUnits", Body::default()),
            _ => get_property("rpi4"),
        };
        let call = manager.client.send(call);
        let asked = agent.called(method);
        let answer = raw_answer(asked.serial, signature, Endian::Little, body);
        agent.stream.write_all(&answer).unwrap();
        let case = String::from_utf8_lossy(&body[..body.len().min(64)]).into_owned();
        let refusal = manager.client.answer(call).expect_err(&case);
        assert_eq!(refusal.name, "org.containers.hirte.Offline", "{case:?}");
        agent.wait_closed(SOON);
        manager.wait_node("rpi4", "offline", SOON);
    }
    manager.assert_well();
}

#[test]
fn well_formed_answers_of_the_wrong_type_are_errors() {
    let mut manager = Manager::start();
    let mut agent = manager.agent("rpi4");
    for answer in [Body::default(), Body::of(&("text",)), Body::of(&(1_u32,))] {
        for all_nodes in [false, true] {
            let call = if all_nodes {
                daemons::manager_call("ListUnitsDetailed", Body::default())
            } else {
                node_call("rpi4", "ListUnits", Body::default())
            };
            let call = manager.client.send(call);
            let asked = agent.called("ListUnits");
            agent.send(Message::reply(asked.serial, answer.clone()));
            let answer = manager.client.answer(call);
            if all_nodes {
                let text = String::from_utf8_lossy(&answer.unwrap().bytes).into_owned();
                assert!(text.contains("expected 'a(ssssssouso)'"), "{text:?}");
            } else {
                let refusal = answer.unwrap_err();
                assert!(
                    refusal.text.contains("expected 'a(ssssssouso)'"),
                    "{refusal:?}"
                );
            }
        }
    }
    assert_eq!(manager.status("rpi4"), "online");
    drop(agent);
    manager.assert_well();
}

#[test]
fn what_a_bus_refuses_never_reaches_it() {
    let mut manager = Manager::start();
    // Variants as deep as the specification allows, and one deeper: the manager may pass them on
    // or refuse them, and stays on its bus.
    for depth in 50..70 {
        let mut agent = manager.agent("rpi4");
        let call = manager.client.send(get_property("rpi4"));
        let asked = agent.called("GetUnitProperty");
        let body = [&b"\x01v\0".repeat(depth)[..], b"\x01y\0\x01"].concat();
        let answer = raw_answer(asked.serial, "v", Endian::Little, &body);
        agent.stream.write_all(&answer).unwrap();
        let answered = manager.client.answer(call).is_ok();
        assert!(answered || depth > 60, "{depth}");
        drop(agent);
        manager.wait_node("rpi4", "offline", SOON);
    }
    for name in ["x", "", "a..b", "a.b c", ".a.b", "a.1b", &"a.b".repeat(100)] {
        let mut agent = manager.agent("rpi4");
        let call = manager.client.send(get_property("rpi4"));
        let asked = agent.called("GetUnitProperty");
        let mut error = Message::error(asked.serial, &CallError::new("a.b", "text"));
        name.clone_into(&mut error.error_name);
        agent.send(error);
        manager.client.answer(call).unwrap_err();
        drop(agent);
        manager.wait_node("rpi4", "offline", SOON);
    }
    manager.assert_well();
}

#[test]
fn answers_in_the_other_byte_order_arrive() {
    let mut manager = Manager::start();
    let mut agent = manager.agent("rpi4");
    let call = manager.client.send(get_property("rpi4"));
    let asked = agent.called("GetUnitProperty");
    let answer = raw_answer(asked.serial, "v", Endian::Big, b"\x01u\0\0\0\0\0\x07");
    agent.stream.write_all(&answer).unwrap();
    let body = manager.client.answer(call).unwrap();
    let (signature, mut value) = body.reader().variant().unwrap();
    assert_eq!((signature, value.u32().unwrap()), ("u", 7));
    drop(agent);
    manager.assert_well();
}

#[test]
fn the_largest_answers_do_not_cost_the_place_on_the_bus() {
    let mut manager = Manager::start();
    let mut agent = manager.agent("rpi4");
    let room = limits::MAX_MESSAGE - (1 << 10);
    for (bytes, fits) in [(limits::MAX_BUS_BODY - 64, true), (room, false)] {
        let call = manager.client.send(get_property("rpi4"));
        let asked = agent.called("GetUnitProperty");
        let value = hirte::bus::Value::Str("x".repeat(bytes));
        agent.send(Message::reply(asked.serial, Body::of(&(value,))));
        match manager.client.answer(call) {
            Ok(_) => assert!(fits),
            Err(refusal) => {
                assert!(!fits, "{refusal:?}");
                assert_eq!(refusal.name, "org.freedesktop.DBus.Error.LimitsExceeded");
            }
        }
    }
    // A very long text in an error or in a job's result is cut, not passed on.
    let text = "x".repeat(10 << 20);
    let call = manager.client.send(get_property("rpi4"));
    let asked = agent.called("GetUnitProperty");
    let error = CallError::new("a.b", text.clone());
    agent.send(Message::error(asked.serial, &error));
    assert!(manager.client.answer(call).unwrap_err().text.len() <= limits::MAX_ERROR_TEXT);

    let mut watcher = manager.watcher();
    let start = manager.client.send(start_unit("rpi4"));
    let asked = agent.called("StartUnit");
    let (_, _, id): (String, String, u32) = asked.body.parse().unwrap();
    agent.send(Message::reply(asked.serial, Body::default()));
    agent.send(signal("JobDone", Body::of(&(id, text.as_str()))));
    manager.client.answer(start).unwrap();
    assert!(watcher.signal("JobRemoved").body.bytes.len() < 1024);
    drop(agent);
    manager.assert_well();
}

#[test]
fn a_flood_from_one_node_delays_nobody() {
    let mut manager = Manager::start();
    let mut busy = manager.agent("laptop");
    let mut other = manager.agent("rpi4");
    let done = Arc::new(AtomicBool::new(false));
    let flood = {
        let done = Arc::clone(&done);
        let mut serial = 100;
        thread::spawn(move || {
            let mut sent = 0_u64;
            while !done.load(Ordering::Relaxed) {
                let mut batch = Vec::new();
                for message in [
                    signal("Heartbeat", Body::default()),
                    signal("JobDone", Body::of(&(77_u32, "done"))),
                    signal("Unknown", Body::default()),
                    Message::call("/", names::PEER_INTERFACE, "Ping", Body::default())
                        .with_flags(Flags::NO_REPLY_EXPECTED),
                    Message::call("/", "a.b", "C", Body::default())
                        .with_flags(Flags::NO_REPLY_EXPECTED),
                ] {
                    serial += 1;
                    batch.extend(Message { serial, ..message }.encode());
                }
                for _ in 0..5 {
                    batch.extend_from_within(..);
                }
                busy.stream.write_all(&batch).unwrap();
                sent += 5 * 32;
            }
            (sent, busy)
        })
    };
    let begun = Instant::now();
    let (mut slowest, mut asked) = (Duration::ZERO, 0_u32);
    while begun.elapsed() < Duration::from_secs(2) {
        slowest = slowest.max(manager.ping());
        let relayed = Instant::now();
        let call = manager.client.send(get_property("rpi4"));
        let at_agent = other.called("GetUnitProperty");
        let value = Body::of(&(hirte::bus::Value::Str("a.service".to_owned()),));
        other.send(Message::reply(at_agent.serial, value));
        manager.client.answer(call).unwrap();
        slowest = slowest.max(relayed.elapsed());
        asked += 1;
    }
    done.store(true, Ordering::Relaxed);
    let (sent, busy) = flood.join().unwrap();
    println!("{sent} messages of one node; {asked} calls of others, the slowest {slowest:?}");
    assert!(slowest < PROMPT, "{slowest:?}");
    assert_eq!(manager.status("laptop"), "online");
    drop((busy, other));
    manager.assert_well();
}

/// A node that may depend on another one can make only so much work for it.
#[test]
fn a_flood_of_proxies_is_bounded_for_their_target() {
    let mut manager = Manager::with(&Settings {
        config: "[node laptop]\nAllowDependenciesOn=rpi4\n",
        ..Settings::default()
    });
    let mut busy = manager.agent("laptop");
    let mut target = manager.agent("rpi4");
    let begun = Instant::now();
    let flood = thread::spawn(move || {
        let path = hirte::bus::ObjectPath("/p".to_owned());
        let new = signal("ProxyNew", Body::of(&("rpi4", "a.service", path)));
        let removed = signal("ProxyRemoved", Body::of(&("rpi4", "a.service")));
        let mut batch = Vec::new();
        for (serial, message) in [(100, new), (101, removed)] {
            batch.extend(Message { serial, ..message }.encode());
        }
        for _ in 0..7 {
            batch.extend_from_within(..);
        }
        let mut answers = busy.stream.try_clone().unwrap();
        let reader = thread::spawn(move || {
            let mut buffer = [0; 8 << 10];
            while answers.read(&mut buffer).is_ok_and(|read| read > 0) {}
        });
        for _ in 0..80 {
            busy.stream.write_all(&batch).unwrap();
        }
        (busy, reader)
    });
    let mut slowest = Duration::ZERO;
    while !flood.is_finished() {
        slowest = slowest.max(manager.ping());
    }
    let (busy, reader) = flood.join().unwrap();
    let calls = std::iter::from_fn(|| {
        let asked = target.find(PROMPT, |message| message.member.ends_with("Dep"));
        asked.ok().map(|message| message.member)
    });
    let calls: Vec<String> = calls.collect();
    let starts = calls.iter().filter(|member| *member == "StartDep").count();
    let seconds = usize::try_from(begun.elapsed().as_secs() + 1).unwrap();
    println!("{starts} starts in {seconds} s; the slowest answer {slowest:?}");
    let most = usize::try_from(limits::MAX_PROXIES_ANNOUNCED).unwrap();
    let per_second = 1 + most / usize::try_from(limits::PROXY_ALLOWANCE.as_secs()).unwrap();
    assert!(
        (most..most + seconds * per_second).contains(&starts),
        "{starts}"
    );
    assert!(slowest < PROMPT, "{slowest:?}");
    let log = manager.log();
    assert_eq!(
        log.matches("announces too many proxies").count(),
        1,
        "{log}"
    );
    assert_eq!(manager.status("rpi4"), "online");
    busy.stream.shutdown(std::net::Shutdown::Both).unwrap();
    reader.join().unwrap();
    drop((busy, target));
    manager.assert_well();
}

#[test]
fn an_agent_that_asks_and_does_not_read_is_dropped() {
    let mut manager = Manager::start();
    let mut greedy = manager.agent("rpi4");
    greedy
        .stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut ping = Message::call("/", names::PEER_INTERFACE, "Ping", Body::default());
    ping.serial = 100;
    let batch = ping.encode().repeat(1000);
    let mut sent = 0;
    let begun = Instant::now();
    while begun.elapsed() < SOON && greedy.stream.write_all(&batch).is_ok() {
        sent += 1000;
    }
    println!("{sent} calls without reading");
    manager.wait_node("rpi4", "offline", SOON);
    drop(greedy);
    manager.assert_well();
}

#[test]
fn who_asks_without_reading_and_has_not_registered_costs_little() {
    let mut manager = Manager::start();
    let mut greedy = Connection::authenticate(manager.connect()).unwrap();
    let path = names::INTERNAL_MANAGER_PATH;
    let body = Body::default();
    let mut ask = Message::call(path, names::INTROSPECTABLE_INTERFACE, "Introspect", body);
    ask.serial = 1;
    let batch = ask.encode().repeat(100);
    greedy
        .stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut most = 0;
    let begun = Instant::now();
    while begun.elapsed() < SOON && greedy.stream.write_all(&batch).is_ok() {
        most = most.max(manager.memory_kb());
    }
    println!("VmRSS {} kB, at most {most} kB", manager.idle_memory_kb);
    let bound = manager.idle_memory_kb + manager.small_growth_kb();
    assert!(most < bound, "{most} kB");
    within(SOON, "it is dropped", || {
        manager.log().contains("the other side does not read")
    });
    drop(greedy);
    manager.assert_well();
}

#[test]
fn a_node_that_does_not_read_is_dropped_when_its_queue_is_full() {
    let mut manager = Manager::start();
    let deaf = manager.agent("rpi4");
    let mut other = manager.agent("laptop");
    let name = "x".repeat(100 << 10);
    let arguments = (name.as_str(), "org.freedesktop.systemd1.Unit", "Id");
    let mut calls = Vec::new();
    let mut most = 0;
    for number in 0..limits::MAX_REQUESTS_PER_NODE {
        let call = node_call("rpi4", "GetUnitProperty", Body::of(&arguments));
        calls.push(manager.client.send(call));
        if number % 32 == 0 {
            assert!(manager.ping() < PROMPT);
            most = most.max(manager.memory_kb());
            let call = manager.client.send(get_property("laptop"));
            let asked = other.called("GetUnitProperty");
            let value = Body::of(&(hirte::bus::Value::Str("a.service".to_owned()),));
            other.send(Message::reply(asked.serial, value));
            manager.client.answer(call).unwrap();
        }
    }
    let refusals: Vec<String> = calls
        .into_iter()
        .map(|call| manager.client.answer(call).unwrap_err().name)
        .collect();
    let offline = refusals
        .iter()
        .filter(|name| *name == "org.containers.hirte.Offline");
    assert_eq!(offline.count(), refusals.len(), "{refusals:?}");
    let bound = manager.idle_memory_kb + 2 * (limits::MAX_QUEUED_TO_PEER as u64 / 1024);
    println!("VmRSS {} kB, at most {most} kB", manager.idle_memory_kb);
    assert!(most < bound + (4 << 10), "{most} kB");
    assert!(manager.log().contains("the other side does not read"));
    drop((deaf, other));
    manager.assert_well();
}

#[test]
fn a_node_that_reads_and_never_answers_gets_a_bounded_number_of_calls() {
    let mut manager = Manager::start();
    let mut agent = manager.agent("rpi4");
    let calls: Vec<u32> = (0..limits::MAX_REQUESTS_PER_NODE + 10)
        .map(|_| manager.client.send(get_property("rpi4")))
        .collect();
    for call in &calls[limits::MAX_REQUESTS_PER_NODE..] {
        let refusal = manager.client.answer(*call).unwrap_err();
        assert_eq!(refusal.name, "org.freedesktop.DBus.Error.LimitsExceeded");
    }
    agent.live(Duration::from_millis(500)).unwrap();
    assert!(manager.ping() < PROMPT);
    drop(agent);
    for call in &calls[..limits::MAX_REQUESTS_PER_NODE] {
        let refusal = manager.client.answer(*call).unwrap_err();
        assert_eq!(refusal.name, "org.containers.hirte.Offline");
    }
    manager.assert_well();
}
