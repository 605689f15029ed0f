//! The events that a fake daemon has published.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use tokio::sync::watch;

use super::lock;
use crate::v1::{
    PeerState,
    watch_peers_response::{Event, Removed},
};

#[derive(Debug)]
pub(super) struct Log {
    instance: String,
    contents: Mutex<Contents>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Contents {
    revision: u64,
    peers: BTreeMap<String, PeerState>,
    /// The event of revision n is at index n − 1.
    events: Vec<Event>,
}

impl Log {
    pub(super) fn new(instance: String) -> Self {
        Self {
            instance,
            contents: Mutex::default(),
            newest: watch::Sender::new(0),
        }
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    pub(super) fn publish(&self, mut state: PeerState) {
        let mut contents = self.contents();
        contents.revision += 1;
        state.revision = contents.revision;
        contents.peers.insert(state.peer.clone(), state.clone());
        contents.events.push(Event::Changed(state));
        self.newest.send_replace(contents.revision);
    }

    pub(super) fn remove(&self, peer: &str) {
        let mut contents = self.contents();
        contents.revision += 1;
        contents.peers.remove(peer);
        let (peer, revision) = (peer.to_owned(), contents.revision);
        contents
            .events
            .push(Event::Removed(Removed { peer, revision }));
        self.newest.send_replace(revision);
    }

    pub(super) fn revision(&self) -> u64 {
        self.contents().revision
    }

    pub(super) fn snapshot(&self) -> (u64, Vec<PeerState>) {
        let contents = self.contents();
        (
            contents.revision,
            contents.peers.values().cloned().collect(),
        )
    }

    pub(super) fn peer(&self, peer: &str) -> Option<PeerState> {
        self.contents().peers.get(peer).cloned()
    }

    /// The event after a revision, if there is one.
    pub(super) fn after(&self, revision: u64) -> Option<Event> {
        let index = usize::try_from(revision).ok()?;
        self.contents().events.get(index).cloned()
    }

    pub(super) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        lock(&self.contents)
    }
}
