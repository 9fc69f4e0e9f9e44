//! Wrong settings and wrong surroundings, with the real executables: what a person reads who has
//! made a mistake, and the exit status that a script sees.
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
    fs::{self, File},
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use daemons::{Connection, Folder, Manager, SOON, program, register, within};
use rustix::process::{Pid, Signal, kill_process};

/// How long a program that must not end is watched.
const WATCHED: Duration = Duration::from_millis(500);

/// An executable with nothing in its environment that could help it.
fn command(name: &str) -> Command {
    let mut command = Command::new(program(name));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .stdin(Stdio::null());
    command
}

/// Runs a program that ends by itself, and soon.
fn run(mut command: Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + SOON;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("{command:?} does not end: {}", text(&output.stderr));
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Checks that a program refuses to start, and what it says.
fn assert_refused(command: Command, expected: &str) {
    let shown = format!("{command:?}");
    let output = run(command);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{shown}: {stderr}");
    assert_eq!(stderr.trim_end(), expected, "{shown}");
    assert_eq!(text(&output.stdout), "", "{shown}");
}

#[test]
fn a_wrong_line_of_a_file_is_named_with_what_was_expected() {
    let folder = Folder::new();
    for (program, file, expected) in [
        (
            "hirte",
            "[hirte]\nManagerPort=70000\n",
            "2: ManagerPort=70000: expected a port number from 1 to 65535",
        ),
        (
            "hirte",
            "# two lines\n\n[hirte]\n LogLevel = LOUD\n",
            "4: LogLevel=LOUD: expected one of DEBUG, INFO, WARN, ERROR",
        ),
        (
            "hirte",
            "[hirte]\nManagerPort=2020\nnonsense\n",
            "3: 'nonsense': expected key=value or [section]",
        ),
        (
            "hirte-agent",
            "[hirte-agent]\nHeartbeatInterval=abc\n",
            "2: HeartbeatInterval=abc: expected 0 or a time from 100ms to 7 days, such as 2s, \
             500ms or 1min 30s",
        ),
        (
            "hirte-agent",
            "[hirte-agent]\nNodeName=rpi4\nManagerAddress=udp:x\n",
            "3: ManagerAddress=udp:x: expected a D-Bus address such as \
             tcp:host=192.0.2.1,port=842 or unix:path=/run/manager",
        ),
    ] {
        let path = folder.write("test.conf", file);
        let mut command = command(program);
        command.arg("-c").arg(&path);
        assert_refused(
            command,
            &format!("{program}: {}:{expected}", path.display()),
        );
    }
}

#[test]
fn a_wrong_option_or_variable_is_named_with_what_was_expected() {
    for (program, arguments, expected) in [
        (
            "hirte",
            &["-p", "abc"][..],
            "--port=abc: expected a port number from 1 to 65535",
        ),
        ("hirte", &["--bogus"], "Unrecognized argument: --bogus"),
        (
            "hirte",
            &["-c", "/nonexistent/hirte.conf"],
            "/nonexistent/hirte.conf: can not be read: No such file or directory (os error 2)",
        ),
        (
            "hirte-agent",
            &["-H", ""],
            "--host=: expected an IP address or a host name",
        ),
        (
            "hirte-agent",
            &["--name=a b"],
            "--name=a b: expected a node name of 1 to 255 letters, digits, '-', '_' or '.', the \
             first one a letter, a digit or '_'",
        ),
        (
            "hirte-agent",
            &["-p0"],
            "--port=0: expected a port number from 1 to 65535",
        ),
    ] {
        let mut command = command(program);
        command.args(arguments);
        assert_refused(command, &format!("{program}: {expected}"));
    }
    for program in ["hirte", "hirte-agent"] {
        for (variable, value, expected) in [
            (
                "HIRTE_LOG_LEVEL",
                "LOUD",
                "expected one of DEBUG, INFO, WARN, ERROR",
            ),
            (
                "HIRTE_LOG_TARGET",
                "paper",
                "expected one of journald, stderr, stderr-full",
            ),
        ] {
            let mut command = command(program);
            command.env(variable, value);
            assert_refused(
                command,
                &format!("{program}: {variable}={value}: {expected}"),
            );
        }
    }
}

#[test]
fn a_port_in_use_is_an_error() {
    let folder = Folder::new();
    let other = TcpListener::bind("[::]:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let file = format!("[hirte]\nManagerPort={port}\nAllowedNodeNames=rpi4\nLogTarget=stderr\n");
    let mut command = command("hirte");
    command.arg("-c").arg(folder.write("hirte.conf", file));
    let output = run(command);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stderr);
    // The rest is the C library's text: "already in use" in glibc, "in use" in musl.
    let expected = format!("Failed to listen on port {port}: Address ");
    assert!(log.contains(&expected) && log.contains(" in use"), "{log}");
}

/// A daemon that goes on. Dropping it ends it, and prints its log if the test fails.
struct Daemon {
    process: Child,
    folder: Folder,
}

impl Daemon {
    fn start(mut command: Command, folder: Folder) -> Self {
        let process = command
            .stderr(File::create(folder.path("log")).unwrap())
            .spawn()
            .unwrap();
        Self { process, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap()
    }

    fn wait_log(&self, text: &str) {
        within(SOON, text, || self.log().contains(text));
    }

    fn assert_goes_on(&mut self) {
        thread::sleep(WATCHED);
        assert_eq!(self.process.try_wait().unwrap(), None);
    }

    /// Tells it to end; it must do so with success.
    fn assert_ends(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let mut status = None;
        within(SOON, "the daemon ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("---- log of the daemon\n{}", self.log());
        }
    }
}

#[test]
fn a_manager_without_a_bus_serves_agents_and_takes_its_name_later() {
    // Nothing is at the address until the bus is started there.
    let place = Folder::new();
    let socket = place.path("bus");
    let mut manager = {
        let folder = Folder::new();
        // Held only to find a port that is free.
        let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap();
        let file = format!(
            "[hirte]\nManagerPort={}\nAllowedNodeNames=rpi4\nLogTarget=stderr\n",
            port.port()
        );
        let mut command = command("hirte");
        command
            .arg("-c")
            .arg(folder.write("hirte.conf", file))
            .env("RUNTIME_DIRECTORY", folder.path("run"))
            .env(
                "DBUS_SYSTEM_BUS_ADDRESS",
                format!("unix:path={}", socket.display()),
            );
        let manager = Daemon::start(command, folder);
        manager.wait_log("No connection to the bus: ");
        let stream = std::net::TcpStream::connect(("127.0.0.1", port.port())).unwrap();
        let mut agent = Connection::authenticate(stream).unwrap();
        agent.call(register("rpi4")).unwrap();
        manager
    };
    manager.assert_goes_on();

    let bus = bus::Bus::start();
    link(bus.socket(), &socket);
    manager.wait_log("Acquired the bus name org.containers.hirte");
    let mut client = Connection::to_bus(bus.socket());
    assert_eq!(client.node_status("rpi4").unwrap(), "offline");
    manager.assert_ends();
}

fn link(target: &Path, place: &Path) {
    std::os::unix::fs::symlink(target, place).unwrap();
}

#[test]
fn an_agent_without_a_manager_and_without_systemd_goes_on() {
    let folder = Folder::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let file = format!(
        "[hirte-agent]\nNodeName=rpi4\nManagerHost=127.0.0.1\nManagerPort={}\nLogTarget=stderr\n",
        port.unwrap().port()
    );
    let mut command = command("hirte-agent");
    command.arg("-c").arg(folder.write("agent.conf", file));
    let mut agent = Daemon::start(command, folder);
    agent.wait_log("Starting hirte-agent ");
    agent.assert_goes_on();
    agent.assert_ends();
}

#[test]
fn a_second_manager_on_the_bus_says_so_and_ends() {
    let mut manager = Manager::start();
    let folder = Folder::new();
    let (status, log) = manager.run_rival(&folder.path("run"));
    assert_eq!(status.code(), Some(1), "{log}");
    let expected = "Failed to acquire the bus name org.containers.hirte: another program owns it";
    assert!(log.contains(expected), "{log}");
    manager.ping();
    assert_eq!(manager.end().code(), Some(0));
}
