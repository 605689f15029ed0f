//! The table of all metrics, from which they are made and registered.

use std::collections::HashMap;

use prometheus::{
    Error, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
    core::{Collector, MetricVec, MetricVecBuilder},
};

/// The buckets cover the targets (0.28 s, 0.4 s, 0.6 s, 0.7 s) and reach up to today's time-outs.
const LATENCIES: [f64; 15] = [
    0.05, 0.1, 0.2, 0.25, 0.28, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 1.0, 2.0, 5.0, 30.0,
];

/// From the duration of an answer from memory to the longest deadline in RustFS's documents.
const DURATIONS: [f64; 14] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0,
];

/// The labels of one series, by their names.
pub(super) type Labels<'a> = HashMap<&'a str, &'a str>;

/// What the kinds of metrics have in common.
pub(super) trait Metric: Sized {
    /// What makes one, besides its name and help: the names of its labels, or its buckets.
    type More;

    fn make(name: &str, help: &str, more: Self::More) -> Result<Self, Error>;

    /// Removes each series with such labels.
    fn forget(&self, _is_gone: &dyn Fn(&Labels<'_>) -> bool) {}
}

macro_rules! with_labels {
    ($($kind:ty),+) => {$(
        impl Metric for $kind {
            type More = &'static [&'static str];

            fn make(name: &str, help: &str, labels: Self::More) -> Result<Self, Error> {
                Self::new(Opts::new(name, help), labels)
            }

            fn forget(&self, is_gone: &dyn Fn(&Labels<'_>) -> bool) {
                forget(self, is_gone);
            }
        }
    )+};
}

with_labels!(GaugeVec, IntCounterVec, IntGaugeVec);

fn forget<T: MetricVecBuilder>(metrics: &MetricVec<T>, is_gone: &dyn Fn(&Labels<'_>) -> bool) {
    for family in metrics.collect() {
        for series in family.get_metric() {
            let labels = series.get_label().iter();
            let labels: Labels<'_> = labels.map(|label| (label.name(), label.value())).collect();
            if is_gone(&labels) {
                // It is no error if it was removed meanwhile.
                let _ = metrics.remove(&labels);
            }
        }
    }
}

impl Metric for IntCounter {
    type More = ();

    fn make(name: &str, help: &str, (): ()) -> Result<Self, Error> {
        Self::new(name, help)
    }
}

impl Metric for IntGauge {
    type More = ();

    fn make(name: &str, help: &str, (): ()) -> Result<Self, Error> {
        Self::new(name, help)
    }
}

impl Metric for Histogram {
    type More = &'static [f64];

    fn make(name: &str, help: &str, buckets: Self::More) -> Result<Self, Error> {
        Self::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))
    }
}

macro_rules! metrics {
    ($($field:ident: $kind:ident = $name:literal, $help:literal $(, $more:expr)?;)+) => {
        /// All metrics, and their registry.
        #[derive(Debug)]
        pub(super) struct Series {
            pub registry: Registry,
            $(pub $field: $kind,)+
        }

        /// The name, the kind, the help, and labels or buckets of each metric, as they are written
        /// in the table.
        #[cfg(test)]
        pub(super) const TABLE: &[(&str, &str, &str, &str)] = &[
            $(($name, stringify!($kind), $help, stringify!($($more)?)),)+
        ];

        impl Series {
            /// Fails only if two metrics have the same name, or if Prometheus does not accept a
            /// name.
            pub(super) fn new() -> Result<Self, Error> {
                let registry = Registry::new();
                $(
                    let $field = $kind::make($name, $help, { $($more)? })?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self { registry, $($field),+ })
            }

            /// Removes each series with such labels, whatever its metric.
            pub(super) fn forget(&self, is_gone: &dyn Fn(&Labels<'_>) -> bool) {
                $(self.$field.forget(is_gone);)+
            }
        }
    };
}

metrics! {
    build: IntGaugeVec = "detector_build_info",
        "The version, and whether the eBPF programs are built in.", &["version", "ebpf"];
    privileges: IntGaugeVec = "detector_privileges_info",
        "1 for the capabilities that the daemon has kept, and for what its filter of system calls does.",
        &["capabilities", "seccomp"];

    // Each peer, and each of its addresses.
    verdict: IntGaugeVec = "detector_peer_verdict",
        "1 for the peer's verdict, 0 for the others.", &["peer", "verdict"];
    breaker: IntGaugeVec = "detector_peer_breaker",
        "1 for the state of the peer's breaker, 0 for the others.", &["peer", "breaker"];
    would_be_breaker: IntGaugeVec = "detector_peer_would_be_breaker",
        "1 for the state that the peer's breaker would have in enforce mode, 0 for the others.",
        &["peer", "breaker"];
    reason: IntGaugeVec = "detector_peer_reason",
        "1 for why the peer's verdict is what it is.", &["peer", "reason"];
    breaker_reason: IntGaugeVec = "detector_peer_breaker_reason",
        "1 for why the peer's breaker is what it is.", &["peer", "reason"];
    overridden: IntGaugeVec = "detector_peer_override",
        "1 for each peer whose breaker an administrator overrides, with what is wanted of it.",
        &["peer", "kind"];
    isolated: IntGaugeVec = "detector_isolated",
        "1 while this node itself may be isolated and the peer's verdict is held.", &["peer"];
    stalled_flows: IntGaugeVec = "detector_peer_stalled_flows",
        "Connections with the peer on which nothing gets through while the peer lives.",
        &["peer"];
    oldest_stall: GaugeVec = "detector_peer_oldest_stall_seconds",
        "For how long the oldest of the peer's stalled connections has been stalled, as it was published; 0 where none is.",
        &["peer"];
    contested: IntGaugeVec = "detector_peer_contested",
        "1 while another network card answers ARP or NDP for one of the peer's addresses.",
        &["peer"];
    last_heard: GaugeVec = "detector_peer_last_heard_timestamp_seconds",
        "When a packet from the peer was last known to arrive, in seconds since 1970.", &["peer"];
    circuit_breaker: GaugeVec = "rustfs_circuit_breaker_state",
        "The peer's breaker: 0 closed, 0.5 half open, 1 open.", &["peer"];
    health_score: IntGaugeVec = "detector_peer_health_score",
        "How well the peer does, 0 to 100, as it was published.", &["peer"];
    srtt: GaugeVec = "detector_peer_srtt_seconds",
        "The kernel's smoothed round-trip time to the peer, as it was published.", &["peer"];
    path_verdict: IntGaugeVec = "detector_path_verdict",
        "1 for the verdict on one of the peer's addresses, 0 for the others.",
        &["peer", "address", "verdict"];
    transitions: IntCounterVec = "detector_transitions_total",
        "Changes of a peer's verdict, with the verdict's reason.",
        &["peer", "from", "to", "reason"];
    breaker_transitions: IntCounterVec = "detector_breaker_transitions_total",
        "Changes of a peer's breaker, with the breaker's reason.",
        &["peer", "from", "to", "reason"];
    latency: Histogram = "detector_detection_latency_seconds",
        "From the beginning of the silence (the last segment heard, or the first transmission after it) to the verdict dead.",
        &LATENCIES;

    // The effects on dead peers, stalled flows and protected services.
    sockets_destroyed: IntCounterVec = "detector_sockets_destroyed_total",
        "Sockets of a dead peer, and stalled ones of a live peer, by the result of their destruction.",
        &["peer", "result"];
    connects_refused: IntCounterVec = "detector_connects_refused_total",
        "Connects of protected services that were refused while the peer's breaker was open.",
        &["peer"];
    sockets_tuned: IntGauge = "detector_sockets_tuned",
        "Open connections of protected services that were tuned, up to 4096.";

    // What the sources saw, and what they missed.
    signals: IntCounterVec = "detector_signals_total",
        "What the sources saw; probes are counted by themselves.", &["source", "kind"];
    signals_dropped: IntCounter = "detector_signals_dropped_total",
        "Signals that found no room on their way to the loop.";
    probes: IntCounterVec = "detector_probes_total",
        "What became of the daemon's own probes: each is sent or failed first.",
        &["kind", "result"];
    malformed_answers: IntCounter = "detector_probe_malformed_answers_total",
        "Packets of neighbours that could not be understood and were dropped.";
    ring_drops: IntCounter = "detector_ring_drops_total",
        "Records that found the ring full and were healed from the map.";
    flows_full: IntCounter = "detector_flows_full_total",
        "Flows that found the kernel's map full.";
    retransmits: IntCounter = "detector_retransmits_total",
        "Retransmissions of watched flows that raised no record.";
    malformed_records: IntCounter = "detector_malformed_records_total",
        "Records that could not be decoded.";
    netlink_resyncs: IntCounter = "detector_netlink_resyncs_total",
        "Times that links, routes and neighbours were read again because the kernel dropped changes.";
    netlink_malformed: IntCounter = "detector_netlink_malformed_total",
        "Messages about links, routes and neighbours that could not be decoded.";
    flows_tracked: IntGauge = "detector_flows_tracked",
        "Flows with watched peers that are tracked now.";
    source: IntGaugeVec = "detector_source_info", "1 for the source in use.", &["source"];

    // What the node reports, and what follows from it, under the names that RustFS's own documents
    // use, where those name one.
    reports: IntCounterVec = "detector_reports_total",
        "Operations that the node's own programs reported, by how they ended.",
        &["operation", "outcome"];
    reports_dropped: IntCounter = "detector_reports_dropped_total",
        "Reports that clients had to drop.";
    disk_state_duration: Histogram = "rustfs_disk_state_check_duration_seconds",
        "How long reported checks of a disk's state took.", &DURATIONS;
    disk_state_timeouts: IntCounter = "rustfs_disk_state_check_timeouts_total",
        "Reported checks of a disk's state that timed out.";
    config_read_duration: Histogram = "rustfs_config_read_duration_seconds",
        "How long reported reads of IAM's or the configuration's metadata took.", &DURATIONS;
    config_read_timeouts: IntCounter = "rustfs_config_read_timeouts_total",
        "Reported reads of IAM's or the configuration's metadata that timed out.";
    config_lock_retries: IntCounter = "rustfs_config_lock_retries_total",
        "How often locks, and reads under a lock, were tried again.";
    config_lock_timeouts: IntCounter = "rustfs_config_lock_timeouts_total",
        "Reported locks that timed out.";
    lock_status: GaugeVec = "rustfs_lock_health_status",
        "How the lock does: 1 healthy, 0.5 degraded, 0 unhealthy.", &["path"];
    lock_timeouts: IntCounterVec = "rustfs_lock_health_timeouts_total",
        "Reported time-outs of the lock.", &["path"];
    locks_beyond_bound: IntCounter = "detector_locks_beyond_bound_total",
        "Reports about locks beyond the number that is kept.";
    cascade_events: IntCounterVec = "rustfs_cascading_failure_events_total",
        "Failures that may take part in a cascade.", &["type", "component"];
    cascade_patterns: IntCounterVec = "rustfs_cascading_failure_patterns_total",
        "Cascades detected, by the kind of their initial failure.", &["initial"];
    cascade_critical: IntGaugeVec = "rustfs_cascading_failure_critical",
        "1 while the pattern was detected three times or more within the hour.", &["pattern"];
    available_disks: IntGaugeVec = "rustfs_available_disks_total",
        "Disks of the erasure set whose nodes are there.", &["pool", "set"];
    write_quorum: IntGaugeVec = "rustfs_write_quorum_required",
        "Disks that the erasure set needs to be written.", &["pool", "set"];
    read_quorum: IntGaugeVec = "rustfs_read_quorum_required",
        "Disks that the erasure set needs to be read.", &["pool", "set"];
    more_losses: IntGaugeVec = "detector_quorum_more_losses",
        "How many more nodes the erasure set may lose, whichever they are.",
        &["pool", "set", "access"];
}
