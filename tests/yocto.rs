//! The layer for Yocto, as far as it can be judged without `BitBake`: its files fit to the project and to
//! each other, and the initial state of its image is reached on a real node. `tests/yocto/run` builds it
//! with `BitBake`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "lab/mod.rs"]
mod lab;
#[path = "support/pip.rs"]
mod pip;
#[path = "support/tree.rs"]
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use lab::Lab;
use pip::PYTHON;

const PATIENCE: Duration = Duration::from_secs(20);

const RECIPE: &str = concat!(
    "recipes-core/hirte/hirte_",
    env!("CARGO_PKG_VERSION"),
    ".bb"
);
const INITIAL_STATE: &str = concat!(
    "recipes-core/hirte-initial-state/hirte-initial-state_",
    env!("CARGO_PKG_VERSION"),
    ".bb"
);
const STATE_FILE: &str = "recipes-core/hirte-initial-state/files/initial-state.toml";

/// What openembedded-core says of folders, for a distribution with `usrmerge`.
const VARIABLES: [(&str, &str); 9] = [
    ("bindir", "/usr/bin"),
    ("libexecdir", "/usr/libexec"),
    ("datadir", "/usr/share"),
    ("mandir", "/usr/share/man"),
    ("sysconfdir", "/etc"),
    ("nonarch_libdir", "/usr/lib"),
    ("systemd_unitdir", "/usr/lib/systemd"),
    ("systemd_system_unitdir", "/usr/lib/systemd/system"),
    ("systemd_user_unitdir", "/usr/lib/systemd/user"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn layer() -> PathBuf {
    root().join("meta-hirte")
}

/// A file of the layer.
fn read(name: &str) -> String {
    let path = layer().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder, and its empty folders, as paths within it.
fn walk(folder: &Path) -> Vec<String> {
    fn add(root: &Path, folder: &Path, found: &mut Vec<String>) {
        let mut is_empty = true;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            is_empty = false;
            if path.is_dir() && !path.is_symlink() {
                add(root, &path, found);
            } else {
                found.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
        if is_empty {
            found.push(
                folder
                    .strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
    let mut found = Vec::new();
    add(folder, folder, &mut found);
    found.sort();
    found
}

fn expect_success(what: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{what}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The words of a variable's value. Of several assignments the last one counts.
fn value<'t>(recipe: &'t str, variable: &str) -> Option<Vec<&'t str>> {
    let mut found = None;
    for operator in [" = \"", " += \"", " ?= \""] {
        let start = format!("\n{variable}{operator}");
        if let Some(at) = recipe.rfind(&start) {
            let rest = &recipe[at + start.len()..];
            let text = rest.split('"').next().expect("the end of the value");
            found = Some(
                text.split_whitespace()
                    .filter(|word| *word != "\\")
                    .collect(),
            );
        }
    }
    found
}

/// A value with its `${…}` replaced.
fn expand(text: &str, name: &str) -> String {
    let mut text = text.replace("${PN}", name).replace("${BPN}", name);
    for (variable, folder) in VARIABLES {
        text = text.replace(&format!("${{{variable}}}"), folder);
    }
    assert!(!text.contains("${"), "{text}: unknown variable");
    text
}

#[test]
fn crates_file_is_what_the_lock_file_says() {
    let output = Command::new(layer().join("scripts/update-crates"))
        .arg("--check")
        .output()
        .unwrap();
    expect_success("update-crates", &output);
}

#[test]
fn versions_and_licences_are_those_of_the_project() {
    let mut versions = 0;
    for name in walk(&layer()) {
        let Some(stem) = name.strip_suffix(".bb") else {
            continue;
        };
        let recipe = stem.rsplit('/').next().unwrap();
        if let Some((_, version)) = recipe.split_once('_') {
            assert_eq!(version, env!("CARGO_PKG_VERSION"), "{name}");
            versions += 1;
        }
    }
    assert_eq!(versions, 3);

    let inc = read("recipes-core/hirte/hirte.inc");
    // The spec's follows from the bill of materials, which `tests/packages.rs` holds.
    let spec = fs::read_to_string(root().join("data/packages/rpm/hirte.spec")).unwrap();
    let mut lines = spec.lines();
    let licences = lines.find_map(|line| line.strip_prefix("License:"));
    let licences = licences.unwrap().trim();
    let licences = licences.replace(" OR ", " | ").replace(" AND ", " & ");
    assert!(
        inc.contains(&format!("\nLICENSE = \"{licences}\"\n")),
        "{licences}"
    );
    let recipes = [(inc, root().to_owned()), (read(INITIAL_STATE), layer())];
    for (recipe, folder) in recipes {
        let sums = value(&recipe, "LIC_FILES_CHKSUM").unwrap();
        assert!(!sums.is_empty());
        for sum in sums {
            let (file, sum) = sum.split_once(";md5=").unwrap();
            let file = file
                .trim_start_matches("file://")
                .replace("${HIRTE_LAYERDIR}/", "");
            let output = Command::new("md5sum")
                .arg(folder.join(&file))
                .output()
                .unwrap();
            let found = String::from_utf8(output.stdout).unwrap();
            assert!(found.starts_with(sum), "{file}: {found}");
        }
    }
    let licence = |path: PathBuf| fs::read_to_string(path).unwrap();
    assert_eq!(
        licence(layer().join("COPYING.MIT")),
        licence(root().join("LICENSE-MIT"))
    );
}

/// Whether a path fits to a pattern in which `*` is any characters but a slash.
fn fits(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len())
                .take_while(|&end| !rest[..end].contains('/'))
                .any(|end| fits(after, &rest[end..]))
        }),
    }
}

/// The demands of yocto-check-layer that need no `BitBake`, and that every file is found by it.
#[test]
fn the_layer_has_what_yocto_check_layer_demands() {
    let readme = read("README.md").to_lowercase();
    for word in ["maintainer", "patch", "@", "dependencies"] {
        assert!(readme.contains(word), "README.md says nothing of '{word}'");
    }
    assert!(!read("SECURITY.md").trim().is_empty());

    let conf = read("conf/layer.conf");
    for (variable, expected) in [
        ("BBFILE_COLLECTIONS", "hirte"),
        ("BBFILE_PATTERN_hirte", "^${LAYERDIR}/"),
        ("LAYERSERIES_COMPAT_hirte", "wrynose"),
        ("LAYERDEPENDS_hirte", "core"),
    ] {
        assert_eq!(value(&conf, variable).unwrap(), [expected], "{variable}");
    }
    let mut patterns: Vec<(Option<&str>, String)> = Vec::new();
    for pattern in value(&conf, "BBFILES").unwrap() {
        patterns.push((None, pattern.replace("${LAYERDIR}/", "")));
    }
    for pattern in value(&conf, "BBFILES_DYNAMIC").unwrap() {
        let (collection, pattern) = pattern.split_once(':').unwrap();
        patterns.push((Some(collection), pattern.replace("${LAYERDIR}/", "")));
    }
    let files = walk(&layer());
    for (collection, pattern) in &patterns {
        let used = files.iter().any(|file| fits(pattern, file));
        assert!(used || pattern == "recipes-*/*/*.bbappend", "{pattern}");
        if let Some(collection) = collection {
            assert!(pattern.starts_with(&format!("dynamic-layers/{collection}/")));
        }
    }
    for file in &files {
        let extension = Path::new(file).extension().unwrap_or_default();
        assert!(extension != "patch", "{file}: patches have no place here");
        let is_recipe = extension == "bb" || extension == "bbappend";
        assert!(
            !is_recipe || patterns.iter().any(|(_, pattern)| fits(pattern, file)),
            "BitBake does not find {file}"
        );
        // An appended recipe is one of ours here.
        if let Some(stem) = file.strip_suffix(".bbappend") {
            let name = stem.rsplit('/').next().unwrap().trim_end_matches("_%");
            assert!(files.iter().any(|other| {
                let recipe = other.rsplit('/').next().unwrap();
                recipe == format!("{name}.bb") || recipe.starts_with(&format!("{name}_"))
            }));
        }
    }
    for template in ["hirte-rpi4", "hirte-qemuarm64"] {
        for name in [
            "local.conf.sample",
            "bblayers.conf.sample",
            "conf-notes.txt",
            "conf-summary.txt",
        ] {
            assert!(!read(&format!("conf/templates/{template}/{name}")).is_empty());
        }
    }
}

/// Each variable that a user sets has a row in the README with its default, and no row is left over.
#[test]
fn variables_are_documented_with_their_defaults() {
    let readme = read("README.md");
    let rows: BTreeMap<&str, &str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `HIRTE_"))
        .map(|line| {
            let (name, rest) = line.split_once("` | ").unwrap();
            (name, rest.split(" | ").next().unwrap())
        })
        .collect();
    let mut settable = BTreeSet::new();
    for name in [INITIAL_STATE, "recipes-core/hirte/hirte.inc"] {
        for line in read(name).lines() {
            let Some((variable, rest)) = line
                .strip_prefix("HIRTE_")
                .and_then(|line| line.split_once(" ?= \""))
            else {
                continue;
            };
            let default = rest.trim_end_matches('"');
            let row = rows.get(variable).unwrap_or_else(|| panic!("{variable}"));
            let is_sources = variable.starts_with("SRC");
            assert!(
                is_sources || *row == format!("`{default}`"),
                "{variable}: {row}"
            );
            settable.insert(variable.to_owned());
        }
    }
    assert_eq!(settable.len(), rows.len(), "{rows:?}");
}

