//! The life of a node: boot, reboot, crash, power-off, and its cable.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::net::{Card, Link};
use super::{Shared, eventually, files, lock};

/// A node boots in a second; a busy machine with few processors may need many times that.
const BOOT_TIMEOUT: Duration = Duration::from_mins(2);
/// For systemd to stop its units, each within the 5 s that nodes have as a default.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);
/// For the kernel to end the processes of a node.
const KILL_TIMEOUT: Duration = Duration::from_mins(1);
/// Signals to PID 1: SIGRTMIN+4 switches off, SIGRTMIN+5 reboots (systemd(1)).
const SIGNAL_POWEROFF: &str = "38";
const SIGNAL_REBOOT: &str = "39";
/// The kernel ends PID 1 of a PID namespace with this signal when it asks for a reboot (`reboot(2)`).
const SIGHUP: i32 = 1;

/// Capabilities that nodes do not have, as setpriv(1) wants them: what they do would reach the machine's clock, modules,
/// kernel log and memory.
pub(super) const DROPPED: &str = "-sys_time,-sys_module,-syslog,-sys_rawio";

/// A computer with systemd, in a [`super::Lab`]. Clones are the same node.
#[derive(Clone)]
pub struct Node {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    shared: Arc<Shared>,
    index: usize,
    name: String,
    address: IpAddr,
    /// Holds upper, work, root, plain, pid, console and what commands print.
    folder: PathBuf,
    cgroup: PathBuf,
    boots: AtomicU32,
    link: Mutex<Link>,
    /// While the node runs.
    card: Mutex<Option<Card>>,
    /// The node must not boot again when it ends.
    stopping: AtomicBool,
    /// The lab is gone.
    forbidden: AtomicBool,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    pub(super) fn new(shared: Arc<Shared>, index: usize, name: &str, address: IpAddr) -> Node {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        assert!(
            !name.is_empty() && name.chars().all(plain),
            "{name:?} is no host name"
        );
        let folder = shared.state.join("nodes").join(name);
        for part in ["upper/etc", "work", "root"] {
            fs::create_dir_all(folder.join(part)).expect("create a folder of a node");
        }
        let etc = folder.join("upper/etc");
        fs::write(etc.join("hostname"), format!("{name}\n")).expect("write hostname");
        fs::write(etc.join("machine-id"), machine_id(&shared.name, name))
            .expect("write machine-id");
        let cgroup = shared.cgroup.join(name);
        fs::create_dir(&cgroup).expect("create a node's cgroup");
        let inner = Inner {
            shared,
            index,
            name: name.to_owned(),
            address,
            folder,
            cgroup,
            boots: AtomicU32::new(0),
            link: Mutex::new(Link::Up),
            card: Mutex::default(),
            stopping: AtomicBool::new(false),
            forbidden: AtomicBool::new(false),
            supervisor: Mutex::default(),
        };
        Node {
            inner: Arc::new(inner),
        }
    }

