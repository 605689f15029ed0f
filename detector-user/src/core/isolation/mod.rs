//! Whether this node itself is cut off: its links, its next hops, and who else is silent.
//!
//! ```text
//! network    links, routes, neighbours, namespaces, as the kernel reports them
//! gateways   the next hops that stand between this host and its peers
//! cards      which network card answers for an address, and whether it is believed
//! witness    whether any other host is heard
//! pauses     when this machine, or the daemon's loop, stood still
//! ```

mod cards;
mod gateways;
mod network;
mod pauses;
mod witness;

use std::net::IpAddr;

pub(super) use self::{
    cards::Cards,
    gateways::Gateways,
    network::Network,
    pauses::Pauses,
    witness::{HEARD_APART, WITNESSES_ANSWER_WITHIN, Witness, Witnesses},
};
use crate::model::{Bounds, HardwareAddress, NeighbourState, NetworkEvent, Time};

#[derive(Debug)]
pub(super) struct Isolation {
    pub network: Network,
    pub gateways: Gateways,
    pub cards: Cards,
    pub witnesses: Witnesses,
    pub pauses: Pauses,
}

/// Whether a silence may be this node's own fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolated {
    No,
    /// This node's links to the peer are down, or came up just now.
    NoLink,
    /// Others are as silent as the peer.
    NobodyHeard,
}

impl Isolation {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            network: Network::new(bounds),
            gateways: Gateways::default(),
            cards: Cards::new(bounds),
            witnesses: Witnesses::new(bounds),
            pauses: Pauses::default(),
        }
    }

    /// The next hop to an address; the address itself where it is on a link.
    pub(super) fn next_hop(&self, addr: IpAddr) -> IpAddr {
        let gateway = self.network.route(addr).and_then(|route| route.gateway);
        gateway.unwrap_or(addr)
    }

    /// The host at this address has acknowledged something.
    pub(super) fn host_heard(&mut self, addr: IpAddr, at: Time) {
        self.network.heard(addr, at);
        self.cards.heard_tcp(self.next_hop(addr), at);
    }

    /// A card answered a probe of this address; returns whether the answer is believed.
    pub(super) fn probe_answered(&mut self, addr: IpAddr, card: HardwareAddress, at: Time) -> bool {
        self.cards.probe_answered(addr);
        self.card_answered(addr, card, at)
    }

    /// A card answered for this address; returns whether the answer is believed.
    fn card_answered(&mut self, addr: IpAddr, card: HardwareAddress, at: Time) -> bool {
        let is_believed = self.cards.answered(addr, card, at);
        if is_believed && !self.cards.is_shared(addr) && self.gateways.heard(addr, at) {
            self.witnesses.heard(Witness::gateway(addr, at));
        }
        is_believed
    }

    /// Takes in what the kernel reports of a neighbour; returns whether its answer is believed.
    pub(super) fn neighbour(&mut self, at: Time, event: &NetworkEvent) -> bool {
        let NetworkEvent::Neighbour {
            addr,
            state,
            hardware: Some(card),
            ..
        } = event
        else {
            return true;
        };
        self.cards.sends_to(*addr, *card, at);
        match state {
            NeighbourState::Reachable => self.card_answered(*addr, *card, at),
            NeighbourState::Stale | NeighbourState::Failed => false,
        }
    }
}
