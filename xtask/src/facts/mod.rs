//! Finds out what this machine has, and changes nothing. [`crate::plan`] decides from these facts.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::pins::SERVERS;

pub use apt::Apt;
pub use rust::{Origin, Release, Toolchain};

mod apt;
mod rust;

/// All facts from which setup decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub is_root: bool,
    pub commands: BTreeSet<String>,
    /// `None` if this is not a Debian.
    pub apt: Option<Apt>,
    /// All toolchains that were found, the preferred one first.
    pub toolchains: Vec<Toolchain>,
    /// LLVM development files: the prefix of each major version.
    pub llvm: BTreeMap<u32, PathBuf>,
    /// The directory for tools that no package manager installs.
    pub cache: PathBuf,
    pub rustup_home: PathBuf,
}

impl Facts {
    pub fn has(&self, command: &str) -> bool {
        self.commands.contains(command)
    }

    /// Whether steps that need root are possible: this is root, or there is `sudo`.
    pub fn can_be_root(&self) -> bool {
        self.is_root || self.has("sudo")
    }

    /// Gathers the facts; `lists_renewed` says whether this run has renewed apt's lists.
    pub fn gather(lists_renewed: bool) -> Result<Self> {
        let cache = cache_dir()?;
        let rustup_home = rustup_home()?;
        let commands = COMMANDS
            .iter()
            .filter(|command| find_command(command, &cache).is_some())
            .map(|&command| command.to_owned())
            .collect::<BTreeSet<_>>();
        Ok(Self {
            is_root: is_root(),
            apt: commands
                .contains("apt-get")
                .then(|| Apt::gather(lists_renewed)),
            toolchains: rust::toolchains(&cache, &rustup_home),
            llvm: rust::llvm_prefixes(),
            rustup_home,
            commands,
            cache,
        })
    }
}

/// The commands whose presence is checked.
const COMMANDS: [&str; 33] = [
    "/usr/bin/rustc",
    "aarch64-linux-gnu-gcc",
    "aarch64-linux-gnu-strip",
    "amtool",
    "apt-get",
    "bpftool",
    "busybox",
    "c++",
    "cargo-binstall",
    "chromium",
    "cpio",
    "curl",
    "dbus-daemon",
    "depmod",
    "dpkg-deb",
    "dpkg-shlibdeps",
    "etcd",
    "ip",
    "mmdebstrap",
    "nft",
    "nsenter",
    "prometheus",
    "prometheus-alertmanager",
    "promtool",
    "qemu-system-aarch64",
    "qemu-system-x86_64",
    "rustup",
    "strip",
    "sudo",
    "tar",
    "tmux",
    "xz",
    "zstd",
];

/// Finds a command on PATH, in the system directories that many users' PATH lacks, or among the
/// tools that setup unpacked.
pub fn find_command(command: &str, cache: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(more_directories(cache))
        .map(|directory| directory.join(command))
        .find(|file| is_executable(file))
}

/// The directories to search besides PATH: the system directories are not on the PATH of most
/// users.
pub fn more_directories(cache: &Path) -> Vec<PathBuf> {
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut all = Vec::from(system);
    all.extend(SERVERS.map(|tool| cache.join(tool.package).join("usr/bin")));
    all.dedup();
    all
}

/// `$XDG_CACHE_HOME/detector`; by default `~/.cache/detector`.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(cache) = set("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(cache).join("detector"));
    }
    Ok(home()?.join(".cache/detector"))
}

/// The directory of cargo's registry and installed programs.
pub fn cargo_home() -> Result<PathBuf> {
    match env::var_os("CARGO_HOME").filter(|value| !value.is_empty()) {
        Some(home) => Ok(PathBuf::from(home)),
        None => Ok(home()?.join(".cargo")),
    }
}

fn home() -> Result<PathBuf> {
    env::home_dir()
        .filter(|home| !home.as_os_str().is_empty())
        .context("no home directory: set HOME")
}

fn rustup_home() -> Result<PathBuf> {
    match env::var_os("RUSTUP_HOME").filter(|value| !value.is_empty()) {
        Some(home) => Ok(PathBuf::from(home)),
        None => Ok(home()?.join(".rustup")),
    }
}

pub fn is_root() -> bool {
    // The owner of this process's /proc entry is its effective user.
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins::{ARM64_TOOLS, DEBIAN, DIST_TOOLS, LAB_TOOLS, TEST_TOOLS, VM_TOOLS};

    /// One that is not looked for would be installed again and again.
    #[test]
    fn every_tool_is_looked_for() {
        let tools = [
            &LAB_TOOLS[..],
            &TEST_TOOLS,
            &DIST_TOOLS,
            &SERVERS,
            &VM_TOOLS,
            &ARM64_TOOLS,
            &[DEBIAN],
        ]
        .concat();
        for tool in tools {
            assert!(COMMANDS.contains(&tool.command), "{}", tool.command);
        }
    }
}
