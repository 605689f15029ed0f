//! The lab for a person: `lab` reads commands, `lab demo` gives a demonstration in one minute, `lab
//! chaos` plays faults and says what passes.

mod chaos;
mod command;
mod demo;
mod session;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use detector_tests::{DaemonOptions, peer};

/// A three-host network on this machine, with the detector on h1, that you can cut.
#[derive(Debug, Parser)]
struct Cli {
    /// Where the daemon's signals come from: auto, ebpf or sock-diag.
    #[arg(long, default_value = "auto")]
    source: String,
    /// More flags for `detector run`, as in `--detector-arg=--detection-time=50ms`.
    #[arg(long = "detector-arg", value_name = "FLAG")]
    detector_args: Vec<String>,
    #[command(subcommand)]
    command: Option<Mode>,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Traffic, a power cut, the verdict, the recovery: one minute, with measured times.
    Demo,
    /// Break a cluster of four hosts on purpose, fault by fault: pass or fail of each.
    Chaos(chaos::ChaosArgs),
    /// Removes the labs of a process when the standard input ends; `chaos` starts it itself.
    #[command(name = chaos::guard::WORD, hide = true)]
    Guard { owner: u32 },
    /// One of the lab's storage peers; the lab starts them itself.
    #[command(subcommand, hide = true)]
    Peer(peer::Command),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let options = DaemonOptions {
        source: cli.source,
        args: cli.detector_args,
        show_log: false,
        ..DaemonOptions::default()
    };
    let mode = match cli.command {
        Some(Mode::Peer(command)) => return peer::run(command),
        Some(Mode::Guard { owner }) => return chaos::guard::stand(owner),
        mode => mode,
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    runtime.block_on(async {
        // Leaving by Ctrl-C drops the lab, which removes it.
        tokio::select! {
            ended = run(mode, options) => ended,
            interrupted = tokio::signal::ctrl_c() => {
                println!();
                interrupted.context("cannot wait for Ctrl-C")
            }
        }
    })
}

async fn run(mode: Option<Mode>, options: DaemonOptions) -> anyhow::Result<()> {
    match mode {
        Some(Mode::Chaos(args)) => chaos::run(&args, options).await,
        Some(_) => demo::play(options).await,
        None => session::run(options).await,
    }
}
