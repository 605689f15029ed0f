//! What Prometheus sees. Labels are peers, locks and components of failures (bounded by the
//! core, removed when they are no longer kept), pools and sets, and words of the vocabulary.

mod reports;
mod series;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::SystemTime};

use prometheus::{IntCounter, IntGaugeVec, TextEncoder};

use self::series::{Series, Transition};
use crate::{
    clock,
    core::{Breaker, Destroyed, PeerName, PeerState, Signal, SourceKind, Time, Verdict},
    source::{SourceCounters, network::NetworkCounters},
};

/// All metrics, in a registry of their own. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Metrics {
    series: Arc<Series>,
}

impl Metrics {
    /// Fails only if two metrics have one name, or one that Prometheus does not take.
    pub fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            series: Arc::new(Series::new()?),
        })
    }

    /// Says what was built.
    pub fn set_build_info(&self, version: &str, ebpf: bool) {
        let ebpf = if ebpf { "true" } else { "false" };
        set(&self.series.build, &[version, ebpf], true);
    }

    /// A peer's state was published; `previous` is what it replaces.
    pub fn state_published(&self, previous: Option<&PeerState>, state: &PeerState) {
        let series = &self.series;
        let peer = state.peer.as_str();
        for &verdict in Verdict::ALL {
            let is = verdict == state.verdict;
            set(&series.peers.verdict, &[peer, verdict.as_str()], is);
        }
        for &breaker in Breaker::ALL {
            let word = breaker.as_str();
            set(
                &series.peers.breaker,
                &[peer, word],
                breaker == state.breaker,
            );
            let is = breaker == state.would_be_breaker;
            set(&series.peers.would_be_breaker, &[peer, word], is);
        }
        series.peers.remove_reasons(peer);
        set(&series.peers.reason, &[peer, state.reason.as_str()], true);
        set(&series.peers.isolated, &[peer], state.isolated);
        self.set_vitals(state);
        if let Some(at) = state.last_heard {
            self.heard(&state.peer, at);
        }

        let Some(previous) = previous else { return };
        if previous.verdict != state.verdict {
            series.peers.count(
                &state.peer,
                Transition::Verdict(previous.verdict, state.verdict, state.reason),
            );
            if let (Verdict::Dead, Some(latency)) = (state.verdict, state.detection_latency) {
                series.peers.latency.observe(latency.as_secs_f64());
            }
        }
        if previous.breaker != state.breaker {
            series.peers.count(
                &state.peer,
                Transition::Breaker(previous.breaker, state.breaker, state.reason),
            );
        }
    }

    fn set_vitals(&self, state: &PeerState) {
        let peers = &self.series.peers;
        let labels = [state.peer.as_str()];
        let breaker = peers.circuit_breaker.with_label_values(&labels);
        breaker.set(match state.breaker {
            Breaker::Closed => 0.0,
            Breaker::HalfOpen => 0.5,
            Breaker::Open => 1.0,
        });
        match state.health {
            Some(health) => {
                let score = peers.health_score.with_label_values(&labels);
                score.set(health.score.into());
            }
            // What is not known is not to be taken for what it last was.
            None => {
                let _ = peers.health_score.remove_label_values(&labels);
            }
        }
        match state.srtt {
            Some(srtt) => peers
                .srtt
                .with_label_values(&labels)
                .set(srtt.as_secs_f64()),
            None => {
                let _ = peers.srtt.remove_label_values(&labels);
            }
        }
    }

    /// A packet from the peer arrived at `at`, and nothing else changed.
    pub fn heard(&self, peer: &PeerName, at: Time) {
        let since_1970 = clock::wall(at).duration_since(SystemTime::UNIX_EPOCH);
        let last_heard = self
            .series
            .peers
            .last_heard
            .with_label_values(&[peer.as_str()]);
        last_heard.set(since_1970.unwrap_or_default().as_secs_f64());
    }

    /// The peer is no longer watched: its series end.
    pub fn peer_retracted(&self, peer: &PeerName) {
        let series = &self.series;
        let name = peer.as_str();
        // Removing what is not there is no error that matters.
        for verdict in Verdict::ALL {
            let _ = series
                .peers
                .verdict
                .remove_label_values(&[name, verdict.as_str()]);
        }
        for breaker in Breaker::ALL {
            let labels = [name, breaker.as_str()];
            let _ = series.peers.breaker.remove_label_values(&labels);
            let _ = series.peers.would_be_breaker.remove_label_values(&labels);
        }
        for (result, _) in by_result(Destroyed::default()) {
            let _ = series
                .hands
                .sockets_destroyed
                .remove_label_values(&[name, result]);
        }
        let _ = series.peers.isolated.remove_label_values(&[name]);
        let _ = series.peers.last_heard.remove_label_values(&[name]);
        let _ = series.peers.circuit_breaker.remove_label_values(&[name]);
        let _ = series.peers.health_score.remove_label_values(&[name]);
        let _ = series.peers.srtt.remove_label_values(&[name]);
        series.peers.remove_reasons(name);
        let _ = series.hands.connects_refused.remove_label_values(&[name]);
        series.peers.remove_transitions(peer);
    }

    /// Sockets of a peer that is watched were to be destroyed.
    pub fn sockets_destroyed(&self, peer: &PeerName, result: Destroyed) {
        for (result, sockets) in by_result(result) {
            self.series
                .hands
                .sockets_destroyed
                .with_label_values(&[peer.as_str(), result])
                .inc_by(sockets.into());
        }
    }

    /// A source saw something.
    pub fn signal(&self, signal: &Signal) {
        let (source, kind) = match signal {
            Signal::Flow(event) => (event.source, event.kind.as_str()),
            Signal::SocketsRead { source, .. } => (*source, "sockets_read"),
            Signal::SocketsUnreadable { .. } => (SourceKind::SockDiag, "sockets_unreadable"),
            Signal::Probe(event) => {
                let labels = [event.target.as_str(), event.outcome.as_str()];
                self.series.sources.probes.with_label_values(&labels).inc();
                return;
            }
            Signal::Network { event, .. } => (SourceKind::Rtnetlink, event.as_str()),
            Signal::SocketsDestroyed { .. } => (SourceKind::SockDiag, "sockets_destroyed"),
            Signal::Namespace { change, .. } => (SourceKind::SockDiag, change.as_str()),
            Signal::Reported { reports } => return self.reported(reports),
            // Said by the operator, not seen.
            Signal::PeerConfigured { .. } | Signal::PeerRemoved { .. } => return,
        };
        let labels = [source.as_str(), kind];
        self.series.sources.signals.with_label_values(&labels).inc();
    }

    /// How many packets of neighbours could not be understood since the start.
    pub fn set_malformed_answers(&self, total: u64) {
        advance(&self.series.sources.malformed_answers, total);
    }

    /// What the source in use has counted since it started.
    pub fn set_counters(&self, source: SourceKind, counters: SourceCounters) {
        let series = &self.series;
        for kind in [SourceKind::Ebpf, SourceKind::SockDiag] {
            set(&series.sources.source, &[kind.as_str()], kind == source);
        }
        advance(&series.sources.ring_drops, counters.ring_drops);
        advance(&series.sources.flows_full, counters.flows_full);
        advance(&series.sources.retransmits, counters.retransmits);
        advance(
            &series.sources.malformed_records,
            counters.malformed_records,
        );
        let flows = i64::try_from(counters.flows_tracked).unwrap_or(i64::MAX);
        series.sources.flows_tracked.set(flows);
    }

    /// What protects services has counted: refused connects by peer since the peer is
    /// watched, and the tuned sockets that are open.
    pub fn set_protection(&self, refused: &[(PeerName, u64)], sockets_tuned: usize) {
        let series = &self.series;
        for (peer, total) in refused {
            let labels = [peer.as_str()];
            advance(
                &series.hands.connects_refused.with_label_values(&labels),
                *total,
            );
        }
        let sockets = i64::try_from(sockets_tuned).unwrap_or(i64::MAX);
        series.hands.sockets_tuned.set(sockets);
    }

    /// What the source of links, routes and neighbours has counted since it started.
    pub fn set_network_counters(&self, counters: NetworkCounters) {
        advance(&self.series.sources.netlink_resyncs, counters.resyncs);
        advance(&self.series.sources.netlink_malformed, counters.malformed);
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        let families = self.series.registry.gather();
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_else(|error| {
                tracing::error!(%error, "the metrics could not be encoded");
                String::new()
            })
    }
}

fn by_result(result: Destroyed) -> [(&'static str, u32); 4] {
    [
        ("destroyed", result.destroyed),
        ("spared", result.spared),
        ("gone", result.gone),
        ("failed", result.failed),
    ]
}

fn set(gauges: &IntGaugeVec, labels: &[&str], is: bool) {
    gauges.with_label_values(labels).set(i64::from(is));
}

/// Brings a counter up to a total that is kept elsewhere.
fn advance(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
