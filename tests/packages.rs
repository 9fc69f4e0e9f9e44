//! The packages for Debian and for Fedora and its kin, and the other files of a release: what is in
//! them, and what they do on nodes with systemd.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "packages/build.rs"]
mod build;
#[path = "lab/mod.rs"]
mod lab;
#[path = "packages/nodes.rs"]
mod nodes;
#[path = "support/pip.rs"]
mod pip;
#[path = "support/tree.rs"]
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use build::{files, ok, root, sh};
use pip::PYTHON;

const PACKAGES: [&str; 5] = [
    "hirte",
    "hirte-agent",
    "hirtectl",
    "hirtectl-top",
    "hirte-dashboard",
];
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where the C library for Arm lies on Debian, for qemu.
const ARM_LIBRARIES: &str = "/usr/aarch64-linux-gnu";
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-musl"];

/// Whether packages can be built here; if not, says what is left out.
fn can_build() -> bool {
    let missing = build::missing_tools();
    if let Some(missing) = &missing {
        lab::leave_out(missing);
    }
    missing.is_none()
}

fn deb(folder: &Path, package: &str, revision: u32, arch: &str) -> PathBuf {
    folder.join(format!("{package}_{VERSION}-{revision}_{arch}.deb"))
}

fn rpm(folder: &Path, package: &str, release: u32, arch: &str) -> PathBuf {
    folder.join(format!("{package}-{VERSION}-{release}.{arch}.rpm"))
}

fn text(paths: &[PathBuf]) -> Vec<&str> {
    paths.iter().map(|path| path.to_str().unwrap()).collect()
}

#[test]
fn a_draft_has_all_files_of_a_release() {
    if !can_build() {
        return;
    }
    let draft = build::draft();
    sh(
        "cd \"$1\" && sha256sum --check --strict --quiet SHA256SUMS",
        &[draft],
    );
    let sums = fs::read_to_string(draft.join("SHA256SUMS")).unwrap();
    assert_eq!(
        sums.lines().count() + 1,
        fs::read_dir(draft).unwrap().count()
    );
    let mut expected = vec![format!("hirte-{VERSION}.tar.gz"), "CHANGELOG.md".to_owned()];
    expected.extend(["LICENSE-MIT", "LICENSE-APACHE"].map(str::to_owned));
    for ending in [".tar.gz", ".cdx.json", "-THIRD-PARTY-LICENSES.txt"] {
        expected.push(format!("hirte-{VERSION}-{}{ending}", TARGETS[0]));
    }
    for name in expected {
        assert!(
            sums.contains(&format!("  {name}\n")),
            "no {name} in\n{sums}"
        );
    }
    let tree = build::folder("unpacked-tree");
    fs::create_dir_all(&tree).unwrap();
    let archive = draft.join(format!("hirte-{VERSION}-{}.tar.gz", TARGETS[0]));
    sh("tar -x -C \"$1\" -f \"$2\"", &[&tree, &archive]);
    for program in PACKAGES {
        assert!(
            build::is_executable(&tree.join("usr/bin").join(program)),
            "{program}"
        );
    }
    for file in [
        "doc/hirte/hirte.cdx.json",
        "licenses/hirte/THIRD-PARTY-LICENSES.txt",
    ] {
        assert!(tree.join("usr/share").join(file).is_file(), "{file}");
    }
}

/// A folder that has been begun is not taken for a release, nor is the next try refused for it.
#[test]
fn a_release_that_fails_leaves_nothing() {
    if !can_build() {
        return;
    }
    let parent = build::folder("failed");
    let nothing = build::folder("no-executables");
    fs::create_dir_all(&nothing).unwrap();
    let release = Command::new(root().join("data/release"))
        .args(["--draft", "--out"])
        .arg(parent.join("draft"))
        .arg("--executables")
        .arg(format!("{}={}", TARGETS[0], nothing.display()))
        .output()
        .unwrap();
    assert_eq!(release.status.code(), Some(1), "{release:?}");
    let message = String::from_utf8(release.stderr).unwrap();
    assert!(message.contains("there is no executable"), "{message}");
    assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
}

