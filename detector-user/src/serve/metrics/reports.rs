//! The metrics of the node's reports, and of what follows from them. They have the names that
//! RustFS's own documents use, where those name one. Labels are bounded at their source, and
//! removed when their object is no longer kept.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};

use super::{
    Metrics, advance,
    series::{counters, register},
};
use crate::{
    core::{Operation, OperationReport, Outcome, Time},
    insight::{Correlations, FailureKind, LockHealth, PoolOutlook},
};

/// From the duration of an answer from memory to the longest deadline in RustFS's documents.
const DURATION_BUCKETS: [f64; 14] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0,
];

/// The components and locks that have a series.
type Kept = Mutex<BTreeSet<[String; 2]>>;

#[derive(Debug)]
pub(super) struct ReportSeries {
    reports: IntCounterVec,
    dropped: IntCounter,
    disk_state_duration: Histogram,
    disk_state_timeouts: IntCounter,
    config_read_duration: Histogram,
    config_read_timeouts: IntCounter,
    config_lock_retries: IntCounter,
    config_lock_timeouts: IntCounter,
    lock_status: GaugeVec,
    lock_timeouts: IntCounterVec,
    locks: Kept,
    locks_beyond_bound: IntCounter,
    cascade_events: IntCounterVec,
    components: Kept,
    cascade_patterns: IntCounterVec,
    cascade_critical: IntGaugeVec,
    available_disks: IntGaugeVec,
    write_quorum: IntGaugeVec,
    read_quorum: IntGaugeVec,
    more_losses: IntGaugeVec,
}

impl Metrics {
    /// Counts the reports of the node's own programs.
    pub(super) fn reported(&self, reports: &[OperationReport]) {
        let series = &self.series.reports;
        for report in reports {
            let labels = [report.operation.as_str(), report.outcome.as_str()];
            series.reports.with_label_values(&labels).inc();
            let timed_out = u64::from(report.outcome == Outcome::TimedOut);
            let took = report.duration.as_secs_f64();
            match report.operation {
                Operation::DiskState => {
                    series.disk_state_duration.observe(took);
                    series.disk_state_timeouts.inc_by(timed_out);
                }
                Operation::IamRead => {
                    series.config_read_duration.observe(took);
                    series.config_read_timeouts.inc_by(timed_out);
                    series.config_lock_retries.inc_by(report.retries.into());
                }
                Operation::Lock => {
                    series.config_lock_timeouts.inc_by(timed_out);
                    series.config_lock_retries.inc_by(report.retries.into());
                }
                Operation::Control | Operation::Bulk | Operation::Console | Operation::Upload => {}
            }
        }
    }

    /// Adds to the number of reports that clients had to drop.
    pub fn reports_dropped(&self, reports: u64) {
        self.series.reports.dropped.inc_by(reports);
    }

    /// Shows the current state of locks and cascades.
    pub fn set_correlations(&self, correlations: &Correlations, now: Time) {
        let series = &self.series.reports;
        let mut locks = BTreeSet::new();
        for line in correlations.locks(now) {
            let path = [&*line.lock];
            let status = match line.health {
                LockHealth::Healthy => 1.0,
                LockHealth::Degraded => 0.5,
                LockHealth::Unhealthy => 0.0,
            };
            series.lock_status.with_label_values(&path).set(status);
            advance(
                &series.lock_timeouts.with_label_values(&path),
                line.timeouts,
            );
            locks.insert([line.lock.to_string(), String::new()]);
        }
        forget(&series.locks, locks, |[path, _]| {
            let _ = series.lock_status.remove_label_values(&[path]);
            let _ = series.lock_timeouts.remove_label_values(&[path]);
        });
        advance(
            &series.locks_beyond_bound,
            correlations.locks_beyond_bound(),
        );
        series.set_cascades(correlations, now);
    }

    /// Shows how many losses the erasure sets tolerate now. The layout does not change while the
    /// daemon runs.
    pub fn set_outlook(&self, pools: &[PoolOutlook]) {
        let series = &self.series.reports;
        for pool in pools {
            for set in &pool.sets {
                let number = set.set.to_string();
                let labels = [pool.pool.as_str(), &number];
                let gauge = |gauges: &IntGaugeVec, value: u32| {
                    gauges.with_label_values(&labels).set(value.into());
                };
                gauge(&series.available_disks, set.disks_available);
                gauge(&series.write_quorum, set.write_quorum);
                gauge(&series.read_quorum, set.read_quorum);
                for (access, losses) in [
                    ("read", set.more_losses_until_unreadable),
                    ("write", set.more_losses_until_unwritable),
                ] {
                    let labels = [pool.pool.as_str(), &number, access];
                    series
                        .more_losses
                        .with_label_values(&labels)
                        .set(losses.into());
                }
            }
        }
    }
}

