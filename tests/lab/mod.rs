//! A lab of real systemd nodes on one machine, for tests that need several computers.
//!
//! A [`Node`] is systemd as PID 1 of its own PID, mount, network, UTS, IPC and cgroup namespaces. Its root is an overlay
//! of the machine's own `/` (or of another tree, [`Builder::root`]), its network card is joined to the bridge of its
//! [`Lab`]. A node boots in about a second. The machine's own files, units, network and cgroups are only read.
//!
//! ```no_run
//! if !lab::require() {
//!     return;
//! }
//! let lab = Lab::new("guide");
//! let [laptop, rpi4] = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
//! rpi4.ok(&["systemctl", "is-system-running"]);
//! lab.cut(&laptop, &rpi4);
//! ```
//!
//! Where things are: `Lab` and its life here, the root file system of nodes in `files`, namespaces and cables in `net`,
//! the life of a node in `node`, what a test does inside a running node in `inside`, the gate [`require`] in `gate`.
//!
//! Everything of a lab is under `/dev/shm/hirte-lab-…`, in the cgroup of the same name, and in namespaces without a name
//! on the machine. The script `keeper` removes it when the lab is dropped and also when the test process dies; if the
//! keeper dies too, the next lab clears what is left.
//!
//! Needs root, cgroup2, and the Debian packages systemd, dbus, iproute2, util-linux and mount.
//!
//! To look around in a lab that a test has built, let the test print [`Node::enter_command`] and sleep.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test crate that includes the lab uses a part of it"
)]

mod files;
mod gate;
mod inside;
mod net;
mod node;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use gate::{leave_out, require};
pub use inside::{Output, Running};
pub use net::Link;
pub use node::Node;

/// Where the state of labs lies: a tmpfs, because an overlay cannot have its upper layer on another overlay.
const STATE_ROOT: &str = "/dev/shm";
/// What the names of all labs begin with.
const LAB: &str = "hirte-lab-";
/// A node holds about three inotify instances, and the usual limit of 128 for each user ends at some forty nodes.
const INOTIFY_INSTANCES: u32 = 4096;
const INOTIFY_LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
/// The machine's own limit while a lab has raised it.
const INOTIFY_SAVED: &str = "/dev/shm/hirte-lab.max_user_instances";
const KEEPER: &str = include_str!("keeper");
const NODE_INIT: &str = include_str!("node-init");

/// Labs of this process so far; part of their names.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Settings of a lab; see [`Lab::builder`].
pub struct Builder {
    prefix: String,
    root: PathBuf,
    layers: Vec<PathBuf>,
    binds: Vec<PathBuf>,
    plain: Vec<PathBuf>,
    unmasked: Vec<String>,
}

impl Builder {
    /// Uses another tree than the machine's own as the nodes' root file system. It must contain systemd and dbus, and
    /// must not change while the lab is there.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// Lays a tree over the nodes' root, as if it were installed: `data/install --destdir TREE` makes one. A later layer
    /// lies above an earlier one.
    ///
    /// The tree is copied (into memory), so that a build does not change files under running nodes. Users and groups of its
    /// `sysusers.d` exist in the nodes.
    #[must_use]
    pub fn layer(mut self, tree: impl Into<PathBuf>) -> Self {
        self.layers.push(tree.into());
        self
    }

    /// Shows a folder of the machine in the nodes, read-only, at the same path.
    #[must_use]
    pub fn bind(mut self, folder: impl Into<PathBuf>) -> Self {
        self.binds.push(folder.into());
        self
    }

    /// Gives each node a folder at this path that is no part of its overlay: empty, and for the node to write. Overlays
    /// of its own, such as those of containers, can only have their upper layer there. What is in it stays across boots;
    /// a node that is off has it empty.
    #[must_use]
    pub fn plain(mut self, folder: impl Into<PathBuf>) -> Self {
        self.plain.push(folder.into());
        self
    }

    /// Leaves a unit alone that nodes otherwise mask, for example `timers.target` or `systemd-logind.service`.
    #[must_use]
    pub fn unmask(mut self, unit: &str) -> Self {
        self.unmasked.push(unit.to_owned());
        self
    }

