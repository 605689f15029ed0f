//! `bench wide`: thousands of peers, a thousand watchers, many network namespaces, and a hundred
//! thousand sockets that are none of the daemon's business. How soon it answers after its start, and
//! how soon a cut is seen by all watchers.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use detector_api::v1::{
    Breaker, PeerState, WatchPeersRequest, detector_client::DetectorClient,
    watch_peers_response::Event,
};
use detector_tests::{Cut, Daemon, DaemonOptions, clock, connect};
use tokio::{sync::oneshot, task::JoinSet, time::timeout};
use tonic::{Streaming, transport::Channel};

use super::{
    CONFIG, all_alive,
    spent::{Measured, Spent},
    stand::{FIRST_OF_MORE, Stand},
};

/// From the start of the program until it lists all peers.
const READY_WITHIN: Duration = Duration::from_secs(2);
/// The slowest Open after a cut: the detection time and the timers of TCP (460 ms), and a second.
const OPEN_WITHIN: Duration = Duration::from_millis(460 + 1_000);
/// The peers that are cut off, and the connections with each.
const VICTIMS: (u32, u32) = (10, 3);
/// A connection to the daemon carries 256 calls at most.
const ON_ONE_CONNECTION: u32 = 125;
const SOON: Duration = Duration::from_secs(60);

/// Many of everything: peers, watchers, network namespaces, sockets.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench wide")]
pub struct Cli {
    /// How many peers stay alive, each with one connection; ten more are cut off.
    #[arg(long, default_value_t = 5_000)]
    peers: u32,
    /// How many sockets there are with which the daemon has nothing to do.
    #[arg(long, default_value_t = 100_000)]
    others: u32,
    /// How many clients watch all peers.
    #[arg(long, default_value_t = 1_000)]
    watchers: u32,
    /// How many network namespaces are watched besides the daemon's own.
    #[arg(long, default_value_t = 16)]
    namespaces: usize,
    /// How long the cost is measured while all is well, in seconds.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Fail when something takes longer than it should.
    #[arg(long)]
    check: bool,
}

pub async fn run(cli: &Cli) -> anyhow::Result<()> {
    let stand = Stand::with_namespaces(cli.namespaces)?;
    let _others = stand.others(cli.others).await?;
    let _connections = stand.connect(cli.peers, 1).await?;
    let (victims, each) = VICTIMS;
    let mut holders = stand.connect_from(FIRST_OF_MORE, victims, each).await?;
    println!(
        "{} peers, {} other sockets, {} network namespaces",
        cli.peers + victims,
        cli.others,
        cli.namespaces + 1
    );

    let began = clock::now_ns();
    let since = |from: u64| clock::between(from, clock::now_ns());
    let daemon = start(&stand, cli).await?;
    let ready = since(began);
    println!("all peers are listed {ready:?} after the start");
    all_alive(&daemon, cli.peers + victims).await?;
    println!("all are alive {:?} after the start", since(began));

    let watching = clock::now_ns();
    let watchers = Watchers::start(&daemon, cli.watchers).await?;
    println!(
        "{} watchers have their snapshots within {:?}",
        cli.watchers,
        since(watching)
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut measured = Measured::begin(daemon.process().pid())?;
    tokio::time::sleep(Duration::from_secs_f64(cli.seconds)).await;
    print_spent(&measured.end()?);

    stand.lab().cut(&[3], Cut::SilentDrop)?;
    let cut = clock::now_ns();
    for holder in &mut holders {
        holder.send().await?;
    }
    let told = watchers.all_told().await?;
    let took = |at: &u64| clock::between(cut, *at);
    let first = told.iter().min().map(took);
    let last = told.iter().max().map(took).context("nobody watches")?;
    println!(
        "{victims} peers are open at the first watcher after {first:?}, at the last after {last:?}"
    );
    daemon.stop().await?;
    ensure!(
        !cli.check || (ready < READY_WITHIN && last < OPEN_WITHIN),
        "not in time: ready after {ready:?} of {READY_WITHIN:?}, open after {last:?} of {OPEN_WITHIN:?}"
    );
    Ok(())
}

async fn start(stand: &Stand, cli: &Cli) -> anyhow::Result<Daemon> {
    let mut peers = Stand::urls(cli.peers);
    peers.extend(Stand::urls_from(FIRST_OF_MORE, VICTIMS.0));
    let namespaces = stand.more_namespaces();
    let watched = namespaces.map(|name| format!("--network-namespace=/run/netns/{name}"));
    let options = DaemonOptions {
        peers,
        args: watched.collect(),
        config: Some(CONFIG.into()),
        log: "warn".to_owned(),
        ..DaemonOptions::default()
    };
    Daemon::start(stand.us(), &options).await
}

fn print_spent(spent: &Spent) {
    println!(
        "while all is well: {:.1} % of one processor, {:.0} MiB resident, woken {:.0} times a second; \
         by thread {:.1?}",
        spent.cpu_percent, spent.resident_mib, spent.wakeups_per_second, spent.threads
    );
}

/// Clients that watch all peers, and wait until all victims are open.
struct Watchers {
    tasks: JoinSet<anyhow::Result<u64>>,
}

impl Watchers {
    /// Returns once each has its first snapshot. They ask one after the other: a process may leave only
    /// a few answers of this size unread.
    async fn start(daemon: &Daemon, watchers: u32) -> anyhow::Result<Self> {
        let mut tasks = JoinSet::new();
        let mut channel: Option<Channel> = None;
        for n in 0..watchers {
            let here = match channel.take().filter(|_| n % ON_ONE_CONNECTION != 0) {
                Some(channel) => channel,
                None => connect(daemon.socket()).await?,
            };
            let mut client = DetectorClient::new(here.clone());
            channel = Some(here);
            let (is_ready, waits) = oneshot::channel();
            tasks.spawn(async move {
                let stream = client.watch_peers(WatchPeersRequest::default()).await?;
                all_open(stream.into_inner(), is_ready).await
            });
            let has_snapshot = timeout(SOON, waits)
                .await
                .context("a watcher has no snapshot")?;
            if has_snapshot.is_err() {
                let ended = tasks.join_next().await.context("nobody watches")??;
                ended.context("a watcher's stream ended")?;
            }
        }
        Ok(Self { tasks })
    }

    /// When each watcher was told of the last victim.
    async fn all_told(mut self) -> anyhow::Result<Vec<u64>> {
        let mut told = Vec::new();
        let wait = async {
            while let Some(ended) = self.tasks.join_next().await {
                told.push(ended??);
            }
            anyhow::Ok(())
        };
        timeout(SOON, wait)
            .await
            .context("some watchers were not told")??;
        Ok(told)
    }
}

/// Reads a stream until all victims are open; returns when the last of them was.
async fn all_open(
    mut stream: Streaming<detector_api::v1::WatchPeersResponse>,
    ready: oneshot::Sender<()>,
) -> anyhow::Result<u64> {
    let (mut ready, mut open) = (Some(ready), 0);
    let is_open = |state: &PeerState| state.breaker() == Breaker::Open;
    while let Some(message) = stream.message().await? {
        match message.event {
            Some(Event::Snapshot(_)) => {
                let _nobody_waits = ready.take().map(|ready| ready.send(()));
            }
            Some(Event::Changed(state)) if is_open(&state) => open += 1,
            _ => {}
        }
        if open >= VICTIMS.0 {
            return Ok(clock::now_ns());
        }
    }
    anyhow::bail!("the stream ended")
}
