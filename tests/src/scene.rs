//! A lab whose h1 runs the daemon and whose other hosts are its peers.

use std::time::Duration;

use anyhow::Context as _;
use detector_api::v1::{Breaker, Verdict};

use crate::{Cut, CutMoment, Daemon, DaemonOptions, Lab, Observed, Traffic, clock, peer::Kind};

/// Enough time for events that normally take milliseconds, on a busy machine. It is longer than the
/// daemon's longest interval between two snapshots of a peer's sockets (10 s).
const SOON: Duration = Duration::from_secs(15);

/// How a scene is set up.
#[derive(Clone, Debug)]
pub struct SceneOptions {
    /// Hosts of the lab: h1 runs the daemon, the others a gRPC server each.
    pub hosts: usize,
    /// If no peers are named, all other hosts are peers, by their IPv4 addresses.
    pub daemon: DaemonOptions,
}

impl Default for SceneOptions {
    fn default() -> Self {
        Self {
            hosts: 2,
            daemon: DaemonOptions::default(),
        }
    }
}

/// A lab whose h1 runs the daemon and whose other hosts are the peers it watches.
#[derive(Debug)]
pub struct Scene {
    pub daemon: Daemon,
    /// The servers on h2, h3, …
    pub servers: Vec<Traffic>,
    pub lab: Lab,
}

impl Scene {
    pub async fn new(options: SceneOptions) -> anyhow::Result<Self> {
        let lab = Lab::new(options.hosts)?;
        let mut servers = Vec::new();
        let mut daemon = options.daemon;
        let unnamed = daemon.peers.is_empty();
        for host in &lab.hosts()[1..] {
            servers.push(Traffic::grpc_server(host).await?);
            if unnamed {
                daemon.peers.push(host.url());
            }
        }
        let daemon = Daemon::start(lab.host(1), &daemon).await?;
        Ok(Self {
            daemon,
            servers,
            lab,
        })
    }

    /// Uploads from h1 over four connections, with calls in flight all the time.
    pub async fn traffic_to(&self, host: usize) -> anyhow::Result<Traffic> {
        let url = self.lab.host(host).url();
        let traffic = Traffic::grpc_client(self.lab.host(1), &url, Kind::Put, 4, 100).await?;
        self.alive(host).await?;
        Ok(traffic)
    }

    /// Waits until the host's IPv4 service is believed to be Alive.
    pub async fn alive(&self, host: usize) -> anyhow::Result<Observed> {
        self.await_verdict(host, Verdict::Alive).await
    }

    /// Waits until the verdict on the host's IPv4 service is this one, now or later.
    pub async fn await_verdict(&self, host: usize, verdict: Verdict) -> anyhow::Result<Observed> {
        let url = self.lab.host(host).url();
        let is = |state: &detector_api::v1::PeerState| state.verdict() == verdict;
        let reached = self.daemon.await_state(&url, SOON, is).await;
        reached.with_context(|| format!("h{host} {verdict:?}"))
    }

    /// Waits until the breaker is Open, and says how long after the cut it was.
    pub async fn open_after(
        &self,
        cut: CutMoment,
        host: usize,
        within: Duration,
    ) -> anyhow::Result<(Observed, Duration)> {
        self.breaker_after(cut, host, Breaker::Open, within).await
    }

    /// Waits until the breaker is Closed, and says how long after the heal it was.
    pub async fn closed_after(
        &self,
        heal: CutMoment,
        host: usize,
        within: Duration,
    ) -> anyhow::Result<(Observed, Duration)> {
        self.breaker_after(heal, host, Breaker::Closed, within)
            .await
    }

    async fn breaker_after(
        &self,
        moment: CutMoment,
        host: usize,
        breaker: Breaker,
        within: Duration,
    ) -> anyhow::Result<(Observed, Duration)> {
        let url = self.lab.host(host).url();
        let seen = self
            .daemon
            .await_since(moment.at_ns, &url, within, |s| s.breaker() == breaker)
            .await
            .with_context(|| format!("h{host} {breaker:?}"))?;
        let after = clock::between(moment.at_ns, seen.at_ns);
        Ok((seen, after))
    }

    /// Cuts one host off.
    pub fn cut(&self, host: usize, cut: Cut) -> anyhow::Result<CutMoment> {
        self.lab.cut(&[host], cut)
    }

    /// Brings one host back.
    pub fn heal(&self, host: usize) -> anyhow::Result<CutMoment> {
        self.lab.heal(&[host])
    }
}
