//! Where things are in this checkout.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::facts::{cache_dir, find_command, more_directories};

/// The checkout and the directory that cargo builds into.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The checkout this program was built from.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask is not inside a workspace")?
            .to_owned();
        // Cargo put us into `<target>/debug`: whatever option or setting chose that
        // directory chooses it for the other builds too.
        let target = std::env::current_exe()
            .ok()
            .and_then(|program| program.parent()?.parent().map(Path::to_owned))
            .filter(|target| target.join("CACHEDIR.TAG").is_file())
            .unwrap_or_else(|| root.join("target"));
        Ok(Self { root, target })
    }

    /// The eBPF object that the daemon's build includes when it is there.
    pub fn object(&self) -> PathBuf {
        self.root.join("target/ebpf/detector.o")
    }

    /// A command that setup found or unpacked; by its name where it did neither yet.
    pub fn tool(&self, command: &str) -> Result<PathBuf> {
        Ok(find_command(command, &cache_dir()?).unwrap_or_else(|| command.into()))
    }

    /// PATH with the directories of every command that setup looks for.
    pub fn path() -> Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let more = more_directories(&cache_dir()?);
        std::env::join_paths(std::env::split_paths(&path).chain(more))
            .context("a directory with a colon in its name cannot be on PATH")
    }

    /// A program of ours, built with `profile`.
    pub fn binary(&self, profile: Profile, name: &str) -> PathBuf {
        self.target.join(profile.directory()).join(name)
    }
}

/// How the host's programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Debug,
    Release,
}

impl Profile {
    const fn directory(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}
