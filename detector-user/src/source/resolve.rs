//! Resolves peers' names into endpoints: at the start, and again at an interval.
//!
//! One task for each peer looks up the host and sends [`Signal::PeerConfigured`] when the set of
//! addresses has changed. A name that no longer resolves keeps its last known addresses: a dead
//! name server must not hide a dead peer.
//!
//! A peer that died may come back under another address: when it becomes Dead its name is looked up
//! at once ([`Names::look_up`]), and again after 1 s, 2 s, 4 s and so on.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    config::PeerSpec,
    core::{Endpoint, MAX_ADDRESSES, PeerName, Signal},
};

/// How long one lookup may take. glibc gives each name server 5 s (resolv.conf(5)).
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// The first wait between lookups of a peer that has no address yet, or whose lookup was requested:
/// the wait doubles up to the interval. No name is looked up more often.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The most lookups at the same time: each holds a thread while `getaddrinfo` blocks.
const CONCURRENT_LOOKUPS: usize = 16;

/// The most signals that wait for the driver before lookups have to wait.
const QUEUE: usize = 64;

/// Looks up a host's addresses.
pub trait Lookup: Send + Sync + 'static {
    fn lookup(&self, host: &str, port: u16)
    -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

/// The system's own resolver (`getaddrinfo(3)`: hosts file, DNS, whatever nsswitch says).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, port)).await?;
        Ok(found.map(|addr: SocketAddr| addr.ip()).collect())
    }
}

/// Keeps peers' names resolved. Dropping it ends its tasks.
#[derive(Debug)]
pub struct Resolver {
    signals: mpsc::Receiver<Signal>,
    names: Names,
    _tasks: JoinSet<()>,
}

/// A handle for looking up names before the interval ends. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<BTreeMap<PeerName, Arc<Notify>>>);

impl Names {
    /// Requests a lookup of this peer's name now, and then at intervals that begin short and grow.
    /// No name is looked up more than once a second. Never blocks.
    pub fn look_up(&self, peer: &PeerName) {
        if let Some(asked) = self.0.get(peer) {
            asked.notify_one();
        }
    }
}

impl Resolver {
    /// Starts resolving; must be called within a tokio runtime.
    pub fn start(peers: Vec<PeerSpec>, interval: Duration, lookup: impl Lookup) -> Self {
        let (sender, signals) = mpsc::channel(QUEUE);
        let lookup = Arc::new(lookup);
        let slots = Arc::new(Semaphore::new(CONCURRENT_LOOKUPS));
        let mut tasks = JoinSet::new();
        let mut names = BTreeMap::new();
        for peer in peers {
            let asked: &Arc<Notify> = names.entry(peer.name.clone()).or_default();
            let task = PeerTask {
                asked: Arc::clone(asked),
                peer,
                interval,
                lookup: Arc::clone(&lookup),
                slots: Arc::clone(&slots),
                signals: sender.clone(),
            };
            tasks.spawn(task.run());
        }
        Self {
            signals,
            names: Names(Arc::new(names)),
            _tasks: tasks,
        }
    }

    /// The handle for looking up these names before the interval ends.
    pub fn names(&self) -> Names {
        self.names.clone()
    }

    /// The next change of a peer's endpoints; `None` when there will be no more, because
    /// every peer's addresses are fixed. Cancel-safe: dropping the future loses nothing.
    ///
    /// The first signal of a peer comes at once, with no endpoints while its name has not
    /// been resolved, so that every configured peer is known to the core.
    pub async fn next(&mut self) -> Option<Signal> {
        self.signals.recv().await
    }
}

struct PeerTask<L> {
    peer: PeerSpec,
    /// Notified when a lookup is requested.
    asked: Arc<Notify>,
    interval: Duration,
    lookup: Arc<L>,
    slots: Arc<Semaphore>,
    signals: mpsc::Sender<Signal>,
}

