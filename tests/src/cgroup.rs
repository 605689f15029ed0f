//! Cgroups for the lab's programs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use detector_user::cgroup::Tree;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Begins the name of every cgroup made here; the owner's process id follows.
const PREFIX: &str = "dtl-";
/// How long the kernel may take to remove killed processes.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A cgroup below the root of the v2 tree. Dropping it kills its processes and removes it, so
/// declare it before the lab whose processes it holds.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup with a unique name that ends in ".service", like a unit's.
    pub fn new() -> anyhow::Result<Self> {
        Self::named(&Self::name())
    }

    /// A name that no other cgroup has.
    pub fn name() -> String {
        static CGROUPS: AtomicU32 = AtomicU32::new(1);
        let number = CGROUPS.fetch_add(1, Ordering::Relaxed);
        format!("{PREFIX}{}-{number}.service", process::id())
    }

    /// Makes a cgroup with this name.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        Self::at(root()?.join(name))
    }

    fn at(path: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    /// Makes a cgroup of this name in this one.
    pub fn below(&self, name: &str) -> anyhow::Result<Self> {
        Self::at(self.path.join(name))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The cgroup as a target of the detector.
    pub fn target(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// The file that takes process ids.
    pub fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Moves this process into the cgroup until the guard is dropped.
    pub fn join(&self) -> anyhow::Result<Joined> {
        enter(&self.procs())?;
        Ok(Joined)
    }

    fn remove(&self) -> io::Result<()> {
        let looks = EMPTY_WITHIN.as_millis() / LOOK_EVERY.as_millis();
        let mut outcome = Ok(());
        for _ in 0..looks {
            for pid in fs::read_to_string(self.procs())?.lines() {
                let Ok(pid) = pid.parse() else { continue };
                match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(error) => eprintln!("cgroup: cannot kill {pid}: {error}"),
                }
            }
            outcome = fs::remove_dir(&self.path);
            if outcome.is_ok() {
                break;
            }
            thread::sleep(LOOK_EVERY);
        }
        outcome
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("cgroup: cannot remove {}: {error}", self.path.display());
        }
    }
}

/// This process is in a cgroup of the test's; dropping it moves it back to the root.
#[derive(Debug)]
pub struct Joined;

impl Drop for Joined {
    fn drop(&mut self) {
        let left = root().and_then(|root| enter(&root.join("cgroup.procs")));
        if let Err(error) = left {
            eprintln!("cgroup: {error:#}");
        }
    }
}

fn enter(procs: &Path) -> anyhow::Result<()> {
    fs::write(procs, process::id().to_string())
        .with_context(|| format!("cannot enter {}", procs.display()))
}

fn root() -> anyhow::Result<PathBuf> {
    match Tree::find().context("cannot read /proc/self/mountinfo")? {
        Some(tree) => Ok(tree.mount().to_owned()),
        None => bail!("no cgroup v2 tree is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified"),
    }
}
