//! The board: the driver publishes states here, and everyone else reads them.
//!
//! It keeps the newest state of every peer and a bounded log of changes. A [`Watch`] is a position
//! in that log, so a slow reader costs the driver nothing. A reader that falls further behind than
//! the log reaches gets an error and starts again from a snapshot.

mod history;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;
use tokio::sync::watch;

pub use self::history::{History, SAMPLE_EVERY, SAMPLES, Samples, Transition};
use crate::{
    clock,
    model::{Bounds, Measured, PeerName, PeerState, Time},
    source::stores::PeerSource,
};

/// The published state of all peers. It is cheap to clone, and all clones share one board.
#[derive(Clone, Debug)]
pub struct Board {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    instance: String,
    /// How many changes a watcher may lag behind, and how far back a client may resume.
    log_capacity: usize,
    contents: Mutex<Contents>,
    /// The newest revision; wakes the watchers.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Contents {
    revision: u64,
    peers: BTreeMap<PeerName, Arc<PeerState>>,
    /// What each of them was before.
    histories: BTreeMap<PeerName, History>,
    /// Oldest first, in rising order of revisions.
    log: VecDeque<Change>,
    /// The newest revision that was dropped from the log.
    forgotten: u64,
    sources: Vec<PeerSource>,
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
    /// The revision of this change; later changes have higher ones.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Changed(state) => state.revision,
            Self::Removed { revision, .. } => *revision,
        }
    }
}

/// The states of all peers at one revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Identifies this run of the daemon; revisions of different instances cannot be compared.
    pub instance: String,
    pub revision: u64,
    /// Sorted by name.
    pub peers: Vec<Arc<PeerState>>,
}

impl Board {
    /// Creates an empty board. `instance` is unique to this run of the daemon.
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

    /// Publishes a peer's state. Revisions rise: a state without a higher revision is outdated and
    /// is ignored.
    pub fn publish(&self, state: PeerState) {
        let state = Arc::new(state);
        let now = clock::now();
        self.record(Change::Changed(Arc::clone(&state)), |contents| {
            let history = contents.histories.entry(state.peer.clone()).or_default();
            let previous = contents
                .peers
                .insert(state.peer.clone(), Arc::clone(&state));
            history.published(now, previous.as_deref(), &state);
        });
    }

    /// Notes that the peer was heard while nothing else changed. Readers of the state see it, but
    /// no watcher is notified.
    pub fn heard(&self, peer: &PeerName, at: Time) {
        let mut contents = self.contents();
        if let Some(state) = contents.peers.get_mut(peer)
            && state.last_heard < Some(at)
        {
            // The log keeps the state as it was published.
            Arc::make_mut(state).last_heard = Some(at);
        }
    }

    /// Notes what was measured of the peer at this address while nothing else changed. Readers of the
    /// state see it, but no watcher is notified.
    pub fn measured(&self, peer: &PeerName, address: IpAddr, measured: Measured) {
        let now = clock::now();
        let mut contents = self.contents();
        let Contents {
            peers, histories, ..
        } = &mut *contents;
        let Some(state) = peers.get_mut(peer) else {
            return;
        };
        let paths = &mut Arc::make_mut(state).paths;
        if let Some(path) = paths.iter_mut().find(|path| path.address == address) {
            path.measured = measured;
        }
        if let Some(history) = histories.get_mut(peer) {
            history.measured(now, state);
        }
    }

    /// Publishes that the peer is no longer watched.
    pub fn retract(&self, peer: PeerName, revision: u64) {
        let change = Change::Removed {
            peer: peer.clone(),
            revision,
        };
        self.record(change, |contents| {
            contents.peers.remove(&peer);
            contents.histories.remove(&peer);
        });
    }

