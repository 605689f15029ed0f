//! The series, and the registry that they are in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, core::Collector,
};

use super::reports::ReportSeries;
use crate::core::{Breaker, PeerName, Reason, Verdict};

/// Around the targets (0.28 s, 0.4 s, 0.6 s, 0.7 s), up to what time-outs take today.
const LATENCY_BUCKETS: [f64; 15] = [
    0.05, 0.1, 0.2, 0.25, 0.28, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 1.0, 2.0, 5.0, 30.0,
];

#[derive(Debug)]
pub(super) struct Series {
    pub registry: Registry,
    pub peers: PeerSeries,
    pub hands: HandSeries,
    pub sources: SourceSeries,
    pub reports: ReportSeries,
    pub build: IntGaugeVec,
}

/// Of each peer.
#[derive(Debug)]
pub(super) struct PeerSeries {
    pub verdict: IntGaugeVec,
    pub breaker: IntGaugeVec,
    pub would_be_breaker: IntGaugeVec,
    pub reason: IntGaugeVec,
    pub isolated: IntGaugeVec,
    pub last_heard: GaugeVec,
    pub circuit_breaker: GaugeVec,
    pub health_score: IntGaugeVec,
    pub srtt: GaugeVec,
    pub transitions: IntCounterVec,
    pub breaker_transitions: IntCounterVec,
    pub latency: Histogram,
    /// The transitions that have a series, to be removed with their peer.
    transitions_of: Mutex<BTreeMap<PeerName, BTreeSet<Transition>>>,
}

/// What was done about dead peers, and for protected services.
#[derive(Debug)]
pub(super) struct HandSeries {
    pub sockets_destroyed: IntCounterVec,
    pub connects_refused: IntCounterVec,
    pub sockets_tuned: IntGauge,
}

/// What the sources saw, and what they missed.
#[derive(Debug)]
pub(super) struct SourceSeries {
    pub signals: IntCounterVec,
    pub probes: IntCounterVec,
    pub malformed_answers: IntCounter,
    pub ring_drops: IntCounter,
    pub flows_full: IntCounter,
    pub retransmits: IntCounter,
    pub malformed_records: IntCounter,
    pub netlink_resyncs: IntCounter,
    pub netlink_malformed: IntCounter,
    pub flows_tracked: IntGauge,
    pub source: IntGaugeVec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Transition {
    Verdict(Verdict, Verdict, Reason),
    Breaker(Breaker, Breaker, Reason),
}

impl Series {
    /// Fails only if two metrics have one name, or one that Prometheus does not take.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        Ok(Self {
            peers: PeerSeries::new(r)?,
            hands: HandSeries::new(r)?,
            sources: SourceSeries::new(r)?,
            reports: ReportSeries::new(r)?,
            build: gauges(
                r,
                "build_info",
                "The version, and whether the eBPF programs are built in.",
                &["version", "ebpf"],
            )?,
            registry,
        })
    }
}

