//! Storage programs whose own configuration names their peers: from their command line and
//! environment, the nodes, and how the drives form erasure sets. Pure: what a process says is read
//! in [`process`](crate::process), and followed in [`source::stores`](crate::source::stores).

mod arguments;
pub mod ellipses;
mod environment;
mod etcd;
mod sets;
mod volumes;

use std::fmt;

use thiserror::Error;

pub use self::environment::Environment;
use crate::{
    config::{PeerSpec, Profile},
    core::PeerName,
    insight::Pool,
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
    /// For each pool the number of its nodes. A store without pools has one.
    pub nodes_of_pools: Vec<usize>,
    /// Why there is no layout of its erasure sets, if it should have one.
    pub no_layout: Option<String>,
}

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
pub fn cluster(profile: Profile, started: &Started) -> Result<Cluster, StoreError> {
    match profile {
        Profile::RustFs => volumes::cluster(&volumes::RUSTFS, started),
        Profile::Minio => volumes::cluster(&volumes::MINIO, started),
        Profile::Etcd => etcd::cluster(started),
    }
}
