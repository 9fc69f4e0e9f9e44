//! A real `hirte` on a message bus of its own.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hirte::bus::{Body, Message, names};
use socket2::{Domain, Protocol, Type};

use super::{Connection, Folder, SOON, program, register, within};
use crate::bus::Bus;

/// Memory by which a manager may have grown when nothing is left of what made it grow: what the
/// allocator keeps, and code that is in memory since it ran.
const KEPT_MEMORY_KB: u64 = 4 << 10;

/// How a manager is run.
pub struct Settings<'a> {
    /// The nodes that may register.
    pub nodes: &'a [&'a str],
    /// Lines of the configuration beside those that every test has.
    pub config: &'a str,
    /// The most descriptors that it may have.
    pub descriptors: Option<u32>,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            nodes: &["laptop", "rpi4"],
            config: "",
            descriptors: None,
        }
    }
}

impl Settings<'_> {
    /// The configuration file.
    fn text(&self, port: u16) -> String {
        let nodes = self.nodes.join(",");
        format!(
            "[hirte]\nManagerPort={port}\nAllowedNodeNames={nodes}\nLogTarget=stderr\n\
             LogLevel=DEBUG\n{}",
            self.config
        )
    }
}

/// A running manager. Dropping it ends it, and prints its log if the test fails.
pub struct Manager {
    process: Child,
    pub bus: Bus,
    /// A client that is there from the start, so that its descriptors are always the same.
    pub client: Connection<UnixStream>,
    folder: Folder,
    port: u16,
    /// Keeps the port from being given to others while the manager does not listen.
    _port_holder: socket2::Socket,
    idle_descriptors: usize,
    pub idle_memory_kb: u64,
}

impl Manager {
    pub fn start() -> Self {
        Self::with(&Settings::default())
    }

    /// Starts a manager and waits until it has its name on the bus.
    pub fn with(settings: &Settings<'_>) -> Self {
        let folder = Folder::new();
        let bus = Bus::start();
        let (port_holder, port) = hold_port();
        let config = folder.write("hirte.conf", settings.text(port));
        let mut command = match settings.descriptors {
            Some(most) => {
                let mut prlimit = Command::new("prlimit");
                prlimit.arg(format!("--nofile={most}:{most}"));
                prlimit.arg(program("hirte"));
                prlimit
            }
            None => Command::new(program("hirte")),
        };
        let address = format!("unix:path={}", bus.socket().display());
        let mut process = command
            .arg("-c")
            .arg(config)
            .env("DBUS_SYSTEM_BUS_ADDRESS", address)
            .env("RUNTIME_DIRECTORY", folder.path("run"))
            .envs(unit_environment())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stderr(File::create(folder.path("log")).unwrap())
            .spawn()
            .expect("hirte starts");
        let client = match attached_client(&bus, &mut process) {
            Ok(client) => client,
            Err(problem) => {
                let log = fs::read_to_string(folder.path("log")).unwrap_or_default();
                let _ = process.kill();
                let _ = process.wait();
                panic!("{problem}; its log:\n{log}");
            }
        };
        let mut manager = Self {
            process,
            bus,
            client,
            folder,
            port,
            _port_holder: port_holder,
            idle_descriptors: 0,
            idle_memory_kb: 0,
        };
        manager.ping();
        manager.idle_descriptors = manager.descriptors();
        manager.idle_memory_kb = manager.memory_kb();
        manager
    }

    /// A connection that has said nothing.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// An agent that has registered; a panic if it is refused.
    pub fn agent(&self, name: &str) -> Connection<TcpStream> {
        let mut agent = Connection::authenticate(self.connect()).unwrap();
        agent.call(register(name)).unwrap();
        agent
    }

    /// Another client of the bus.
    pub fn new_client(&self) -> Connection<UnixStream> {
        Connection::to_bus(self.bus.socket())
    }

    /// Its private socket.
    pub fn private_socket(&self) -> PathBuf {
        self.runtime_folder().join("private")
    }

    /// A client that gets all signals of the manager.
    pub fn watcher(&self) -> Connection<UnixStream> {
        let mut client = self.new_client();
        client.watch("type='signal',sender='org.containers.hirte'");
        client
    }

    /// `Manager.Ping`; how long the answer took.
    pub fn ping(&mut self) -> Duration {
        let begun = Instant::now();
        let answer = self.client.call(manager_call("Ping", Body::of(&("well",))));
        let (echo,): (String,) = answer.unwrap().parse().unwrap();
        assert_eq!(echo, "well");
        begun.elapsed()
    }

    /// Waits until a node is `online` or `offline`; how long that took.
    pub fn wait_node(&mut self, node: &str, status: &str, bound: Duration) -> Duration {
        let what = format!("{node} is {status}");
        within(bound, &what, || self.status(node) == status)
    }

    pub fn status(&mut self, node: &str) -> String {
        self.client.node_status(node).unwrap()
    }

    /// Where it has its sockets and what outlives it.
    pub fn runtime_folder(&self) -> PathBuf {
        self.folder.path("run")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }

