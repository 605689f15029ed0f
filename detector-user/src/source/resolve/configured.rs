//! Keeps the resolver at the peers that are configured, also when the configuration changes.

use std::{collections::BTreeMap, sync::Arc};

use super::{Leaving, Resolved, Resolver, SystemLookup};
use crate::{config::PeerSpec, model::PeerName};

/// The configured peers that are resolved now. Owned by the loop.
#[derive(Debug, Default)]
pub struct ConfiguredPeers {
    lookup: Arc<SystemLookup>,
    known: BTreeMap<PeerName, (PeerSpec, Resolved<SystemLookup>)>,
}

impl ConfiguredPeers {
    /// Resolves these peers, and no others. What is known of a peer that stays is kept; one with
    /// other fixed addresses begins anew.
    pub fn follow(&mut self, peers: &[PeerSpec], resolver: &mut Resolver) {
        let stays = |spec: &PeerSpec| peers.contains(spec);
        let gone: Vec<PeerName> = self
            .known
            .iter()
            .filter(|(_, (spec, _))| !stays(spec))
            .map(|(name, _)| name.clone())
            .collect();
        let mut leaving: BTreeMap<PeerName, Leaving> = BTreeMap::new();
        for name in gone {
            if let Some((_, resolved)) = self.known.remove(&name) {
                leaving.insert(name, resolver.remove(resolved));
            }
        }
        for spec in peers {
            if self.known.contains_key(&spec.name) {
                continue;
            }
            let before = leaving.remove(&spec.name);
            let lookup = Arc::clone(&self.lookup);
            let resolved = resolver.add(spec.clone(), false, lookup, before);
            self.known
                .insert(spec.name.clone(), (spec.clone(), resolved));
        }
    }
}