/// The packages of the recipe, each with the paths that it claims.
fn claims() -> BTreeMap<&'static str, Vec<String>> {
    let recipe = read(RECIPE);
    [
        ("hirte", "FILES:${PN}"),
        ("hirte-agent", "FILES:${PN}-agent"),
        ("hirtectl", "FILES:hirtectl"),
        ("hirtectl-top", "FILES:hirtectl-top"),
        ("hirte-dashboard", "FILES:${PN}-dashboard"),
        ("hirte-doc", "FILES:${PN}-doc"),
    ]
    .map(|(package, variable)| {
        let files = value(&recipe, variable).unwrap_or_else(|| panic!("{variable} is not set"));
        (
            package,
            files.iter().map(|file| expand(file, "hirte")).collect(),
        )
    })
    .into()
}

#[test]
fn packages_claim_exactly_what_the_install_step_gives() {
    let installed = walk(&tree::install_tree());
    assert!(installed.len() > 20, "{installed:?}");
    let claims = claims();
    for file in &installed {
        let file = format!("/{file}");
        let packages: Vec<_> = claims
            .iter()
            .filter(|(_, claimed)| claimed.iter().any(|claim| fits(claim, &file)))
            .map(|(package, _)| package)
            .collect();
        assert_eq!(packages.len(), 1, "{file} is claimed by {packages:?}");
    }
    let is_built = |claim: &&String| {
        (cfg!(feature = "top") || !claim.contains("hirtectl-top"))
            && (cfg!(feature = "dashboard") || !claim.contains("hirte-dashboard"))
    };
    for claim in claims.values().flatten().filter(is_built) {
        let is_there = |file: &String| fits(claim, &format!("/{file}"));
        assert!(installed.iter().any(is_there), "nothing is {claim}");
    }
}

