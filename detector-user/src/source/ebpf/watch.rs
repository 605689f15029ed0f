//! The set of watched endpoints, and how a change of it reaches the kernel's map whole or
//! not at all.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{HashMap, MapData, MapError};
use detector_ebpf::{WatchKey, watch_flag};
use thiserror::Error;
use zerocopy::IntoBytes;

use super::decode::watch_key;
use crate::{core::PeerName, source::Watched};

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

/// Where the keys go: the kernel's map, or a fake.
pub trait Keys {
    /// Sets a key's flags, or removes it.
    fn put(&mut self, key: &KeyBytes, flags: Option<u32>) -> Result<(), MapError>;
}

impl Keys for HashMap<MapData, KeyBytes, u32> {
    fn put(&mut self, key: &KeyBytes, flags: Option<u32>) -> Result<(), MapError> {
        match &flags {
            Some(flags) => self.insert(key, flags, 0),
            None => self.remove(key),
        }
    }
}

/// What is watched, and what the map holds for it.
#[derive(Debug)]
pub struct WatchSet<K> {
    keys: K,
    /// How many the map holds.
    most: usize,
    peers: Watched,
    reporting: BTreeSet<PeerName>,
    in_force: BTreeMap<KeyBytes, u32>,
}

impl<K: Keys> WatchSet<K> {
    pub const fn new(keys: K, most: usize) -> Self {
        Self {
            keys,
            most,
            peers: Watched::new(),
            reporting: BTreeSet::new(),
            in_force: BTreeMap::new(),
        }
    }

    /// Watches these peers and no others. Whether anything is watched no more.
    pub fn watch(&mut self, peers: &Watched) -> Result<bool, WatchError> {
        let mut reporting = self.reporting.clone();
        reporting.retain(|peer| peers.contains_key(peer));
        let removed = self.change(desired(peers, &reporting))?;
        self.peers = peers.clone();
        self.reporting = reporting;
        Ok(removed)
    }

