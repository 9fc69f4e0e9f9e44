//! What a test does inside a node: run commands, write files, look at units and journals.

use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::node::DROPPED;
use super::{Node, eventually};

/// A command inside a node that takes longer is killed, so that a test fails instead of hanging.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(2);
/// For a command that was told to end.
const END_TIMEOUT: Duration = Duration::from_secs(30);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a command printed and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended; 128 and its number if a signal ended it.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it reported.
    pub stderr: String,
}

impl Output {
    /// Whether the command ended with exit status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

impl Node {
    /// Runs a command in the running node, as root, with an environment of PATH, HOME and TERM only.
    ///
    /// # Panics
    /// If the node is off, or the command takes longer than two minutes.
    pub fn run(&self, command: &[&str]) -> Output {
        self.run_with_input(command, b"")
    }

    /// Runs a command and returns what it printed, without the last line's end.
    ///
    /// # Panics
    /// If the command fails; the message contains all its output.
    pub fn ok(&self, command: &[&str]) -> String {
        let output = self.run(command);
        assert!(
            output.success(),
            "{}: {}: {output}",
            self.name(),
            command.join(" ")
        );
        output.stdout.trim_end().to_owned()
    }

    /// Runs a shell script with `set -eu`.
    ///
    /// # Panics
    /// As [`Node::run`].
    pub fn sh(&self, script: &str) -> Output {
        self.run(&["sh", "-euc", script])
    }

    /// Runs systemctl and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    pub fn systemctl(&self, arguments: &[&str]) -> String {
        self.ok(&[&["systemctl"], arguments].concat())
    }

    /// Runs a command with the given standard input.
    ///
    /// # Panics
    /// As [`Node::run`].
    pub fn run_with_input(&self, command: &[&str], input: &[u8]) -> Output {
        let seconds = COMMAND_TIMEOUT.as_secs().to_string();
        let limited = [
            &["timeout", "--foreground", "--signal=KILL", &seconds],
            command,
        ]
        .concat();
        let nsenter = self
            .command(&limited)
            .unwrap_or_else(|| panic!("{} is off", self.name()));
        let begin = Instant::now();
        let output = run(nsenter, input);
        assert!(
            begin.elapsed() < COMMAND_TIMEOUT,
            "{}: {}: killed after {seconds} s: {output}",
            self.name(),
            command.join(" ")
        );
        output
    }

