//! The board: where the driver publishes and everyone else reads.
//!
//! It keeps the newest state of every peer and a bounded log of changes. A [`Watch`] is a
//! place in that log, so a reader costs the driver nothing however slow it is: one that
//! falls behind the log's end is told so and starts again from a snapshot.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;
use tokio::sync::watch;

use crate::core::{Bounds, PeerName, PeerState, Time};

/// The published state of all peers. Cheap to clone; all clones are one board.
#[derive(Clone, Debug)]
pub struct Board {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    instance: String,
    /// The changes that a watcher may lag behind, and that a client may resume over.
    log_capacity: usize,
    contents: Mutex<Contents>,
    /// The newest revision; wakes the watchers.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Contents {
    revision: u64,
    peers: BTreeMap<PeerName, Arc<PeerState>>,
    /// Oldest first, revisions rising.
    log: VecDeque<Change>,
    /// The newest revision that the log no longer has.
    forgotten: u64,
}

/// One published change.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A peer's new state.
    Changed(Arc<PeerState>),
    /// A peer is no longer watched.
    Removed { peer: PeerName, revision: u64 },
}

impl Change {
    /// The change's place among all changes.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Changed(state) => state.revision,
            Self::Removed { revision, .. } => *revision,
        }
    }
}

/// Every peer's state at one revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Names this run of the daemon; revisions of different instances do not compare.
    pub instance: String,
    pub revision: u64,
    /// In the order of their names.
    pub peers: Vec<Arc<PeerState>>,
}

impl Board {
    /// An empty board. `instance` is unique to this run of the daemon.
    pub fn new(instance: impl Into<String>, bounds: Bounds) -> Self {
        Self::with_log_capacity(instance, bounds.changes())
    }

    fn with_log_capacity(instance: impl Into<String>, log_capacity: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                instance: instance.into(),
                log_capacity,
                contents: Mutex::default(),
                newest: watch::Sender::new(0),
            }),
        }
    }

    /// Publishes a peer's state. Revisions rise: one that does not is older than what is
    /// here, and changes nothing.
    pub fn publish(&self, state: PeerState) {
        let state = Arc::new(state);
        self.record(Change::Changed(Arc::clone(&state)), |peers| {
            peers.insert(state.peer.clone(), state);
        });
    }

    /// Notes that the peer was heard, and nothing else changed: whoever asks is told, no
    /// watcher is.
    pub fn heard(&self, peer: &PeerName, at: Time) {
        let mut contents = self.contents();
        if let Some(state) = contents.peers.get_mut(peer)
            && state.last_heard < Some(at)
        {
            // The log keeps the state as it was published.
            Arc::make_mut(state).last_heard = Some(at);
        }
    }

    /// Publishes that the peer is no longer watched.
    pub fn retract(&self, peer: PeerName, revision: u64) {
        let change = Change::Removed {
            peer: peer.clone(),
            revision,
        };
        self.record(change, |peers| {
            peers.remove(&peer);
        });
    }

    fn record(&self, change: Change, apply: impl FnOnce(&mut BTreeMap<PeerName, Arc<PeerState>>)) {
        let revision = change.revision();
        let mut contents = self.contents();
        if revision <= contents.revision {
            let newest = contents.revision;
            drop(contents);
            tracing::error!(revision, newest, "a change came after a newer one; dropped");
            return;
        }
        apply(&mut contents.peers);
        contents.revision = revision;
        if contents.log.len() == self.shared.log_capacity
            && let Some(oldest) = contents.log.pop_front()
        {
            contents.forgotten = oldest.revision();
        }
        contents.log.push_back(change);
        drop(contents);
        self.shared.newest.send_replace(revision);
    }

    /// The name of this run.
    pub fn instance(&self) -> &str {
        &self.shared.instance
    }

    /// Every peer's state.
    pub fn snapshot(&self) -> Snapshot {
        let contents = self.contents();
        Snapshot {
            instance: self.shared.instance.clone(),
            revision: contents.revision,
            peers: contents.peers.values().cloned().collect(),
        }
    }

    /// One peer's state.
    pub fn get(&self, peer: &PeerName) -> Option<Arc<PeerState>> {
        self.contents().peers.get(peer).cloned()
    }

    /// The newest revision, to be awaited by those who only want to know that something
    /// changed.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.shared.newest.subscribe()
    }

    /// Everything after `last_revision` of `instance`, if it is this instance and the log
    /// still has it; otherwise a snapshot and everything after that.
    pub fn watch(&self, instance: &str, last_revision: u64) -> Watch {
        let contents = self.contents();
        let known = contents.forgotten..=contents.revision;
        let resumes = instance == self.shared.instance && known.contains(&last_revision);
        drop(contents);
        Watch {
            newest: self.shared.newest.subscribe(),
            board: self.clone(),
            seen: resumes.then_some(last_revision),
        }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Held for a few steps, never across an await; whole even if one of them panicked.
        self.shared
            .contents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a watch yields.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// Only ever the first.
    Snapshot(Snapshot),
    Change(Change),
}

/// The reader was too slow: the changes that come next are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the watcher fell more than {capacity} changes behind; watch again from a snapshot")]
pub struct Lagged {
    capacity: usize,
}

/// A place in the board's changes.
#[derive(Debug)]
pub struct Watch {
    board: Board,
    newest: watch::Receiver<u64>,
    /// The revision up to which everything was yielded; `None` before the snapshot.
    seen: Option<u64>,
}

impl Watch {
    /// The revision up to which everything was yielded; `None` before the snapshot.
    pub fn seen(&self) -> Option<u64> {
        self.seen
    }

    /// The next event, as soon as there is one. Cancel-safe.
    pub async fn next(&mut self) -> Result<WatchEvent, Lagged> {
        loop {
            // Marked as seen before looking, so that no change falls between the two.
            self.newest.borrow_and_update();
            if let Some(event) = self.take()? {
                return Ok(event);
            }
            if self.newest.changed().await.is_err() {
                // The board is held by `self`; its end cannot be waited for.
                std::future::pending::<()>().await;
            }
        }
    }

    fn take(&mut self) -> Result<Option<WatchEvent>, Lagged> {
        let Some(seen) = self.seen else {
            let snapshot = self.board.snapshot();
            self.seen = Some(snapshot.revision);
            return Ok(Some(WatchEvent::Snapshot(snapshot)));
        };
        let contents = self.board.contents();
        if seen < contents.forgotten {
            return Err(Lagged {
                capacity: self.board.shared.log_capacity,
            });
        }
        let next = contents
            .log
            .partition_point(|change| change.revision() <= seen);
        let Some(change) = contents.log.get(next).cloned() else {
            return Ok(None);
        };
        drop(contents);
        self.seen = Some(change.revision());
        Ok(Some(WatchEvent::Change(change)))
    }
}
