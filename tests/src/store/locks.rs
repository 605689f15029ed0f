//! Locks on the whole cluster: leases of a majority of the nodes.
//!
//! A lease has no end of its own: only the clients of node 1 lock, and that node is never cut off.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use detector_api::v1::Operation;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::{node::Node, peers::Remote, proto::Lease};

/// What a shared lease takes one of, and an exclusive one all.
const PERMITS: u32 = 10_000;

/// The leases that one node grants.
#[derive(Debug, Default)]
pub struct Leases {
    resources: Mutex<HashMap<String, Arc<Semaphore>>>,
    held: Mutex<HashMap<u64, OwnedSemaphorePermit>>,
}

impl Leases {
    /// Waits until it is granted.
    pub async fn lock(&self, lease: Lease) {
        let all = || Arc::new(Semaphore::new(PERMITS as usize));
        let resource = locked(&self.resources)
            .entry(lease.resource)
            .or_insert_with(all)
            .clone();
        let permits = if lease.exclusive { PERMITS } else { 1 };
        if let Ok(permit) = resource.acquire_many_owned(permits).await {
            locked(&self.held).insert(lease.holder, permit);
        }
    }

    pub fn unlock(&self, lease: &Lease) {
        locked(&self.held).remove(&lease.holder);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Released when dropped, in the background.
#[derive(Debug)]
pub struct Lock {
    node: Node,
    lease: Lease,
}

impl Lock {
    /// Waits for whoever has it now, but not for nodes that a quorum does not need.
    pub async fn acquire(node: &Node, resource: &str, exclusive: bool) -> Result<Self, Status> {
        let lease = Lease {
            resource: resource.to_owned(),
            holder: fastrand::u64(..),
            exclusive,
        };
        // Dropped on failure: what was granted short of the quorum is given back.
        let node = node.clone();
        let lock = Self { node, lease };
        lock.ask().await?;
        Ok(lock)
    }

    async fn ask(&self) -> Result<(), Status> {
        let nodes = self.node.nodes();
        let needed = nodes / 2 + usize::from(self.lease.exclusive);
        let asked = |number| {
            let ask = |mut peer: Remote| async move { peer.lock(self.lease.clone()).await };
            self.node.peers().call(number, Operation::Lock, ask)
        };
        let mut asked: FuturesUnordered<_> = (0..nodes).map(asked).collect();
        let (mut granted, mut last) = (0, String::new());
        while granted < needed && granted + asked.len() >= needed {
            match asked.next().await {
                Some(Ok(_)) => granted += 1,
                Some(Err(failure)) => last = failure.to_string(),
                None => break,
            }
        }
        let text = format!("{granted} leases of the {needed} that a lock needs: {last}");
        (granted >= needed)
            .then_some(())
            .ok_or(Status::unavailable(text))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let (node, lease) = (self.node.clone(), self.lease.clone());
        tokio::spawn(async move {
            let unlock = |_, mut peer: Remote| {
                let lease = lease.clone();
                async move { peer.unlock(lease).await }
            };
            let all = 0..node.nodes();
            node.peers().call_all(all, Operation::Lock, unlock).await;
        });
    }
}
