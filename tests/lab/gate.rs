//! Whether this machine can have a lab, in one place.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

/// What the lab calls, with the Debian package of each.
const PROGRAMS: [(&str, &str); 9] = [
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("flock", "util-linux"),
    ("mount", "mount"),
    ("busctl", "systemd"),
    ("systemd-sysusers", "systemd"),
    ("dbus-daemon", "dbus"),
];

/// Whether a test that needs the lab can run here. If not, says in one line what is left out and why.
///
/// Where the environment has `CI` set, tests must not be left out.
///
/// # Panics
/// If the lab cannot be had and `CI` is set.
#[must_use]
pub fn require() -> bool {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let Some(reason) = REASON.get_or_init(obstacle) else {
        return true;
    };
    leave_out(&format!("nodes with systemd: {reason}"));
    false
}

/// Says in one line that the test of this thread is left out, because it needs something that is
/// not there.
///
/// # Panics
/// If `CI` is set: tests must not be left out there.
pub fn leave_out(needed: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("left out: {test} needs {needed}");
    assert!(
        env::var_os("CI").is_none_or(|ci| ci.is_empty() || ci == "false"),
        "{line}"
    );
    // Not through the test harness, which would swallow the line of a test that passes.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}

/// What keeps us from having a lab on this machine.
fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not run as root".to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    for (program, package) in PROGRAMS {
        if !env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
            return Some(format!("no {program} in PATH (package {package})"));
        }
    }
    if cgroup_root().is_none() {
        return Some("cgroup2 is not mounted".to_owned());
    }
    let namespaces = Command::new("unshare")
        .args([
            "--mount", "--uts", "--ipc", "--net", "--cgroup", "--pid", "--fork", "true",
        ])
        .stdout(Stdio::null())
        .output();
    match namespaces {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "no namespaces: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// Where cgroup2 is mounted; on hybrid machines not at `/sys/fs/cgroup`.
pub(super) fn cgroup_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, folder, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(folder))
    })
}
