//! Locks on the whole cluster: granted by a majority of the nodes.
//!
//! Only the clients of node 1 lock, and that node is never cut off: a lock never expires.

use std::time::Duration;

use detector_api::{policy::CallError, v1::Operation};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use super::{node::Node, peers::Remote, proto::Name};

/// How long a lock that somebody has is waited for, and how often it is tried meanwhile.
const WAITS_FOR: Duration = Duration::from_secs(1);
const TRIES_EVERY: Duration = Duration::from_millis(5);

/// Released when dropped, in the background.
#[derive(Debug)]
pub struct Lock {
    node: Node,
    name: Name,
}

impl Lock {
    /// Waits a while for a lock that somebody has: it may be released just now, in the background.
    pub async fn acquire(node: &Node, resource: &str) -> Result<Self, Status> {
        let until = Instant::now() + WAITS_FOR;
        loop {
            match Self::try_acquire(node, resource).await {
                Err(held) if held.code() == Code::AlreadyExists && Instant::now() < until => {
                    sleep(TRIES_EVERY).await;
                }
                ended => return ended,
            }
        }
    }

    /// Does not wait for nodes that the majority does not need.
    async fn try_acquire(node: &Node, resource: &str) -> Result<Self, Status> {
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
        let (mut granted, needed) = (0, node.peers.nodes() / 2 + 1);
        let mut refused = Status::unavailable("no node answers");
        while granted < needed {
            match asked.next().await {
                Some(Ok(_)) => granted += 1,
                Some(Err(CallError::Failed(held))) if held.code() == Code::AlreadyExists => {
                    refused = held;
                }
                Some(Err(failure)) => {
                    refused = Status::unavailable(format!("no majority to lock: {failure}"));
                }
                None => return Err(refused),
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
