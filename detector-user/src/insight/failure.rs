//! Which reports tell of a failure that takes part in a cascade.

use super::FailureKind;
use crate::core::{Operation, OperationReport, Outcome, PeerName};

/// The failure that a report is in a cascade, if it is one: its kind, and what failed.
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
        // That a peer was late by itself may be a slow disk.
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
