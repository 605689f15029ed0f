//! The metrics for Prometheus. Labels are peers and their addresses, locks and components of
//! failures (all bounded, and removed when they are no longer kept), pools and sets, and words of
//! the vocabulary.

mod peers;
mod reports;
mod series;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use prometheus::{IntCounter, IntGaugeVec, TextEncoder};

use self::series::Series;
use crate::{
    model::{Destroyed, PeerName, PeerState, Signal, SourceKind, Time},
    privileges::{self, Confined},
    source::{SourceCounters, network::NetworkCounters},
};

/// All metrics, in their own registry. Cheap to clone; all clones share the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    series: Arc<Series>,
}

impl Metrics {
    /// Fails only if two metrics have the same name, or if Prometheus does not accept a name.
    pub fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            series: Arc::new(Series::new()?),
        })
    }

    /// Sets the metric that identifies this build.
    pub fn set_build_info(&self, version: &str, ebpf: bool) {
        let ebpf = if ebpf { "true" } else { "false" };
        set(&self.series.build, &[version, ebpf], true);
    }

    /// Sets the metric that says what the daemon may still do.
    pub fn set_privileges(&self, confined: &Confined) {
        let capabilities = privileges::names(confined.kept);
        let labels = [capabilities.as_str(), confined.seccomp.as_str()];
        set(&self.series.privileges, &labels, true);
    }

    /// A peer's state was published; it replaces `previous`.
    pub fn state_published(&self, previous: Option<&PeerState>, state: &PeerState) {
        self.series.show(previous, state);
        if let Some(previous) = previous {
            self.series.count(previous, state);
        }
    }

    /// A packet from the peer arrived at `at`, and nothing else changed.
    pub fn heard(&self, peer: &PeerName, at: Time) {
        self.series.heard(peer, at);
    }

    /// The peer is no longer watched, so its series are removed.
    pub fn peer_retracted(&self, peer: &PeerName) {
        let name = Some(&peer.as_str());
        self.series.forget(&|labels| labels.get("peer") == name);
    }

    /// The teardown of sockets of a watched peer has ended with this result.
    pub fn sockets_destroyed(&self, peer: &PeerName, result: Destroyed) {
        let by_result = [
            ("destroyed", result.destroyed),
            ("spared", result.spared),
            ("gone", result.gone),
            ("failed", result.failed),
        ];
        for (result, sockets) in by_result {
            let labels = [peer.as_str(), result];
            let counter = self.series.sockets_destroyed.with_label_values(&labels);
            counter.inc_by(sockets.into());
        }
    }

    /// Counts a signal of a source.
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
            Signal::Reported { reports } => return self.reported(reports),
            // These come from the operator, not from a source.
            Signal::PeerConfigured { .. } | Signal::PeerRemoved { .. } => return,
        };
        let labels = [source.as_str(), kind];
        self.series.signals.with_label_values(&labels).inc();
    }

    /// Sets the total number of malformed packets from neighbours since the start.
    pub fn set_malformed_answers(&self, total: u64) {
        advance(&self.series.malformed_answers, total);
    }

    /// How many signals found no room since the start.
    pub fn set_dropped_signals(&self, total: u64) {
        advance(&self.series.signals_dropped, total);
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

    /// Sets the totals of the protection: refused connects by peer since the peer is watched, and
    /// the number of open tuned sockets.
    pub fn set_protection(&self, refused: &[(PeerName, u64)], sockets_tuned: usize) {
        let series = &self.series;
        for (peer, total) in refused {
            let labels = [peer.as_str()];
            advance(&series.connects_refused.with_label_values(&labels), *total);
        }
        let sockets = i64::try_from(sockets_tuned).unwrap_or(i64::MAX);
        series.sockets_tuned.set(sockets);
    }

    /// Sets the totals of the source of links, routes and neighbours since its start.
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

fn set(gauges: &IntGaugeVec, labels: &[&str], is: bool) {
    gauges.with_label_values(labels).set(i64::from(is));
}

/// Raises a counter to a total that is kept elsewhere.
fn advance(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
