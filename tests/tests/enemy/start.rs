//! A start, a new peer and a new address are like the end of a pause: earlier unanswered demands do
//! not count, only those after the daemon's own first probe.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use detector_api::v1::{PeerState, Verdict};
use detector_tests::{
    Cut, Daemon, DaemonOptions, Lab, Names, Traffic, clock, testbed,
    trio::{idle, report, request_loops, said, served},
};
use tokio::time::sleep;

use crate::{A_WHILE, LIMIT, SOON, ports, still_there};

/// To each peer: together they have sent more in vain than loss explains.
const LOOPS: usize = 8;
/// What ss shows of a socket that waits for an acknowledgement.
const RETRANSMITS: &str = "timer:(on,";

/// h1 and two peers, at work before there is a daemon.
struct Before {
    loops: [Traffic; 2],
    _idle: [Traffic; 2],
    /// Of all of them.
    ports: Vec<u16>,
    _servers: Vec<Traffic>,
    lab: Lab,
}

impl Before {
    const PEERS: [usize; 2] = [2, 3];

    async fn new() -> anyhow::Result<Self> {
        let lab = Lab::new(3)?;
        // If the kernel resolves the neighbour again meanwhile, it queues what it sends, and counts
        // no time-outs while its queue is full.
        let known = "net.ipv4.neigh.eth0.base_reachable_time_ms=600000";
        lab.host(1).exec("sysctl", &["-qw", known])?;
        let mut servers = Vec::new();
        for peer in Self::PEERS {
            servers.push(Traffic::grpc_server(lab.host(peer)).await?);
        }
        let loops = [
            request_loops(&lab, 1, 2, LOOPS as u32, 20_000).await?,
            request_loops(&lab, 1, 3, LOOPS as u32, 20_000).await?,
        ];
        let idle = [idle(&lab, 1, 2, 4).await?, idle(&lab, 1, 3, 4).await?];
        for peer in Self::PEERS {
            // It may be in doubt just now.
            let address = lab.host(peer).v4().to_string();
            let known = [
                "neigh",
                "change",
                &address,
                "dev",
                "eth0",
                "nud",
                "reachable",
            ];
            lab.host(1).exec("ip", &known)?;
        }
        Ok(Self {
            loops,
            _idle: idle,
            ports: ports(&lab, &Self::PEERS)?,
            _servers: servers,
            lab,
        })
    }

    /// Cuts these peers off at a moment at which enough loops have something in flight.
    async fn cut_busy<T, H>(
        &self,
        peers: &[usize],
        cut: impl Fn() -> anyhow::Result<T>,
        heal: impl Fn() -> anyhow::Result<H>,
    ) -> anyhow::Result<T> {
        testbed::until("enough requests are in flight", SOON * 3, async || {
            let made = cut()?;
            // What was on its way is acknowledged by then.
            sleep(Duration::from_millis(50)).await;
            let busy = peers.iter().map(|&peer| self.in_flight(peer));
            let busy = busy.collect::<Result<Vec<_>, _>>()?;
            if busy.iter().all(|&loops| loops >= LOOPS / 2) {
                return Ok(Some(made));
            }
            heal()?;
            Ok(None)
        })
        .await
        .with_context(|| self.kernel_says())
    }

    /// How many connections to this peer have something in flight.
    fn in_flight(&self, peer: usize) -> anyhow::Result<usize> {
        let address = self.lab.host(peer).v4().to_string();
        let shown = self.lab.host(1).exec("ss", &["-tnH", "dst", &address])?;
        let queue = |line: &str| line.split_whitespace().nth(2).map(|queue| queue != "0");
        Ok(shown
            .lines()
            .filter(|line| queue(line) == Some(true))
            .count())
    }

    /// Waits until the kernel has retransmitted this often on every loop to these peers that has
    /// something in flight, in vain, and will not do so again for a second. A loop may have nothing
    /// in flight: its request was acknowledged, and the reply was cut off.
    async fn stalled(&self, peers: &[usize], rtos: u32) -> anyhow::Result<()> {
        testbed::until("retransmissions stand unanswered", SOON * 3, async || {
            let stalled = peers.iter().map(|&peer| self.are_stalled(peer, rtos));
            let stalled = stalled.collect::<Result<Vec<_>, _>>()?;
            Ok(stalled.iter().all(|&are| are).then_some(()))
        })
        .await
        .with_context(|| self.kernel_says())
    }

    /// The sockets and the neighbours of the node.
    fn kernel_says(&self) -> String {
        let node = self.lab.host(1);
        let sockets = node.exec("ss", &["-tnHoi"]);
        let neighbours = node.exec("ip", &["neigh"]);
        format!("{sockets:?}\n{neighbours:?}").replace("\\n", "\n")
    }

