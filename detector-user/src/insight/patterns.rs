//! Which failures follow from which: the three chains that RustFS's own analysis defines.

use std::time::Duration;

use super::FailureKind;

/// An initial failure, and the failures that follow from it within the window.
#[derive(Debug, PartialEq, Eq)]
pub struct Pattern {
    pub name: &'static str,
    pub initial: FailureKind,
    pub follows: [FailureKind; 2],
    pub window: Duration,
}

/// All patterns.
pub static PATTERNS: [Pattern; 3] = [
    Pattern {
        name: "peer_unreachable_locks_iam",
        initial: FailureKind::PeerUnreachable,
        follows: [FailureKind::LockTimeout, FailureKind::IamTimeout],
        window: Duration::from_secs(30),
    },
    Pattern {
        name: "lock_timeout_disks_uploads",
        initial: FailureKind::LockTimeout,
        follows: [FailureKind::DiskStateTimeout, FailureKind::UploadFailed],
        window: Duration::from_secs(60),
    },
    Pattern {
        name: "peer_unreachable_disks_quorum",
        initial: FailureKind::PeerUnreachable,
        follows: [FailureKind::DiskStateTimeout, FailureKind::QuorumLost],
        window: Duration::from_secs(45),
    },
];
