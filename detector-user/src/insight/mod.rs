//! What follows from the node's own reports and from the verdicts, and decides none.
//!
//! ```text
//! reports, published states ─▶ Correlations ─▶ lines, metrics, cascades to be told
//!
//! locks      how each lock does
//! failure    which reports tell of a failure that takes part in a cascade
//! patterns   which failures follow from which
//! cascades   initial failures, and what followed from them
//! quorum     what the erasure sets can take, given the nodes that are there
//! ```
//!
//! Pure as the core is: no clock, no I/O. It sees of the core what everybody sees, its reports
//! and its published states, and the core knows nothing of it.

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
    quorum::{Pool, PoolOutlook, SetOutlook, outlook},
    vocabulary::{FailureKind, LockHealth},
};
use self::{
    cascades::{Cascades, Failure},
    failure::failure,
    locks::Locks,
};
use crate::core::{OperationReport, PeerName, PeerState, Time, Verdict};

/// What is known of locks and cascades.
#[derive(Debug, Default)]
pub struct Correlations {
    locks: Locks,
    cascades: Cascades,
    /// The peers that are Dead (`true`) or whose breaker is open on reports: that they cannot
    /// be reached is no news.
    down: BTreeMap<PeerName, bool>,
}

impl Correlations {
    /// Takes in what the node's own programs say of their operations.
    pub fn reported(&mut self, now: Time, reports: &[OperationReport]) {
        for report in reports {
            self.locks.reported(now, report);
            self.failed(now, report);
        }
    }

    /// Takes in what was published about a peer.
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

    /// A peer was found Dead, by the kernel's evidence, or its breaker opened on reports; it
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
    pub fn take_detected(&mut self) -> Vec<Cascade> {
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
