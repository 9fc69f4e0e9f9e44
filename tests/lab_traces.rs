//! Proves that a lab leaves nothing behind, however its test ends, and that the machine is only read.
//!
//! Where the end is violent, the test runs in a child process: this program again, with the one test `victim`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "lab/mod.rs"]
mod lab;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, process, thread};

use lab::{Lab, eventually};

const SOON: Duration = Duration::from_secs(30);
/// Tells `victim` how to end.
const END: &str = "HIRTE_LAB_VICTIM";
const KINDS: [&str; 6] = ["mnt", "pid", "net", "uts", "ipc", "cgroup"];

/// The namespaces of a process.
fn namespaces(pid: &str) -> Vec<PathBuf> {
    let link = |kind: &&str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    KINDS.iter().filter_map(link).collect()
}

/// All processes of this machine, with what a function finds out about each.
fn processes<T>(look: impl Fn(&str) -> Option<T>) -> Vec<T> {
    fs::read_dir("/proc")
        .expect("list /proc")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| look(&pid))
        .collect()
}

/// The traces of a lab while it stands.
struct Traces {
    state: PathBuf,
    cgroup: PathBuf,
    namespaces: BTreeSet<PathBuf>,
}

impl Traces {
    /// Of the lab whose nodes have these PIDs.
    fn of(nodes: &[u32]) -> Traces {
        let own: BTreeSet<PathBuf> = namespaces("self").into_iter().collect();
        let name = fs::read_to_string(format!("/proc/{}/cgroup", nodes[0])).expect("read a cgroup");
        let name = name
            .split('/')
            .find(|part| part.starts_with("hirte-lab-"))
            .expect("a lab's cgroup")
            .to_owned();
        let mut found: BTreeSet<PathBuf> = nodes
            .iter()
            .flat_map(|pid| namespaces(&pid.to_string()))
            .collect();
        // The hub's as well: its keeper has the lab's name among its arguments.
        found.extend(keepers(&name).iter().flat_map(|pid| namespaces(pid)));
        let namespaces: BTreeSet<PathBuf> = found.difference(&own).cloned().collect();
        assert_eq!(
            namespaces.len(),
            KINDS.len() * nodes.len() + 1,
            "{namespaces:?}"
        );
        let traces = Traces {
            state: Path::new("/dev/shm").join(&name),
            cgroup: cgroup2().join(&name),
            namespaces,
        };
        assert!(traces.state.exists() && traces.cgroup.exists());
        assert!(traces.processes().len() > nodes.len());
        traces
    }

    /// Processes in one of the lab's namespaces.
    fn processes(&self) -> Vec<String> {
        processes(|pid| {
            let inside = namespaces(pid)
                .iter()
                .any(|namespace| self.namespaces.contains(namespace));
            inside.then(|| pid.to_owned())
        })
    }

    fn files_are_gone(&self) -> bool {
        !self.state.exists() && !self.cgroup.exists()
    }

    fn assert_gone(&self) {
        // The kernel may still be at the end of the last processes, which is not ours to wait for.
        eventually(SOON, "the lab's processes end", || {
            self.processes().is_empty()
        });
        eventually(SOON, "the lab's files go", || self.files_are_gone());
        assert_limit_restored();
    }
}

/// Where no lab is left, the machine has its own limit of inotify instances again.
fn assert_limit_restored() {
    let folder = File::open("/dev/shm").expect("open /dev/shm");
    folder.lock().expect("lock /dev/shm");
    let names: Vec<String> = fs::read_dir("/dev/shm")
        .expect("list /dev/shm")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let saved = names
        .iter()
        .any(|name| name == "hirte-lab.max_user_instances");
    assert_eq!(
        saved,
        names.iter().any(|name| name.starts_with("hirte-lab-")),
        "{names:?}"
    );
}

fn keepers(lab: &str) -> Vec<String> {
    processes(|pid| {
        let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let is_keeper =
            arguments.starts_with("sh\0-c\0") && arguments.contains(&format!("/{lab}\0"));
        is_keeper.then(|| pid.to_owned())
    })
}

fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("read /proc/mounts");
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    PathBuf::from(
        line.and_then(|line| line.split(' ').nth(1))
            .expect("cgroup2 is mounted"),
    )
}

/// What a lab must not touch, as text. Traces of labs of other tests are left out.
fn machine() -> String {
    let mut text = String::new();
    for folder in [
        "/etc",
        "/run/systemd/system",
        "/usr/lib/systemd",
        "/var/lib/systemd",
        "/var/lib/dbus",
    ] {
        list(Path::new(folder), &mut text);
    }
    for file in [
        "/proc/self/mountinfo",
        "/proc/sys/kernel/hostname",
        "/proc/net/dev_mcast",
        "/proc/net/route",
    ] {
        text += &fs::read_to_string(file).unwrap_or_default();
    }
    let links: BTreeSet<_> = fs::read_dir("/sys/class/net")
        .expect("list links")
        .map(|entry| entry.expect("a link").file_name())
        .collect();
    let cgroups: BTreeSet<_> = fs::read_dir(cgroup2())
        .expect("list cgroups")
        .map(|entry| entry.expect("a cgroup").file_name())
        .filter(|name| !name.to_string_lossy().starts_with("hirte-lab-"))
        .collect();
    text + &format!("{links:?}\n{cgroups:?}\n")
}

/// Adds each file below a folder, with its size, mode and times.
fn list(folder: &Path, text: &mut String) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let paths: BTreeSet<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    for path in paths {
        let Ok(data) = path.symlink_metadata() else {
            continue;
        };
        let _ = writeln!(
            text,
            "{} {:o} {} {} {}",
            path.display(),
            data.mode(),
            data.size(),
            data.mtime(),
            data.ctime()
        );
        if data.is_dir() {
            list(&path, text);
        }
    }
}

#[test]
fn a_lab_leaves_nothing_and_only_reads_the_machine() {
    if !lab::require() {
        return;
    }
    let before = machine();
    let lab = Lab::new("traces");
    let nodes = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
    let traces = Traces::of(&nodes.each_ref().map(|node| node.pid().expect("it is on")));
    for node in &nodes {
        // A node may do to itself what it likes.
        node.unit(
            "mine.service",
            "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
        );
        node.systemctl(&["enable", "--now", "mine.service"]);
        node.ok(&[
            "sh",
            "-c",
            "rm -r /etc/cron.* /etc/hosts; touch /usr/lib/systemd/mine; uname -n > /etc/hostname",
        ]);
        node.ok(&[
            "sh",
            "-c",
            "ip link add mine type dummy; mkdir /sys/fs/cgroup/mine; mount -t tmpfs none /mnt",
        ]);
    }
    nodes[0].reboot();
    // Handles that outlive the lab keep nothing of it.
    drop(lab);
    assert!(
        nodes
            .iter()
            .all(|node| !node.is_on() && node.pid().is_none())
    );
    traces.assert_gone();
    assert_eq!(machine(), before);
}