    /// Its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The address of its network card `eth0`.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.inner.address
    }

    pub(super) fn index(&self) -> usize {
        self.inner.index
    }

    /// How often it has booted so far, reboots included.
    #[must_use]
    pub fn boots(&self) -> u32 {
        self.inner.boots.load(Ordering::SeqCst)
    }

    /// The PID of the node's PID 1 as this machine sees it, if the node runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.inner.folder.join("pid"))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        // Only a process in the node's cgroup is believed: a command for the node must never reach a stranger.
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let own = format!("/{}/{}", self.inner.shared.name, self.inner.name);
        let in_node = |path: &str| path.ends_with(&own) || path.contains(&format!("{own}/"));
        cgroups
            .lines()
            .any(|line| line.strip_prefix("0::").is_some_and(in_node))
            .then_some(pid)
    }

    /// Whether the node is switched on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        lock(&self.inner.supervisor)
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Boots the node and waits until systemd reports `running` or `degraded` on its system bus.
    ///
    /// # Panics
    /// If the node is on, or does not come up.
    pub fn boot(&self) {
        self.power_on();
        self.wait_up();
    }

    /// Boots the node without waiting.
    ///
    /// # Panics
    /// If the node is on.
    pub fn power_on(&self) {
        assert!(!self.is_on(), "{} is on already", self.name());
        self.join();
        self.inner.stopping.store(false, Ordering::SeqCst);
        let inner = Arc::clone(&self.inner);
        *lock(&self.inner.supervisor) = Some(thread::spawn(move || supervise(&inner)));
    }

    /// Waits until systemd reports `running` or `degraded` on the node's system bus.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn wait_up(&self) {
        let end = Instant::now() + BOOT_TIMEOUT;
        let mut state = String::from("no system bus");
        while !(state.contains("running") || state.contains("degraded")) {
            assert!(
                self.is_on() && Instant::now() < end,
                "{}",
                self.boot_failure(&state)
            );
            thread::sleep(Duration::from_millis(50));
            if let Some(answer) = self.system_state() {
                state = answer;
            }
        }
    }

    /// Switches the node off in order: systemd stops its units.
    ///
    /// # Panics
    /// If the node is off, or does not end.
    pub fn power_off(&self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        self.signal_init(SIGNAL_POWEROFF);
        eventually(STOP_TIMEOUT, "the node is switched off", || !self.is_on());
        self.stop();
    }

    /// Reboots the node in order and waits until it is up again.
    ///
    /// # Panics
    /// If the node is off, or does not come up.
    pub fn reboot(&self) {
        let boots = self.boots();
        self.signal_init(SIGNAL_REBOOT);
        eventually(STOP_TIMEOUT, "the node reboots", || self.boots() > boots);
        self.wait_up();
    }

    /// Takes the power away: peers see silence, and nothing that the kernel still had to send arrives.
    ///
    /// What was written to files is there at the next boot.
    pub fn crash(&self) {
        if let Some(hub) = &*lock(&self.inner.shared.hub) {
            hub.unplug(self.inner.index);
        }
        self.stop();
    }

    /// Kills all processes at once. Their sockets get closed: peers see the ends of connections.
    pub fn kill_all(&self) {
        self.stop();
    }

    /// Plugs the node's cable in or pulls it. The node's card keeps its addresses; this holds across boots.
    pub fn link(&self, link: Link) {
        *lock(&self.inner.link) = link;
        let card = lock(&self.inner.card);
        if let (Some(_), Some(hub)) = (&*card, &*lock(&self.inner.shared.hub)) {
            hub.set_link(self.inner.index, link);
        }
    }

    /// The command line that gives a person a shell in the node.
    ///
    /// # Panics
    /// If the node is off.
    #[must_use]
    pub fn enter_command(&self) -> String {
        let pid = self
            .pid()
            .unwrap_or_else(|| panic!("{} is off", self.name()));
        format!("nsenter -t {pid} -m -u -i -n -p -C -r -w env -i TERM=$TERM HOME=/root bash -l")
    }

    pub(super) fn folder(&self) -> &Path {
        &self.inner.folder
    }

    pub(super) fn overlay(&self) -> String {
        files::overlay(&self.inner.shared.overlay_lower, &self.inner.folder)
    }

    pub(super) fn write_hosts(&self, hosts: &str) {
        fs::write(self.inner.folder.join("upper/etc/hosts"), hosts).expect("write hosts");
    }

    pub(super) fn apply_cut(&self, address: IpAddr) {
        if let Some(card) = &*lock(&self.inner.card) {
            card.cut(&[address]);
        }
    }

    pub(super) fn remove_cut(&self, address: IpAddr) {
        if let Some(card) = &*lock(&self.inner.card) {
            card.heal(address);
        }
    }

    /// Keeps the node from booting again; the lab ends.
    pub(super) fn forbid_boot(&self) {
        self.inner.forbidden.store(true, Ordering::SeqCst);
        self.inner.stopping.store(true, Ordering::SeqCst);
    }

    /// Waits for the thread of a node that has ended or is about to.
    pub(super) fn join(&self) {
        if let Some(thread) = lock(&self.inner.supervisor).take() {
            let _ = thread.join();
        }
    }

    fn system_state(&self) -> Option<String> {
        let pid = self.pid()?;
        fs::symlink_metadata(format!("/proc/{pid}/root/run/dbus/system_bus_socket")).ok()?;
        let output = self
            .command(&[
                "timeout",
                "20",
                "busctl",
                "get-property",
                "org.freedesktop.systemd1",
                "/org/freedesktop/systemd1",
                "org.freedesktop.systemd1.Manager",
                "SystemState",
            ])?
            .output()
            .ok()?;
        let text = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    }

    fn boot_failure(&self, state: &str) -> String {
        let console = fs::read_to_string(self.inner.folder.join("console")).unwrap_or_default();
        self.print_journal();
        format!(
            "{} did not come up: {state}; its console:\n{console}",
            self.name()
        )
    }

    fn signal_init(&self, signal: &str) {
        assert!(self.is_on(), "{} is off", self.name());
        // Its own end may reach the command before its exit status reaches us.
        let _ = self.signal(signal, 1);
    }

    /// Ends all processes of the node, and waits until the kernel is done with it.
    fn stop(&self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        eventually(KILL_TIMEOUT, "the node's processes end", || {
            // Again and again, for a process that was just on its way into the cgroup.
            let _ = fs::write(self.inner.cgroup.join("cgroup.kill"), "1");
            !self.is_on()
        });
        self.join();
    }
}

