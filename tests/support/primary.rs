//! A real manager on a message bus of its own, without systemd: `hirte` and `dbus-daemon` as
//! processes of this user, on an unused port of the loopback.

#[path = "bus.rs"]
mod bus;

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use bus::Bus;

/// For the start of a process; generous, because other tests run at the same time.
const START: Duration = Duration::from_secs(30);
/// Below the range from which Linux takes ports of outgoing connections.
const FIRST_PORT: u16 = 20_000;

/// A manager and its bus. Dropping it ends both.
pub struct Primary {
    folder: PathBuf,
    bus: Bus,
    manager: Option<Child>,
    program: PathBuf,
    port: u16,
}

impl Primary {
    /// Starts a bus with the limits of a system bus, and a manager for these nodes.
    pub fn start(program: &Path, nodes: &[String]) -> Self {
        let folder = env::temp_dir().join(format!("hirte-primary-{}", process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("create a folder");
        let bus = Bus::start_with_system_limits();
        let port = unused_port();
        let config = format!(
            "[hirte]\nManagerPort={port}\nLogTarget=stderr\nAllowedNodeNames={}\n",
            nodes.join(",")
        );
        fs::write(folder.join("hirte.conf"), config).expect("write the configuration");
        let mut primary = Self {
            folder,
            bus,
            manager: None,
            program: program.to_owned(),
            port,
        };
        primary.start_manager();
        primary
    }

    /// Starts the manager after [`kill_manager`](Self::kill_manager), and waits for its bus name.
    pub fn start_manager(&mut self) {
        let log = File::create(self.folder.join("log")).expect("create a log");
        let manager = Command::new(&self.program)
            .arg("-c")
            .arg(self.folder.join("hirte.conf"))
            .env_clear()
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.bus.address())
            .env("RUNTIME_DIRECTORY", &self.folder)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        self.manager = Some(manager);
        wait("the manager's bus name", || {
            self.log().contains("Acquired the bus name")
        });
    }

    /// Ends the manager with SIGKILL.
    pub fn kill_manager(&mut self) {
        if let Some(mut manager) = self.manager.take() {
            let _ = manager.kill();
            let _ = manager.wait();
        }
    }

    /// Where agents connect.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The socket of the bus.
    pub fn bus_socket(&self) -> PathBuf {
        self.bus.socket().to_owned()
    }

    /// The manager's private socket.
    pub fn private_socket(&self) -> PathBuf {
        self.folder.join("private")
    }

    /// The process of the manager.
    pub fn manager_pid(&self) -> u32 {
        self.manager.as_ref().map_or(0, Child::id)
    }

    /// The process of the bus.
    pub fn bus_pid(&self) -> u32 {
        self.bus.pid()
    }

    /// What the manager has logged since it started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(4000);
            let end = log.get(from..).unwrap_or_default();
            eprintln!("---- end of the manager's log\n{end}");
        }
        self.kill_manager();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn unused_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = u16::try_from(process::id() % 10_000).unwrap_or(0);
    loop {
        let port = FIRST_PORT + seed + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not within half a minute.
pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + START;
    while !condition() {
        assert!(Instant::now() < end, "waited {START:?} in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
