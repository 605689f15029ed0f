//! Three nodes with a daemon, a server and clients each, and a host that watches them.

use std::{path::PathBuf, time::Duration};

use detector_api::{
    PeerWatch, Report,
    v1::{Operation, Outcome},
};
use detector_tests::{Daemon, DaemonOptions, Host, Lab, Traffic, peer::Kind};

const NODES: usize = 3;
const SOON: Duration = Duration::from_secs(15);

/// The lab's h1 to h3 are nodes, h4 has the monitoring.
pub struct Cluster {
    pub daemons: Vec<Daemon>,
    _traffic: Vec<Traffic>,
    pub lab: Lab,
}

impl Cluster {
    pub async fn start() -> anyhow::Result<Self> {
        let lab = Lab::new(NODES + 1)?;
        let nodes = || lab.hosts()[..NODES].iter();
        let mut traffic = Vec::new();
        for node in nodes() {
            traffic.push(Traffic::grpc_server(node).await?);
        }
        let mut daemons = Vec::new();
        for node in nodes() {
            for other in nodes().filter(|other| other.number() != node.number()) {
                let url = other.url();
                let client = Traffic::grpc_client(node, &url, Kind::Put, 4, 100);
                traffic.push(client.await?);
            }
            let options = DaemonOptions::default()
                .config(config(node, nodes()))
                .metrics("0.0.0.0:9464");
            daemons.push(Daemon::start(node, &options).await?);
        }
        Ok(Self {
            daemons,
            _traffic: traffic,
            lab,
        })
    }

    pub fn monitor(&self) -> &Host {
        self.lab.host(NODES + 1)
    }

    /// The file of h1's daemon.
    pub fn config(&self) -> PathBuf {
        self.daemons[0].socket().with_extension("toml")
    }

    /// Has a program on h1 report operations that ended so.
    pub async fn report(&self, operations: &[Operation], outcome: Outcome) -> anyhow::Result<()> {
        let watch = PeerWatch::start(self.daemons[0].socket());
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

    pub async fn stop(self) -> anyhow::Result<()> {
        for daemon in self.daemons {
            daemon.stop().await?;
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
