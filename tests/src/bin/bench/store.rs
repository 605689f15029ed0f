//! The small store: every operation in every scenario, with a detector and as RustFS is today.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use clap::Parser;
use detector_tests::{
    Cut,
    store::{self, Build, Measured, Op, Options, Pace, READ_STALL, Scenario, Seen},
};
use serde::Serialize;

use crate::table::Table;

/// What clients of a small storage cluster see of power cuts, and of a daemon that fails.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench store")]
pub struct Cli {
    /// Only scenarios whose names begin with one of these; `--rows list` prints the names.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    rows: Vec<String>,
    /// Short transfers and a few scenarios: shows that it works.
    #[arg(long)]
    quick: bool,
    /// The switch drops what goes to the node and comes from it, instead of taking its port down.
    #[arg(long)]
    silent_drop: bool,
    /// Where the daemons' signals come from: auto, ebpf or sock-diag.
    #[arg(long, default_value = "auto")]
    source: String,
    /// The directory for store.json and store.txt.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Fail when a target is missed.
    #[arg(long)]
    check: bool,
}

/// What `--quick` runs.
const QUICK: [Scenario; 2] = [Scenario::CutInTransfer, Scenario::TwoNodes];

/// One scenario, both ways.
#[derive(Debug, Serialize)]
struct Row {
    scenario: Scenario,
    detected: Measured,
    today: Measured,
}

pub async fn run(cli: &Cli) -> anyhow::Result<()> {
    let wanted = wanted(cli);
    if wanted.is_empty() {
        let names = Scenario::ALL.map(Scenario::as_str);
        anyhow::bail!("the scenarios are: {}", names.join(", "));
    }
    let options = options(cli);
    let mut rows: Vec<Row> = Vec::new();
    let mut failures = Vec::new();
    for scenario in wanted {
        // A row that cannot be measured is reported, and the others are still measured.
        match row(scenario, &rows, &options).await {
            Ok(row) => rows.push(row),
            Err(error) => {
                println!("{:<16} {error:#}", scenario.as_str());
                failures.push(scenario.as_str());
            }
        }
    }
    let targets: Vec<Target> = rows.iter().flat_map(targets).collect();
    let text = text(&rows, &targets);
    print!("{text}");
    fs::create_dir_all(&cli.out).context("cannot make the directory for the results")?;
    fs::write(cli.out.join("store.txt"), &text)?;
    let json = serde_json::json!({ "rows": rows, "targets": targets });
    fs::write(
        cli.out.join("store.json"),
        serde_json::to_string_pretty(&json)?,
    )?;
    let missed = targets.iter().filter(|target| !target.met).count();
    ensure!(failures.is_empty(), "not measured: {}", failures.join(", "));
    ensure!(!cli.check || missed == 0, "{missed} targets were missed");
    Ok(())
}

async fn row(scenario: Scenario, rows: &[Row], options: &Options) -> anyhow::Result<Row> {
    let detected = measure(scenario, scenario.build(), options).await?;
    // What happens to a daemon does not happen where there is none.
    let before = rows.iter().find(|row| row.scenario == scenario.as_today());
    let today = match before {
        Some(row) => row.today.clone(),
        None => measure(scenario.as_today(), Build::Today, options).await?,
    };
    Ok(Row {
        scenario,
        detected,
        today,
    })
}

fn wanted(cli: &Cli) -> Vec<Scenario> {
    let named = |scenario: &Scenario| {
        let mut names = cli.rows.iter();
        names.any(|name| scenario.as_str().starts_with(name.as_str()))
    };
    match cli.rows.is_empty() {
        true if cli.quick => QUICK.to_vec(),
        true => Scenario::ALL.to_vec(),
        false => Scenario::ALL.into_iter().filter(named).collect(),
    }
}

fn options(cli: &Cli) -> Options {
    let mut options = Options {
        source: cli.source.clone(),
        ..Options::default()
    };
    if cli.silent_drop {
        options.cut = Cut::SilentDrop;
    }
    if cli.quick {
        options.big_bytes = 16 << 20;
        options.pace = Pace {
            bytes_per_second: 4 << 20,
        };
        options.window = Duration::from_secs(5);
        options.window_today = Duration::from_secs(35);
    }
    options
}

async fn measure(scenario: Scenario, build: Build, options: &Options) -> anyhow::Result<Measured> {
    let measured = store::run(scenario, build, options)
        .await
        .with_context(|| format!("{}, {build:?}", scenario.as_str()))?;
    println!("{:<16} {build:<9?} {}", scenario.as_str(), line(&measured));
    for (op, seen) in &measured.ops {
        if let Some(error) = &seen.error {
            println!("    {}: {error}", op.as_str());
        }
    }
    for what in &measured.damaged {
        println!("    lost or altered: {what}");
    }
    Ok(measured)
}