/// Presets of the recipe's class let no unit start; so each installed unit that can be enabled has one.
#[test]
fn every_unit_that_can_be_enabled_is_known_to_systemds_class() {
    let recipe = read(RECIPE);
    let units = tree::install_tree().join("usr/lib/systemd/system");
    let mut with_install: Vec<String> = walk(&units);
    with_install.retain(|unit| {
        fs::read_to_string(units.join(unit)).is_ok_and(|text| text.contains("[Install]"))
    });
    let mut known: Vec<&str> = Vec::new();
    for package in ["", "-agent", "-dashboard"] {
        let variable = format!("SYSTEMD_SERVICE:${{PN}}{package}");
        known.extend(value(&recipe, &variable).unwrap());
    }
    known.retain(|unit| cfg!(feature = "dashboard") || !unit.contains("dashboard"));
    known.sort_unstable();
    assert_eq!(with_install, known);
    assert_eq!(value(&recipe, "SYSTEMD_AUTO_ENABLE").unwrap(), ["disable"]);
}

/// What oelint-adv says of the layer and is not followed, with the reason.
const NOT_FOLLOWED: [(&str, &str); 8] = [
    (
        "oelint.var.filesoverride",
        "the lists are complete on purpose: what the install step adds has to be put into a package",
    ),
    (
        "oelint.var.mandatoryvar.HOMEPAGE",
        "who publishes the layer decides on an address",
    ),
    (
        "oelint.var.suggestedvar.BUGTRACKER",
        "who publishes the layer decides on an address",
    ),
    (
        "oelint.var.suggestedvar.CVE_PRODUCT",
        "no data base of vulnerabilities has a name of its own for hirte",
    ),
    (
        "oelint.var.bbclassextend",
        "for the build host there is hirtectl-native; nobody runs the daemons there",
    ),
    (
        "oelint.var.inheritlast.native",
        "inherit_defer is last wherever it stands",
    ),
    (
        "oelint.vars.inconspaces",
        "hirte-crates.inc has the bytes of BitBake's own task",
    ),
    (
        "oelint.vars.notneededspace",
        "hirte-crates.inc has the bytes of BitBake's own task",
    ),
];

