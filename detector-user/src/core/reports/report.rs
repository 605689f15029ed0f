use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::core::{Operation, Outcome, PeerName, Time, nanos};

/// An operation of the node's own, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationReport {
    pub operation: Operation,
    pub outcome: Outcome,
    /// The peer it was asked of; `None` for one that involved several.
    pub peer: Option<PeerName>,
    /// The lock it was about, or that it was done under.
    pub lock: Option<Arc<str>>,
    pub ended_at: Time,
    #[serde(with = "nanos")]
    pub duration: Duration,
    /// How often it was tried again before it ended so.
    pub retries: u32,
}

impl OperationReport {
    /// Whether it shows that the peer's program answers.
    pub(in crate::core) fn is_answered(&self) -> bool {
        matches!(self.outcome, Outcome::Succeeded | Outcome::Refused)
    }

    /// Whether the peer did not answer. That too few others took part says nothing of it.
    pub(in crate::core) fn is_unanswered(&self) -> bool {
        matches!(self.outcome, Outcome::TimedOut | Outcome::Unreachable)
    }
}