    fn record(&self, change: Change, apply: impl FnOnce(&mut Contents)) {
        let revision = change.revision();
        let mut contents = self.contents();
        if revision <= contents.revision {
            let newest = contents.revision;
            drop(contents);
            tracing::error!(revision, newest, "a change came after a newer one; dropped");
            return;
        }
        apply(&mut contents);
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

    /// Sets where the peers come from.
    pub fn set_sources(&self, sources: Vec<PeerSource>) {
        self.contents().sources = sources;
    }

    /// Where the peers come from.
    pub fn sources(&self) -> Vec<PeerSource> {
        self.contents().sources.clone()
    }

    /// Identifies this run of the daemon.
    pub fn instance(&self) -> &str {
        &self.shared.instance
    }

    /// The states of all peers.
    pub fn snapshot(&self) -> Snapshot {
        let contents = self.contents();
        Snapshot {
            instance: self.shared.instance.clone(),
            revision: contents.revision,
            peers: contents.peers.values().cloned().collect(),
        }
    }

    /// The state of one peer.
    pub fn get(&self, peer: &PeerName) -> Option<Arc<PeerState>> {
        self.contents().peers.get(peer).cloned()
    }

    /// What the peers were before, by name; all of them or one.
    pub fn histories(&self, of: Option<&PeerName>) -> Vec<(PeerName, History)> {
        let contents = self.contents();
        let kept = contents.histories.iter();
        let asked = kept.filter(|(peer, _)| of.is_none_or(|of| of == *peer));
        asked
            .map(|(peer, history)| (peer.clone(), history.clone()))
            .collect()
    }

    /// The newest revision, for callers that only wait for any change.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.shared.newest.subscribe()
    }

    /// Watches all changes after `last_revision` of `instance`, if that is this instance and the
    /// log still has them. Otherwise the watch begins with a snapshot, and yields the changes after it.
    pub fn watch(&self, instance: &str, last_revision: u64) -> (Option<Snapshot>, Watch) {
        let contents = self.contents();
        let known = contents.forgotten..=contents.revision;
        let resumes = instance == self.shared.instance && known.contains(&last_revision);
        drop(contents);
        let snapshot = (!resumes).then(|| self.snapshot());
        let seen = snapshot.as_ref().map(|snapshot| snapshot.revision);
        let watch = Watch {
            newest: self.shared.newest.subscribe(),
            board: self.clone(),
            seen: seen.unwrap_or(last_revision),
        };
        (snapshot, watch)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // The lock is held for a few steps and never across an await. The contents are consistent
        // even if one of these steps panicked.
        self.shared
            .contents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader was too slow: its next changes are no longer in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the watcher fell more than {capacity} changes behind; watch again from a snapshot")]
pub struct Lagged {
    capacity: usize,
}

/// A reader's position in the board's log.
#[derive(Debug)]
pub struct Watch {
    board: Board,
    newest: watch::Receiver<u64>,
    /// Everything up to this revision was yielded.
    seen: u64,
}

impl Watch {
    /// Everything up to this revision was yielded.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Waits for the next change. Cancel-safe.
    pub async fn next(&mut self) -> Result<Change, Lagged> {
        loop {
            // The revision is marked as seen before the log is read, so that no change between the
            // two is missed.
            self.newest.borrow_and_update();
            if let Some(change) = self.take()? {
                return Ok(change);
            }
            if self.newest.changed().await.is_err() {
                // `self` holds the board, so the sender cannot be dropped here.
                std::future::pending::<()>().await;
            }
        }
    }

    fn take(&mut self) -> Result<Option<Change>, Lagged> {
        let contents = self.board.contents();
        if self.seen < contents.forgotten {
            return Err(Lagged {
                capacity: self.board.shared.log_capacity,
            });
        }
        let next = contents
            .log
            .partition_point(|change| change.revision() <= self.seen);
        let Some(change) = contents.log.get(next).cloned() else {
            return Ok(None);
        };
        drop(contents);
        self.seen = change.revision();
        Ok(Some(change))
    }
}
