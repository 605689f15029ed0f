//! Tells the sources which peers to watch.

use tracing::warn;

use super::{Driver, tasks::PeerFinder};
use crate::{
    clock,
    model::{PeerName, PeerState, Verdict},
};

impl Driver {
    /// Follows what the programs on this host say of their peers.
    pub(super) fn follow_stores(&mut self) {
        let found = self.found.now();
        if let PeerFinder::Resolver(resolver, _) = &mut self.finding {
            self.stores.follow(&found, resolver);
        }
        self.layout.found(&found);
        self.outlets.set_sources(found.sources());
    }

    /// Takes over what the run before knew of a peer that was dead.
    pub(super) fn remember(&mut self, peer: &PeerName) {
        for memory in self.dead_peers.of(peer) {
            self.detector.remember(clock::now(), peer, memory);
        }
    }

    /// Passes changed peers to the sources, many changes at once.
    pub(super) fn tell_who_watches(&mut self) {
        if std::mem::take(&mut self.watch_due) {
            self.watch();
            self.watch_network();
        }
    }

    pub(super) fn watch(&mut self) {
        self.protection.watch(&self.watched);
        let refused = self.source.watch(&self.watched).err();
        // Said once, not with each attempt.
        if let Some(error) = &refused
            && !self.unwatched
        {
            warn!(
                error = format!("{error:#}"),
                "the source keeps watching what it did before; trying again"
            );
        }
        self.unwatched = refused.is_some();
    }

    fn watch_network(&self) {
        let endpoints = self.watched.values().flatten();
        self.network
            .watch(endpoints.map(|endpoint| endpoint.addr).collect());
    }

    /// Reads the links when a peer is Suspect: this node may be isolated, and the kernel may report
    /// a lost carrier late.
    pub(super) fn check_links(&self, state: &PeerState) {
        if state.verdict == Verdict::Suspect {
            self.network.check_links();
        }
    }

    /// Looks up the name of a peer that has just died: it may have another address by now.
    pub(super) fn look_up(&self, state: &PeerState) {
        let before = self.outlets.last(&state.peer).map(|last| last.verdict);
        if state.verdict == Verdict::Dead && before != Some(Verdict::Dead) {
            self.names.look_up(&state.peer);
        }
    }
}
