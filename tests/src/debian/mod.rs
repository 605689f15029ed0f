//! A clean Debian in a directory, to install packages in.
//!
//! It is made once from this machine's own apt sources, and kept in the cache.

mod installed;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

pub use self::installed::package;

/// It has systemd: the tools that a package's scripts call, and `systemd-analyze`.
const PACKAGES: &str = "systemd";

/// A Debian of a test's own. Dropping it removes it.
#[derive(Debug)]
pub struct Debian {
    root: TempDir,
}

impl Debian {
    /// Unpacks one; the first on a machine is made before, which takes minutes.
    pub fn unpack() -> anyhow::Result<Self> {
        let archive = archive()?;
        let root = tempfile::tempdir()?;
        // The scripts of packages change to users that are not root.
        fs::set_permissions(
            root.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--numeric-owner", "--preserve-permissions"]);
        tar.arg("--exclude=./dev/*");
        tar.arg("--file")
            .arg(archive)
            .arg("--directory")
            .arg(root.path());
        succeeds(&mut tar)?;
        fs::write(root.path().join("dev/null"), "")?;
        Ok(Self { root })
    }

    /// Where a file lies for this machine.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// Runs a command in it; fails unless it succeeds. Gives what it prints.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("chroot");
        command.arg(self.root.path()).args(words).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        let output = succeeds(&mut command)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// All files, directories and links, sorted.
    pub fn files(&self) -> anyhow::Result<Vec<String>> {
        let found = self.run(&["find", "/", "-xdev"])?;
        let mut files: Vec<String> = found.lines().map(str::to_owned).collect();
        files.sort();
        Ok(files)
    }
}

fn succeeds(command: &mut Command) -> anyhow::Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

/// The archive in the cache.
fn archive() -> anyhow::Result<PathBuf> {
    let release = of_this_machine("VERSION_CODENAME")?;
    let cache = cache()?;
    let archive = cache.join(format!("debian-{release}.tar"));
    if !archive.is_file() {
        fs::create_dir_all(&cache)?;
        make(&release, &cache, &archive)?;
    }
    Ok(archive)
}

/// The directory in which `cargo xtask setup` keeps tools.
fn cache() -> anyhow::Result<PathBuf> {
    if let Some(cache) = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()) {
        return Ok(PathBuf::from(cache).join("detector"));
    }
    let home = env::home_dir().context("no home directory: set HOME")?;
    Ok(home.join(".cache/detector"))
}

/// What os-release(5) says of this machine.
fn of_this_machine(key: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    let value = lines.find_map(|(name, value)| (name == key).then_some(value));
    let value = value.with_context(|| format!("/etc/os-release has no {key}"))?;
    Ok(value.trim_matches('"').to_owned())
}

fn make(release: &str, cache: &Path, archive: &Path) -> anyhow::Result<()> {
    eprintln!(
        "making a clean Debian once, for {}: minutes",
        archive.display()
    );
    // What this machine needs to reach its sources: proxies, checks that are off.
    let settings = succeeds(Command::new("apt-config").arg("dump"))?.stdout;
    let settings = String::from_utf8_lossy(&settings).into_owned();
    let lines = settings
        .lines()
        .filter(|line| line.starts_with("Acquire::"));
    let options = tempfile::NamedTempFile::new()?;
    fs::write(
        options.path(),
        lines.map(|line| format!("{line}\n")).collect::<String>(),
    )?;
    let unfinished = tempfile::Builder::new().suffix(".tar").tempfile_in(cache)?;
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=essential", &format!("--include={PACKAGES}")]);
    command.arg(format!("--aptopt={}", options.path().display()));
    command.args([release.as_ref(), unfinished.path().as_os_str()]);
    command.args(sources()?);
    succeeds(&mut command).context("`cargo xtask setup` installs mmdebstrap")?;
    unfinished.persist(archive)?;
    Ok(())
}

/// The files that name this machine's sources.
fn sources() -> anyhow::Result<Vec<PathBuf>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        for entry in entries {
            files.push(entry?.path());
        }
    }
    let distribution = of_this_machine("ID")?;
    let is_source = |file: &PathBuf| {
        let end = file
            .extension()
            .is_some_and(|end| end == "list" || end == "sources");
        // Of others the keys may be missing.
        end && fs::read_to_string(file).is_ok_and(|text| text.contains(&distribution))
    };
    files.retain(is_source);
    if files.is_empty() {
        bail!("no sources of {distribution} are named below /etc/apt");
    }
    files.sort();
    Ok(files)
}
