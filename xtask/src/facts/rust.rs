//! The Rust toolchains of this machine, and the linkers that can read their bitcode.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{cargo_home, find_command, is_executable};
use crate::{invocation::Invocation, pins::BPF_LINKER_LLVM, proof};

/// A compiler's version, without the patch level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    pub major: u32,
    pub minor: u32,
}

impl Release {
    /// The first two numbers in `text`; the rest is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        Some(Self {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
        })
    }

    /// Like [`Self::parse`], for a constant that is known to be `<major>.<minor>…`.
    pub const fn parse_const(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut numbers = [0; 2];
        let (mut at, mut which) = (0, 0);
        while at < bytes.len() && which < 2 {
            if bytes[at].is_ascii_digit() {
                numbers[which] = numbers[which] * 10 + (bytes[at] - b'0') as u32;
            } else {
                which += 1;
            }
            at += 1;
        }
        Self {
            major: numbers[0],
            minor: numbers[1],
        }
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What installed a Rust toolchain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    System,
    Rustup,
}

/// A Rust compiler with its cargo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    pub name: String,
    pub origin: Origin,
    pub rustc: PathBuf,
    pub cargo: PathBuf,
    pub sysroot: PathBuf,
    pub release: Release,
    /// The major version of the LLVM that writes its bitcode.
    pub llvm: u32,
    /// Whether the sources of `core` are in its sysroot.
    pub has_source: bool,
    /// A bpf-linker that has read its bitcode successfully.
    pub linker: Option<PathBuf>,
}

/// All bpf-linkers: on PATH, in the directory of `cargo install`, and in the cache.
fn linkers(cache: &Path) -> Vec<PathBuf> {
    let cached = fs::read_dir(cache)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/bpf-linker"))
        .filter(|file| is_executable(file));
    let mut found: Vec<PathBuf> = Vec::new();
    let installed = cargo_home().map(|home| home.join("bin/bpf-linker"));
    let known = find_command("bpf-linker", cache)
        .into_iter()
        .chain(installed);
    for linker in known.chain(cached) {
        if is_executable(&linker) && !found.contains(&linker) {
            found.push(linker);
        }
    }
    found
}

/// The system's toolchain and all of rustup's, each with the first linker that can read its
/// bitcode.
pub fn toolchains(cache: &Path, rustup_home: &Path) -> Vec<Toolchain> {
    let linkers = linkers(cache);
    let system = ["/usr/bin", "/usr/local/bin"]
        .iter()
        .filter_map(|directory| {
            let rustc = Path::new(directory).join("rustc");
            // Some distributions install a rustup proxy there.
            let behind = fs::canonicalize(&rustc).ok()?;
            (behind.file_name()? != "rustup")
                .then_some((Origin::System, Path::new(directory).to_owned()))
        });
    let rustup = rustup_toolchains(rustup_home)
        .into_iter()
        .map(|home| (Origin::Rustup, home.join("bin")));
    let mut found: Vec<Toolchain> = system
        .chain(rustup)
        .filter_map(|(origin, directory)| inspect(origin, &directory))
        .collect();
    for toolchain in found.iter_mut().filter(|toolchain| toolchain.has_source) {
        let works = |linker: &&PathBuf| proof::linker_reads(toolchain, linker);
        toolchain.linker = linkers.iter().find(works).cloned();
    }
    found
}

/// rustup's toolchains, without aliases.
fn rustup_toolchains(home: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.join("toolchains"))
        .into_iter()
        .flatten()
        .flatten();
    let homes: BTreeSet<PathBuf> = entries
        .filter_map(|entry| fs::canonicalize(entry.path()).ok())
        .collect();
    homes.into_iter().collect()
}

fn inspect(origin: Origin, directory: &Path) -> Option<Toolchain> {
    let (rustc, cargo) = (directory.join("rustc"), directory.join("cargo"));
    if !is_executable(&rustc) || !is_executable(&cargo) {
        return None;
    }
    let ask = |arg: &[&str]| Invocation::new(&rustc).args(arg).scrubbed().output();
    let version = ask(&["-vV"])?;
    let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim());
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name));
    let release = field("release: ")?;
    let source = sysroot.join("lib/rustlib/src/rust/library/Cargo.lock");
    Some(Toolchain {
        name: match origin {
            Origin::System => format!("the system's Rust {release}"),
            Origin::Rustup => format!("rustup's {}", sysroot.file_name()?.to_string_lossy()),
        },
        origin,
        release: Release::parse(release)?,
        llvm: field("LLVM version: ")?.split('.').next()?.parse().ok()?,
        has_source: source.is_file(),
        rustc,
        cargo,
        sysroot,
        linker: None,
    })
}

pub fn llvm_prefixes() -> BTreeMap<u32, PathBuf> {
    let named = BPF_LINKER_LLVM.map(|major| format!("llvm-config-{major}"));
    named
        .chain(["llvm-config".to_owned()])
        .filter_map(|program| {
            let major = Invocation::new(&program).args(["--version"]).output()?;
            let major = major.split('.').next()?.parse().ok()?;
            let prefix = Invocation::new(&program).args(["--prefix"]).output()?;
            Some((major, PathBuf::from(prefix.trim())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_is_the_first_two_numbers() {
        let release = |major, minor| Some(Release { major, minor });
        assert_eq!(Release::parse("1.96.0+dfsg1-1~deb12u2"), release(1, 96));
        assert_eq!(Release::parse("1.97.0-nightly"), release(1, 97));
        assert_eq!(Release::parse("1"), None);
        assert_eq!(Release::parse("next"), None);
        assert_eq!(Some(Release::parse_const("1.95")), release(1, 95));
        assert_eq!(Some(Release::parse_const("1.95.3")), release(1, 95));
    }
}
