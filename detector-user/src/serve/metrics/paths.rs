//! The metrics of each address of a peer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use prometheus::{IntGaugeVec, Registry};

use super::{series::gauges, set};
use crate::{
    core::MAX_ADDRESSES,
    core::{PeerName, PeerState, Verdict},
};

#[derive(Debug)]
pub(super) struct PathSeries {
    verdict: IntGaugeVec,
    /// The addresses that have series. A series is removed when the peer loses the address.
    kept: Mutex<BTreeMap<PeerName, BTreeSet<String>>>,
}

impl PathSeries {
    pub(super) fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            verdict: gauges(
                r,
                "path_verdict",
                "1 for the verdict on one of the peer's addresses, 0 for the others.",
                &["peer", "address", "verdict"],
            )?,
            kept: Mutex::default(),
        })
    }

    /// Shows at most as many addresses as a peer may have.
    pub(super) fn show(&self, state: &PeerState) {
        let mut addresses = BTreeSet::new();
        for path in state.paths.iter().take(MAX_ADDRESSES) {
            let address = path.address.to_string();
            for &verdict in Verdict::ALL {
                let labels = [state.peer.as_str(), &address, verdict.as_str()];
                set(&self.verdict, &labels, verdict == path.verdict);
            }
            addresses.insert(address);
        }
        self.keep(&state.peer, addresses);
    }

    pub(super) fn remove(&self, peer: &PeerName) {
        self.keep(peer, BTreeSet::new());
    }

    /// Removes the series of all other addresses of the peer.
    fn keep(&self, peer: &PeerName, addresses: BTreeSet<String>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.remove(peer).unwrap_or_default();
        for gone in before.difference(&addresses) {
            for verdict in Verdict::ALL {
                let labels = [peer.as_str(), gone, verdict.as_str()];
                let _ = self.verdict.remove_label_values(&labels);
            }
        }
        if !addresses.is_empty() {
            kept.insert(peer.clone(), addresses);
        }
    }
}
