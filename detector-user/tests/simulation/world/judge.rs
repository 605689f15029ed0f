//! By when a cut or a return must be found: bounds that depend on the cluster's state.

use std::time::Duration;

use detector_user::model::{Breaker, PeerState, Reason, Time, Verdict};

use super::{Event, World};
use crate::{
    checks::{BLUR, Layer, state as shown},
    flow::Flow,
    script::Kind,
    tcp::Phase,
    ticks::ms,
};

/// Nothing was wrong for so long: the path's past weighs nothing.
const CLEAN: Duration = Duration::from_secs(150);

/// The longest time of a decision after a bad history: a detection time of up to 6 s, and the
/// transmissions that the loss requires.
const BAD_PAST: Duration = Duration::from_secs(20);

/// A return is noticed by then: probes that are backed off come seldom.
const RETURN: Duration = ms(2500);

/// Peers that can only be probed by connects to their own port are probed less often, by this
/// factor.
const OPEN_PORT_ONLY: f64 = 10.0;

/// Peers that are asked less often than this are no witnesses.
const WITNESS_INTERVAL: Duration = ms(2000);

/// The margin when something is always unanswered, so that there is no wait for the first demand.
const GRAY_MARGIN: Duration = ms(300);

/// A host without connections is a witness only by connects, and a gateway only by ARP, and both
/// are rare. By this time they have shown that this node is not cut off, and the silence was
/// measured again.
const CONNECTS_WITNESS_WITHIN: Duration = BAD_PAST;

/// The time that the rule may need on a clean path in addition to the detection time: from the cut
/// to the first demand or idle probe, and from the end of the detection time to the socket snapshot
/// that decides.
const MARGIN: Duration = ms(450);

impl World {
    /// The time by which the host must be found dead, now that it is cut off; `None` if nothing
    /// would probe it.
    pub(super) fn must_be_dead_by(&self, host: usize) -> Option<(Time, bool)> {
        let settings = &self.script.settings;
        let idle = !settings.idle_probe_interval.is_zero();
        let is_open = |phase| phase == Phase::Open;
        let mut flows = self.flows.iter().filter(|flow| flow.host == host);
        let asked = flows.any(|flow| {
            is_open(flow.sender.phase) && self.passes(flow) && (flow.is_busy() || idle)
        });
        let alive = self.states[host].as_ref().is_some_and(|state| {
            let believed =
                state.verdict == Verdict::Alive || state.reason == Reason::SlownessReported;
            believed && !state.isolated
        });
        if !asked || !alive || self.is_usurped(host) {
            return None;
        }
        let clean = self.is_calm(host);
        let detection_time = self.detection_time(host);
        let within = if clean {
            let spec = &self.hosts[host].spec;
            let seldom = if spec.routed && spec.firewalled {
                OPEN_PORT_ONLY
            } else {
                1.0
            };
            let idle = settings.idle_probe_interval.mul_f64(1.1 * seldom);
            detection_time + self.margin(host, idle.max(ms(300)) + MARGIN)
        } else {
            detection_time * 2 + settings.idle_probe_interval * 10 + BAD_PAST
        };
        Some((self.now + within, clean))
    }

    /// Nothing was wrong with it for long.
    pub(super) fn is_calm(&self, host: usize) -> bool {
        self.checks.calm_for(host, self.now) >= CLEAN
    }

    /// Where something still answers in its place, or segments of it arrive, it takes longer.
    fn detection_time(&self, host: usize) -> Duration {
        let detection_time = self.script.settings.detection_time;
        let needed = match self.hosts[host].is_gray() {
            true => detection_time.max(self.script.settings.host_detection_time),
            false => detection_time,
        };
        needed + self.connects_begin_after(host)
    }

    /// Where the link is not silent too, a host on which a single flow is unanswered must be asked by
    /// connects for as long as on the flow, and connects begin later. Without idle probes it may
    /// not be known whether the link and other flows answer.
    fn connects_begin_after(&self, host: usize) -> Duration {
        // A connection that is closed at once is not probed.
        let is_asked = |flow: &&Flow| flow.host == host && flow.work.kind != Kind::Dials;
        let flows = self.flows.iter().filter(is_asked);
        let has_link = !self.hosts[host].spec.routed && !self.hosts[host].is_gray();
        let is_unknown = self.script.settings.idle_probe_interval.is_zero();
        match is_unknown || (!has_link && flows.count() == 1) {
            true => (self.script.settings.detection_time / 2).min(ms(1000)),
            false => Duration::ZERO,
        }
    }

