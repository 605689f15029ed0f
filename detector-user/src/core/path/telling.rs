//! What others are told of the path: that it was heard, and what the source is to report.

use std::time::Duration;

use super::Path;
use crate::core::{Effect, Time, context::Context, evidence::Layer};

/// How often it is told that the peer was heard, where nothing else changes.
const HEARD_TOLD_EVERY: Duration = Duration::from_secs(1);

impl Path {
    /// Tells others that this host was heard: that this node is not cut off, that its link
    /// carries, that the card in use is the right one.
    pub(super) fn tell_heard(&mut self, context: &mut Context<'_>) {
        let Some(at) = self.evidence.heard.on(Layer::Host) else {
            return;
        };
        if !self.is_dead() && self.told_witness() < Some(at) {
            self.probing.told_witness = Some(at);
            context.isolation.host_heard(self.addr, at);
            if let Some(witness) = self.witness()
                && context.isolation.network.is_elsewhere(&[self.addr])
            {
                let witnesses = &mut context.isolation.witnesses;
                match at > self.doubt.began() {
                    true => witnesses.heard(witness),
                    false => witnesses.was_heard_before(witness),
                }
            }
        }
        let received = self.evidence.heard.on(Layer::Received);
        let is_due = received.is_some_and(|at| {
            self.told_heard
                .is_none_or(|told| at.since(told) >= HEARD_TOLD_EVERY)
        });
        if let (true, Some(at)) = (is_due, received) {
            self.told_heard = received;
            context.effects.push_back(Effect::Heard {
                peer: self.peer.clone(),
                at,
            });
        }
    }

    fn told_witness(&self) -> Option<Time> {
        self.probing.told_witness
    }

    /// Tells the source whether finished handshakes are to be reported from now on: while it
    /// is dead they show that it is back, and while it has no connection that it has one,
    /// which may be cut at any moment.
    pub(in crate::core) fn tell_awaiting(&mut self, context: &mut Context<'_>) {
        let awaits = self.is_dead() || !self.evidence.is_connected();
        if awaits != self.awaits_connects {
            self.awaits_connects = awaits;
            context.effects.push_back(Effect::ReportEstablished {
                peer: self.peer.clone(),
                addr: self.addr,
                on: awaits,
            });
        }
    }

    /// When it was last heard has been told.
    pub(in crate::core) fn told(&mut self, heard: Option<Time>) {
        self.told_heard = heard;
    }
}
