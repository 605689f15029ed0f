//! Storage programs whose own configuration names their peers: from their command line,
//! environment and files, the nodes, and how the drives form erasure sets. Pure: what a process says is read
//! in [`process`](crate::process), and followed in [`source::stores`](crate::source::stores).

mod arguments;
pub mod ellipses;
mod environment;
mod etcd;
mod ipfs_cluster;
mod sets;
mod volumes;
mod yaml;

use std::{fmt, io, path::Path};

use thiserror::Error;

pub use self::{
    environment::Environment,
    etcd::{Members, Question},
};
use crate::{
    config::{PeerSpec, Profile},
    insight::Pool,
    model::PeerName,
};

/// What a program was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// Its arguments, without its name; the ones that are no UTF-8 have replacement characters.
    pub arguments: Vec<String>,
    pub environment: Environment,
}

/// What a program says about its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Where the nodes are named, as in `RUSTFS_VOLUMES` or `--initial-cluster`.
    pub named_in: &'static str,
    /// All nodes, each once, this one among them, in the order in which they are named.
    pub nodes: Vec<PeerSpec>,
    /// The nodes that are the program itself, where its configuration says so.
    pub own: Vec<PeerName>,
    pub pools: Vec<Pool>,
    /// For each pool its nodes. A store without pools has one.
    pub nodes_of_pools: Vec<Vec<PeerName>>,
    /// Why there is no layout of its erasure sets, if it should have one.
    pub no_layout: Option<String>,
    /// Whether the running program may have others later, because they are in a file or it is asked.
    pub may_change: bool,
    /// How the program itself is asked, if it can be.
    pub members: Option<Members>,
}

/// Reads a file of a program's configuration as the program does.
pub type ReadFile<'a> = dyn Fn(&Path) -> io::Result<String> + 'a;

/// Why a program's configuration names no nodes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The process is no server, as in `rustfs --version`.
    #[error("it is no server")]
    NoServer,
    #[error("{0}")]
    Wrong(String),
}

impl StoreError {
    fn wrong(message: impl fmt::Display) -> Self {
        Self::Wrong(message.to_string())
    }
}

/// The cluster of a program that was started like this.
pub fn cluster(
    profile: Profile,
    started: &Started,
    read: &ReadFile<'_>,
) -> Result<Cluster, StoreError> {
    match profile {
        Profile::RustFs => volumes::cluster(&volumes::RUSTFS, started),
        Profile::Minio => volumes::cluster(&volumes::MINIO, started),
        Profile::Etcd => etcd::cluster(started, read),
        Profile::IpfsCluster => ipfs_cluster::cluster(started, read),
    }
}

/// The arguments of a server, where an environment file alone is known.
pub fn server(profile: Profile) -> Vec<String> {
    let command = match profile {
        Profile::RustFs | Profile::Minio => "server",
        Profile::IpfsCluster => "daemon",
        Profile::Etcd => return Vec::new(),
    };
    vec![command.to_owned()]
}

/// The most nodes that are read where no pattern bounds them.
const MAX_NODES: usize = 1024;

impl Cluster {
    /// Adds a node, unless it is known.
    fn add(&mut self, mut spec: PeerSpec) -> Result<(), StoreError> {
        if self.nodes.iter().any(|node| node.name == spec.name) {
            return Ok(());
        }
        if self.nodes.len() == MAX_NODES {
            let message = format!("{} has more than {MAX_NODES} members", self.named_in);
            return Err(StoreError::Wrong(message));
        }
        // Its addresses are looked at like those of a name: they may be the node's own.
        spec.addresses.clear();
        self.nodes.push(spec);
        Ok(())
    }

    /// All nodes are one pool.
    fn of_one_pool(mut self) -> Self {
        let nodes = self.nodes.iter().map(|node| node.name.clone());
        self.nodes_of_pools = vec![nodes.collect()];
        self
    }
}
