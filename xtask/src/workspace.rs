//! The paths of this checkout.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::facts::{cache_dir, find_command, more_directories};

/// The checkout, and the directory into which cargo builds.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The checkout from which this program was built.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask is not inside a workspace")?
            .to_owned();
        // Cargo put this program into `<target>/debug`. The option or setting that chose this
        // directory also applies to the other builds.
        let target = std::env::current_exe()
            .ok()
            .and_then(|program| program.parent()?.parent().map(Path::to_owned))
            .filter(|target| target.join("CACHEDIR.TAG").is_file())
            .unwrap_or_else(|| root.join("target"));
        Ok(Self { root, target })
    }

    /// The eBPF object, which the daemon's build includes if it exists.
    pub fn object(&self) -> PathBuf {
        self.root.join("target/ebpf/detector.o")
    }

    /// The path of a command that setup found or unpacked, or just its name if there is none yet.
    pub fn tool(&self, command: &str) -> Result<PathBuf> {
        Ok(find_command(command, &cache_dir()?).unwrap_or_else(|| command.into()))
    }

    /// PATH, extended by the directories of all commands that setup looks for.
    pub fn path() -> Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let more = more_directories(&cache_dir()?);
        std::env::join_paths(std::env::split_paths(&path).chain(more))
            .context("a directory with a colon in its name cannot be on PATH")
    }

    /// The directory of the packages of what was built with `profile`.
    pub fn packages(&self, profile: Profile) -> PathBuf {
        self.target.join("dist").join(profile.directory())
    }

    /// The directory of all that a release of this version consists of.
    pub fn releases(&self, version: &str) -> PathBuf {
        self.target.join("dist").join(version)
    }

    /// A path in the directory into which cargo builds.
    pub fn in_target(&self, path: &str) -> PathBuf {
        self.target.join(path)
    }

    /// The directory in which guests with other kernels are packed, and log.
    pub fn vm(&self) -> PathBuf {
        self.target.join("vm")
    }

    /// The path of one of the project's programs, built with `profile`.
    pub fn binary(&self, profile: Profile, name: &str) -> PathBuf {
        self.target.join(profile.directory()).join(name)
    }
}

/// How programs for this host are built.
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
