use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::core::{FailureKind, Operation, Outcome, PeerName, Time, nanos};

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

    /// The failure that it is in a cascade, if it is one: its kind, and what failed.
    pub(super) fn failure(&self) -> Option<(FailureKind, &str)> {
        let peer = self.peer.as_ref().map_or("", PeerName::as_str);
        let lock = self.lock.as_deref();
        let kind = match (self.outcome, self.operation) {
            (Outcome::Succeeded | Outcome::Refused, _) => return None,
            (Outcome::QuorumLost, _) => FailureKind::QuorumLost,
            (Outcome::TimedOut | Outcome::Unreachable, Operation::Upload) => {
                FailureKind::UploadFailed
            }
            (Outcome::Unreachable, _) if self.peer.is_some() => FailureKind::PeerUnreachable,
            (Outcome::TimedOut, Operation::Lock) => FailureKind::LockTimeout,
            (Outcome::TimedOut, Operation::DiskState) => FailureKind::DiskStateTimeout,
            (Outcome::TimedOut, Operation::IamRead) => FailureKind::IamTimeout,
            // That a peer was late by itself may be a slow disk.
            (Outcome::TimedOut | Outcome::Unreachable, _) => return None,
        };
        let component = match kind {
            FailureKind::LockTimeout | FailureKind::IamTimeout => lock.unwrap_or(peer),
            _ => peer,
        };
        Some((kind, component))
    }
}

impl FailureKind {
    pub(super) fn is_about_a_peer(self) -> bool {
        self == Self::PeerUnreachable
    }
}
