//! Tunes connections: which ones, with which values, and which have been tuned.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use detector_ebpf::{MAX_TUNED, TuneConfig, TunedSocket, WatchKey, tune_counter, tuned_option};
use zerocopy::{FromBytes, IntoBytes};

use super::{ProtectError, kept::Kept, load::TuneProgram};
use crate::{
    clock,
    config::Tuning,
    model::{Endpoint, PeerName, Time},
};

type KeyBytes = [u8; size_of::<WatchKey>()];
type SocketBytes = [u8; size_of::<TunedSocket>()];

/// The most sockets that are taken from the ring in one call.
const MAX_BATCH: usize = 1024;

/// The peer of each endpoint.
#[derive(Debug, Default)]
struct Names(BTreeMap<SocketAddr, PeerName>);

impl Names {
    fn of(peers: &BTreeMap<PeerName, Vec<Endpoint>>) -> Self {
        let mut names = BTreeMap::new();
        for (name, endpoints) in peers {
            for endpoint in endpoints {
                let addr = SocketAddr::new(endpoint.addr, endpoint.port);
                names.insert(addr, name.clone());
            }
        }
        Self(names)
    }

    /// The peer of a connection. The service's port may be at either end.
    fn peer(&self, local: SocketAddr, remote: SocketAddr) -> Option<&PeerName> {
        let dialled_us = SocketAddr::new(remote.ip(), local.port());
        self.0.get(&remote).or_else(|| self.0.get(&dialled_us))
    }
}

/// A socket that was tuned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuned {
    pub at: Time,
    pub cookie: u64,
    /// `None` if its endpoint no longer belongs to a peer.
    pub peer: Option<PeerName>,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The options that the kernel accepted, in the words of the configuration.
    pub options: Vec<&'static str>,
}

impl Tuned {
    fn read(bytes: &[u8], names: &Names) -> Option<Self> {
        let socket = TunedSocket::read_from_bytes(bytes).ok()?;
        let addr = |octets| Ipv6Addr::from(octets).to_canonical();
        let words = [
            (tuned_option::RTO_MIN, "rto_min"),
            (tuned_option::DELAYED_ACK_MAX, "delayed_ack_max"),
            (tuned_option::KEEPALIVE, "keepalive"),
            (tuned_option::USER_TIMEOUT, "user_timeout"),
        ];
        let options = words
            .iter()
            .filter(|(bit, _)| socket.options & bit != 0)
            .map(|(_, word)| *word);
        let local = SocketAddr::new(addr(socket.local_addr), socket.local_port);
        let remote = SocketAddr::new(addr(socket.remote_addr), socket.remote_port);
        Some(Self {
            at: Time::from_nanos(socket.at_ns),
            cookie: socket.cookie,
            peer: names.peer(local, remote).cloned(),
            local,
            remote,
            options: options.collect(),
        })
    }
}

/// The open sockets that are tuned, as the kernel side remembers them; any thread may read them.
///
/// A socket is forgotten when it closes. If a socket outlives the cgroup of its service, no program
/// sees it close; it stays listed until others need its place.
#[derive(Clone)]
pub struct TunedSockets {
    sockets: Arc<HashMap<MapData, u64, SocketBytes>>,
    names: Arc<Names>,
}

impl fmt::Debug for TunedSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunedSockets").finish_non_exhaustive()
    }
}

impl TunedSockets {
    /// The sockets, oldest first. It reads each from the kernel, which takes milliseconds for
    /// thousands.
    pub fn list(&self) -> Vec<Tuned> {
        // If an entry is deleted during the iteration, the kernel starts again from the beginning.
        let each_at_most_twice = 2 * MAX_TUNED as usize;
        let sockets = self.sockets.iter().take(each_at_most_twice);
        let by_cookie: BTreeMap<_, _> = sockets
            .filter_map(Result::ok)
            .filter_map(|(cookie, bytes)| Some((cookie, Tuned::read(&bytes, &self.names)?)))
            .collect();
        let mut list: Vec<_> = by_cookie.into_values().collect();
        list.sort_by_key(|socket| socket.at);
        list
    }

