//! An administrator's override of a peer's breaker.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Time, vocabulary::vocabulary};

vocabulary! {
    /// What an administrator wants of a peer's breaker.
    OverrideKind {
        /// The peer is under maintenance: its breaker is open until the peer has been away and is
        /// back, or the time ends.
        Maintenance = "maintenance",
        /// The breaker is open, whatever the evidence says.
        Open = "open",
        /// The breaker is closed, whatever the evidence says, and nothing is destroyed.
        Closed = "closed",
    }
}

vocabulary! {
    /// Why an override has ended by itself.
    OverrideEnd {
        /// Its time is over.
        Expired = "expired",
        /// The peer was under maintenance, was dead, and has been heard again.
        PeerReturned = "peer_returned",
    }
}

/// An override of the breaker of all paths of a peer. The evidence, and so the verdict, stays as it
/// is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    pub kind: OverrideKind,
    /// When it ends by itself.
    pub until: Time,
    /// The administrator's own words; may be empty.
    pub reason: Arc<str>,
    /// The user id of the administrator.
    pub uid: u32,
}
