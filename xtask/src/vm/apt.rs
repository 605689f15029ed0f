//! Apt with lists, state and cache of its own, so that this machine's stay as they are. The mirrors
//! are those that this machine uses.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::arch::Arch;
use crate::invocation::Invocation;

/// Apt, for packages of one processor.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    arch: Arch,
}

/// A part of the archive that this machine uses.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The archive's label, such as `Debian-Security`.
    pub label: String,
    pub uri: String,
    pub suite: String,
}

impl Apt {
    /// Fetches the lists of these suites into `folder`.
    pub fn open(folder: PathBuf, arch: Arch, mirrors: &[Mirror]) -> Result<Self> {
        for made in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(made))?;
        }
        let list = mirrors.iter().map(|mirror| mirror.line(arch));
        fs::write(folder.join("sources.list"), list.collect::<String>())?;
        // Nothing is installed here.
        fs::write(folder.join("status"), "")?;
        let apt = Self { folder, arch };
        let update = apt.command("apt-get").args(["update", "--quiet=2"]);
        update
            .run(true)
            .context("cannot fetch the lists of Debian's packages")?;
        Ok(apt)
    }

    /// `apt-get` or another of its commands, with the options that keep it in its folder.
    pub fn command(&self, command: &str) -> Invocation {
        let at = |name: &str, path: &str| format!("{name}={}", self.folder.join(path).display());
        let options = [
            at("Dir::Etc::SourceList", "sources.list"),
            at("Dir::State::status", "status"),
            at("Dir::State::Lists", "lists"),
            at("Dir::Cache", "cache"),
            format!("APT::Architecture={}", self.arch.debian()),
            "Dir::Etc::SourceParts=/nonexistent".to_owned(),
            "Debug::NoLocking=true".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ];
        let options = options.iter().flat_map(|option| ["-o", option.as_str()]);
        Invocation::new(command).args(options)
    }

    /// Unpacks these packages and all that they depend on into a new directory.
    pub fn unpack_with_dependencies(&self, packages: &[String], into: &Path) -> Result<()> {
        let fetch = self.command("apt-get").args([
            "install",
            "--download-only",
            "--no-install-recommends",
            "--yes",
            "--quiet=2",
        ]);
        fetch.args(packages).run(true)?;
        let debs = self.folder.join("cache/archives");
        let unpack = r#"mkdir "$1" && for deb in "$0"/*.deb; do dpkg-deb -x "$deb" "$1" && rm "$deb" || exit 1; done"#;
        let unpack = Invocation::new("sh").args(["-c", unpack]);
        unpack.args([&debs, into]).run(true)
    }
}

impl Mirror {
    /// Those of Debian's that this machine uses.
    pub fn in_use() -> Result<Vec<Self>> {
        let format = "$(LABEL) $(REPO_URI) $(RELEASE)";
        let targets = Invocation::new("apt-get")
            .args(["indextargets", "--format", format, "Created-By: Packages"])
            .output()
            .context("apt-get indextargets does not name this machine's mirrors")?;
        let mut lines: Vec<&str> = targets.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        let mirror = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let (label, uri, suite) = (words.next()?, words.next()?, words.next()?);
            label
                .starts_with("Debian")
                .then_some(Self { label, uri, suite })
        };
        Ok(lines.into_iter().filter_map(mirror).collect())
    }

    fn line(&self, arch: Arch) -> String {
        let (arch, uri, suite) = (arch.debian(), &self.uri, &self.suite);
        format!(
            "deb [arch={arch} signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {uri} {suite} main\n"
        )
    }
}