impl<L: Lookup> PeerTask<L> {
    async fn run(self) {
        if !self.peer.addresses.is_empty() {
            let fixed = canonical(self.peer.addresses.iter().copied());
            self.send(&fixed).await;
            return;
        }
        // The peer is reported before the lookup, which may take long.
        let mut known = Vec::new();
        let mut open = self.send(&known).await;
        let mut failing = false;
        let mut wait = self.first_retry();
        while open {
            match self.resolve().await {
                Ok(addresses) => {
                    if std::mem::take(&mut failing) {
                        info!(peer = %self.peer.name, "the name resolves again");
                    }
                    if known != addresses {
                        open = self.send(&addresses).await;
                        known = addresses;
                        wait = self.interval;
                    }
                }
                // Logged once for each outage: further failures show nothing new.
                Err(error) if !std::mem::replace(&mut failing, true) => self.warn(&error, &known),
                Err(_) => {}
            }
            wait = match self.is_asked_within(wait).await {
                true => self.first_retry(),
                false => (wait * 2).min(self.interval),
            };
        }
    }

    fn first_retry(&self) -> Duration {
        FIRST_RETRY.min(self.interval)
    }

    /// Waits for this time, or until a lookup is requested; returns whether one was.
    async fn is_asked_within(&self, wait: Duration) -> bool {
        let asked = async {
            sleep(self.first_retry()).await;
            self.asked.notified().await;
        };
        timeout(wait, asked).await.is_ok()
    }

    async fn resolve(&self) -> io::Result<Vec<IpAddr>> {
        let PeerSpec { host, port, .. } = &self.peer;
        let _slot = self.slots.acquire().await.map_err(io::Error::other)?;
        let found = timeout(LOOKUP_LIMIT, self.lookup.lookup(host, *port)).await??;
        let addresses = canonical(found);
        if addresses.is_empty() {
            let message = "the name has no usable address";
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        Ok(addresses)
    }

    /// Whether the signal was taken; it is not when the resolver has been dropped.
    async fn send(&self, addresses: &[IpAddr]) -> bool {
        let endpoint = |&addr| Endpoint {
            addr,
            port: self.peer.port,
        };
        let signal = Signal::PeerConfigured {
            peer: self.peer.name.clone(),
            endpoints: addresses.iter().map(endpoint).collect(),
            discovered: false,
        };
        self.signals.send(signal).await.is_ok()
    }

    fn warn(&self, error: &io::Error, known: &[IpAddr]) {
        let PeerSpec { name, host, .. } = &self.peer;
        if known.is_empty() {
            warn!(peer = %name, host, %error, "the name does not resolve; the peer is unknown until it does");
        } else {
            warn!(peer = %name, host, %error, "the name no longer resolves; its last addresses are kept");
        }
    }
}

/// Addresses without v4-mapped forms, sorted, each once, bounded; addresses that cannot be a host's
/// are left out.
fn canonical(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let canonical: BTreeSet<IpAddr> = addresses
        .into_iter()
        .map(|address| address.to_canonical())
        .filter(|address| !address.is_unspecified() && !address.is_multicast())
        .collect();
    canonical.into_iter().take(MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use super::*;
    use crate::config::parse_peer_name;

    /// What the name server says.
    enum Answer {
        Addresses(&'static [&'static str]),
        Failure,
        /// Never comes.
        Silence,
    }
    use Answer::{Addresses, Failure, Silence};

    /// Gives its answers in turn, noting when each was asked for; then stays silent.
    #[derive(Clone)]
    struct Script {
        answers: Arc<Mutex<VecDeque<Answer>>>,
        asked: Arc<Mutex<Vec<u64>>>,
        start: tokio::time::Instant,
    }

    impl Script {
        fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
            Self {
                answers: Arc::new(Mutex::new(answers.into_iter().collect())),
                asked: Arc::default(),
                start: tokio::time::Instant::now(),
            }
        }

        fn asked_at_seconds(&self) -> Vec<u64> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl Lookup for Script {
        async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
            assert_eq!((host, port), ("node4", 9000));
            let at = self.start.elapsed().as_secs();
            self.asked.lock().unwrap().push(at);
            let answer = self.answers.lock().unwrap().pop_front();
            match answer {
                Some(Addresses(list)) => Ok(list.iter().map(|a| a.parse().unwrap()).collect()),
                Some(Failure) => Err(io::Error::other("no such name")),
                Some(Silence) | None => std::future::pending().await,
            }
        }
    }

    const INTERVAL: Duration = Duration::from_secs(30);

    fn peer() -> PeerSpec {
        parse_peer_name("http://node4:9000").unwrap()
    }

    fn start(script: &Script) -> Resolver {
        Resolver::start(vec![peer()], INTERVAL, script.clone())
    }

