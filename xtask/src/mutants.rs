//! `cargo xtask mutants`: changes one operator, value or function of the rule and the session at a
//! time, and looks whether a test fails. What no test sees is a test that is missing, or is
//! explained in `.cargo/mutants.toml`.
//!
//! The core imports nothing of the rest but the model, so both are built as a package of their own:
//! seconds for each mutant, where the daemon would take a minute. The quick tests come first. What these
//! let live has to survive all of the core's tests to be reported.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    facts::cache_dir,
    invocation::Invocation,
    pins::CARGO_MUTANTS,
    step::{OnFailure, Runner, Step},
    workspace::Workspace,
};

/// The package that is mutated.
const PACKAGE: &str = "target/mutants/core";
/// The lists of what was caught and what was missed.
const OUTPUT: &str = "target/mutants";
const CONFIG: &str = ".cargo/mutants.toml";

/// The part of the core that decides.
const FILES: [&str; 2] = ["src/core/rule/**", "src/core/session/**"];

/// Modules of tests that take seconds each.
const SLOW: [&str; 4] = [
    "core::tests::always",
    "core::tests::idle",
    "core::tests::isolation",
    "core::tests::switches",
];

/// What the core needs of other crates.
const DEPENDENCIES: [&str; 2] = ["serde", "thiserror"];
const TEST_DEPENDENCIES: [&str; 2] = ["proptest", "serde_json"];

/// The options of `cargo xtask mutants`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Only files of the core that match, as in `src/core/rule/mod.rs`.
    #[arg(long = "file", value_name = "GLOB")]
    files: Vec<String>,
    /// A part of the mutants, as in 1/8.
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
}

/// Makes the package, and runs its mutants, twice at most. Those that survive end it with an error.
pub fn run(runner: &Runner, workspace: &Workspace, options: &Options) -> Result<()> {
    runner.heading("mutants of the rule and the session");
    if !runner.dry_run {
        make_package(&workspace.root)?;
    }
    let program = installed(runner)?;
    let quick = SLOW.iter().flat_map(|name| ["--skip", name]);
    // Some may live.
    let first = Step::new(
        "try each mutant with the quick tests",
        "most are caught within a second",
        mutants(&program, workspace, options, false).args(quick),
    );
    runner.run(&first.on_failure(OnFailure::Continue)).ok();
    runner.run(&Step::new(
        "try those that lived with all tests",
        "one that lives now is listed: it needs a test, or an explanation in .cargo/mutants.toml",
        mutants(&program, workspace, options, true),
    ))
}

/// cargo-mutants, of the pinned version.
fn installed(runner: &Runner) -> Result<PathBuf> {
    let root = cache_dir()?.join(format!("cargo-mutants-{CARGO_MUTANTS}"));
    let program = root.join("bin/cargo-mutants");
    if !program.is_file() {
        runner.run(&Step::new(
            format!(
                "install cargo-mutants {CARGO_MUTANTS} into {}",
                root.display()
            ),
            "it makes the mutants; a build without optimisation takes some minutes",
            Invocation::cargo("install")
                .args(["--debug", "--root"])
                .args([&root])
                .args([format!("cargo-mutants@{CARGO_MUTANTS}")]),
        ))?;
    }
    Ok(program)
}

fn mutants(program: &Path, workspace: &Workspace, options: &Options, again: bool) -> Invocation {
    let files: Vec<&str> = match options.files.as_slice() {
        [] => FILES.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    let root = &workspace.root;
    let mut command = Invocation::new(program)
        .args(["mutants", "--in-place", "--colors", "never", "--no-times"])
        .args(["--baseline", if again { "skip" } else { "run" }])
        .args(["--timeout", "300"])
        .args(["--dir".as_ref(), root.join(PACKAGE).as_path()])
        .args(["--output".as_ref(), root.join(OUTPUT).as_path()])
        .args(["--config".as_ref(), root.join(CONFIG).as_path()])
        .args(files.iter().flat_map(|glob| ["--file", glob]))
        .args(again.then_some("--iterate"));
    if let Some(shard) = &options.shard {
        command = command.args(["--shard", shard]);
    }
    command
        .args(["--", "--lib", "--"])
        // Each mutant changes one file: only what depends on it is compiled again.
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
}

/// The core and the model alone, with the versions of the lock file.
fn make_package(root: &Path) -> Result<()> {
    let package = root.join(PACKAGE);
    let source = package.join("src");
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    for module in ["core", "model"] {
        copy(
            &root.join("detector-user/src").join(module),
            &source.join(module),
        )?;
    }
    fs::write(source.join("lib.rs"), "pub mod core;\npub mod model;\n")?;
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock"))?;
    let workspace = fs::read_to_string(root.join("Cargo.toml"))?;
    let manifest = manifest(&workspace).context("no [workspace.dependencies] in Cargo.toml")?;
    fs::write(package.join("Cargo.toml"), manifest)?;
    Ok(())
}

/// The package's manifest: its crates are those of the workspace.
fn manifest(workspace: &str) -> Option<String> {
    let (_, versions) = workspace.split_once("[workspace.dependencies]\n")?;
    let (versions, _) = versions.split_once("\n[")?;
    let list = |names: &[&str]| -> String {
        let line = |name: &&str| format!("{name} = {{ workspace = true }}\n");
        names.iter().map(line).collect()
    };
    // Paths of the workspace lead nowhere from here, and are not needed.
    let versions: String = versions
        .lines()
        .filter(|line| !line.contains("path = "))
        .flat_map(|line| [line, "\n"])
        .collect();
    Some(format!(
        "[package]\nname = \"core-mutants\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [workspace]\n\n[workspace.dependencies]\n{versions}\n[dependencies]\n{}\n\
         [dev-dependencies]\n{}",
        list(&DEPENDENCIES),
        list(&TEST_DEPENDENCIES)
    ))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => fs::copy(entry.path(), &to).map(drop)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_has_the_versions_of_the_workspace() {
        let manifest = manifest(include_str!("../../Cargo.toml")).unwrap();
        for line in [
            "\nserde = { version = \"1.0\",",
            "\n[dependencies]\nserde = { workspace = true }\n",
            "\nproptest = { workspace = true }\n",
        ] {
            assert!(manifest.contains(line), "{line}: {manifest}");
        }
        assert!(!manifest.contains("path ="), "{manifest}");
    }

    #[test]
    fn slow_tests_are_there() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../detector-user/src/core/tests");
        for name in SLOW {
            let file = name.rsplit("::").next().unwrap_or_default();
            assert!(tests.join(format!("{file}.rs")).is_file(), "{name}");
        }
    }
}
