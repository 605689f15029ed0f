//! Hands each signal to the paths that it concerns.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Detector, PathKey};
use crate::{
    core::{isolation::Isolation, session::Turn},
    model::{
        FlowEvent, FlowReading, NamespaceChange, NetworkEvent, OperationReport, ProbeAnswer,
        ProbeEvent, ProbeOutcome, SourceKind, Time,
    },
};

impl Detector {
    pub(super) fn sockets(
        &mut self,
        now: Time,
        at: Time,
        source: SourceKind,
        key: PathKey,
        flows: Vec<FlowReading>,
    ) {
        self.isolation.network.flows(&flows);
        self.with_path(now, &key, |path, context| {
            path.sockets(now, at, source, flows, context)
        });
    }

    /// Takes in the reports of the node's own programs.
    pub(super) fn reported(&mut self, now: Time, reports: &[OperationReport]) {
        for report in reports {
            let Some(peer) = &report.peer else { continue };
            for key in self.paths_of(peer) {
                self.with_path(now, &key, |path, context| {
                    path.reported(now, report, context)
                });
            }
        }
    }

    pub(super) fn flow_event(&mut self, now: Time, event: &FlowEvent) {
        for key in self.paths_at(event.flow.remote.ip()) {
            self.with_path(now, &key, |path, context| match path.is_watched(event) {
                true => path.event(now, event, context),
                false => Turn::None,
            });
        }
    }

    pub(super) fn probe(&mut self, now: Time, event: &ProbeEvent) {
        self.prober.turns.told(now, event.probe, event.at);
        let addr = event.target.addr();
        let was_contested = self.isolation.cards.is_contested(addr, now);
        let is_believed = match event.outcome {
            ProbeOutcome::Answered(ProbeAnswer::Neighbour(card)) => {
                self.isolation.probe_answered(addr, card, event.at)
            }
            _ => true,
        };
        for key in self.paths_at(addr) {
            self.with_path(now, &key, |path, context| {
                path.probe(now, event, is_believed, context)
            });
        }
        self.publish_contest(now, addr, was_contested);
    }

    pub(super) fn network(&mut self, now: Time, at: Time, event: &NetworkEvent) {
        let neighbour = match event {
            NetworkEvent::Neighbour { addr, .. } => Some(*addr),
            _ => None,
        };
        let was_contested =
            neighbour.is_some_and(|addr| self.isolation.cards.is_contested(addr, now));
        let is_believed = self.isolation.neighbour(at, event);
        let before = self.gateway_of(event);
        let is_new = self.isolation.network.event(at, event);
        let concerned = match event {
            NetworkEvent::Link { .. } if !is_new => return,
            NetworkEvent::Link { .. } => self.paths.keys().cloned().collect(),
            NetworkEvent::Route { .. } if !is_new => return,
            NetworkEvent::Route { addr, .. } | NetworkEvent::Neighbour { addr, .. } => {
                self.paths_at(*addr)
            }
        };
        if let NetworkEvent::Route { addr, .. } = event {
            self.set_gateways(now, before, self.gateway_of(event));
            self.recall_witness(*addr);
        }
        for key in concerned {
            self.with_path(now, &key, |path, context| {
                path.network(now, at, event, is_believed, context)
            });
        }
        if let Some(addr) = neighbour {
            self.publish_contest(now, addr, was_contested);
        }
    }

    /// The gateway on the way to the address that an event is about, as known now.
    fn gateway_of(&self, event: &NetworkEvent) -> Option<IpAddr> {
        match event {
            NetworkEvent::Route { addr, .. } => self.isolation.network.route(*addr)?.gateway,
            NetworkEvent::Link { .. } | NetworkEvent::Neighbour { .. } => None,
        }
    }

    /// A route was `before` by way of a gateway, and is `now_by` way of another. Thousands of peers
    /// may be behind one gateway: those that were known are not collected for each of them.
    fn set_gateways(&mut self, now: Time, before: Option<IpAddr>, now_by: Option<IpAddr>) {
        let Isolation {
            gateways, network, ..
        } = &mut self.isolation;
        let is_known = now_by.is_none_or(|addr| gateways.is_known(addr));
        if before.is_some() || !is_known {
            gateways.set(now, network.gateways());
            self.recall_witnesses();
        }
    }

    /// When an address has just become contested, publishes every peer that is reached through it.
    pub(super) fn publish_contest(&mut self, now: Time, addr: IpAddr, was_contested: bool) {
        if was_contested || !self.isolation.cards.is_contested(addr, now) {
            return;
        }
        let reached = |key: &&PathKey| self.isolation.next_hop(key.addr) == addr;
        let names: BTreeSet<_> = self.paths.keys().filter(reached).collect();
        let names: Vec<_> = names.into_iter().map(|key| key.peer.clone()).collect();
        for name in names {
            self.publish(now, &name);
        }
    }

    pub(super) fn namespace(&mut self, now: Time, netns: u32, change: NamespaceChange) {
        self.isolation.network.namespace(netns, change);
        for key in self.paths.keys().cloned().collect::<Vec<_>>() {
            self.with_path(now, &key, |path, context| {
                match change {
                    NamespaceChange::Watched => path.namespace_watched(now),
                    NamespaceChange::Unreadable => {
                        path.forget_namespace(now, netns, false, context);
                    }
                    NamespaceChange::Gone => path.forget_namespace(now, netns, true, context),
                }
                Turn::None
            });
        }
    }
}
