//! The scene of gray failures: the daemon on h1 watches h2 and h3. Three loops of 20 kB requests
//! run to h2 and two loops of small requests to h3, each on its own connection.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail, ensure};
use detector_api::v1::{Breaker, PeerState, Reason, Verdict};

use crate::{
    Daemon, DaemonOptions, Lab, Observed, PEER_PORT, Scene, SceneOptions, Traffic, clock,
    peer::Event, testbed,
};

/// Enough time for events that normally take a second or two, on a busy machine. The benchmark
/// measures how long they really take.
pub const PROMPT: Duration = Duration::from_secs(5);
/// For events that come after one of the detector's delays (5 s for a stalled flow), or after a
/// redial.
pub const SOON: Duration = Duration::from_secs(15);

/// Twice the half-life of what is known of a path's loss.
const CLEAN: Duration = Duration::from_secs(60);
/// For events that must not occur during this time.
pub const A_WHILE: Duration = Duration::from_secs(8);

/// The daemon's host, and the host that gray failures befall.
const US: usize = 1;
const PEER: usize = 2;
const OTHER: usize = 3;

/// h1, h2 and h3 with their traffic; further hosts, if any, are not peers.
#[derive(Debug)]
pub struct Trio {
    /// The three loops to h2.
    pub loops: Traffic,
    /// The two loops to h3.
    pub others: Traffic,
    pub scene: Scene,
}

impl Trio {
    pub async fn new() -> anyhow::Result<Self> {
        Self::with(3, DaemonOptions::default()).await
    }

    /// Starts it with this many hosts and these options of the daemon.
    pub async fn with(hosts: usize, daemon: DaemonOptions) -> anyhow::Result<Self> {
        // These are the addresses that the lab will have; it does not exist yet.
        let urls = [PEER, OTHER].map(|n| format!("http://10.77.0.{n}:{PEER_PORT}"));
        let daemon = urls.into_iter().fold(daemon, DaemonOptions::peer);
        let scene = Scene::new(SceneOptions { hosts, daemon }).await?;
        let loops = request_loops(&scene.lab, US, PEER, 3, 20_000).await?;
        let others = request_loops(&scene.lab, US, OTHER, 2, 100).await?;
        scene.alive(PEER).await?;
        scene.alive(OTHER).await?;
        let trio = Self {
            loops,
            others,
            scene,
        };
        trio.is_clean().await?;
        Ok(trio)
    }

    /// Waits until the daemon knows that the path to h2 loses little. On a busy machine the first
    /// requests are sent again as a whole; by this loss a stuck flow would need more time-outs.
    pub async fn is_clean(&self) -> anyhow::Result<()> {
        testbed::until("the path is known to be clean", CLEAN, async || {
            let explained = self.daemon().explain(&self.peer()).await?;
            let loss = explained.silence.and_then(|silence| silence.observed_loss);
            Ok(loss.filter(|loss| *loss < 0.02))
        })
        .await?;
        Ok(())
    }

    pub fn lab(&self) -> &Lab {
        &self.scene.lab
    }

    pub fn daemon(&self) -> &Daemon {
        &self.scene.daemon
    }

    /// h2, as a peer.
    pub fn peer(&self) -> String {
        self.lab().host(PEER).url()
    }

    /// h3, as a peer.
    pub fn other(&self) -> String {
        self.lab().host(OTHER).url()
    }

    /// The local port of one of the loops to h2.
    pub fn a_port(&self) -> anyhow::Result<u16> {
        let ports = self
            .lab()
            .host(US)
            .ports_to(self.lab().host(PEER).v4().into())?;
        ports.first().copied().context("no loop has a connection")
    }

    /// Waits until h2 is Dead for one of these reasons; h3 must not die. Returns the state with its
    /// time.
    pub async fn dies(&self, since_ns: u64, reasons: &[Reason]) -> anyhow::Result<Observed> {
        let is_dead = |state: &PeerState| state.verdict() == Verdict::Dead;
        let (peer, other) = (self.peer(), self.other());
        let (dead, lives) = tokio::join!(
            self.daemon().await_since(since_ns, &peer, PROMPT, is_dead),
            self.daemon().never_dead(&other, A_WHILE),
        );
        let dead = dead.with_context(|| said(self.daemon(), &peer))?;
        report(self.daemon(), "dead", since_ns, &dead);
        self.ensure_reason(&dead, reasons)?;
        lives.context("the other peer")?;
        ensure!(dead.state.breaker() == Breaker::Open, "{dead:?}");
        Ok(dead)
    }

    /// Waits until h2 is Degraded for this reason; neither host may die. Returns the state with its
    /// time.
    pub async fn degrades(&self, since_ns: u64, reason: Reason) -> anyhow::Result<Observed> {
        let is_degraded =
            |state: &PeerState| state.verdict() == Verdict::Degraded && state.reason() == reason;
        let (peer, other) = (self.peer(), self.other());
        let (degraded, lives, other_lives) = tokio::join!(
            self.daemon()
                .await_since(since_ns, &peer, SOON, is_degraded),
            self.daemon().never_dead(&peer, A_WHILE),
            self.daemon().never_dead(&other, A_WHILE),
        );
        let degraded = degraded.with_context(|| said(self.daemon(), &peer))?;
        report(self.daemon(), "degraded", since_ns, &degraded);
        lives.context("the degraded peer")?;
        other_lives.context("the other peer")?;
        ensure!(score(&degraded.state) < 100, "at its best: {degraded:?}");
        Ok(degraded)
    }

