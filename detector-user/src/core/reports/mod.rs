//! What the node itself reports about its own operations, and what follows from it beside the
//! verdict.
//!
//! ```text
//! report     one operation, and how it ended
//! failures   of one peer: failures in a row, which make it asked, and may open its breaker
//! locks      how each lock does
//! patterns   which failures follow from which
//! cascades   initial failures, and what followed from them
//! quorum     what the erasure sets can take, given the nodes that are there
//! ```
//!
//! A report is a demand to check, never evidence of a death: what it may do to a peer's verdict
//! is in `peer/reported`.

mod cascades;
mod failures;
mod locks;
mod patterns;
mod quorum;
mod report;

use std::collections::BTreeSet;

pub(super) use self::failures::{Failures, Streak};
pub use self::{
    cascades::{Cascade, EventTotal},
    locks::LockLine,
    patterns::{PATTERNS, Pattern},
    quorum::{Pool, PoolOutlook, SetOutlook, outlook},
    report::OperationReport,
};
use self::{
    cascades::{Cascades, Failure},
    locks::Locks,
};
use super::{FailureKind, PeerName, Time};

/// What is known of locks and cascades.
#[derive(Debug, Default)]
pub struct Correlations {
    locks: Locks,
    cascades: Cascades,
    /// The peers that are Dead or whose breaker is open: that they cannot be reached is no news.
    down: BTreeSet<PeerName>,
}

impl Correlations {
    /// Takes in one report.
    pub(super) fn reported(&mut self, now: Time, report: &OperationReport) {
        self.locks.reported(now, report);
        let Some((kind, component)) = report.failure() else {
            return;
        };
        let is_news = report
            .peer
            .as_ref()
            .is_none_or(|peer| !self.down.contains(peer));
        self.cascades.failed(
            now,
            Failure {
                at: report.ended_at,
                kind,
                component: self.bounded(report, component),
                begins: is_news || !kind.is_about_a_peer(),
                kernel_verdict: false,
            },
        );
    }

    /// A peer was found Dead, by the kernel's evidence, or its breaker opened on reports; it
    /// has been silent, or failing, since `since`.
    pub(super) fn peer_down(&mut self, now: Time, peer: &PeerName, since: Time, dead: bool) {
        let is_news = self.down.insert(peer.clone());
        self.cascades.failed(
            now,
            Failure {
                at: since,
                kind: FailureKind::PeerUnreachable,
                component: peer.as_str().into(),
                begins: is_news || dead,
                kernel_verdict: dead,
            },
        );
    }

    /// The peer is back, or no longer watched.
    pub(super) fn peer_up(&mut self, peer: &PeerName) {
        self.down.remove(peer);
    }

    /// Each lock as it does at `now`.
    pub fn locks(&self, now: Time) -> Vec<LockLine> {
        self.locks.lines(now)
    }

    /// Reports about locks beyond the number that is kept.
    pub fn locks_beyond_bound(&self) -> u64 {
        self.locks.beyond_bound()
    }

    /// The cascades of the last hour, newest first.
    pub fn cascades(&self, now: Time) -> Vec<Cascade> {
        self.cascades.list(now)
    }

    /// Cascades that were detected since this was last asked for.
    pub(super) fn take_detected(&mut self) -> Vec<Cascade> {
        self.cascades.take_detected()
    }

    /// How many failures there were, by kind and component, of the components that failed
    /// within the hour.
    pub fn failure_totals(&self) -> impl Iterator<Item = EventTotal<'_>> {
        self.cascades.totals()
    }

    /// How often each pattern was detected, and whether it recurs.
    pub fn pattern_totals(&self, now: Time) -> impl Iterator<Item = (&'static Pattern, u64, bool)> {
        self.cascades.pattern_totals(now)
    }

    /// The component's name; of a lock that is not kept, a word for all of them.
    fn bounded(&self, report: &OperationReport, component: &str) -> Box<str> {
        match &report.lock {
            Some(lock) if **lock == *component && !self.locks.is_kept(lock) => "other".into(),
            _ => component.into(),
        }
    }
}
