//! What other parts learn of the path between verdicts: that it was heard, what was measured,
//! and what the source should report.

use std::time::Duration;

use super::Path;
use crate::{
    core::{context::Context, evidence::Layer},
    model::{Effect, Measured, Time},
};

/// How often it is published that the peer was heard, or what was measured, if nothing else
/// changes.
const TOLD_EVERY: Duration = Duration::from_secs(1);

impl Path {
    /// Reports that this host was heard: so this node is not cut off, its link carries traffic, and
    /// the card in use is the right one.
    pub(super) fn tell_heard(&mut self, context: &mut Context<'_>) {
        let Some(at) = self.evidence.heard.on(Layer::Host) else {
            return;
        };
        if !self.is_dead() && self.told_witness() < Some(at) {
            self.probing.told_witness = Some(at);
            context.isolation.host_heard(self.addr, at);
            if let Some(witness) = self.witness()
                && context.isolation.network.is_elsewhere(self.addr)
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
                .is_none_or(|told| at.since(told) >= TOLD_EVERY)
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

    /// Takes in what a socket snapshot shows, and tells it if that has changed.
    pub(super) fn measure(&mut self, at: Time, context: &mut Context<'_>) {
        let flows = self.evidence.watched_flows().count();
        let loss = self.evidence.history.observed_loss(at);
        self.measured = Measured {
            flows: u32::try_from(flows).unwrap_or(u32::MAX),
            srtt: self.evidence.rtt().map(|rtt| rtt.srtt),
            loss: (loss * 1000.0).round() / 1000.0,
        };
        let (told_at, told) = self.told_measured;
        if self.measured == told || told_at.is_some_and(|told| at.since(told) < TOLD_EVERY) {
            return;
        }
        self.told_measured = (Some(at), self.measured);
        context.effects.push_back(Effect::Measured {
            peer: self.peer.clone(),
            addr: self.addr,
            measured: self.measured,
        });
    }

    /// Tells the source whether to report finished handshakes from now on. While the peer is Dead
    /// they show that it is back. While it has no connection they show that it has a new one, which
    /// may be cut at any moment.
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

    /// Notes that this time of being last heard was published.
    pub(in crate::core) fn told(&mut self, heard: Option<Time>) {
        self.told_heard = heard;
    }
}