    fn are_stalled(&self, peer: usize, rtos: u32) -> anyhow::Result<bool> {
        let address = self.lab.host(peer).v4().to_string();
        let shown = self.lab.host(1).exec("ss", &["-tnHo", "dst", &address])?;
        let in_flight = shown.lines().filter(|line| line.contains(RETRANSMITS));
        let stalled: Vec<_> = in_flight.map(|line| is_stalled(line, rtos)).collect();
        Ok(stalled.len() >= LOOPS / 2 && stalled.iter().all(|&is| is))
    }

    fn options(&self) -> DaemonOptions {
        let urls = Self::PEERS.map(|peer| self.lab.host(peer).url());
        urls.into_iter()
            .fold(DaemonOptions::default(), DaemonOptions::peer)
    }

    async fn daemon(&self) -> anyhow::Result<Daemon> {
        Daemon::start(self.lab.host(1), &self.options()).await
    }

    /// Every connection that was there is there.
    fn nothing_ended(&self) -> anyhow::Result<()> {
        still_there(&self.lab, &self.ports)
    }

    async fn all_alive(&self, daemon: &Daemon) -> anyhow::Result<()> {
        for peer in Self::PEERS {
            let alive = |state: &PeerState| state.verdict() == Verdict::Alive;
            let url = self.lab.host(peer).url();
            daemon.await_state(&url, SOON, alive).await?;
        }
        Ok(())
    }
}

/// Whether ss shows a socket with this many retransmissions and none due within a second, as in
/// `timer:(on,2.912sec,4)`.
fn is_stalled(line: &str, rtos: u32) -> bool {
    let timer = line
        .split(RETRANSMITS)
        .nth(1)
        .and_then(|text| text.split(')').next());
    let Some((left, times)) = timer.and_then(|timer| timer.split_once(',')) else {
        return false;
    };
    let is_later = left.ends_with("sec") && !left.starts_with("0.") || left.ends_with("min");
    is_later && times.parse().is_ok_and(|times: u32| times >= rtos)
}

/// Checks all states of all peers since the daemon's start: none was dead.
fn nobody_was_dead(daemon: &Daemon) -> anyhow::Result<()> {
    let seen = daemon.watcher().seen().all();
    let dead = seen.iter().find(|s| s.state.verdict() == Verdict::Dead);
    ensure!(dead.is_none(), "called dead: {dead:?}");
    Ok(())
}

async fn nobody_dies(before: &Before, daemon: &Daemon) -> anyhow::Result<()> {
    let [a, b] = Before::PEERS.map(|peer| before.lab.host(peer).url());
    let (a, b) = tokio::join!(
        daemon.never_dead(&a, A_WHILE),
        daemon.never_dead(&b, A_WHILE)
    );
    a.and(b)?;
    nobody_was_dead(daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_while_this_node_is_cut_off() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let before = Before::new().await?;
        let (cut, heal) = (
            || before.lab.cut_switch(Cut::SilentDrop),
            || before.lab.heal_switch(),
        );
        before.cut_busy(&Before::PEERS, cut, heal).await?;
        before.stalled(&Before::PEERS, 3).await?;
        let daemon = before.daemon().await?;
        nobody_dies(&before, &daemon).await?;
        before.nothing_ended()?;
        before.lab.heal_switch()?;
        before.all_alive(&daemon).await?;
        daemon.stop().await
    })
    .await
}

