//! Which reports describe a failure that can be part of a cascade.

use super::FailureKind;
use crate::model::{Operation, OperationReport, Outcome, PeerName};

/// The failure that a report describes, if it can be part of a cascade: its kind, and what failed.
pub(super) fn failure(report: &OperationReport) -> Option<(FailureKind, &str)> {
    let peer = report.peer.as_ref().map_or("", PeerName::as_str);
    let lock = report.lock.as_deref();
    let kind = match (report.outcome, report.operation) {
        (Outcome::Succeeded | Outcome::Refused, _) => return None,
        (Outcome::QuorumLost, _) => FailureKind::QuorumLost,
        (Outcome::TimedOut | Outcome::Unreachable, Operation::Upload) => FailureKind::UploadFailed,
        (Outcome::Unreachable, _) if report.peer.is_some() => FailureKind::PeerUnreachable,
        (Outcome::TimedOut, Operation::Lock) => FailureKind::LockTimeout,
        (Outcome::TimedOut, Operation::DiskState) => FailureKind::DiskStateTimeout,
        (Outcome::TimedOut, Operation::IamRead) => FailureKind::IamTimeout,
        // A late peer alone is no such failure: its disk may be slow.
        (Outcome::TimedOut | Outcome::Unreachable, _) => return None,
    };
    let component = match kind {
        FailureKind::LockTimeout | FailureKind::IamTimeout => lock.unwrap_or(peer),
        _ => peer,
    };
    Some((kind, component))
}

impl FailureKind {
    pub(super) fn is_about_a_peer(self) -> bool {
        self == Self::PeerUnreachable
    }
}