    fn count(&self) -> usize {
        self.sockets.keys().filter(Result::is_ok).count()
    }
}

/// Keeps the maps of the sockops program up to date, and reads them.
pub struct Tuner {
    watched: Kept<KeyBytes, HashMap<MapData, KeyBytes, u32>>,
    /// The capacity of the map `WATCHED`.
    most: usize,
    tuned: TunedSockets,
    counters: PerCpuArray<MapData, u64>,
    ring: RingBuf<MapData>,
    /// The counters, and the number of open tuned sockets when the counters last changed.
    counted: ([u64; 2], usize),
}

impl fmt::Debug for Tuner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tuner")
            .field("watched", &self.watched.len())
            .finish_non_exhaustive()
    }
}

impl Tuner {
    /// Takes the maps of the loaded program, which has room for this many endpoints.
    pub fn new(program: &mut TuneProgram, most: usize) -> Result<Self, ProtectError> {
        Ok(Self {
            watched: Kept::new(program.0.take_map("WATCHED")?, "tuned endpoints"),
            most,
            tuned: TunedSockets {
                sockets: Arc::new(program.0.take_map("TUNED")?),
                names: Arc::default(),
            },
            counters: program.0.take_map("TUNE_COUNTERS")?,
            ring: program.0.take_map("TUNED_EVENTS")?,
            counted: ([0; 2], 0),
        })
    }

    /// From now on tunes new connections with these endpoints, and no others.
    pub fn watch(&mut self, peers: &BTreeMap<PeerName, Vec<Endpoint>>) {
        self.tuned.names = Arc::new(Names::of(peers));
        let endpoints = peers.values().flatten();
        let keys: BTreeSet<_> = endpoints.map(key).collect();
        let wanted = keys.into_iter().take(self.most).map(|key| (key, 0));
        self.watched.set_all(&wanted.collect());
    }

    /// Retries what the map refused.
    pub fn chores(&mut self) {
        self.watched.retry();
    }

    /// How many open sockets are tuned; the map's capacity is the maximum.
    pub fn count(&mut self) -> usize {
        let counters = [tune_counter::TUNED, tune_counter::CLOSED].map(|index| self.counter(index));
        if counters != self.counted.0 {
            // Entries that make room for others are in no counter, so the map is read.
            self.counted = (counters, self.tuned.count());
        }
        self.counted.1
    }

    /// How many sockets were not announced because the ring was full.
    pub fn untold(&self) -> u64 {
        self.counter(tune_counter::RING_DROPS)
    }

    fn counter(&self, index: u32) -> u64 {
        let each = self.counters.get(&index, 0);
        each.map_or(0, |each| each.iter().sum())
    }

    /// The open sockets that are tuned.
    pub fn tuned(&self) -> &TunedSockets {
        &self.tuned
    }

    /// The sockets that were tuned since the last call, if the program announces them.
    pub fn drain(&mut self) -> Vec<Tuned> {
        let mut sockets = Vec::new();
        for _ in 0..MAX_BATCH {
            let Some(item) = self.ring.next() else { break };
            sockets.extend(Tuned::read(&item, &self.tuned.names));
        }
        sockets
    }
}

