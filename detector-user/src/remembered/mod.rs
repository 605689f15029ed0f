//! The peers that were dead when the daemon stopped, so that the next one finds them dead soon:
//! `DIRECTORY/dead.json`, written when a peer dies or returns.
//!
//! It holds for one boot of this machine: after a power cut of the whole cluster no peer was there.

mod file;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, convert::Infallible, io, mem, path::Path};

use tracing::{info, warn};

use crate::{
    model::{Memory, PeerName, PeerState, Verdict},
    worker::{Inbox, Worker},
};

/// The dead peers, each with what is remembered of it.
#[derive(Debug)]
pub struct DeadPeers {
    dead: BTreeMap<PeerName, Vec<Memory>>,
    most: usize,
    writer: Worker<Changes>,
}

/// What is to remember of a peer, or nothing, where the file still says something else.
type Changes = BTreeMap<PeerName, Option<Vec<Memory>>>;

impl DeadPeers {
    /// Reads those of the run before. A file that cannot be read is reported, and holds none.
    /// At most so many are kept.
    pub fn start(directory: &Path, most: usize) -> io::Result<Self> {
        let mut dead = file::load(directory).unwrap_or_else(|error| {
            warn!(error = format!("{error:#}"), "no dead peer is remembered");
            BTreeMap::new()
        });
        while dead.len() > most {
            dead.pop_last();
        }
        for peer in dead.keys() {
            info!(%peer, "it was dead before this start");
        }
        let (directory, mut written) = (directory.to_owned(), dead.clone());
        let inbox = Inbox::new(Changes::new());
        let writer = Worker::optional("dead-peers", inbox, move |inbox| {
            while let Some(changes) = inbox.wait(take_changes) {
                apply(&mut written, changes);
                if let Err(error) = file::save(&directory, &written) {
                    let error = format!("{error:#}");
                    warn!(error, "after a restart dead peers are found later");
                }
            }
            Ok::<_, Infallible>(())
        })?;
        Ok(Self { dead, most, writer })
    }

    /// What the run before has remembered of the peer.
    pub fn of(&self, peer: &PeerName) -> &[Memory] {
        self.dead.get(peer).map_or(&[], Vec::as_slice)
    }

    /// A state was published; `memories` says what to remember of the peer. One that is in doubt
    /// stays as it was: the daemon may be started again before it is decided.
    pub fn published(&mut self, state: &PeerState, memories: impl FnOnce() -> Vec<Memory>) {
        match state.verdict {
            Verdict::Dead => {
                let memories = memories();
                let is_known = self.dead.contains_key(&state.peer);
                let fits = is_known || self.dead.len() < self.most;
                if fits && (!is_known || self.of(&state.peer) != memories) {
                    self.dead.insert(state.peer.clone(), memories.clone());
                    self.write(&state.peer, Some(memories));
                }
            }
            Verdict::Alive | Verdict::Degraded => self.retract(&state.peer),
            Verdict::Unknown | Verdict::Suspect => {}
        }
    }

    /// The peer is alive, or no longer watched.
    pub fn retract(&mut self, peer: &PeerName) {
        if self.dead.remove(peer).is_some() {
            self.write(peer, None);
        }
    }

    fn write(&self, peer: &PeerName, memories: Option<Vec<Memory>>) {
        let peer = peer.clone();
        self.writer
            .inbox()
            .put(|changes| changes.insert(peer, memories));
    }
}

/// All changes that wait: a thousand deaths at once are written together.
fn take_changes(waiting: &mut Changes) -> Option<Changes> {
    (!waiting.is_empty()).then(|| mem::take(waiting))
}

fn apply(dead: &mut BTreeMap<PeerName, Vec<Memory>>, changes: Changes) {
    for (peer, memories) in changes {
        match memories {
            Some(memories) => drop(dead.insert(peer, memories)),
            None => drop(dead.remove(&peer)),
        }
    }
}
