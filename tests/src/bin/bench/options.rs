//! The options of the benchmark.

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use clap::{Args, ValueEnum};
use serde::Serialize;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// From a cut to Suspect, to an Open breaker, and back.
    Cuts,
    /// What a cut does to programs that were never changed.
    Effects,
    /// What is broken in part: what is said of it and how soon, and what it frees.
    Gray,
    /// How often a living peer is called dead.
    Alarms,
    /// What it costs while nothing happens.
    Idle,
}

#[derive(Clone, Debug, Args, Serialize)]
pub struct Options {
    /// What to measure; everything unless something is named.
    #[arg(value_enum)]
    pub parts: Vec<Part>,
    /// Power cuts for each row, or faults.
    #[arg(long, default_value_t = 100)]
    pub cuts: u32,
    /// How many of them, spread evenly, last until the slow baselines have noticed too: up to
    /// 27 s each.
    #[arg(long, default_value_t = 5)]
    pub baseline_cuts: u32,
    /// How long each row of the false alarms lasts, in minutes.
    #[arg(long, default_value_t = 2.0)]
    pub minutes: f64,
    /// How long each idle daemon is measured, in seconds. All probe targets are asked every
    /// 45 s, also where idle peers are not probed.
    #[arg(long, default_value_t = 45.0)]
    pub idle_seconds: f64,
    /// Only rows whose names begin with one of these; `--rows list` prints the names.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub rows: Vec<String>,
    /// A few cuts and seconds of a few rows: shows that the benchmark works, measures nothing.
    #[arg(long)]
    pub quick: bool,
    /// Labs at once. Cuts mostly wait, but those of too many labs wait for each other: on two
    /// processors four change nothing that can be seen, eight add tens of milliseconds.
    #[arg(long, default_value_t = 4)]
    pub jobs: usize,
    /// The directory for bench.json, latency.svg and latency.png.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub out: PathBuf,
    /// Where the daemon's signals come from: auto, ebpf or sock-diag.
    #[arg(long, default_value = "auto")]
    pub source: String,
    /// More flags for `detector run`, as in `--detector-arg=--mode=observe`.
    #[arg(long = "detector-arg", value_name = "FLAG")]
    pub detector_args: Vec<String>,
    /// Fail when a target is missed, not only when a row cannot be measured.
    #[arg(long)]
    pub check: bool,
}

/// What `--quick` measures.
const QUICK_ROWS: [&str; 7] = [
    "calls-3",
    "segment-1",
    "waiting",
    "blocked-read",
    "deaf-behind-arp",
    "process-killed",
    "probing-10-on-link",
];
const QUICK_CUTS: u32 = 2;
const QUICK_MINUTES: f64 = 0.2;
const QUICK_IDLE_SECONDS: f64 = 2.0;

impl Options {
    /// With `--quick` carried out, and refused where it makes no sense.
    pub fn checked(mut self) -> anyhow::Result<Self> {
        if self.quick {
            self.cuts = QUICK_CUTS;
            self.baseline_cuts = 0;
            self.minutes = QUICK_MINUTES;
            self.idle_seconds = QUICK_IDLE_SECONDS;
            if self.rows.is_empty() {
                self.rows = QUICK_ROWS.map(str::to_owned).to_vec();
            }
        }
        ensure!(self.cuts > 0, "--cuts 0 measures nothing");
        ensure!(
            self.baseline_cuts <= self.cuts,
            "--baseline-cuts {} is more than --cuts {}",
            self.baseline_cuts,
            self.cuts
        );
        ensure!(
            (1..=16).contains(&self.jobs),
            "--jobs {}: 1 to 16",
            self.jobs
        );
        ensure!(
            self.minutes > 0.0 && self.minutes <= 600.0,
            "--minutes {}: more than 0, at most 600",
            self.minutes
        );
        ensure!(
            (1.0..=3600.0).contains(&self.idle_seconds),
            "--idle-seconds {}: 1 to 3600",
            self.idle_seconds
        );
        Ok(self)
    }

    pub fn wants(&self, part: Part, row: &str) -> bool {
        let part_wanted = self.parts.is_empty() || self.parts.contains(&part);
        let named = self.rows.iter().any(|name| row.starts_with(name.as_str()));
        part_wanted && (self.rows.is_empty() || named)
    }

    pub fn idle_time(&self) -> Duration {
        Duration::from_secs_f64(self.idle_seconds)
    }

    /// Whether the slow baselines are awaited on this cut: they are spread evenly.
    pub fn is_baseline_cut(&self, number: u32) -> bool {
        let before = |n: u32| u64::from(n) * u64::from(self.baseline_cuts) / u64::from(self.cuts);
        before(number + 1) > before(number)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parse(line: &str) -> anyhow::Result<Options> {
        crate::Cli::try_parse_from(line.split(' '))?
            .options
            .checked()
    }

    #[test]
    fn baselines_are_spread_and_as_many_as_asked() {
        for (cuts, baselines) in [(30, 5), (30, 30), (30, 0), (7, 3), (1, 1)] {
            let line = format!("bench --cuts {cuts} --baseline-cuts {baselines}");
            let options = parse(&line).unwrap();
            let with = (0..cuts).filter(|n| options.is_baseline_cut(*n));
            assert_eq!(with.count(), baselines, "{baselines} of {cuts}");
        }
        assert!(parse("bench --cuts 3 --baseline-cuts 4").is_err());
    }

    #[test]
    fn rows_are_chosen_by_part_and_by_the_beginning_of_their_names() {
        let options = parse("bench cuts --rows calls-1,idle").unwrap();
        assert!(options.wants(Part::Cuts, "calls-1"));
        assert!(options.wants(Part::Cuts, "calls-16"));
        assert!(options.wants(Part::Cuts, "idle"));
        assert!(!options.wants(Part::Cuts, "calls-3"));
        assert!(!options.wants(Part::Alarms, "idle"));
        let quick = parse("bench --quick").unwrap();
        assert!(quick.wants(Part::Cuts, "calls-3"));
        assert!(!quick.wants(Part::Cuts, "calls-16"));
        assert_eq!(quick.cuts, 2);
    }
}
