//! The leases that one node grants.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::clock;

/// The most resources that are locked at once on a node.
const MAX_RESOURCES: usize = 10_000;

#[derive(Debug)]
struct Lease {
    holder: String,
    node: String,
    exclusive: bool,
    ends_ns: u64,
}

/// Who has what, on this node.
#[derive(Debug, Default)]
pub struct Leases {
    by_resource: Mutex<HashMap<String, Vec<Lease>>>,
}

/// Why a lease was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The node that holds it.
    pub by: String,
    /// It ends within this time unless it is refreshed.
    pub ends_within: Duration,
}

/// Who wants a lease.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    pub resource: &'a str,
    pub holder: &'a str,
    pub node: &'a str,
    pub exclusive: bool,
}

impl Leases {
    /// Grants it, or says who has it.
    pub fn lock(&self, claim: &Claim<'_>, ttl: Duration) -> Result<(), Held> {
        let now = clock::now_ns();
        let mut all = self.all();
        if all.len() >= MAX_RESOURCES {
            all.retain(|_, leases| leases.iter().any(|lease| lease.ends_ns > now));
        }
        let full = all.len() >= MAX_RESOURCES && !all.contains_key(claim.resource);
        let leases = all.entry(claim.resource.to_owned()).or_default();
        leases.retain(|lease| lease.ends_ns > now && lease.holder != claim.holder);
        let in_the_way = leases
            .iter()
            .find(|lease| claim.exclusive || lease.exclusive);
        if let Some(lease) = in_the_way {
            return Err(Held {
                by: lease.node.clone(),
                ends_within: clock::between(now, lease.ends_ns),
            });
        }
        if full {
            all.remove(claim.resource);
            return Err(Held {
                by: String::new(),
                ends_within: ttl,
            });
        }
        leases.push(Lease {
            holder: claim.holder.to_owned(),
            node: claim.node.to_owned(),
            exclusive: claim.exclusive,
            ends_ns: now + ttl.as_nanos() as u64,
        });
        Ok(())
    }

    /// Whether the lease was there.
    pub fn unlock(&self, resource: &str, holder: &str) -> bool {
        let mut all = self.all();
        let Some(leases) = all.get_mut(resource) else {
            return false;
        };
        let before = leases.len();
        leases.retain(|lease| lease.holder != holder);
        let was_held = leases.len() < before;
        if leases.is_empty() {
            all.remove(resource);
        }
        was_held
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Vec<Lease>>> {
        self.by_resource
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
