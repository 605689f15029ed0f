//! Which hosts are probed as witnesses: while a peer is suspected, this node itself may be cut off.

use std::{net::IpAddr, time::Duration};

use super::Detector;
use crate::{
    core::{isolation::Witness, path::Path, schedule::Urgency},
    model::{ProbeTarget, Time},
};

/// How often witnesses are probed while a peer is suspected.
const EVERY: Duration = Duration::from_millis(20);

/// How many peers are probed as witnesses, besides the gateways.
const AT_MOST: usize = 3;

impl Detector {
    /// Probes peers that are alive, unless that was done just now.
    pub(super) fn call_witnesses(&mut self, now: Time) {
        if self.witnesses_due > now {
            return;
        }
        self.witnesses_due = now + EVERY;
        let suspects = self.paths.values().filter(|path| path.needs_witnesses(now));
        let needed = suspects.filter_map(Path::needed_silence).min();
        let needed = needed.unwrap_or(self.settings.detection_time);
        let network = &self.isolation.network;
        let mut able: Vec<_> = self
            .paths
            .iter()
            .filter(|(_, path)| path.can_witness() && network.is_elsewhere(path.addr()))
            .map(|(key, path)| (path.state().last_heard, key.clone()))
            .collect();
        able.sort_unstable_by(|a, b| b.cmp(a));
        for (_, key) in able.into_iter().take(AT_MOST) {
            if let Some(path) = self.paths.get_mut(&key) {
                let was_due = path.timeout();
                let mut context = Self::context(
                    &self.settings,
                    &mut self.isolation,
                    &mut self.prober,
                    self.grid,
                    &mut self.effects,
                );
                path.call_as_witness(now, needed, &mut context);
                let due = path.timeout();
                self.timeouts.remove(&(was_due, key.clone()));
                self.timeouts.insert((due, key));
            }
        }
        let gateways = self.isolation.gateways.wanted(now, needed);
        self.probe_gateways(now, gateways, Urgency::Witness);
    }

    pub(super) fn probe_gateways(
        &mut self,
        now: Time,
        gateways: Vec<ProbeTarget>,
        urgency: Urgency,
    ) {
        if !self.settings.neighbour_probes {
            return;
        }
        for target in gateways {
            let mut context = Self::context(
                &self.settings,
                &mut self.isolation,
                &mut self.prober,
                self.grid,
                &mut self.effects,
            );
            if context.probe(now, target, urgency).is_some()
                && let ProbeTarget::Neighbour { addr, .. } = target
            {
                context.isolation.gateways.asked(addr, now);
            }
        }
    }

    /// The hosts at this address have died, returned, or have another route. If none of them is among
    /// those that were heard last, nothing has to be asked of the others: a thousand peers that die
    /// together must not take a million steps.
    pub(super) fn recall_witness(&mut self, addr: IpAddr) {
        if self.isolation.witnesses.knows(addr) {
            return self.recall_witnesses();
        }
        if !self.isolation.network.is_elsewhere(addr) {
            return;
        }
        for key in self.paths_at(addr) {
            if let Some(witness) = self.paths.get(&key).and_then(Path::witness) {
                self.isolation.witnesses.was_heard_before(witness);
            }
        }
    }

    /// Only peers that are not believed to be dead, and gateways that were heard, are witnesses.
    pub(super) fn recall_witnesses(&mut self) {
        let living = self
            .paths
            .values()
            .filter(|path| self.isolation.network.is_elsewhere(path.addr()))
            .filter_map(Path::witness);
        let gateways = self
            .isolation
            .gateways
            .last_heard()
            .map(|(at, addr)| Witness::gateway(addr, at));
        self.isolation.witnesses.reset(living.chain(gateways));
    }
}
