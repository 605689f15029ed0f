//! Changes of the set, taken and refused by a map that is made up.

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
