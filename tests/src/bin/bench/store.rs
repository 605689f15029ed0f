//! The small store: every operation in every scenario, with a detector and as RustFS is today.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, ensure};
use clap::Parser;
use detector_tests::{
    Cut,
    store::{self, Daemons, Measured, Op, Options, SCENARIOS, Scenario, Seen},
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
    /// Short transfers, and without `--rows` a few scenarios: shows that it works.
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
const QUICK: [&str; 2] = ["cut-in-transfer", "two-nodes-cut"];

/// One scenario, both ways.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(serialize_with = "name")]
    scenario: Scenario,
    detected: Measured,
    today: Measured,
}

fn name<S: serde::Serializer>(scenario: &Scenario, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(scenario.name)
}

pub async fn run(cli: &Cli) -> anyhow::Result<()> {
    let wanted = wanted(cli);
    if wanted.is_empty() {
        let names = SCENARIOS.map(|scenario| scenario.name);
        anyhow::bail!("the scenarios are: {}", names.join(", "));
    }
    let mut options = Options::new(&cli.source, cli.quick);
    if cli.silent_drop {
        options.cut = Cut::SilentDrop;
    }
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for scenario in wanted {
        // A row that cannot be measured is reported, and the others are still measured.
        match row(scenario, &rows, &options).await {
            Ok(row) => rows.push(row),
            Err(error) => {
                println!("{:<16} {error:#}", scenario.name);
                failures.push(scenario.name);
            }
        }
    }
    let targets: Vec<Target> = rows.iter().flat_map(targets).collect();
    write(cli, &rows, &targets)?;
    let missed = targets.iter().filter(|target| !target.met).count();
    ensure!(failures.is_empty(), "not measured: {}", failures.join(", "));
    ensure!(!cli.check || missed == 0, "{missed} targets were missed");
    Ok(())
}

fn write(cli: &Cli, rows: &[Row], targets: &[Target]) -> anyhow::Result<()> {
    let text = text(rows, targets);
    print!("{text}");
    fs::create_dir_all(&cli.out).context("cannot make the directory for the results")?;
    fs::write(cli.out.join("store.txt"), &text)?;
    let json = serde_json::json!({ "rows": rows, "targets": targets });
    let json = serde_json::to_string_pretty(&json)?;
    Ok(fs::write(cli.out.join("store.json"), json)?)
}

async fn row(scenario: Scenario, rows: &[Row], options: &Options) -> anyhow::Result<Row> {
    let detected = measure(scenario, options).await?;
    // What happens to a daemon does not happen where there is none.
    let same = rows.iter().find(|row| row.scenario.is_like(scenario));
    let today = match same {
        Some(row) => row.today.clone(),
        None => measure(scenario.with(Daemons::Today), options).await?,
    };
    Ok(Row {
        scenario,
        detected,
        today,
    })
}

fn wanted(cli: &Cli) -> Vec<Scenario> {
    let is_wanted = |name: &str| match cli.rows.is_empty() {
        true => !cli.quick || QUICK.contains(&name),
        false => cli.rows.iter().any(|wanted| name.starts_with(wanted)),
    };
    let all = SCENARIOS.into_iter();
    all.filter(|scenario| is_wanted(scenario.name)).collect()
}

async fn measure(scenario: Scenario, options: &Options) -> anyhow::Result<Measured> {
    let (name, daemons) = (scenario.name, scenario.daemons);
    let measured = store::run(scenario, options).await;
    let measured = measured.with_context(|| format!("{name}, {daemons:?}"))?;
    let ops = measured.ops.iter();
    let ops: Vec<String> = ops
        .map(|(op, seen)| format!("{} {}", op.as_str(), cell(seen)))
        .collect();
    let full = seconds(measured.full_service_ms);
    println!(
        "{name:<16} {daemons:<9?} {}, full service {full}",
        ops.join(", ")
    );
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

/// Seconds, and how many failed.
fn cell(seen: &Seen) -> String {
    let time = seconds(seen.worst_ms);
    match seen.failed {
        0 => time,
        failed => format!("{time} ✗{failed}"),
    }
}

fn seconds(ms: f64) -> String {
    match ms < 9_950.0 {
        true => format!("{:.2}", ms / 1000.0),
        false => format!("{:.1}", ms / 1000.0),
    }
}

fn text(rows: &[Row], targets: &[Target]) -> String {
    let mut heads: Vec<&str> = Op::ALL.map(|(_, name)| name).to_vec();
    heads.extend(["full service", "lost"]);
    let mut table = Table::new("with detector / as today, seconds", &heads);
    for row in rows {
        let both = |get: &dyn Fn(&Measured) -> String| match (get(&row.detected), get(&row.today)) {
            (detected, today) if detected == "–" && today == "–" => detected,
            (detected, today) => format!("{detected} / {today}"),
        };
        let of =
            |(op, _): (Op, _)| both(&|measured| measured.ops.get(&op).map_or("–".to_owned(), cell));
        let mut cells: Vec<String> = Op::ALL.map(of).to_vec();
        cells.push(both(&|measured| seconds(measured.full_service_ms)));
        cells.push(both(&|measured| {
            format!("{} of {}", measured.damaged.len(), measured.acknowledged)
        }));
        table.row(row.scenario.name, cells);
    }
    let mut text = table.text();
    text.push_str(
        "The longest of each, from what happened until it was undone; ✗: so many of them failed. Of big \
         transfers: how late, or after what time they failed. Operations begin every 0.25 s, console and \
         locks every 0.5 s: a worse moment may be missed by as much.\n\n",
    );
    let met = targets.iter().filter(|target| target.met).count();
    text.push_str(&format!("{met} of {} targets met\n", targets.len()));
    for target in targets.iter().filter(|target| !target.met) {
        let (measured, limit) = (seconds(target.measured_ms), seconds(target.limit_ms));
        let (scenario, what) = (target.scenario, &target.what);
        text.push_str(&format!(
            "missed: {scenario}: {what}: {measured} s, {limit} s at most\n"
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
const TRANSFER_LATE_MS: f64 = 3000.0;
const FULL_SERVICE_MS: f64 = 2000.0;
/// Two runs of the same are not the same.
const AT_WORST: f64 = 1.1;

fn targets(row: &Row) -> Vec<Target> {
    let target = |what: String, measured_ms: f64, limit_ms: f64| Target {
        scenario: row.scenario.name,
        what,
        measured_ms,
        limit_ms,
        met: measured_ms <= limit_ms,
    };
    let count = |what: String, count: usize| target(what, count as f64 * SECOND_MS, 0.0);
    let lost = row.detected.damaged.len();
    let mut targets = vec![count("objects lost or altered".to_owned(), lost)];
    let works = row.scenario.daemons == Daemons::Run;
    for (op, seen) in &row.detected.ops {
        let today_ms = row.today.ops.get(op).map_or(0.0, |seen| seen.worst_ms);
        let limit = match op {
            // A daemon that fails leaves things as they are today.
            _ if !works => (today_ms * AT_WORST).max(SECOND_MS),
            Op::Upload | Op::Download => TRANSFER_LATE_MS,
            _ => SECOND_MS,
        };
        targets.push(target(op.as_str().to_owned(), seen.worst_ms, limit));
        if row.scenario.fails_nothing() && (works || !op.is_transfer()) {
            targets.push(count(format!("failed: {}", op.as_str()), seen.failed));
        }
    }
    if works {
        let full = row.detected.full_service_ms;
        targets.push(target("full service".to_owned(), full, FULL_SERVICE_MS));
    }
    targets
}
