//! What follows from anything that is done to a peer: publishing, new deadlines, and what
//! others learn from it.

use super::{Detector, Effect};
use crate::core::{
    Breaker, PeerName, Spare, Teardown, Time, Verdict,
    peer::{Change, Peer, Surroundings},
};

impl Detector {
    /// Does something to a peer, then what follows from it: publishing and new deadlines.
    pub(super) fn with_peer(
        &mut self,
        now: Time,
        name: &PeerName,
        act: impl FnOnce(&mut Peer, Surroundings<'_>) -> Change,
    ) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let around = Surroundings {
            settings: &self.settings,
            network: &self.network,
            witnesses: &self.witnesses,
            pauses: &self.pauses,
        };
        let before = Before {
            timeout: peer.timeout(),
            is_dead: peer.verdict() == Verdict::Dead,
            is_down: peer.is_down(),
            heard: peer.last_heard(),
        };
        let change = act(peer, around);
        if peer.timeout() != before.timeout {
            self.timeouts.remove(&(before.timeout, name.clone()));
            self.timeouts.insert((peer.timeout(), name.clone()));
        }
        self.publish(name, change);
        self.follow_up(now, name, before);
        debug_assert!(self.timeouts.len() == self.peers.len(), "{now:?}");
    }

    fn publish(&mut self, name: &PeerName, change: Change) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        if change == Change::None {
            return;
        }
        let mut publish = |peer: &mut Peer, breaker: Option<Breaker>| {
            self.revision += 1;
            peer.revision = self.revision;
            let state = peer.state(&self.settings);
            self.effects.push_back(Effect::Publish(match breaker {
                Some(breaker) => state.with_breaker(breaker),
                None => state,
            }));
        };
        if change == Change::Closing {
            publish(peer, Some(Breaker::HalfOpen));
        }
        publish(peer, None);
        peer.told(peer.last_heard());
    }

    fn follow_up(&mut self, now: Time, name: &PeerName, before: Before) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let is_dead = peer.verdict() == Verdict::Dead;
        let is_down = peer.is_down();
        let down_since = peer.down_since(now);
        let heard = peer.last_heard();
        let suspect = peer.needs_witnesses();
        if peer.is_held_alone() {
            self.witnesses.lose();
        }
        if let Some(at) = peer.take_news_of_hearing() {
            self.effects.push_back(Effect::Heard {
                peer: name.clone(),
                at,
            });
        }
        if let Some(order) = peer.take_order() {
            self.effects.push_back(Effect::DestroySockets(Teardown {
                peer: name.clone(),
                generation: order.generation,
                sockets: order.sockets,
                spare: Spare::HeardSince(order.silent_since),
            }));
        }
        if let Some(at) = heard
            && heard > before.heard
            && !is_dead
        {
            if let Some(heard) = peer.witness()
                && self.network.is_elsewhere(&peer.addresses())
            {
                self.witnesses.heard(heard);
            }
            for addr in peer.addresses() {
                self.network.heard(addr, at);
            }
        }
        if let Some(on) = peer.take_news_of_awaiting() {
            self.effects.push_back(Effect::ReportEstablished {
                peer: name.clone(),
                on,
            });
        }
        if is_down && (before.is_down, before.is_dead) != (is_down, is_dead) {
            self.correlations.peer_down(now, name, down_since, is_dead);
            self.tell_cascades();
        } else if before.is_down && !is_down {
            self.correlations.peer_up(name);
        }
        if before.is_dead != is_dead {
            self.recall_witnesses();
        }
        if suspect {
            self.ask_witnesses(now);
        }
    }
}

impl Detector {
    /// Tells of cascades that were detected just now.
    pub(super) fn tell_cascades(&mut self) {
        let detected = self.correlations.take_detected();
        self.effects
            .extend(detected.into_iter().map(Effect::Cascade));
    }
}

/// What a peer was like before something was done to it.
#[derive(Clone, Copy, Debug)]
struct Before {
    timeout: Time,
    is_dead: bool,
    is_down: bool,
    heard: Option<Time>,
}
