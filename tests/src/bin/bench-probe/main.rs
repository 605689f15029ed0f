//! Measures what the daemon's own probes cost: CPU time for one of each kind, and CPU and
//! packets at the interval at which idle peers are asked.
//!
//! The lab's hosts are on one machine and a frame is carried to the end within the system
//! call that sends it: the system time has the switch and the peer's own answer in it, so
//! what is measured is more than what a host would spend.

mod measure;
mod report;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use clap::Parser;

/// What a probe costs, and what asking 10, 100 and 1,000 idle peers costs.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Probes of each kind, one after the other in windows of 32.
    #[arg(long, default_value_t = 20_000)]
    probes: u64,
    /// Milliseconds between two probes to one peer; the daemon's default for idle peers.
    #[arg(long, value_name = "MS", default_value_t = 350)]
    interval_ms: u64,
    /// Seconds to measure each number of peers for.
    #[arg(long, value_name = "S", default_value_t = 10)]
    seconds: u64,
    /// Where to write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    ensure!(
        options.probes > 0 && options.interval_ms > 0 && options.seconds > 0,
        "nothing is measured with 0 probes, a 0 ms interval or in 0 s"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let report = runtime.block_on(async {
        // Leaving by Ctrl-C drops the lab, which removes it.
        tokio::select! {
            measured = measure::run(&options) => measured,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot wait for Ctrl-C")?;
                anyhow::bail!("interrupted")
            }
        }
    })?;
    print!("{}", report.table());
    if let Some(file) = &options.json {
        let mut text = serde_json::to_string_pretty(&report)?;
        text.push('\n');
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("written to {}", file.display());
    }
    Ok(())
}
