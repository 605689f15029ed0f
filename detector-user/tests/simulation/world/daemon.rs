//! The daemon around the core: signals in, effects out, each with the delay it really has.

use detector_user::model::{
    Breaker, Effect, FlowReading, NetworkEvent, PeerState, Route, Signal, SourceKind, Time, Verdict,
};

use super::{Asked, Event, World};
use crate::{
    checks::state as shown,
    host::{GATEWAY, LINK},
    tcp::Phase,
    ticks::us,
};

impl World {
    pub(super) fn start_daemon(&mut self) {
        self.network(NetworkEvent::Link {
            link: LINK,
            name: "eth0".to_owned(),
            up: self.own_link_down == 0,
        });
        for host in 0..self.hosts.len() {
            let (addr, routed) = (self.hosts[host].addr, self.hosts[host].spec.routed);
            let signal = Signal::PeerConfigured {
                peer: self.hosts[host].name.clone(),
                endpoints: vec![self.hosts[host].endpoint()],
                discovered: false,
            };
            self.deliver(signal);
            let gateway = routed.then_some(GATEWAY);
            let route = Some(Route {
                link: LINK,
                gateway,
            });
            self.network(NetworkEvent::Route { addr, route });
        }
        if self.script.gateway {
            let route = Some(Route {
                link: LINK,
                gateway: None,
            });
            let addr = GATEWAY;
            self.network(NetworkEvent::Route { addr, route });
        }
        self.tell_neighbours();
    }

    /// It ends and starts again: what it knew is gone, and what was under way to it.
    pub(super) fn restart_daemon(&mut self) {
        self.queue.retain(|event| !event.is_of_daemon());
        self.driver.restart();
        self.states.fill(None);
        self.checks.daemon_restarted();
        for flow in &mut self.flows {
            flow.sender.untracked();
        }
        for host in &mut self.hosts {
            host.report_established = false;
        }
        self.start_daemon();
    }

    pub(super) fn network(&mut self, event: NetworkEvent) {
        let at = self.now;
        self.deliver(Signal::Network { at, event });
    }

    /// Hands a signal to the driver's queue, which keeps the order of each sender well
    /// enough: delays differ by less than what lies between two of its signals.
    pub(super) fn deliver(&mut self, signal: Signal) {
        let after = self.rng.between(us(50), us(500));
        self.queue
            .push(self.now + after, Event::Deliver(Box::new(signal)));
    }

    /// A hook's record on the ring, which keeps their order.
    pub(super) fn ring(&mut self, signal: Signal) {
        let after = self.rng.between(us(50), us(1000));
        let at = (self.now + after).max(self.ring_until);
        self.ring_until = at;
        self.queue.push(at, Event::Deliver(Box::new(signal)));
    }

    pub(super) fn delivered(&mut self, signal: Signal) {
        if self.now < self.starved_until {
            self.driver.backlog.push_back(signal);
            return;
        }
        self.handle(signal);
        self.carry_out_effects();
    }

    /// The daemon is run again, with all that has happened before it. Which of its futures
    /// comes first is chance.
    pub(super) fn catch_up(&mut self) {
        if self.now < self.starved_until {
            return;
        }
        if self.rng.chance(0.5) {
            self.driver.timeout(self.now);
            self.carry_out_effects();
        }
        while let Some(signal) = self.driver.backlog.pop_front() {
            self.now = self.now + us(5);
            self.handle(signal);
            self.carry_out_effects();
        }
        self.sleep();
    }

    fn handle(&mut self, signal: Signal) {
        self.trace(|| format!("signal {signal:?}"));
        self.driver.signal(self.now, signal);
    }

    /// The driver's timer goes off: for a time-out that is still wanted, or for none.
    pub(super) fn wake_driver(&mut self, at: Time) {
        if self.driver.sleeping_for != Some(at) {
            return;
        }
        self.driver.sleeping_for = None;
        if self.now < self.starved_until {
            return;
        }
        let due = self.driver.detector.poll_timeout();
        if due.is_none_or(|due| due > self.now) {
            self.sleep();
            return;
        }
        self.driver.timeout(self.now);
        let next = self.driver.detector.poll_timeout();
        self.checks.turned(self.now, next);
        self.carry_out_effects();
    }