    /// The time that it may need in addition to the detection time, but at most `most`.
    fn margin(&self, host: usize, most: Duration) -> Duration {
        let is_owing = |flow: &Flow| {
            let upload = matches!(flow.work.kind, Kind::Upload { .. });
            // One that has backed off in an earlier outage sends nothing for long.
            let flows = flow.is_busy() && flow.sender.is_flowing(self.now);
            flow.host == host && upload && flows && flow.work.every <= ms(50)
        };
        if self.hosts[host].is_gray() && self.flows.iter().any(is_owing) {
            return GRAY_MARGIN;
        }
        most
    }

    /// What is said of a death must be true: whether its card, or segments of it, were heard.
    pub(super) fn judge_reason(&mut self, host: usize, state: &PeerState) {
        let is_new = state.verdict == Verdict::Dead && state.changed_at == self.now;
        let Some(since) = self.checks.cut_since(host).filter(|_| is_new) else {
            return;
        };
        let own = self.checks.own_trouble_since(since - ms(2000));
        if own || !self.is_calm(host) {
            return;
        }
        let heard = |layer, from| self.checks.heard_since(host, layer, from);
        let from = since + ms(50);
        let (link, segments) = (heard(Layer::Link, from), heard(Layer::Received, from));
        let foreign = self.hosts[host].proxied > 0;
        let is_true = match state.reason {
            Reason::HostUnanswered => link || segments || foreign,
            Reason::SendsUnanswered => segments,
            _ => !link && !segments,
        };
        if !is_true {
            let what = format!("card: {link}, segments: {segments}; {}", shown(state));
            self.checks.broken("the reason of a death is true", what);
        }
    }

    pub(super) fn check_dead(&mut self, host: usize, cut: u32, clean: bool) {
        if !self.checks.is_this_cut(host, cut) {
            return;
        }
        let since = self.checks.cut_since(host).unwrap_or(self.now);
        // Held, paused, or heard after all (a cut of one way lets the other through).
        let excused = self.checks.own_trouble_since(since - ms(2000))
            || self.checks.heard_since(host, Layer::Host, since + ms(50));
        if excused || (!self.checks.found_dead(host) && !self.has_witness(host, since)) {
            return;
        }
        let late = since + CONNECTS_WITNESS_WITHIN;
        if !self.checks.found_dead(host) && self.now < late && !self.has_lasting_witness(host) {
            self.queue.push(late, Event::CheckDead { host, cut, clean });
            return;
        }
        let name = self.hosts[host].name.clone();
        let foreign = self.hosts[host].proxied > 0 && !self.hosts[host].card_answers();
        let contested = self.states[host].as_ref().is_some_and(|s| s.contested);
        if foreign && !self.hosts[host].spec.routed && !contested {
            let state = self.states[host].as_ref().map(shown);
            let what = state.unwrap_or_else(|| format!("{name} has no state"));
            self.checks.broken("another card's answers are told", what);
        }
        self.checks.judged(host, self.now, clean, &name);
        self.explain_violation(host);
    }

    /// Whether another host shows that this node is not cut off.
    fn has_witness(&self, host: usize, since: Time) -> bool {
        if self.script.gateway && self.gateway_down + self.gateway_usurped == 0 {
            return true;
        }
        (0..self.hosts.len()).any(|other| {
            let is_alive = self.states[other]
                .as_ref()
                .is_some_and(|state| state.verdict == Verdict::Alive);
            other != host
                && is_alive
                && self.hosts[other].is_reachable()
                && !self.checks.was_cut_since(other, since - ms(5000))
        })
    }

