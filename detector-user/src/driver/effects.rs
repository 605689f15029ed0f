//! Carries out the core's effects.

use tracing::warn;

use super::Driver;
use crate::{
    clock,
    core::Core as _,
    model::{Effect, ProbeEvent, Signal},
};

impl Driver {
    /// Logs cascades that were detected just now.
    pub(super) fn tell_cascades(&mut self) {
        for cascade in self.correlations.take_detected() {
            warn!(
                pattern = cascade.pattern.name,
                component = %cascade.component,
                "cascading failure: {}",
                cascade.summary()
            );
        }
    }

    /// Does what the core requests. Probes that can wait are sent some at a time, so that a thousand
    /// of them do not keep the loop from other events.
    pub(super) fn carry_out(&mut self) {
        self.tell_who_watches();
        self.carry_out_effects();
        let events = self.prober.turn();
        if !events.is_empty() {
            self.probed(events);
            self.carry_out_effects();
        }
    }

    /// Takes the answers to probes that could wait. This comes before a time-out: the core must not
    /// take an answer for missing that is here.
    pub(super) fn take_answers(&mut self) {
        let events = self.prober.read();
        self.probed(events);
    }

    fn probed(&mut self, events: Vec<ProbeEvent>) {
        for event in events {
            self.signal(Signal::Probe(event));
        }
    }

    fn carry_out_effects(&mut self) {
        while let Some(effect) = self.detector.poll_effect() {
            match effect {
                Effect::ReadSockets { peer, addr } => self.reader.request(peer, addr),
                Effect::DestroySockets(teardown) => self.destroyer.request(teardown),
                Effect::CancelTeardown { peer, addr } => self.destroyer.call_off(peer, addr),
                Effect::Probe {
                    probe,
                    target,
                    give_up_after,
                    can_wait: false,
                } => self.prober.send(probe, target, give_up_after),
                Effect::Probe {
                    probe,
                    target,
                    give_up_after,
                    can_wait: true,
                } => self.prober.send_with_others(probe, target, give_up_after),
                Effect::Heard { peer, at } => self.outlets.heard(&peer, at),
                Effect::Measured {
                    peer,
                    addr,
                    measured,
                } => self.outlets.measured(&peer, addr, measured),
                Effect::Publish(state) => {
                    // This comes first: it is what frees programs that do not read verdicts.
                    self.protection.publish(&state);
                    self.dead_peers
                        .published(&state, || self.detector.memories(&state.peer));
                    self.check_links(&state);
                    self.correlations.published(clock::now(), &state);
                    self.tell_cascades();
                    self.look_up(&state);
                    self.outlets.publish(state);
                }
                Effect::OverrideEnded { peer, why } => self.overrides.ended(&peer, why),
                Effect::Retract { peer, revision } => {
                    self.protection.retract(&peer);
                    self.dead_peers.retract(&peer);
                    self.correlations.retracted(&peer);
                    self.outlets.retract(peer, revision);
                }
                Effect::ReportEstablished { peer, addr, on } => {
                    if let Err(error) = self.source.report_established(&peer, addr, on) {
                        warn!(%peer, error = format!("{error:#}"), "a returning peer is noticed later");
                    }
                }
            }
        }
    }
}
