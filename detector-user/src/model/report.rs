//! One reported operation, and how it ended.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Operation, Outcome, PeerName, Time, nanos};

/// An operation of this node's own programs, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationReport {
    pub operation: Operation,
    pub outcome: Outcome,
    /// The peer that was called; `None` for an operation that involved several.
    pub peer: Option<PeerName>,
    /// The lock that the operation was about, or that was held during it.
    pub lock: Option<Arc<str>>,
    pub ended_at: Time,
    #[serde(with = "nanos")]
    pub duration: Duration,
    /// How often the operation was retried before it ended.
    pub retries: u32,
}

impl OperationReport {
    /// Whether the report shows that the peer's program answers.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.outcome, Outcome::Succeeded | Outcome::Refused)
    }

    /// Whether the peer did not answer. A missing quorum says nothing about one peer.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.outcome, Outcome::TimedOut | Outcome::Unreachable)
    }
}
