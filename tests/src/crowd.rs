//! Many peers with one connection each, all of them on one host of the lab.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_api::v1::{ListPeersRequest, Verdict};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{Daemon, Lab, PEER_PORT, testbed};

/// All peers are in this network: the asker is 10.80.0.1 on the first host, and the second host has
/// all other addresses.
const ASKER: &str = "10.80.0.1/16";
const PEERS: &str = "10.80.128.0/17";
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ALIVE_WITHIN: Duration = Duration::from_secs(60);

/// How many peers, and where.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    pub peers: u16,
    /// They are on the daemon's own link, and probed by ARP as well. A thousand cannot be: the
    /// kernel's table of neighbours has room for 1,024 in all namespaces together
    /// (net.ipv4.neigh.default.gc_thresh3).
    pub on_link: bool,
}

/// The connections, both ends of each, in this process.
#[derive(Debug)]
pub struct Connections(Vec<[TcpStream; 2]>);

impl Crowd {
    pub fn addresses(self) -> impl Iterator<Item = SocketAddr> {
        (0x8001..0x8001 + self.peers).map(|host| {
            let [high, low] = host.to_be_bytes();
            (Ipv4Addr::new(10, 80, high, low), PEER_PORT).into()
        })
    }

    /// Their names.
    pub fn urls(self) -> Vec<String> {
        self.addresses()
            .map(|addr| format!("http://{addr}"))
            .collect()
    }

    /// Gives the first host an address among the peers, and all peers to the second.
    pub fn settle(self, lab: &Lab) -> anyhow::Result<()> {
        let (us, peer) = (lab.host(1), lab.host(2));
        us.exec("ip", &["addr", "add", ASKER, "dev", "eth0"])?;
        peer.exec("ip", &["route", "add", "local", PEERS, "dev", "lo"])?;
        // The way back: the peers ask for the asker, too.
        peer.exec("ip", &["route", "add", "10.80.0.1/32", "dev", "eth0"])?;
        if !self.on_link {
            let gateway = peer.v4().to_string();
            us.exec("ip", &["route", "add", PEERS, "via", &gateway])?;
        }
        Ok(())
    }

    /// Connects the first host to each peer.
    pub fn connect(self, lab: &Lab) -> anyhow::Result<Connections> {
        allow_many_files()?;
        let listener = lab
            .host(2)
            .within(|| TcpListener::bind(("0.0.0.0", PEER_PORT)))??;
        let all = lab.host(1).within(|| -> anyhow::Result<_> {
            self.addresses()
                .map(|addr| {
                    let ours = TcpStream::connect_timeout(&addr, CONNECT_WITHIN)
                        .with_context(|| format!("cannot connect to {addr}"))?;
                    Ok([ours, listener.accept()?.0])
                })
                .collect()
        })?;
        Ok(Connections(all?))
    }

    /// Waits until the daemon says of all of them that they are alive.
    pub async fn alive(self, daemon: &Daemon) -> anyhow::Result<()> {
        testbed::until("all peers are alive", ALIVE_WITHIN, async || {
            let peers = daemon.client().list_peers(ListPeersRequest {}).await?;
            let peers = peers.into_inner().peers;
            let alive = peers.iter().filter(|p| p.verdict() == Verdict::Alive);
            let alive = alive.count();
            ensure!(alive == usize::from(self.peers), "{alive} of them are");
            Ok(Some(()))
        })
        .await
    }
}

impl Connections {
    /// Sends a byte to each peer.
    pub fn say(&mut self) -> anyhow::Result<()> {
        for [ours, _] in &mut self.0 {
            ours.write_all(&[0])?;
        }
        Ok(())
    }
}

/// Each connection has its two ends in this process.
fn allow_many_files() -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("cannot allow more open files")
}
