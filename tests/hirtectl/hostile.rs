//! A bus and a manager that mean harm: hirtectl ends, with little memory and a sentence.

use std::{
    io::Write,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
};

use hirte::bus::{Body, Message, names::DBUS_NAME};

use super::*;

/// What a bus says in the handshake to a client that says all at once.
const HANDSHAKE: &[u8] = b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n";
/// Most memory of a run, in bytes: that of an honest one and what limits allow.
const MEMORY: u64 = 100 << 20;

fn greeting() -> Vec<u8> {
    let mut hello = Message::reply(1, Body::of(&(":1.1",)));
    hello.serial = 1;
    DBUS_NAME.clone_into(&mut hello.sender);
    hello.encode()
}

/// How `hirtectl list-nodes` ends where the bus does this with its connection, and its memory.
fn run(name: &str, serve: impl FnOnce(UnixStream) + Send + 'static) -> (Run, u64) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bus-{name}"));
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    let mut child = Command::new(hirtectl())
        .arg("list-nodes")
        .env(
            "DBUS_SYSTEM_BUS_ADDRESS",
            format!("unix:path={}", path.display()),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "hirtectl hangs");
        let text = fs::read_to_string(&status).unwrap_or_default();
        let memory = text.lines().find_map(|line| {
            let kib = line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?;
            kib.parse::<u64>().ok()
        });
        most = most.max(memory.unwrap_or_default() << 10);
        thread::sleep(Duration::from_millis(2));
    }
    let run = Run::of(&wait(child));
    server.join().unwrap();
    assert_eq!(run.status, Some(NO_MANAGER), "{run:?}");
    assert!(most < MEMORY, "{most} bytes");
    (run, most)
}

/// Sends this again and again until nobody reads it.
fn flood(stream: &mut UnixStream, bytes: &[u8]) {
    while stream.write_all(bytes).is_ok() {}
}

#[test]
fn signals_without_an_answer_are_given_up() {
    let (run, most) = run("flood", |mut stream| {
        let mut signal = Message::signal("/a", "b.c", "Told", Body::of(&("x".repeat(60_000),)));
        signal.serial = 2;
        stream.write_all(HANDSHAKE).unwrap();
        stream.write_all(&greeting()).unwrap();
        flood(&mut stream, &signal.encode());
    });
    assert_eq!(
        run.stderr,
        "The manager told more than 16 MiB before it answered\n"
    );
    assert!(most > 16 << 20, "{most}");
}

#[test]
fn a_message_that_is_too_long_is_not_waited_for() {
    let (run, _) = run("long", |mut stream| {
        stream.write_all(HANDSHAKE).unwrap();
        // An answer whose body is announced with 2 GiB.
        let start = [b'l', 2, 0, 1, 0, 0, 0, 0x80, 1, 0, 0, 0, 8, 0, 0, 0];
        stream.write_all(&start).unwrap();
        flood(&mut stream, &[0; 4096]);
    });
    assert!(
        run.stderr
            .starts_with("Can not connect to the system bus: ")
            && run.stderr.lines().count() == 1,
        "{run:?}"
    );
}

#[test]
fn a_handshake_without_end_is_cut() {
    let (run, _) = run("handshake", |mut stream| flood(&mut stream, &[b'x'; 4096]));
    assert!(
        run.stderr
            .starts_with("Can not connect to the system bus: handshake failed: "),
        "{run:?}"
    );
}
