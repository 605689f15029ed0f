//! Counts the changes of verdicts and breakers, by their reasons.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use prometheus::{IntCounterVec, Registry};

use super::series::counters;
use crate::core::{Breaker, PeerName, PeerState, Reason, Verdict};

#[derive(Debug)]
pub(super) struct TransitionSeries {
    verdicts: IntCounterVec,
    breakers: IntCounterVec,
    /// The transitions that have a series; the series are removed with their peer.
    kept: Mutex<BTreeMap<PeerName, BTreeSet<Transition>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Transition {
    Verdict(Verdict, Verdict, Reason),
    Breaker(Breaker, Breaker, Reason),
}

impl TransitionSeries {
    pub(super) fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        let labels = &["peer", "from", "to", "reason"];
        Ok(Self {
            verdicts: counters(
                r,
                "transitions_total",
                "Changes of a peer's verdict, with the verdict's reason.",
                labels,
            )?,
            breakers: counters(
                r,
                "breaker_transitions_total",
                "Changes of a peer's breaker, with the breaker's reason.",
                labels,
            )?,
            kept: Mutex::default(),
        })
    }

    /// Counts the changes from one state to the next.
    pub(super) fn count(&self, from: &PeerState, to: &PeerState) {
        let verdict = Transition::Verdict(from.verdict, to.verdict, to.reason);
        let breaker = Transition::Breaker(from.breaker, to.breaker, to.breaker_reason);
        if from.verdict != to.verdict {
            self.count_one(&to.peer, verdict);
        }
        if from.breaker != to.breaker {
            self.count_one(&to.peer, breaker);
        }
    }

    fn count_one(&self, peer: &PeerName, transition: Transition) {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(peer.clone())
            .or_default()
            .insert(transition);
        let (counters, [from, to, reason]) = self.labels(transition);
        let labels = [peer.as_str(), from, to, reason];
        counters.with_label_values(&labels).inc();
    }

    pub(super) fn remove(&self, peer: &PeerName) {
        let gone = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(peer);
        for transition in gone.into_iter().flatten() {
            let (counters, [from, to, reason]) = self.labels(transition);
            let _ = counters.remove_label_values(&[peer.as_str(), from, to, reason]);
        }
    }

    fn labels(&self, transition: Transition) -> (&IntCounterVec, [&'static str; 3]) {
        match transition {
            Transition::Verdict(from, to, reason) => (
                &self.verdicts,
                [from.as_str(), to.as_str(), reason.as_str()],
            ),
            Transition::Breaker(from, to, reason) => (
                &self.breakers,
                [from.as_str(), to.as_str(), reason.as_str()],
            ),
        }
    }
}
