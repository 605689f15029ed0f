//! `bench storm`: a hundred thousand connections with a thousand peers stall within a second, while a
//! thousand other peers are alive. Real records on the real ring, real sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use detector_api::v1::{Breaker, PeerState, Verdict};
use detector_tests::{Cut, Daemon, DaemonOptions, METRICS, PEER_PORT, clock, get, testbed};
use detector_user::netlink::sock_diag::SockDiag;

use super::{
    CONFIG, all_alive,
    helper::many,
    spent::{Measured, Spent},
    stand::{FIRST_OF_MORE, FIRST_PEER, Holder, Stand},
};

/// The slowest that a peer may be Open after the cut: the detection time and the timers of TCP
/// (460 ms), a second for the storm, and the second in which all of them stall.
const OPEN_WITHIN: Duration = Duration::from_millis(460 + 1_000 + 1_000);
/// From the first socket that is destroyed to the last.
const DESTROYED_WITHIN: Duration = Duration::from_secs(5);
const DESTROYED: &str = "detector_sockets_destroyed_total";
/// Connections of the daemon and its probes that are open at the same time.
const PASSING: u64 = 16;
const METRICS_EVERY: Duration = Duration::from_millis(250);
const SOON: Duration = Duration::from_secs(60);

/// A storm: many connections with many peers stall at once.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench storm")]
pub struct Cli {
    /// How many peers are cut off, and how many others stay alive.
    #[arg(long, default_value_t = 1_000)]
    peers: u32,
    /// Connections with each peer that is cut off.
    #[arg(long, default_value_t = 100)]
    flows: u32,
    /// Few peers and connections: what CI runs.
    #[arg(long)]
    small: bool,
    /// Without a daemon: only cuts the peers off, and destroys the sockets by one request after the
    /// other. The kernel's own work takes this long.
    #[arg(long)]
    floor: bool,
    /// Fail when something takes longer than it should.
    #[arg(long)]
    check: bool,
}

