//! A lock on the whole cluster: leases of a majority of the nodes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use super::{
    locks::{Claim, Held},
    node::Node,
    proto::{LeaseRequest, LockRequest},
    wires::{Class, Failure},
};
use crate::clock;

/// A lease ends after this time. A read that takes longer loses nothing: versions are never
/// overwritten.
pub const TTL: Duration = Duration::from_secs(30);
/// How long a lock that somebody else has is waited for.
pub const ACQUIRE: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_millis(150);

/// Why there is no lock.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LockError {
    #[error("{answered} of {needed} nodes needed for the lock can be reached: {last}")]
    Quorum {
        answered: usize,
        needed: usize,
        last: String,
    },
    #[error("the lock is held by {by} for longer than {waited:?}")]
    Held { by: String, waited: Duration },
    /// Nothing breaks a lease: its holder may be alive behind the fault.
    #[error("the lock is held by {by}, which is down; the lease ends within {ends_within:?}")]
    HeldByDead { by: String, ends_within: Duration },
}

/// Released when dropped, in the background.
#[derive(Debug)]
pub struct Lock {
    node: Node,
    lease: LeaseRequest,
}

impl Lock {
    /// Waits for whoever has it now, but not for nodes that a quorum does not need.
    pub async fn acquire(node: &Node, resource: &str, exclusive: bool) -> Result<Self, LockError> {
        let begun = clock::now_ns();
        loop {
            let request = request(node, resource, exclusive);
            let lease = LeaseRequest {
                resource: request.resource.clone(),
                holder: request.holder.clone(),
            };
            let held = match attempt(node, &request).await {
                Ok(()) => {
                    return Ok(Self {
                        node: node.clone(),
                        lease,
                    });
                }
                Err(refused) => {
                    // What was granted short of the quorum.
                    tokio::spawn(release(node.clone(), lease.clone()));
                    refused?
                }
            };
            if node.wires().is_down(&held.by) {
                return Err(LockError::HeldByDead {
                    by: held.by,
                    ends_within: held.ends_within,
                });
            }
            let waited = clock::between(begun, clock::now_ns());
            if waited > ACQUIRE {
                return Err(LockError::Held {
                    by: held.by,
                    waited,
                });
            }
            sleep(RETRY_AFTER).await;
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        tokio::spawn(release(self.node.clone(), self.lease.clone()));
    }
}

/// Each attempt is a holder of its own: what releases an earlier one cannot release it.
fn request(node: &Node, resource: &str, exclusive: bool) -> LockRequest {
    static ATTEMPTS: AtomicU64 = AtomicU64::new(1);
    let number = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    LockRequest {
        resource: resource.to_owned(),
        holder: format!("{}#{number}", node.url()),
        node: node.url().to_owned(),
        exclusive,
        ttl_ms: TTL.as_millis() as u32,
    }
}

type Answer = Result<Result<(), Held>, Failure>;

/// Asks all nodes at once: granted, held by somebody, or no quorum.
async fn attempt(node: &Node, request: &LockRequest) -> Result<(), Result<Held, LockError>> {
    let nodes = node.nodes().len();
    let needed = if request.exclusive {
        nodes / 2 + 1
    } else {
        nodes.div_ceil(2)
    };
    let request = Arc::new(request.clone());
    let mut asked = JoinSet::new();
    for number in 0..nodes {
        asked.spawn(ask(node.clone(), number, request.clone()));
    }
    let (mut granted, mut held, mut last) = (0, Vec::new(), String::new());
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(Ok(()))) => granted += 1,
            Ok(Ok(Err(by))) => held.push(by),
            Ok(Err(failure)) => last = failure.to_string(),
            Err(panicked) => last = panicked.to_string(),
        }
        if granted >= needed {
            // A lease that comes late is given back with the others.
            asked.detach_all();
            return Ok(());
        }
        if granted + asked.len() < needed {
            break;
        }
    }
    let answered = granted + held.len();
    Err(match held.pop() {
        Some(held) if answered + asked.len() >= needed => Ok(held),
        _ => Err(LockError::Quorum {
            answered,
            needed,
            last,
        }),
    })
}

async fn ask(node: Node, number: usize, request: Arc<LockRequest>) -> Answer {
    if number == node.number() {
        let claim = Claim {
            resource: &request.resource,
            holder: &request.holder,
            node: &request.node,
            exclusive: request.exclusive,
        };
        return Ok(node.leases().lock(&claim, TTL));
    }
    let key = node.lock_key(number);
    let call = |mut peer: super::wires::Control| {
        let request = (*request).clone();
        async move { peer.lock(request).await }
    };
    let answer = node.wires().call(Class::Lock, &key, call).await?;
    Ok(match answer.granted {
        true => Ok(()),
        false => Err(Held {
            by: answer.held_by,
            ends_within: Duration::from_millis(answer.ends_within_ms.into()),
        }),
    })
}

async fn release(node: Node, lease: LeaseRequest) {
    node.leases().unlock(&lease.resource, &lease.holder);
    let mut asked = JoinSet::new();
    for number in (0..node.nodes().len()).filter(|n| *n != node.number()) {
        let (node, lease) = (node.clone(), lease.clone());
        asked.spawn(async move {
            let key = node.lock_key(number);
            let call = |mut peer: super::wires::Control| {
                let lease = lease.clone();
                async move { peer.unlock(lease).await }
            };
            let _ends_by_itself = node.wires().call(Class::Lock, &key, call).await;
        });
    }
    asked.join_all().await;
}
