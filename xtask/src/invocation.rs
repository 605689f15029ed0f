//! One external command: how it is printed, and how it is run.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Variables that the outer cargo sets for *its* build, and that would mislead an inner cargo:
/// compiler, flags, package.
const OUTER_CARGO: [&str; 12] = [
    "RUSTC",
    "RUSTDOC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_BOOTSTRAP",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
    "CARGO",
    "LD_LIBRARY_PATH",
    "OUT_DIR",
    "TARGET",
];

/// Prefixes of further such variables.
const OUTER_CARGO_PREFIXES: [&str; 9] = [
    "CARGO_ENCODED_",
    "CARGO_BUILD_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
];

/// A command line with its additions to the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// Whether it needs root: then other users run it through `sudo`.
    pub root: bool,
    /// Whether to remove what an outer cargo put into the environment.
    scrub: bool,
}

impl Invocation {
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            root: false,
            scrub: false,
        }
    }

    /// The cargo that runs this program, for builds for this host, with this subcommand. The lock file
    /// is part of each change: a build that would alter it fails.
    pub fn cargo(subcommand: &str) -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([subcommand, "--locked"])
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(
            args.into_iter()
                .map(|arg| arg.as_ref().to_string_lossy().into_owned()),
        );
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref().to_string_lossy().into_owned();
        self.env.push((name.to_owned(), value));
        self
    }

    pub fn needing_root(mut self) -> Self {
        self.root = true;
        self
    }

    pub fn scrubbed(mut self) -> Self {
        self.scrub = true;
        self
    }

    /// The words of the command line as a user would type it. `sudo` resets the environment, so
    /// `env` passes it on there.
    fn words(&self, is_root: bool) -> Vec<String> {
        let mut words = Vec::new();
        if self.root && !is_root {
            words.push("sudo".to_owned());
            if !self.env.is_empty() {
                words.push("env".to_owned());
                words.extend(
                    self.env
                        .iter()
                        .map(|(name, value)| format!("{name}={value}")),
                );
            }
        }
        words.push(self.program.to_string_lossy().into_owned());
        words.extend(self.args.iter().cloned());
        words
    }

    /// The words of the command line, for a script that runs it.
    pub fn line(&self) -> Vec<String> {
        self.words(true)
    }

    /// The command in shell syntax.
    pub fn display(&self, is_root: bool) -> String {
        let mut line: Vec<String> = Vec::new();
        if !self.root || is_root {
            line.extend(
                self.env
                    .iter()
                    .map(|(name, value)| format!("{name}={}", quote(value))),
            );
        }
        line.extend(self.words(is_root).iter().map(|word| quote(word)));
        line.join(" ")
    }

    /// The command, ready to start.
    pub fn command(&self, is_root: bool) -> Command {
        let words = self.words(is_root);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if self.scrub {
            for (name, _) in std::env::vars_os() {
                if name.to_str().is_some_and(is_outer_cargo) {
                    command.env_remove(name);
                }
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the command and shows its output; fails unless it succeeds.
    pub fn run(&self, is_root: bool) -> Result<()> {
        let status = self
            .command(is_root)
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot start `{}`", self.display(is_root)))?;
        if !status.success() {
            bail!("`{}` failed: {status}", self.display(is_root));
        }
        Ok(())
    }

    /// Replaces this process by the command, which then gets its signals and terminal and sets its
    /// exit code.
    pub fn exec(&self, is_root: bool) -> anyhow::Error {
        use std::os::unix::process::CommandExt as _;
        let error = self.command(is_root).exec();
        anyhow::Error::new(error).context(format!("cannot start `{}`", self.display(is_root)))
    }

    /// Whether the command succeeds; its output is discarded.
    pub fn quiet(&self) -> bool {
        self.command(true)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// The command's standard output, if it could be run and succeeded.
    pub fn output(&self) -> Option<String> {
        let output = self.command(true).stdin(Stdio::null()).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn is_outer_cargo(name: &str) -> bool {
    OUTER_CARGO.contains(&name)
        || OUTER_CARGO_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else if word.contains('\x1f') {
        // Cargo's separator of encoded flags.
        let word = word.replace('\\', "\\\\").replace('\'', "\\'");
        format!("$'{}'", word.replace('\x1f', "\\x1f"))
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_carries_the_environment_by_env() {
        let install = Invocation::new("apt-get")
            .args(["install", "-y", "nftables"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .needing_root();
        assert_eq!(
            install.display(false),
            "sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y nftables"
        );
        assert_eq!(
            install.display(true),
            "DEBIAN_FRONTEND=noninteractive apt-get install -y nftables"
        );
    }

    #[test]
    fn what_is_shown_can_be_pasted_into_a_shell() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote("-Ca\x1f-Cb='c'"), "$'-Ca\\x1f-Cb=\\'c\\''");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn an_inner_cargo_sees_nothing_of_the_outer_one() {
        for name in [
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "CARGO_PKG_NAME",
            "CARGO_ENCODED_RUSTFLAGS",
        ] {
            assert!(is_outer_cargo(name), "{name}");
        }
        // The user's settings for sources of crates and for proxies are kept.
        for name in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_PROXY",
            "PATH",
            "RUSTUP_HOME",
        ] {
            assert!(!is_outer_cargo(name), "{name}");
        }
    }
}