#[test]
fn a_node_cannot_reach_through_to_the_machine() {
    if !lab::require() {
        return;
    }
    let lab = Lab::new("reach");
    let [node] = lab.boot(&[("node", "192.168.42.10")]);
    // Each would leave the machine as it is, should it succeed.
    for forbidden in [
        "value=$(cat /proc/sys/kernel/panic); echo $value > /proc/sys/kernel/panic",
        "value=$(cat /sys/kernel/mm/ksm/run); echo $value > /sys/kernel/mm/ksm/run",
        "echo h > /proc/sysrq-trigger",
        "date --set now",
    ] {
        let as_unit = [
            "systemd-run",
            "--quiet",
            "--wait",
            "--pipe",
            "sh",
            "-euc",
            forbidden,
        ];
        for output in [node.sh(forbidden), node.run(&as_unit)] {
            assert!(!output.success(), "{forbidden}: {output}");
        }
    }
    node.ok(&["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
}

/// Runs in a child process only: boots nodes, tells their PIDs, and ends as it is told.
#[test]
#[ignore = "other tests run it as a child process"]
fn victim() {
    let Ok(end) = env::var(END) else { return };
    assert!(lab::require());
    let lab = Lab::new("victim");
    let nodes = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
    let pids = nodes
        .each_ref()
        .map(|node| node.pid().expect("it is on").to_string());
    println!("\nnodes {}", pids.join(" "));
    match end.as_str() {
        // Only once it was looked at.
        "panic" => {
            std::io::stdin().read_to_end(&mut Vec::new()).expect("read");
            panic!("as it should");
        }
        "exit" => {
            std::io::stdin().read_to_end(&mut Vec::new()).expect("read");
            process::exit(3);
        }
        _ => loop {
            thread::park();
        },
    }
}

/// Starts this program with one test only.
fn child_test(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("the test program"));
    command.args(["--exact", test, "--include-ignored", "--nocapture"]);
    command
}

/// A child process with a lab of two nodes.
fn start_victim(end: &str) -> (Child, Traces) {
    let mut child = child_test("victim")
        .env(END, end)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start a child");
    let output = BufReader::new(child.stdout.as_mut().expect("its output is piped"));
    let line = output
        .lines()
        .map(|line| line.expect("read the child's output"))
        .find(|line| line.starts_with("nodes "));
    let line = line.expect("the child tells its nodes");
    let pids: Vec<u32> = line
        .split(' ')
        .skip(1)
        .map(|pid| pid.parse().expect("a PID"))
        .collect();
    (child, Traces::of(&pids))
}

#[test]
fn a_test_that_panics_leaves_nothing_but_its_journals() {
    if !lab::require() {
        return;
    }
    let (child, traces) = start_victim("panic");
    let output = child.wait_with_output().expect("wait for the child");
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("as it should"), "{message}");
    assert!(
        message.contains("journal of laptop") && message.contains("Startup finished"),
        "{message}"
    );
    traces.assert_gone();
}

#[test]
fn a_process_that_exits_without_drop_leaves_nothing() {
    if !lab::require() {
        return;
    }
    let (child, traces) = start_victim("exit");
    let output = child.wait_with_output().expect("wait for the child");
    assert_eq!(output.status.code(), Some(3));
    traces.assert_gone();
}

#[test]
fn a_killed_process_leaves_nothing() {
    if !lab::require() {
        return;
    }
    let (mut child, traces) = start_victim("killed");
    child.kill().expect("kill the child");
    child.wait().expect("wait for the child");
    traces.assert_gone();
}

#[test]
fn what_a_killed_process_and_keeper_leave_is_cleared_by_the_next_lab() {
    if !lab::require() {
        return;
    }
    let (mut child, traces) = start_victim("killed");
    // The keeper first, while the test process lives: the lab is in use, nobody may clear it.
    let name = traces
        .state
        .file_name()
        .expect("a name")
        .to_str()
        .expect("a plain name");
    for pid in keepers(name) {
        assert!(
            Command::new("kill")
                .args(["-s", "KILL", &pid])
                .status()
                .expect("kill the keeper")
                .success()
        );
    }
    drop(Lab::new("bystander"));
    assert!(traces.state.exists());

    child.kill().expect("kill the child");
    child.wait().expect("wait for the child");
    eventually(SOON, "the nodes end without a keeper", || {
        traces.processes().is_empty()
    });
    drop(Lab::new("next"));
    traces.assert_gone();
}

/// Runs in a child process only.
#[test]
#[ignore = "another test runs it as a child process"]
fn gate() {
    println!("\nthe lab can be had: {}", lab::require());
}

#[test]
fn a_left_out_test_says_why_and_fails_in_ci() {
    let output = child_test("gate")
        .env("PATH", "/nowhere")
        .env_remove("CI")
        .output()
        .expect("run a child");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("the lab can be had: false"), "{text}");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("left out"))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(
        lines[0].contains("gate needs nodes with systemd: "),
        "{text}"
    );

    let output = child_test("gate")
        .env("PATH", "/nowhere")
        .env("CI", "true")
        .output()
        .expect("run a child");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("left out: gate needs"));
}