    /// Makes the lab, without a node yet.
    ///
    /// # Panics
    /// If the machine does not let us; [`require`] finds out before.
    #[must_use]
    pub fn build(self) -> Lab {
        clear_stale();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{LAB}{}-{}-{number}", self.prefix, process::id());
        let cgroup = gate::cgroup_root().expect("a cgroup2 mount").join(&name);
        let state = Path::new(STATE_ROOT).join(&name);

        // Under the lock no other process takes the lab that has no keeper yet for a stale one.
        let machine = lock_machine();
        fs::create_dir(&state).expect("create the lab's state folder");
        let lock = File::open(&state).expect("open the lab's state folder");
        lock.lock_shared().expect("lock the lab's state folder");
        raise_inotify_limit();
        let hub = net::Hub::new(&keeper_command(&state, &cgroup));
        drop(machine);

        fs::write(state.join("node-init"), NODE_INIT).expect("write node-init");
        let shared = Arc::new(Shared {
            overlay_lower: files::build(&state, &self.root, &self.layers, &self.unmasked),
            name,
            state,
            cgroup,
            binds: self.binds,
            plain: self.plain,
            hub: Mutex::new(Some(hub)),
            cuts: Mutex::default(),
            _lock: lock,
        });
        fs::create_dir(&shared.cgroup).expect("create the lab's cgroup");
        node::enable_controllers(&shared.cgroup);
        Lab {
            shared,
            nodes: Mutex::default(),
        }
    }
}

/// What a lab and its nodes share.
struct Shared {
    name: String,
    state: PathBuf,
    cgroup: PathBuf,
    /// The lower folders of each node's overlay, the topmost first, as mount(8) wants them.
    overlay_lower: String,
    binds: Vec<PathBuf>,
    /// Folders of each node beside its overlay.
    plain: Vec<PathBuf>,
    /// Gone when the lab is dropped.
    hub: Mutex<Option<net::Hub>>,
    /// Pairs of indexes of nodes: packets from the first to the second, which has this address, vanish.
    cuts: Mutex<BTreeMap<(usize, usize), IpAddr>>,
    /// Says that the lab is in use, also when the keeper was killed.
    _lock: File,
}

/// A bridge and the nodes joined to it. Dropping it removes every trace of it.
pub struct Lab {
    shared: Arc<Shared>,
    nodes: Mutex<Vec<Node>>,
}

impl Lab {
    /// A lab on the machine's own root. `prefix` is for people who look at the machine; labs never collide.
    #[must_use]
    pub fn new(prefix: &str) -> Lab {
        Lab::builder(prefix).build()
    }

    /// A lab with settings.
    #[must_use]
    pub fn builder(prefix: &str) -> Builder {
        Builder {
            prefix: prefix.to_owned(),
            root: PathBuf::from("/"),
            layers: Vec::new(),
            binds: Vec::new(),
            plain: Vec::new(),
            unmasked: Vec::new(),
        }
    }

    /// Makes nodes of the given names and addresses, boots them side by side and waits until each is up.
    ///
    /// Addresses may be IPv4 (all within one /16) or IPv6 (all within one /64). Nodes know each other's names.
    ///
    /// # Panics
    /// If a node does not come up.
    pub fn boot<const N: usize>(&self, nodes: &[(&str, &str); N]) -> [Node; N] {
        let nodes = nodes.map(|(name, address)| self.node(name, address));
        boot_side_by_side(&nodes);
        nodes
    }

    /// Makes a node that is switched off. Files can be written to it before [`Node::boot`].
    ///
    /// Names of nodes made earlier are in its `/etc/hosts`.
    pub fn node(&self, name: &str, address: &str) -> Node {
        let mut nodes = lock(&self.nodes);
        assert!(
            nodes.iter().all(|node| node.name() != name),
            "the lab has a node {name} already"
        );
        let address = address
            .parse()
            .unwrap_or_else(|_| panic!("{address} is no IP address"));
        let node = Node::new(Arc::clone(&self.shared), nodes.len(), name, address);
        nodes.push(node.clone());
        drop(nodes);
        self.write_hosts();
        node
    }

    /// Boots all nodes that are off, side by side, and waits until each is up.
    ///
    /// # Panics
    /// If a node does not come up.
    pub fn boot_all(&self) {
        let nodes = lock(&self.nodes).clone();
        let off: Vec<Node> = nodes.into_iter().filter(|node| !node.is_on()).collect();
        boot_side_by_side(&off);
    }

