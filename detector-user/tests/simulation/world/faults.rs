//! Faults that begin and end, and what is true of each host while they last.

use detector_user::core::{
    NeighbourState, NetworkEvent, Operation, OperationReport, Outcome, Signal, Verdict,
};

use super::{Event, World};
use crate::{
    host::{LINK, card},
    script::{Fault, Kind, Ways},
    tcp::Phase,
    ticks::ms,
    wire::{Bursts, Condition},
};

/// A host is simulated packet by packet for so long after its last trouble.
const CALM_BEFORE_SLEEP: std::time::Duration = ms(3000);

/// The most that links lose of themselves, all faults together.
const MOST_LOSS: f64 = 0.3;

impl World {
    pub(super) fn fault(&mut self, index: usize, begins: bool) {
        let fault = self.script.faults[index].fault;
        self.trace(|| format!("fault {} {fault:?}", if begins { "begins" } else { "ends" }));
        self.active[index] = begins;
        match fault.host() {
            Some(host) => self.wake(host),
            None => (0..self.hosts.len()).for_each(|host| self.wake(host)),
        }
        let step = |count: &mut u32| *count = if begins { *count + 1 } else { *count - 1 };
        match fault {
            Fault::PowerOff { host, start } => {
                step(&mut self.hosts[host].off);
                if begins {
                    self.hosts[host].down += 1;
                    self.hosts[host].life += 1;
                } else {
                    self.queue.push(self.now + start, Event::Start { host });
                }
            }
            Fault::Restart { host } => self.restart(host, begins),
            Fault::Stop { host, prunes } => self.stop(host, begins, prunes),
            Fault::Flaps { .. } => {
                self.flapped[index] = begins;
                if begins {
                    self.flap(index, true);
                }
            }
            Fault::Reports { .. } if begins => {
                self.queue.push(self.now, Event::Report { index });
            }
            Fault::OwnLink => {
                step(&mut self.own_link_down);
                self.own_link(begins);
            }
            Fault::OwnSwitch => {
                let was_down = self.own_switch_down > 0;
                step(&mut self.own_switch_down);
                if begins && !was_down {
                    self.own_switch.0 = self.now;
                }
                self.own_switch.1 = self.now;
            }
            Fault::Gateway => step(&mut self.gateway_down),
            Fault::Pause if begins => {
                let until = self.now + self.script.faults[index].lasts;
                self.paused_until = self.paused_until.max(until);
            }
            Fault::Starve if begins => {
                let until = self.now + self.script.faults[index].lasts;
                self.starved_until = self.starved_until.max(until);
                self.queue.push(self.starved_until, Event::CatchUp);
            }
            _ => {}
        }
        if fault.host().is_none() && fault != Fault::Gateway {
            let until = self.now + self.script.faults[index].lasts;
            self.checks
                .own_trouble(self.now, if begins { until } else { self.now });
        }
        self.compose();
    }

    pub(super) fn flap(&mut self, index: usize, down: bool) {
        let Fault::Flaps {
            down: lasts, up, ..
        } = self.script.faults[index].fault
        else {
            return;
        };
        if !self.active[index] {
            return;
        }
        self.flapped[index] = down;
        let (after, down) = (if down { lasts } else { up }, !down);
        self.queue
            .push(self.now + after, Event::Flap { index, down });
        self.compose();
    }

    /// A program says that a call has failed, rightly or not.
    pub(super) fn report(&mut self, index: usize) {
        let Fault::Reports { host, every } = self.script.faults[index].fault else {
            return;
        };
        if !self.active[index] {
            return;
        }
        self.queue.push(self.now + every, Event::Report { index });
        let outcome = match self.rng.below(20) {
            0 => Outcome::Succeeded,
            1 => Outcome::Refused,
            2..=4 => Outcome::Unreachable,
            _ => Outcome::TimedOut,
        };
        self.deliver(Signal::Reported {
            reports: vec![OperationReport {
                operation: Operation::Control,
                outcome,
                peer: Some(self.hosts[host].name.clone()),
                lock: None,
                ended_at: self.now,
                duration: ms(10),
                retries: 0,
            }],
        });
    }

    /// Carrier is lost and found; the kernel tells within a jiffy (net/core/link_watch.c).
    fn own_link(&mut self, begins: bool) {
        let up = self.own_link_down == 0;
        if up == begins {
            return;
        }
        let signal = Signal::Network {
            at: self.now + ms(4),
            event: NetworkEvent::Link {
                link: LINK,
                name: "eth0".to_owned(),
                up,
            },
        };
        self.queue
            .push(self.now + ms(4), Event::Deliver(Box::new(signal)));
    }

    fn restart(&mut self, host: usize, begins: bool) {
        if !begins {
            self.program_starts(host);
            return;
        }
        self.hosts[host].down += 1;
        self.hosts[host].life += 1;
        if self.hosts[host].off > 0 {
            return;
        }
        // A killed program's kernel resets what it had open.
        for flow in 0..self.flows.len() {
            let open = matches!(self.flows[flow].sender.phase, Phase::Open | Phase::Closing);
            if self.flows[flow].host == host && open {
                self.reset(flow);
            }
        }
    }

    pub(super) fn program_starts(&mut self, host: usize) {
        self.hosts[host].down -= 1;
        self.hosts[host].serving_since = self.now;
        self.compose();
    }

