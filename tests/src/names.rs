//! Names of the lab's hosts, in a file that replaces a program's /etc/hosts.

use std::{
    fs::{self, File},
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tempfile::TempDir;

/// A hosts file, for [`crate::DaemonOptions::hosts`], and the directory with it and an empty
/// `resolv.conf`, for [`crate::StandIn`]. It can be rewritten while programs run.
#[derive(Debug)]
pub struct Names {
    file: PathBuf,
    directory: TempDir,
}

impl Names {
    /// One name with these addresses.
    pub fn new(name: &str, addresses: &[IpAddr]) -> anyhow::Result<Self> {
        let names = Self::none()?;
        names.set(name, addresses)?;
        Ok(names)
    }

    /// No names yet.
    pub fn none() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for names")?;
        let file = directory.path().join("hosts");
        for file in [&file, &directory.path().join("resolv.conf")] {
            fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(Self { file, directory })
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where it is, with the file `resolv.conf` beside it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// This name alone is known from now on, with these addresses.
    pub fn set(&self, name: &str, addresses: &[IpAddr]) -> anyhow::Result<()> {
        self.set_all(addresses.iter().map(|address| (name, *address)))
    }

    /// These names are known from now on.
    pub fn set_all<'a>(
        &self,
        named: impl IntoIterator<Item = (&'a str, IpAddr)>,
    ) -> anyhow::Result<()> {
        let named = named.into_iter();
        let named: String = named.map(|(name, at)| format!("{at} {name}\n")).collect();
        self.write(&format!("127.0.0.1 localhost\n{named}"))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// In place, because programs see this very file, and never empty in between.
    fn write(&self, lines: &str) -> std::io::Result<()> {
        let mut file = File::options().write(true).open(&self.file)?;
        file.write_all(lines.as_bytes())?;
        file.set_len(lines.len() as u64)
    }
}
