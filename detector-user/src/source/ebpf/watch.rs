//! The set of watched endpoints. A change reaches the kernel's map completely or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aya::maps::MapError;
use detector_ebpf::{WatchKey, watch_flag};
use thiserror::Error;
use zerocopy::IntoBytes;

use super::decode::watch_key;
use crate::{
    model::{Endpoint, PeerName},
    source::Watched,
};

/// A key of the `WATCHED` map as bytes: aya's maps take plain arrays.
pub type KeyBytes = [u8; size_of::<WatchKey>()];

/// Why the set of watched endpoints was not changed.
#[derive(Debug, Error)]
pub enum WatchError {
    #[error(
        "{wanted} endpoints are more than the kernel's map holds ({most}), which follows from \
         max_peers"
    )]
    TooMany { wanted: usize, most: usize },
    #[error("peer {0} is not watched")]
    Unknown(PeerName),
    #[error("cannot change the map of watched endpoints: {0}")]
    Map(#[from] MapError),
}

/// The map of keys: the kernel's, or a fake for tests.
pub trait Keys {
    /// Sets a key's flags, or removes it.
    fn put(&mut self, key: &KeyBytes, flags: Option<u32>) -> Result<(), MapError>;
}

/// What is watched, and the entries of the map for it.
#[derive(Debug)]
pub struct WatchSet<K> {
    keys: K,
    /// The most keys that the map holds.
    most: usize,
    peers: Watched,
    /// Peers may share an endpoint: its key gets all the flags that any of them needs.
    sharing: Sharing,
    reporting: BTreeSet<Path>,
    in_force: BTreeMap<KeyBytes, u32>,
}

/// An address of a peer.
type Path = (PeerName, IpAddr);

type Sharing = BTreeMap<KeyBytes, BTreeSet<Path>>;

/// A key with its new flags; `None` removes the key.
type Change = (KeyBytes, Option<u32>);

impl<K: Keys> WatchSet<K> {
    pub const fn new(keys: K, most: usize) -> Self {
        Self {
            keys,
            most,
            peers: Watched::new(),
            sharing: Sharing::new(),
            reporting: BTreeSet::new(),
            in_force: BTreeMap::new(),
        }
    }

    /// Watches these peers and no others. Returns whether anything is no longer watched.
    pub fn watch(&mut self, peers: &Watched) -> Result<bool, WatchError> {
        let sharing = sharing(peers);
        if sharing.len() > self.most {
            return Err(WatchError::TooMany {
                wanted: sharing.len(),
                most: self.most,
            });
        }
        let mut reporting = self.reporting.clone();
        reporting.retain(|(peer, _)| peers.contains_key(peer));
        // Removals first, so that a full map has room.
        let gone = |key: &&KeyBytes| !sharing.contains_key(*key);
        let gone = self.in_force.keys().filter(gone);
        let mut changes: Vec<Change> = gone.map(|key| (*key, None)).collect();
        let is_removal = !changes.is_empty();
        let wanted = sharing.iter();
        changes.extend(wanted.map(|(key, paths)| (*key, Some(flags(paths, &reporting)))));
        self.apply(changes)?;
        self.peers = peers.clone();
        self.sharing = sharing;
        self.reporting = reporting;
        Ok(is_removal)
    }

    /// Sets whether successful handshakes with this address of a peer are reported.
    pub fn report_established(
        &mut self,
        peer: &PeerName,
        addr: IpAddr,
        on: bool,
    ) -> Result<(), WatchError> {
        let Some(endpoints) = self.peers.get(peer) else {
            return match on {
                true => Err(WatchError::Unknown(peer.clone())),
                false => Ok(()),
            };
        };
        let here = endpoints.iter().filter(|endpoint| endpoint.addr == addr);
        let keys: Vec<_> = here.map(key).collect();
        let path = (peer.clone(), addr);
        let was = self.reporting.contains(&path);
        self.set_reporting(&path, on);
        let wanted = |key| (key, Some(flags(&self.sharing[&key], &self.reporting)));
        let changes = keys.into_iter().map(wanted).collect();
        self.apply(changes)
            .inspect_err(|_| self.set_reporting(&path, was))
    }

    /// Whether a flow with these ends is watched, as the kernel side decides it.
    pub fn covers(&self, remote_addr: [u8; 16], ports: [u16; 2]) -> bool {
        [ports[0], ports[1], 0].into_iter().any(|port| {
            let key = WatchKey {
                addr: remote_addr,
                port,
                _pad: 0,
            };
            self.in_force.contains_key(&bytes(&key))
        })
    }

    fn set_reporting(&mut self, path: &Path, on: bool) {
        if on {
            self.reporting.insert(path.clone());
        } else {
            self.reporting.remove(path);
        }
    }

    /// Makes these changes in the map; after an error the map is as before.
    fn apply(&mut self, mut changes: Vec<Change>) -> Result<(), WatchError> {
        changes.retain(|(key, flags)| self.in_force.get(key) != flags.as_ref());
        for (done, (key, flags)) in changes.iter().enumerate() {
            if let Err(error) = self.keys.put(key, *flags) {
                self.undo(&changes[..done]);
                return Err(error.into());
            }
        }
        for (key, flags) in changes {
            match flags {
                Some(flags) => self.in_force.insert(key, flags),
                None => self.in_force.remove(&key),
            };
        }
        Ok(())
    }

    fn undo(&mut self, changes: &[Change]) {
        for (key, _) in changes.iter().rev() {
            if let Err(error) = self.keys.put(key, self.in_force.get(key).copied()) {
                tracing::error!("the map of watched endpoints is not what it should be: {error}");
            }
        }
    }
}

fn sharing(peers: &Watched) -> Sharing {
    let mut sharing = Sharing::new();
    for (peer, endpoints) in peers {
        for endpoint in endpoints {
            let paths = sharing.entry(key(endpoint)).or_default();
            paths.insert((peer.clone(), endpoint.addr));
        }
    }
    sharing
}

fn flags(paths: &BTreeSet<Path>, reporting: &BTreeSet<Path>) -> u32 {
    match paths.is_disjoint(reporting) {
        true => 0,
        false => watch_flag::REPORT_ESTABLISHED,
    }
}

fn key(endpoint: &Endpoint) -> KeyBytes {
    bytes(&watch_key(endpoint))
}

fn bytes(key: &WatchKey) -> KeyBytes {
    let mut bytes = KeyBytes::default();
    bytes.copy_from_slice(key.as_bytes());
    bytes
}

#[cfg(test)]
mod tests;
