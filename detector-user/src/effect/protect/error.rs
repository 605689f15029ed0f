//! The errors of protecting services.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::{cgroup::NoTree, object::NotTaken};

/// Why services cannot be protected here.
#[derive(Debug, Error)]
pub enum ProtectError {
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("there is no cgroup v2 tree: {0}")]
    NoTree(NoTree),
    #[error("cannot look for the cgroup v2 tree in /proc/self/mountinfo: {0}")]
    Mounts(#[source] io::Error),
    #[error(
        "this kernel cannot attach a program to a cgroup so that it goes with the daemon \
         (bpf_link, 5.7 and later), and leaving one behind would refuse connects for good"
    )]
    NoLinks,
    #[error("cannot open cgroup {}: {source}", path.display())]
    Cgroup { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Thread(io::Error),
}
