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
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    config::PeerSpec,
    core::{Endpoint, MAX_ADDRESSES, PeerName, Signal},
    signals::SignalSender,
};

/// How long one lookup may take. glibc gives each name server 5 s (resolv.conf(5)).
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// The first wait between lookups of a peer that has no address yet, or whose lookup was requested:
/// the wait doubles up to the interval. No name is looked up more often.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The most lookups at the same time: each holds a thread while `getaddrinfo` blocks.
const CONCURRENT_LOOKUPS: usize = 16;

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
    ///
    /// The first signal of a peer is sent at once, with no endpoints while its name has not been
    /// resolved, so that every configured peer is known to the core.
    pub fn start(
        peers: Vec<PeerSpec>,
        interval: Duration,
        lookup: impl Lookup,
        signals: &SignalSender,
    ) -> Self {
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
                signals: signals.clone(),
            };
            tasks.spawn(task.run());
        }
        Self {
            names: Names(Arc::new(names)),
            _tasks: tasks,
        }
    }

    /// The handle for looking up these names before the interval ends.
    pub fn names(&self) -> Names {
        self.names.clone()
    }
}

struct PeerTask<L> {
    peer: PeerSpec,
    /// Notified when a lookup is requested.
    asked: Arc<Notify>,
    interval: Duration,
    lookup: Arc<L>,
    slots: Arc<Semaphore>,
    signals: SignalSender,
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
mod tests;