    fn ensure_reason(&self, seen: &Observed, reasons: &[Reason]) -> anyhow::Result<()> {
        let reason = seen.state.reason();
        ensure!(
            reasons.contains(&reason),
            "the reason is {reason:?} and not of {reasons:?}\n{}",
            said(self.daemon(), &self.peer())
        );
        Ok(())
    }

    /// Waits until a hanging call to h2 returns; returns its channel and the time.
    pub async fn a_call_returns(&self, since_ns: u64) -> anyhow::Result<(u32, u64)> {
        let returned = self.loops.event(since_ns, SOON, |event| match event {
            Event::Error { at_ns, channel, .. } => Some((*channel, *at_ns)),
            _ => None,
        });
        let (channel, at_ns) = returned
            .await
            .with_context(|| format!("no call returned\n{}", said(self.daemon(), &self.peer())))?;
        println!(
            "a call returned after {:?}",
            clock::between(since_ns, at_ns)
        );
        Ok((channel, at_ns))
    }

    /// Waits until the channel was dialled again and works.
    pub async fn works(&self, channel: u32, since_ns: u64) -> anyhow::Result<()> {
        let works = self.loops.event(since_ns, SOON, |event| match event {
            Event::Ok { channel: c, .. } => (*c == channel).then_some(()),
            _ => None,
        });
        works.await.context("the redialled connection")
    }

    /// Waits until h2 is Alive and Closed, and its loops work, after the fault has ended.
    pub async fn recovers(&self, since_ns: u64) -> anyhow::Result<()> {
        let is_well = |state: &PeerState| {
            state.verdict() == Verdict::Alive && state.breaker() == Breaker::Closed
        };
        let well = self
            .daemon()
            .await_state(&self.peer(), SOON, is_well)
            .await?;
        report(self.daemon(), "alive again", since_ns, &well);
        for channel in 0..3 {
            self.works(channel, well.at_ns.max(since_ns)).await?;
        }
        Ok(())
    }
}

/// Requests of this many bytes from one host to another, one after the other on each connection,
/// without time-outs.
pub async fn request_loops(
    lab: &Lab,
    from: usize,
    to: usize,
    connections: u32,
    bytes: u32,
) -> anyhow::Result<Traffic> {
    let to = SocketAddr::from((lab.host(to).v4(), PEER_PORT));
    loops_to(lab, from, to, connections, bytes).await
}

/// A gRPC server on each of these hosts, and a daemon that knows them as its peers.
pub async fn served(lab: &Lab, peers: &[usize]) -> anyhow::Result<(Vec<Traffic>, DaemonOptions)> {
    let mut servers = Vec::new();
    let mut options = DaemonOptions::default();
    for &peer in peers {
        servers.push(Traffic::grpc_server(lab.host(peer)).await?);
        options = options.peer(lab.host(peer).url());
    }
    Ok((servers, options))
}

/// Like [`request_loops`], to any address.
pub async fn loops_to(
    lab: &Lab,
    from: usize,
    to: SocketAddr,
    connections: u32,
    bytes: u32,
) -> anyhow::Result<Traffic> {
    let (connections, bytes) = (connections.to_string(), bytes.to_string());
    let flags = [
        "--kind",
        "put",
        "--bytes",
        &bytes,
        "--channels",
        &connections,
    ];
    let one_at_a_time = ["--max-in-flight", "1", "--calls-per-second", "50"];
    let flags = [&flags[..], &one_at_a_time, &UNTIMED].concat();
    Traffic::caller(lab.host(from), &format!("http://{to}"), &flags).await
}

/// Connections on which something was sent once; nothing is in flight.
pub async fn idle(lab: &Lab, from: usize, to: usize, count: u32) -> anyhow::Result<Traffic> {
    let count = count.to_string();
    let flags = [&["--quiet", "--channels", &count][..], &UNTIMED].concat();
    let idle = Traffic::caller(lab.host(from), &lab.host(to).url(), &flags).await?;
    for wanted in 0..count.parse()? {
        let is_idle = idle.event(0, SOON, |event| match event {
            Event::Ok { channel, .. } => (*channel == wanted).then_some(()),
            _ => None,
        });
        is_idle.await.context("an idle connection")?;
    }
    Ok(idle)
}

/// Flags of a gRPC client without time-outs and without PINGs.
pub const UNTIMED: [&str; 6] = [
    "--keepalive-interval",
    "600",
    "--keepalive-timeout",
    "600",
    "--request-timeout",
    "600",
];

/// The score, where there is one.
fn score(state: &PeerState) -> u32 {
    state.health.as_ref().map_or(100, |health| health.score)
}

/// Prints the state, the time it took, and the daemon's own explanation.
pub fn report(daemon: &Daemon, what: &str, since_ns: u64, seen: &Observed) {
    let state = &seen.state;
    println!(
        "{what} after {:?}: {} {:?} {:?}, stalled {} for {:?}, contested {}, health {}\n{}",
        clock::between(since_ns, seen.at_ns),
        state.peer,
        state.verdict(),
        state.reason(),
        state.stalled_flows,
        state.oldest_stall,
        state.contested,
        score(state),
        said(daemon, &state.peer),
    );
}

/// The output of `detector explain`.
pub fn said(daemon: &Daemon, peer: &str) -> String {
    let said = explain(daemon, peer);
    said.unwrap_or_else(|error| format!("no explanation: {error:#}"))
}

fn explain(daemon: &Daemon, peer: &str) -> anyhow::Result<String> {
    let mut program = Daemon::program()?;
    let output = program
        .arg("--socket")
        .arg(daemon.socket())
        .args(["explain", peer])
        .output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
