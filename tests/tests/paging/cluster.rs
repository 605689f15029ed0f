//! Three nodes with a daemon, a server and clients each, and a host that watches them.

use std::time::Duration;

use detector_api::{
    PeerWatch, Report,
    v1::{Operation, Outcome},
};
use detector_tests::{Daemon, DaemonOptions, Host, Lab, Traffic, clock, peer::Kind};

use crate::operated::Operated;

const NODES: usize = 3;
pub const SOON: Duration = Duration::from_secs(15);

/// The lab's h1 to h3 are nodes, h4 has the monitoring.
pub struct Cluster {
    /// h1, which was installed from the package.
    pub operated: Operated,
    /// The daemons of the others.
    daemons: Vec<Daemon>,
    clients: Vec<Traffic>,
    _servers: Vec<Traffic>,
    pub lab: Lab,
}

impl Cluster {
    pub async fn start() -> anyhow::Result<Self> {
        let lab = Lab::new(NODES + 1)?;
        let nodes = || lab.hosts()[..NODES].iter();
        let mut servers = Vec::new();
        for node in nodes() {
            servers.push(Traffic::grpc_server(node).await?);
        }
        let mut clients = Vec::new();
        for node in nodes() {
            for other in nodes().filter(|other| other.number() != node.number()) {
                let url = other.url();
                let client = Traffic::grpc_client(node, &url, Kind::Put, 4, 100);
                clients.push(client.await?);
            }
        }
        let operated = Operated::start(lab.host(1), &config(lab.host(1), nodes())).await?;
        let mut daemons = Vec::new();
        for node in nodes().skip(1) {
            let options = DaemonOptions::default()
                .config(config(node, nodes()))
                .metrics("0.0.0.0:9464");
            daemons.push(Daemon::start(node, &options).await?);
        }
        Ok(Self {
            operated,
            daemons,
            clients,
            _servers: servers,
            lab,
        })
    }

    pub fn monitor(&self) -> &Host {
        self.lab.host(NODES + 1)
    }

    /// Has a program on h1 report operations that ended so.
    pub async fn report(&self, operations: &[Operation], outcome: Outcome) -> anyhow::Result<()> {
        let watch = PeerWatch::start(self.operated.socket());
        anyhow::ensure!(watch.ready(SOON).await, "{}", watch.status());
        for &operation in operations {
            watch.reporter().report(Report {
                lock: "iam/users",
                ..Report::new(operation, outcome, Duration::from_millis(20))
            });
        }
        // Reports are sent together; what has been taken is sent before the watch ends.
        watch.shutdown().await;
        Ok(())
    }

    /// Rolls h1 back, and stops the others. What they watched goes on.
    pub async fn end(self) -> anyhow::Result<()> {
        self.operated.purge().await?;
        for daemon in self.daemons {
            daemon.stop().await?;
        }
        let ended = clock::now_ns();
        for client in &self.clients {
            client.ok_since(ended, SOON).await?;
        }
        Ok(())
    }
}

/// The file of a node's daemon: the other nodes are its peers, and all of them a pool.
fn config<'a>(node: &Host, nodes: impl Iterator<Item = &'a Host>) -> String {
    let urls: Vec<String> = nodes.map(Host::url).collect();
    let peers: String = urls
        .iter()
        .filter(|url| **url != node.url())
        .map(|url| format!("[[peer]]\nurl = \"{url}\"\n"))
        .collect();
    format!(
        "node_name = \"{}\"\nmetrics = \"0.0.0.0:9464\"\n{peers}\
         [[pool]]\nname = \"hot\"\nnodes = {urls:?}\ndrives_per_node = 4\ndata = 8\nparity = 4\n",
        node.url()
    )
}
