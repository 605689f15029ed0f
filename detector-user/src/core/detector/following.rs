//! What follows from each change of a path: publishing, new deadlines, witnesses.

use super::{Detector, PathKey};
use crate::{
    core::{context::Context, path::Path, session::Turn},
    model::{Effect, PeerName, Time},
};

impl Detector {
    /// Applies `act` to a path, then does what follows from it.
    pub(super) fn with_path(
        &mut self,
        now: Time,
        key: &PathKey,
        act: impl FnOnce(&mut Path, &mut Context<'_>) -> Turn,
    ) {
        let Some(path) = self.paths.get_mut(key) else {
            return;
        };
        let was_due = path.timeout();
        let first = self.effects.len();
        let mut context = Self::context(
            &self.settings,
            &mut self.isolation,
            &mut self.prober,
            self.grid,
            &mut self.effects,
        );
        let turn = act(path, &mut context);
        let (due, needs_witnesses) = (path.timeout(), path.needs_witnesses(now));
        if due != was_due {
            self.timeouts.remove(&(was_due, key.clone()));
            self.timeouts.insert((due, key.clone()));
        }
        if turn == Turn::Returned {
            self.end_maintenance(now, &key.peer);
        }
        if turn != Turn::None {
            self.publish_before(first, now, &key.peer);
        }
        if let Turn::Died | Turn::Returned = turn {
            self.recall_witness(key.addr);
        }
        if needs_witnesses {
            self.call_witnesses(now);
        }
        debug_assert!(self.timeouts.len() == self.paths.len(), "{now:?}");
    }

    /// Publishes the peer's state ahead of the effects from index `first` on: a change is published
    /// before its consequences.
    fn publish_before(&mut self, first: usize, now: Time, name: &PeerName) {
        self.publish(now, name);
        if matches!(self.effects.back(), Some(Effect::Publish(_)))
            && let Some(published) = self.effects.pop_back()
        {
            self.effects.insert(first, published);
        }
    }

    /// Publishes the peer's state.
    pub(super) fn publish(&mut self, now: Time, name: &PeerName) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        self.revision += 1;
        let paths: Vec<&Path> = peer
            .addresses
            .iter()
            .filter_map(|addr| {
                self.paths.get(&PathKey {
                    peer: name.clone(),
                    addr: *addr,
                })
            })
            .collect();
        let state = peer.publish(now, self.revision, &paths, &self.isolation, &self.settings);
        let heard = state.last_heard;
        self.effects.push_back(Effect::Publish(state));
        for key in self.paths_of(name) {
            if let Some(path) = self.paths.get_mut(&key) {
                path.told(heard);
            }
        }
    }
}
