//! `bench cost`: what the daemon costs while all is well, by the number of peers and of sockets that
//! are none of its business, beside what people run today.
//!
//! ```text
//!   processor 1                      processor 2
//!   h1  the daemon ── connections ── h2  all peers: addresses of one host
//!       other sockets                    (its answers, and the switch, are not counted)
//! ```
//!
//! [`stand`] makes the network and the sockets, [`spent`] reads what a process spends, [`beside`]
//! runs the other programs, [`floor`] is one that does only what cannot be left out, [`kernel`] measures the programs in the kernel, [`growth`] judges how the
//! cost grows, [`plot`] draws it.

mod beside;
mod floor;
mod growth;
pub mod helper;
mod kernel;
mod plot;
mod spent;
mod stand;
pub mod storm;
mod table;
pub mod wide;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use detector_api::v1::{ListPeersRequest, Verdict};
use detector_tests::{Daemon, DaemonOptions, testbed};
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use self::{
    spent::{Measured, Spent},
    stand::{Holder, Stand, pin},
};

const ALIVE_WITHIN: Duration = Duration::from_secs(120);
/// The time until the effects of the start and of the connects have settled.
const REST: Duration = Duration::from_secs(3);
/// How often something is sent on each connection of busy peers.
const BUSY_EVERY: Duration = Duration::from_millis(200);
const MAX_PEERS: u32 = 8_000;
/// The default of `max_peers` is lower.
const CONFIG: &str = "max_peers = 8192\n";

/// What the daemon costs while all is well, beside other programs on the same machine.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(name = "bench cost")]
pub struct Cli {
    /// How many peers, each with one connection.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000")]
    peers: Vec<u32>,
    /// How many TCP sockets there are beside these, with which the daemon has nothing to do.
    #[arg(long, value_delimiter = ',', default_value = "10,100000")]
    others: Vec<u32>,
    /// Whether something is sent on the connections.
    #[arg(long, value_delimiter = ',', default_value = "idle,busy")]
    load: Vec<Load>,
    /// How long each row is measured, in seconds.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Measure what people run today, too: a scraped node_exporter, a TCP probe of each peer, BFD.
    #[arg(long)]
    beside: bool,
    /// A few peers and seconds; fails if the cost grows faster than the number of peers. This is
    /// what CI runs.
    #[arg(long)]
    small: bool,
    /// The directory for cost.json, cost.txt, cost.svg and cost.png.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Where the daemon's signals come from: auto, ebpf or sock-diag.
    #[arg(long, default_value = "auto")]
    source: String,
}

/// What happens on the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Nothing.
    Idle,
    /// Five small messages a second on each.
    Busy,
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub program: String,
    pub load: Load,
    pub peers: u32,
    pub others: u32,
    pub spent: Spent,
}

/// The result of a run.
#[derive(Debug, Serialize)]
struct Report {
    options: Cli,
    rows: Vec<Row>,
    kernel: Option<kernel::Kernel>,
}