    /// Lets packets vanish in silence, in both directions: connections stall, attempts to connect time out.
    pub fn cut(&self, a: &Node, b: &Node) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Lets packets from `from` to `to` vanish in silence; those from `to` to `from` arrive.
    pub fn cut_one_way(&self, from: &Node, to: &Node) {
        lock(&self.shared.cuts).insert((from.index(), to.index()), to.address());
        from.apply_cut(to.address());
    }

    /// Undoes a cut, in both directions.
    pub fn heal(&self, a: &Node, b: &Node) {
        for (from, to) in [(a, b), (b, a)] {
            if lock(&self.shared.cuts)
                .remove(&(from.index(), to.index()))
                .is_some()
            {
                from.remove_cut(to.address());
            }
        }
    }

    /// Tells each node that has not booted yet the names of all.
    fn write_hosts(&self) {
        let nodes = lock(&self.nodes);
        let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for node in nodes.iter() {
            let _ = writeln!(hosts, "{} {}", node.address(), node.name());
        }
        for node in nodes.iter().filter(|node| node.boots() == 0) {
            node.write_hosts(&hosts);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let nodes = std::mem::take(&mut *lock(&self.nodes));
        if thread::panicking() {
            for node in &nodes {
                node.print_journal();
            }
        }
        for node in &nodes {
            node.forbid_boot();
        }
        let hub = lock(&self.shared.hub).take();
        if let Some(hub) = hub {
            hub.close();
        }
        if self.shared.state.exists() {
            // The keeper was killed.
            clear(&self.shared.name);
        }
        for node in &nodes {
            node.join();
        }
        let left = self.shared.state.exists() || self.shared.cgroup.exists();
        assert!(
            !left || thread::panicking(),
            "{} is not gone",
            self.shared.name
        );
    }
}

fn boot_side_by_side(nodes: &[Node]) {
    // More boots at a time than processors only make each of them slower, up to its time limit.
    let workers = thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 4);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(node) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    node.boot();
                }
            });
        }
    });
}

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not hold within `timeout`; `what` says what was waited for.
pub fn eventually(timeout: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(
        holds_within(timeout, condition),
        "waited {timeout:?} in vain: {what}"
    );
}

/// Waits until `condition` holds; whether it did within `timeout`.
pub fn holds_within(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// A panic in one thread of a test must not hide in a poisoned lock what the lab has to remove.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Orders the beginning and the end of labs of all processes.
fn lock_machine() -> File {
    let folder = File::open(STATE_ROOT).expect("open /dev/shm");
    folder.lock().expect("lock /dev/shm");
    folder
}

fn raise_inotify_limit() {
    let limit = fs::read_to_string(INOTIFY_LIMIT).expect("read the inotify limit");
    if limit
        .trim()
        .parse::<u32>()
        .expect("the inotify limit is a number")
        < INOTIFY_INSTANCES
    {
        if !Path::new(INOTIFY_SAVED).exists() {
            fs::write(INOTIFY_SAVED, &limit).expect("save the inotify limit");
        }
        fs::write(INOTIFY_LIMIT, INOTIFY_INSTANCES.to_string()).expect("raise the inotify limit");
    }
}

fn keeper_command(state: &Path, cgroup: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER, "keeper"]).args([state, cgroup]);
    command
}

/// Removes labs whose test process and keeper are gone.
fn clear_stale() {
    let machine = lock_machine();
    let stale: Vec<String> = fs::read_dir(STATE_ROOT)
        .expect("list /dev/shm")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(LAB))
        .filter(|name| {
            File::open(Path::new(STATE_ROOT).join(name))
                .is_ok_and(|folder| folder.try_lock().is_ok())
        })
        .collect();
    drop(machine);
    for name in stale {
        clear(&name);
    }
}

/// Removes what there is of the lab `name`: to a keeper without input, its test process has died.
fn clear(name: &str) {
    let cgroup = gate::cgroup_root().expect("a cgroup2 mount").join(name);
    let status = keeper_command(&Path::new(STATE_ROOT).join(name), &cgroup)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    if let Err(error) = status {
        eprintln!("clear {name}: {error}");
    }
}
