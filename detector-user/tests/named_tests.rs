//! Each test that the documents name exists: `suite::test` is a function of this name in a file or a
//! folder of that one. So does each command of SPECIFICATION.md, and each of its figures.

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

/// The rows of SPECIFICATION.md: promise, number, measured, command.
fn promises() -> Vec<[String; 4]> {
    let text = fs::read_to_string(root().join("SPECIFICATION.md")).unwrap();
    let rows = text
        .lines()
        .filter(|line| line.ends_with("` |") || line.ends_with("`** |"));
    let cells = |row: &str| -> Vec<String> {
        let row = row.trim_matches('|');
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(|row| cells(row).try_into().expect(row)).collect()
}

#[test]
fn each_command_of_the_specification_exists() {
    let promises = promises();
    assert!(promises.len() > 20, "{promises:?}");
    let root = root();
    for [promise, _, _, command] in promises {
        let words: Vec<_> = command.trim_matches(['*', '`']).split(' ').collect();
        let is_there = match words[..] {
            ["cargo", "xtask", "test" | "simulate" | "soak"] => true,
            ["cargo", "xtask", "bench", part] => {
                let parts = root.join("tests/src/bin/bench");
                parts.join(part).is_dir() || parts.join(part).with_extension("rs").exists()
            }
            ["cargo", "test", "-p", package, "--test", test] => {
                // The package of the lab is in tests/.
                let folder = package.replace("detector-tests", "tests");
                let tests = root.join(folder).join("tests");
                tests.join(test).is_dir() || tests.join(test).with_extension("rs").exists()
            }
            _ => false,
        };
        assert!(is_there, "{promise}: no such command: {command}");
    }
}

/// A figure of the specification is one of the benchmarks'.
#[test]
fn each_figure_of_the_specification_was_measured() {
    let benchmarks = fs::read_to_string(root().join("docs/benchmarks.md")).unwrap();
    let benchmarks = benchmarks.replace(',', "");
    for [promise, _, measured, _] in promises() {
        let measured = measured.replace(',', "");
        let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
        for number in measured
            .split(|c| !is_of_number(c))
            .filter(|word| !word.is_empty())
        {
            let is_there = number == "0" || benchmarks.contains(number);
            assert!(is_there, "{promise}: {number} is not in docs/benchmarks.md");
        }
    }
}
