//! All series, and their registry.

use prometheus::{
    GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};

use super::{peers::PeerSeries, reports::ReportSeries};

#[derive(Debug)]
pub(super) struct Series {
    pub registry: Registry,
    pub peers: PeerSeries,
    pub effects: EffectSeries,
    pub sources: SourceSeries,
    pub reports: ReportSeries,
    pub build: IntGaugeVec,
}

/// The effects on dead peers, stalled flows and protected services.
#[derive(Debug)]
pub(super) struct EffectSeries {
    pub sockets_destroyed: IntCounterVec,
    pub connects_refused: IntCounterVec,
    pub sockets_tuned: IntGauge,
}

/// What the sources saw, and what they missed.
#[derive(Debug)]
pub(super) struct SourceSeries {
    pub signals: IntCounterVec,
    pub signals_dropped: IntCounter,
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

impl Series {
    /// Fails only if two metrics have the same name, or if Prometheus does not accept a name.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        Ok(Self {
            peers: PeerSeries::new(r)?,
            effects: EffectSeries::new(r)?,
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

impl EffectSeries {
    fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            sockets_destroyed: counters(
                r,
                "sockets_destroyed_total",
                "Sockets of the peer, dead or with stalled flows, that were to be destroyed, by what became of them.",
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
            signals_dropped: counter(
                r,
                "signals_dropped_total",
                "Signals that found no room on their way to the loop.",
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

pub(super) fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let gauges = IntGaugeVec::new(Opts::new(format!("detector_{name}"), help), labels)?;
    register(registry, gauges)
}

/// Registers gauges of values that may be fractions.
pub(super) fn measures(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    register(registry, GaugeVec::new(Opts::new(name, help), labels)?)
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
