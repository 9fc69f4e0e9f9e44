//! `hirte-dashboard`: what it answers to friendly and to hostile clients, and the page in a real
//! browser, beside real nodes.
//!
//! `HIRTE_UPDATE=1 cargo test --features dashboard --test dashboard` takes the pictures of
//! docs/images anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the helpers offer more than one test uses")]

#[path = "dashboard/browser.rs"]
mod browser;
#[path = "support/bus.rs"]
mod bus;
mod daemons;
#[path = "dashboard/http.rs"]
mod http;
mod lab;
#[path = "dashboard/page.rs"]
mod page;

use std::{
    io::{BufReader, ErrorKind, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use daemons::{Connection, Manager, SOON, bus_call, within};
use hirte::{
    bus::{Body, Message, body::PathRef, names},
    limits,
};
use http::{Dashboard, read_answer, read_to_end};

/// What every answer says to a browser.
const POLICY: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

#[test]
fn requests_get_what_they_ask_for() {
    let manager = Manager::start();
    let mut dashboard = Dashboard::start(&manager, &["--host", "fleet.example"]);
    for (path, kind) in [
        ("/", "text/html"),
        ("/style.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
        ("/api/state", "application/json"),
        ("/healthz", "application/json"),
    ] {
        let answer = dashboard.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.field("content-type").starts_with(kind), "{answer:?}");
        for (name, value) in POLICY {
            assert!(answer.field(name).starts_with(value), "{path}: {name}");
        }
        let head = dashboard.ask(&format!("HEAD {path}"), "");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        if path != "/api/state" {
            let length = answer.body.len().to_string();
            assert_eq!(head.field("content-length"), length, "{path}");
        }
        let known = format!("GET {path}\nIf-None-Match: {}", answer.field("etag"));
        let expected = if answer.field("etag").is_empty() {
            200
        } else {
            304
        };
        assert_eq!(dashboard.ask(&known, "").status, expected, "{path}");
        let refused = dashboard.ask(&format!("DELETE {path}"), "");
        assert_eq!((refused.status, refused.field("allow")), (405, "GET, HEAD"));
    }
    let head = dashboard.ask("HEAD /api/events", "");
    assert_eq!(head.field("content-type"), "text/event-stream");
    let jobs = dashboard.get("/api/jobs");
    assert_eq!((jobs.status, jobs.field("allow")), (405, "POST"));
    for path in ["/nothing", "/../etc/passwd", "//", "/api", "/style.css/"] {
        assert_eq!(dashboard.get(path).status, 404, "{path}");
    }
    let state = dashboard.state();
    let names: Vec<&str> = state["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["laptop", "rpi4"]);
    assert_eq!(state["control"], serde_json::Value::Null);

    // Several requests on one connection, all sent at once.
    let mut stream = dashboard.connect();
    let request = format!(
        "GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n",
        dashboard.address
    );
    stream.write_all(request.repeat(3).as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    for _ in 0..3 {
        assert_eq!(read_answer(&mut reader, true).unwrap().status, 200);
    }
    assert_eq!(dashboard.end(), Some(0));
}

#[test]
fn other_hosts_and_pages_are_refused() {
    let manager = Manager::start();
    let looks = Dashboard::start(&manager, &["--host", "fleet.example"]);
    for (host, status) in [
        ("localhost", 200),
        ("FLEET.example:443", 200),
        ("[::1]:1", 200),
        ("evil.example", 403),
        ("fleet.example.evil.example", 403),
    ] {
        for path in ["/", "/api/state", "/api/events"] {
            let lines = format!("HEAD {path}\nHost: {host}");
            assert_eq!(looks.ask(&lines, "").status, status, "{host}{path}");
        }
    }
    let order = r#"{"node":"rpi4","unit":"a.service","action":"start"}"#;
    let json = "POST /api/jobs\nContent-Type: application/json";
    let refused = looks.ask(json, order);
    assert_eq!(refused.status, 403);
    let why = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(why.contains("--allow-control"), "{why}");

    let acts = Dashboard::start(&manager, &["--allow-control"]);
    let all = acts.follow(None).next();
    let token = all.data["control"].as_str().unwrap().to_owned();
    assert_eq!(acts.state()["control"], serde_json::Value::Null);
    let with = |more: &str, body: &str| {
        let lines = format!("{json}\nX-Hirte-Token: {token}\n{more}");
        acts.ask(&lines, body)
    };
    assert_eq!(acts.ask(json, order).status, 403);
    let wrong = format!("{json}\nX-Hirte-Token: {}", "0".repeat(token.len()));
    assert_eq!(acts.ask(&wrong, order).status, 403);
    assert_eq!(with("Origin: https://evil.example", order).status, 403);
    assert_eq!(with("Origin: null", order).status, 403);
    assert_eq!(with("Sec-Fetch-Site: cross-site", order).status, 403);
    let ours = format!(
        "Origin: http://{}\nSec-Fetch-Site: same-origin",
        acts.address
    );
    let offline = with(&ours, order);
    assert_eq!(offline.status, 409, "{offline:?}");
    assert_eq!(offline.json()["error"], "Node 'rpi4' is offline");
    let text = format!("POST /api/jobs\nContent-Type: text/plain\nX-Hirte-Token: {token}");
    assert_eq!(acts.ask(&text, order).status, 415);
    for (body, status) in [
        ("{", 400),
        (r#"{"node":"rpi4","unit":"a.service","action":"kill"}"#, 400),
        (r#"{"node":"rpi4","unit":"a b","action":"start"}"#, 400),
        (
            r#"{"node":"other","unit":"a.service","action":"start"}"#,
            404,
        ),
        (
            r#"{"node":"rpi4","unit":"a.service","action":"start","x":1}"#,
            400,
        ),
    ] {
        assert_eq!(with("", body).status, status, "{body}");
    }
    assert_eq!(
        with("", &" ".repeat(limits::HTTP_BODY_BYTES + 1)).status,
        413
    );
}

/// As behind a reverse proxy on a Unix socket.
#[test]
fn sockets_of_systemd_are_taken() {
    let manager = Manager::start();
    let folder = daemons::Folder::new();
    let socket = folder.path("socket");
    let bus = format!(
        "DBUS_SYSTEM_BUS_ADDRESS=unix:path={}",
        manager.bus.socket().display()
    );
    let mut process = std::process::Command::new("systemd-socket-activate")
        .arg("--listen")
        .arg(&socket)
        .args(["--setenv", &bus])
        .arg(daemons::program("hirte-dashboard"))
        .args(["--host", "fleet.example"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    within(SOON, "it listens", || socket.exists());
    for (host, status) in [("fleet.example", 200), ("evil.example", 403)] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_answer(&mut BufReader::new(stream), true).unwrap();
        assert_eq!(answer.status, status, "{host}");
    }
    process.kill().unwrap();
    process.wait().unwrap();
}

/// The table of options in docs/dashboard.md, from which the manual page has its own.
#[test]
fn every_option_is_documented() {
    let output = std::process::Command::new(daemons::program("hirte-dashboard"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let (_, options) = help.split_once("\nOptions:\n").unwrap();
    let mut offered: Vec<String> = options
        .lines()
        .filter_map(|line| line.strip_prefix("  -"))
        .map(|line| format!("`-{}`", line.split("  ").next().unwrap()))
        .map(|option| option.replace(", ", "`, `"))
        .filter(|option| !option.contains("--help"))
        .collect();
    offered.push("`-h`, `--help`".to_owned());
    let document = include_str!("../docs/dashboard.md");
    let (_, table) = document.split_once("\n## Command line\n").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let written: Vec<String> = rows
        .map(|row| format!("`{}", row.split(" | ").next().unwrap()))
        .take(offered.len())
        .collect();
    assert_eq!(written, offered);
    for (options, text) in [
        (&["--version"][..], env!("CARGO_PKG_VERSION")),
        (&["--listen", "nowhere"], "nowhere"),
        (&["--bogus"], "--bogus"),
    ] {
        let output = std::process::Command::new(daemons::program("hirte-dashboard"))
            .args(options)
            .output()
            .unwrap();
        assert_eq!(output.status.success(), options == ["--version"]);
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(told.contains(text), "{told}");
    }
}

/// An agent that accepts whatever job is asked for.
fn accept_job(agent: &mut Connection<TcpStream>, member: &str) -> (String, u32) {
    let call = agent.called(member);
    let (unit, mode, id): (String, String, u32) = call.body.parse().unwrap();
    assert_eq!(mode, "replace");
    agent.send(Message::reply(call.serial, Body::default()));
    (unit, id)
}

#[test]
fn pages_follow_and_go_on_where_they_were() {
    let mut manager = Manager::start();
    let dashboard = Dashboard::start(&manager, &["--allow-control"]);
    let mut events = dashboard.follow(None);
    let all = events.next();
    assert_eq!(all.name, "all");
    assert_eq!(all.data["nodes"][1]["online"], false);
    let token = all.data["control"].as_str().unwrap().to_owned();
    let nodes_online = |event: &http::Event| event.data["nodes"][1]["online"] == true;

    let mut agent = manager.agent("rpi4");
    let online = events.find("rpi4 is online", nodes_online);
    assert_eq!(online.name, "change");
    // The same once more, for who was away, and nothing else.
    let mut back = dashboard.follow(Some(&all.id));
    let first = back.next();
    assert_eq!(first.name, "change");
    if !nodes_online(&first) {
        back.find("rpi4 is online", nodes_online);
    }
    // A place that is not known.
    for id in [
        "0-1",
        "x",
        &all.id.replace('-', "x-"),
        "-",
        &format!("{}9", all.id),
    ] {
        assert_eq!(dashboard.follow(Some(id)).next().name, "all", "{id}");
    }

    let lines = format!("POST /api/jobs\nContent-Type: application/json\nX-Hirte-Token: {token}\n");
    let body = r#"{"node":"rpi4","unit":"a.service","action":"start"}"#;
    for (action, member) in [
        ("start", "StartUnit"),
        ("restart", "RestartUnit"),
        ("stop", "StopUnit"),
    ] {
        let body = body.replace("start", action);
        let order = thread::scope(|scope| {
            let ask = scope.spawn(|| dashboard.ask(&lines, &body));
            let (unit, _) = accept_job(&mut agent, member);
            assert_eq!(unit, "a.service");
            ask.join().unwrap()
        });
        assert_eq!(order.status, 200, "{order:?}");
        let id = order.json()["job"].clone();
        assert!(id.is_u64(), "{order:?}");
        events.find("the job is shown", |event| {
            let mut jobs = event.data["jobs"].as_array().into_iter().flatten();
            jobs.any(|job| job["id"] == id && job["kind"] == action)
        });
        let logged = format!("Request to {action} a.service of node rpi4 from 127.0.0.1:");
        assert!(dashboard.log().contains(&logged));
    }

    drop(agent);
    let lost = events.find("rpi4 is offline", |event| {
        event.data["nodes"][1]["online"] == false
    });
    let news = lost.data["events"].to_string();
    assert!(news.contains("\"about\":\"node\""), "{news}");

    manager.end();
    events.find("the manager is lost", |event| {
        event.data["manager"]["connected"] == false
    });
    let health = dashboard.get("/healthz");
    assert_eq!(health.status, 503);
    let why = health.json()["reason"].as_str().unwrap().to_owned();
    assert!(!why.is_empty());
    assert_eq!(dashboard.ask(&lines, body).status, 503);
}

/// Whoever was told that nobody answered, or is gone, does not expect it any more.
#[test]
fn a_job_that_nobody_waits_for_is_not_requested() {
    let mut manager = Manager::start();
    let dashboard = Dashboard::start(&manager, &["--allow-control"]);
    let token = dashboard.follow(None).next().data["control"].clone();
    manager.end();
    // A manager that takes its time.
    let mut slow = manager.new_client();
    let name = Body::of(&(names::MANAGER_BUS_NAME, 0_u32));
    slow.call(bus_call("RequestName", name)).unwrap();
    let begin = slow.called("CreateMonitor");

    let descriptors = dashboard.descriptors();
    let order = |unit: &str| {
        let body = format!(r#"{{"node":"rpi4","unit":"{unit}","action":"start"}}"#);
        let mut stream = dashboard.connect();
        let head = format!(
            "POST /api/jobs HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\
             Content-Type: application/json\r\nX-Hirte-Token: {}\r\n\r\n{body}",
            dashboard.address,
            body.len(),
            token.as_str().unwrap()
        );
        stream.write_all(head.as_bytes()).unwrap();
        within(SOON, "the request has come", || {
            dashboard.log().contains(&format!("start {unit}"))
        });
        stream
    };
    drop(order("given-up.service"));
    within(SOON, "the dashboard knows that nobody waits", || {
        dashboard.descriptors() <= descriptors
    });
    let _waits = order("wanted.service");
    let monitor = Body::of(&(PathRef(&names::monitor_path(1)),));
    slow.send(Message::reply(begin.serial, monitor).to(&begin.sender));
    let call = slow.called("StartUnit");
    let (unit, _): (String, String) = call.body.parse().unwrap();
    assert_eq!(unit, "wanted.service");
}

/// A bus lets everybody send signals to everybody.
#[test]
fn only_the_manager_is_believed() {
    let manager = Manager::start();
    let dashboard = Dashboard::start(&manager, &[]);
    let mut events = dashboard.follow(None);
    assert_eq!(events.next().data["manager"]["connected"], true);
    let mut liar = manager.new_client();
    let listed = liar.call(bus_call("ListNames", Body::default())).unwrap();
    let (listed,): (Vec<String>,) = listed.parse().unwrap();
    let clients: Vec<&String> = listed.iter().filter(|it| it.starts_with(':')).collect();
    assert!(clients.len() >= 3, "{clients:?}");
    let forged = |member, body| (names::MANAGER_PATH.to_owned(), member, body);
    let mut signals = vec![
        forged("NodeConnectionStateChanged", Body::of(&("rpi4", "online"))),
        forged(
            "JobRemoved",
            Body::of(&(1_u32, PathRef("/"), "rpi4", "forged.service", "failed")),
        ),
    ];
    // One of them is that of the dashboard.
    for id in 0..3 {
        let path = names::monitor_path(id);
        let of_forged = Body::of(&("rpi4", "forged.service", "real"));
        signals.push((path, "UnitNew", of_forged));
    }
    signals.push(forged("JobRemoved", Body::of(&("no number",))));
    for (path, member, body) in signals {
        for client in &clients {
            let body = body.clone();
            let signal = Message::signal(&path, names::MANAGER_INTERFACE, member, body);
            liar.send(signal.to(client));
        }
    }
    // The bus has passed all of it on.
    liar.call(bus_call("ListNames", Body::default())).unwrap();

    let _agent = manager.agent("rpi4");
    let mut told = Vec::new();
    events.find("rpi4 is connected", |event| {
        told.push(event.data.to_string());
        // What the manager says of the address of a node comes after it is online.
        event.data["nodes"][1]["ip"].is_string()
    });
    assert!(!told.concat().contains("forged"), "{told:#?}");
    let state = dashboard.state();
    assert_eq!(state["units"].as_array().unwrap().len(), 0, "{state:#}");
    let happened: Vec<&str> = state["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["state"].as_str().unwrap())
        .collect();
    assert_eq!(happened, ["connected", "online"]);
}

/// A client that asks for much and takes nothing.
fn stuck(dashboard: &Dashboard) -> TcpStream {
    let mut stream = dashboard.connect();
    let request = format!(
        "GET /page.js HTTP/1.1\r\nHost: {}\r\n\r\n",
        dashboard.address
    );
    stream.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < Duration::from_millis(500) && begun.elapsed() < SOON {
        match stream.write(request.repeat(50).as_bytes()) {
            Ok(_) => quiet_since = Instant::now(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn hostile_clients_are_bounded() {
    let manager = Manager::start();
    let dashboard = Dashboard::start(&manager, &["--allow-control"]);
    let host = dashboard.address;
    let begun = dashboard.memory_kb();

    // Heads that are too large, of which the first that is too large is the last that is read.
    let wide = format!("GET /\nX: {}", "x".repeat(limits::HTTP_HEAD_BYTES));
    assert_eq!(dashboard.ask(&wide, "").status, 431);
    let many = "A: b\n".repeat(limits::HTTP_HEAD_FIELDS + 1);
    assert_eq!(dashboard.ask(&format!("GET /\n{many}"), "").status, 431);
    for nonsense in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9\r\n\r\n",
        "\x16\x03\x01",
    ] {
        let mut stream = dashboard.connect();
        stream.write_all(nonsense.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let (text, _) = read_to_end(&mut stream, SOON);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 400"),
            "{text}"
        );
    }

    thread::scope(|scope| {
        // One byte at a time.
        scope.spawn(|| {
            let mut stream = dashboard.connect();
            let begun = Instant::now();
            for byte in b"GET / HTTP/1.1\r\nX: "
                .iter()
                .chain(std::iter::repeat(&b'x'))
            {
                if stream.write_all(&[*byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(200));
                assert!(begun.elapsed() < 2 * limits::HTTP_REQUEST);
            }
            assert!(begun.elapsed() >= limits::HTTP_REQUEST);
        });
        // A connection that says nothing more.
        scope.spawn(|| {
            let mut stream = dashboard.connect();
            let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let (text, time) = read_to_end(&mut stream, 2 * limits::HTTP_REQUEST);
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            assert!(time >= limits::HTTP_REQUEST / 2, "{time:?}");
        });
        // A body that does not come.
        scope.spawn(|| {
            let token = dashboard.follow(None).next().data["control"].clone();
            let mut stream = dashboard.connect();
            let head = format!(
                "POST /api/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\
                 Content-Type: application/json\r\nX-Hirte-Token: {}\r\n\r\n{{",
                token.as_str().unwrap()
            );
            stream.write_all(head.as_bytes()).unwrap();
            let (text, _) = read_to_end(&mut stream, 2 * limits::HTTP_REQUEST);
            assert!(text.starts_with("HTTP/1.1 408"), "{text}");
        });
        // A client that takes nothing.
        scope.spawn(|| {
            let mut stream = stuck(&dashboard);
            let begun = Instant::now();
            within(2 * limits::HTTP_STALL, "it is cut off", || {
                stream.write_all(b"GET").is_err()
            });
            assert!(begun.elapsed() >= limits::HTTP_STALL / 2);
        });
        // Somebody else is served meanwhile.
        let end = Instant::now() + limits::HTTP_REQUEST;
        while Instant::now() < end {
            let asked = Instant::now();
            assert_eq!(dashboard.get("/healthz").status, 200);
            assert!(asked.elapsed() < Duration::from_secs(5));
            thread::sleep(Duration::from_millis(200));
        }
    });
    let grown = dashboard.memory_kb().saturating_sub(begun);
    assert!(grown < 4 << 10, "{grown} kB");
}

#[test]
fn places_are_bounded() {
    let manager = Manager::start();
    let dashboard = Dashboard::start(&manager, &[]);
    let descriptors = dashboard.descriptors();
    let pages: Vec<_> = (0..limits::MAX_HTTP_FOLLOWERS)
        .map(|_| {
            let mut events = dashboard.follow(None);
            assert_eq!(events.next().name, "all");
            events
        })
        .collect();
    assert_eq!(dashboard.get("/api/events").status, 503);
    assert_eq!(dashboard.get("/healthz").status, 200);
    let rest = limits::MAX_HTTP_CONNECTIONS - limits::MAX_HTTP_FOLLOWERS;
    let idle: Vec<_> = (0..2 * rest).map(|_| dashboard.connect()).collect();
    thread::sleep(Duration::from_millis(500));
    assert!(dashboard.descriptors() <= descriptors + limits::MAX_HTTP_CONNECTIONS);
    // Who comes now waits until the others' time is up.
    drop(pages);
    drop(idle);
    within(SOON, "there is room again", || {
        dashboard.descriptors() <= descriptors
    });
    assert_eq!(dashboard.follow(None).next().name, "all");
}
