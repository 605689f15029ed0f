//! What was found: clusters, each with where it comes from.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use super::View;
use crate::{
    config::{PeerSpec, Profile},
    insight::Pool,
    model::PeerName,
    process::Process,
    stores::Cluster,
};

/// What is known at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub named: Vec<Named>,
    /// What could not be found or read, with what to do.
    pub notes: Vec<String>,
}

/// A cluster, and who names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub profile: Profile,
    pub cluster: Cluster,
    pub origin: Origin,
    /// The nodes that are perhaps the program itself, by their names alone.
    pub suspects: BTreeSet<PeerName>,
    pub view: View,
}

/// Where a cluster is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By a process, in a service.
    Process { process: Process, service: String },
    /// In a file, while no process runs.
    File(PathBuf),
}

/// Where peers come from, or, without any, what could not be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSource {
    /// For people.
    pub text: String,
    pub peers: Vec<PeerName>,
}

impl PeerSource {
    fn note(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            peers: Vec::new(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { process, service } => write!(f, "pid {} ({service})", process.id),
            Self::File(path) => write!(f, "{} (no process tells)", path.display()),
        }
    }
}

impl Found {
    /// The erasure sets of all clusters.
    pub fn pools(&self) -> Vec<Pool> {
        let mut pools: Vec<Pool> = Vec::new();
        for pool in self.named.iter().flat_map(|named| &named.cluster.pools) {
            // Several nodes of a cluster on this host say the same.
            if !pools.contains(pool) {
                pools.push(pool.clone());
            }
        }
        pools
    }

    /// The nodes of all clusters that are to be peers.
    pub fn nodes(&self) -> impl Iterator<Item = (&Named, &PeerSpec)> {
        self.named.iter().flat_map(|named| {
            let others = |node: &&PeerSpec| !named.cluster.own.contains(&node.name);
            named
                .cluster
                .nodes
                .iter()
                .filter(others)
                .map(move |node| (named, node))
        })
    }

    /// Where the peers come from: for each pool, then what was not found.
    pub fn sources(&self) -> Vec<PeerSource> {
        let named = self.named.iter().flat_map(Named::sources);
        named
            .chain(self.notes.iter().map(|note| PeerSource::note(note)))
            .collect()
    }
}

impl Named {
    /// As in "4 nodes of pool 1, from RUSTFS_VOLUMES of pid 812 (rustfs.service)".
    pub fn sources(&self) -> Vec<PeerSource> {
        let Cluster {
            named_in,
            nodes_of_pools,
            ..
        } = &self.cluster;
        let from = format!("from {named_in} of {}", self.origin);
        if self.cluster.nodes.is_empty() {
            let text = match self.profile {
                Profile::RustFs | Profile::Minio => {
                    format!("no other nodes, {from}: all of its drives are its own")
                }
                Profile::Etcd | Profile::IpfsCluster => format!("no other nodes yet, {from}"),
            };
            return vec![PeerSource::note(&text)];
        }
        let with_pools = !self.cluster.pools.is_empty() || nodes_of_pools.len() > 1;
        let pool = |(index, nodes): (usize, &Vec<PeerName>)| PeerSource {
            text: match with_pools {
                true => format!("{} of pool {}, {from}", count(nodes.len()), index + 1),
                false => format!("{}, {from}", count(nodes.len())),
            },
            peers: nodes.clone(),
        };
        let mut sources: Vec<PeerSource> = nodes_of_pools.iter().enumerate().map(pool).collect();
        if let Some(why) = &self.cluster.no_layout {
            sources.push(PeerSource::note(&format!(
                "no quorum outlook for them: {why}"
            )));
        }
        sources
    }
}

fn count(nodes: usize) -> String {
    match nodes {
        1 => "1 node".to_owned(),
        _ => format!("{nodes} nodes"),
    }
}
