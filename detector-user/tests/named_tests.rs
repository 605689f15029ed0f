//! Each test that the documents name exists: `suite::test` is a function of this name in a file or a
//! folder of that one.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where tests are, from the root of the workspace.
const FOLDERS: [&str; 5] = [
    "tests/tests",
    "detector-user/src",
    "detector-user/tests",
    "detector-api/src",
    "xtask/src",
];

const DOCUMENTS: [&str; 3] = [
    "docs/failures.md",
    "docs/security.md",
    "docs/threat-model.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let files = entries.flat_map(|entry| match entry.path() {
        path if path.is_dir() => source_files(&path),
        path => vec![path],
    });
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|name| name == "rs");
    files.filter(is_rust).collect()
}

/// The names between backquotes, as in `suite::test`.
fn names(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |name: &&str| name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    let named = quoted.filter_map(|name| name.split_once("::"));
    named.filter(move |(suite, test)| is_name(suite) && is_name(test))
}

#[test]
fn each_test_that_a_document_names_exists() {
    let root = root();
    let folders = FOLDERS
        .iter()
        .flat_map(|folder| source_files(&root.join(folder)));
    let sources: Vec<(PathBuf, String)> = folders
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    let is_of = |path: &Path, suite: &str| {
        let mut parts = path.with_extension("");
        parts = parts.strip_prefix(&root).unwrap().to_owned();
        parts.iter().any(|part| part == suite)
    };
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let mut count = 0;
        for (suite, test) in names(&text) {
            count += 1;
            let function = format!("fn {test}(");
            let is_there = |(path, source): &(PathBuf, String)| {
                is_of(path, suite) && source.contains(&function)
            };
            if !sources.iter().any(is_there) {
                missing.push(format!("{document}: {suite}::{test}"));
            }
        }
        assert!(count > 3, "{document} names {count} tests");
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// So that a daemon with a broken thread ends, and is started again.
#[test]
fn a_release_aborts_when_a_thread_panics() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    assert_eq!(
        manifest["profile"]["release"]["panic"].as_str(),
        Some("abort")
    );
}
