//! The metrics of the node's reports, and of what follows from them. Labels are bounded at their
//! source, and removed when their object is no longer kept.

use std::collections::BTreeSet;

use detector_api::v1::PoolOutlook;
use prometheus::IntGaugeVec;

use super::{
    Metrics, advance,
    series::{Labels, Metric as _, Series},
};
use crate::{
    insight::{Correlations, FailureKind, LockHealth},
    model::{Operation, OperationReport, Outcome, Time},
};

impl Metrics {
    /// Counts the reports of the node's own programs.
    pub(super) fn reported(&self, reports: &[OperationReport]) {
        let series = &self.series;
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
        self.series.reports_dropped.inc_by(reports);
    }

    /// Shows the current state of locks and cascades.
    pub fn set_correlations(&self, correlations: &Correlations, now: Time) {
        let series = &self.series;
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
                line.counts.timeouts,
            );
            locks.insert(line.lock);
        }
        let is_gone = |labels: &Labels<'_>| !locks.contains(labels["path"]);
        series.lock_status.forget(&is_gone);
        series.lock_timeouts.forget(&is_gone);
        advance(
            &series.locks_beyond_bound,
            correlations.locks_beyond_bound(),
        );
        series.set_cascades(correlations, now);
    }

    /// Shows how many losses the erasure sets tolerate now. The layout does not change while the
    /// daemon runs.
    pub fn set_outlook(&self, pools: &[PoolOutlook]) {
        let series = &self.series;
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

impl Series {
    fn set_cascades(&self, correlations: &Correlations, now: Time) {
        let mut components = BTreeSet::new();
        for total in correlations.failure_totals() {
            let labels = [total.kind.as_str(), named(total.component)];
            advance(
                &self.cascade_events.with_label_values(&labels),
                total.failures,
            );
            components.insert(labels);
        }
        self.cascade_events
            .forget(&|labels| !components.contains(&[labels["type"], labels["component"]]));
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
}

/// The component, or "unknown" if it has no name.
fn named(component: &str) -> &str {
    match component {
        "" => "unknown",
        component => component,
    }
}
