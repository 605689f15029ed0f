//! The benchmark: cuts, their effects, and troubles that must not look like a cut, for the detector
//! and for other methods on the same cuts.
//!
//! ```text
//!   h1  the daemon, the load, the retransmit counter ──┐
//!   h2  the other baselines                          ──┼── h3  the peer that is cut off
//! ```
//!
//! The baselines have a host of their own, so that their traffic is no evidence for the detector.
//! [`rows`] lists what is measured; [`cuts`], [`effects`], [`gray`], [`alarms`] and [`idle`]
//! measure one row each, and [`store`] runs the small store in its own labs. [`run`] distributes
//! the rows over labs, and [`report`] and [`plot`] present the results. [`cost`] measures what a
//! daemon costs while all is well, beside other programs.

mod alarms;
mod baselines;
mod cost;
mod cuts;
mod effects;
mod gray;
mod idle;
mod load;
mod options;
mod plot;
mod report;
mod rows;
mod run;
mod setting;
mod site;
mod sniff;
mod store;
mod summary;
mod table;
mod verdicts;

use anyhow::Context as _;
use clap::Parser;
use detector_tests::peer;

use crate::options::Options;

/// Power cuts in the lab: how soon they are noticed, what that frees, and what is mistaken for one.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    after_help = "bench store [OPTIONS]: the small store, with a detector and as RustFS is today (bench store --help)\n\
                  bench cost [OPTIONS]: what the daemon costs while all is well (bench cost --help)\n\
                  bench storm [OPTIONS]: a hundred thousand connections stall at once (bench storm --help)\n\
                  bench wide [OPTIONS]: thousands of peers, a thousand watchers (bench wide --help)"
)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

/// One of the lab's storage peers; the benchmark starts them itself.
#[derive(Debug, Parser)]
struct PeerCli {
    #[command(subcommand)]
    command: peer::Command,
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os();
    if args.nth(1).is_some_and(|first| first == "peer") {
        return peer::run(PeerCli::parse_from(std::env::args_os().skip(1)).command);
    }
    let rest = || std::env::args_os().skip(1);
    match std::env::args().nth(1).as_deref() {
        Some("store") => return until_interrupted(store::run(&store::Cli::parse_from(rest()))),
        Some("cost") => {
            return until_interrupted(cost::run(&cost::Cli::parse_from(rest()).checked()?));
        }
        Some("storm") => {
            return until_interrupted(cost::storm::run(&cost::storm::Cli::parse_from(rest())));
        }
        Some("wide") => {
            return until_interrupted(cost::wide::run(&cost::wide::Cli::parse_from(rest())));
        }
        Some("helper") => return cost::helper::run(&cost::helper::Cli::parse_from(rest())),
        _ => {}
    }
    let options = Cli::parse().options.checked()?;
    until_interrupted(bench(&options))
}

fn until_interrupted(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    runtime.block_on(async {
        // Leaving by Ctrl-C drops the labs, which removes them.
        tokio::select! {
            ended = work => ended,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot wait for Ctrl-C")?;
                anyhow::bail!("interrupted")
            }
        }
    })
}

async fn bench(options: &Options) -> anyhow::Result<()> {
    let report = report::Report::new(options, run::run(options).await?)?;
    print!("{}", report.text());
    report.write(&options.out)?;
    report.check(options)
}
