//! Which peers there are, and the paths to their addresses.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Detector, PathKey};
use crate::{
    core::{context::Around, explain, path::Path, peer::Peer, session::Turn},
    model::{Effect, Endpoint, Explanation, PeerName, Time, Trial, TrialError, TrialOutcome},
};

impl Detector {
    pub(super) fn configure(
        &mut self,
        now: Time,
        name: PeerName,
        endpoints: &[Endpoint],
        discovered: bool,
    ) {
        let known = self.peers.contains_key(&name);
        if !known {
            if self.peers.len() >= self.settings.max_peers {
                return;
            }
            self.peers
                .insert(name.clone(), Peer::new(now, name.clone()));
        }
        let addresses: BTreeSet<_> = endpoints.iter().map(|endpoint| endpoint.addr).collect();
        let changed = self.set_addresses(now, &name, addresses, discovered);
        let mut is_news = changed || !known;
        for key in self.paths_of(&name) {
            let here = endpoints
                .iter()
                .filter(|endpoint| endpoint.addr == key.addr);
            let here = here.copied().collect();
            self.with_path(now, &key, |path, context| {
                is_news |= path.configure(now, here, discovered, context);
                Turn::None
            });
        }
        if is_news {
            self.publish(now, &name);
        }
    }

    /// Makes paths to new addresses, and forgets the paths to addresses that are no longer the
    /// peer's, with all that is known of them. Returns whether the addresses changed.
    fn set_addresses(
        &mut self,
        now: Time,
        name: &PeerName,
        addresses: BTreeSet<IpAddr>,
        discovered: bool,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(name) else {
            return false;
        };
        peer.discovered = discovered;
        let overridden = peer.overridden.as_ref().map(|overridden| overridden.kind);
        let before = std::mem::replace(&mut peer.addresses, addresses.clone());
        for addr in before.difference(&addresses) {
            self.forget_path(name, *addr);
        }
        for addr in addresses.difference(&before) {
            let (peer, addr) = (name.clone(), *addr);
            let mut path = Path::new(now, peer.clone(), addr, discovered, &self.settings);
            path.set_override(now, overridden);
            let key = PathKey { peer, addr };
            self.timeouts.insert((path.timeout(), key.clone()));
            self.paths.insert(key, path);
            let names = self.by_address.entry(addr).or_default();
            names.insert(name.clone());
        }
        before != addresses
    }

    fn forget_path(&mut self, name: &PeerName, addr: IpAddr) {
        let key = PathKey {
            peer: name.clone(),
            addr,
        };
        if let Some(path) = self.paths.remove(&key) {
            self.timeouts.remove(&(path.timeout(), key));
        }
        if let Some(names) = self.by_address.get_mut(&addr) {
            names.remove(name);
            if names.is_empty() {
                self.by_address.remove(&addr);
                self.isolation.witnesses.forget(addr);
                self.isolation.cards.forget(addr);
            }
        }
        self.recall_witness(addr);
    }

    pub(super) fn remove(&mut self, name: &PeerName) {
        let Some(peer) = self.peers.remove(name) else {
            return;
        };
        if let Some(ended) = &peer.overridden {
            self.override_ends.remove(&(ended.until, name.clone()));
        }
        for addr in peer.addresses {
            self.forget_path(name, addr);
        }
        self.revision += 1;
        self.effects.push_back(Effect::Retract {
            peer: name.clone(),
            revision: self.revision,
        });
    }

    /// The paths of a peer.
    pub(super) fn paths_of(&self, name: &PeerName) -> Vec<PathKey> {
        let peer = self.peers.get(name);
        let addresses = peer.into_iter().flat_map(|peer| &peer.addresses);
        let key = |addr: &IpAddr| PathKey {
            peer: name.clone(),
            addr: *addr,
        };
        addresses.map(key).collect()
    }

    /// The paths of all peers to an address.
    pub(super) fn paths_at(&self, addr: IpAddr) -> Vec<PathKey> {
        let names = self.by_address.get(&addr).into_iter().flatten();
        let key = |peer: &PeerName| PathKey {
            peer: peer.clone(),
            addr,
        };
        names.map(key).collect()
    }

    /// Why the peer's verdict is what it is; `None` when it is not watched.
    pub fn explain(&self, now: Time, name: &PeerName) -> Option<Explanation> {
        let keys = self.paths_of(name);
        let peer = self.peers.get(name)?;
        let paths: Vec<&Path> = keys.iter().filter_map(|key| self.paths.get(key)).collect();
        let state = peer.state(now, &paths, &self.isolation, &self.settings);
        let around = Around {
            settings: &self.settings,
            isolation: &self.isolation,
            grid: self.grid,
        };
        Some(explain::explanation(now, state, &paths, around))
    }

    /// Leases one of a HalfOpen peer's trials.
    pub fn acquire_trial(&mut self, now: Time, peer: &PeerName) -> Result<Trial, TrialError> {
        if !self.peers.contains_key(peer) {
            return Err(TrialError::UnknownPeer);
        }
        let mut refused = TrialError::NotHalfOpen;
        for key in self.paths_of(peer) {
            let Some(path) = self.paths.get_mut(&key) else {
                continue;
            };
            match path.acquire_trial(now, self.next_trial, &self.settings) {
                Ok(trial) => {
                    self.next_trial += 1;
                    return Ok(trial);
                }
                Err(TrialError::Exhausted) => refused = TrialError::Exhausted,
                Err(_) => {}
            }
        }
        Err(refused)
    }

    /// Takes a trial back.
    pub fn finish_trial(
        &mut self,
        now: Time,
        peer: &PeerName,
        trial: u64,
        outcome: TrialOutcome,
    ) -> Result<(), TrialError> {
        if !self.peers.contains_key(peer) {
            return Err(TrialError::UnknownPeer);
        }
        let mut finished = Err(TrialError::UnknownTrial);
        for key in self.paths_of(peer) {
            if finished.is_ok() {
                break;
            }
            self.with_path(now, &key, |path, context| {
                let ended = path.finish_trial(now, trial, outcome, context);
                finished = ended.map(|_| ());
                ended.unwrap_or(Turn::None)
            });
        }
        finished
    }
}
