//! Names of the lab's hosts, in a file that replaces the daemon's /etc/hosts.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tempfile::TempDir;

/// A hosts file; to be given to [`crate::DaemonOptions::hosts`]. It can be rewritten while the
/// daemon runs.
#[derive(Debug)]
pub struct Names {
    file: PathBuf,
    // Holds the file.
    _directory: TempDir,
}

impl Names {
    /// One name with these addresses.
    pub fn new(name: &str, addresses: &[IpAddr]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for names")?;
        let names = Self {
            file: directory.path().join("hosts"),
            _directory: directory,
        };
        names.set(name, addresses)?;
        Ok(names)
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The name has these addresses from now on.
    pub fn set(&self, name: &str, addresses: &[IpAddr]) -> anyhow::Result<()> {
        let named: String = addresses.iter().map(|a| format!("{a} {name}\n")).collect();
        let lines = format!("127.0.0.1 localhost\n{named}");
        // In place: the daemon sees this very file.
        fs::write(&self.file, lines)
            .with_context(|| format!("cannot write {}", self.file.display()))
    }
}
