//! Everywhere a published state goes: clients, metrics, the log.

use std::{collections::BTreeMap, net::IpAddr};

use tracing::{debug, info};

use super::verdict_line;
use crate::{
    clock,
    model::{Measured, PeerName, PeerState, Time, Verdict},
    serve::{Metrics, board::Board},
    source::stores::PeerSource,
};

/// Called with each published state.
pub(super) type Printer = Box<dyn FnMut(&PeerState) + Send>;

/// Everywhere a published state goes.
pub(super) struct Outlets {
    board: Board,
    pub metrics: Metrics,
    printer: Printer,
    last: BTreeMap<PeerName, PeerState>,
}

impl Outlets {
    pub(super) fn new(board: Board, metrics: Metrics, printer: Printer) -> Self {
        Self {
            board,
            metrics,
            printer,
            last: BTreeMap::new(),
        }
    }

    /// Publishes a change everywhere.
    pub(super) fn publish(&mut self, state: PeerState) {
        let previous = self.last.insert(state.peer.clone(), state.clone());
        if previous.as_ref().map(|p| p.verdict) != Some(state.verdict) {
            info!(
                peer = %state.peer,
                verdict = state.verdict.as_str(),
                breaker = state.breaker.as_str(),
                reason = state.reason.as_str(),
                "{}",
                verdict_line::line(clock::now(), previous.as_ref(), &state)
            );
        }
        debug!(?state, "published");
        self.metrics.state_published(previous.as_ref(), &state);
        (self.printer)(&state);
        self.board.publish(state);
    }

    /// How many peers are known, and how many of them are dead.
    pub(super) fn count(&self) -> (usize, usize) {
        let is_dead = |state: &&PeerState| state.verdict == Verdict::Dead;
        (self.last.len(), self.last.values().filter(is_dead).count())
    }

    /// Sets where the peers come from.
    pub(super) fn set_sources(&self, sources: Vec<PeerSource>) {
        self.board.set_sources(sources);
    }

    /// The state that was last published of the peer.
    pub(super) fn last(&self, peer: &PeerName) -> Option<&PeerState> {
        self.last.get(peer)
    }

    /// Notes that the peer was heard and nothing else changed, for those who ask later.
    pub(super) fn heard(&self, peer: &PeerName, at: Time) {
        self.metrics.heard(peer, at);
        self.board.heard(peer, at);
    }

    /// Notes what was measured of the peer at this address, for those who ask later.
    pub(super) fn measured(&self, peer: &PeerName, addr: IpAddr, measured: Measured) {
        self.board.measured(peer, addr, measured);
    }

    pub(super) fn retract(&mut self, peer: PeerName, revision: u64) {
        self.last.remove(&peer);
        self.metrics.peer_retracted(&peer);
        self.board.retract(peer, revision);
    }
}