/// Whoever makes packages of the same executables has the same bytes: in a folder of another name, with
/// other settings.
#[test]
fn packages_are_reproducible() {
    if !can_build() {
        return;
    }
    let out = build::again();
    let draft = build::draft();
    for (package, file) in PACKAGES.iter().flat_map(|package| {
        let name = |path: PathBuf| path.file_name().unwrap().to_owned();
        let deb = name(deb(draft, package, 1, "amd64"));
        let rpm = name(rpm(draft, package, 1, "x86_64"));
        [(package, deb), (package, rpm)]
    }) {
        let [first, second] = [draft, &out].map(|folder| fs::read(folder.join(&file)).unwrap());
        assert!(first == second, "{package}: two of {}", file.display());
    }
}

/// A release cannot be made by mistake of something else.
#[test]
fn a_release_is_a_commit_whose_version_is_in_the_changelog() {
    if !can_build() {
        return;
    }
    let checkout = build::folder("checkout");
    let script = "mkdir \"$2\" && cd \"$2\" && cp -R \"$1/data\" \"$1/Cargo.toml\" .
        printf '## [Unreleased]\\n' > CHANGELOG.md
        git init -q && git add . && git -c user.name=a -c user.email=a@b.invalid commit -qm a";
    sh(script, &[root(), &checkout]);
    let refusal = || {
        let release = Command::new(checkout.join("data/release"))
            .args(["--without-tests", "--out"])
            .arg(build::folder("refused"))
            .output()
            .unwrap();
        assert_eq!(release.status.code(), Some(1));
        String::from_utf8(release.stderr).unwrap()
    };
    let no_version = format!("CHANGELOG.md has no '## [{VERSION}] - DATE'\n");
    assert_eq!(refusal(), format!("data/release: {no_version}"));
    fs::write(
        checkout.join("CHANGELOG.md"),
        format!("## [{VERSION}] - 2026-01-01\n"),
    )
    .unwrap();
    let changed = "data/release: the tree has changes that are not committed\n";
    assert_eq!(refusal(), changed);
    assert!(!build::folder("refused").exists());
}

/// Each finding is corrected, or explained in lintian-overrides and rpmlint.toml.
#[test]
fn lintian_and_rpmlint_find_nothing() {
    if !can_build() {
        return;
    }
    let draft = build::draft();
    let lintian = ok(Command::new("lintian")
        .args([
            "--allow-root",
            "--fail-on",
            "error,warning",
            "--tag-display-limit",
            "0",
        ])
        .args(files(draft, ".deb")));
    assert_eq!(lintian, "");
    let rpmlint = ok(Command::new("rpmlint")
        .arg("--config")
        .arg(root().join("data/packages/rpm/rpmlint.toml"))
        .args(files(draft, ".rpm")));
    assert!(rpmlint.contains("; 0 errors, 0 warnings"), "{rpmlint}");
    for package in PACKAGES {
        let files = query_rpm(&rpm(draft, package, 1, "x86_64"), "[%{FILENAMES}\n]");
        let page = format!("/usr/share/man/man1/{package}.1.gz\n");
        assert!(files.contains(&page), "{files}");
    }
}

#[test]
fn bills_of_materials_follow_the_schema_and_are_deterministic() {
    let libraries = match pip::libraries("tests/packages/requirements.txt") {
        Ok(libraries) => libraries,
        Err(missing) => return lab::leave_out(&missing),
    };
    let bill = |target: &str, name: &str| {
        let out = build::folder(name);
        ok(Command::new(root().join("data/packages/bill-of-materials"))
            .args(["--target", target, "--out"])
            .arg(&out));
        out
    };
    let mut bills =
        TARGETS.map(|target| bill(target, &format!("bill-{target}")).join("hirte.cdx.json"));
    let again = bill(TARGETS[0], "bill-again");
    sh(
        "diff -r \"$1\" \"$2\"",
        &[bills[0].parent().unwrap(), &again],
    );

    let validate = |bills: &[PathBuf]| {
        Command::new(PYTHON)
            .arg(root().join("tests/packages/validate-bill"))
            .args(bills)
            .env("PYTHONPATH", &libraries)
            .output()
            .unwrap()
    };
    let verdict = validate(&bills);
    assert!(verdict.status.success(), "{verdict:?}");
    let content = fs::read_to_string(&bills[0]).unwrap();
    let broken = content.replacen("\"SHA-256\"", "\"SHA-2\"", 1);
    assert_ne!(content, broken);
    bills[0] = again.join("broken.json");
    fs::write(&bills[0], broken).unwrap();
    assert_eq!(validate(&bills[..1]).status.code(), Some(1));
}