impl Cli {
    /// With `--small` carried out, and refused where it makes no sense.
    pub fn checked(mut self) -> anyhow::Result<Self> {
        if self.small {
            self.peers = vec![20, 200];
            self.others = vec![10, 2_000];
            self.seconds = self.seconds.min(5.0);
        }
        let most = self.peers.iter().max();
        ensure!(
            self.peers
                .iter()
                .all(|peers| (1..=MAX_PEERS).contains(peers)),
            "--peers {most:?}: 1 to {MAX_PEERS}"
        );
        ensure!(
            self.others.iter().all(|others| *others <= 400_000),
            "--others: 400,000 at most"
        );
        ensure!(
            (1.0..=3600.0).contains(&self.seconds),
            "--seconds {}: 1 to 3600",
            self.seconds
        );
        Ok(self)
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

pub async fn run(cli: &Cli) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for &others in &cli.others {
        for &peers in &cli.peers {
            for &load in &cli.load {
                let row = measure(cli, load, peers, others).await;
                rows.push(
                    row.with_context(|| format!("{load:?}, {peers} peers, {others} others"))?,
                );
                print!("{}", table::line(rows.last()));
            }
        }
    }
    if !cli.small {
        for &peers in &cli.peers {
            let row = beside::floor(cli, peers).await;
            rows.push(row.with_context(|| format!("the floor, {peers} peers"))?);
            print!("{}", table::line(rows.last()));
        }
    }
    if cli.beside {
        rows.extend(beside::all(cli).await?);
    }
    let kernel = match cli.small {
        true => None,
        false => Some(
            kernel::measure()
                .await
                .context("the programs in the kernel")?,
        ),
    };
    let report = Report {
        options: cli.clone(),
        rows,
        kernel,
    };
    let judged = growth::judge(&report.rows);
    write(&report, &judged)?;
    let failed = judged.iter().filter(|growth| !growth.is_linear()).count();
    ensure!(!cli.small || failed == 0, "{failed} costs grow too fast");
    Ok(())
}

fn write(report: &Report, judged: &[growth::Growth]) -> anyhow::Result<()> {
    let cli = &report.options;
    let kernel = report.kernel.as_ref().map(kernel::Kernel::table);
    let text = format!(
        "{}{}{}",
        table::rows(&report.rows),
        kernel.unwrap_or_default(),
        growth::table(judged)
    );
    print!("\n{text}");
    fs::create_dir_all(&cli.out).with_context(|| format!("cannot make {}", cli.out.display()))?;
    let json = serde_json::to_string_pretty(report)? + "\n";
    for (name, text) in [("cost.json", json), ("cost.txt", text)] {
        let file = cli.out.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    plot::write(&report.rows, &cli.out)?;
    println!("written to {}", cli.out.display());
    Ok(())
}

async fn measure(cli: &Cli, load: Load, peers: u32, others: u32) -> anyhow::Result<Row> {
    let stand = Stand::new()?;
    let _others = stand.others(others).await?;
    let mut connections = stand.connect(peers, 1).await?;
    let options = DaemonOptions {
        source: cli.source.clone(),
        peers: Stand::urls(peers),
        config: Some(CONFIG.into()),
        log: "warn".to_owned(),
        show_log: false,
        ..DaemonOptions::default()
    };
    let daemon = Daemon::start(stand.us(), &options).await?;
    pin(daemon.process().pid(), 0)?;
    all_alive(&daemon, peers).await?;
    work(load, &mut connections, REST).await?;
    let mut measured = Measured::begin(daemon.process().pid())?;
    work(load, &mut connections, cli.time()).await?;
    let spent = measured.end()?;
    all_alive(&daemon, peers).await?;
    daemon.stop().await?;
    Ok(Row {
        program: "detector".to_owned(),
        load,
        peers,
        others,
        spent,
    })
}

/// Lets this much time pass, with or without traffic on the connections.
async fn work(load: Load, connections: &mut [Holder], during: Duration) -> anyhow::Result<()> {
    if load == Load::Idle {
        sleep(during).await;
        return Ok(());
    }
    let end = Instant::now() + during;
    let mut next = Instant::now();
    while next < end {
        for holder in &mut *connections {
            holder.send().await?;
        }
        next += BUSY_EVERY;
        sleep_until(next).await;
    }
    Ok(())
}

async fn all_alive(daemon: &Daemon, peers: u32) -> anyhow::Result<()> {
    testbed::until("all peers are alive", ALIVE_WITHIN, async || {
        let listed = daemon.client().list_peers(ListPeersRequest {}).await?;
        let listed = listed.into_inner().peers;
        let alive = listed.iter().filter(|p| p.verdict() == Verdict::Alive);
        let alive = alive.count();
        ensure!(alive == peers as usize, "{alive} of {peers} are");
        Ok(Some(()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().checked();
        assert!(parse("cost --peers 0").is_err());
        assert!(parse("cost --peers 8001").is_err());
        assert!(parse("cost --seconds 0").is_err());
        let small = parse("cost --small").unwrap();
        assert_eq!((small.peers, small.seconds), (vec![20, 200], 5.0));
    }
}
