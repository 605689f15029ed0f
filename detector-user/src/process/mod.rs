//! Finds the processes and cgroups of a service: one home for every [`Target`], whether it is
//! protected, its network namespace watched, or its peers found.
//!
//! The table of processes is read at most once a second for all who ask, and less often while the
//! processes that were found go on. Whoever needs to know an end at once holds a pidfd
//! ([`Process::pidfd`]).

mod place;
mod pods;
mod read;
mod scan;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use self::{pods::Pods, scan::Scan};
pub use self::{
    read::{Process, ReadError},
    scan::Executable,
};
use crate::{cgroup::Tree, config::Target};

/// How long a reading of the processes or pods serves while all that it showed is still there.
const SERVES_FOR: Duration = Duration::from_secs(3);

/// The same where nothing was found.
const SERVES_ANYWAY: Duration = Duration::from_millis(900);

/// Finds what targets select. Clones share what was read.
#[derive(Clone, Debug)]
pub struct Finder {
    tree: Option<Tree>,
    proc: PathBuf,
    read: Arc<Mutex<Read>>,
}

#[derive(Debug)]
struct Read {
    scan: Scan,
    pods: Pods,
}

/// The cgroups of a target, and what else is to be said of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    pub paths: Vec<PathBuf>,
    /// Why one of its processes has no cgroup of its own.
    pub problem: Option<String>,
}

impl Finder {
    pub fn new() -> io::Result<Self> {
        Ok(Self::at(Tree::find()?, Path::new("/proc")))
    }

    /// With this tree of cgroups, if there is one, and this table of processes.
    pub fn at(tree: Option<Tree>, proc: &Path) -> Self {
        let read = Read {
            scan: Scan::new(proc),
            pods: Pods::default(),
        };
        Self {
            tree,
            proc: proc.to_owned(),
            read: Arc::new(Mutex::new(read)),
        }
    }

    /// The cgroup v2 tree, if it is mounted.
    pub fn tree(&self) -> Option<&Tree> {
        self.tree.as_ref()
    }

    /// The target's processes at this moment.
    pub fn processes(&self, target: &Target) -> Vec<u32> {
        if let Target::Exe(name) = target {
            return self.read().scan.of_executable(name);
        }
        let Some(tree) = &self.tree else {
            return Vec::new();
        };
        let cgroups = self.cgroups(target).paths;
        let processes = cgroups.iter().flat_map(|path| tree.processes(path));
        let unique: BTreeSet<u32> = processes.collect();
        unique.into_iter().collect()
    }

    /// The target's cgroups at this moment. None of them is the root, unless it is named.
    pub fn cgroups(&self, target: &Target) -> Cgroups {
        let Some(tree) = &self.tree else {
            return Cgroups::default();
        };
        let paths = match target {
            Target::Unit(_) | Target::Path(_) => tree.locate(target).into_iter().collect(),
            Target::Pod(pod) => self.read().pods.find(tree, pod),
            Target::Exe(name) => {
                let processes = self.read().scan.of_executable(name);
                return cgroups_of(tree, &self.proc, &processes);
            }
        };
        Cgroups {
            paths,
            problem: None,
        }
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        // Each list is whole after each statement under the lock.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cgroups of these processes. The root cgroup would be the whole host.
fn cgroups_of(tree: &Tree, proc: &Path, processes: &[u32]) -> Cgroups {
    let mut paths = BTreeSet::new();
    let mut problem = None;
    for process in processes {
        match place::of_process(tree, proc, *process) {
            Some(path) if path == tree.mount() => {
                problem = Some(format!(
                    "pid {process} is in the root cgroup, as is the rest of this host, so that \
                     nothing is refused or tuned for it: run it as a systemd unit or in a \
                     container, or protect the whole host (--protect /)"
                ));
            }
            Some(path) => {
                paths.insert(path);
            }
            // The process has ended in the meantime.
            None => {}
        }
    }
    Cgroups {
        paths: paths.into_iter().collect(),
        problem,
    }
}
