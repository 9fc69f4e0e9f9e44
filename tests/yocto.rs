//! The layer for Yocto, as far as it can be judged without BitBake: its files fit to the project and to
//! each other, and the initial state of its image is reached on a real node. `tests/yocto/run` builds it
//! with BitBake.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "lab/mod.rs"]
mod lab;
#[path = "support/tree.rs"]
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use lab::Lab;

const PATIENCE: Duration = Duration::from_secs(60);

const RECIPE: &str = concat!("recipes-core/hirte/hirte_", env!("CARGO_PKG_VERSION"), ".bb");
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
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
        if is_empty {
            found.push(folder.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
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
            found = Some(text.split_whitespace().filter(|word| *word != "\\").collect());
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
    assert!(inc.contains(&format!(
        "LICENSE = \"{}\"",
        env!("CARGO_PKG_LICENSE").replace(" OR ", " | ")
    )));
    let recipes = [(inc, root().to_owned()), (read(INITIAL_STATE), layer())];
    for (recipe, folder) in recipes {
        let sums = value(&recipe, "LIC_FILES_CHKSUM").unwrap();
        assert!(!sums.is_empty());
        for sum in sums {
            let (file, sum) = sum.split_once(";md5=").unwrap();
            let file = file.trim_start_matches("file://").replace("${HIRTE_LAYERDIR}/", "");
            let output = Command::new("md5sum").arg(folder.join(&file)).output().unwrap();
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

/// The demands of yocto-check-layer that need no BitBake, and that every file is found by it.
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
        let is_recipe = Path::new(file)
            .extension()
            .is_some_and(|extension| extension == "bb" || extension == "bbappend");
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
        assert!(!file.ends_with(".patch"), "{file}: patches have no place here");
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
            assert!(is_sources || *row == format!("`{default}`"), "{variable}: {row}");
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
        ("hirte-doc", "FILES:${PN}-doc"),
    ]
    .map(|(package, variable)| {
        let files = value(&recipe, variable).unwrap_or_else(|| panic!("{variable} is not set"));
        (package, files.iter().map(|file| expand(file, "hirte")).collect())
    })
    .into()
}

#[test]
fn packages_claim_exactly_what_the_install_step_gives() {
    let executables = Path::new(env!("CARGO_BIN_EXE_hirte")).parent().unwrap();
    let installed = walk(&tree::install_tree(executables));
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
    for claim in claims.values().flatten() {
        let is_there = |file: &String| fits(claim, &format!("/{file}"));
        assert!(installed.iter().any(is_there), "nothing is {claim}");
    }
}

/// Presets of the recipe's class let no unit start; so each installed unit that can be enabled has one.
#[test]
fn every_unit_that_can_be_enabled_is_known_to_systemds_class() {
    let recipe = read(RECIPE);
    let executables = Path::new(env!("CARGO_BIN_EXE_hirte")).parent().unwrap();
    let units = tree::install_tree(executables).join("usr/lib/systemd/system");
    let mut with_install: Vec<String> = walk(&units);
    with_install.retain(|unit| {
        fs::read_to_string(units.join(unit)).is_ok_and(|text| text.contains("[Install]"))
    });
    let mut known: Vec<&str> = Vec::new();
    for variable in ["SYSTEMD_SERVICE:${PN}", "SYSTEMD_SERVICE:${PN}-agent"] {
        known.extend(value(&recipe, variable).unwrap());
    }
    known.sort_unstable();
    assert_eq!(with_install, known);
    assert_eq!(value(&recipe, "SYSTEMD_AUTO_ENABLE").unwrap(), ["disable"]);
}
