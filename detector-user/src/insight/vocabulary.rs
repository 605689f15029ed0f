//! The words for locks and failures in the API, the log and the metric labels.

use crate::model::vocabulary;

vocabulary! {
    /// The health of a lock.
    LockHealth {
        Healthy = "healthy",
        /// It timed out recently.
        Degraded = "degraded",
        /// It times out repeatedly.
        Unhealthy = "unhealthy",
    }
}

vocabulary! {
    /// A kind of failure that can be part of a cascade.
    FailureKind {
        PeerUnreachable = "peer_unreachable",
        LockTimeout = "lock_timeout",
        DiskStateTimeout = "disk_state_timeout",
        IamTimeout = "iam_timeout",
        UploadFailed = "upload_failed",
        QuorumLost = "quorum_lost",
    }
}
