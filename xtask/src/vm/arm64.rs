//! What guests with arm64 run, on a build machine of another kind: programs that are built for it,
//! and Debian's tools.
//!
//! The standard library for arm64 is the one of Debian's `rustc-web`, so that nothing but Debian's
//! mirror is needed; it fits that compiler and no other. The linker is Debian's cross compiler. The
//! library and the tools are only unpacked, into the cache.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    apt::{Apt, Mirror},
    arch::Arch,
};
use crate::invocation::Invocation;

pub const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The compiler whose standard library is unpacked.
const COMPILER: &str = "/usr/bin/rustc";
const LOADER: &str = "ld-linux-aarch64.so.1";
/// The packages of what the lab calls.
const PACKAGES: [&str; 6] = [
    "bpftool",
    "busybox-static",
    "iproute2",
    "nftables",
    "util-linux",
    "util-linux-extra",
];

/// Debian's files for arm64.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// Fetches them, unless the cache has those that fit this machine's compiler.
    pub fn fetch(cache: &Path) -> Result<Self> {
        let version = Invocation::new("dpkg-query").args(["-W", "-f", "${Version}", "rustc-web"]);
        let version = version
            .output()
            .filter(|version| !version.is_empty())
            .with_context(|| {
                format!(
                    "{COMPILER} is not the one that Debian has a standard library for arm64 for: \
                     `apt-get install rustc-web` replaces it"
                )
            })?;
        let whole = cache.join(format!("arm64-{version}"));
        if !whole.is_dir() {
            let unfinished = cache.join("unfinished");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)?;
            }
            let library = format!("libstd-rust-web-dev={version}");
            let packages = PACKAGES.map(str::to_owned).into_iter().chain([library]);
            let apt = Apt::open(
                cache.join("apt-arm64-tools"),
                Arch::Arm64,
                &Mirror::in_use()?,
            )?;
            apt.unpack_with_dependencies(&packages.collect::<Vec<_>>(), &unfinished)
                .context("Debian's tools and standard library for arm64 cannot be had")?;
            fs::rename(&unfinished, &whole)?;
        }
        Ok(Self(whole))
    }

    /// Builds for arm64 instead of for this machine.
    pub fn builds(&self, cargo: Invocation) -> Invocation {
        let name = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU";
        let sysroot = format!("--sysroot={}", self.0.join("usr").display());
        cargo
            .args(["--target", TARGET])
            .env("RUSTC", COMPILER)
            .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
            .env(&format!("{name}_LINKER"), "aarch64-linux-gnu-gcc")
            .env(&format!("{name}_RUSTFLAGS"), sysroot)
    }

    /// A command of the tools.
    pub fn command(&self, name: &str) -> Result<PathBuf> {
        let places = ["bin", "sbin", "usr/bin", "usr/sbin"].map(|at| self.0.join(at).join(name));
        // Links would lead out of the directory.
        let found = places.into_iter().find(|path| path.is_file());
        found.with_context(|| format!("Debian's tools for arm64 have no {name}"))
    }

    /// The libraries of these programs and their loader, each with its place in a guest.
    pub fn libraries(&self, programs: &[&Path]) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut waiting: Vec<PathBuf> = programs.iter().map(|&path| path.to_owned()).collect();
        waiting.extend(self.library(LOADER));
        while let Some(program) = waiting.pop() {
            for name in needed(&program)? {
                let library = self.library(&name).with_context(|| {
                    let program = program.display();
                    format!("Debian's tools for arm64 have no {name}, for {program}")
                })?;
                if found.insert(name, library.clone()).is_none() {
                    waiting.push(library);
                }
            }
        }
        let folder = Path::new("lib/aarch64-linux-gnu");
        let mut all: Vec<(PathBuf, PathBuf)> = found
            .into_iter()
            .map(|(name, library)| (library, folder.join(name)))
            .collect();
        let loader = self.library(LOADER).context("libc has no loader")?;
        all.push((loader, Path::new("lib").join(LOADER)));
        Ok(all)
    }

    fn library(&self, name: &str) -> Option<PathBuf> {
        let folders = ["lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"];
        let mut places = folders.iter().map(|at| self.0.join(at).join(name));
        places.find(|path| path.is_file())
    }
}

/// The names of the libraries that a program asks for.
fn needed(program: &Path) -> Result<Vec<String>> {
    let told = Invocation::new("readelf").args(["-d"]).args([program]);
    let told = told
        .output()
        .with_context(|| format!("readelf cannot read {}", program.display()))?;
    let names = told.lines().filter(|line| line.contains("(NEEDED)"));
    let name = |line: &str| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned());
    Ok(names.filter_map(name).collect())
}
