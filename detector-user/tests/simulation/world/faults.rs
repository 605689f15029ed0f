//! Begins and ends faults, and works out each host's condition meanwhile.

use detector_user::model::{NetworkEvent, Operation, OperationReport, Outcome, Signal};

use super::{Event, World};
use crate::{
    host::LINK,
    script::Fault,
    tcp::Phase,
    ticks::ms,
    wire::{Bursts, Condition},
};

/// The most that links lose of themselves, all faults together.
const MOST_LOSS: f64 = 0.3;

impl World {
    pub(super) fn fault(&mut self, index: usize, begins: bool) {
        let fault = self.script.faults[index].fault;
        self.trace(|| format!("fault {} {fault:?}", if begins { "begins" } else { "ends" }));
        self.note_mute();
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
                    self.expect_ended(index, host);
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
            _ => self.gray_fault(index, begins),
        }
        if fault.is_own() {
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
        self.note_mute();
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
                || condition.reorder > 0.0
                || condition.large_lost.is_some()
                || condition.path_lost;
            let limited = state.syns_dropped + state.syns_limited + state.usurped > 0;
            let troubled = lossy || limited || state.stopped > 0 || state.down > 0;
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
        let mut condition = self.gray_condition(host);
        let mut slow = std::time::Duration::ZERO;
        let gateway_cut = self.gateway_down > 0 && self.hosts[host].spec.routed;
        condition.cut_out |= gateway_cut;
        condition.cut_back |= gateway_cut;
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
                    condition.cut_out |= ways.out();
                    condition.cut_back |= ways.back();
                }
                Fault::Deaf { ways, .. } => {
                    condition.deaf_out |= ways.out();
                    condition.deaf_back |= ways.back();
                }
                Fault::LargeLost { over, .. } => {
                    let before = condition.large_lost.unwrap_or(over);
                    condition.large_lost = Some(before.min(over));
                }
                Fault::PathLost { .. } => condition.path_lost = true,
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
        let bursts = self.hosts[host].wire.condition.bursts;
        let burst = bursts.map_or(std::time::Duration::ZERO, |bursts| bursts.bad);
        let cut = self.checks.cut_begins(host, self.now, burst);
        if let Some((at, clean)) = judged {
            self.queue.push(at, Event::CheckDead { host, cut, clean });
        }
        if !self.hosts[host].spec.routed {
            let at = self.now + ms(8000);
            self.queue.push(at, Event::NeighbourGone { host, cut });
        }
    }

    fn cut_ends(&mut self, host: usize) {
        let wire = &self.hosts[host].wire;
        let round_trip = wire.round_trip() + wire.condition.jitter * 2;
        let cut = self.checks.cut_ends(host, self.now, round_trip);
        let at = self.must_be_closed_by(host);
        self.queue.push(at, Event::CheckClosed { host, cut });
    }
}
