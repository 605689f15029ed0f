//! Four nodes in the lab, with or without detectors.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use detector_api::{testing::FakeDaemon, v1::Verdict};
use tempfile::TempDir;

use super::client::{Client, Content};
use crate::{Daemon, DaemonOptions, Host, Lab, Traffic, peer::Event, testbed};

/// As many as there are nodes; the last ones are those that are cut off.
pub const NODES: usize = 4;
/// How long a cluster may take to be of full service.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LISTENING_WITHIN: Duration = Duration::from_secs(20);

/// Drives in memory, where there is room for that: it is not this machine's disk that is measured.
fn drives() -> std::io::Result<TempDir> {
    tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir())
}

const MEMORY: &str = "/dev/shm";

/// The least, the first and the most bytes of a socket's buffers.
const BUFFERS: &str = "4096 65536 262144";

/// The big transfers are a fiftieth of those that they stand for: with the kernel's own buffers, of
/// several megabytes, half a download would lie in them when its source is cut off.
fn small_buffers(host: &Host) -> anyhow::Result<()> {
    for setting in ["tcp_rmem", "tcp_wmem"] {
        let file = format!("/proc/sys/net/ipv4/{setting}");
        host.within(|| std::fs::write(&file, BUFFERS))?
            .with_context(|| format!("cannot write {file} on {}", host.name()))?;
    }
    Ok(())
}

/// The version of a protocol that nobody knows.
const NO_PROTOCOL: u32 = 99;

/// Says in a protocol of another version that every peer is dead: it is not to be believed.
fn liar(socket: &Path, peers: &[String]) -> FakeDaemon {
    let liar = FakeDaemon::start_at(socket);
    liar.set_protocol(NO_PROTOCOL);
    peers.iter().for_each(|peer| liar.open(peer));
    liar
}

/// How the nodes are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// As RustFS is today.
    Today,
    /// With `detector-api`, and daemons on the nodes that are not cut off.
    Detected,
    /// With `detector-api`, and no daemon at all.
    NoDaemon,
    /// With `detector-api`, and something on the socket that speaks another protocol and says
    /// that everybody is down.
    Liar,
}

/// The running store. Dropping it ends everything.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: Vec<Traffic>,
    /// Of h1, h2, …
    pub daemons: Vec<Daemon>,
    _liars: Vec<FakeDaemon>,
    pub lab: Lab,
    root: TempDir,
    source: String,
    config: Option<&'static str>,
}

impl Cluster {
    /// Returns once it is of full service. The daemons have this `--source` and this configuration.
    pub async fn start(
        build: Build,
        source: &str,
        config: Option<&'static str>,
    ) -> anyhow::Result<Self> {
        let root = drives().context("cannot make a directory for the drives")?;
        let lab = Lab::new(NODES)?;
        let mut cluster = Self {
            nodes: Vec::new(),
            daemons: Vec::new(),
            _liars: Vec::new(),
            lab,
            root,
            source: source.to_owned(),
            config,
        };
        for host in cluster.lab.hosts() {
            small_buffers(host)?;
        }
        // As on a machine that starts: the daemon is there before its node.
        for number in 1..NODES {
            match build {
                Build::Today | Build::NoDaemon => {}
                Build::Detected => cluster.start_daemon(number).await?,
                Build::Liar => {
                    let (socket, peers) = (cluster.socket(number), cluster.peers_of(number));
                    cluster._liars.push(liar(&socket, &peers));
                }
            }
        }
        for number in 1..=NODES {
            let node = cluster.start_node(number, build != Build::Today).await?;
            cluster.nodes.push(node);
        }
        cluster.of_full_service().await?;
        for daemon in &cluster.daemons {
            let alive = |state: &detector_api::v1::PeerState| state.verdict() == Verdict::Alive;
            for peer in cluster.lab.hosts()[NODES - 1..].iter() {
                daemon.await_state(&peer.url(), READY_WITHIN, alive).await?;
            }
        }
        Ok(cluster)
    }

    /// Starts the daemon of a node.
    pub async fn start_daemon(&mut self, number: usize) -> anyhow::Result<()> {
        let mut options = DaemonOptions::default().source(&self.source);
        options.peers = self.peers_of(number);
        options.config = self.config;
        options.show_log = false;
        options.log = "warn".to_owned();
        let socket = self.socket(number);
        let daemon = Daemon::start_at(self.lab.host(number), &options, &socket).await?;
        self.daemons.push(daemon);
        Ok(())
    }

    /// A client of this node, on its own host.
    pub fn client(&self, number: usize) -> Client {
        Client::new(self.lab.host(number))
    }

    /// Waits until node 1 shows everybody online and writes to every drive.
    pub async fn of_full_service(&self) -> anyhow::Result<()> {
        let client = self.client(1);
        let content = Content { seed: 1, size: 100 };
        testbed::until("full service", READY_WITHIN, async || {
            let shown = client.console().await?;
            let stored = client.put("service", content, None).await?;
            client.login("root").await?;
            let full = stored.drives == 4 * NODES && shown.iter().all(|node| node.online);
            Ok(full.then_some(()))
        })
        .await
        .with_context(|| {
            let tails = self.nodes.iter().map(|node| node.process.stderr_tail(10));
            tails.collect::<Vec<_>>().join("\n")
        })
    }

    fn peers_of(&self, number: usize) -> Vec<String> {
        let others = self
            .lab
            .hosts()
            .iter()
            .filter(|host| host.number() != number);
        others.map(Host::url).collect()
    }

    fn socket(&self, number: usize) -> PathBuf {
        self.root.path().join(format!("detector{number}.sock"))
    }

    async fn start_node(&self, number: usize, detected: bool) -> anyhow::Result<Traffic> {
        let me = number.to_string();
        let root = self.root.path().join(format!("node{number}"));
        let (root, socket) = (root.to_string_lossy(), self.socket(number));
        let socket = socket.to_string_lossy();
        let mut args = vec!["store-node", "--me", &me, "--root", &root];
        let urls: Vec<String> = self.lab.hosts().iter().map(Host::url).collect();
        for url in &urls {
            args.extend(["--node", url]);
        }
        if detected {
            args.extend(["--detector-socket", &socket]);
        }
        let node = Traffic::start(self.lab.host(number), &args)?;
        let listening = |event: &Event| matches!(event, Event::Listening { .. }).then_some(());
        node.event(0, LISTENING_WITHIN, listening).await?;
        Ok(node)
    }
}
