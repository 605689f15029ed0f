//! `cargo xtask mutants`: changes one operator, value or function at a time where a mistake does the
//! most harm, and looks whether a test fails. What no test sees is a test that is missing, or is
//! explained in `.cargo/mutants.toml`.
//!
//! A mutant of the whole daemon would take a minute. So the modules that matter are copied into
//! a package of their own (`package`), which takes seconds to build. The quick tests come first. What these let live
//! has to survive all of the package's tests to be reported.

mod package;
mod scope;

use std::{fs, path::Path, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use self::scope::{SCOPES, Scope};
use crate::{
    facts::cache_dir,
    invocation::Invocation,
    pins::CARGO_MUTANTS,
    step::{OnFailure, Runner, Step},
    workspace::Workspace,
};

const CONFIG: &str = ".cargo/mutants.toml";

/// The options of `cargo xtask mutants`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Only this part: core (rule, session, what is destroyed when), decoders (what is read from the
    /// kernel and from the network) or destroy (the hand that destroys sockets).
    #[arg(value_name = "PART")]
    scope: Option<String>,
    /// Only files that match, as in `src/core/rule/mod.rs`; needs PART.
    #[arg(long = "file", value_name = "GLOB", requires = "scope")]
    files: Vec<String>,
    /// A part of the mutants, as in 0/8.
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
}

/// Runs the mutants of each part. Those that survive end it with an error, after all parts.
pub fn run(runner: &Runner, workspace: &Workspace, options: &Options) -> Result<()> {
    let scopes = chosen(options.scope.as_deref())?;
    let program = installed(runner)?;
    let mut survived = Vec::new();
    for scope in scopes {
        runner.heading(&format!("mutants of {}: {}", scope.name, scope.what));
        if !runner.dry_run {
            package::make(&workspace.root, scope)?;
        }
        let run = Run {
            program: &program,
            root: &workspace.root,
            scope,
            options,
        };
        survived.extend(run.all(runner)?);
    }
    if survived.is_empty() {
        return Ok(());
    }
    bail!(
        "no test sees these, so each needs one, or an explanation in {CONFIG}:\n{}",
        survived.join("\n")
    )
}

fn chosen(name: Option<&str>) -> Result<Vec<&'static Scope>> {
    let Some(name) = name else {
        return Ok(SCOPES.iter().collect());
    };
    let scope = SCOPES.iter().find(|scope| scope.name == name);
    let names = || SCOPES.map(|scope| scope.name).join(", ");
    Ok(vec![scope.with_context(|| {
        format!("no part {name:?}; there are {}", names())
    })?])
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

/// One part, with what was asked for.
#[derive(Clone, Copy)]
struct Run<'a> {
    program: &'a Path,
    root: &'a Path,
    scope: &'a Scope,
    options: &'a Options,
}

impl Run<'_> {
    /// The mutants that survive all tests.
    fn all(&self, runner: &Runner) -> Result<Vec<String>> {
        let skipped = self.scope.slow.iter().flat_map(|name| ["--skip", name]);
        let quick = self.mutants(&[]).args(skipped);
        let survived = self.tried(
            runner,
            "try each mutant with the quick tests",
            "most are caught within seconds",
            quick,
        )?;
        if survived.is_empty() || self.scope.slow.is_empty() {
            return Ok(survived);
        }
        self.tried(
            runner,
            "try those that lived with all tests",
            "the slow tests see some more",
            self.mutants(&survived),
        )
    }

    /// Those that live. A run that fails and lists none has failed for another reason: say, because the
    /// tests fail without any mutant.
    fn tried(
        &self,
        runner: &Runner,
        what: &str,
        why: &str,
        command: Invocation,
    ) -> Result<Vec<String>> {
        let result = runner.run(&Step::new(what, why, command).on_failure(OnFailure::Continue));
        if runner.dry_run {
            return Ok(Vec::new());
        }
        let list = |name: &str| lines(&self.lists().join(name));
        let mut survived = list("missed.txt");
        // cargo-mutants 27.1 does not ask `exclude_re` about fields of structs.
        survived.retain(|name| !name.contains(" in any_"));
        match result {
            Err(error) if survived.is_empty() && list("timeout.txt").is_empty() => Err(error),
            _ => Ok(survived),
        }
    }

    fn lists(&self) -> PathBuf {
        package::directory(self.root, self.scope).join("mutants.out")
    }

    /// cargo-mutants with all mutants of the part, or only with these.
    fn mutants(&self, only: &[String]) -> Invocation {
        let files: Vec<&str> = match self.options.files.as_slice() {
            [] => self.scope.files.to_vec(),
            some => some.iter().map(String::as_str).collect(),
        };
        let directory = package::directory(self.root, self.scope);
        let mut command = Invocation::new(self.program)
            .args(["mutants", "--in-place", "--colors", "never", "--no-times"])
            .args(["--dir".as_ref(), directory.join(package::NAME).as_path()])
            .args(["--output".as_ref(), directory.as_path()])
            .args(["--config".as_ref(), self.root.join(CONFIG).as_path()])
            .args(files.iter().flat_map(|glob| ["--file", glob]));
        if only.is_empty() {
            let shard = self.options.shard.as_deref();
            command = command
                // Five times as long as without a mutant, and no less than this on a busy machine.
                .args(["--minimum-test-timeout", "20"])
                .args(shard.into_iter().flat_map(|shard| ["--shard", shard]));
        } else {
            let exactly = |name: &String| ["--re".to_owned(), format!("^{}$", escaped(name))];
            command = command
                .args(["--baseline", "skip", "--timeout", "300"])
                .args(only.iter().flat_map(exactly));
        }
        command
            .args(["--cargo-arg=--lib", "--", "--"])
            .args(self.scope.tests)
            // Each mutant changes one file: only what depends on it is compiled again.
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            // All parts use the same builds of other crates.
            .env("CARGO_TARGET_DIR", self.root.join("target/mutants/build"))
    }
}

/// The lines of a file; none if it is not there.
fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// As a regular expression that matches this text alone.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_chosen_by_its_name_and_an_unknown_one_lists_them() {
        assert_eq!(chosen(None).unwrap().len(), SCOPES.len());
        assert_eq!(chosen(Some("destroy")).unwrap()[0].name, "destroy");
        let error = chosen(Some("decoder")).unwrap_err().to_string();
        assert!(error.contains("there are core, decoders"), "{error}");
    }

    #[test]
    fn a_mutant_s_name_matches_itself_alone() {
        let name = "src/a.rs:7:5: replace a -> Option<u8> with None";
        let expected = r"src/a\.rs:7:5: replace a -> Option<u8> with None";
        assert_eq!(escaped(name), expected);
        assert_eq!(escaped("|| (*)"), r"\|\| \(\*\)");
    }
}
