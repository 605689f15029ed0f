//! The cache of connections.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    Connection, ConnectionError,
    dial::{BoxedError, Dial, Reaches},
    entries::{Entries, Entry, Outcome, Watcher},
};
use crate::{Guard, Peer, PeerStates};

/// The bounds of a [`ConnectionCache`].
///
/// ```
/// use std::time::Duration;
///
/// use detector_api::Limits;
///
/// let limits = Limits { idle: Duration::from_secs(60), ..Limits::default() };
/// assert_eq!(limits.connections, 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most connections and running dials that are kept; 1,024 by default. One more connection
    /// replaces the one that was requested the longest ago; calls on that one continue. If all
    /// entries are dials, one more is refused with [`ConnectionError::Full`].
    pub connections: usize,
    /// A connection that is not requested for this time is dropped, up to half of the time later;
    /// ten minutes by default.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            idle: Duration::from_secs(600),
        }
    }
}

/// Connections by key; a peer may have several keys.
///
/// A key is any name that the caller gives a connection. It begins with the peer's name in any
/// spelling; the part after a NUL is up to the caller. So these three keys name three connections
/// of one peer: `http://node4:9000`, `http://node4:9000\0bulk\00`,
/// `http://node4:9000/data/rustfs1`.
///
/// - **Closed**: the first caller of a key dials, and all others wait for the result of this dial.
/// - **Open**: nothing is dialled. The peer's connections are dropped, whatever their key. Running
///   dials end, and so does everything that is [`run`](Connection::run) on a connection.
/// - **HalfOpen**: a dial needs one of the bounded number of trials, and reports its outcome.
///
/// A peer's return need not be reported: a dial that succeeds shows it. Without a daemon, every
/// peer is Closed for ever, and this is a plain cache.
///
/// Clones share their connections.
///
/// ```
/// use detector_api::{ConnectionCache, PeerStates};
/// use tonic::transport::{Channel, Endpoint, Error};
///
/// async fn dial(url: String) -> Result<Channel, Error> {
///     Endpoint::from_shared(url)?.connect().await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let states = PeerStates::unwatched(); // watch.states()
/// let cache: ConnectionCache<Channel> = ConnectionCache::new(states);
/// let url = "http://127.0.0.1:1".to_owned(); // where nobody listens
/// let error = cache.get_or_connect(&url.clone(), || dial(url)).await.unwrap_err();
/// assert!(error.dial_error::<Error>().is_some());
/// # }
/// ```
pub struct ConnectionCache<C> {
    shared: Arc<Shared<C>>,
}

pub(super) struct Shared<C> {
    states: PeerStates,
    limits: Limits,
    entries: Mutex<Entries<C>>,
}

/// The shortest interval between two searches for unused connections.
const MIN_TICK: Duration = Duration::from_millis(100);

/// What the cache has for a key.
enum Found<C> {
    Ready(Connection<C>),
    Dialling(watch::Receiver<Outcome<C>>),
}