/// The flows' next retransmissions are seconds away: the flows are unanswered, but no peer is dead.
async fn a_start_after_the_link_is_back(away: Duration) -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let before = Before::new().await?;
        for peer in Before::PEERS {
            before.lab.delay(peer, away)?;
        }
        let (cut, heal) = (
            || before.lab.cut_switch(Cut::SilentDrop),
            || before.lab.heal_switch(),
        );
        before.cut_busy(&Before::PEERS, cut, heal).await?;
        before.stalled(&Before::PEERS, 4).await?;
        before.lab.heal_switch()?;
        let daemon = before.daemon().await?;
        nobody_dies(&before, &daemon).await?;
        before.nothing_ended()?;
        before.all_alive(&daemon).await?;
        daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_the_link_is_back_peers_1_ms_away() -> anyhow::Result<()> {
    a_start_after_the_link_is_back(Duration::from_millis(1)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_the_link_is_back_peers_20_ms_away() -> anyhow::Result<()> {
    a_start_after_the_link_is_back(Duration::from_millis(20)).await
}

/// A name gets an address with which flows stood unanswered before anybody watched it.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_newly_resolved() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let before = Before::new().await?;
        let (h2, h3) = (before.lab.host(2).v4(), before.lab.host(3).v4());
        let names = Names::new("moving", &[h2.into()])?;
        let options = DaemonOptions::default()
            .peer("http://moving:9000")
            .config("resolve_interval = \"1s\"\n")
            .hosts(names.file());
        let daemon = Daemon::start(before.lab.host(1), &options).await?;
        let (cut, heal) = (
            || before.lab.cut(&[3], Cut::SilentDrop),
            || before.lab.heal(&[3]),
        );
        let cut = before.cut_busy(&[3], cut, heal).await?;
        before.stalled(&[3], 4).await?;
        before.lab.heal(&[3])?;
        names.set("moving", &[h3.into()])?;
        let has_it = |state: &PeerState| state.addresses == [h3.to_string()];
        let seen = daemon
            .await_state("http://moving:9000", SOON, has_it)
            .await?;
        report(&daemon, "resolved anew", cut.at_ns, &seen);
        daemon.never_dead("http://moving:9000", A_WHILE).await?;
        nobody_was_dead(&daemon)?;
        before.nothing_ended()?;
        daemon.stop().await
    })
    .await
}

/// The daemon starts while one peer is dead. That peer is found after a whole detection time, once
/// another host was heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_dead_before_the_start_is_found() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let before = Before::new().await?;
        let (cut, heal) = (
            || before.lab.cut(&[2], Cut::SilentDrop),
            || before.lab.heal(&[2]),
        );
        let cut = before.cut_busy(&[2], cut, heal).await?;
        before.stalled(&[2], 3).await?;
        let daemon = before.daemon().await?;
        let dead = |state: &PeerState| state.verdict() == Verdict::Dead;
        let url = before.lab.host(2).url();
        daemon.await_state(&url, SOON, dead).await?;
        let first = daemon.watcher().seen().all().first().map(|seen| seen.at_ns);
        let found = daemon.watcher().seen().all();
        let found = found.iter().find(|seen| dead(&seen.state)).map(|s| s.at_ns);
        let after = clock::between(first.context("a state")?, found.context("a death")?);
        println!("found {after:?} after the first snapshot");
        before.loops[0].error_since(cut.at_ns, SOON).await?;
        daemon
            .never_dead(&before.lab.host(3).url(), A_WHILE / 4)
            .await?;
        daemon.stop().await
    })
    .await
}

/// Its only connection is idle and was never probed before. A probe that was never answered proves
/// nothing, so other probes are needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_dies_just_after_the_start_is_found() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let (_servers, options) = served(&lab, &Before::PEERS).await?;
        let _idle = idle(&lab, 1, 2, 1).await?;
        let _other = request_loops(&lab, 1, 3, 2, 20_000).await?;
        let daemon = Daemon::start(lab.host(1), &options).await?;
        let url = lab.host(2).url();
        let alive = |state: &PeerState| state.verdict() == Verdict::Alive;
        daemon.await_state(&url, SOON, alive).await?;
        let cut = lab.cut(&[2], Cut::SilentDrop)?;
        let dead = |state: &PeerState| state.verdict() == Verdict::Dead;
        let found = daemon.await_since(cut.at_ns, &url, SOON, dead).await;
        let found = found.with_context(|| said(&daemon, &url))?;
        report(&daemon, "dead", cut.at_ns, &found);
        daemon.stop().await
    })
    .await
}

/// One peer is away since before the daemon started: it was never heard and has no connections. When
/// another dies, what waits on that one is ended all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_away_since_before_the_start_holds_nothing() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(4)?;
        lab.cut(&[4], Cut::SilentDrop)?;
        let (_servers, options) = served(&lab, &Before::PEERS).await?;
        let loops = request_loops(&lab, 1, 2, LOOPS as u32, 20_000).await?;
        let _other = request_loops(&lab, 1, 3, 2, 20_000).await?;
        let options = options.peer(lab.host(4).url());
        let daemon = Daemon::start(lab.host(1), &options).await?;
        let alive = |state: &PeerState| state.verdict() == Verdict::Alive;
        for peer in Before::PEERS {
            let url = lab.host(peer).url();
            daemon.await_state(&url, SOON, alive).await?;
        }
        let cut = lab.cut(&[2], Cut::SilentDrop)?;
        let errors = loops.error_since(cut.at_ns, SOON).await;
        errors.with_context(|| said(&daemon, &lab.host(2).url()))?;
        daemon.stop().await
    })
    .await
}
