//! The report of a run: text with tables, JSON, and plots.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, ensure};
use detector_tests::{baseline::Method, binary};
use serde::Serialize;

use crate::{
    options::Options,
    plot,
    run::Results,
    summary::Summary,
    table::Table,
    verdicts::{RowSummary, Verdict},
};

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    environment: Environment,
    options: Options,
    summaries: Vec<RowSummary>,
    verdicts: Vec<Verdict>,
    results: Results,
}

/// The environment in which the numbers were measured.
#[derive(Debug, Serialize)]
struct Environment {
    kernel: String,
    cpus: usize,
    detector: String,
    profile: &'static str,
    command: String,
}

impl Report {
    pub fn new(options: &Options, results: Results) -> anyhow::Result<Self> {
        let summaries: Vec<RowSummary> = results.cuts.iter().map(RowSummary::new).collect();
        let mut verdicts: Vec<Verdict> = summaries.iter().flat_map(RowSummary::verdicts).collect();
        verdicts.extend(results.effects.iter().flat_map(crate::effects::verdicts));
        verdicts.extend(results.gray.iter().flat_map(crate::gray::verdicts));
        verdicts.extend(results.alarms.iter().flat_map(crate::alarms::verdicts));
        if !results.frozen.is_empty() {
            verdicts.extend(crate::alarms::frozen::verdicts(&results.frozen));
        }
        Ok(Self {
            environment: Environment::new()?,
            options: options.clone(),
            summaries,
            verdicts,
            results,
        })
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        let e = &self.environment;
        let _infallible = writeln!(
            text,
            "\nkernel {}, {} CPUs, {}, {} build, {} labs at once, {:.0} s\n{}\n",
            e.kernel,
            e.cpus,
            e.detector,
            e.profile,
            self.options.jobs,
            self.results.took_s,
            e.command
        );
        if !self.summaries.is_empty() {
            text.push_str(&self.cuts());
            text.push_str(&self.baselines());
        }
        if !self.results.effects.is_empty() {
            text.push_str(&crate::effects::table(&self.results.effects));
        }
        if !self.results.gray.is_empty() {
            text.push_str(&crate::gray::table(&self.results.gray));
        }
        if !self.results.alarms.is_empty() {
            text.push_str(&crate::alarms::table(&self.results.alarms));
        }
        if !self.results.frozen.is_empty() {
            text.push_str(&crate::alarms::frozen::table(&self.results.frozen));
        }
        if !self.results.idle.is_empty() {
            text.push_str(&crate::idle::table(&self.results.idle));
        }
        if !self.verdicts.is_empty() {
            text.push_str(&self.targets());
        }
        for failure in &self.results.failures {
            let _infallible = writeln!(text, "FAILED {}: {}", failure.row, failure.error);
        }
        text
    }

    fn cuts(&self) -> String {
        let mut table = Table::new(
            "cuts: milliseconds",
            &[
                "cuts",
                "1st timer",
                "p99",
                "suspect",
                "p90",
                "p99",
                "max",
                "open p50",
                "p90",
                "p99",
                "max",
                "never",
                "closed",
                "p99",
                "max",
                "record → closed",
                "p99",
            ],
        );
        for row in &self.summaries {
            let mut cells = vec![row.open.map_or(0, |s| s.count).to_string()];
            let timer = percentiles(row.first_timer);
            cells.extend([&timer[0], &timer[2]].map(Clone::clone));
            cells.extend(percentiles(row.suspect));
            cells.extend(percentiles(row.open));
            cells.push(row.open.map_or(0, |s| s.never).to_string());
            let closed = percentiles(row.closed);
            cells.extend([&closed[0], &closed[2], &closed[3]].map(Clone::clone));
            let record = row.record;
            cells.extend([record.and_then(|s| s.p50_ms), record.and_then(|s| s.p99_ms)].map(fine));
            table.row(&row.row, cells);
        }
        table.text()
    }

    /// Each method on the same cuts; ours first.
    fn baselines(&self) -> String {
        let heads: Vec<String> = Method::ALL.iter().map(|m| m.label().to_owned()).collect();
        let mut all = vec!["detector".to_owned()];
        all.extend(heads);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut table = Table::new("baselines on the same cuts: p50 (noticed/awaited)", &all);
        for row in &self.summaries {
            let mut cells = vec![noticed(row.open)];
            cells.extend(Method::ALL.map(|m| noticed(row.baselines.get(&m).copied())));
            table.row(&row.row, cells);
        }
        let mut text = table.text();
        for method in Method::ALL {
            let _infallible = writeln!(text, "    {}: {}", method.label(), method.description());
        }
        text.push('\n');
        text
    }

    fn targets(&self) -> String {
        let mut table = Table::new("targets", &["what", "limit", "measured", ""]);
        for verdict in &self.verdicts {
            table.row(
                &verdict.row,
                vec![
                    verdict.what.clone(),
                    verdict.limit.clone(),
                    verdict.measured.clone(),
                    if verdict.met { "met" } else { "NOT MET" }.to_owned(),
                ],
            );
        }
        let met = self.verdicts.iter().filter(|v| v.met).count();
        format!(
            "{}{met} of {} targets met\n",
            table.text(),
            self.verdicts.len()
        )
    }

    /// bench.json, bench.txt and the plots.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        for (name, text) in [("bench.json", json), ("bench.txt", self.text())] {
            let file = directory.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if !self.results.cuts.is_empty() {
            plot::write(&self.results.cuts, directory)?;
        }
        println!("written to {}", directory.display());
        Ok(())
    }

    /// Fails if a row could not be measured, or, if requested, if a target was missed.
    pub fn check(&self, options: &Options) -> anyhow::Result<()> {
        let failed = self.results.failures.len();
        ensure!(failed == 0, "{failed} rows could not be measured");
        let missed = self.verdicts.iter().filter(|v| !v.met).count();
        ensure!(
            !options.check || missed == 0,
            "{missed} targets were missed"
        );
        Ok(())
    }
}

impl Environment {
    fn new() -> anyhow::Result<Self> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("cannot read the kernel's release")?;
        let version = std::process::Command::new(binary()?)
            .arg("--version")
            .output()
            .context("cannot ask the daemon for its version")?;
        let args: Vec<String> = std::env::args().skip(1).collect();
        Ok(Self {
            kernel: kernel.trim().to_owned(),
            cpus: std::thread::available_parallelism()?.get(),
            detector: String::from_utf8_lossy(&version.stdout).trim().to_owned(),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            command: format!("cargo xtask bench {}", args.join(" "))
                .trim()
                .to_owned(),
        })
    }
}

fn percentiles(summary: Option<Summary>) -> [String; 4] {
    let Some(s) = summary else {
        return ["-"; 4].map(str::to_owned);
    };
    [s.p50_ms, s.p90_ms, s.p99_ms, s.max_ms].map(coarse)
}

fn coarse(ms: Option<f64>) -> String {
    ms.map_or("never".to_owned(), |ms| format!("{ms:.1}"))
}

fn fine(ms: Option<f64>) -> String {
    ms.map_or("-".to_owned(), |ms| format!("{ms:.3}"))
}

fn noticed(summary: Option<Summary>) -> String {
    summary.map_or("-".to_owned(), |s| {
        let p50 = s.p50_ms.map_or("never".to_owned(), |ms| format!("{ms:.0}"));
        format!("{p50} ({}/{})", s.count - s.never, s.count)
    })
}
