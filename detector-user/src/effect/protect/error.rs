use std::{io, path::PathBuf};

use aya::{EbpfError, programs::ProgramError};
use thiserror::Error;

use crate::object::{self, Cause, chain, end_of};

/// Why services cannot be protected here.
#[derive(Debug, Error)]
pub enum ProtectError {
    #[error(
        "this daemon was built without the eBPF object; \
         run `cargo xtask build-ebpf` and build it again"
    )]
    NoObject,
    #[error(
        "no cgroup v2 tree is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified"
    )]
    NoTree,
    #[error("cannot look for the cgroup v2 tree in /proc/self/mountinfo: {0}")]
    Mounts(#[source] io::Error),
    #[error(
        "this kernel cannot attach a program to a cgroup so that it goes with the daemon \
         (bpf_link, 5.7 and later), and leaving one behind would refuse connects for good"
    )]
    NoLinks,
    #[error(
        "not permitted to {what}: {source}; needs CAP_BPF and CAP_NET_ADMIN (CAP_SYS_ADMIN \
         before 5.8)"
    )]
    NotPermitted { what: String, source: io::Error },
    #[error(
        "not permitted to {what}: {source}; before kernel 5.11 maps count against \
         RLIMIT_MEMLOCK: set LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`"
    )]
    MemoryLocked { what: String, source: io::Error },
    #[error("the kernel's verifier refused program {program}: {source}; its log ends:\n{log_end}")]
    Refused {
        program: &'static str,
        source: io::Error,
        log_end: String,
    },
    #[error("cannot {what}: {}", chain(source))]
    Failed {
        what: String,
        #[source]
        source: Box<EbpfError>,
    },
    #[error("cannot open cgroup {}: {source}", path.display())]
    Cgroup { path: PathBuf, source: io::Error },
    #[error("cannot start the thread that follows the cgroups: {0}")]
    Thread(#[source] io::Error),
}

impl ProtectError {
    pub(super) fn of(what: String, error: EbpfError) -> Self {
        match object::cause(error) {
            Cause::NotPermitted(source) => Self::NotPermitted { what, source },
            Cause::MemoryLocked(source) => Self::MemoryLocked { what, source },
            Cause::Other(source) => Self::Failed { what, source },
        }
    }

    pub(super) fn program(name: &'static str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } if io_error.raw_os_error() != Some(nix::libc::EPERM) => Self::Refused {
                program: name,
                source: io_error,
                log_end: end_of(&verifier_log.to_string()),
            },
            error => Self::of(format!("load program {name}"), error.into()),
        }
    }
}
