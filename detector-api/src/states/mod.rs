//! The states of peers in this process: every call reads them, without a lock.
//!
//! [`PeerStates`] finds a peer by any of its names; [`Peer`] is a peer that is looked up once and
//! then queried any number of times. A [`PeerWatch`](crate::PeerWatch) feeds both. Without one, or
//! while the daemon is away, every peer is Unknown and every breaker Closed, so callers behave as
//! they would without a detector.

mod book;
mod gap;
mod peer;
mod slot;
mod source;
mod table;
mod text;
mod word;

#[cfg(test)]
mod tests;

pub use self::{
    gap::NotWatched,
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

/// The states of all peers. Cheap to clone; all clones share the same states.
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

/// The states are no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stale;

impl PeerStates {
    /// States without a daemon: every peer stays Unknown, and every breaker Closed. For programs
    /// whose operator does not use the detector.
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

    /// The current state of a peer, by any of its names (see [`PeerName`]) or by one of its
    /// addresses, as in `http://10.0.0.4:9000`. A peer that is not watched is Unknown, and so is a
    /// text that is no peer's name.
    ///
    /// It takes no lock, and at most some tens of nanoseconds if the peer is watched and its name is
    /// spelled canonically up to its path. Any other name is parsed, which takes up to a
    /// microsecond; a caller that asks often should keep a [`Peer`]. Everything after the authority
    /// is ignored.
    ///
    /// An Open or HalfOpen breaker is never valid beyond its time to live, neither on a thread
    /// outside the runtime nor while the runtime is too busy to end it.
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

    /// A peer by any of its names, whether it is watched or not. If it is watched later, the handle
    /// shows its state from then on. A handle by address leads to the peer that has the address at
    /// the time.
    ///
    /// For a peer that is watched and spelled canonically up to its path, it takes no lock and tens
    /// of nanoseconds, as [`get`](Self::get) does. A name that is not watched takes a lock, because
    /// its handle has to be found again when it is.
    ///
    /// Up to 4,096 names of unwatched peers are tracked. Handles beyond that stay Unknown, and so
    /// do handles by a text that is no peer's name.
    ///
    /// ```
    /// use detector_api::PeerStates;
    ///
    /// let peer = PeerStates::unwatched().peer("http://NODE4:9000/data/rustfs1");
    /// assert_eq!(peer.name(), "http://node4:9000");
    /// assert!(peer.down().is_none());
    /// ```
    pub fn peer(&self, peer: &str) -> Peer {
        // The book keeps each slot under its name for as long as a table or a handle has it, so this
        // is the one that it would hand out.
        let tabled = |name: &str| self.shared.table.look(|table| table.get(name).cloned());
        if let Some(slot) = tabled(without_path(peer)) {
            return Peer::new(slot);
        }
        let name = PeerName::parse(without_path(peer));
        let Some(name) = name.ok().filter(|_| self.shared.source.is_watched()) else {
            return Peer::unwatched(peer);
        };
        match self.book().slot(name.as_str()) {
            Some(slot) => Peer::new(slot),
            None => Peer::unwatched(name.as_str()),
        }
    }

    /// The peers that the daemon watches, according to its last message, sorted by name.
    ///
    /// ```
    /// use detector_api::PeerStates;
    ///
    /// assert!(PeerStates::unwatched().peers().is_empty());
    /// ```
    pub fn peers(&self) -> Vec<Peer> {
        self.book().peers().into_iter().map(Peer::new).collect()
    }

    /// Whether the states come from a live daemon now. If not, all peers are Unknown.
    ///
    /// ```
    /// use detector_api::PeerStates;
    ///
    /// assert!(!PeerStates::unwatched().is_fresh());
    /// ```
    pub fn is_fresh(&self) -> bool {
        self.shared.source.holds()
    }

    /// Completes when the states come from a live daemon, at once if they do now; never for
    /// [`unwatched`](Self::unwatched) states.
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

    /// Completes when the states do not come from a live daemon.
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

    /// Replaces all peers by these; they are valid for `ttl`.
    pub(crate) fn replace(&self, states: &[v1::PeerState], ttl: Duration) {
        let mut book = self.book();
        if !self.shared.source.holds() {
            // The states were not valid in the meantime, so a breaker that opens now counts as an
            // opening.
            book.forget();
        }
        // This comes first: a state that is shown before it is valid would read as Unknown.
        self.shared.source.renew(ttl);
        let table = book.replace(states);
        self.shared.table.replace(table);
        self.shared.source.announce();
    }

    /// Sets a peer's new state. Fails if the earlier states are no longer valid: then only a
    /// snapshot restores them all.
    pub(crate) fn change(&self, state: &v1::PeerState, ttl: Duration) -> Result<(), Stale> {
        self.update(ttl, |book| book.change(state))
    }

    /// Removes a peer that is no longer watched.
    pub(crate) fn remove(&self, peer: &str, ttl: Duration) -> Result<(), Stale> {
        self.update(ttl, |book| book.remove(peer))
    }

    /// Extends the validity of all states.
    pub(crate) fn confirm(&self, ttl: Duration) -> Result<(), Stale> {
        self.update(ttl, |_| None)
    }

    fn update(
        &self,
        ttl: Duration,
        write: impl FnOnce(&mut Book) -> Option<Table>,
    ) -> Result<(), Stale> {
        let mut book = self.book();
        // A message that comes too late does not make old states valid again, even if they have not
        // been reset yet.
        if !self.shared.source.holds() {
            return Err(Stale);
        }
        self.shared.source.renew(ttl);
        if let Some(table) = write(&mut book) {
            self.shared.table.replace(table);
        }
        Ok(())
    }

    /// Resets all states if their time to live is over; returns whether it was.
    pub(crate) fn expire(&self) -> bool {
        let mut book = self.book();
        if self.shared.source.holds() {
            return false;
        }
        self.shared.source.end();
        book.forget();
        true
    }

    /// Resets all states.
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
