//! Keeps the resolver at the peers that are found.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::{Found, StoreLookup};
use crate::{
    config::PeerSpec,
    model::PeerName,
    source::resolve::{Leaving, Resolved, Resolver},
};

/// The peers that were found, each with how it is looked up. Owned by the loop.
#[derive(Debug)]
pub struct StorePeers {
    /// These are configured: they are looked up as the configuration says.
    configured: BTreeSet<PeerName>,
    known: BTreeMap<PeerName, (Arc<StoreLookup>, Resolved<StoreLookup>)>,
    leaving: BTreeMap<PeerName, Leaving>,
    most: usize,
}

impl StorePeers {
    /// At most this many peers are kept.
    pub fn new(configured: &[PeerSpec], most: usize) -> Self {
        Self {
            configured: configured.iter().map(|peer| peer.name.clone()).collect(),
            known: BTreeMap::new(),
            leaving: BTreeMap::new(),
            most,
        }
    }

    /// Resolves what is found now, and what is found no longer is removed.
    pub fn follow(&mut self, found: &Found, resolver: &mut Resolver) {
        let wanted = self.wanted(found);
        let gone: Vec<PeerName> = self
            .known
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            if let Some((_, resolved)) = self.known.remove(&name) {
                self.leaving.insert(name, resolver.remove(resolved));
            }
        }
        self.leaving.retain(|_, leaving| !leaving.has_left());
        for (name, (spec, lookup)) in wanted {
            match self.known.get_mut(&name) {
                Some((known, _)) if **known == lookup => {}
                Some((known, resolved)) => {
                    *known = Arc::new(lookup);
                    resolved.look_up_by(Arc::clone(known));
                }
                None => {
                    let lookup = Arc::new(lookup);
                    let before = self.leaving.remove(&name);
                    // An address is looked at before it is reported, which takes no time.
                    let is_address = spec.host.parse::<IpAddr>().is_ok();
                    let is_withheld = lookup.is_suspect || is_address;
                    let resolved = resolver.add(spec, is_withheld, Arc::clone(&lookup), before);
                    self.known.insert(name, (lookup, resolved));
                }
            }
        }
    }

    fn wanted(&self, found: &Found) -> BTreeMap<PeerName, (PeerSpec, StoreLookup)> {
        let mut wanted: BTreeMap<PeerName, (PeerSpec, StoreLookup)> = BTreeMap::new();
        for (named, node) in found.nodes() {
            let is_known = wanted.contains_key(&node.name);
            if self.configured.contains(&node.name) || (!is_known && wanted.len() >= self.most) {
                continue;
            }
            let none = || {
                let lookup = StoreLookup {
                    views: Vec::new(),
                    is_suspect: true,
                };
                (node.clone(), lookup)
            };
            let (_, lookup) = wanted.entry(node.name.clone()).or_insert_with(none);
            lookup.is_suspect &= named.suspects.contains(&node.name);
            lookup.views.push(named.view.clone());
        }
        wanted
    }
}