pub async fn run(cli: &Cli) -> anyhow::Result<()> {
    let (peers, flows) = match cli.small {
        true => (100, 20),
        false => (cli.peers, cli.flows),
    };
    let stand = Stand::with_more()?;
    let mut holders = stand.connect(peers, flows).await?;
    if cli.floor {
        return floor(&stand, &mut holders, peers).await;
    }
    let _others = stand.connect_from(FIRST_OF_MORE, peers, 1).await?;
    println!("{} connections are open", peers * (flows + 1));
    let stalled: BTreeSet<String> = Stand::urls(peers).into_iter().collect();
    let all = stalled.iter().cloned();
    let all = all.chain(Stand::urls_from(FIRST_OF_MORE, peers)).collect();
    let began = clock::now_ns();
    let daemon = start(&stand, all).await?;
    all_alive(&daemon, 2 * peers).await?;
    let alive = clock::between(began, clock::now_ns());
    println!("all alive after {alive:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;

    let mut measured = Measured::begin(daemon.process().pid())?;
    let storm = Storm {
        stand: &stand,
        daemon: &daemon,
        stalled,
    };
    let result = storm.pass(&mut holders).await?;
    let spent = measured.end()?;
    result.print(&spent);
    daemon.stop().await?;
    ensure!(!cli.check || result.is_in_time(), "not in time: {result:?}");
    Ok(())
}

/// What the kernel's own work takes, shortly after the cut.
async fn floor(stand: &Stand, holders: &mut [Holder], peers: u32) -> anyhow::Result<()> {
    stand.lab().cut(&[2], Cut::SilentDrop)?;
    for holder in &mut *holders {
        holder.send().await?;
    }
    for holder in &*holders {
        holder.has_sent().await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let addrs = many(FIRST_PEER, peers, PEER_PORT).map(|addr| addr.ip());
    let addrs: BTreeSet<IpAddr> = addrs.collect();
    stand.us().within(|| -> anyhow::Result<()> {
        let mut kernel = SockDiag::open()?;
        let began = clock::now_ns();
        let sockets = kernel.sockets(&addrs)?.flows;
        let dumped = clock::now_ns();
        for socket in &sockets {
            kernel.destroy(&socket.key)?;
        }
        let taken = clock::between(dumped, clock::now_ns());
        println!(
            "a dump of {} sockets takes {:?}; to destroy them one after the other {taken:?}, {:?} each",
            sockets.len(),
            clock::between(began, dumped),
            taken / sockets.len().max(1) as u32
        );
        Ok(())
    })?
}

async fn start(stand: &Stand, peers: Vec<String>) -> anyhow::Result<Daemon> {
    let options = DaemonOptions {
        peers,
        config: Some(CONFIG.into()),
        log: "warn".to_owned(),
        ..DaemonOptions::default()
    };
    Daemon::start(stand.us(), &options).await
}

/// What the storm took.
#[derive(Debug)]
struct Taken {
    stalled_within: Duration,
    /// Of each peer that was cut off.
    open: Vec<Duration>,
    destroyed: u64,
    /// Those that the kernel ended by itself.
    timed_out: u64,
    destroyed_within: Duration,
    ring_drops: u64,
    closed_within: Duration,
}

impl Taken {
    fn is_in_time(&self) -> bool {
        self.open.iter().all(|open| *open < OPEN_WITHIN) && self.destroyed_within < DESTROYED_WITHIN
    }

    fn print(&self, spent: &Spent) {
        let slowest = self.open.iter().max();
        println!("all stalled within {:?}", self.stalled_within);
        println!(
            "{} peers open, the slowest after {slowest:?}",
            self.open.len()
        );
        println!(
            "{} sockets destroyed, {} timed out in the kernel, within {:?}",
            self.destroyed, self.timed_out, self.destroyed_within
        );
        println!("{} records found the ring full", self.ring_drops);
        println!("all closed {:?} after their return", self.closed_within);
        println!(
            "{:.0} MiB resident at the end; CPU {:.0} %, by thread {:.1?}",
            spent.resident_mib, spent.cpu_percent, spent.threads
        );
    }
}

struct Storm<'a> {
    stand: &'a Stand,
    daemon: &'a Daemon,
    stalled: BTreeSet<String>,
}

impl Storm<'_> {
    async fn pass(&self, holders: &mut [Holder]) -> anyhow::Result<Taken> {
        let began = self.daemon.watcher().seen().position();
        self.stand.lab().cut(&[2], Cut::SilentDrop)?;
        let cut_ns = clock::now_ns();
        for holder in &mut *holders {
            holder.send().await?;
        }
        for holder in &*holders {
            holder.has_sent().await?;
        }
        let stalled_within = clock::between(cut_ns, clock::now_ns());
        let is_open = |state: &PeerState| {
            state.verdict() == Verdict::Dead && state.breaker() == Breaker::Open
        };
        let open = self.when(began, is_open).await?;
        println!(
            "all open {:?} after the cut",
            clock::between(cut_ns, clock::now_ns())
        );
        // Each of the other peers has one.
        let destroyed_within = self.destroyed(self.stalled.len() as u64).await?;
        let destroyed = self.metric(DESTROYED)?;
        let timed_out = self.kernel("netstat", "TcpExt:", "TCPAbortOnTimeout")?;
        let ring_drops = self.metric("detector_ring_drops_total")?;

        let back = self.daemon.watcher().seen().position();
        self.stand.lab().heal(&[2])?;
        let back_ns = clock::now_ns();
        let is_well = |state: &PeerState| {
            state.breaker() == Breaker::Closed && state.verdict() == Verdict::Alive
        };
        let closed = self.when(back, is_well).await?;
        let last = *closed.values().max().context("no peer")?;
        Ok(Taken {
            stalled_within,
            open: open
                .values()
                .map(|at| clock::between(cut_ns, *at))
                .collect(),
            destroyed,
            timed_out,
            destroyed_within,
            ring_drops,
            closed_within: clock::between(back_ns, last),
        })
    }

    /// When each stalled peer was first seen like this; no other peer may have been Dead.
    async fn when(
        &self,
        from: usize,
        is: impl Fn(&PeerState) -> bool,
    ) -> anyhow::Result<BTreeMap<String, u64>> {
        let seen = self.daemon.watcher().seen();
        let (mut first, mut wrong) = (BTreeMap::new(), None);
        let all = seen.find_from(from, SOON, |observed| {
            let state = &observed.state;
            if !self.stalled.contains(&state.peer) {
                let is_wrong = state.verdict() == Verdict::Dead;
                wrong = wrong.take().or(is_wrong.then(|| state.peer.clone()));
            } else if is(state) {
                first.entry(state.peer.clone()).or_insert(observed.at_ns);
            }
            (first.len() == self.stalled.len()).then_some(())
        });
        let all = all.await;
        ensure!(wrong.is_none(), "{wrong:?} is alive and was called dead");
        let found = first.len();
        all.with_context(|| format!("{found} of {} within {SOON:?}", self.stalled.len()))?;
        Ok(first)
    }

    /// Waits until no more connections are left than these; returns how long it took from the first that
    /// was destroyed. The kernel ends some by itself, by a time-out.
    async fn destroyed(&self, left: u64) -> anyhow::Result<Duration> {
        let mut first = None;
        testbed::until("all sockets are destroyed", SOON, async || {
            let now = clock::now_ns();
            if self.metric(DESTROYED)? > 0 {
                first.get_or_insert(now);
            }
            let open = self.kernel("snmp", "Tcp:", "CurrEstab")?;
            if open > left + PASSING {
                // The page is long: to ask for it all the time would slow the daemon down.
                tokio::time::sleep(METRICS_EVERY).await;
            }
            ensure!(open <= left + PASSING, "{open} connections are left");
            Ok(Some(clock::between(first.unwrap_or(now), now)))
        })
        .await
    }

    /// A counter of the kernel in the daemon's network namespace.
    fn kernel(&self, file: &str, group: &str, name: &str) -> anyhow::Result<u64> {
        let pid = self.daemon.process().pid();
        let text = fs::read_to_string(format!("/proc/{pid}/net/{file}"))?;
        let mut lines = text.lines().filter(|line| line.starts_with(group));
        let names = lines.next().unwrap_or_default().split(' ');
        let values = lines.next().unwrap_or_default().split(' ');
        let (_, value) = names
            .zip(values)
            .find(|(known, _)| *known == name)
            .with_context(|| format!("no {name} in {file}"))?;
        Ok(value.parse()?)
    }

    /// The sum of a counter's series.
    fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let page = get(self.stand.us(), METRICS.parse()?, "/metrics")?;
        let lines = page.lines().filter(|line| line.starts_with(name));
        let lines = lines.filter(|line| !line.contains("result=") || line.contains("destroyed\""));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum::<f64>() as u64)
    }
}
