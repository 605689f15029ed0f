//! What this machine has: looked at, never changed. [`crate::plan`] decides from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    invocation::Invocation,
    pins::{BPF_LINKER_LLVM, DEBIAN_RUST},
    proof,
};

/// Package lists older than this are renewed before anything is installed from them.
const LISTS_FRESH: Duration = Duration::from_secs(6 * 3600);

/// A compiler's version, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    pub major: u32,
    pub minor: u32,
}

impl Release {
    /// The first two numbers of `text`; anything after them is skipped.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        Some(Self {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
        })
    }

    /// As [`Self::parse`], for a constant that is known to be `<major>.<minor>…`.
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

/// Who keeps a Rust toolchain up to date.
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
    /// The sources of `core` are in its sysroot.
    pub has_source: bool,
    /// A bpf-linker that was seen to read its bitcode.
    pub linker: Option<PathBuf>,
}

/// Debian's package manager and what it offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apt {
    /// The lists were renewed lately.
    pub fresh: bool,
    /// Package → the version that would be installed.
    pub offers: BTreeMap<String, String>,
}

/// Everything that setup decides from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub is_root: bool,
    pub commands: BTreeSet<String>,
    /// `None`: not a Debian.
    pub apt: Option<Apt>,
    /// Every toolchain found, the preferred one first.
    pub toolchains: Vec<Toolchain>,
    /// LLVM development files: major → prefix.
    pub llvm: BTreeMap<u32, PathBuf>,
    /// Event formats of the kernel can be had under /sys/kernel/tracing.
    pub tracefs: bool,
    /// Where tools go that no package manager keeps.
    pub cache: PathBuf,
    pub rustup_home: PathBuf,
}

impl Facts {
    pub fn has(&self, command: &str) -> bool {
        self.commands.contains(command)
    }

    /// Steps that need root can be done: we are, or `sudo` is there to ask.
    pub fn can_be_root(&self) -> bool {
        self.is_root || self.has("sudo")
    }

    /// Looks at the machine; `lists_renewed` when this run has renewed apt's lists.
    pub fn gather(lists_renewed: bool) -> Result<Self> {
        let cache = cache_dir()?;
        let commands = COMMANDS
            .iter()
            .filter(|command| find_command(command, &cache).is_some())
            .map(|&command| command.to_owned())
            .collect::<BTreeSet<_>>();
        let linkers = linkers(&cache)?;
        Ok(Self {
            is_root: is_root(),
            apt: commands.contains("apt-get").then(|| apt(lists_renewed)),
            toolchains: toolchains(&linkers, &rustup_home()?),
            llvm: llvm_prefixes(),
            tracefs: tracefs_mounted(),
            rustup_home: rustup_home()?,
            commands,
            cache,
        })
    }
}

/// Commands whose presence is a fact.
const COMMANDS: [&str; 13] = [
    "apt-get",
    "bpftool",
    "c++",
    "cargo-binstall",
    "curl",
    "ip",
    "nft",
    "nsenter",
    "promtool",
    "rustup",
    "sudo",
    "tar",
    "zstd",
];

/// Finds a command on PATH, in the system directories that users often lack there, or among
/// the tools that setup unpacked.
pub fn find_command(command: &str, cache: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain([cache.join(command).join("usr/bin")])
        .map(|directory| directory.join(command))
        .find(|file| is_executable(file))
}

/// `$XDG_CACHE_HOME/detector`, by default `~/.cache/detector`.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(cache) = set("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(cache).join("detector"));
    }
    Ok(home()?.join(".cache/detector"))
}

/// Where cargo keeps its registry and its installed programs.
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

pub fn is_root() -> bool {
    // The owner of our own /proc entry is our effective user.
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn tracefs_mounted() -> bool {
    fs::read_to_string("/proc/self/mounts").is_ok_and(|mounts| {
        mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .any(|at| at == "/sys/kernel/tracing")
    })
}

fn apt(lists_renewed: bool) -> Apt {
    let llvm = BPF_LINKER_LLVM.map(|major| format!("llvm-{major}-dev"));
    let packages = DEBIAN_RUST.map(str::to_owned).into_iter().chain(llvm);
    let offers = packages
        .filter_map(|package| {
            let policy = Invocation::new("apt-cache")
                .args(["policy", &package])
                .output()?;
            Some((package, candidate(&policy)?))
        })
        .collect();
    Apt {
        fresh: lists_renewed || lists_fresh(Path::new("/var/lib/apt/lists")),
        offers,
    }
}

/// The candidate's version in the answer of `apt-cache policy`.
fn candidate(policy: &str) -> Option<String> {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .find(|version| *version != "(none)")
        .map(str::to_owned)
}

/// apt gives its lists the server's dates; only the directories tell when it last ran.
fn lists_fresh(lists: &Path) -> bool {
    let recent = |path: PathBuf| {
        let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok()?;
        Some(modified.elapsed().ok()? < LISTS_FRESH)
    };
    recent(lists.to_owned()) == Some(true) || recent(lists.join("partial")) == Some(true)
}

/// Every bpf-linker there is: on PATH, where `cargo install` puts it, in our cache.
fn linkers(cache: &Path) -> Result<Vec<PathBuf>> {
    let cached = fs::read_dir(cache)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/bpf-linker"))
        .filter(|file| is_executable(file));
    let mut found: Vec<PathBuf> = Vec::new();
    let known = find_command("bpf-linker", cache).into_iter();
    for linker in known
        .chain([cargo_home()?.join("bin/bpf-linker")])
        .chain(cached)
    {
        if is_executable(&linker) && !found.contains(&linker) {
            found.push(linker);
        }
    }
    Ok(found)
}

/// The system's toolchain and all of rustup's, each with the first linker that can read it.
fn toolchains(linkers: &[PathBuf], rustup_home: &Path) -> Vec<Toolchain> {
    let system = ["/usr/bin", "/usr/local/bin"]
        .iter()
        .filter_map(|directory| {
            let rustc = Path::new(directory).join("rustc");
            // Some distributions put rustup's own stand-in there.
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

fn rustup_home() -> Result<PathBuf> {
    match env::var_os("RUSTUP_HOME").filter(|value| !value.is_empty()) {
        Some(home) => Ok(PathBuf::from(home)),
        None => Ok(home()?.join(".rustup")),
    }
}

/// rustup's toolchains without the aliases among them.
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

fn llvm_prefixes() -> BTreeMap<u32, PathBuf> {
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

    #[test]
    fn an_unknown_package_has_no_candidate() {
        let known = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n";
        assert_eq!(candidate(known).as_deref(), Some("1.96.0+dfsg1-1~deb12u2"));
        assert_eq!(
            candidate("x:\n  Installed: (none)\n  Candidate: (none)\n"),
            None
        );
        assert_eq!(candidate(""), None);
    }
}
