//! The words of the API, the log and the metric labels that say what follows from reports.

use crate::core::vocabulary;

vocabulary! {
    /// How a lock does.
    LockHealth {
        Healthy = "healthy",
        /// Timed out lately.
        Degraded = "degraded",
        /// Times out again and again.
        Unhealthy = "unhealthy",
    }
}

vocabulary! {
    /// A kind of failure that takes part in a cascade.
    FailureKind {
        PeerUnreachable = "peer_unreachable",
        LockTimeout = "lock_timeout",
        DiskStateTimeout = "disk_state_timeout",
        IamTimeout = "iam_timeout",
        UploadFailed = "upload_failed",
        QuorumLost = "quorum_lost",
    }
}