    /// Writes a file with mode 0644, and the folders above it. The node may be off.
    ///
    /// # Panics
    /// If that fails.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let script = r#"mkdir -p "$(dirname "$1")" && cat > "$1" && chmod 644 "$1""#;
        let output = self.on_or_off(&["sh", "-euc", script, "sh", path], content.as_ref());
        assert!(output.success(), "{}: write {path}: {output}", self.name());
    }

    /// Reads a file. The node may be off.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        let output = self.on_or_off(&["cat", "--", path], b"");
        assert!(output.success(), "{}: read {path}: {output}", self.name());
        output.stdout
    }

    /// Writes a unit file to `/etc/systemd/system`. A running systemd reads it at once.
    ///
    /// # Panics
    /// If that fails.
    pub fn unit(&self, name: &str, content: &str) {
        self.write(&format!("/etc/systemd/system/{name}"), content);
        if self.is_on() {
            self.systemctl(&["daemon-reload"]);
        }
    }

    /// Starts a unit that nodes have masked.
    ///
    /// # Panics
    /// If that fails.
    pub fn unmask(&self, unit: &str) {
        self.systemctl(&["unmask", unit]);
        self.systemctl(&["start", unit]);
    }

    /// Starts a command that goes on; its output is captured.
    ///
    /// # Panics
    /// If the node is off.
    pub fn spawn(&self, command: &[&str]) -> Running {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let node_pid = self
            .pid()
            .unwrap_or_else(|| panic!("{} is off", self.name()));
        let file = |kind: &str| self.folder().join(format!("command{number}.{kind}"));
        let pid_file = format!("/run/lab-command{number}.pid");
        let script = r#"echo $$ > "$0.part"; mv "$0.part" "$0"; exec "$@""#;
        let dying = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "sh",
            "-euc",
            script,
            &pid_file,
        ];
        let mut child = self
            .command(&[&dying, command].concat())
            .unwrap_or_else(|| panic!("{} is off", self.name()))
            .stdin(Stdio::null())
            .stdout(File::create(file("stdout")).expect("create a file for output"))
            .stderr(File::create(file("stderr")).expect("create a file for output"))
            .spawn()
            .expect("start nsenter");
        // Only a command that has come so far dies with `child`.
        let seen = PathBuf::from(format!("/proc/{node_pid}/root{pid_file}"));
        let mut pid = None;
        eventually(END_TIMEOUT, "a command begins", || {
            let ended = child.try_wait().expect("wait for nsenter").is_some();
            pid = fs::read_to_string(&seen)
                .ok()
                .and_then(|pid| pid.trim().parse().ok());
            pid.is_some() || ended
        });
        let reason = || read_lossy(&file("stderr"));
        Running {
            node: self.clone(),
            command: command.join(" "),
            child,
            pid: pid.unwrap_or_else(|| panic!("{}: {command:?}: {}", self.name(), reason())),
            stdout: file("stdout"),
            stderr: file("stderr"),
        }
    }

    /// What a unit has written to the journal since the node booted, one message a line.
    ///
    /// # Panics
    /// If journalctl fails.
    #[must_use]
    pub fn journal(&self, unit: &str) -> String {
        self.ok(&[
            "journalctl",
            "--boot",
            "--output=cat",
            "--no-pager",
            "--unit",
            unit,
        ])
    }

    /// Waits until the journal of a unit contains a text.
    ///
    /// # Panics
    /// If it does not within `timeout`.
    pub fn wait_journal(&self, unit: &str, needle: &str, timeout: Duration) {
        let mut journal = String::new();
        let found = super::holds_within(timeout, || {
            journal = self.journal(unit);
            journal.contains(needle)
        });
        assert!(
            found,
            "{}: no {needle:?} in the journal of {unit} within {timeout:?}:\n{journal}",
            self.name()
        );
    }

    /// The PID of a unit's main process, as the node sees it; nothing while there is none.
    ///
    /// # Panics
    /// If systemctl fails.
    #[must_use]
    pub fn pid_of(&self, unit: &str) -> Option<u32> {
        let pid = self.systemctl(&["show", "--property=MainPID", "--value", unit]);
        pid.parse().ok().filter(|pid| *pid != 0)
    }

    /// Stops the main process of a unit with SIGSTOP: it is there but silent.
    ///
    /// # Panics
    /// If the unit has no main process.
    pub fn freeze(&self, unit: &str) {
        self.kill(unit, "STOP");
    }

    /// Undoes [`Node::freeze`].
    ///
    /// # Panics
    /// If the unit has no main process.
    pub fn thaw(&self, unit: &str) {
        self.kill(unit, "CONT");
    }

    /// Sends a signal (`"KILL"`, `"TERM"`) to the main process of a unit.
    ///
    /// # Panics
    /// If the unit has no main process.
    pub fn kill(&self, unit: &str, signal: &str) {
        let pid = self.pid_of(unit);
        let pid = pid.unwrap_or_else(|| panic!("{}: {unit} has no main process", self.name()));
        let output = self.signal(signal, pid);
        assert!(
            output.success(),
            "{}: kill -{signal} {pid}: {output}",
            self.name()
        );
    }

    /// Sends a signal, given by name or number, to a process of the node.
    pub(super) fn signal(&self, signal: &str, pid: u32) -> Output {
        // The shell's own command: kill(1) belongs to a package that a small root need not have.
        self.run(&["sh", "-c", &format!("kill -{signal} {pid}")])
    }

    /// The address of the node's system bus, for a client in the test process. It changes with each boot.
    ///
    /// # Panics
    /// If the node is off.
    #[must_use]
    pub fn bus_address(&self) -> String {
        let pid = self
            .pid()
            .unwrap_or_else(|| panic!("{} is off", self.name()));
        format!("unix:path=/proc/{pid}/root/run/dbus/system_bus_socket")
    }

    /// Prints the end of the node's journal; for tests that have failed.
    pub(super) fn print_journal(&self) {
        let journalctl = [
            "timeout",
            "10",
            "journalctl",
            "--no-pager",
            "--lines=200",
            "--output=short-monotonic",
        ];
        let Some(mut command) = self.command(&journalctl) else {
            return;
        };
        if let Ok(output) = command.stdin(Stdio::null()).output() {
            eprintln!("---- journal of {}", self.name());
            let journal = String::from_utf8_lossy(&output.stdout);
            // Nodes mask it, and the bus says so each time that somebody asks for it.
            let is_told = |line: &&str| !line.contains("polkit.service");
            for line in journal.lines().filter(is_told) {
                eprintln!("{line}");
            }
        }
    }

    /// A command in the node's namespaces, if the node runs.
    pub(super) fn command(&self, command: &[&str]) -> Option<Command> {
        // nsenter's own child would be a trap: the systemd of a node that shuts down stops all processes for a moment,
        // nsenter then stops itself, never collects its child, and the kernel waits for that before the node can end.
        let script = r#"setpriv --bounding-set "$0" --inh-caps "$0" "$@"; exit $?"#;
        let mut nsenter = Command::new("nsenter");
        nsenter
            .args(["-t", &self.pid()?.to_string()])
            .args([
                "-m",
                "-u",
                "-i",
                "-n",
                "-p",
                "-C",
                "-r",
                "-w",
                "--no-fork",
                "--",
            ])
            .args(["sh", "-c", script, DROPPED])
            .args(command)
            .env_clear()
            .envs([("PATH", PATH), ("HOME", "/root"), ("TERM", "dumb")]);
        Some(nsenter)
    }

    /// Runs a command in the running node, or in its root file system while the node is off.
    fn on_or_off(&self, command: &[&str], input: &[u8]) -> Output {
        if self.is_on() {
            return self.run_with_input(command, input);
        }
        let script =
            r#"mount -t overlay -o "$1" overlay "$2"; r=$2; shift 2; exec chroot "$r" "$@""#;
        let mut chroot = Command::new("unshare");
        chroot
            .args(["--mount", "sh", "-euc", script, "sh", &self.overlay()])
            .arg(self.folder().join("root"))
            .args(command)
            .env_clear()
            .env("PATH", PATH);
        run(chroot, input)
    }
}