fn line(measured: &Measured) -> String {
    let ops = measured.ops.iter();
    let mut parts: Vec<String> = ops
        .map(|(op, seen)| format!("{} {}", op.as_str(), cell(seen)))
        .collect();
    parts.push(format!(
        "full service {}",
        seconds(measured.full_service_ms)
    ));
    parts.join(", ")
}

/// Seconds, and how many failed.
fn cell(seen: &Seen) -> String {
    let mut text = seconds(seen.worst_ms);
    if seen.failed > 0 {
        text.push_str(&format!(" ✗{}", seen.failed));
    }
    if seen.retries > 0 {
        text.push_str(&format!(" ↻{}", seen.retries));
    }
    text
}

fn seconds(ms: f64) -> String {
    match ms < 9_950.0 {
        true => format!("{:.2}", ms / 1000.0),
        false => format!("{:.1}", ms / 1000.0),
    }
}

fn text(rows: &[Row], targets: &[Target]) -> String {
    let mut heads: Vec<&str> = Op::ALL.map(Op::as_str).to_vec();
    heads.push("full service");
    heads.push("lost");
    let mut table = Table::new("with detector / as today, seconds", &heads);
    for row in rows {
        let both = |get: &dyn Fn(&Measured) -> String| match (get(&row.detected), get(&row.today)) {
            (detected, today) if detected == "–" && today == "–" => detected,
            (detected, today) => format!("{detected} / {today}"),
        };
        let of = |op: Op| both(&|measured| measured.ops.get(&op).map_or("–".to_owned(), cell));
        let mut cells: Vec<String> = Op::ALL.map(of).to_vec();
        cells.push(both(&|measured| seconds(measured.full_service_ms)));
        cells.push(both(&|measured| {
            format!("{} of {}", measured.damaged.len(), measured.acknowledged)
        }));
        table.row(row.scenario.as_str(), cells);
    }
    let mut text = table.text();
    text.push_str(
        "The longest of each, from what happened until it was undone; ✗: so many of them failed. Of big \
         transfers: how late, or after what time they failed; ↻: begun again. Operations begin every 0.25 s, \
         console and locks every 0.5 s: a worse moment may be missed by as much.\n\n",
    );
    let met = targets.iter().filter(|target| target.met).count();
    text.push_str(&format!("\n{met} of {} targets met\n", targets.len()));
    for target in targets.iter().filter(|target| !target.met) {
        text.push_str(&format!(
            "missed: {}: {}: {} s, {} s at most\n",
            target.scenario,
            target.what,
            seconds(target.measured_ms),
            seconds(target.limit_ms)
        ));
    }
    text
}

#[derive(Debug, Serialize)]
struct Target {
    scenario: &'static str,
    what: String,
    measured_ms: f64,
    limit_ms: f64,
    met: bool,
}

const SECOND_MS: f64 = 1000.0;
const UPLOAD_LATE_MS: f64 = 3000.0;
const FULL_SERVICE_MS: f64 = 2000.0;
/// Two runs of the same are not the same.
const AT_WORST: f64 = 1.1;
/// A download waits for the dead node's shards row by row, each until it has stood still for
/// its time-out. Whether the cut catches two of them in one row or in two is chance, however
/// the store is built.
const ANOTHER_ROW_MS: f64 = READ_STALL.as_millis() as f64;

fn targets(row: &Row) -> Vec<Target> {
    let scenario = row.scenario.as_str();
    let target = |what: &str, measured_ms: f64, limit_ms: f64| Target {
        scenario,
        what: what.to_owned(),
        measured_ms,
        limit_ms,
        met: measured_ms <= limit_ms,
    };
    let lost = row.detected.damaged.len() as f64 * SECOND_MS;
    let mut targets = vec![target("objects lost or altered", lost, 0.0)];
    let is_of_daemon = row.scenario.as_today() != row.scenario;
    for (op, seen) in &row.detected.ops {
        let today_ms = row.today.ops.get(op).map_or(0.0, |seen| seen.worst_ms);
        let limit = match op {
            // A daemon that fails leaves things as they are today.
            Op::Download if is_of_daemon => today_ms * AT_WORST + ANOTHER_ROW_MS,
            _ if is_of_daemon => (today_ms * AT_WORST).max(SECOND_MS),
            Op::Upload | Op::Download => UPLOAD_LATE_MS,
            _ => SECOND_MS,
        };
        targets.push(target(op.as_str(), seen.worst_ms, limit));
        if row.scenario != Scenario::TwoNodes && !is_of_daemon {
            targets.push(target(
                &format!("failed: {}", op.as_str()),
                seen.failed as f64 * SECOND_MS,
                0.0,
            ));
        }
    }
    if !is_of_daemon {
        targets.push(target(
            "full service",
            row.detected.full_service_ms,
            FULL_SERVICE_MS,
        ));
    }
    targets
}