    /// Sleeps until the core wants to be called: to the millisecond, and a little longer,
    /// as tokio's timer does. A timer that is queued for earlier does for now.
    fn sleep(&mut self) {
        let Some(at) = self.driver.detector.poll_timeout() else {
            return;
        };
        if self.driver.sleeping_for.is_some_and(|queued| queued <= at) {
            return;
        }
        self.driver.sleeping_for = Some(at);
        let late = self.rng.between(us(50), us(1100));
        self.queue.push(at.max(self.now) + late, Event::Wake { at });
    }

    fn carry_out_effects(&mut self) {
        let mut count = 0;
        while let Some(effect) = self.driver.effect() {
            count += 1;
            if !matches!(effect, Effect::Heard { .. } | Effect::Measured { .. }) {
                self.trace(|| match &effect {
                    Effect::Publish(state) => format!("effect Publish: {}", shown(state)),
                    effect => format!("effect {effect:?}"),
                });
            }
            self.carry_out_effect(effect);
        }
        self.checks.effects(count);
        self.sleep();
    }

    pub(super) fn host_named(&self, name: &detector_user::model::PeerName) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == *name)
    }

    fn carry_out_effect(&mut self, effect: Effect) {
        match effect {
            Effect::ReadSockets { peer, .. } => {
                if let Some(host) = self.host_named(&peer) {
                    self.checks.looked(host, self.now);
                    let after = self.rng.between(us(50), us(1000));
                    self.queue.push(self.now + after, Event::Look { host });
                }
            }
            Effect::Probe {
                probe,
                target,
                give_up_after,
                ..
            } => {
                let asked = self.host_at(target);
                self.checks.probed(self.now, asked);
                let asked = Box::new(Asked {
                    probe,
                    target,
                    sent: self.now,
                    give_up: self.now + give_up_after,
                });
                let after = self.rng.between(us(20), us(300));
                self.queue
                    .push(self.now + after, Event::ProbeSent { asked });
            }
            Effect::DestroySockets(teardown) => self.teardown(teardown),
            Effect::CancelTeardown { peer, .. } => {
                let host = self.host_named(&peer);
                self.queue.retain(
                    |event| !matches!(event, Event::Destroy { host: of, .. } if Some(*of) == host),
                );
            }
            Effect::Publish(state) => self.published(state),
            Effect::ReportEstablished { peer, on, .. } => {
                if let Some(host) = self.host_named(&peer) {
                    self.hosts[host].report_established = on;
                }
            }
            Effect::Heard { .. }
            | Effect::Measured { .. }
            | Effect::Retract { .. }
            | Effect::OverrideEnded { .. } => {}
        }
    }

    fn published(&mut self, state: PeerState) {
        let Some(host) = self.host_named(&state.peer) else {
            return;
        };
        let seems_dead =
            self.seems_dead_by_our_fault(host) || self.seems_mute(host, state.changed_at);
        self.checks.published(host, self.now, &state, seems_dead);
        self.judge_reason(host, &state);
        if state.verdict != Verdict::Alive || state.breaker != Breaker::Closed {
            self.wake(host);
        }
        if let Some(explanation) = self.driver.detector.explain(self.now, &state.peer) {
            self.checks.explained(&explanation);
            self.checks.clauses(self.now, &explanation);
        }
        self.explain_violation(host);
        self.states[host] = Some(state);
    }

    /// Why the core has done, or not done, what broke a rule just now.
    pub(super) fn explain_violation(&mut self, host: usize) {
        let name = &self.hosts[host].name;
        if let Some(explanation) = self.driver.detector.explain(self.now, name) {
            let trouble = self.hosts[host].wire.condition;
            self.checks.explain_violation(&explanation, &trouble);
        }
    }

    /// The reader's thread dumps the sockets with the host's address.
    pub(super) fn look(&mut self, host: usize) {
        if self.now < self.starved_until {
            let after = self.rng.between(us(50), us(2000));
            self.queue
                .push(self.starved_until + after, Event::Look { host });
            return;
        }
        let at = self.now;
        let received = at + us(100);
        let flows = self.readings(host, received);
        let after = self.rng.between(us(150), us(4000));
        let signal = Signal::SocketsRead {
            at,
            source: SourceKind::SockDiag,
            peer: self.hosts[host].name.clone(),
            addr: self.hosts[host].addr,
            flows,
        };
        self.queue
            .push(at + after, Event::Deliver(Box::new(signal)));
    }

    pub(super) fn readings(&mut self, host: usize, received: Time) -> Vec<FlowReading> {
        self.sync(host);
        self.flows
            .iter()
            .filter(|flow| flow.host == host && flow.sender.phase != Phase::Closed)
            .map(|flow| flow.sender.reading(received))
            .collect()
    }
}
