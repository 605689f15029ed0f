//! Sending probes within the budget, and asking those who live to bear witness.

use std::{net::IpAddr, time::Duration};

use super::{Detector, Effect};
use crate::core::{
    PeerName, ProbeId, ProbeTarget, Time,
    budget::Urgency,
    peer::{Change, Peer},
    probes::GIVE_UP_AFTER,
    witness::Heard,
};

/// While someone is suspected, witnesses are asked this often.
const WITNESSES_EVERY: Duration = Duration::from_millis(20);

/// How many peers are asked to bear witness, beside the gateways.
const WITNESSES: usize = 3;

impl Detector {
    /// Sends a probe to one of the `peer`'s targets, or to a gateway, where the budget allows
    /// it; says whether it did.
    pub(super) fn ask(
        &mut self,
        now: Time,
        peer: Option<&PeerName>,
        target: ProbeTarget,
        urgency: Urgency,
    ) -> bool {
        if !self.budget.take(now, urgency) {
            return false;
        }
        let probe = ProbeId(self.next_probe);
        self.next_probe += 1;
        if let Some(peer) = peer {
            self.with_peer(now, peer, |peer, _| {
                peer.asked(now, probe, target);
                Change::None
            });
        }
        self.effects.push_back(Effect::Probe {
            probe,
            target,
            give_up_after: GIVE_UP_AFTER,
        });
        true
    }

    /// Someone is suspected: those who live are asked whether this host is cut off.
    pub(super) fn ask_witnesses(&mut self, now: Time) {
        if self.witnesses_due > now {
            return;
        }
        self.witnesses_due = now + WITNESSES_EVERY;
        let mut able: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.can_witness() && self.network.is_elsewhere(&peer.addresses()))
            .map(|(name, peer)| (peer.last_heard(), name.clone()))
            .collect();
        able.sort_unstable_by(|a, b| b.cmp(a));
        for (_, name) in able.into_iter().take(WITNESSES) {
            let questions = self.peers.get(&name).map(Peer::witness_question);
            for target in questions.into_iter().flatten() {
                self.ask(now, Some(&name), target, Urgency::Urgent);
            }
        }
        for target in self.gateways.all() {
            self.ask(now, None, target, Urgency::Urgent);
        }
    }

    /// Those who are believed to live are witnesses, and no others.
    pub(super) fn recall_witnesses(&mut self) {
        let living = self
            .peers
            .values()
            .filter(|peer| self.network.is_elsewhere(&peer.addresses()))
            .filter_map(Peer::witness);
        let gateways = self
            .gateways
            .last_heard()
            .map(|(at, addr)| gateway_heard(addr, at));
        self.witnesses.reset(living.chain(gateways));
    }
}

pub(super) fn gateway_heard(host: IpAddr, at: Time) -> Heard {
    Heard {
        at,
        host,
        can_ask: true,
    }
}
