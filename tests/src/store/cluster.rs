//! Four nodes in the lab, with or without detectors.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use detector_api::{
    testing::FakeDaemon,
    v1::{PeerState, Verdict},
};
use tempfile::TempDir;

use super::{client::Client, load::SMALL, proto::Empty, scenario::Daemons};
use crate::{Daemon, DaemonOptions, Host, Lab, Traffic, peer::Event, testbed};

/// How many nodes there are; the last ones are those that are cut off.
pub const NODES: usize = 4;
/// How long a cluster may take to be of full service.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LISTENING_WITHIN: Duration = Duration::from_secs(20);
/// The version of a protocol that nobody knows.
const NO_PROTOCOL: u32 = 99;

/// The running store. Dropping it ends everything.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Traffic>,
    pub daemons: Vec<Daemon>,
    _liars: Vec<FakeDaemon>,
    pub lab: Lab,
    sockets: TempDir,
    daemon: DaemonOptions,
}

impl Cluster {
    /// Returns once it is of full service. Its daemons have these options.
    pub async fn start(daemons: Daemons, daemon: DaemonOptions) -> anyhow::Result<Self> {
        let mut cluster = Self {
            nodes: Vec::new(),
            daemons: Vec::new(),
            _liars: Vec::new(),
            lab: Lab::new(NODES)?,
            sockets: tempfile::tempdir().context("cannot make a directory for sockets")?,
            daemon,
        };
        // As on a machine that starts: the daemon is there before its node.
        match daemons {
            Daemons::Today | Daemons::Absent => {}
            Daemons::Lie => cluster.start_liars(),
            _ => cluster.start_daemons().await?,
        }
        let linked = !matches!(daemons, Daemons::Today | Daemons::Outside);
        for number in 1..=NODES {
            let node = cluster.start_node(number, linked).await?;
            cluster.nodes.push(node);
        }
        cluster.of_full_service().await?;
        let last = cluster.lab.host(NODES).url();
        for daemon in &cluster.daemons {
            let alive = |state: &PeerState| state.verdict() == Verdict::Alive;
            daemon.await_state(&last, READY_WITHIN, alive).await?;
        }
        Ok(cluster)
    }

    /// Starts a daemon on each host but the last.
    pub async fn start_daemons(&mut self) -> anyhow::Result<()> {
        for number in 1..NODES {
            let options = DaemonOptions {
                peers: self.peers_of(number),
                ..self.daemon.clone()
            };
            let (host, socket) = (self.lab.host(number), self.socket(number));
            let daemon = Daemon::start_at(host, &options, &socket).await?;
            self.daemons.push(daemon);
        }
        Ok(())
    }

    /// A client of the first node.
    pub fn client(&self) -> Client {
        Client::new(self.lab.host(1))
    }

    /// Waits until the first node shows everybody online and writes to every node.
    pub async fn of_full_service(&self) -> anyhow::Result<()> {
        let client = self.client();
        testbed::until("full service", READY_WITHIN, async || {
            let online = client.node().await?.console(Empty {}).await?;
            let stored = client.put(SMALL).await?;
            let full = online.into_inner().nodes.min(stored) as usize == NODES;
            Ok(full.then_some(()))
        })
        .await
    }

    /// They say in a protocol of another version that every peer is dead.
    fn start_liars(&mut self) {
        for number in 1..NODES {
            let liar = FakeDaemon::start_at(&self.socket(number));
            liar.set_protocol(NO_PROTOCOL);
            self.peers_of(number)
                .iter()
                .for_each(|peer| liar.open(peer));
            self._liars.push(liar);
        }
    }

    async fn start_node(&self, number: usize, linked: bool) -> anyhow::Result<Traffic> {
        let urls: Vec<String> = self.lab.hosts().iter().map(Host::url).collect();
        let mut args = vec!["store-node"];
        for url in &urls {
            args.extend(["--node", url]);
        }
        let socket = self.socket(number);
        let socket = Path::to_string_lossy(&socket);
        if linked {
            args.extend(["--detector-socket", &socket]);
        }
        let node = Traffic::start(self.lab.host(number), &args)?;
        let listening = |event: &Event| matches!(event, Event::Listening { .. }).then_some(());
        node.event(0, LISTENING_WITHIN, listening).await?;
        Ok(node)
    }

    fn peers_of(&self, number: usize) -> Vec<String> {
        let hosts = self.lab.hosts().iter();
        let others = hosts.filter(|host| host.number() != number);
        others.map(Host::url).collect()
    }

    fn socket(&self, number: usize) -> PathBuf {
        self.sockets.path().join(format!("detector{number}.sock"))
    }
}
