//! Locks on the whole cluster: granted by a majority of the nodes.
//!
//! Only the clients of node 1 lock, and that node is never cut off: a lock has no end of its own.

use detector_api::v1::Operation;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tonic::Status;

use super::{node::Node, peers::Remote, proto::Name};

/// Released when dropped, in the background.
#[derive(Debug)]
pub struct Lock {
    node: Node,
    name: Name,
}

impl Lock {
    /// Does not wait for nodes that the majority does not need.
    pub async fn acquire(node: &Node, resource: &str) -> Result<Self, Status> {
        // Dropped on failure: what was granted is released.
        let lock = Self {
            node: node.clone(),
            name: Name {
                name: resource.to_owned(),
            },
        };
        let ask = |number| {
            let name = lock.name.clone();
            let ask = |mut peer: Remote| async move { peer.lock(name).await };
            node.peers.call(number, Operation::Lock, ask)
        };
        let mut asked: FuturesUnordered<_> = node.peers.all().into_iter().map(ask).collect();
        let (mut granted, needed, mut last) = (0, node.peers.nodes() / 2 + 1, String::new());
        while granted < needed {
            match asked.next().await {
                Some(Ok(_)) => granted += 1,
                Some(Err(failure)) => last = failure.to_string(),
                None => return Err(Status::unavailable(format!("no majority to lock: {last}"))),
            }
            if granted + asked.len() < needed {
                asked.clear();
            }
        }
        drop(asked);
        Ok(lock)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let (node, name) = (self.node.clone(), self.name.clone());
        tokio::spawn(async move {
            let unlock = |_, mut peer: Remote| {
                let name = name.clone();
                async move { peer.unlock(name).await }
            };
            node.peers
                .call_all(node.peers.all(), Operation::Lock, unlock)
                .await;
        });
    }
}