    /// Whether handshakes with this peer that succeed are reported.
    pub fn report_established(&mut self, peer: &PeerName, on: bool) -> Result<(), WatchError> {
        let mut reporting = self.reporting.clone();
        if on {
            if !self.peers.contains_key(peer) {
                return Err(WatchError::Unknown(peer.clone()));
            }
            reporting.insert(peer.clone());
        } else {
            reporting.remove(peer);
        }
        self.change(desired(&self.peers, &reporting))?;
        self.reporting = reporting;
        Ok(())
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

    /// Brings the map to `desired`; after an error it is as it was.
    fn change(&mut self, desired: BTreeMap<KeyBytes, u32>) -> Result<bool, WatchError> {
        if desired.len() > self.most {
            return Err(WatchError::TooMany {
                wanted: desired.len(),
                most: self.most,
            });
        }
        // Removals first, so that a full map has room.
        let removed: Vec<_> = self
            .in_force
            .keys()
            .filter(|key| !desired.contains_key(*key))
            .map(|key| (*key, None))
            .collect();
        let set = desired
            .iter()
            .filter(|(key, flags)| self.in_force.get(*key) != Some(*flags))
            .map(|(key, flags)| (*key, Some(*flags)));
        let is_removal = !removed.is_empty();
        let changes: Vec<_> = removed.into_iter().chain(set).collect();

        for (done, (key, flags)) in changes.iter().enumerate() {
            if let Err(error) = self.keys.put(key, *flags) {
                self.undo(&changes[..done]);
                return Err(error.into());
            }
        }
        self.in_force = desired;
        Ok(is_removal)
    }

    fn undo(&mut self, changes: &[(KeyBytes, Option<u32>)]) {
        for (key, _) in changes.iter().rev() {
            if let Err(error) = self.keys.put(key, self.in_force.get(key).copied()) {
                tracing::error!("the map of watched endpoints is not what it should be: {error}");
            }
        }
    }
}

fn desired(peers: &Watched, reporting: &BTreeSet<PeerName>) -> BTreeMap<KeyBytes, u32> {
    let mut desired = BTreeMap::new();
    for (peer, endpoints) in peers {
        let flags = if reporting.contains(peer) {
            watch_flag::REPORT_ESTABLISHED
        } else {
            0
        };
        for endpoint in endpoints {
            // Peers may share an endpoint: the one that wants more gets it.
            *desired.entry(bytes(&watch_key(endpoint))).or_insert(0) |= flags;
        }
    }
    desired
}

fn bytes(key: &WatchKey) -> KeyBytes {
    let mut bytes = KeyBytes::default();
    bytes.copy_from_slice(key.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Endpoint;

    /// A map that refuses one of the calls to come.
    #[derive(Debug, Default)]
    struct Fake {
        map: BTreeMap<KeyBytes, u32>,
        refuse_in: Option<usize>,
    }

    impl Keys for Fake {
        fn put(&mut self, key: &KeyBytes, flags: Option<u32>) -> Result<(), MapError> {
            self.refuse_in = match self.refuse_in {
                Some(0) => {
                    self.refuse_in = None;
                    return Err(MapError::KeyNotFound);
                }
                left => left.map(|left| left - 1),
            };
            match flags {
                Some(flags) => self.map.insert(*key, flags),
                None => self.map.remove(key),
            };
            Ok(())
        }
    }

    const MOST: usize = 8;

    fn name(text: &str) -> PeerName {
        PeerName::from_canonical(text)
    }

    fn peers(list: &[(&str, &str)]) -> Watched {
        let mut peers = Watched::new();
        for (peer, endpoint) in list {
            let endpoint: std::net::SocketAddr = endpoint.parse().unwrap();
            peers.entry(name(peer)).or_default().push(Endpoint {
                addr: endpoint.ip(),
                port: endpoint.port(),
            });
        }
        peers
    }

    fn one() -> Watched {
        peers(&[("http://a:9000", "10.0.0.1:9000")])
    }

    fn two() -> Watched {
        peers(&[
            ("http://b:9000", "10.0.0.2:9000"),
            ("http://c:9000", "[2001:db8::3]:9000"),
        ])
    }

    #[test]
    fn the_map_follows_the_set() {
        let mut set = WatchSet::new(Fake::default(), MOST);
        assert!(!set.watch(&one()).unwrap());
        assert!(set.watch(&two()).unwrap());
        assert_eq!(set.keys.map, desired(&two(), &BTreeSet::new()));
        assert_eq!(set.keys.map.len(), 2);
    }

    #[test]
    fn a_failure_leaves_the_previous_set_in_force() {
        for refused in 0..3 {
            let mut set = WatchSet::new(Fake::default(), MOST);
            set.watch(&one()).unwrap();
            let before = set.keys.map.clone();
            set.keys.refuse_in = Some(refused);
            set.watch(&two()).unwrap_err();
            assert_eq!(set.keys.map, before, "refused call {refused}");
            assert_eq!(set.in_force, before);
            assert_eq!(set.peers, one());
        }
    }

    #[test]
    fn too_many_endpoints_change_nothing() {
        let mut set = WatchSet::new(Fake::default(), MOST);
        set.watch(&one()).unwrap();
        let mut many = one();
        many.entry(name("http://a:9000"))
            .or_default()
            .extend((0..=MOST as u32).map(|host| Endpoint {
                addr: std::net::Ipv4Addr::from_bits(host).into(),
                port: 1,
            }));
        let error = set.watch(&many).unwrap_err();
        assert!(matches!(error, WatchError::TooMany { .. }), "{error}");
        assert_eq!(set.keys.map.len(), 1);
    }

    #[test]
    fn reporting_sets_the_flag_and_outlives_a_change() {
        let mut set = WatchSet::new(Fake::default(), MOST);
        set.watch(&one()).unwrap();
        set.report_established(&name("http://a:9000"), true)
            .unwrap();
        let flags = |set: &WatchSet<Fake>| set.keys.map.values().copied().collect::<Vec<_>>();
        assert_eq!(flags(&set), [watch_flag::REPORT_ESTABLISHED]);
        set.watch(&one()).unwrap();
        assert_eq!(flags(&set), [watch_flag::REPORT_ESTABLISHED]);
        set.report_established(&name("http://a:9000"), false)
            .unwrap();
        assert_eq!(flags(&set), [0]);
        let error = set.report_established(&name("http://x:9000"), true);
        assert!(matches!(error, Err(WatchError::Unknown(_))));
    }

    #[test]
    fn either_port_makes_a_flow_the_peers() {
        let mut set = WatchSet::new(Fake::default(), MOST);
        set.watch(&one()).unwrap();
        let peer = watch_key(&one()[&name("http://a:9000")][0]).addr;
        assert!(set.covers(peer, [9000, 40_000]));
        assert!(set.covers(peer, [40_000, 9000]));
        assert!(!set.covers(peer, [40_000, 40_001]));
        assert!(!set.covers([1; 16], [9000, 9000]));
    }
}