/// The program's configuration. The kernel accepts no time below two jiffies (`TCP_TIMEOUT_MIN` in
/// include/net/tcp.h), so smaller values are raised to that.
pub fn tune_config(tuning: &Tuning, announce: bool) -> TuneConfig {
    let least = 2 * clock::jiffy();
    let micros = |duration: Duration| u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    TuneConfig {
        rto_min_us: tuning
            .rto_min
            .map_or(0, |rto_min| micros(rto_min.max(least))),
        // From 6.7 on, the kernel itself delays ACKs for less than its own RTO min
        // (`tcp_delack_max` in net/ipv4/tcp_output.c); older kernels delay them for 40 ms and more.
        delayed_ack_max_us: tuning
            .rto_min
            .map_or(0, |rto_min| micros((rto_min / 2).max(least))),
        keepalive_idle_s: tuning.keepalive_idle.map_or(0, seconds),
        keepalive_interval_s: seconds(tuning.keepalive_interval),
        keepalive_count: tuning.keepalive_count,
        user_timeout_ms: tuning.user_timeout.map_or(0, millis),
        announce: u32::from(announce),
    }
}

fn key(endpoint: &Endpoint) -> KeyBytes {
    let mut bytes = KeyBytes::default();
    bytes.copy_from_slice(WatchKey::of(endpoint.addr, endpoint.port).as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use detector_ebpf::canonical;

    use super::*;

    #[test]
    fn what_is_off_is_not_set() {
        let off = Tuning {
            rto_min: None,
            keepalive_idle: None,
            ..Tuning::default()
        };
        let config = tune_config(&off, false);
        assert_eq!(config.rto_min_us, 0);
        assert_eq!(config.delayed_ack_max_us, 0);
        assert_eq!(config.keepalive_idle_s, 0);
        assert_eq!(config.user_timeout_ms, 0);
    }

    #[test]
    fn no_time_is_below_what_the_kernel_takes() {
        let tuning = |millis| Tuning {
            rto_min: Some(Duration::from_millis(millis)),
            ..Tuning::default()
        };
        let least = u32::try_from(2 * clock::jiffy().as_micros()).unwrap();
        let shortest = tune_config(&tuning(2), true);
        assert_eq!(shortest.rto_min_us, least.max(2_000));
        assert_eq!(shortest.delayed_ack_max_us, least.max(1_000));
        let longest = tune_config(&tuning(200), true);
        assert_eq!(longest.rto_min_us, 200_000);
        assert_eq!(longest.delayed_ack_max_us, 100_000);
    }

    #[test]
    fn a_socket_is_read_as_the_kernel_side_wrote_it() {
        let socket = TunedSocket {
            at_ns: 7,
            cookie: 8,
            local_addr: canonical("10.0.0.1".parse().unwrap()),
            remote_addr: canonical("fd00::2".parse().unwrap()),
            local_port: 40_000,
            remote_port: 9000,
            options: tuned_option::RTO_MIN | tuned_option::KEEPALIVE,
        };
        let names = Names::default();
        let read = Tuned::read(socket.as_bytes(), &names).unwrap();
        assert_eq!(read.at, Time::from_nanos(7));
        assert_eq!(read.local.to_string(), "10.0.0.1:40000");
        assert_eq!(read.remote.to_string(), "[fd00::2]:9000");
        assert_eq!(read.options, ["rto_min", "keepalive"]);
        assert_eq!(read.peer, None);
        assert_eq!(Tuned::read(&[0; 3], &names), None);
    }

    #[test]
    fn a_socket_has_its_peer_whoever_dialled() {
        let name = PeerName::from_canonical("http://b:9000");
        let addr = "10.0.0.2".parse().unwrap();
        let peers = BTreeMap::from([(name.clone(), vec![Endpoint { addr, port: 9000 }])]);
        let names = Names::of(&peers);
        let peer = |local: &str, remote: &str| {
            names
                .peer(local.parse().unwrap(), remote.parse().unwrap())
                .cloned()
        };
        assert_eq!(peer("10.0.0.1:40000", "10.0.0.2:9000"), Some(name.clone()));
        assert_eq!(peer("10.0.0.1:9000", "10.0.0.2:40000"), Some(name));
        assert_eq!(peer("10.0.0.1:40000", "10.0.0.2:40000"), None);
        assert_eq!(peer("10.0.0.1:9000", "10.0.0.3:9000"), None);
    }
}