    /// Checks that what a test did has left no trace: the manager answers, its place on the bus
    /// is the same, and it has the threads, descriptors and memory of before.
    pub fn assert_well(&mut self) {
        if let Some(status) = self.process.try_wait().unwrap() {
            panic!("the manager has ended: {status}");
        }
        self.ping();
        // All connections of the test are closed by now, or will be as unregistered ones.
        within(SOON, "no descriptor is leaked", || {
            self.descriptors() <= self.idle_descriptors
        });
        let log = self.log();
        assert!(!log.contains("panicked"));
        let attached = log.matches("Acquired the bus name").count();
        assert_eq!(attached, 1, "it was thrown off its bus");
        if self.is_emulated() {
            return;
        }
        assert_eq!(self.status_line("Threads"), "1");
        let memory = self.memory_kb();
        println!("VmRSS {} kB, then {memory} kB", self.idle_memory_kb);
        assert!(
            memory <= self.idle_memory_kb + KEPT_MEMORY_KB,
            "grown from {} to {memory} kB",
            self.idle_memory_kb
        );
    }

    /// Growth of its memory that is nothing against what a test would have it hold. qemu keeps what
    /// it has translated.
    pub fn small_growth_kb(&self) -> u64 {
        if self.is_emulated() { 8 << 10 } else { 1 << 10 }
    }

    /// Whether qemu runs it, which also has a thread of its own.
    fn is_emulated(&self) -> bool {
        let executable = fs::read_link(format!("/proc/{}/exe", self.process.id())).unwrap();
        executable.to_string_lossy().contains("/qemu-")
    }

    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        fs::read_dir(folder).unwrap().count()
    }

    /// Descriptors that it had when nobody was connected.
    pub const fn idle_descriptors(&self) -> usize {
        self.idle_descriptors
    }

    /// Memory that is resident.
    pub fn memory_kb(&self) -> u64 {
        let line = self.status_line("VmRSS");
        line.trim_end_matches(" kB").parse().unwrap()
    }

    fn status_line(&self, key: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    }

    /// Runs another manager on the same bus, with this folder for its private socket, to its end:
    /// its exit status and its log.
    pub fn run_rival(&self, runtime: &Path) -> (std::process::ExitStatus, String) {
        let (_port_holder, port) = hold_port();
        let text = format!("[hirte]\nManagerPort={port}\nLogTarget=stderr\n");
        let config = self.folder.write("rival.conf", text);
        let address = format!("unix:path={}", self.bus.socket().display());
        let output = Command::new(program("hirte"))
            .arg("-c")
            .arg(config)
            .env("DBUS_SYSTEM_BUS_ADDRESS", address)
            .env("RUNTIME_DIRECTORY", runtime)
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status, log)
    }

    /// Has it read another configuration, and waits until it logs `outcome` once more.
    pub fn reload(&self, settings: &Settings<'_>, outcome: &str) {
        let before = self.log().matches(outcome).count();
        self.folder.write("hirte.conf", settings.text(self.port));
        self.kill(rustix::process::Signal::HUP);
        within(SOON, outcome, || {
            self.log().matches(outcome).count() > before
        });
    }

    fn kill(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Tells it to end and waits for that.
    pub fn end(&mut self) -> std::process::ExitStatus {
        self.kill(rustix::process::Signal::TERM);
        let mut status = None;
        within(SOON, "hirte ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(100)..].join("\n");
            eprintln!("---- the end of the log of hirte\n{end}");
        }
    }
}

/// A call of the manager's object.
pub fn manager_call(member: &str, arguments: Body) -> Message {
    Message::call(
        names::MANAGER_PATH,
        names::MANAGER_INTERFACE,
        member,
        arguments,
    )
    .to(names::MANAGER_BUS_NAME)
}

/// What the unit of the manager sets in its environment.
fn unit_environment() -> Vec<(String, String)> {
    let unit = include_str!("../../data/systemd/hirte.service");
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="));
    lines
        .flat_map(str::split_whitespace)
        .map(|assignment| {
            let (name, value) = assignment.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

/// A client, once the manager has its name.
fn attached_client(bus: &Bus, process: &mut Child) -> Result<Connection<UnixStream>, String> {
    let mut client = Connection::to_bus(bus.socket());
    let end = Instant::now() + SOON;
    loop {
        let asked = super::bus_call("NameHasOwner", Body::of(&(names::MANAGER_BUS_NAME,)));
        if client.call(asked).unwrap().bytes == [1, 0, 0, 0] {
            return Ok(client);
        }
        if let Some(status) = process.try_wait().unwrap() {
            return Err(format!("hirte has ended: {status}"));
        }
        if Instant::now() > end {
            return Err("hirte does not take its name".to_owned());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A port that is bound, so that nobody else gets it, and not listened on, so that a manager can.
fn hold_port() -> (socket2::Socket, u16) {
    let holder = || -> io::Result<(socket2::Socket, u16)> {
        let socket = socket2::Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_only_v6(false)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
        let address = socket.local_addr()?.as_socket().expect("an IP address");
        Ok((socket, address.port()))
    };
    holder().expect("a free port")
}
