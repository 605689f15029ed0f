//! The cgroup of a process.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::cgroup::Tree;

/// The directory of the process's cgroup; `None` if the process has ended.
pub(super) fn of_process(tree: &Tree, proc: &Path, process: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(proc.join(process.to_string()).join("cgroup")).ok()?;
    // The line of the cgroup v2 tree (cgroups(7)).
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let directory = tree.path(path);
    match path.split('/').any(|part| part == "..") || !directory.is_dir() {
        true => tree.holding(process),
        false => Some(directory),
    }
}
