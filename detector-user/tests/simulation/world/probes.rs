//! The daemon's own probes, and their answers.

use detector_user::model::{ProbeAnswer, ProbeEvent, ProbeOutcome, ProbeTarget, Signal, Time};

use super::{Asked, Event, World};
use crate::{
    checks::Layer,
    flow::PATHS,
    host::{GATEWAY, card, other_card},
    ticks::us,
    wire::{Frame, Way},
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
        if let ProbeTarget::Flow { flow, cookie } = asked.target {
            self.keepalive_sent(asked, flow, cookie);
            return;
        }
        let on_link = matches!(asked.target, ProbeTarget::Neighbour { .. });
        if on_link && self.own_link_down > 0 {
            self.tell(&asked, ProbeOutcome::Failed { errno: ENETDOWN });
            return;
        }
        self.tell(&asked, ProbeOutcome::Sent);
        if let Some(at) = self.carry_probe(asked.target, Way::Out) {
            self.queue.push(at, Event::ProbeArrives { asked });
        } else {
            self.answer_by_proxy(&asked);
        }
    }

    pub(super) fn probe_arrives(&mut self, asked: &Asked) {
        if let ProbeTarget::Flow { flow, cookie } = asked.target {
            self.keepalive_arrives(asked, flow, cookie);
            return;
        }
        let Some(answer) = self.answer(asked.target) else {
            self.answer_by_proxy(asked);
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

    /// What answers for the host on this node's side of everything.
    fn answer_by_proxy(&mut self, asked: &Asked) {
        let near = matches!(asked.target, ProbeTarget::Neighbour { .. });
        let Some(host) = self.host_at(asked.target).filter(|_| near) else {
            return;
        };
        if self.hosts[host].proxied == 0 || self.own_link_down > 0 {
            return;
        }
        let at = self.now + us(40);
        let event = Box::new(ProbeEvent {
            at,
            probe: asked.probe,
            target: asked.target,
            outcome: ProbeOutcome::Answered(ProbeAnswer::Neighbour(other_card(
                self.hosts[host].addr,
            ))),
        });
        self.queue.push(at, Event::ProbeAnswered { event });
    }

    pub(super) fn probe_answered(&mut self, mut event: ProbeEvent) {
        // It may have waited for the machine to run again.
        event.at = self.now;
        if let Some(host) = self.host_at(event.target) {
            let own = card(self.hosts[host].addr);
            match event.outcome {
                ProbeOutcome::Answered(ProbeAnswer::Neighbour(hardware)) if hardware == own => {
                    self.heard(host, Layer::Link, true);
                }
                ProbeOutcome::Answered(ProbeAnswer::Neighbour(_)) => {}
                _ => self.heard(host, Layer::Host, true),
            }
        }
        self.deliver(Signal::Probe(event));
    }

    /// The daemon learns at once what became of what it has just sent.
    pub(super) fn tell(&mut self, asked: &Asked, outcome: ProbeOutcome) {
        self.delivered(Signal::Probe(ProbeEvent {
            at: self.now,
            probe: asked.probe,
            target: asked.target,
            outcome,
        }));
    }

    pub(super) fn host_at(&self, target: ProbeTarget) -> Option<usize> {
        let addr = target.addr();
        self.hosts.iter().position(|host| host.addr == addr)
    }

    /// The gateway is one hop away, and its wire loses nothing.
    fn carry_probe(&mut self, target: ProbeTarget, way: Way) -> Option<Time> {
        if let Some(host) = self.host_at(target) {
            let near = matches!(target, ProbeTarget::Neighbour { .. });
            let frame = if near { Frame::Link } else { Frame::Segment(0) };
            let paths = !near && way == Way::Out && self.hosts[host].wire.condition.path_lost;
            let misled = paths && self.rng.chance(1.0 / f64::from(PATHS));
            return self.carry(host, way, frame).filter(|_| !misled);
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
        if target.is_connect() && !self.passes_syn(host) {
            return None;
        }
        let state = &self.hosts[host];
        if state.off > 0 {
            return None;
        }
        match target {
            ProbeTarget::Neighbour { .. } => (!state.spec.routed && state.card_answers())
                .then(|| ProbeAnswer::Neighbour(card(state.addr))),
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
