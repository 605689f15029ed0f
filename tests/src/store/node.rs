//! One node of the store: its data, and its process.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use tonic::{
    Status,
    transport::{Server, server::TcpIncoming},
};

use super::{
    peers::{Failure, Peers},
    proto::{Meta, store_server::StoreServer},
};
use crate::peer;

/// A node of the small store.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreNode {
    /// All nodes in order, as in http://10.77.0.1:9000.
    #[arg(long = "node", required = true)]
    pub nodes: Vec<String>,
    /// The detector's socket; without it, nobody watches the peers.
    #[arg(long)]
    pub detector_socket: Option<String>,
}

/// A running node; clones are the same one.
#[derive(Clone, Debug)]
pub struct Node {
    pub peers: Arc<Peers>,
    kept: Arc<Mutex<Kept>>,
}

/// Its drive, and the locks that it has granted.
#[derive(Debug, Default)]
pub struct Kept {
    pub metas: HashMap<String, Meta>,
    /// By the object: the node's shard of every row.
    pub shards: HashMap<String, Vec<Bytes>>,
    pub locks: HashSet<String>,
}

impl Node {
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object is readable and writable with all nodes but one.
    pub fn quorum(&self, nodes: usize, last: Option<&Failure>) -> Result<(), Status> {
        let needed = self.peers.nodes() - 1;
        if nodes >= needed {
            return Ok(());
        }
        let last = last.map(ToString::to_string).unwrap_or_default();
        let text = format!("{nodes} nodes of the {needed} that are needed: {last}");
        Err(Status::unavailable(text))
    }
}

impl StoreNode {
    /// Serves until killed.
    pub async fn run(self) -> anyhow::Result<()> {
        ensure!(self.nodes.len() > 2, "a store has three nodes or more");
        let listener = peer::listen(([0, 0, 0, 0], crate::PEER_PORT).into()).await?;
        let node = Node {
            peers: Peers::new(self.nodes, self.detector_socket.as_deref()),
            kept: Arc::default(),
        };
        Server::builder()
            .add_service(StoreServer::new(node))
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
            .await
            .context("the node ended")
    }
}
