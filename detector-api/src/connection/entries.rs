//! The contents of the cache: plain bookkeeping under one lock, which is never held across an
//! await.

use std::{collections::HashMap, time::Duration};

use tokio::{sync::watch, task::JoinHandle, time::Instant};

use super::{Connection, ConnectionError};

/// The result of a dial; `None` while it runs.
pub(super) type Outcome<C> = Option<Result<Connection<C>, ConnectionError>>;

/// The connections of all peers.
pub(super) struct Entries<C> {
    peers: HashMap<String, PeerEntry<C>>,
    len: usize,
    /// Numbers the dials, so that a late dial does not replace a newer one.
    dials: u64,
}

struct PeerEntry<C> {
    keys: HashMap<String, Entry<C>>,
    /// Drops the connections when the breaker opens. It ends with the last of the connections.
    _watcher: Watcher,
}

pub(super) enum Entry<C> {
    Ready {
        connection: Connection<C>,
        used: Instant,
    },
    Dialling {
        dial: u64,
        outcome: watch::Sender<Outcome<C>>,
    },
}

/// A task that ends with its entry.
pub(super) struct Watcher(pub(super) JoinHandle<()>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<C> Entry<C> {
    fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }

    fn is_dial(&self, number: u64) -> bool {
        matches!(self, Self::Dialling { dial, .. } if *dial == number)
    }

    fn is_lost(&self) -> bool {
        // A running dial ends by itself.
        matches!(self, Self::Ready { connection, .. } if connection.guard().opened().is_some())
    }

    fn is_idle(&self, now: Instant, limit: Duration) -> bool {
        matches!(self, Self::Ready { used, .. } if now.duration_since(*used) >= limit)
    }
}

impl<C> Entries<C> {
    pub(super) fn new() -> Self {
        Self {
            peers: HashMap::new(),
            len: 0,
            dials: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&mut self, peer: &str, key: &str) -> Option<&mut Entry<C>> {
        self.peers.get_mut(peer)?.keys.get_mut(key)
    }

    pub(super) fn has_ready(&self, peer: &str, key: &str) -> bool {
        let entry = self.peers.get(peer).and_then(|peer| peer.keys.get(key));
        entry.is_some_and(|entry| entry.is_ready() && !entry.is_lost())
    }

    /// Records a new dial and returns its number.
    pub(super) fn begin_dial(
        &mut self,
        peer: &str,
        key: &str,
        outcome: watch::Sender<Outcome<C>>,
        watcher: impl FnOnce() -> Watcher,
    ) -> u64 {
        self.dials += 1;
        let dial = self.dials;
        let entry = Entry::Dialling { dial, outcome };
        let peer = self
            .peers
            .entry(peer.to_owned())
            .or_insert_with(|| PeerEntry {
                keys: HashMap::new(),
                _watcher: watcher(),
            });
        if peer.keys.insert(key.to_owned(), entry).is_none() {
            self.len += 1;
        }
        dial
    }

    /// Replaces the dial by its result, unless the dial was abandoned.
    pub(super) fn end_dial(&mut self, peer: &str, key: &str, dial: u64, ready: Option<Entry<C>>) {
        let Some(place) = self.get(peer, key).filter(|entry| entry.is_dial(dial)) else {
            return;
        };
        match ready {
            Some(ready) => *place = ready,
            None => drop(self.remove_where(peer, |_, entry| entry.is_dial(dial))),
        }
    }

    /// Removes the peer's connections and dials.
    pub(super) fn remove_peer(&mut self, peer: &str) -> Removed<C> {
        self.remove_where(peer, |_, _| true)
    }

    pub(super) fn remove_all(&mut self) -> Removed<C> {
        let peers = std::mem::take(&mut self.peers);
        self.len = 0;
        Removed(peers.into_values().flat_map(|peer| peer.keys).collect())
    }

    /// Removes the peer's connections that are older than the last opening of its breaker.
    pub(super) fn remove_lost(&mut self, peer: &str) -> Removed<C> {
        self.remove_where(peer, |_, entry| entry.is_lost())
    }

    /// Removes the peer's connections that were not requested for `limit`.
    pub(super) fn remove_idle(&mut self, peer: &str, now: Instant, limit: Duration) -> Removed<C> {
        self.remove_where(peer, |_, entry| entry.is_idle(now, limit))
    }

    /// Removes the connection that was requested the longest ago; dials stay.
    pub(super) fn remove_oldest(&mut self) -> Option<Removed<C>> {
        let ready = self.peers.iter().flat_map(|(peer, entry)| {
            let keys = entry.keys.iter();
            keys.filter_map(move |(key, entry)| match entry {
                Entry::Ready { used, .. } => Some((*used, peer, key)),
                Entry::Dialling { .. } => None,
            })
        });
        let (_, peer, key) = ready.min_by_key(|(used, ..)| *used)?;
        let (peer, key) = (peer.clone(), key.clone());
        Some(self.remove_where(&peer, |other, _| other == key))
    }

    fn remove_where(
        &mut self,
        name: &str,
        mut is: impl FnMut(&str, &Entry<C>) -> bool,
    ) -> Removed<C> {
        let Some(peer) = self.peers.get_mut(name) else {
            return Removed(Vec::new());
        };
        let removed: Vec<_> = peer.keys.extract_if(|key, entry| is(key, entry)).collect();
        self.len -= removed.len();
        if peer.keys.is_empty() {
            self.peers.remove(name);
        }
        Removed(removed)
    }
}

/// The removed entries. They must be dropped after the lock is released, because dropping a `C` may
/// run any code.
#[must_use]
pub(super) struct Removed<C>(Vec<(String, Entry<C>)>);

impl<C> Removed<C> {
    /// The number of connections among them, without dials.
    pub(super) fn connections(&self) -> usize {
        self.0.iter().filter(|(_, entry)| entry.is_ready()).count()
    }
}