    /// The same by a connection on a path that loses nothing.
    fn has_lasting_witness(&self, host: usize) -> bool {
        let mut flows = self.flows.iter();
        let is_lasting = |flow: &Flow| {
            let open = flow.work.kind != Kind::Dials && flow.sender.phase == Phase::Open;
            let witness = &self.hosts[flow.host];
            let clear = witness.wire.condition.is_clear() && witness.is_reachable();
            flow.host != host && open && clear && self.passes(flow)
        };
        flows.any(is_lasting)
    }

    /// This node's switch is dead, or was a moment ago, and no other host could have shown it: no
    /// gateway is known, and no other peer is heard on connections.
    pub(super) fn seems_dead_by_our_fault(&self, host: usize) -> bool {
        let (since, until) = self.own_switch;
        let now = self.now;
        let over = since == until || now.since(until) > ms(100);
        if self.own_switch_down == 0 && over {
            return false;
        }
        // It was cut off when this node's switch died: whether it has come back, nothing can tell.
        if self.checks.was_cut_since(host, since) {
            return true;
        }
        let gateway = self.script.gateway && self.gateway_down + self.gateway_usurped == 0;
        let interval = self.script.settings.idle_probe_interval;
        let is_probed = !interval.is_zero() && interval <= WITNESS_INTERVAL;
        let is_witness = |other: usize| {
            let open = self.flows.iter().any(|flow| {
                let lasting = flow.work.kind != Kind::Dials;
                flow.host == other && lasting && flow.sender.phase == Phase::Open
            });
            other != host
                && is_probed
                && open
                && !self.checks.was_cut_since(other, since - ms(10_000))
        };
        !gateway && !(0..self.hosts.len()).any(is_witness)
    }

    /// The host is alive, but answers no probe: it accepts no connect, and it has no connection
    /// that it knows and that nothing on the way has forgotten.
    pub(super) fn is_mute(&self, host: usize) -> bool {
        let state = &self.hosts[host];
        let takes_none = state.takes_no_connect() || self.own_syns_dropped > 0;
        let known = |flow: &Flow| {
            let open = flow.sender.phase == Phase::Open && flow.life == state.life;
            flow.host == host && open && self.passes(flow)
        };
        takes_none && !self.flows.iter().any(known)
    }

    /// Nothing on the way has forgotten the connection, or loses all of it.
    pub(super) fn passes(&self, flow: &Flow) -> bool {
        let lost = self.hosts[flow.host].wire.condition.path_lost && flow.is_misled();
        flow.hole.is_none() && !lost
    }

    /// The same, or it was so until so recently that no answer may have arrived yet.
    pub(super) fn seems_mute(&self, host: usize, found: Time) -> bool {
        let until = self.hosts[host].mute_until;
        self.is_mute(host) || until.is_some_and(|until| until + BLUR >= found)
    }

    /// Before something changes that may have a mute host answer.
    pub(super) fn note_mute(&mut self) {
        for host in 0..self.hosts.len() {
            if self.is_mute(host) {
                self.hosts[host].mute_until = Some(self.now);
            }
        }
    }

    pub(super) fn must_be_closed_by(&self, host: usize) -> Time {
        let bad = !self.hosts[host].wire.condition.is_clear();
        self.now + if bad { RETURN * 4 } else { RETURN }
    }

    pub(super) fn check_closed(&mut self, host: usize, cut: u32) {
        let is_back = self.hosts[host].is_reachable() && self.checks.cuts(host) == cut;
        let Some(state) = self.states[host].clone() else {
            return;
        };
        if !is_back {
            return;
        }
        let excused = self.checks.own_trouble_since(self.now - RETURN * 4);
        if excused || !self.can_be_noticed(host) {
            // This node was cut off as well; or the host's program is not there, and its
            // kernel says nothing of itself.
            let at = self.must_be_closed_by(host);
            self.queue.push(at, Event::CheckClosed { host, cut });
            return;
        }
        let is_open = state.would_be_breaker == Breaker::Open || state.verdict == Verdict::Dead;
        self.checks.returned(host, self.now, &state, is_open);
    }

    fn can_be_noticed(&self, host: usize) -> bool {
        let state = &self.hosts[host];
        let served = self.now.since(state.serving_since) >= RETURN;
        let heard = state
            .mute_until
            .is_none_or(|until| self.now.since(until) >= RETURN);
        !self.is_mute(host) && served && heard
    }
}
