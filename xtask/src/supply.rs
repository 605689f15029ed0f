//! What the project takes from others: each crate that one of ours names was looked at, and no build
//! takes another version than the lock file's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const LOCK: &str = include_str!("../../Cargo.lock");
const WORKSPACE: &str = include_str!("../../Cargo.toml");
const REVIEWED: &str = include_str!("../../docs/dependencies.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The crates that members name, whatever for. Their versions are in the workspace's manifest.
fn direct() -> BTreeSet<String> {
    let (_, versions) = WORKSPACE
        .split_once("[workspace.dependencies]\n")
        .expect("versions are in one place");
    let (versions, _) = versions.split_once("\n[").expect("lints follow");
    let is_ours = |line: &&str| line.contains("path = ");
    let lines = versions.lines().filter(|line| !is_ours(line));
    lines
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The rows of the review: the series of each crate.
fn reviewed() -> BTreeMap<String, String> {
    let rows = REVIEWED.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| {
        let (name, rest) = row.split_once("` | ")?;
        Some((name.to_owned(), rest.split(" | ").next()?.to_owned()))
    });
    cells.collect()
}

/// All versions of a crate in the lock file.
fn locked(name: &str) -> Vec<&'static str> {
    let header = format!("[[package]]\nname = \"{name}\"\nversion = \"");
    let found = LOCK.match_indices(&header);
    let version = |at: usize| LOCK[at + header.len()..].split('"').next();
    found.filter_map(|(at, _)| version(at)).collect()
}

#[test]
fn each_direct_dependency_was_looked_at() {
    let (direct, reviewed) = (direct(), reviewed());
    let rows: BTreeSet<String> = reviewed.keys().cloned().collect();
    let different: Vec<_> = direct.symmetric_difference(&rows).collect();
    assert!(
        different.is_empty(),
        "named by a crate of ours or in docs/dependencies.md, and not in both: {different:?}"
    );
    for (name, series) in reviewed {
        let versions = locked(&name);
        let within = |version: &&str| format!("{version}.").starts_with(&format!("{series}."));
        assert!(
            versions.iter().any(within),
            "{name} was looked at in series {series}, and the lock file has {versions:?}"
        );
    }
}

/// A member that writes a version of its own would escape the table.
#[test]
fn versions_are_in_the_workspace_s_manifest_alone() {
    for member in [
        "detector-ebpf",
        "detector-api",
        "detector-user",
        "detector-user/fuzz",
        "xtask",
        "tests",
    ] {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).expect(member);
        let sections = manifest.split("\n[").filter(|section| {
            section
                .lines()
                .next()
                .is_some_and(|name| name.ends_with("dependencies]"))
        });
        for line in sections.flat_map(|section| section.lines().skip(1)) {
            let is_ours = line.contains("path = ");
            let is_named = line.contains(" = ") && !line.starts_with('#') && !is_ours;
            assert!(
                !is_named || line.contains("workspace = true"),
                "{member}: {line}"
            );
        }
    }
}

/// The files whose commands others run or copy.
const SCRIPTS: [&str; 7] = [
    ".ci/run",
    ".cargo/config.toml",
    "deploy/Containerfile",
    "docs/operations.md",
    "deploy/RUNBOOK.md",
    "deploy/CHECKLIST.md",
    "README.md",
];

/// The subcommands that would write another lock file.
const RESOLVING: [&str; 9] = [
    "build", "test", "run", "clippy", "doc", "install", "package", "metadata", "bench",
];

#[test]
fn every_command_keeps_to_the_lock_file() {
    for script in SCRIPTS {
        let text = fs::read_to_string(root().join(script)).expect(script);
        for line in text.lines().filter(|line| resolves(line)) {
            assert!(line.contains("--locked"), "{script}: {line}");
        }
    }
}

/// Whether a line calls cargo so that it reads the lock file.
fn resolves(line: &str) -> bool {
    let alias = line.starts_with("xtask = \"run ");
    let words: Vec<&str> = line.split_whitespace().collect();
    let asks = |word: Option<&&str>| word.is_some_and(|word| word.starts_with("--version"));
    let mut calls = words
        .iter()
        .enumerate()
        .filter(|(_, word)| **word == "cargo");
    alias
        || calls.any(|(at, _)| {
            let subcommand = words.get(at + 1);
            subcommand.is_some_and(|word| RESOLVING.contains(word)) && !asks(words.get(at + 2))
        })
}

#[test]
fn commands_are_found_in_every_form() {
    for line in [
        "    cargo metadata --format-version 1",
        "    RUSTDOCFLAGS=\"-D warnings\" cargo doc --no-deps",
        "    stage clippy cargo clippy --workspace",
        "#   cargo xtask build-ebpf && cargo build --release",
        "xtask = \"run --quiet --package xtask --\"",
    ] {
        assert!(resolves(line), "{line}");
    }
    for line in [
        "cargo fmt --all",
        "if ! cargo clippy --version; then",
        "cargo deny check",
        "`cargo build` makes it",
        "stage tests cargo xtask test",
    ] {
        assert!(!resolves(line), "{line}");
    }
}