impl PeerSeries {
    fn new(r: &Registry) -> Result<Self, prometheus::Error> {
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
                "1 for why the peer's verdict or breaker is what it is.",
                &["peer", "reason"],
            )?,
            isolated: gauges(
                r,
                "isolated",
                "1 while this node itself may be cut off and the peer's verdict is held.",
                &["peer"],
            )?,
            last_heard: register(
                r,
                GaugeVec::new(
                    Opts::new(
                        "detector_peer_last_heard_timestamp_seconds",
                        "When a packet from the peer was last known to arrive, in seconds since 1970.",
                    ),
                    &["peer"],
                )?,
            )?,
            circuit_breaker: register(
                r,
                GaugeVec::new(
                    Opts::new(
                        "rustfs_circuit_breaker_state",
                        "The peer's breaker: 0 closed, 0.5 half open, 1 open.",
                    ),
                    &["peer"],
                )?,
            )?,
            health_score: gauges(
                r,
                "peer_health_score",
                "How well the peer does, 0 to 100, as it was published.",
                &["peer"],
            )?,
            srtt: register(
                r,
                GaugeVec::new(
                    Opts::new(
                        "detector_peer_srtt_seconds",
                        "The kernel's smoothed round-trip time to the peer, as it was published.",
                    ),
                    &["peer"],
                )?,
            )?,
            transitions: counters(
                r,
                "transitions_total",
                "Changes of a peer's verdict.",
                &["peer", "from", "to", "reason"],
            )?,
            breaker_transitions: counters(
                r,
                "breaker_transitions_total",
                "Changes of a peer's breaker.",
                &["peer", "from", "to", "reason"],
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
            transitions_of: Mutex::default(),
        })
    }

    pub(super) fn count(&self, peer: &PeerName, transition: Transition) {
        self.transitions_of
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(peer.clone())
            .or_default()
            .insert(transition);
        let (counters, words) = self.transition(transition);
        let [from, to, reason] = words;
        counters
            .with_label_values(&[peer.as_str(), from, to, reason])
            .inc();
    }

    pub(super) fn remove_transitions(&self, peer: &PeerName) {
        let gone = self
            .transitions_of
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(peer);
        for transition in gone.into_iter().flatten() {
            let (counters, [from, to, reason]) = self.transition(transition);
            let _ = counters.remove_label_values(&[peer.as_str(), from, to, reason]);
        }
    }

    fn transition(&self, transition: Transition) -> (&IntCounterVec, [&'static str; 3]) {
        match transition {
            Transition::Verdict(from, to, reason) => (
                &self.transitions,
                [from.as_str(), to.as_str(), reason.as_str()],
            ),
            Transition::Breaker(from, to, reason) => (
                &self.breaker_transitions,
                [from.as_str(), to.as_str(), reason.as_str()],
            ),
        }
    }

    pub(super) fn remove_reasons(&self, peer: &str) {
        for reason in Reason::ALL {
            let _ = self.reason.remove_label_values(&[peer, reason.as_str()]);
        }
    }
}

impl HandSeries {
    fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            sockets_destroyed: counters(
                r,
                "sockets_destroyed_total",
                "Sockets of the dead peer that were to be destroyed, by what became of them.",
                &["peer", "result"],
            )?,
            connects_refused: counters(
                r,
                "connects_refused_total",
                "Connects of protected services that were refused while the peer's breaker was open.",
                &["peer"],
            )?,
            sockets_tuned: register(
                r,
                IntGauge::new(
                    "detector_sockets_tuned",
                    "Open connections of protected services that were tuned, up to 4096.",
                )?,
            )?,
        })
    }
}

impl SourceSeries {
    fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            signals: counters(
                r,
                "signals_total",
                "What the sources saw; probes are counted by themselves.",
                &["source", "kind"],
            )?,
            probes: counters(
                r,
                "probes_total",
                "What became of the daemon's own probes: each is sent or failed first.",
                &["kind", "result"],
            )?,
            malformed_answers: counter(
                r,
                "probe_malformed_answers_total",
                "Packets of neighbours that could not be understood and were dropped.",
            )?,
            ring_drops: counter(
                r,
                "ring_drops_total",
                "Records that found the ring full and were healed from the map.",
            )?,
            flows_full: counter(
                r,
                "flows_full_total",
                "Flows that found the kernel's map full.",
            )?,
            retransmits: counter(
                r,
                "retransmits_total",
                "Retransmissions of watched flows that raised no record.",
            )?,
            malformed_records: counter(
                r,
                "malformed_records_total",
                "Records that could not be decoded.",
            )?,
            netlink_resyncs: counter(
                r,
                "netlink_resyncs_total",
                "Times that links, routes and neighbours were read again because the kernel dropped changes.",
            )?,
            netlink_malformed: counter(
                r,
                "netlink_malformed_total",
                "Messages about links, routes and neighbours that could not be decoded.",
            )?,
            flows_tracked: register(
                r,
                IntGauge::new(
                    "detector_flows_tracked",
                    "Flows with watched peers that are tracked now.",
                )?,
            )?,
            source: gauges(r, "source_info", "1 for the source in use.", &["source"])?,
        })
    }
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let gauges = IntGaugeVec::new(Opts::new(format!("detector_{name}"), help), labels)?;
    register(registry, gauges)
}

pub(super) fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(format!("detector_{name}"), help), labels)?;
    register(registry, counters)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    register(registry, IntCounter::new(format!("detector_{name}"), help)?)
}

pub(super) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
