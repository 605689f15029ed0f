//! One external command: how it is written down, and how it is run.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Variables that the cargo around us sets for *our* build and that would mislead an inner
/// one: its compiler, its flags, its package.
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

/// A command line with what it adds to the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// Needs root: goes through `sudo` for everyone else.
    pub root: bool,
    /// Start without what an outer cargo put into the environment.
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

    /// The cargo that runs us, for the host's own builds.
    pub fn cargo() -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
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

    /// The words after which this command would be typed; `sudo` resets the environment, so
    /// there it is handed over by `env`.
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

    /// As a shell would take it.
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

    /// The command, ready to be started.
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

    /// Runs it with its output streaming through; anything but success is an error.
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

    /// Becomes it: its signals, its terminal and its exit code are then nobody else's.
    pub fn exec(&self, is_root: bool) -> anyhow::Error {
        use std::os::unix::process::CommandExt as _;
        let error = self.command(is_root).exec();
        anyhow::Error::new(error).context(format!("cannot start `{}`", self.display(is_root)))
    }

    /// Whether it succeeds; what it prints is not for anyone.
    pub fn quiet(&self) -> bool {
        self.command(true)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Its standard output, if it could be run and succeeded.
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
        // Where crates come from, and through which proxy, stays the user's.
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
