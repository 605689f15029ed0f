//! Finds the cgroup of a service: the cgroup v2 tree, a unit's place in it, and its processes.

mod mounts;

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use tracing::debug;

use self::mounts::MOUNTINFO;
pub use self::mounts::NoTree;
use crate::{config::Target, systemd};

/// The most directories that are searched for a unit, and the depth of the search.
const MAX_DIRECTORIES: usize = 16_384;
const MAX_DEPTH: usize = 12;
/// The most processes that are returned for one cgroup.
const MAX_PROCESSES: usize = 1024;
/// Where systemd keeps the machine's own units.
const SYSTEM_SLICE: &str = "system.slice";

/// The cgroup v2 tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    mount: PathBuf,
}

/// The path of the v2 tree in a /proc/PID/cgroup (cgroups(7): the line of hierarchy 0).
pub fn v2_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

impl Tree {
    /// Finds where the tree is mounted: at /sys/fs/cgroup, or next to version 1 at
    /// /sys/fs/cgroup/unified. `None` if it is not mounted.
    pub fn find() -> io::Result<Option<Self>> {
        let mountinfo = fs::read(MOUNTINFO)?;
        Ok(mounts::tree_of(&String::from_utf8_lossy(&mountinfo)).map(Self::at))
    }

    /// The tree at this directory.
    pub fn at(mount: impl Into<PathBuf>) -> Self {
        Self {
            mount: mount.into(),
        }
    }

    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The directory of a unit or a path, if it exists now. Other targets are found by their
    /// processes ([`process`](crate::process)).
    pub fn locate(&self, target: &Target) -> Option<PathBuf> {
        match target {
            Target::Path(path) => Some(self.path(path)).filter(|path| path.is_dir()),
            Target::Unit(unit) => self.unit(unit),
            Target::Exe(_) | Target::Pod(_) => None,
        }
    }

    /// A path below the mount point stays as it is. Any other is taken from the tree's root, like
    /// the paths in /proc/PID/cgroup and from systemd.
    pub fn path(&self, path: &str) -> PathBuf {
        if Path::new(path).starts_with(&self.mount) {
            return PathBuf::from(path);
        }
        self.mount.join(path.trim_start_matches('/'))
    }

    /// The directory of a unit has the unit's name, whatever its slice. If users' managers have
    /// units of the same name, the machine's own is meant, and systemd tells which that is.
    fn unit(&self, unit: &str) -> Option<PathBuf> {
        let found = self.directories(|name| name == unit);
        if found.len() > 1 {
            if let Some(path) = systemd::control_group(unit).map(|path| self.path(&path))
                && found.contains(&path)
            {
                return Some(path);
            }
            let system = self.mount.join(SYSTEM_SLICE);
            if let Some(path) = found.iter().find(|path| path.starts_with(&system)) {
                return Some(path.clone());
            }
        }
        found.into_iter().next()
    }

    /// The processes in this cgroup and those below it: a container's processes are often in a
    /// cgroup below its unit's.
    pub fn processes(&self, directory: &Path) -> Vec<u32> {
        let ids_in = |directory: &PathBuf| {
            // A cgroup that has gone has no processes.
            let ids = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            let ids = ids.lines().filter_map(|id| id.parse::<u32>().ok());
            // 0 stands for a process without an id in this process's pid namespace.
            ids.filter(|id| *id != 0).collect::<Vec<_>>()
        };
        let processes = all_below(directory);
        let processes = processes.iter().flat_map(ids_in);
        processes.take(MAX_PROCESSES).collect()
    }

    /// All directories with such a name, those nearest to the root first.
    pub fn directories(&self, is_meant: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let mut found = all_below(&self.mount);
        found.retain(|directory| {
            let name = directory.file_name().and_then(OsStr::to_str);
            name.is_some_and(&is_meant)
        });
        found
    }

    /// The directory of the process: searched for in the whole tree, because a process outside of
    /// this one's cgroup namespace has no path from its root (cgroup_namespaces(7)).
    pub fn holding(&self, process: u32) -> Option<PathBuf> {
        let holds = |directory: &PathBuf| {
            let ids = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            ids.lines().any(|id| id.parse() == Ok(process))
        };
        all_below(&self.mount).into_iter().find(holds)
    }
}

/// This directory and all those below it, the nearest first, within bounds.
fn all_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    let mut level = 0..1;
    for _ in 0..MAX_DEPTH {
        let end = found.len();
        for above in level {
            found.extend(directories(&found[above].clone()));
            if found.len() > MAX_DIRECTORIES {
                debug!(
                    ?directory,
                    "the tree of cgroups is too large to be searched whole"
                );
                found.truncate(MAX_DIRECTORIES);
                return found;
            }
        }
        level = end..found.len();
    }
    found
}

/// The directories in this one; none if it has gone.
fn directories(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    // Links are not followed; a cgroup tree has none.
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_directory).map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    #[test]
    fn paths_are_below_the_mount_however_they_are_given() {
        let tree = Tree::at("/sys/fs/cgroup");
        let wanted = Path::new("/sys/fs/cgroup/a.slice/b");
        for path in ["/sys/fs/cgroup/a.slice/b", "/a.slice/b", "a.slice/b"] {
            assert_eq!(tree.path(path), wanted, "{path}");
        }
        // This path is not below the mount point, although the text begins alike.
        assert_eq!(
            tree.path("/sys/fs/cgroups/x"),
            Path::new("/sys/fs/cgroup/sys/fs/cgroups/x")
        );
    }

    #[test]
    fn the_processes_of_a_cgroup_are_those_below_it_too() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::at(root.path());
        let unit = root.path().join("a.service");
        let below = unit.join("libpod/container");
        fs::create_dir_all(&below).unwrap();
        assert!(tree.processes(&unit).is_empty());
        fs::write(unit.join("cgroup.procs"), "7\n0\n").unwrap();
        fs::write(below.join("cgroup.procs"), "12\n13\n").unwrap();
        fs::write(root.path().join("cgroup.procs"), "1\n").unwrap();
        assert_eq!(tree.processes(&unit), [7, 12, 13]);
        fs::write(below.join("cgroup.procs"), "9\n".repeat(5000)).unwrap();
        assert_eq!(tree.processes(&unit).len(), MAX_PROCESSES);
    }

    #[test]
    fn a_unit_is_found_in_whatever_slice_it_is() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::at(root.path());
        assert_eq!(tree.locate(&target("rustfs.service")), None);
        let storage = root.path().join("storage.slice/rustfs.service");
        fs::create_dir_all(&storage).unwrap();
        assert_eq!(tree.locate(&target("rustfs.service")), Some(storage));
        // If there are several, the machine's own unit wins, however deep it is.
        let system = root.path().join("system.slice/a.slice/rustfs.service");
        fs::create_dir_all(&system).unwrap();
        fs::create_dir_all(root.path().join("user.slice/rustfs.service")).unwrap();
        assert_eq!(tree.locate(&target("rustfs.service")), Some(system));
        // A file is not a cgroup.
        fs::write(root.path().join("file.service"), "").unwrap();
        assert_eq!(tree.locate(&target("file.service")), None);
        assert_eq!(tree.locate(&target("/file.service")), None);
    }
}