impl<C: Clone + Send + Sync + 'static> ConnectionCache<C> {
    /// Creates an empty cache with the default [`Limits`].
    ///
    /// ```
    /// # use detector_api::{ConnectionCache, PeerStates};
    /// let cache = ConnectionCache::<String>::new(PeerStates::unwatched());
    /// assert_eq!(cache.clear_all_connections(), 0);
    /// ```
    pub fn new(states: PeerStates) -> Self {
        Self::with_limits(states, Limits::default())
    }

    /// Creates an empty cache with the given limits.
    ///
    /// ```
    /// # use detector_api::{ConnectionCache, Limits, PeerStates};
    /// let limits = Limits { connections: 64, ..Limits::default() };
    /// let cache = ConnectionCache::<String>::with_limits(PeerStates::unwatched(), limits);
    /// # drop(cache);
    /// ```
    pub fn with_limits(states: PeerStates, limits: Limits) -> Self {
        let shared = Shared {
            states,
            limits,
            entries: Mutex::new(Entries::new()),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Returns the connection that `key` names, and calls `dial` if there is none.
    ///
    /// If several callers ask at once, one of them dials, and all get its connection or its error.
    /// The dial continues when the caller that began it goes away, as long as another caller waits.
    /// It has no time limit of its own, so give it a connect time-out ([`Profile`](crate::Profile)
    /// does).
    ///
    /// # Errors
    /// Fails at once if the peer's breaker is Open, or opens during the wait; see
    /// [`ConnectionError`].
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    ///
    /// ```
    /// use detector_api::{ConnectionCache, ConnectionError, PeerStates};
    /// use tokio::net::TcpListener;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let states = PeerStates::unwatched();
    /// let cache = ConnectionCache::new(states);
    /// // An integer stands for what a real dial makes.
    /// let dial = |made: u32| move || async move { Ok::<_, std::io::Error>(made) };
    /// assert_eq!(*cache.get_or_connect("http://node4:9000", dial(1)).await?, 1);
    /// assert_eq!(*cache.get_or_connect("http://node4:9000", dial(2)).await?, 1);
    /// assert_eq!(*cache.get_or_connect("http://node4:9000\0bulk\0", dial(3)).await?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_or_connect<F, E>(
        &self,
        key: &str,
        dial: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Connection<C>, ConnectionError>
    where
        F: Future<Output = Result<C, E>> + Send + 'static,
        E: Into<BoxedError> + 'static,
    {
        self.get(key, dial, Reaches::Peer).await
    }

    /// Returns the client that `key` names, and calls `make` if there is none. Use it for a pool,
    /// or for a lazy channel, which dials when it is used.
    ///
    /// This is like [`get_or_connect`](Self::get_or_connect), except for trials: making a client
    /// contacts no peer, even if it takes a while, for example to read certificates. While the
    /// breaker is HalfOpen, each request on the client is a trial.
    ///
    /// # Errors
    /// Fails at once if the peer's breaker is Open, or if `make` fails; see [`ConnectionError`].
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    ///
    /// ```
    /// use detector_api::{ConnectionCache, PeerStates};
    /// use tonic::transport::{Channel, Endpoint, Error};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = ConnectionCache::<Channel>::new(PeerStates::unwatched());
    /// let endpoint = Endpoint::from_static("http://node4:9000");
    /// let lazy = || async move { Ok::<_, Error>(endpoint.connect_lazy()) };
    /// let connection = cache.get_or_make("http://node4:9000", lazy).await?;
    /// # drop(connection);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_or_make<F, E>(
        &self,
        key: &str,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Connection<C>, ConnectionError>
    where
        F: Future<Output = Result<C, E>> + Send + 'static,
        E: Into<BoxedError> + 'static,
    {
        self.get(key, make, Reaches::Nobody).await
    }

    async fn get<F, E>(
        &self,
        key: &str,
        dial: impl FnOnce() -> F + Send + 'static,
        reaches: Reaches,
    ) -> Result<Connection<C>, ConnectionError>
    where
        F: Future<Output = Result<C, E>> + Send + 'static,
        E: Into<BoxedError> + 'static,
    {
        let peer = self.peer(key);
        if let Some(down) = peer.down() {
            let key = key.to_owned();
            return Err(ConnectionError::Down { key, down });
        }
        let mut outcome = match self.find_or_dial(key, &peer, dial, reaches)? {
            Found::Ready(connection) => return Ok(connection),
            Found::Dialling(outcome) => outcome,
        };
        let told = outcome.wait_for(Option::is_some).await;
        let result = told.ok().and_then(|result| result.clone());
        // Whatever happens to a dial, it sends its result before it drops the sender.
        result.unwrap_or_else(|| Err(ConnectionError::abandoned(key)))
    }

    fn find_or_dial<F, E>(
        &self,
        key: &str,
        peer: &Peer,
        dial: impl FnOnce() -> F + Send + 'static,
        reaches: Reaches,
    ) -> Result<Found<C>, ConnectionError>
    where
        F: Future<Output = Result<C, E>> + Send + 'static,
        E: Into<BoxedError> + 'static,
    {
        // Dropped after the lock, on every path.
        let lost;
        let mut entries = self.shared.entries();
        // The peer's watcher may not have removed these yet.
        lost = entries.remove_lost(peer.name());
        match entries.get(peer.name(), key) {
            Some(Entry::Ready { connection, used }) => {
                *used = Instant::now();
                return Ok(Found::Ready(connection.clone()));
            }
            Some(Entry::Dialling { outcome, .. }) => {
                return Ok(Found::Dialling(outcome.subscribe()));
            }
            None => {}
        }
        let limit = self.shared.limits.connections.max(1);
        let oldest = match entries.len() < limit {
            true => None,
            false => Some(entries.remove_oldest().ok_or_else(|| {
                let key = key.to_owned();
                ConnectionError::Full { key, limit }
            })?),
        };
        let (sender, outcome) = watch::channel(None);
        let watcher = || self.watcher(peer);
        let number = entries.begin_dial(peer.name(), key, sender.clone(), watcher);
        drop(entries);
        drop((lost, oldest));
        let started = Dial {
            shared: Arc::downgrade(&self.shared),
            key: key.to_owned(),
            number,
            guard: Guard::new(peer),
            reaches,
            outcome: sender,
            told: false,
        };
        tokio::spawn(started.run(dial));
        Ok(Found::Dialling(outcome))
    }

    fn watcher(&self, peer: &Peer) -> Watcher {
        let shared = Arc::downgrade(&self.shared);
        Watcher(tokio::spawn(watch_peer(
            shared,
            Guard::new(peer),
            self.shared.limits.idle,
        )))
    }
}

impl<C> ConnectionCache<C> {
    /// Drops all connections of the peer to which `key` belongs, whatever their keys, and returns
    /// their number. The next caller dials.
    ///
    /// Calls in flight on these connections continue, because the connections may well work: one
    /// connection's failure is no reason to cut a download on another. When the breaker opens,
    /// calls in flight end without a call of this function. A peer's name and its address are two
    /// different names here, and this evicts only the given one.
    ///
    /// ```
    /// # use detector_api::{ConnectionCache, PeerStates};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = ConnectionCache::new(PeerStates::unwatched());
    /// let dial = || async { Ok::<_, std::io::Error>("a client") };
    /// cache.get_or_connect("http://node4:9000", dial).await?;
    /// cache.get_or_connect("http://node4:9000/data/rustfs1", dial).await?;
    /// assert_eq!(cache.evict_connection("http://node4:9000"), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn evict_connection(&self, key: &str) -> usize {
        let peer = self.peer(key);
        let removed = self.shared.entries().remove_peer(peer.name());
        removed.connections()
    }

    /// Whether there is a connection for `key`. Its peer may be gone nevertheless.
    ///
    /// ```
    /// # use detector_api::{ConnectionCache, PeerStates};
    /// let cache = ConnectionCache::<String>::new(PeerStates::unwatched());
    /// assert!(!cache.has_cached_connection("http://node4:9000"));
    /// ```
    pub fn has_cached_connection(&self, key: &str) -> bool {
        let peer = self.peer(key);
        self.shared.entries().has_ready(peer.name(), key)
    }

    /// Drops all connections and returns their number. Calls in flight on them continue.
    ///
    /// ```
    /// # use detector_api::{ConnectionCache, PeerStates};
    /// let cache = ConnectionCache::<String>::new(PeerStates::unwatched());
    /// assert_eq!(cache.clear_all_connections(), 0);
    /// ```
    pub fn clear_all_connections(&self) -> usize {
        let removed = self.shared.entries().remove_all();
        removed.connections()
    }

    fn peer(&self, key: &str) -> Peer {
        self.shared.states.peer(key)
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Arc<Shared<C>> {
        &self.shared
    }
}

impl<C> Shared<C> {
    pub(super) fn entries(&self) -> MutexGuard<'_, Entries<C>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops a peer's connections when its breaker opens, and those that were not requested for long.
async fn watch_peer<C>(shared: Weak<Shared<C>>, guard: Guard, idle: Duration) {
    let peer = guard.peer().clone();
    let mut openings = guard.openings();
    let tick = (idle / 2).max(MIN_TICK);
    loop {
        let opened = tokio::select! {
            changed = openings.changed() => changed.is_ok(),
            () = tokio::time::sleep(tick) => false,
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let now = Instant::now();
        // The lock is released before the connections are dropped.
        let removed = match opened {
            true => shared.entries().remove_lost(peer.name()),
            false => shared.entries().remove_idle(peer.name(), now, idle),
        };
        drop(removed);
    }
}

impl<C> Clone for ConnectionCache<C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C> fmt::Debug for ConnectionCache<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionCache")
            .field("limits", &self.shared.limits)
            .field("entries", &self.shared.entries().len())
            .finish_non_exhaustive()
    }
}
