//! What Prometheus sees. Labels are peers (bounded by the core, removed when a peer is no
//! longer watched) and words of the vocabulary, nothing else.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

use crate::{
    clock,
    core::{Breaker, Destroyed, PeerName, PeerState, Reason, Signal, SourceKind, Time, Verdict},
    source::{SourceCounters, network::NetworkCounters},
};

/// Around the targets (0.28 s, 0.4 s, 0.6 s, 0.7 s), up to what time-outs take today.
const LATENCY_BUCKETS: [f64; 15] = [
    0.05, 0.1, 0.2, 0.25, 0.28, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 1.0, 2.0, 5.0, 30.0,
];

/// All metrics, in a registry of their own. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Metrics {
    series: Arc<Series>,
}

#[derive(Debug)]
struct Series {
    registry: Registry,
    verdict: IntGaugeVec,
    breaker: IntGaugeVec,
    would_be_breaker: IntGaugeVec,
    reason: IntGaugeVec,
    isolated: IntGaugeVec,
    last_heard: GaugeVec,
    transitions: IntCounterVec,
    breaker_transitions: IntCounterVec,
    sockets_destroyed: IntCounterVec,
    latency: Histogram,
    signals: IntCounterVec,
    probes: IntCounterVec,
    malformed_answers: IntCounter,
    ring_drops: IntCounter,
    flows_full: IntCounter,
    retransmits: IntCounter,
    malformed_records: IntCounter,
    netlink_resyncs: IntCounter,
    netlink_malformed: IntCounter,
    flows_tracked: IntGauge,
    connects_refused: IntCounterVec,
    sockets_tuned: IntGauge,
    source: IntGaugeVec,
    build: IntGaugeVec,
    /// The transitions that have a series, to be removed with their peer.
    transitions_of: Mutex<BTreeMap<PeerName, BTreeSet<Transition>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Transition {
    Verdict(Verdict, Verdict, Reason),
    Breaker(Breaker, Breaker, Reason),
}

impl Metrics {
    /// Fails only if two metrics have one name, or one that Prometheus does not take.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let series = Series {
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
            sockets_destroyed: counters(
                r,
                "sockets_destroyed_total",
                "Sockets of the dead peer that were to be destroyed, by what became of them.",
                &["peer", "result"],
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
            source: gauges(r, "source_info", "1 for the source in use.", &["source"])?,
            build: gauges(
                r,
                "build_info",
                "The version, and whether the eBPF programs are built in.",
                &["version", "ebpf"],
            )?,
            transitions_of: Mutex::default(),
            registry,
        };
        Ok(Self {
            series: Arc::new(series),
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
            set(&series.verdict, &[peer, verdict.as_str()], is);
        }
        for &breaker in Breaker::ALL {
            let word = breaker.as_str();
            set(&series.breaker, &[peer, word], breaker == state.breaker);
            let is = breaker == state.would_be_breaker;
            set(&series.would_be_breaker, &[peer, word], is);
        }
        series.remove_reasons(peer);
        set(&series.reason, &[peer, state.reason.as_str()], true);
        set(&series.isolated, &[peer], state.isolated);
        if let Some(at) = state.last_heard {
            self.heard(&state.peer, at);
        }

        let Some(previous) = previous else { return };
        if previous.verdict != state.verdict {
            series.count(
                &state.peer,
                Transition::Verdict(previous.verdict, state.verdict, state.reason),
            );
            if let (Verdict::Dead, Some(latency)) = (state.verdict, state.detection_latency) {
                series.latency.observe(latency.as_secs_f64());
            }
        }
        if previous.breaker != state.breaker {
            series.count(
                &state.peer,
                Transition::Breaker(previous.breaker, state.breaker, state.reason),
            );
        }
    }

    /// A packet from the peer arrived at `at`, and nothing else changed.
    pub fn heard(&self, peer: &PeerName, at: Time) {
        let since_1970 = clock::wall(at).duration_since(SystemTime::UNIX_EPOCH);
        let last_heard = self.series.last_heard.with_label_values(&[peer.as_str()]);
        last_heard.set(since_1970.unwrap_or_default().as_secs_f64());
    }

