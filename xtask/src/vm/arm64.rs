//! What guests with arm64 run, on a build machine of another kind: programs that are built for it,
//! and Debian's tools.
//!
//! The standard library for arm64 is the one of Debian's `rustc-web`, so that nothing but Debian's
//! mirror is needed; it fits that compiler and no other. The linker is Debian's cross compiler. The
//! library and the tools are only unpacked, into the cache.

use std::{
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

    /// All libraries of the tools, and the loader, each with its place in a guest.
    pub fn libraries(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut all = Vec::new();
        for folder in ["lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"] {
            for entry in fs::read_dir(self.0.join(folder))? {
                let entry = entry?;
                let name = entry.file_name();
                let is_library = name.to_string_lossy().contains(".so");
                if is_library && entry.path().is_file() {
                    let place = Path::new("lib/aarch64-linux-gnu").join(name);
                    all.push((entry.path(), place));
                }
            }
        }
        let loader = "lib/ld-linux-aarch64.so.1";
        let libc_has_it = self.0.join("lib/aarch64-linux-gnu/ld-linux-aarch64.so.1");
        all.push((libc_has_it, loader.into()));
        Ok(all)
    }
}
