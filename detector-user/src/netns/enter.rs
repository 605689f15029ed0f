//! One network namespace, and how to run code in it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};
use thiserror::Error;

/// Enough for a thread that only opens a socket or reads a dump.
const STACK_BYTES: usize = 256 << 10;

/// Why a network namespace cannot be watched.
#[derive(Debug, Error)]
pub enum NamespaceError {
    #[error("cannot look at {}: {source}; a process of another user takes CAP_SYS_PTRACE", path.display())]
    Look { path: PathBuf, source: io::Error },
    #[error(
        "the network namespace {} is of a process in a user namespace of its own, where anyone \
         may take any address, so that nothing is believed of it; to watch it all the same, name \
         it by its file", path.display()
    )]
    Foreign { path: PathBuf },
    #[error("{} is no network namespace", path.display())]
    NotOne { path: PathBuf },
    #[error("cannot enter the network namespace {}: {source}; this needs CAP_SYS_ADMIN", path.display())]
    Enter { path: PathBuf, source: io::Error },
}

impl NamespaceError {
    /// The same error, with the path by which the operator knows the file.
    pub(super) fn at(self, path: &Path) -> Self {
        let path = path.to_owned();
        match self {
            Self::Look { source, .. } => Self::Look { path, source },
            other => other,
        }
    }
}

/// A network namespace, held open.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    id: u32,
}

impl Namespace {
    /// Opens the namespace that this file stands for (`/run/netns/NAME`, `/proc/PID/ns/net`), and
    /// checks that it can be entered.
    pub fn open(path: &Path) -> Result<Self, NamespaceError> {
        let look = |source| NamespaceError::Look {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(look)?;
        let inode = file.metadata().map_err(look)?.ino();
        let not_one = || NamespaceError::NotOne {
            path: path.to_owned(),
        };
        let id = u32::try_from(inode).map_err(|_| not_one())?;
        let namespace = Self { file, id };
        match namespace.within(|| ()) {
            Ok(()) => Ok(namespace),
            // It is neither a namespace's file nor, because of CLONE_NEWNET, that of another kind
            // of namespace.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(not_one()),
            Err(source) => Err(NamespaceError::Enter {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// The inode of its file, which equals the kernel's `ns.inum`.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Calls `work` on a thread in the namespace. A socket that is created there belongs to the
    /// namespace, wherever it is used afterwards.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let enter = || -> io::Result<T> {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        };
        thread::scope(|scope| {
            thread::Builder::new()
                .name("netns".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, enter)?
                .join()
                .map_err(|_| io::Error::other("the thread in the namespace panicked"))?
        })
    }
}

/// The [`Namespace::id`] of the calling thread's network namespace.
pub fn own() -> io::Result<u32> {
    let inode = fs::metadata("/proc/thread-self/ns/net")?.ino();
    u32::try_from(inode).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_network_namespace_is_told() {
        let open = |path: &str| Namespace::open(Path::new(path)).unwrap_err();
        let gone = open("/proc/self/ns/gone");
        assert!(matches!(gone, NamespaceError::Look { .. }), "{gone}");
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: entering a namespace takes root");
            return;
        }
        for path in ["/proc/self/ns/uts", "/proc/version"] {
            let error = open(path);
            assert!(matches!(error, NamespaceError::NotOne { .. }), "{error}");
        }
    }

    #[test]
    fn work_is_done_in_the_namespace_and_the_caller_stays_where_it_is() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: entering a namespace takes root");
            return;
        }
        let here = own().unwrap();
        let other = thread::scope(|scope| {
            let make = || {
                nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
                Namespace::open(Path::new("/proc/thread-self/ns/net")).unwrap()
            };
            scope.spawn(make).join().unwrap()
        });
        assert_ne!(other.id(), here);
        assert_eq!(other.within(own).unwrap().unwrap(), other.id());
        assert_eq!(own().unwrap(), here);
    }
}
