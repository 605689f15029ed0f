//! Which card answers for an address on the link, and what the observer's kernel reports about it.

use std::net::IpAddr;

use detector_user::model::{HardwareAddress, NeighbourState, NetworkEvent};

use super::World;
use crate::{
    checks::Layer,
    host::{GATEWAY, LINK, card, other_card},
};

impl World {
    /// Traffic was sent and the neighbour was asked, each second, three times in vain
    /// (`neigh_timer_handler` in net/core/neighbour.c, after DELAY_PROBE_TIME of 5 s).
    pub(super) fn neighbour_gone(&mut self, host: usize, cut: u32) {
        let state = &self.hosts[host];
        let answered = state.card_answers() || state.proxied > 0;
        if !self.checks.is_this_cut(host, cut) || self.own_link_down > 0 || answered {
            return;
        }
        self.hosts[host].neighbour_failed = true;
        self.tell_neighbour(host, NeighbourState::Failed);
    }

    /// Reports the kernel's neighbour entries that a starting daemon may need.
    pub(super) fn tell_neighbours(&mut self) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].spec.routed {
                continue;
            }
            let state = match self.hosts[host].neighbour_failed {
                true => NeighbourState::Failed,
                false => NeighbourState::Stale,
            };
            self.tell_neighbour(host, state);
        }
        if self.script.gateway {
            self.tell_gateway();
        }
    }

    pub(super) fn tell_neighbour(&mut self, host: usize, state: NeighbourState) {
        let addr = self.hosts[host].addr;
        let hardware = match self.hosts[host].usurped > 0 {
            true => other_card(addr),
            false => card(addr),
        };
        self.tell_entry(addr, state, hardware);
    }

    pub(super) fn tell_gateway(&mut self) {
        let hardware = match self.gateway_usurped > 0 {
            true => other_card(GATEWAY),
            false => card(GATEWAY),
        };
        self.tell_entry(GATEWAY, NeighbourState::Stale, hardware);
    }

    fn tell_entry(&mut self, addr: IpAddr, state: NeighbourState, hardware: HardwareAddress) {
        self.network(NetworkEvent::Neighbour {
            addr,
            link: LINK,
            state,
            // An entry that failed has none.
            hardware: (state != NeighbourState::Failed).then_some(hardware),
        });
    }

    /// A packet from the host has arrived, which proves so much; `seen` where the daemon can
    /// come to know.
    pub(super) fn heard(&mut self, host: usize, layer: Layer, seen: bool) {
        if seen {
            self.checks.heard(host, self.now, layer);
        }
        if std::mem::take(&mut self.hosts[host].neighbour_failed) {
            self.tell_neighbour(host, NeighbourState::Reachable);
        }
    }
}
