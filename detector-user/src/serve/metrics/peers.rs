//! The metrics of each peer and of its addresses.

use std::time::{Duration, SystemTime};

use prometheus::IntCounterVec;

use super::{series::Series, set};
use crate::{
    clock,
    model::{Breaker, MAX_ADDRESSES, PathState, PeerName, PeerState, Time, Verdict},
};

impl Series {
    /// Shows a peer's current state in place of the previous one.
    pub(super) fn show(&self, previous: Option<&PeerState>, state: &PeerState) {
        let peer = state.peer.as_str();
        for &verdict in Verdict::ALL {
            let is = verdict == state.verdict;
            set(&self.verdict, &[peer, verdict.as_str()], is);
        }
        for &breaker in Breaker::ALL {
            let labels = [peer, breaker.as_str()];
            set(&self.breaker, &labels, breaker == state.breaker);
            let is = breaker == state.would_be_breaker;
            set(&self.would_be_breaker, &labels, is);
        }
        if let Some(previous) = previous {
            let labels = [peer, previous.reason.as_str()];
            let _ = self.reason.remove_label_values(&labels);
            let labels = [peer, previous.breaker_reason.as_str()];
            let _ = self.breaker_reason.remove_label_values(&labels);
        }
        set(&self.reason, &[peer, state.reason.as_str()], true);
        let labels = [peer, state.breaker_reason.as_str()];
        set(&self.breaker_reason, &labels, true);
        if let Some(ended) = previous.and_then(|previous| previous.overridden.as_ref()) {
            let labels = [peer, ended.kind.as_str()];
            let _ = self.overridden.remove_label_values(&labels);
        }
        if let Some(overridden) = &state.overridden {
            set(&self.overridden, &[peer, overridden.kind.as_str()], true);
        }
        set(&self.isolated, &[peer], state.isolated);
        self.show_vitals(state);
        self.show_troubles(state);
        self.show_paths(previous, state);
        if let Some(at) = state.last_heard {
            self.heard(&state.peer, at);
        }
    }

    fn show_vitals(&self, state: &PeerState) {
        let labels = [state.peer.as_str()];
        let breaker = self.circuit_breaker.with_label_values(&labels);
        breaker.set(match state.breaker {
            Breaker::Closed => 0.0,
            Breaker::HalfOpen => 0.5,
            Breaker::Open => 1.0,
        });
        match state.health {
            Some(health) => {
                let score = self.health_score.with_label_values(&labels);
                score.set(health.score.into());
            }
            // An unknown value must not be shown as the last known one.
            None => {
                let _ = self.health_score.remove_label_values(&labels);
            }
        }
        match state.srtt {
            Some(srtt) => self.srtt.with_label_values(&labels).set(srtt.as_secs_f64()),
            None => {
                let _ = self.srtt.remove_label_values(&labels);
            }
        }
    }

    fn show_troubles(&self, state: &PeerState) {
        let labels = [state.peer.as_str()];
        let stalled = self.stalled_flows.with_label_values(&labels);
        stalled.set(state.stalled_flows.into());
        let oldest = state.oldest_stall.unwrap_or(Duration::ZERO);
        let seconds = self.oldest_stall.with_label_values(&labels);
        seconds.set(oldest.as_secs_f64());
        set(&self.contested, &labels, state.contested);
    }

    /// Shows at most as many addresses as a peer may have.
    fn show_paths(&self, previous: Option<&PeerState>, state: &PeerState) {
        let peer = state.peer.as_str();
        let is_lost = |path: &&PathState| !shown(state).any(|now| now.address == path.address);
        for lost in previous.into_iter().flat_map(shown).filter(is_lost) {
            let address = lost.address.to_string();
            for verdict in Verdict::ALL {
                let labels = [peer, &address, verdict.as_str()];
                let _ = self.path_verdict.remove_label_values(&labels);
            }
        }
        for path in shown(state) {
            let address = path.address.to_string();
            for &verdict in Verdict::ALL {
                let labels = [peer, &address, verdict.as_str()];
                set(&self.path_verdict, &labels, verdict == path.verdict);
            }
        }
    }

    pub(super) fn heard(&self, peer: &PeerName, at: Time) {
        let since_1970 = clock::wall(at).duration_since(SystemTime::UNIX_EPOCH);
        let last_heard = self.last_heard.with_label_values(&[peer.as_str()]);
        last_heard.set(since_1970.unwrap_or_default().as_secs_f64());
    }

    /// Counts the changes from one state to the next.
    pub(super) fn count(&self, from: &PeerState, to: &PeerState) {
        let count = |counters: &IntCounterVec, [from, to, reason]: [&str; 3], peer: &str| {
            if from != to {
                let labels = [peer, from, to, reason];
                counters.with_label_values(&labels).inc();
            }
        };
        let verdicts = [from.verdict, to.verdict].map(Verdict::as_str);
        let breakers = [from.breaker, to.breaker].map(Breaker::as_str);
        let (peer, [was, is]) = (to.peer.as_str(), verdicts);
        count(&self.transitions, [was, is, to.reason.as_str()], peer);
        let [was, is] = breakers;
        let labels = [was, is, to.breaker_reason.as_str()];
        count(&self.breaker_transitions, labels, peer);
        let died = from.verdict != to.verdict && to.verdict == Verdict::Dead;
        if let Some(latency) = to.detection_latency.filter(|_| died) {
            self.latency.observe(latency.as_secs_f64());
        }
    }
}

fn shown(state: &PeerState) -> impl Iterator<Item = &PathState> {
    state.paths.iter().take(MAX_ADDRESSES)
}
