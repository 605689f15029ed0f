//! The metrics of each peer.

use std::time::{Duration, SystemTime};

use prometheus::{GaugeVec, Histogram, HistogramOpts, IntGaugeVec, Registry};

use super::{
    paths::PathSeries,
    series::{gauges, measures, register},
    set,
    transitions::TransitionSeries,
};
use crate::{
    clock,
    core::{Breaker, PeerName, PeerState, Reason, Time, Verdict},
};

/// The buckets cover the targets (0.28 s, 0.4 s, 0.6 s, 0.7 s) and reach up to today's time-outs.
const LATENCY_BUCKETS: [f64; 15] = [
    0.05, 0.1, 0.2, 0.25, 0.28, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 1.0, 2.0, 5.0, 30.0,
];

#[derive(Debug)]
pub(super) struct PeerSeries {
    verdict: IntGaugeVec,
    breaker: IntGaugeVec,
    would_be_breaker: IntGaugeVec,
    reason: IntGaugeVec,
    breaker_reason: IntGaugeVec,
    isolated: IntGaugeVec,
    stalled_flows: IntGaugeVec,
    oldest_stall: GaugeVec,
    contested: IntGaugeVec,
    last_heard: GaugeVec,
    circuit_breaker: GaugeVec,
    health_score: IntGaugeVec,
    srtt: GaugeVec,
    latency: Histogram,
    paths: PathSeries,
    transitions: TransitionSeries,
}

impl PeerSeries {
    pub(super) fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        let peer = &["peer"];
        Ok(Self {
            verdict: gauges(
                r,
                "peer_verdict",
                "1 for the peer's verdict, 0 for the others.",
                &["peer", "verdict"],
            )?,
            breaker: gauges(
                r,
                "peer_breaker",
                "1 for the state of the peer's breaker, 0 for the others.",
                &["peer", "breaker"],
            )?,
            would_be_breaker: gauges(
                r,
                "peer_would_be_breaker",
                "1 for the state that the peer's breaker would have in enforce mode, 0 for the others.",
                &["peer", "breaker"],
            )?,
            reason: gauges(
                r,
                "peer_reason",
                "1 for why the peer's verdict is what it is.",
                &["peer", "reason"],
            )?,
            breaker_reason: gauges(
                r,
                "peer_breaker_reason",
                "1 for why the peer's breaker is what it is.",
                &["peer", "reason"],
            )?,
            isolated: gauges(
                r,
                "isolated",
                "1 while this node itself may be isolated and the peer's verdict is held.",
                peer,
            )?,
            stalled_flows: gauges(
                r,
                "peer_stalled_flows",
                "Connections with the peer whose own retransmissions go unanswered while the peer lives.",
                peer,
            )?,
            oldest_stall: measures(
                r,
                "detector_peer_oldest_stall_seconds",
                "For how long the oldest of the peer's stalled connections has been stalled, as it was published; 0 where none is.",
                peer,
            )?,
            contested: gauges(
                r,
                "peer_contested",
                "1 while another network card answers ARP or NDP for one of the peer's addresses.",
                peer,
            )?,
            last_heard: measures(
                r,
                "detector_peer_last_heard_timestamp_seconds",
                "When a packet from the peer was last known to arrive, in seconds since 1970.",
                peer,
            )?,
            circuit_breaker: measures(
                r,
                "rustfs_circuit_breaker_state",
                "The peer's breaker: 0 closed, 0.5 half open, 1 open.",
                peer,
            )?,
            health_score: gauges(
                r,
                "peer_health_score",
                "How well the peer does, 0 to 100, as it was published.",
                peer,
            )?,
            srtt: measures(
                r,
                "detector_peer_srtt_seconds",
                "The kernel's smoothed round-trip time to the peer, as it was published.",
                peer,
            )?,
            latency: register(
                r,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "detector_detection_latency_seconds",
                        "From the beginning of the silence (the last segment heard, or the first transmission after it) to the verdict dead.",
                    )
                    .buckets(LATENCY_BUCKETS.to_vec()),
                )?,
            )?,
            paths: PathSeries::new(r)?,
            transitions: TransitionSeries::new(r)?,
        })
    }

    /// Shows a peer's current state.
    pub(super) fn show(&self, state: &PeerState) {
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
        self.remove_reasons(peer);
        set(&self.reason, &[peer, state.reason.as_str()], true);
        let labels = [peer, state.breaker_reason.as_str()];
        set(&self.breaker_reason, &labels, true);
        set(&self.isolated, &[peer], state.isolated);
        self.show_vitals(state);
        self.show_troubles(state);
        self.paths.show(state);
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

    pub(super) fn heard(&self, peer: &PeerName, at: Time) {
        let since_1970 = clock::wall(at).duration_since(SystemTime::UNIX_EPOCH);
        let last_heard = self.last_heard.with_label_values(&[peer.as_str()]);
        last_heard.set(since_1970.unwrap_or_default().as_secs_f64());
    }

    /// Counts the changes from one state to the next.
    pub(super) fn count(&self, from: &PeerState, to: &PeerState) {
        self.transitions.count(from, to);
        let died = from.verdict != to.verdict && to.verdict == Verdict::Dead;
        if let Some(latency) = to.detection_latency.filter(|_| died) {
            self.latency.observe(latency.as_secs_f64());
        }
    }

    /// Removes the peer's series. It is no error if one does not exist.
    pub(super) fn remove(&self, peer: &PeerName) {
        let name = peer.as_str();
        for verdict in Verdict::ALL {
            let _ = self.verdict.remove_label_values(&[name, verdict.as_str()]);
        }
        for breaker in Breaker::ALL {
            let labels = [name, breaker.as_str()];
            let _ = self.breaker.remove_label_values(&labels);
            let _ = self.would_be_breaker.remove_label_values(&labels);
        }
        self.remove_plain(name);
        self.remove_reasons(name);
        self.paths.remove(peer);
        self.transitions.remove(peer);
    }

    /// Removes the series whose only label is the peer.
    fn remove_plain(&self, name: &str) {
        for gauges in [
            &self.isolated,
            &self.stalled_flows,
            &self.contested,
            &self.health_score,
        ] {
            let _ = gauges.remove_label_values(&[name]);
        }
        for gauges in [
            &self.oldest_stall,
            &self.last_heard,
            &self.circuit_breaker,
            &self.srtt,
        ] {
            let _ = gauges.remove_label_values(&[name]);
        }
    }

    fn remove_reasons(&self, peer: &str) {
        for reason in Reason::ALL {
            let labels = [peer, reason.as_str()];
            let _ = self.reason.remove_label_values(&labels);
            let _ = self.breaker_reason.remove_label_values(&labels);
        }
    }
}
