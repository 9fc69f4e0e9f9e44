//! A message bus of a test's own.
#![allow(
    dead_code,
    reason = "each test crate that includes this uses a part of it"
)]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A running dbus-daemon, which ends with this value.
pub struct Bus {
    daemon: Child,
    directory: PathBuf,
    socket: PathBuf,
}

impl Bus {
    /// Starts a bus on which everybody may own and say everything, and have as many calls without
    /// an answer as on a user's bus.
    pub fn start() -> Self {
        Self::configured(
            "",
            r#"<limit name="max_replies_per_connection">50000</limit>"#,
        )
    }

    /// The same with the limits of a system bus: the built-in ones of `dbus-daemon`.
    pub fn start_with_system_limits() -> Self {
        Self::configured("", "")
    }

    /// The same with further rules of policy for everybody.
    pub fn start_with_policy(rules: &str) -> Self {
        Self::configured(rules, "")
    }

    fn configured(rules: &str, limits: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hirte-bus-{}-{number}", std::process::id());
        let directory = env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let socket = directory.join("socket");
        let config = directory.join("bus.conf");
        let text = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
             <allow send_destination=\"*\"/><allow receive_sender=\"*\"/>{rules}</policy>\
             {limits}</busconfig>",
            socket.display()
        );
        fs::write(&config, text).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile", "--print-address"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // As a user it complains that it can not raise its limits.
            .stderr(Stdio::null())
            .spawn()
            .expect("these tests need dbus-daemon (Debian package dbus-daemon)");
        // It prints its address when it listens.
        let mut line = String::new();
        let mut output = BufReader::new(daemon.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert!(line.starts_with("unix:path="), "{line:?}");
        Self {
            daemon,
            directory,
            socket,
        }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The address of the bus for its clients.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket.display())
    }

    /// The process of the bus.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Ends the bus while its clients are connected.
    pub fn kill(&mut self) {
        self.daemon.kill().unwrap();
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