/// The bill of a target, as `CycloneDX` and as text.
fn bill_of_materials(target: &str, name: &str) -> (serde_json::Value, String) {
    let out = build::folder(name);
    ok(Command::new(root().join("data/packages/bill-of-materials"))
        .args(["--target", target, "--out"])
        .arg(&out));
    let bill = fs::read_to_string(out.join("hirte.cdx.json")).unwrap();
    let licences = fs::read_to_string(out.join("THIRD-PARTY-LICENSES.txt")).unwrap();
    (serde_json::from_str(&bill).unwrap(), licences)
}

/// The crates that cargo compiles for a target are in the bill, no others, each with the text of its licence.
#[test]
fn the_bill_names_what_cargo_builds() {
    let (bill, licences) = bill_of_materials(TARGETS[0], "bill-complete");
    let tree = ok(Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--all-features", "--edges", "normal"])
        .args(["--prefix", "none"])
        .args(["--format", "{p}", "--target", TARGETS[0]])
        .current_dir(root()));
    let compiled: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter(|line| !line.starts_with("hirte "))
        .map(|line| {
            let (name, rest) = line.split_once(" v").unwrap();
            (name, rest.split(' ').next().unwrap())
        })
        .collect();
    assert!(compiled.len() > 10, "{tree}");
    let components = bill["components"].as_array().unwrap();
    let crates = components.iter().filter(|one| one["purl"].is_string());
    let named: BTreeSet<(&str, &str)> = crates
        .map(|component| {
            let field = |name: &str| component[name].as_str().unwrap();
            let (name, version) = (field("name"), field("version"));
            assert_eq!(component["hashes"][0]["alg"], "SHA-256", "{component}");
            assert!(
                licences.contains(&format!("\n{name} {version} (")),
                "{component}"
            );
            (name, version)
        })
        .collect();
    assert_eq!(named, compiled);
}

/// An expression of SPDX as terms that all hold, each a choice; enough for those of our crates.
fn choices(expression: &str) -> Vec<BTreeSet<&str>> {
    let terms: Vec<&str> = expression.split(" AND ").collect();
    let is_one = |term: &&str| !term.contains(" OR ") || term.starts_with('(');
    assert!(terms.len() == 1 || terms.iter().all(is_one), "{expression}");
    let bare = terms.into_iter().map(|term| term.trim_matches(['(', ')']));
    bare.map(|term| term.split(" OR ").collect()).collect()
}

/// The tag of the packages has every licence that a part of the executables leaves no choice about, no
/// others, and one of each choice.
#[test]
fn the_licence_of_packages_is_that_of_what_is_linked() {
    let (bill, _) = bill_of_materials(TARGETS[0], "bill-licences");
    let components = bill["components"].as_array().unwrap();
    let expressions: Vec<&str> = components
        .iter()
        .map(|one| one["licenses"][0]["expression"].as_str().unwrap())
        .collect();
    assert!(expressions.len() > 10);
    let (single, several): (Vec<_>, Vec<_>) = expressions
        .into_iter()
        .flat_map(choices)
        .partition(|choice| choice.len() == 1);
    let needed: BTreeSet<&str> = single.into_iter().flatten().collect();
    for choice in several {
        assert!(!choice.is_disjoint(&needed), "{choice:?} and {needed:?}");
    }
    let own = format!("({})", env!("CARGO_PKG_LICENSE"));
    let parts = [vec![own.as_str()], needed.into_iter().collect()].concat();
    let spec = fs::read_to_string(root().join("data/packages/rpm/hirte.spec")).unwrap();
    let tags: Vec<&str> = spec
        .lines()
        .filter_map(|line| line.strip_prefix("License:"))
        .map(str::trim)
        .collect();
    assert_eq!(tags, [parts.join(" AND ")]);
}

/// The table of what is in a package, sizes and dates left out: path to mode, owner, link.
fn content_of_deb(file: &Path) -> BTreeMap<String, String> {
    let list = ok(Command::new("dpkg-deb").arg("--contents").arg(file));
    list.lines()
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let what = [&fields[..2], &fields[6..]].concat().join(" ");
            (fields[5].to_owned(), what)
        })
        .collect()
}

