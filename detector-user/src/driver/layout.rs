//! The erasure sets, and what they can still take.

use detector_api::v1::PoolOutlook;

use super::outlets::Outlets;
use crate::{
    config::Config,
    insight::{Pool, outlook},
    model::{Breaker, PeerName, PeerState, Verdict},
    source::stores::Found,
};

/// The erasure sets that are configured or found, and this node's name in them.
pub(super) struct Layout {
    node_name: Option<PeerName>,
    pools: Vec<Pool>,
    found: Vec<Pool>,
}

impl Layout {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            node_name: config.node_name.clone(),
            pools: config.pools.clone(),
            found: Vec::new(),
        }
    }

    /// Takes in what the programs say. What is configured wins.
    pub(super) fn found(&mut self, found: &Found) {
        self.found = found.pools();
    }

    /// The outlook of the sets: how many more failures they can take. `None` if none is known.
    pub(super) fn outlook(&self, outlets: &Outlets) -> Option<Vec<PoolOutlook>> {
        let is_there = |node: &PeerName| {
            self.node_name.as_ref() == Some(node) || outlets.last(node).is_none_or(is_available)
        };
        let pools = match self.pools.is_empty() {
            true => &self.found,
            false => &self.pools,
        };
        (!pools.is_empty()).then(|| outlook(pools, is_there))
    }
}

/// Whether a node's drives count as available, also in observe mode.
fn is_available(state: &PeerState) -> bool {
    state.would_be_breaker != Breaker::Open && state.verdict != Verdict::Dead
}
