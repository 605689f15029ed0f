//! Measures the time from a power cut to an Open breaker at a gRPC watcher and, on the same
//! cuts, the time at which a client with RustFS's settings notices by itself.

mod measure;
mod report;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use detector_tests::peer;

/// N power cuts in the lab: time to an Open breaker, and to RustFS's own time-outs.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Hidden>,
}

#[derive(Debug, Subcommand)]
enum Hidden {
    /// One of the lab's storage peers; the benchmark starts them itself.
    #[command(subcommand, hide = true)]
    Peer(peer::Command),
}

#[derive(Clone, Debug, Args)]
struct Options {
    /// Power cuts to make, the two kinds in turn.
    #[arg(long, default_value_t = 30)]
    cuts: u32,
    /// How many of them, spread evenly, last until the client with RustFS's settings has
    /// noticed: about 25 s each.
    #[arg(long, default_value_t = 5)]
    baseline_cuts: u32,
    /// Where to write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the daemon's signals come from: auto, ebpf or sock-diag.
    #[arg(long, default_value = "auto")]
    source: String,
    /// More flags for `detector run`, as in `--detector-arg=--patience=50ms`.
    #[arg(long = "detector-arg", value_name = "FLAG")]
    detector_args: Vec<String>,
    /// Uploading connections to the peer, beside the client with RustFS's settings.
    #[arg(long, default_value_t = 4)]
    flows: u32,
    /// Fail when the median time to Open is above this.
    #[arg(long, value_name = "MS")]
    max_p50_ms: Option<f64>,
    /// Fail when the 99th percentile is above this.
    #[arg(long, value_name = "MS")]
    max_p99_ms: Option<f64>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Hidden::Peer(command)) = cli.command {
        return peer::run(command);
    }
    let options = cli.options;
    ensure!(options.cuts > 0, "--cuts 0 measures nothing");
    ensure!(
        options.baseline_cuts <= options.cuts,
        "--baseline-cuts {} is more than --cuts {}",
        options.baseline_cuts,
        options.cuts
    );
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    runtime.block_on(async {
        // Leaving by Ctrl-C drops the lab, which removes it.
        tokio::select! {
            ended = bench(&options) => ended,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot wait for Ctrl-C")?;
                anyhow::bail!("interrupted")
            }
        }
    })
}

async fn bench(options: &Options) -> anyhow::Result<()> {
    let cuts = measure::run(options).await?;
    let report = report::Report::new(options, cuts)?;
    print!("{}", report.table());
    if let Some(file) = &options.json {
        let mut text = serde_json::to_string_pretty(&report)?;
        text.push('\n');
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("written to {}", file.display());
    }
    report.check(options)
}