fn query_rpm(file: &Path, format: &str) -> String {
    ok(Command::new("rpm").args(["-qp", "--qf", format]).arg(file))
}

/// `e_machine` of an ELF header.
fn machine(executable: &Path) -> u16 {
    let header = fs::read(executable).unwrap();
    u16::from_le_bytes([header[18], header[19]])
}

const AARCH64: u16 = 183;

/// Packages for Arm cannot be installed on nodes of this machine: they are held against the others.
#[test]
fn packages_for_arm_are_those_for_x86_64_with_other_executables() {
    if !can_build() {
        return;
    }
    if build::arm_executables().is_none() {
        return lab::leave_out("executables for 64-bit Arm: tests/cross/run makes them");
    }
    let draft = build::draft();
    for package in PACKAGES {
        let [amd, arm] = ["amd64", "arm64"].map(|arch| deb(draft, package, 1, arch));
        let content = content_of_deb(&amd);
        assert!(content.len() > 5, "{content:?}");
        assert_eq!(content, content_of_deb(&arm));
        let control = |file: &Path| {
            let text = ok(Command::new("dpkg-deb").arg("--field").arg(file));
            let lines = text.lines().map(str::to_owned);
            lines
                .filter(|line| !line.starts_with("Installed-Size"))
                .collect::<Vec<_>>()
        };
        let expected: Vec<String> = control(&amd)
            .into_iter()
            .map(|line| line.replace("Architecture: amd64", "Architecture: arm64"))
            .collect();
        assert_eq!(control(&arm), expected);

        let unpacked = build::folder(&format!("arm64-{package}"));
        ok(Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&arm)
            .arg(&unpacked));
        let executable = unpacked.join("usr/bin").join(package);
        assert_eq!(machine(&executable), AARCH64);
        let version = ok(Command::new("qemu-aarch64-static")
            .args(["-L", ARM_LIBRARIES])
            .arg(&executable)
            .arg("--version"));
        assert_eq!(version.trim(), VERSION);

        let [amd, arm] = ["x86_64", "aarch64"].map(|arch| rpm(draft, package, 1, arch));
        let format = "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} \
                      %{FILELINKTOS} %{FILEFLAGS:fflags}\n]";
        assert_eq!(query_rpm(&amd, format), query_rpm(&arm, format));
        assert_eq!(query_rpm(&arm, "%{ARCH}"), "aarch64");
        let general = |file: &Path| {
            let requires = query_rpm(file, "[%{REQUIRES} %{REQUIREVERSION}\n]");
            let lines = requires.lines().filter(|line| !line.contains(".so."));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(general(&amd), general(&arm));
    }
}

/// Installed by apt, which knows dependencies; upgraded, removed and purged.
#[test]
fn debian_packages_on_a_node() {
    if !lab::require() || !can_build() {
        return;
    }
    let draft = build::draft();
    let later = build::later("debs", &["--arch", "amd64", "--revision", "2"]);
    let (_lab, node) = nodes::node("debs", &[draft, &later]);
    let before = nodes::traces(&node);
    let install = |folder: &Path, revision: u32| {
        let debs = PACKAGES.map(|package| deb(folder, package, revision, "amd64"));
        let mut command = vec![
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "install",
        ];
        command.extend(["--yes", "--no-install-recommends"]);
        command.extend(["-o", "APT::Sandbox::User=root"]);
        // What an administrator answers who has changed a file.
        command.extend(["-o", "Dpkg::Options::=--force-confold"]);
        let debs = text(&debs).join(" ");
        command.extend(debs.split(' '));
        node.ok(&command)
    };
    install(draft, 1);
    nodes::is_idle(&node);
    assert_eq!(
        node.ok(&[&["dpkg", "--verify"][..], &PACKAGES].concat()),
        ""
    );
    for (package, file) in [("hirte", "hirte"), ("hirte-agent", "agent")] {
        let conffiles = node.ok(&["dpkg-query", "--showformat=${Conffiles}", "--show", package]);
        assert!(
            conffiles
                .trim()
                .starts_with(&format!("/etc/hirte/{file}.conf ")),
            "{conffiles}"
        );
    }

    let running = nodes::start(&node);
    install(&later, 2);
    nodes::is_upgraded(&node, &running);
    let offered = node.read("/etc/hirte/hirte.conf.dpkg-dist");
    assert!(offered.contains("# Of the second revision."), "{offered}");

    node.ok(&[&["dpkg", "--remove"][..], &PACKAGES].concat());
    for unit in nodes::UNITS {
        assert_ne!(nodes::state(&node, "is-active", unit), "active", "{unit}");
    }
    assert_eq!(node.read("/etc/hirte/hirte.conf"), nodes::MANAGER);
    node.ok(&[&["dpkg", "--purge"][..], &PACKAGES].concat());
    nodes::is_gone(&node, &before, &[]);
}

