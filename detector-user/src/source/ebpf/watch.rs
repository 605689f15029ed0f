//! The set of watched endpoints. A change reaches the kernel's map completely or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aya::maps::{HashMap, MapData, MapError};
use detector_ebpf::{WatchKey, watch_flag};
use thiserror::Error;
use zerocopy::IntoBytes;

use super::decode::watch_key;
use crate::{
    core::{Endpoint, PeerName},
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

impl Keys for HashMap<MapData, KeyBytes, u32> {
    fn put(&mut self, key: &KeyBytes, flags: Option<u32>) -> Result<(), MapError> {
        match &flags {
            Some(flags) => self.insert(key, flags, 0),
            None => self.remove(key),
        }
    }
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
mod tests {
    use super::*;

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
        let keys = two().into_values().flatten().map(|endpoint| key(&endpoint));
        assert_eq!(set.keys.map, keys.map(|key| (key, 0)).collect());
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

    fn one_addr() -> IpAddr {
        one().values().flatten().next().unwrap().addr
    }

    #[test]
    fn reporting_sets_the_flag_and_outlives_a_change() {
        let mut set = WatchSet::new(Fake::default(), MOST);
        set.watch(&one()).unwrap();
        set.report_established(&name("http://a:9000"), one_addr(), true)
            .unwrap();
        let flags = |set: &WatchSet<Fake>| set.keys.map.values().copied().collect::<Vec<_>>();
        assert_eq!(flags(&set), [watch_flag::REPORT_ESTABLISHED]);
        set.watch(&one()).unwrap();
        assert_eq!(flags(&set), [watch_flag::REPORT_ESTABLISHED]);
        set.report_established(&name("http://a:9000"), one_addr(), false)
            .unwrap();
        assert_eq!(flags(&set), [0]);
        let error = set.report_established(&name("http://x:9000"), one_addr(), true);
        assert!(matches!(error, Err(WatchError::Unknown(_))));
    }

    #[test]
    fn a_shared_endpoint_is_reported_while_any_of_its_peers_wants_it() {
        let mut set = WatchSet::new(Fake::default(), MOST);
        let endpoint = "10.0.0.1:9000";
        set.watch(&peers(&[
            ("http://a:9000", endpoint),
            ("http://b:9000", endpoint),
        ]))
        .unwrap();
        for (peer, on, flags) in [
            ("http://a:9000", true, watch_flag::REPORT_ESTABLISHED),
            ("http://b:9000", true, watch_flag::REPORT_ESTABLISHED),
            ("http://a:9000", false, watch_flag::REPORT_ESTABLISHED),
            ("http://b:9000", false, 0),
        ] {
            set.report_established(&name(peer), one_addr(), on).unwrap();
            assert_eq!(set.keys.map.values().copied().collect::<Vec<_>>(), [flags]);
        }
    }

    #[test]
    fn a_refused_report_changes_nothing() {
        let mut set = WatchSet::new(Fake::default(), MOST);
        set.watch(&one()).unwrap();
        set.keys.refuse_in = Some(0);
        let peer = name("http://a:9000");
        set.report_established(&peer, one_addr(), true).unwrap_err();
        assert_eq!((set.in_force.len(), set.reporting.len()), (1, 0));
        set.report_established(&peer, one_addr(), true).unwrap();
        assert_eq!(set.in_force, set.keys.map);
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
