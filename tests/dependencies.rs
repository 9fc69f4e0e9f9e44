//! What may enter the dependency tree: the quick form of `deny.toml`, from `cargo metadata`.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Licences that a crate may have; those of `deny.toml`.
const LICENCES: [&str; 5] = ["Apache-2.0", "BSD-3-Clause", "MIT", "Unicode-3.0", "Zlib"];

/// The only source besides this package; as `Cargo.lock` writes it.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What `Cargo.toml` may name. A further crate needs its reason there and a place here.
const DIRECT: [&str; 15] = [
    "argh",
    "env_logger",
    "hyper",
    "listenfd",
    "log",
    "ratatui-core",
    "rustix",
    "sd-notify",
    "serde",
    "serde_json",
    "signal-hook",
    "smol",
    "socket2",
    "toml",
    "zbus",
];

/// Crates of which two versions are built, and why that is accepted; those of `deny.toml`.
const DUPLICATES: [(&str, &str); 1] = [(
    "syn",
    "argh_derive and strum_macros need syn 2; both run in the compiler only",
)];

/// Targets for which hirte is built; those of `deny.toml`.
const TARGETS: [&str; 6] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "armv7-unknown-linux-gnueabihf",
    "riscv64gc-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-musl",
];

/// `cargo metadata` of the locked packages, with every feature: of all, or of those that `target` needs. Asks the
/// network only for packages that have never been downloaded here.
fn metadata(target: Option<&str>) -> Value {
    let run = |network: &[&str]| {
        Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--locked",
                "--all-features",
                "--format-version",
                "1",
            ])
            .args(target.map(|target| format!("--filter-platform={target}")))
            .args(network)
            // Flags for this machine's builds, with which rustc may refuse another target.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo starts")
    };
    let mut output = run(&["--offline"]);
    if !output.status.success() {
        output = run(&[]);
    }
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// The packages of `metadata` as (name, version, all that cargo says).
fn packages(metadata: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(!packages.is_empty());
    packages.iter().map(|package| {
        (
            package["name"].as_str().expect("a name"),
            package["version"].as_str().expect("a version"),
            package,
        )
    })
}

/// Major and minor number of a Rust version.
fn rust_version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().expect(text));
    (
        numbers.next().expect("a major number"),
        numbers.next().unwrap_or(0),
    )
}

/// Whether an SPDX expression can be met with the licences of `allowed`. AND binds closer than
/// OR; a slash is cargo's old way to write OR; a licence with an exception is one licence.
fn licence_is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let (result, rest) = alternatives(&tokens, allowed);
    assert!(rest.is_empty(), "licence '{expression}': stray {rest:?}");
    result
}

fn alternatives<'t>(tokens: &'t [&'t str], allowed: &[&str]) -> (bool, &'t [&'t str]) {
    let (mut result, mut rest) = conjunction(tokens, allowed);
    while let Some((&"OR", after)) = rest.split_first() {
        let (next, after) = conjunction(after, allowed);
        result |= next;
        rest = after;
    }
    (result, rest)
}

fn conjunction<'t>(tokens: &'t [&'t str], allowed: &[&str]) -> (bool, &'t [&'t str]) {
    let (mut result, mut rest) = licence(tokens, allowed);
    while let Some((&"AND", after)) = rest.split_first() {
        let (next, after) = licence(after, allowed);
        result &= next;
        rest = after;
    }
    (result, rest)
}

fn licence<'t>(tokens: &'t [&'t str], allowed: &[&str]) -> (bool, &'t [&'t str]) {
    match tokens {
        ["(", inner @ ..] => {
            let (result, rest) = alternatives(inner, allowed);
            let rest = rest.strip_prefix(&[")"]).expect("a closing parenthesis");
            (result, rest)
        }
        [name, "WITH", exception, rest @ ..] => {
            let name = format!("{name} WITH {exception}");
            (allowed.contains(&name.as_str()), rest)
        }
        [name, rest @ ..] if !["AND", "OR", "WITH", ")"].contains(name) => {
            (allowed.contains(name), rest)
        }
        _ => panic!("a licence is missing before {tokens:?}"),
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Unicode-3.0"];
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("MIT OR GPL-3.0 AND ISC", true),
        ("(MIT OR GPL-3.0) AND ISC", false),
        ("MIT WITH LLVM-exception", false),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
    ] {
        assert_eq!(
            licence_is_allowed(expression, &allowed),
            expected,
            "{expression}"
        );
    }
}

#[test]
fn no_locked_package_needs_a_later_rust() {
    let ours = rust_version(env!("CARGO_PKG_RUST_VERSION"));
    for (name, version, package) in packages(&metadata(None)) {
        if let Some(needed) = package["rust_version"].as_str() {
            assert!(
                rust_version(needed) <= ours,
                "{name} {version} needs Rust {needed}"
            );
        }
    }
}

#[test]
fn every_locked_package_is_permissive_and_from_crates_io() {
    for (name, version, package) in packages(&metadata(None)) {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(!licence.is_empty(), "{name} {version} names no licence");
        assert!(
            licence_is_allowed(licence, &LICENCES),
            "{name} {version} is under {licence}"
        );
        match package["source"].as_str() {
            Some(source) => assert_eq!(source, CRATES_IO, "{name} {version}"),
            None => assert_eq!(name, env!("CARGO_PKG_NAME"), "a package from a folder"),
        }
    }
}

#[test]
fn no_crate_is_built_in_two_versions() {
    for target in TARGETS {
        let metadata = metadata(Some(target));
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, version, _) in packages(&metadata) {
            versions.entry(name).or_default().insert(version);
        }
        versions.retain(|_, versions| versions.len() > 1);
        for (name, reason) in DUPLICATES {
            assert!(
                versions.remove(name).is_some(),
                "{name} is no longer built twice for {target}; drop '{reason}'"
            );
        }
        assert!(versions.is_empty(), "for {target}: {versions:?}");
    }
}

#[test]
fn direct_dependencies_are_those_agreed_on() {
    let metadata = metadata(None);
    let (_, _, hirte) = packages(&metadata)
        .find(|(name, ..)| *name == env!("CARGO_PKG_NAME"))
        .expect("this package");
    let mut direct: Vec<&str> = hirte["dependencies"]
        .as_array()
        .expect("dependencies")
        .iter()
        .map(|dependency| dependency["name"].as_str().expect("a name"))
        .collect();
    direct.sort_unstable();
    direct.dedup();
    assert_eq!(direct, DIRECT);
}