/// What docs/packages.md has dnf told about a folder with packages.
fn documented_options_of_dnf(folder: &Path) -> Vec<String> {
    let document = fs::read_to_string(root().join("docs/packages.md")).unwrap();
    let mut lines = document.lines();
    let command = lines.find(|line| line.starts_with("    dnf --repofrompath=local,"));
    let words = command.unwrap().split_whitespace().skip(1);
    let options = words.take_while(|word| *word != "install");
    options
        .map(|option| option.replace("/path/of/FOLDER", folder.to_str().unwrap()))
        .collect()
}

/// Installed by dnf from a folder, with scriptlets, into the root of a node of its own. Its base is
/// Debian's: `base.spec` names what it has as Fedora and its kin would.
#[test]
fn rpm_packages_on_a_node() {
    if !lab::require() || !can_build() {
        return;
    }
    let draft = build::draft();
    let later = build::later("rpms", &["--arch", "x86_64", "--release", "2"]);
    let repository = build::folder("repository");
    let script = "mkdir \"$1\"
        rpmbuild -bb --target x86_64-linux --define \"_topdir $1/build\" --define \"_rpmdir $1\" \"$2\"
        cp \"$3\"/*.x86_64.rpm \"$1\"
        createrepo_c --quiet \"$1\"";
    let base = root().join("tests/packages/base.spec");
    sh(script, &[&repository, &base, draft]);
    sh("createrepo_c --quiet \"$1\"", &[&later]);

    let (_lab, node) = nodes::node("rpms", &[&repository, &later]);
    // Debian's rpm keeps its database in the home of who calls it.
    node.write("/etc/rpm/macros", "%_dbpath /usr/lib/sysimage/rpm\n");
    let before = nodes::traces(&node);
    let dnf = |repository: &Path, arguments: &[&str]| {
        let options = documented_options_of_dnf(repository);
        let mut command = vec!["dnf", "--assumeyes", "--releasever=9", "--noplugins"];
        command.extend(["--setopt=reposdir=/nonexistent", "--refresh"]);
        command.extend(options.iter().map(String::as_str));
        command.extend(arguments);
        node.ok(&command)
    };
    let release = || {
        let query = ["rpm", "--query", "--queryformat=%{RELEASE} "];
        node.ok(&[&query[..], &PACKAGES].concat()).trim().to_owned()
    };
    dnf(&repository, &["install", "base-of-the-tests"]);
    dnf(&repository, &[&["install"][..], &PACKAGES].concat());
    assert_eq!(release(), "1 1 1 1 1");
    nodes::is_idle(&node);
    assert_eq!(node.ok(&[&["rpm", "--verify"][..], &PACKAGES].concat()), "");

    let running = nodes::start(&node);
    dnf(&later, &[&["upgrade"][..], &PACKAGES].concat());
    assert_eq!(release(), "2 2 2 2 2");
    nodes::is_upgraded(&node, &running);
    let offered = node.read("/etc/hirte/hirte.conf.rpmnew");
    assert!(offered.contains("# Of the second revision."), "{offered}");

    dnf(&later, &[&["remove"][..], &PACKAGES].concat());
    assert_eq!(node.read("/etc/hirte/hirte.conf.rpmsave"), nodes::MANAGER);
    // rpm knows no purge: what the manager and the agent have written stays, in /run until the next boot.
    nodes::is_gone(
        &node,
        &before,
        &[
            "/etc/hirte/hirte.conf.rpmnew",
            "/etc/hirte/hirte.conf.rpmsave",
            "/run/hirte",
            "/run/hirte/hirte-agent.sock.lock",
            "/run/hirte/private.lock",
            "/var/lib/hirte",
            "/var/lib/hirte-agent",
        ],
    );
}