impl ReportSeries {
    fn set_cascades(&self, correlations: &Correlations, now: Time) {
        let mut components = BTreeSet::new();
        for total in correlations.failure_totals() {
            let labels = [total.kind.as_str(), named(total.component)];
            advance(
                &self.cascade_events.with_label_values(&labels),
                total.failures,
            );
            components.insert(labels.map(str::to_owned));
        }
        forget(&self.components, components, |[kind, component]| {
            let _ = self.cascade_events.remove_label_values(&[kind, component]);
        });
        for initial in [FailureKind::PeerUnreachable, FailureKind::LockTimeout] {
            let of_kind = correlations
                .pattern_totals(now)
                .filter(|(pattern, ..)| pattern.initial == initial);
            let detected = of_kind.map(|(_, detected, _)| detected).sum();
            let labels = [initial.as_str()];
            advance(&self.cascade_patterns.with_label_values(&labels), detected);
        }
        for (pattern, _, is_recurring) in correlations.pattern_totals(now) {
            let gauge = self.cascade_critical.with_label_values(&[pattern.name]);
            gauge.set(is_recurring.into());
        }
    }

    pub(super) fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            reports: counters(
                r,
                "reports_total",
                "Operations that the node's own programs reported, by how they ended.",
                &["operation", "outcome"],
            )?,
            dropped: counter(
                r,
                "detector_reports_dropped_total",
                "Reports that clients had to drop.",
            )?,
            disk_state_duration: histogram(
                r,
                "rustfs_disk_state_check_duration_seconds",
                "How long reported checks of a disk's state took.",
            )?,
            disk_state_timeouts: counter(
                r,
                "rustfs_disk_state_check_timeouts_total",
                "Reported checks of a disk's state that timed out.",
            )?,
            config_read_duration: histogram(
                r,
                "rustfs_config_read_duration_seconds",
                "How long reported reads of IAM's or the configuration's metadata took.",
            )?,
            config_read_timeouts: counter(
                r,
                "rustfs_config_read_timeouts_total",
                "Reported reads of IAM's or the configuration's metadata that timed out.",
            )?,
            config_lock_retries: counter(
                r,
                "rustfs_config_lock_retries_total",
                "How often locks, and reads under a lock, were tried again.",
            )?,
            config_lock_timeouts: counter(
                r,
                "rustfs_config_lock_timeouts_total",
                "Reported locks that timed out.",
            )?,
            lock_status: register(
                r,
                GaugeVec::new(
                    Opts::new(
                        "rustfs_lock_health_status",
                        "How the lock does: 1 healthy, 0.5 degraded, 0 unhealthy.",
                    ),
                    &["path"],
                )?,
            )?,
            lock_timeouts: named_counters(
                r,
                "rustfs_lock_health_timeouts_total",
                "Reported time-outs of the lock.",
                &["path"],
            )?,
            locks: Kept::default(),
            locks_beyond_bound: counter(
                r,
                "detector_locks_beyond_bound_total",
                "Reports about locks beyond the number that is kept.",
            )?,
            cascade_events: named_counters(
                r,
                "rustfs_cascading_failure_events_total",
                "Failures that may take part in a cascade.",
                &["type", "component"],
            )?,
            components: Kept::default(),
            cascade_patterns: named_counters(
                r,
                "rustfs_cascading_failure_patterns_total",
                "Cascades detected, by the kind of their initial failure.",
                &["initial"],
            )?,
            cascade_critical: named_gauges(
                r,
                "rustfs_cascading_failure_critical",
                "1 while the pattern was detected three times or more within the hour.",
                &["pattern"],
            )?,
            available_disks: named_gauges(
                r,
                "rustfs_available_disks_total",
                "Disks of the erasure set whose nodes are there.",
                &["pool", "set"],
            )?,
            write_quorum: named_gauges(
                r,
                "rustfs_write_quorum_required",
                "Disks that the erasure set needs to be written.",
                &["pool", "set"],
            )?,
            read_quorum: named_gauges(
                r,
                "rustfs_read_quorum_required",
                "Disks that the erasure set needs to be read.",
                &["pool", "set"],
            )?,
            more_losses: named_gauges(
                r,
                "detector_quorum_more_losses",
                "How many more nodes the erasure set may lose, whichever they are.",
                &["pool", "set", "access"],
            )?,
        })
    }
}

/// The component, or "unknown" if it has no name.
fn named(component: &str) -> &str {
    match component {
        "" => "unknown",
        component => component,
    }
}

/// Replaces the set of kept labels; `remove` is called with each that is no longer in it.
fn forget(kept: &Kept, now: BTreeSet<[String; 2]>, remove: impl Fn([&str; 2])) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    for [first, second] in kept.difference(&now) {
        // It is no error to remove a series that does not exist.
        remove([first, second]);
    }
    *kept = now;
}

fn counter(r: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    register(r, IntCounter::new(name, help)?)
}

fn named_counters(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    register(r, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn named_gauges(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    register(r, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn histogram(r: &Registry, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
    register(r, Histogram::with_opts(options)?)
}
