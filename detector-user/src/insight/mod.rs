//! Derives further information from the node's own reports and from the verdicts. It decides no
//! verdict.
//!
//! ```text
//! reports, published states ─▶ Correlations ─▶ lines, metrics, cascades to publish
//!
//! locks      the health of each lock
//! failure    which reports describe a failure that can be part of a cascade
//! patterns   which failures follow from which
//! cascades   initial failures, and the failures that followed from them
//! quorum     how many losses the erasure sets tolerate, given the available nodes
//! ```
//!
//! Like the core, it is pure: no clock, no I/O. It sees only reports and published states, and
//! the core does not know about it.

mod cascades;
mod failure;
mod locks;
mod patterns;
mod quorum;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::collections::BTreeMap;

pub use self::{
    cascades::{Cascade, EventTotal},
    locks::LockLine,
    patterns::{PATTERNS, Pattern},
    quorum::{Pool, outlook},
    vocabulary::{FailureKind, LockHealth},
};
use self::{
    cascades::{Cascades, Failure},
    failure::failure,
    locks::Locks,
};
use crate::model::{OperationReport, PeerName, PeerState, Time, Verdict};

/// What is known about locks and cascades.
#[derive(Debug, Default)]
pub struct Correlations {
    locks: Locks,
    cascades: Cascades,
    /// The peers that are Dead (`true`), or whose breaker is open because of reports (`false`). A
    /// report that such a peer cannot be reached is no new failure.
    down: BTreeMap<PeerName, bool>,
}

impl Correlations {
    /// Takes in the reports of the node's own programs about their operations.
    pub fn reported(&mut self, now: Time, reports: &[OperationReport]) {
        for report in reports {
            self.locks.reported(now, report);
            self.failed(now, report);
        }
    }

    /// Takes in a published state of a peer.
    pub fn published(&mut self, now: Time, state: &PeerState) {
        let is_dead = state.verdict == Verdict::Dead;
        let Some(since) = state.down_since else {
            return self.peer_up(&state.peer);
        };
        if self.down.get(&state.peer) != Some(&is_dead) {
            self.peer_down(now, &state.peer, since, is_dead);
        }
    }

    /// The peer is no longer watched.
    pub fn retracted(&mut self, peer: &PeerName) {
        self.peer_up(peer);
    }

    fn failed(&mut self, now: Time, report: &OperationReport) {
        let Some((kind, component)) = failure(report) else {
            return;
        };
        let is_news = report
            .peer
            .as_ref()
            .is_none_or(|peer| !self.down.contains_key(peer));
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

    /// A peer was found Dead by the kernel's evidence, or its breaker opened because of reports. It
    /// has been silent, or failing, since `since`.
    fn peer_down(&mut self, now: Time, peer: &PeerName, since: Time, dead: bool) {
        let is_news = self.down.insert(peer.clone(), dead).is_none();
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

    fn peer_up(&mut self, peer: &PeerName) {
        self.down.remove(peer);
    }

    /// The state of each lock at `now`.
    pub fn locks(&self, now: Time) -> Vec<LockLine> {
        self.locks.lines(now)
    }

    /// How many reports were about locks beyond the number that is kept.
    pub fn locks_beyond_bound(&self) -> u64 {
        self.locks.beyond_bound()
    }

    /// The cascades of the last hour, newest first.
    pub fn cascades(&self, now: Time) -> Vec<Cascade> {
        self.cascades.list(now)
    }

    /// The cascades that were detected since the last call.
    pub fn take_detected(&mut self) -> Vec<Cascade> {
        self.cascades.take_detected()
    }

    /// The number of failures by kind and component, for the components that failed within the last
    /// hour.
    pub fn failure_totals(&self) -> impl Iterator<Item = EventTotal<'_>> {
        self.cascades.totals()
    }

    /// How often each pattern was detected, and whether it is recurring.
    pub fn pattern_totals(&self, now: Time) -> impl Iterator<Item = (&'static Pattern, u64, bool)> {
        self.cascades.pattern_totals(now)
    }

    /// The component's name; locks beyond the number that is kept share the name "other".
    fn bounded(&self, report: &OperationReport, component: &str) -> Box<str> {
        match &report.lock {
            Some(lock) if **lock == *component && !self.locks.is_kept(lock) => "other".into(),
            _ => component.into(),
        }
    }
}