    /// The peer is no longer watched: its series end.
    pub fn peer_retracted(&self, peer: &PeerName) {
        let series = &self.series;
        let name = peer.as_str();
        // Removing what is not there is no error that matters.
        for verdict in Verdict::ALL {
            let _ = series
                .verdict
                .remove_label_values(&[name, verdict.as_str()]);
        }
        for breaker in Breaker::ALL {
            let labels = [name, breaker.as_str()];
            let _ = series.breaker.remove_label_values(&labels);
            let _ = series.would_be_breaker.remove_label_values(&labels);
        }
        for (result, _) in by_result(Destroyed::default()) {
            let _ = series
                .sockets_destroyed
                .remove_label_values(&[name, result]);
        }
        let _ = series.isolated.remove_label_values(&[name]);
        let _ = series.last_heard.remove_label_values(&[name]);
        series.remove_reasons(name);
        let _ = series.connects_refused.remove_label_values(&[name]);
        series.remove_transitions(peer);
    }

    /// Sockets of a peer that is watched were to be destroyed.
    pub fn sockets_destroyed(&self, peer: &PeerName, result: Destroyed) {
        for (result, sockets) in by_result(result) {
            self.series
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
                self.series.probes.with_label_values(&labels).inc();
                return;
            }
            Signal::Network { event, .. } => (SourceKind::Rtnetlink, event.as_str()),
            Signal::SocketsDestroyed { .. } => (SourceKind::SockDiag, "sockets_destroyed"),
            Signal::Namespace { change, .. } => (SourceKind::SockDiag, change.as_str()),
            // Said by the operator, not seen.
            Signal::PeerConfigured { .. } | Signal::PeerRemoved { .. } => return,
        };
        let labels = [source.as_str(), kind];
        self.series.signals.with_label_values(&labels).inc();
    }

    /// How many packets of neighbours could not be understood since the start.
    pub fn set_malformed_answers(&self, total: u64) {
        advance(&self.series.malformed_answers, total);
    }

    /// What the source in use has counted since it started.
    pub fn set_counters(&self, source: SourceKind, counters: SourceCounters) {
        let series = &self.series;
        for kind in [SourceKind::Ebpf, SourceKind::SockDiag] {
            set(&series.source, &[kind.as_str()], kind == source);
        }
        advance(&series.ring_drops, counters.ring_drops);
        advance(&series.flows_full, counters.flows_full);
        advance(&series.retransmits, counters.retransmits);
        advance(&series.malformed_records, counters.malformed_records);
        let flows = i64::try_from(counters.flows_tracked).unwrap_or(i64::MAX);
        series.flows_tracked.set(flows);
    }

    /// What protects services has counted: refused connects by peer since the peer is
    /// watched, and the tuned sockets that are open.
    pub fn set_protection(&self, refused: &[(PeerName, u64)], sockets_tuned: usize) {
        let series = &self.series;
        for (peer, total) in refused {
            let labels = [peer.as_str()];
            advance(&series.connects_refused.with_label_values(&labels), *total);
        }
        let sockets = i64::try_from(sockets_tuned).unwrap_or(i64::MAX);
        series.sockets_tuned.set(sockets);
    }

    /// What the source of links, routes and neighbours has counted since it started.
    pub fn set_network_counters(&self, counters: NetworkCounters) {
        advance(&self.series.netlink_resyncs, counters.resyncs);
        advance(&self.series.netlink_malformed, counters.malformed);
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

impl Series {
    fn count(&self, peer: &PeerName, transition: Transition) {
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

    fn remove_transitions(&self, peer: &PeerName) {
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

    fn remove_reasons(&self, peer: &str) {
        for reason in Reason::ALL {
            let _ = self.reason.remove_label_values(&[peer, reason.as_str()]);
        }
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

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let gauges = IntGaugeVec::new(Opts::new(format!("detector_{name}"), help), labels)?;
    register(registry, gauges)
}

fn counters(
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

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
