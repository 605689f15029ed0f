//! What this process knows of its peers: read by every call, without a lock.
//!
//! [`PeerStates`] finds a peer by any of its names; [`Peer`] is one found once and then asked
//! as often as one likes. Both are fed by a [`PeerWatch`](crate::PeerWatch). Without one, or
//! while the daemon is away, every peer is Unknown and every breaker Closed: callers do what
//! they would do without a detector.

mod book;
mod peer;
mod slot;
mod source;
mod table;
mod text;
mod word;

#[cfg(test)]
mod tests;

pub use self::{
    peer::{Peer, PeerDown},
    slot::{Details, Path},
    word::State,
};
pub(crate) use self::{slot::Slot, source::Source};

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::runtime::Handle;

use self::{
    book::Book,
    table::{SharedTable, Table},
};
use crate::{PeerName, name::without_path, v1};

/// The states of all peers. Cheap to clone; all clones show the same.
///
/// ```
/// use detector_api::{PeerStates, v1::Breaker};
///
/// # async fn call(_peer: &str) {}
/// # async fn example(states: PeerStates) {
/// let peer = "http://node4:9000/data/rustfs1";
/// if states.get(peer).breaker != Breaker::Open {
///     call(peer).await;
/// }
/// # }
/// # let states = PeerStates::unwatched();
/// # assert_eq!(states.get("http://node4:9000/data/rustfs1").breaker, Breaker::Closed);
/// ```
#[derive(Clone)]
pub struct PeerStates {
    shared: Arc<Shared>,
}

struct Shared {
    source: Arc<Source>,
    table: SharedTable,
    book: Mutex<Book>,
}

/// What was told has been given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stale;

impl PeerStates {
    /// States that no daemon tells of: all unknown, all to be called, for ever. What a
    /// program uses when its operator has not asked for the detector.
    ///
    /// ```
    /// use detector_api::{PeerStates, State};
    ///
    /// let states = PeerStates::unwatched();
    /// assert_eq!(states.get("http://node4:9000"), State::default());
    /// assert!(!states.is_fresh());
    /// ```
    pub fn unwatched() -> Self {
        Self::with_source(Source::none())
    }

    pub(crate) fn watched_on(runtime: Handle, acquire_limit: Duration) -> Self {
        Self::with_source(Arc::new(Source::new(Some(runtime), acquire_limit)))
    }

    fn with_source(source: Arc<Source>) -> Self {
        Self {
            shared: Arc::new(Shared {
                table: SharedTable::default(),
                book: Mutex::new(Book::new(Arc::clone(&source))),
                source,
            }),
        }
    }

    /// What is believed of a peer now, by any of its names (see [`PeerName`]) or by one of
    /// its addresses, as in `http://10.0.0.4:9000`. A peer that nobody watches, and what is
    /// no peer's name, is unknown.
    ///
    /// Takes no lock and, where the peer is watched and its name is spelled canonically up to
    /// its path, some tens of nanoseconds at most. Any other name is parsed, which takes up to
    /// a microsecond; a caller that asks again and again keeps a [`Peer`]. What lies behind the
    /// authority is not looked at.
    ///
    /// An Open or HalfOpen breaker is never believed beyond its time to live: not on a thread
    /// outside the runtime, and not while the runtime is too busy to end it.
    ///
    /// ```
    /// use detector_api::{PeerStates, v1::{Breaker, Verdict}};
    ///
    /// let states = PeerStates::unwatched();
    /// let state = states.get("http://node4:9000/data/rustfs1");
    /// assert_eq!((state.verdict, state.breaker), (Verdict::Unknown, Breaker::Closed));
    /// ```
    #[inline]
    pub fn get(&self, peer: &str) -> State {
        State::from_word(self.word(peer))
    }

    fn word(&self, peer: &str) -> u64 {
        let word = |name: &str| {
            let find = |table: &Table| table.get(name).map(|slot| slot.word());
            self.shared.table.look(find)
        };
        if let Some(word) = word(without_path(peer)) {
            return word;
        }
        let parsed = PeerName::parse(without_path(peer)).ok();
        parsed
            .and_then(|name| word(name.as_str()))
            .unwrap_or_else(|| State::default().to_word())
    }