    async fn next_addresses(resolver: &mut Resolver) -> Vec<String> {
        match resolver.next().await {
            Some(Signal::PeerConfigured {
                peer,
                endpoints,
                discovered: false,
            }) => {
                assert_eq!(peer.as_str(), "http://node4:9000");
                assert!(endpoints.iter().all(|e| e.port == 9000));
                endpoints.iter().map(|e| e.addr.to_string()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_changed_set_is_told_and_it_is_canonical() {
        let script = Script::new([
            Addresses(&[
                "fd00::4",
                "::ffff:10.0.0.4",
                "10.0.0.4",
                "0.0.0.0",
                "224.0.0.1",
            ]),
            Addresses(&["10.0.0.4", "fd00::4"]),
            Addresses(&["10.0.0.5"]),
        ]);
        let mut resolver = start(&script);
        assert!(next_addresses(&mut resolver).await.is_empty());
        assert_eq!(next_addresses(&mut resolver).await, ["10.0.0.4", "fd00::4"]);
        assert_eq!(next_addresses(&mut resolver).await, ["10.0.0.5"]);
        assert_eq!(script.asked_at_seconds(), [0, 30, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_addresses_are_kept_when_a_name_stops_resolving() {
        let script = Script::new([
            Addresses(&["10.0.0.4"]),
            Failure,
            Silence,
            Addresses(&[]),
            Addresses(&["10.0.0.4"]),
            Addresses(&["10.0.0.9"]),
        ]);
        let mut resolver = start(&script);
        assert!(next_addresses(&mut resolver).await.is_empty());
        assert_eq!(next_addresses(&mut resolver).await, ["10.0.0.4"]);
        assert_eq!(next_addresses(&mut resolver).await, ["10.0.0.9"]);
        // The silent lookup was given up after 5 s.
        assert_eq!(script.asked_at_seconds(), [0, 30, 60, 95, 125, 155]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_without_addresses_is_told_once_and_retried_sooner() {
        let failures = std::iter::repeat_with(|| Failure).take(8);
        let script = Script::new(failures.chain([Addresses(&["10.0.0.4"])]));
        let mut resolver = start(&script);
        assert!(next_addresses(&mut resolver).await.is_empty());
        assert_eq!(next_addresses(&mut resolver).await, ["10.0.0.4"]);
        assert_eq!(script.asked_at_seconds(), [0, 1, 3, 7, 15, 31, 61, 91, 121]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_asked_for_is_looked_up_at_once_and_again_soon() {
        let same = std::iter::repeat_with(|| Addresses(&["10.0.0.4"])).take(5);
        let script = Script::new(same.chain([Addresses(&["10.0.0.5"])]));
        let mut resolver = start(&script);
        assert!(next_addresses(&mut resolver).await.is_empty());
        assert_eq!(next_addresses(&mut resolver).await, ["10.0.0.4"]);
        sleep(Duration::from_secs(40)).await;
        let other = parse_peer_name("http://node5:9000").unwrap();
        resolver.names().look_up(&other.name);
        resolver.names().look_up(&peer().name);
        assert_eq!(next_addresses(&mut resolver).await, ["10.0.0.5"]);
        // It has moved: from now on it is looked up as usual.
        sleep(INTERVAL * 2).await;
        assert_eq!(script.asked_at_seconds(), [0, 30, 40, 41, 43, 47, 77]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_name_is_looked_up_more_than_once_a_second() {
        let same = std::iter::repeat_with(|| Addresses(&["10.0.0.4"])).take(100);
        let script = Script::new(same);
        let resolver = start(&script);
        for _ in 0..50 {
            resolver.names().look_up(&peer().name);
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(script.asked_at_seconds(), [0, 1, 2, 3, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn fixed_addresses_are_never_looked_up() {
        let script = Script::new([]);
        let mut peer = parse_peer_name("http://node4:9000").unwrap();
        peer.addresses = vec!["::ffff:10.0.0.4".parse().unwrap()];
        let mut resolver = Resolver::start(vec![peer], INTERVAL, script.clone());
        assert_eq!(next_addresses(&mut resolver).await, ["10.0.0.4"]);
        assert_eq!(resolver.next().await, None);
        assert!(script.asked_at_seconds().is_empty());
    }

    #[test]
    fn addresses_are_bounded() {
        let many = (0..=255).map(|i| IpAddr::from([10, 0, 0, i]));
        assert_eq!(canonical(many).len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn the_system_resolver_finds_localhost() {
        let found = SystemLookup.lookup("localhost", 1).await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
    }
}
