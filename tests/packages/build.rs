//! What the tests of packages look at: a draft of a release, and packages of a later revision.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::tree;

/// All that the scripts and tests call, each with its Debian package.
const TOOLS: [(&str, &str); 8] = [
    ("dh", "debhelper"),
    ("dpkg-buildpackage", "dpkg-dev"),
    ("lintian", "lintian"),
    ("rpmbuild", "rpm"),
    ("rpmlint", "rpmlint"),
    ("createrepo_c", "createrepo-c"),
    ("dnf", "dnf"),
    ("git", "git"),
];
/// Packages of later revisions need a date that does not depend on a checkout.
const LATER: &str = "1900000000";

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Which of the tools this machine lacks.
pub fn missing_tools() -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |tool: &str| env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter_map(|(tool, package)| (!is_there(tool)).then_some(*package))
        .collect();
    (!missing.is_empty()).then(|| format!("the Debian packages {}", missing.join(", ")))
}

/// A folder of these tests, empty when they begin.
pub fn folder(name: &str) -> PathBuf {
    static TOP: OnceLock<PathBuf> = OnceLock::new();
    let top = TOP.get_or_init(|| {
        let top = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        if top.exists() {
            fs::remove_dir_all(&top).expect("remove what an earlier test has left");
        }
        fs::create_dir_all(&top).expect("create a folder");
        top
    });
    top.join(name)
}

/// Runs a command that must succeed; what it printed to stdout.
pub fn ok(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

pub fn sh(script: &str, arguments: &[&Path]) -> String {
    ok(Command::new("sh")
        .args(["-euc", script, "sh"])
        .args(arguments))
}

/// The folder with the stripped executables for this machine.
fn executables() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = folder("executables");
        fs::create_dir_all(&folder).expect("create a folder");
        // Each is named as its package.
        for name in crate::PACKAGES {
            // Those of a debug build are not stripped.
            ok(Command::new("strip")
                .arg("-o")
                .arg(folder.join(name))
                .arg(tree::program(name)));
        }
        folder
    })
}

/// The folder with the executables for 64-bit Arm, where they have been built.
pub fn arm_executables() -> Option<PathBuf> {
    let tree = env::var_os("HIRTE_EMULATED_TREE")?;
    // `./test` names the tree also where it does not build it.
    Some(Path::new(&tree).join("usr/lib/hirte-aarch64")).filter(|folder| folder.is_dir())
}

/// What `data/release --draft` makes of the executables that there are.
pub fn draft() -> &'static Path {
    static DRAFT: OnceLock<PathBuf> = OnceLock::new();
    DRAFT.get_or_init(|| {
        let out = folder("draft");
        let mut release = Command::new(root().join("data/release"));
        release.args(["--draft", "--out"]).arg(&out);
        let mut built = vec![("x86_64-unknown-linux-gnu", executables().to_owned())];
        built.extend(arm_executables().map(|folder| ("aarch64-unknown-linux-gnu", folder)));
        for (target, folder) in built {
            release
                .arg("--executables")
                .arg(format!("{target}={}", folder.display()));
        }
        ok(&mut release);
        out
    })
}

/// A copy of the sources, without the repository.
fn copy_of_sources(name: &str) -> PathBuf {
    let copy = folder(name);
    fs::create_dir_all(&copy).expect("create a folder");
    let script = "cd \"$1\" && tar -c --exclude=./target --exclude=./.git . | tar -x -C \"$2\"";
    sh(script, &[root(), &copy]);
    copy
}

/// The packages of the draft for this machine once more, made elsewhere and by somebody else.
pub fn again() -> PathBuf {
    let tree = copy_of_sources("sources of somebody else, 100% the same");
    let out = folder("again");
    let date = ok(Command::new("git")
        .args(["-c", "safe.directory=*", "log", "-1", "--format=%ct"])
        .current_dir(root()));
    for (kind, arch) in [("debs", "amd64"), ("rpms", "x86_64")] {
        let script = "umask 077; exec \"$@\"";
        ok(Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(tree.join("data/packages").join(kind))
            .args(["--arch", arch])
            .arg("--bindir-from")
            .arg(executables())
            .arg("--out")
            .arg(&out)
            .env("SOURCE_DATE_EPOCH", date.trim())
            .env("TZ", "Asia/Tokyo")
            .env("HOME", &out));
    }
    out
}

/// Packages of the second revision, whose configuration files have changed: `debs` or `rpms`.
pub fn later(kind: &str, arguments: &[&str]) -> PathBuf {
    static CHANGED: OnceLock<PathBuf> = OnceLock::new();
    let tree = CHANGED.get_or_init(|| {
        let tree = copy_of_sources("changed");
        let script = "for name in hirte agent; do
                echo '# Of the second revision.' >> \"$1/data/config/$name.conf\"
            done";
        sh(script, &[&tree]);
        tree
    });
    let out = folder(&format!("later-{kind}"));
    ok(Command::new(tree.join("data/packages").join(kind))
        .args(arguments)
        .arg("--bindir-from")
        .arg(executables())
        .arg("--out")
        .arg(&out)
        .env("SOURCE_DATE_EPOCH", LATER));
    out
}

/// The files of a folder that end so, sorted.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("list a folder").path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    assert!(
        !files.is_empty(),
        "nothing in {} ends in {ending}",
        folder.display()
    );
    files
}

pub fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o777 == 0o755)
}
