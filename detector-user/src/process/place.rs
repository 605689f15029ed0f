//! The cgroup of a process.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::cgroup::{Tree, v2_path};

/// The directory of the process's cgroup; `None` if the process has ended.
pub(super) fn of_process(tree: &Tree, proc: &Path, process: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(proc.join(process.to_string()).join("cgroup")).ok()?;
    let path = v2_path(&text)?;
    let directory = tree.path(path);
    match path.split('/').any(|part| part == "..") || !directory.is_dir() {
        true => tree.holding(process),
        false => Some(directory),
    }
}
