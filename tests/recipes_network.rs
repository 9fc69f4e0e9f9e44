//! The recipes of the second guide that are about the network, with the real programs on real
//! nodes: firewalld, TLS by stunnel, high availability by keepalived. docs/recipes tells each.
//!
//! Each test has a lab of its own, so that they run side by side. What a recipe takes in time is
//! printed as measured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod lab;
#[path = "guide/text.rs"]
mod text;
#[path = "support/tree.rs"]
mod tree;

#[path = "recipes/encryption.rs"]
mod encryption;
#[path = "recipes/firewall.rs"]
mod firewall;
#[path = "recipes/high_availability.rs"]
mod high_availability;

use std::{collections::BTreeSet, fs, io::Write as _, path::Path, time::Duration};

use lab::{Lab, Node, eventually};

/// For what has no promised time: systemd starts services, attempts to connect fail first.
const PATIENCE: Duration = Duration::from_secs(30);
const PRIMARY: (&str, &str) = ("primary", "192.168.1.10");
const AGENT: (&str, &str) = ("agent", "192.168.1.20");
const QUICK: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n";

/// Whether there can be nodes, with these programs in them.
fn require(programs: &[&str]) -> bool {
    if !lab::require() {
        return false;
    }
    let folders = ["/usr/sbin", "/usr/bin"].map(Path::new);
    let is_there = |program: &&&str| folders.iter().any(|folder| folder.join(program).exists());
    let missing = programs.iter().find(|program| !is_there(program));
    if let Some(program) = missing {
        lab::leave_out(&format!("{program}, which ./test installs"));
    }
    missing.is_none()
}

fn new_lab(name: &str) -> Lab {
    Lab::builder(name).layer(tree::install_tree()).build()
}

/// The guide's two nodes with its configuration, before anything runs.
fn boot_guide(lab: &Lab) -> [Node; 2] {
    let nodes = [PRIMARY, AGENT].map(|(name, address)| lab.node(name, address));
    let agents = text::files("second", "/etc/hirte/agent.conf");
    assert_eq!(agents.len(), 2, "one for each node");
    for (node, agent) in nodes.iter().zip(agents) {
        node.write("/etc/hirte/agent.conf", agent);
        node.write("/etc/systemd/system/quick.service", QUICK);
    }
    write_guide_file(&nodes[0], "/etc/hirte/hirte.conf");
    lab.boot_all();
    nodes
}

/// A document of docs/recipes, whose blocks are files and commands to try. The word behind the
/// language of a block is its mark: the path of a file, or who runs the commands.
struct Recipe {
    /// Mark and text of each block.
    blocks: Vec<(String, String)>,
}

impl Recipe {
    /// Reads a document, which must have blocks with these marks and no others: what a test does
    /// not know it does not try.
    fn open(name: &str, marks: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes");
        let document = fs::read_to_string(folder.join(format!("{name}.md"))).unwrap();
        let mut blocks = Vec::new();
        let mut lines = document.lines();
        while let Some(line) = lines.next() {
            let Some(info) = line.strip_prefix("```") else {
                continue;
            };
            let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            if let Some((_, mark)) = info.split_once(' ') {
                blocks.push((mark.to_owned(), text.join("\n") + "\n"));
            }
        }
        let found: BTreeSet<_> = blocks.iter().map(|block| &*block.0).collect();
        assert_eq!(found, marks.iter().copied().collect());
        Self { blocks }
    }

    /// The texts of the blocks with this mark, in their order.
    fn blocks(&self, mark: &str) -> Vec<&str> {
        let marked = self.blocks.iter().filter(|block| block.0 == mark);
        marked.map(|block| &*block.1).collect()
    }

    /// The text of the only block with this mark.
    fn block(&self, mark: &str) -> &str {
        let blocks = self.blocks(mark);
        assert_eq!(blocks.len(), 1, "blocks marked {mark}");
        blocks[0]
    }

    /// Writes a file of which the document shows one content.
    fn write(&self, node: &Node, path: &str) {
        node.write(path, self.block(path));
    }
}

fn write_guide_file(node: &Node, path: &str) {
    node.write(path, text::file("second", path));
}

/// Runs the command of the guide that begins so, as it stands there, and returns what it printed.
/// The shell of a node is root's: `sudo` is left out.
fn run_guide(node: &Node, beginning: &str) -> String {
    let guide = text::text("second");
    let mut lines = guide
        .lines()
        .skip_while(|line| !line.starts_with(beginning));
    let mut command = lines.next().expect("a command of the guide").to_owned();
    while command.ends_with('\\') {
        command = format!("{command}\n{}", lines.next().expect("another line"));
    }
    sh(node, &command.replace("sudo ", ""))
}

/// Runs a shell script that must succeed and returns what it printed.
fn sh(node: &Node, script: &str) -> String {
    let output = node.sh(script);
    assert!(output.success(), "[{}]# {script}\n{output}", node.name());
    output.stdout
}

/// What `hirtectl list-nodes` tells of a node: `online`, `offline`, or why it can not tell.
fn state_of(manager: &Node, node: &str) -> String {
    let listed = manager.run(&["hirtectl", "list-nodes"]);
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut rows = listed.stdout.lines().map(words);
    rows.find(|row| row.first().is_some_and(|name| name == node))
        .and_then(|row| row.get(1).cloned())
        .unwrap_or(listed.stderr)
}

fn wait_state(manager: &Node, node: &str, state: &str) {
    let mut seen = String::new();
    let what = format!("{node} is {state}");
    let is_so = lab::holds_within(PATIENCE, || {
        seen = state_of(manager, node);
        seen == state
    });
    assert!(
        is_so,
        "{what} in vain: {seen}\n{}",
        manager.journal("hirte")
    );
}

/// Starts a unit of a node through hirtectl and stops it again.
fn assert_controls(manager: &Node, node: &Node) {
    for (command, state) in [("start", "active"), ("stop", "inactive")] {
        manager.ok(&["hirtectl", command, node.name(), "quick.service"]);
        let is = node.run(&["systemctl", "is-active", "quick.service"]);
        assert_eq!(is.stdout.trim(), state, "{is}");
    }
}

/// Starts the agent anew and waits until its first attempt to reach the manager has failed; the
/// message of that.
fn failed_attempt(node: &Node) -> String {
    const FAILED: &str = "Initial manager connection failed, retrying: ";
    let journal = || node.journal("hirte-agent");
    let before = journal().len();
    node.systemctl(&["restart", "hirte-agent"]);
    let mut message = String::new();
    eventually(PATIENCE, "an attempt to connect fails", || {
        let journal = journal();
        let found = journal[before..].split_once(FAILED);
        message = found.map_or(String::new(), |(_, rest)| {
            rest.lines().next().unwrap_or_default().to_owned()
        });
        !message.is_empty()
    });
    message
}

/// Prints past the harness, which keeps what passing tests print to itself.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