/// Runs the node and boots it again as often as it asks for a reboot.
fn supervise(inner: &Inner) {
    while !inner.forbidden.load(Ordering::SeqCst) {
        // Locked until it stands, so that a cut or a pulled cable of the test is either seen here or applied after.
        let mut card = lock(&inner.card);
        *card = plug_in(inner);
        let Some(mut command) = card.as_ref().map(|card| init_command(inner, card)) else {
            break;
        };
        drop(card);
        inner.boots.fetch_add(1, Ordering::SeqCst);
        let status = command
            .spawn()
            .and_then(|mut child| child.wait())
            .expect("run a node");
        let _ = fs::remove_file(inner.folder.join("pid"));
        empty_cgroup(&inner.cgroup);
        // Before the namespace goes, so that what the kernel may still send for dead processes goes nowhere.
        if let Some(hub) = &*lock(&inner.shared.hub) {
            hub.unplug(inner.index);
        }
        *lock(&inner.card) = None;
        if inner.stopping.load(Ordering::SeqCst) || !asks_for_reboot(status) {
            break;
        }
    }
}

/// A card with the link and the cuts that the test has set; nothing if the lab is gone.
fn plug_in(inner: &Inner) -> Option<Card> {
    let hub = lock(&inner.shared.hub);
    let card = Card::new(
        hub.as_ref()?,
        inner.index,
        inner.address,
        *lock(&inner.link),
    );
    let cuts: Vec<IpAddr> = lock(&inner.shared.cuts)
        .iter()
        .filter(|((from, _), _)| *from == inner.index)
        .map(|(_, address)| *address)
        .collect();
    card.cut(&cuts);
    Some(card)
}

fn init_command(inner: &Inner, card: &Card) -> Command {
    let init = inner.shared.state.join("node-init");
    let console = fs::File::options()
        .create(true)
        .append(true)
        .open(inner.folder.join("console"))
        .expect("open a node's console");
    let mut command = Command::new("setpriv");
    command
        // Should even the keeper be killed: no node outlives this process, nor PID 1 its unshare.
        .args(["--pdeathsig", "KILL", "nsenter"])
        .arg(format!("--net={}", card.namespace()))
        .args([
            "unshare",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "sh",
        ])
        .arg(init)
        .args([&inner.folder, &inner.cgroup])
        .arg(files::overlay(&inner.shared.overlay_lower, &inner.folder))
        .arg(DROPPED)
        .args(&inner.shared.plain)
        .arg("--")
        .args(&inner.shared.binds)
        .stdin(Stdio::null())
        .stdout(console.try_clone().expect("share the console"))
        .stderr(console)
        .process_group(0);
    command
}

/// unshare ends with the signal that ended PID 1, or with 128 and its number.
fn asks_for_reboot(status: ExitStatus) -> bool {
    status.signal() == Some(SIGHUP) || status.code() == Some(128 + SIGHUP)
}

/// Kills what is left in the node's cgroup and removes the cgroups that its systemd has made.
fn empty_cgroup(cgroup: &Path) {
    let end = Instant::now() + KILL_TIMEOUT;
    loop {
        let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        if remove_children(cgroup) || Instant::now() > end {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Removes the cgroups below; whether none is left.
fn remove_children(cgroup: &Path) -> bool {
    let Ok(entries) = fs::read_dir(cgroup) else {
        return true;
    };
    let mut empty = true;
    for child in entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        let path = child.path();
        empty &= remove_children(&path) && fs::remove_dir(&path).is_ok();
    }
    empty
}

/// Passes on to the children of a cgroup whatever controllers it has. On hybrid machines it has none.
pub(super) fn enable_controllers(cgroup: &Path) {
    let controllers = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        // One that this kernel does not pass on is missing in nodes, as it would be in a container.
        let _ = fs::write(
            cgroup.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
}

/// A machine id that is the same for each boot of a node.
fn machine_id(lab: &str, node: &str) -> String {
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (lab, node, salt).hash(&mut hasher);
        hasher.finish()
    };
    format!("{:016x}{:016x}\n", hash(0), hash(1))
}
