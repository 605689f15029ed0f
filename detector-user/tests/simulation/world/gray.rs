//! Faults that affect only a part of the path, or of what answers on it.

use detector_user::model::NeighbourState;

use super::World;
use crate::{script::Fault, tcp::Phase, wire::Condition};

impl World {
    pub(super) fn gray_fault(&mut self, index: usize, begins: bool) {
        let step = |count: &mut u32| *count = if begins { *count + 1 } else { *count - 1 };
        match self.script.faults[index].fault {
            Fault::FlowHole { host, nth, ways } if begins => {
                if let Some(flow) = self.open_flow(host, nth) {
                    self.flows[flow].hole = Some(ways);
                }
            }
            Fault::Proxied { host } => step(&mut self.hosts[host].proxied),
            Fault::Usurped { host } => {
                step(&mut self.hosts[host].usurped);
                let state = match begins {
                    true => NeighbourState::Stale,
                    false => NeighbourState::Reachable,
                };
                if !self.hosts[host].spec.routed {
                    self.tell_neighbour(host, state);
                }
            }
            Fault::GatewayUsurped => {
                step(&mut self.gateway_usurped);
                self.tell_gateway();
            }
            Fault::SynsDropped { host, limit: false } => step(&mut self.hosts[host].syns_dropped),
            Fault::SynsDropped { host, limit: true } => step(&mut self.hosts[host].syns_limited),
            Fault::OwnSyns => step(&mut self.own_syns_dropped),
            Fault::Frozen { host, card } => {
                step(&mut self.hosts[host].frozen);
                if card {
                    step(&mut self.hosts[host].frozen_behind_card);
                }
            }
            Fault::Daemon if begins => self.restart_daemon(),
            _ => {}
        }
        if begins {
            self.expect_stalls(index);
            self.expect_waiting_ended(index);
        }
    }

    /// What other faults than those of the wire itself do to the way to a host.
    pub(super) fn gray_condition(&self, host: usize) -> Condition {
        let state = &self.hosts[host];
        let taken = self.is_usurped(host);
        let still = state.frozen > 0;
        let silent = still && !state.card_answers_frozen();
        Condition {
            cut_out: silent,
            cut_back: silent,
            deaf_out: taken || still,
            deaf_back: still,
            ..Condition::default()
        }
    }

    /// What is sent to it goes to another card.
    pub(super) fn is_usurped(&self, host: usize) -> bool {
        match self.hosts[host].spec.routed {
            true => self.gateway_usurped > 0,
            false => self.hosts[host].usurped > 0,
        }
    }

    /// Whether what is in front of the host lets a new connection pass.
    pub(super) fn passes_syn(&mut self, host: usize) -> bool {
        let now = self.now;
        self.own_syns_dropped == 0 && self.hosts[host].passes_syn(now)
    }

    fn open_flow(&self, host: usize, nth: usize) -> Option<usize> {
        let flows = self.flows.iter().enumerate();
        let open: Vec<_> = flows
            .filter(|(_, flow)| flow.host == host && flow.sender.phase == Phase::Open)
            .map(|(index, _)| index)
            .collect();
        open.get(nth % open.len().max(1)).copied()
    }
}