    /// A peer by any of its names, watched or not: one that comes to be watched later is
    /// shown from then on. An address leads to whichever peer has it at the time.
    ///
    /// Handles of up to 4,096 names that are not watched are kept track of; further ones, and
    /// one by what is no peer's name, stay unknown.
    ///
    /// ```
    /// use detector_api::PeerStates;
    ///
    /// let peer = PeerStates::unwatched().peer("http://NODE4:9000/data/rustfs1");
    /// assert_eq!(peer.name(), "http://node4:9000");
    /// assert!(peer.down().is_none());
    /// ```
    pub fn peer(&self, peer: &str) -> Peer {
        if let Some(slot) = self.shared.table.look(|table| table.get(peer).cloned()) {
            // Found under the name as it is: kept through the book, which hands slots out.
            if let Some(slot) = self.book().slot(slot.name()) {
                return Peer::new(slot);
            }
        }
        match PeerName::parse(without_path(peer)) {
            Ok(name) => match self.book().slot(name.as_str()) {
                Some(slot) => Peer::new(slot),
                None => Peer::unwatched(name.as_str()),
            },
            Err(_) => Peer::unwatched(peer),
        }
    }

    /// The peers that the daemon watches, as it last told, in the order of their names.
    ///
    /// ```
    /// use detector_api::PeerStates;
    ///
    /// assert!(PeerStates::unwatched().peers().is_empty());
    /// ```
    pub fn peers(&self) -> Vec<Peer> {
        self.book().peers().into_iter().map(Peer::new).collect()
    }

    /// Whether a live daemon tells of the peers now. If not, all of them are unknown.
    ///
    /// ```
    /// use detector_api::PeerStates;
    ///
    /// assert!(!PeerStates::unwatched().is_fresh());
    /// ```
    pub fn is_fresh(&self) -> bool {
        self.shared.source.holds()
    }

    /// Completes when a live daemon tells of the peers, at once if one does now; for
    /// [`unwatched`](Self::unwatched) states, never.
    ///
    /// ```no_run
    /// # async fn example(states: detector_api::PeerStates) {
    /// use std::time::Duration;
    /// use tokio::time::timeout;
    ///
    /// let within = Duration::from_secs(1);
    /// let known = timeout(within, states.until_fresh()).await.is_ok();
    /// println!("the detector {}", if known { "tells" } else { "is silent" });
    /// # }
    /// ```
    pub async fn until_fresh(&self) {
        self.until_fresh_is(true).await;
    }

    /// Completes when no live daemon tells of the peers any more.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use detector_api::PeerStates;
    ///
    /// PeerStates::unwatched().until_stale().await;
    /// # });
    /// ```
    pub async fn until_stale(&self) {
        self.until_fresh_is(false).await;
    }

    async fn until_fresh_is(&self, wanted: bool) {
        let mut fresh = self.shared.source.fresh();
        if fresh.wait_for(|&fresh| fresh == wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.shared.source
    }

    /// These are the peers, and no others; believed for `ttl`.
    pub(crate) fn replace(&self, states: &[v1::PeerState], ttl: Duration) {
        let mut book = self.book();
        if !self.shared.source.holds() {
            // Who was told nothing in the meantime is told of what opens now.
            book.forget();
        }
        // First: what is shown before it may be believed would be taken for nothing known.
        self.shared.source.renew(ttl);
        let table = book.replace(states);
        self.shared.table.replace(table);
        self.shared.source.announce();
    }

    /// A peer's new state. Fails where what was told before is no longer believed: then only
    /// a snapshot makes it whole again.
    pub(crate) fn change(&self, state: &v1::PeerState, ttl: Duration) -> Result<(), Stale> {
        self.update(ttl, |book| book.change(state))
    }

    /// The peer is no longer watched.
    pub(crate) fn remove(&self, peer: &str, ttl: Duration) -> Result<(), Stale> {
        self.update(ttl, |book| book.remove(peer))
    }

    /// All that was told still holds.
    pub(crate) fn confirm(&self, ttl: Duration) -> Result<(), Stale> {
        self.update(ttl, |_| None)
    }

    fn update(
        &self,
        ttl: Duration,
        write: impl FnOnce(&mut Book) -> Option<Table>,
    ) -> Result<(), Stale> {
        let mut book = self.book();
        // What came too late makes nothing true again, though nobody may have ended it yet.
        if !self.shared.source.holds() {
            return Err(Stale);
        }
        self.shared.source.renew(ttl);
        if let Some(table) = write(&mut book) {
            self.shared.table.replace(table);
        }
        Ok(())
    }

    /// Nothing that was told is believed any more, if its time is over.
    pub(crate) fn expire(&self) -> bool {
        let mut book = self.book();
        if self.shared.source.holds() {
            return false;
        }
        self.shared.source.end();
        book.forget();
        true
    }

    /// Nothing that was told is believed any more.
    pub(crate) fn end(&self) {
        let mut book = self.book();
        self.shared.source.end();
        book.forget();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Held for a few steps, never across an await.
        self.shared
            .book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PeerStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerStates")
            .field("fresh", &self.is_fresh())
            .field("peers", &self.peers())
            .finish()
    }
}
