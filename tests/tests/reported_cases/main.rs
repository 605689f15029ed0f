//! Cases that operators of other systems reported, rebuilt with real kernels: a filter that limits
//! new connections, a fabric that answers for dead hosts, a switch that inspects ARP, names with
//! several addresses, and calls on short-lived connections.

mod connects;
mod fabric;
mod flows;
mod names;

use std::time::Duration;

use detector_api::v1::{PeerState, Verdict};
use detector_tests::{Daemon, Lab, PEER_PORT, Traffic, trio::served};

/// Of one test.
const LIMIT: Duration = Duration::from_secs(120);
/// Longer than any detection time, the destroy delay, and the kernel's own first time-outs.
const A_WHILE: Duration = Duration::from_secs(8);
const SOON: Duration = Duration::from_secs(15);

fn is_dead(state: &PeerState) -> bool {
    state.verdict() == Verdict::Dead
}

fn is_alive(state: &PeerState) -> bool {
    state.verdict() == Verdict::Alive
}

/// The daemon on h1, with a gRPC server on each of the peers.
struct Cluster {
    daemon: Daemon,
    _servers: Vec<Traffic>,
    peers: Vec<usize>,
    lab: Lab,
}

impl Cluster {
    async fn new(lab: Lab, peers: impl IntoIterator<Item = usize>) -> anyhow::Result<Self> {
        let peers: Vec<usize> = peers.into_iter().collect();
        let (servers, options) = served(&lab, &peers).await?;
        Ok(Self {
            daemon: Daemon::start(lab.host(1), &options).await?,
            _servers: servers,
            peers,
            lab,
        })
    }

    fn url(&self, host: usize) -> String {
        self.lab.host(host).url()
    }

    async fn all_alive(&self) -> anyhow::Result<()> {
        for &peer in &self.peers {
            let url = self.url(peer);
            self.daemon.await_state(&url, SOON, is_alive).await?;
        }
        Ok(())
    }

    /// Not one of these dies, for a while.
    async fn nobody_dies(&self, peers: &[usize], during: Duration) -> anyhow::Result<()> {
        let urls: Vec<String> = peers.iter().map(|&peer| self.url(peer)).collect();
        let watched = urls.iter().map(|url| self.daemon.never_dead(url, during));
        futures_util::future::try_join_all(watched).await?;
        Ok(())
    }

    /// The local ports of h1's connections with the host.
    fn ports(&self, host: usize) -> anyhow::Result<Vec<u16>> {
        self.lab.host(1).ports_to(self.lab.host(host).v4().into())
    }

    fn service(&self, host: usize) -> std::net::SocketAddr {
        (self.lab.host(host).v4(), PEER_PORT).into()
    }
}
