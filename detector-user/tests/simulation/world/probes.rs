//! The daemon's own probes, and who answers them.

use detector_user::core::{ProbeAnswer, ProbeEvent, ProbeOutcome, ProbeTarget, Signal, Time};

use super::{Asked, Event, World};
use crate::{
    host::{GATEWAY, card},
    ticks::us,
    wire::Way,
};

const ENETDOWN: u32 = 100;

impl World {
    pub(super) fn probe_sent(&mut self, mut asked: Box<Asked>) {
        if self.now < self.starved_until {
            // The prober is part of the daemon.
            self.queue
                .push(self.starved_until, Event::ProbeSent { asked });
            return;
        }
        asked.give_up = asked.give_up + self.now.since(asked.sent);
        asked.sent = self.now;
        let on_link = matches!(asked.target, ProbeTarget::Neighbour { .. });
        if on_link && self.own_link_down > 0 {
            self.tell(&asked, ProbeOutcome::Failed { errno: ENETDOWN });
            return;
        }
        self.tell(&asked, ProbeOutcome::Sent);
        if let Some(at) = self.carry_probe(asked.target, Way::Out) {
            self.queue.push(at, Event::ProbeArrives { asked });
        }
    }

    pub(super) fn probe_arrives(&mut self, asked: &Asked) {
        let Some(answer) = self.answer(asked.target) else {
            return;
        };
        let Some(at) = self.carry_probe(asked.target, Way::Back) else {
            return;
        };
        if at <= asked.give_up {
            let event = Box::new(ProbeEvent {
                at,
                probe: asked.probe,
                target: asked.target,
                outcome: ProbeOutcome::Answered(answer),
            });
            self.queue.push(at, Event::ProbeAnswered { event });
        }
    }

    pub(super) fn probe_answered(&mut self, mut event: ProbeEvent) {
        // It may have waited for the machine to run again.
        event.at = self.now;
        if let Some(host) = self.host_at(event.target) {
            self.heard(host, true);
        }
        self.deliver(Signal::Probe(event));
    }

    /// The daemon learns at once what became of what it has just sent.
    fn tell(&mut self, asked: &Asked, outcome: ProbeOutcome) {
        self.delivered(Signal::Probe(ProbeEvent {
            at: self.now,
            probe: asked.probe,
            target: asked.target,
            outcome,
        }));
    }

    fn host_at(&self, target: ProbeTarget) -> Option<usize> {
        let addr = target.addr();
        self.hosts.iter().position(|host| host.addr == addr)
    }

    /// The gateway is one hop away, and its wire loses nothing.
    fn carry_probe(&mut self, target: ProbeTarget, way: Way) -> Option<Time> {
        if let Some(host) = self.host_at(target) {
            return self.carry(host, way);
        }
        let is_up = self.own_link_down == 0 && self.own_switch_down == 0 && self.gateway_down == 0;
        (is_up && target.addr() == GATEWAY).then(|| self.now + us(40))
    }

    /// What the target's kernel says to it: ARP and ND are answered while it runs
    /// (net/ipv4/arp.c), a connect as its program stands.
    fn answer(&mut self, target: ProbeTarget) -> Option<ProbeAnswer> {
        let Some(host) = self.host_at(target) else {
            let asks_link = matches!(target, ProbeTarget::Neighbour { .. });
            return asks_link.then(|| ProbeAnswer::Neighbour(card(GATEWAY)));
        };
        let state = &self.hosts[host];
        if state.off > 0 {
            return None;
        }
        match target {
            ProbeTarget::Neighbour { .. } => {
                (!state.spec.routed).then(|| ProbeAnswer::Neighbour(card(state.addr)))
            }
            ProbeTarget::Flow { .. } => None,
            ProbeTarget::Connect(endpoint) | ProbeTarget::ConnectFrom { endpoint, .. } => {
                let listens = endpoint.port == crate::host::PORT && state.down == 0;
                if !listens {
                    return (!state.spec.firewalled).then_some(ProbeAnswer::Reset);
                }
                self.takes_connect(host).then_some(ProbeAnswer::SynAck)
            }
        }
    }
}
