//! Calls that wait on a connection which something on the way has forgotten: they end, although
//! nothing that is sent on the connection shows it.

use std::time::Duration;

use super::{Event, World};
use crate::{flow::Flow, script::Fault, ticks::ms, work::Kind};

/// By then such a call has ended: ten seconds until a snapshot shows it where nothing else happens
/// on the path, five until it is destroyed, and time for the turns that probes take.
const ENDED_WITHIN: Duration = ms(19_000);

impl World {
    /// Which waiting calls must end, now that this fault begins.
    pub(super) fn expect_waiting_ended(&mut self, fault: usize) {
        let settings = &self.script.settings;
        let is_watched = settings.destroy_sockets && !settings.idle_probe_interval.is_zero();
        let Fault::FlowHole { host, ways, .. } = self.script.faults[fault].fault else {
            return;
        };
        if !is_watched || !ways.back() || !self.is_calm(host) {
            return;
        }
        let waits: Vec<_> = (0..self.flows.len())
            .filter(|flow| self.flows[*flow].host == host && self.waits_in_vain(*flow))
            .collect();
        for flow in waits {
            let cookie = self.flows[flow].sender.cookie;
            let event = Event::CheckWaiting {
                fault,
                flow,
                cookie,
            };
            self.queue.push(self.now + ENDED_WITHIN, event);
        }
    }

    pub(super) fn check_waiting(&mut self, fault: usize, flow: usize, cookie: u64) {
        let host = self.flows[flow].host;
        let is_clear = self.hosts[host].wire.condition.is_clear();
        let has_reference = self.flows.iter().enumerate().any(|(index, other)| {
            let known = other.life == self.hosts[host].life && other.sender.heard.is_some();
            // A SYN, sent once a second, takes the place of connections that do not last.
            let lasts = other.work.kind != Kind::Dials;
            index != flow && other.host == host && known && lasts && self.passes(other)
        });
        if !self.is_only_fault(fault) || !is_clear || !has_reference {
            return;
        }
        let is_same = self.flows[flow].sender.cookie == cookie;
        if is_same && self.waits_in_vain(flow) {
            let what = format!("{:?} of {}", self.flows[flow].work, self.hosts[host].name);
            self.checks
                .broken("a call that waits on a forgotten connection ends", what);
            self.explain_violation(host);
        } else {
            self.checks.stats.freed_calls += u64::from(!is_same);
        }
    }

    fn waits_in_vain(&self, flow: usize) -> bool {
        let entry: &Flow = &self.flows[flow];
        let is_known = entry.life == self.hosts[entry.host].life;
        is_known && entry.hole.is_some() && entry.sender.is_waiting(self.now)
    }
}
