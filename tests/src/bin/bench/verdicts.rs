//! A row's percentiles, compared with the targets.

use std::collections::BTreeMap;

use detector_tests::baseline::Method;
use serde::Serialize;

use crate::{
    cuts::Measured,
    rows::{Group, Metric, Target},
    run::CutRow,
    summary::Summary,
};

/// The percentiles of one row.
#[derive(Debug, Serialize)]
pub struct RowSummary {
    pub row: String,
    pub group: Group,
    pub first_timer: Option<Summary>,
    pub suspect: Option<Summary>,
    pub open: Option<Summary>,
    pub closed: Option<Summary>,
    pub record: Option<Summary>,
    pub baselines: BTreeMap<Method, Summary>,
}

/// A target, and what was measured.
#[derive(Debug, Serialize)]
pub struct Verdict {
    pub row: String,
    pub what: String,
    pub limit: String,
    pub measured: String,
    pub met: bool,
}

impl RowSummary {
    pub fn new(row: &CutRow) -> Self {
        let of = |get: fn(&Measured) -> Option<f64>| Summary::new(row.cuts.iter().map(get));
        // What is measured of some cuts only: where it was not, it did not take forever.
        let some = |get: fn(&Measured) -> Option<f64>| {
            Summary::new(row.cuts.iter().filter_map(get).map(Some))
        };
        let baselines = Method::ALL.into_iter().filter_map(|method| {
            let times = row.cuts.iter().filter_map(|cut| cut.baselines.get(&method));
            Some((method, Summary::new(times.copied())?))
        });
        Self {
            row: row.row.clone(),
            group: row.group,
            first_timer: some(|cut| cut.first_timer_ms),
            suspect: of(|cut| cut.suspect_ms),
            open: of(|cut| cut.open_ms),
            // Of the cuts that opened it.
            closed: Summary::new(
                row.cuts
                    .iter()
                    .filter(|cut| cut.open_ms.is_some())
                    .map(|cut| cut.closed_ms),
            ),
            record: some(|cut| cut.record_ms),
            baselines: baselines.collect(),
        }
    }

    pub fn verdicts(&self) -> Vec<Verdict> {
        let targets = self.group.targets();
        targets
            .iter()
            .filter_map(|target| self.verdict(target))
            .collect()
    }

    fn verdict(&self, target: &Target) -> Option<Verdict> {
        let summary = match target.metric {
            Metric::Suspect => self.suspect,
            Metric::Open => self.open,
            Metric::Closed => self.closed,
            Metric::Record => self.record,
        }?;
        let measured = summary.percentile(target.percentile);
        let name = target.percentile.as_str();
        Some(Verdict {
            row: self.row.clone(),
            what: format!("{} {name}", target.metric.label()),
            limit: format!("{} ms", target.limit_ms),
            measured: measured.map_or("never".to_owned(), |ms| format!("{ms:.1} ms")),
            met: measured.is_some_and(|ms| ms <= target.limit_ms),
        })
    }
}
