//! Hosts without a fault sleep: none of their packets is simulated.

use detector_user::model::Verdict;

use super::{Event, World};
use crate::{checks::Layer, flow::Flow, script::Kind, tcp::Phase, ticks::ms};

/// A host is simulated packet by packet for so long after its last trouble.
const CALM_BEFORE_SLEEP: std::time::Duration = ms(3000);

impl World {
    /// Its packets are simulated from here on.
    pub(super) fn wake(&mut self, host: usize) {
        self.hosts[host].calm_since = self.now;
        if self.hosts[host].awake {
            return;
        }
        self.sync(host);
        self.hosts[host].awake = true;
        self.answered_asleep(host);
        let round_trip = self.hosts[host].wire.round_trip();
        for flow in 0..self.flows.len() {
            let entry = &mut self.flows[flow];
            if entry.host != host {
                continue;
            }
            if entry.sender.phase == Phase::Closed {
                let epoch = entry.epoch;
                let at = self.now + self.rng.between(ms(0), entry.work.every);
                self.queue.push(at, Event::Dial { flow, epoch });
                continue;
            }
            if let Some(due) = entry.awaiting(self.now, round_trip) {
                let (epoch, attempt) = (entry.epoch, 0);
                self.queue.push(
                    due.max(self.now),
                    Event::Reply {
                        flow,
                        epoch,
                        attempt,
                    },
                );
            }
            self.begin_work(flow);
        }
        self.queue.push(self.now + ms(1000), Event::Settle { host });
    }

    /// While it slept, what it was sent was acknowledged.
    fn answered_asleep(&mut self, host: usize) {
        let answers = |flow: &&Flow| flow.host == host && flow.work.kind != Kind::Download;
        let flows = self.flows.iter().filter(answers);
        if let Some(at) = flows.filter_map(|flow| flow.sender.heard).max() {
            self.checks.heard(host, at, Layer::Host);
        }
    }

    /// Brings the flows of a sleeping host up to now.
    pub(super) fn sync(&mut self, host: usize) {
        if self.hosts[host].awake {
            return;
        }
        let round_trip = self.hosts[host].wire.round_trip();
        for flow in self.flows.iter_mut().filter(|flow| flow.host == host) {
            flow.sync(self.now, round_trip);
        }
    }

    /// Sends the host to sleep when all is well with it.
    pub(super) fn settle(&mut self, host: usize) {
        if !self.hosts[host].awake {
            return;
        }
        let own = self.own_link_down + self.own_switch_down > 0
            || self.now <= self.paused_until.max(self.starved_until) + ms(1);
        if own || !self.hosts[host].is_well() {
            self.hosts[host].calm_since = self.now;
        }
        let calm = self.now.since(self.hosts[host].calm_since) >= CALM_BEFORE_SLEEP;
        let alive = self.states[host]
            .as_ref()
            .is_some_and(|state| state.verdict == Verdict::Alive && !state.isolated);
        if !calm || !alive || !self.flows_are_calm(host) {
            self.queue.push(self.now + ms(1000), Event::Settle { host });
            return;
        }
        self.hosts[host].awake = false;
        for entry in self.flows.iter_mut().filter(|flow| flow.host == host) {
            entry.epoch += 1;
            (entry.timer_queued, entry.delayed_ack_queued) = (None, false);
            entry.sender.catch_up();
            entry.receiver.catch_up(entry.sender.una);
            entry.replied = entry.sender.una;
            entry.next = entry.next.max(self.now);
        }
    }

    fn flows_are_calm(&self, host: usize) -> bool {
        self.flows
            .iter()
            .filter(|flow| flow.host == host)
            .all(|flow| {
                let calm = match flow.work.kind {
                    Kind::Dials => flow.sender.phase == Phase::Closed,
                    _ => flow.sender.is_flowing(self.now),
                };
                let current = flow.life == self.hosts[host].life || flow.work.kind == Kind::Dials;
                calm && current && flow.hole.is_none()
            })
    }
}
