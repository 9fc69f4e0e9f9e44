//! The root file system of nodes: an overlay of, from the top, what the node has written, the installed layers, a
//! skeleton that hides what the machine itself has set up, and the root tree.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, setxattr};

/// Folders whose content of the machine nodes do not see: its own units, settings and installation of hirte.
const HIDDEN: [&str; 3] = ["etc/systemd", "etc/init.d", "etc/hirte"];

/// Units without use in a node, or that would touch the machine, or that only make the boot slower.
const MASKED: [&str; 39] = [
    "console-getty.service",
    "cryptsetup.target",
    "dev-hugepages.mount",
    "getty-static.service",
    "getty.target",
    "integritysetup.target",
    "polkit.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-initctl.socket",
    "systemd-logind.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-network-generator.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-random-seed.service",
    "systemd-repart.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-udev-settle.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "systemd-update-done.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "timers.target",
    "tmp.mount",
    "veritysetup.target",
];

/// Settings of systemd in nodes: what hangs is killed soon, and journals stay in memory, complete.
const SETTINGS: [(&str, &str); 2] = [
    (
        "etc/systemd/system.conf.d/lab.conf",
        "[Manager]\nDefaultTimeoutStopSec=5s\nShowStatus=no\n",
    ),
    (
        "etc/systemd/journald.conf.d/lab.conf",
        "[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\nRateLimitBurst=0\nReadKMsg=no\nAudit=no\n",
    ),
];

/// Builds what is below the nodes' own folders; the answer is the value of the overlay's option `lowerdir`.
pub(super) fn build(state: &Path, root: &Path, layers: &[PathBuf], unmasked: &[String]) -> String {
    let skeleton = state.join("skeleton");
    build_skeleton(&skeleton, unmasked);

    let mut above = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let copy = state.join(format!("layer{number}"));
        copy_layer(layer, &copy, root);
        above.insert(0, copy);
    }
    make_users(state, &skeleton, root, &above);
    above.push(skeleton);
    above.push(root.to_owned());
    lowerdir(&above)
}

/// The options of the overlay of one node.
pub(super) fn overlay(lower: &str, node: &Path) -> String {
    format!(
        "lowerdir={lower},upperdir={0}/upper,workdir={0}/work",
        node.display()
    )
}

fn lowerdir(folders: &[PathBuf]) -> String {
    let names: Vec<&str> = folders
        .iter()
        .map(|folder| folder.to_str().expect("a UTF-8 path"))
        .collect();
    for name in &names {
        assert!(
            !name.contains([':', ',', '\\']),
            "{name}: mount(8) cannot take this path for an overlay"
        );
    }
    names.join(":")
}

fn build_skeleton(skeleton: &Path, unmasked: &[String]) {
    for folder in HIDDEN {
        let folder = skeleton.join(folder);
        fs::create_dir_all(&folder).expect("create a folder of the skeleton");
        setxattr(&folder, "trusted.overlay.opaque", b"y", XattrFlags::empty())
            .expect("make a folder opaque");
    }
    let units = skeleton.join("etc/systemd/system");
    fs::create_dir(&units).expect("create a folder of the skeleton");
    for unit in MASKED
        .iter()
        .filter(|unit| !unmasked.iter().any(|other| other == **unit))
    {
        symlink("/dev/null", units.join(unit)).expect("mask a unit");
    }
    for (path, content) in SETTINGS
        .into_iter()
        .chain([("etc/fstab", ""), ("etc/resolv.conf", "")])
    {
        let path = skeleton.join(path);
        fs::create_dir_all(path.parent().expect("a file has a folder"))
            .expect("create a folder of the skeleton");
        fs::write(&path, content).expect("write a file of the skeleton");
    }
}

fn copy_layer(layer: &Path, copy: &Path, root: &Path) {
    for entry in
        fs::read_dir(layer).unwrap_or_else(|error| panic!("layer {}: {error}", layer.display()))
    {
        let name = entry.expect("list a layer").file_name();
        let in_root = root.join(&name);
        assert!(
            !in_root.is_symlink() || layer.join(&name).is_symlink(),
            "layer {}: its folder {} would hide the link {}",
            layer.display(),
            name.display(),
            in_root.display()
        );
    }
    fs::create_dir(copy).expect("create the copy of a layer");
    run(Command::new("cp")
        .args(["-a", "--"])
        .arg(layer.join("."))
        .arg(copy));
}

/// Makes the users and groups of the layers' `sysusers.d`, once for all nodes: the skeleton gets the changed files.
/// Nodes do not run systemd-sysusers, which would take a fifth of their boot.
fn make_users(state: &Path, skeleton: &Path, root: &Path, layers: &[PathBuf]) {
    let files: Vec<_> = layers
        .iter()
        .filter_map(|layer| fs::read_dir(layer.join("usr/lib/sysusers.d")).ok())
        .flatten()
        .map(|entry| entry.expect("list sysusers.d").file_name())
        .collect();
    if files.is_empty() {
        return;
    }
    let (work, mount) = (state.join("users-work"), state.join("users-root"));
    for folder in [&work, &mount] {
        fs::create_dir(folder).expect("create a folder for systemd-sysusers");
    }
    let mut lower = layers.to_vec();
    lower.push(root.to_owned());
    let overlay = format!(
        "lowerdir={},upperdir={},workdir={}",
        lowerdir(&lower),
        skeleton.display(),
        work.display()
    );
    let script = r#"mount -t overlay -o "$1" overlay "$2"; r=$2; shift 2; exec systemd-sysusers --root="$r" "$@""#;
    run(Command::new("unshare")
        .args(["--mount", "sh", "-euc", script, "sh", &overlay])
        .arg(&mount)
        .args(&files));
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}: {message}",
        output.status
    );
}