#[test]
fn the_linter_of_openembedded_finds_nothing_else() {
    let folder = match pip::libraries("tests/yocto/requirements.txt") {
        Ok(folder) => folder,
        Err(needed) => return lab::leave_out(&needed),
    };
    let mut files = walk(&layer());
    files.retain(|file| {
        [".bb", ".bbappend", ".bbclass", "layer.conf"]
            .iter()
            .any(|end| file.ends_with(end))
    });
    let lint = |suppressed: &[(&str, &str)]| {
        let mut command = Command::new(PYTHON);
        command
            .args([
                "-m",
                "oelint_adv",
                "--quiet",
                "--relpaths",
                "--release",
                "wrynose",
            ])
            .current_dir(layer())
            .env("PYTHONPATH", &folder)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        for (rule, _) in suppressed {
            command.args(["--suppress", rule]);
        }
        let output = command.args(&files).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    // Each exception is needed, so the linter works.
    let all = lint(&[]);
    for (rule, _) in NOT_FOLLOWED {
        assert!(all.contains(rule), "{rule} need not be suppressed: {all}");
    }
    assert_eq!(lint(&NOT_FOLLOWED), "");
}

/// What `exact-presets` does where these lines of shell are systemctl.
fn exact_presets_with(systemctl: &str) -> Output {
    let name = format!("systemctl-{}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("systemctl");
    fs::write(&program, format!("#!/bin/sh\n{systemctl}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.display(), env::var("PATH").unwrap());
    Command::new("sh")
        .arg(layer().join("scripts/exact-presets"))
        .arg("/nowhere")
        .env("PATH", path)
        .output()
        .unwrap()
}

/// An image is not made where nobody can say what it enables.
#[test]
fn presets_are_exact_only_where_systemctl_says_so() {
    let lists = |line: &str| {
        exact_presets_with(&format!(
            "case \"$*\" in *list-unit-files*) echo '{line}' ;; esac"
        ))
    };
    expect_success("as wanted", &lists("a.service enabled enabled"));
    expect_success("a template", &lists("a@.service disabled enabled"));
    for line in ["a.service disabled enabled", "a.service enabled disabled"] {
        let output = lists(line);
        assert_eq!(output.status.code(), Some(1), "{line}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.ends_with("want it: a.service\n"), "{said}");
    }
    let output =
        exact_presets_with("case \"$*\" in *list-unit-files*) echo broken >&2; exit 3 ;; esac");
    assert!(!output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "broken\n");
}

/// The patterns that a state file allows.
fn allowed(file: &str) -> Vec<&str> {
    let (_, list) = file.split_once("\nallow = [").unwrap();
    let list = list.split(']').next().unwrap();
    list.split('"').skip(1).step_by(2).collect()
}

/// Who copies the fleet's file from the page gets no drift by what every image runs.
#[test]
fn the_pages_state_file_allows_what_the_layers_does() {
    let page = fs::read_to_string(root().join("docs/yocto.md")).unwrap();
    let allowed_here = allowed(&page);
    assert!(allowed_here.len() > 5, "{allowed_here:?}");
    assert_eq!(allowed_here, allowed(&read(STATE_FILE)));
}

/// What the recipe's function says of a folder: a commit, or why it is left out.
fn sources_of(folder: &Path, environment: &[(&str, &str)]) -> String {
    let inc = read("recipes-core/hirte/hirte.inc");
    let (_, function) = inc.split_once("\ndef hirte_commit_of_layer(d):\n").unwrap();
    let function = function.split("\n\n").next().unwrap();
    // What BitBake gives to the function.
    let script = format!(
        "import os, subprocess, sys, types\n\
         class ExecutionError(Exception): pass\n\
         class NotFoundError(Exception): pass\n\
         class SkipRecipe(Exception): pass\n\
         def run(command, cwd):\n    \
             done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)\n    \
             if done.returncode:\n        \
                 error = ExecutionError()\n        \
                 error.stderr = done.stderr\n        \
                 raise error\n    \
             return done.stdout, done.stderr\n\
         names = types.SimpleNamespace\n\
         bb = names(process=names(run=run, ExecutionError=ExecutionError, NotFoundError=NotFoundError),\n\
                    parse=names(SkipRecipe=SkipRecipe))\n\
         def commit_of(d):\n{function}\n\
         try:\n    print(commit_of(names(getVar=lambda name: sys.argv[1])), end='')\n\
         except SkipRecipe as why:\n    print(why, end='')\n"
    );
    let output = Command::new(PYTHON)
        .args(["-c", &script])
        .arg(folder)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    expect_success("the recipe's function", &output);
    String::from_utf8(output.stdout).unwrap()
}

/// Within a product's repository the layer does not take that one's commit for its own.
#[test]
fn sources_are_of_the_repository_of_hirte_alone() {
    let name = format!("product-{}", std::process::id());
    let product = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let layers = product.join("layers");
    fs::create_dir_all(&layers).unwrap();
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=test", "-c", "user.email=test"])
            .args(arguments)
            .current_dir(&product)
            .output()
            .unwrap();
        expect_success("git", &output);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let outside = product.parent().unwrap().to_str().unwrap();
    let ask = |folder: &Path| sources_of(folder, &[("GIT_CEILING_DIRECTORIES", outside)]);
    let skipped = |folder: &Path, why: &str| {
        format!(
            "{} {why}: set HIRTE_SRC_URI and HIRTE_SRCREV",
            folder.display()
        )
    };

    let said = ask(&product);
    let why = "is no repository that git reads (fatal: not a git repository";
    assert!(
        said.starts_with(&format!("{} {why}", product.display())),
        "{said}"
    );
    git(&["init", "--quiet"]);
    git(&["commit", "--quiet", "--allow-empty", "--message=product"]);
    let foreign = "is not the repository of hirte";
    assert_eq!(ask(&product), skipped(&product, foreign));
    fs::create_dir_all(layers.join("data")).unwrap();
    fs::write(layers.join("data/install"), "").unwrap();
    assert_eq!(ask(&layers), skipped(&layers, foreign));

    fs::create_dir_all(product.join("data")).unwrap();
    fs::write(product.join("data/install"), "").unwrap();
    assert_eq!(ask(&product), git(&["rev-parse", "HEAD"]));
    // git's own switch for its tests.
    let owner = [("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")];
    let said = sources_of(&product, &owner);
    assert!(said.contains("dubious ownership"), "{said}");
    fs::remove_dir_all(&product).unwrap();
}

/// The body of a shell function of a recipe.
fn shell_function(recipe: &str, name: &str) -> String {
    let (_, rest) = recipe
        .split_once(&format!("\n{name}() {{\n"))
        .unwrap_or_else(|| panic!("{name} is not there"));
    rest.split("\n}\n").next().unwrap().to_owned()
}

/// What the recipe of the initial state installs, by its own commands, with its own defaults.
fn initial_state() -> PathBuf {
    let recipe = read(INITIAL_STATE);
    let work = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("initial-state-{}", std::process::id()));
    let tree = work.join("tree");
    fs::create_dir_all(&tree).unwrap();
    let program = tree::program("hirtectl");
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        env::var("PATH").unwrap()
    );
    let mut script = String::from("set -eu\n");
    for line in recipe.lines().filter(|line| line.starts_with("HIRTE_")) {
        script.push_str(&line.replace(" ?= ", "="));
        script.push('\n');
    }
    for function in ["do_compile", "do_install"] {
        script.push_str(&shell_function(&recipe, function));
        script.push('\n');
    }
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&work)
        .env("PATH", path)
        .env("D", &tree)
        .env("S", layer().join("recipes-core/hirte-initial-state/files"))
        .envs(VARIABLES)
        .output()
        .unwrap();
    expect_success("the recipe's commands", &output);

    let claims = value(&recipe, "FILES:${PN}").unwrap();
    let claims: BTreeSet<String> = claims.iter().map(|file| expand(file, "")).collect();
    let files: BTreeSet<String> = walk(&tree).iter().map(|file| format!("/{file}")).collect();
    assert_eq!(files, claims);
    tree
}

/// The units that the state file names.
fn named_units() -> Vec<String> {
    let file = read(STATE_FILE);
    let units = file
        .lines()
        .filter_map(|line| line.strip_suffix("\" = \"active\""));
    let mut units: Vec<String> = units.map(|unit| unit[1..].to_owned()).collect();
    units.sort();
    units
}

/// Units of openembedded-core that Debian does not have, and so the nodes of the lab.
const STAND_INS: [&str; 4] = [
    "var-volatile-cache.service",
    "var-volatile-lib.service",
    "var-volatile-spool.service",
    "var-volatile-srv.service",
];

/// A node with the installed files, enabled as an image is made, boots into what the file says.
///
/// With `HIRTE_YOCTO_TREE` the files are those in this folder: packages that `BitBake` has made.
#[test]
fn the_layers_presets_boot_into_the_state_of_the_file() {
    if !lab::require() {
        return;
    }
    let builder = Lab::builder("yocto")
        .unmask("systemd-network-generator.service")
        .unmask("systemd-udevd.service");
    let builder = if let Some(tree) = env::var_os("HIRTE_YOCTO_TREE") {
        builder.layer(tree)
    } else {
        builder.layer(tree::install_tree()).layer(initial_state())
    };
    let lab = builder.build();
    let node = lab.node("rpi4", "192.168.42.15");
    for unit in STAND_INS {
        node.unit(
            unit,
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n",
        );
    }
    // What a package enables while it is installed, and nobody has named.
    node.unit(
        "stray.service",
        "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    );
    node.boot();
    node.systemctl(&["enable", "--quiet", "stray.service"]);
    node.write("/root/exact-presets", read("scripts/exact-presets"));
    node.ok(&["sh", "/root/exact-presets", "/"]);
    let enabled = "systemctl list-unit-files --no-legend --state=enabled | cut -d ' ' -f 1 | sort";
    let enabled = node.sh(enabled);
    assert!(enabled.success());
    let enabled: Vec<&str> = enabled.stdout.lines().collect();
    assert_eq!(enabled, named_units());

    node.reboot();
    let diff = [
        "hirtectl",
        "state",
        "diff",
        "/usr/share/hirte/initial-state.toml",
    ];
    let is_reached = lab::holds_within(PATIENCE, || node.run(&diff).success());
    assert!(is_reached, "{}", node.run(&diff).stdout);
    assert_eq!(node.ok(&diff), "");
    assert!(node.ok(&["hirtectl", "list-nodes"]).contains("rpi4"));

    // The comparison has teeth, in both directions.
    node.systemctl(&["start", "stray.service"]);
    let drift = node.run(&diff);
    assert!(drift.stdout.contains("stray.service"), "{}", drift.stdout);
    node.systemctl(&["stop", "stray.service", "systemd-networkd.service"]);
    let drift = node.run(&diff);
    assert!(
        drift.stdout.contains("systemd-networkd.service"),
        "{}",
        drift.stdout
    );
}

/// With dbus-broker the bus is one more unit to be enabled, and nothing else differs.
#[test]
fn the_state_file_for_dbus_broker_has_one_line_more() {
    let other = read(
        "dynamic-layers/openembedded-layer/recipes-core/hirte-initial-state/files/dbus-broker/initial-state.toml",
    );
    let line = "\"dbus-broker.service\" = \"active\"\n";
    assert_eq!(other.matches(line).count(), 1);
    assert_eq!(other.replace(line, ""), read(STATE_FILE));
}
