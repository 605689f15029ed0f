//! Percentiles, as a table and as JSON.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, ensure};
use detector_tests::stats::percentile;
use serde::Serialize;

use crate::{Options, measure::Measured};

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    kernel: String,
    source: String,
    detector_args: Vec<String>,
    flows: u32,
    suspect: Option<Summary>,
    open: Summary,
    closed: Option<Summary>,
    /// The client with RustFS's settings, on the cuts where it was awaited.
    baseline: Option<Summary>,
    /// How many times as long the baseline takes, median to median.
    baseline_to_open_ratio: Option<f64>,
    cuts: Vec<Measured>,
}

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    count: usize,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Summary {
    fn new(milliseconds: impl Iterator<Item = f64>) -> Option<Self> {
        let times: Vec<Duration> = milliseconds
            .map(|ms| Duration::from_secs_f64(ms / 1e3))
            .collect();
        let at = |percent| Some(percentile(&times, percent)?.as_secs_f64() * 1e3);
        Some(Self {
            count: times.len(),
            p50_ms: at(50)?,
            p90_ms: at(90)?,
            p99_ms: at(99)?,
            max_ms: at(100)?,
        })
    }
}

impl Report {
    pub fn new(options: &Options, cuts: Vec<Measured>) -> anyhow::Result<Self> {
        let open = Summary::new(cuts.iter().map(|cut| cut.open_ms)).context("no cut was made")?;
        let baseline = Summary::new(cuts.iter().filter_map(|cut| cut.baseline_ms));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("cannot read the kernel's release")?;
        Ok(Self {
            kernel: kernel.trim().to_owned(),
            source: options.source.clone(),
            detector_args: options.detector_args.clone(),
            flows: options.flows,
            suspect: Summary::new(cuts.iter().map(|cut| cut.suspect_ms)),
            open,
            closed: Summary::new(cuts.iter().map(|cut| cut.closed_ms)),
            baseline,
            baseline_to_open_ratio: baseline.map(|baseline| baseline.p50_ms / open.p50_ms),
            cuts,
        })
    }

    pub fn table(&self) -> String {
        let mut table = format!(
            "\n{:<34}{:>5}{:>11}{:>11}{:>11}{:>11}\n",
            "milliseconds", "cuts", "p50", "p90", "p99", "max"
        );
        let rows = [
            ("cut → suspect at a watcher", self.suspect),
            ("cut → open breaker at a watcher", Some(self.open)),
            ("peer back → closed breaker", self.closed),
            ("cut → RustFS's settings notice", self.baseline),
        ];
        for (name, summary) in rows {
            let Some(s) = summary else {
                continue;
            };
            let _infallible = writeln!(
                table,
                "{name:<34}{:>5}{:>11.1}{:>11.1}{:>11.1}{:>11.1}",
                s.count, s.p50_ms, s.p90_ms, s.p99_ms, s.max_ms
            );
        }
        if let Some(ratio) = self.baseline_to_open_ratio {
            let _infallible = writeln!(
                table,
                "RustFS's settings take {ratio:.0} times as long (p50 to p50)"
            );
        }
        table
    }

    /// Holds the times against the limits that were asked for.
    pub fn check(&self, options: &Options) -> anyhow::Result<()> {
        let limits = [
            ("p50", self.open.p50_ms, options.max_p50_ms),
            ("p99", self.open.p99_ms, options.max_p99_ms),
        ];
        for (name, measured, limit) in limits {
            if let Some(limit) = limit {
                ensure!(
                    measured <= limit,
                    "{name} of cut → open is {measured:.1} ms, above the limit of {limit} ms"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_nothing_is_none() {
        assert_eq!(Summary::new(std::iter::empty()), None);
        let summary = Summary::new([3.0, 1.0, 2.0].into_iter()).unwrap();
        assert_eq!(
            (summary.count, summary.p50_ms, summary.max_ms),
            (3, 2.0, 3.0)
        );
    }
}