/// A command that runs in a node. Dropping it kills the command.
pub struct Running {
    node: Node,
    command: String,
    child: Child,
    /// Of the command, as the node sees it.
    pid: u32,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// What it has printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// What it has reported so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// Waits until it has printed (to stdout or stderr) a text.
    ///
    /// # Panics
    /// If it does not within `timeout`.
    pub fn wait_output(&self, needle: &str, timeout: Duration) {
        let found = || self.stdout().contains(needle) || self.stderr().contains(needle);
        assert!(
            super::holds_within(timeout, found),
            "{}: no {needle:?} from {} within {timeout:?}: stdout:\n{}\nstderr:\n{}",
            self.node.name(),
            self.command,
            self.stdout(),
            self.stderr()
        );
    }

    /// Sends a signal (`"INT"`, `"TERM"`) to the command.
    ///
    /// # Panics
    /// If the command has ended.
    pub fn signal(&self, signal: &str) {
        let output = self.node.signal(signal, self.pid);
        assert!(
            output.success(),
            "{}: {}: kill -{signal}: {output}",
            self.node.name(),
            self.command
        );
    }

    /// Waits until the command ends.
    ///
    /// # Panics
    /// If it does not within `timeout`.
    pub fn wait(mut self, timeout: Duration) -> Output {
        let mut status = None;
        eventually(timeout, &format!("{} ends", self.command), || {
            status = self.child.try_wait().expect("wait for nsenter");
            status.is_some()
        });
        Output {
            status: status.expect("it has ended"),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Ends the command with a signal and waits for it.
    ///
    /// # Panics
    /// If the command does not end within half a minute.
    pub fn end(self, signal: &str) -> Output {
        self.signal(signal);
        self.wait(END_TIMEOUT)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The command dies with what was nsenter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lossy(path: &PathBuf) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn run(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("the input is piped");
    // Commands that do not read are free not to. Large input to a command that prints as much would stall; files are small.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("wait for a command");
    Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