    fn stop(&mut self, host: usize, begins: bool, prunes: bool) {
        let state = &mut self.hosts[host];
        state.stopped = if begins {
            state.stopped + 1
        } else {
            state.stopped - 1
        };
        state.prunes = begins && prunes;
        let stopped = state.stopped > 0;
        if !stopped {
            (state.queued, state.serving_since) = (0, self.now);
        }
        for flow in 0..self.flows.len() {
            let entry = &mut self.flows[flow];
            if entry.host != host || entry.sender.phase == Phase::Closed {
                continue;
            }
            entry.receiver.prunes = stopped && prunes;
            if stopped {
                entry.receiver.stopped = true;
            } else if entry.receiver.resume() && self.hosts[host].off == 0 {
                // A window update.
                self.acknowledge(flow);
            }
        }
    }

    /// Works out every host's condition from the faults that are on.
    fn compose(&mut self) {
        for host in 0..self.hosts.len() {
            let was_cut = self.checks.is_cut(host);
            let (condition, slow) = self.condition(host);
            let state = &mut self.hosts[host];
            (state.wire.condition, state.slow) = (condition, slow);
            let lossy = condition.loss > 0.0
                || condition.bursts.is_some()
                || condition.jitter > ms(1)
                || condition.delay > ms(1)
                || condition.reorder > 0.0;
            let troubled = lossy || state.stopped > 0 || state.down > 0;
            self.checks.troubled(host, self.now, troubled);
            let is_cut = !self.hosts[host].is_reachable();
            if is_cut && !was_cut {
                self.cut_begins(host);
            } else if was_cut && !is_cut {
                self.cut_ends(host);
            }
        }
    }

    fn condition(&self, host: usize) -> (Condition, std::time::Duration) {
        let mut condition = Condition::default();
        let mut slow = std::time::Duration::ZERO;
        let gateway_cut = self.gateway_down > 0 && self.hosts[host].spec.routed;
        (condition.cut_out, condition.cut_back) = (gateway_cut, gateway_cut);
        let faults = self
            .script
            .faults
            .iter()
            .zip(&self.active)
            .zip(&self.flapped);
        for ((timed, active), flapped) in faults {
            if !active || timed.fault.host() != Some(host) {
                continue;
            }
            match timed.fault {
                Fault::Loss { percent, .. } => {
                    condition.loss = (condition.loss + f64::from(percent) / 100.0).min(MOST_LOSS);
                }
                Fault::Bursts { longest, .. } => {
                    condition.bursts = Some(Bursts {
                        bad: longest,
                        loss: 0.9,
                    });
                }
                Fault::Jitter { most, .. } => condition.jitter = condition.jitter.max(most),
                Fault::Reorder { percent, .. } => condition.reorder = f64::from(percent) / 100.0,
                Fault::Delay { by, .. } => condition.delay = condition.delay.max(by),
                Fault::Cut { ways, .. } => {
                    condition.cut_out |= ways != Ways::Back;
                    condition.cut_back |= ways != Ways::Out;
                }
                Fault::Flaps { .. } => {
                    condition.cut_out |= flapped;
                    condition.cut_back |= flapped;
                }
                Fault::SlowDisk { by, .. } => slow = by,
                _ => {}
            }
        }
        (condition, slow)
    }

    fn cut_begins(&mut self, host: usize) {
        let judged = self.must_be_dead_by(host);
        let cut = self.checks.cut_begins(host, self.now);
        if let Some((at, clean)) = judged {
            self.queue.push(at, Event::CheckDead { host, cut, clean });
        }
        if !self.hosts[host].spec.routed {
            let at = self.now + ms(8000);
            self.queue.push(at, Event::NeighbourGone { host, cut });
        }
    }

    fn cut_ends(&mut self, host: usize) {
        let cut = self.checks.cut_ends(host, self.now);
        let at = self.must_be_closed_by(host);
        self.queue.push(at, Event::CheckClosed { host, cut });
    }

    /// Traffic was sent and the neighbour was asked, each second, three times in vain
    /// (`neigh_timer_handler` in net/core/neighbour.c, after DELAY_PROBE_TIME of 5 s).
    pub(super) fn neighbour_gone(&mut self, host: usize, cut: u32) {
        if !self.checks.is_this_cut(host, cut) || self.own_link_down > 0 {
            return;
        }
        self.hosts[host].neighbour_failed = true;
        self.tell_neighbour(host, NeighbourState::Failed);
    }

    fn tell_neighbour(&mut self, host: usize, state: NeighbourState) {
        let addr = self.hosts[host].addr;
        self.network(NetworkEvent::Neighbour {
            addr,
            link: LINK,
            state,
            hardware: Some(card(addr)),
        });
    }

    /// A packet from the host has arrived; `seen` where the daemon can come to know.
    pub(super) fn heard(&mut self, host: usize, seen: bool) {
        if seen {
            self.checks.heard(host, self.now);
        }
        if std::mem::take(&mut self.hosts[host].neighbour_failed) {
            self.tell_neighbour(host, NeighbourState::Reachable);
        }
    }

    /// Its packets are simulated from here on.
    pub(super) fn wake(&mut self, host: usize) {
        self.hosts[host].calm_since = self.now;
        if self.hosts[host].awake {
            return;
        }
        self.sync(host);
        self.hosts[host].awake = true;
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
                calm && current
            })
    }
}
