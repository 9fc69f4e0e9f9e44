//! A computer with its own kernel in QEMU, for what only the first PID namespace of a kernel may do.
//!
//! The processor is emulated on every machine, so that a test does not depend on what a machine allows.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use crate::lab;

/// An emulated computer boots in some ten seconds; a machine busy with other work needs many times that.
const PATIENCE: Duration = Duration::from_mins(5);

/// The kernel's command line. The emulator translates a program again wherever else it is loaded, and
/// measures against flaws of processors have it forget much at each system call: without the last two
/// words all takes twice as long.
const KERNEL: &str =
    "console=ttyS0 rdinit=/lib/systemd/systemd quiet panic=-1 norandmaps mitigations=off";

/// Whether this machine can emulate a computer. If not, says so in one line.
#[must_use]
pub fn require() -> bool {
    if !lab::require() {
        return false;
    }
    let has = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    for (program, package) in [
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("apt-get", "apt"),
        ("cpio", "cpio"),
        ("readelf", "binutils"),
        ("sudo", "sudo"),
    ] {
        if !has(program) {
            lab::leave_out(&format!(
                "a guest: no {program} in PATH (package {package})"
            ));
            return false;
        }
    }
    true
}

/// A running guest. Dropping it switches it off.
pub struct Guest {
    machine: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// What came from the guest and was not read yet.
    pending: Vec<u8>,
    console: PathBuf,
}

impl Guest {
    /// Makes a guest with hirte as installed in `tree`, boots it, and waits for its shell. `cache` keeps
    /// what is downloaded.
    ///
    /// # Panics
    /// If that fails; the message has the end of the guest's console.
    #[must_use]
    pub fn boot(cache: &Path, tree: &Path) -> Guest {
        prepare(cache, tree);
        let console = cache.join("console.log");
        let mut machine = switch_on(cache, &console);
        let input = machine.stdin.take().expect("the input is piped");
        let mut stdout = machine.stdout.take().expect("the output is piped");
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut guest = Guest {
            machine,
            input,
            output,
            pending: Vec::new(),
            console,
        };
        assert_eq!(guest.line(), "ready");
        guest
    }

    /// Runs a script of bash with `set -eu`, and tells its exit status and all that it printed.
    ///
    /// # Panics
    /// If the guest does not answer.
    pub fn sh(&mut self, script: &str) -> (i32, String) {
        // The length counts bytes; tests/audit/shell reads eight digits.
        write!(self.input, "{:08}{script}", script.len()).expect("the guest reads");
        let line = self.line();
        let (length, status) = line.split_once(' ').expect("a length and a status");
        let length = length.parse().expect("a length");
        let printed = self.take(length);
        (
            status.parse().expect("an exit status"),
            String::from_utf8_lossy(&printed).into_owned(),
        )
    }

    /// Runs a script that must succeed, and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    pub fn ok(&mut self, script: &str) -> String {
        let (status, text) = self.sh(script);
        assert_eq!(status, 0, "{script}\n{text}");
        text
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            match self.take(1)[..] {
                [b'\n'] => return String::from_utf8_lossy(&line).into_owned(),
                ref byte => line.extend(byte),
            }
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.pending.len() < length {
            let Ok(more) = self.output.recv_timeout(PATIENCE) else {
                let console = fs::read(&self.console).unwrap_or_default();
                panic!(
                    "the guest does not answer; its console:\n{}",
                    String::from_utf8_lossy(&console)
                );
            };
            self.pending.extend(more);
        }
        let rest = self.pending.split_off(length);
        std::mem::replace(&mut self.pending, rest)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.machine.kill();
        let _ = self.machine.wait();
    }
}

/// Has `tests/audit/prepare` make what the guest consists of, below `cache`.
fn prepare(cache: &Path, tree: &Path) {
    fs::create_dir_all(cache).expect("create the folder of the guest");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit/prepare");
    let prepared = Command::new(script).arg(cache).arg(tree).output();
    let prepared = prepared.expect("tests/audit/prepare runs");
    assert!(
        prepared.status.success(),
        "tests/audit/prepare: {}: {}",
        prepared.status,
        String::from_utf8_lossy(&prepared.stderr)
    );
}

/// Starts QEMU; its standard input and output are the guest's second serial line.
fn switch_on(cache: &Path, console: &Path) -> Child {
    Command::new("setpriv")
        // The guest ends with the test, however that ends.
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none"])
        .args(["-accel", "tcg,tb-size=512"])
        // Without a source of random numbers the first who needs one waits long.
        .args(["-cpu", "qemu64,+rdrand"])
        .args(["-m", "1536"])
        .arg("-kernel")
        .arg(cache.join("vmlinuz"))
        .arg("-initrd")
        .arg(cache.join("initramfs"))
        .args(["-append", KERNEL])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("QEMU starts")
}
