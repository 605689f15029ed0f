//! Connections that stall while their peer is alive: they are published and ended, and no others
//! are ended.

use std::time::Duration;

use detector_user::model::{FlowId, PeerState, Reason, Time, Verdict};

use super::{Event, START, World};
use crate::{checks::BLUR, flow::Flow, script::Fault, tcp::Phase, ticks::ms};

/// By then a stalled flow is published: three time-outs and two seconds, plus the time for
/// snapshots.
const TOLD_WITHIN: Duration = ms(3000);

/// No flow is published as stalled within 2 s after a doubt about its host, so the checks wait.
const POSTPONED_BY: Duration = ms(2200);

/// By then it is ended: five seconds, plus the time for snapshots and for the teardown.
const ENDED_WITHIN: Duration = ms(5500);

/// Where few probes can be compared with others, a flow is ended only once chance does not explain
/// its own unanswered retransmissions; on a clean path these are enough.
const CERTAIN_AFTER: u32 = 6;

/// By then the program has dialled again, and it has shown whether the new connection works.
const OVER_WITHIN: Duration = ms(11_000);

/// The shortest time without progress that may be called a stall.
const STALLED: Duration = ms(2000);

/// Calls that wait for a restarted host end within this time after it answers.
const RESTARTED: Duration = ms(2000);

/// An answer that comes while the last snapshot is taken is not in it.
const SNAPSHOT_TAKES: Duration = ms(5);

/// For this long nothing is destroyed behind a next hop whose address another card has.
const CARD_SETTLES: Duration = ms(10_000);

/// A flow that waits for data is asked with the idle probes. If a path comes back between two of
/// them, that shows only with the next one.
const ASKED_AGAIN: Duration = ms(500);

/// Segments that show that a path loses little.
const WELL_KNOWN: u64 = 400;

/// A flow that cannot but stall, and what of it is looked at next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    fault: usize,
    host: usize,
    flow: usize,
    cookie: u64,
    stage: Stage,
    /// The checks were postponed because the host was in doubt.
    postponed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Told,
    Ended,
    Over,
}

impl World {
    /// Which flows stall, now that this fault begins.
    pub(super) fn expect_stalls(&mut self, fault: usize) {
        let Some(host) = self.script.faults[fault].fault.host() else {
            return;
        };
        if !self.is_calm(host) {
            return;
        }
        let stalls: Vec<_> = (0..self.flows.len())
            .filter(|flow| self.flows[*flow].host == host && self.stalls_by(fault, *flow))
            .map(|flow| Stall {
                fault,
                host,
                flow,
                cookie: self.flows[flow].sender.cookie,
                stage: Stage::Told,
                postponed: false,
            })
            .collect();
        for stall in stalls {
            let after = TOLD_WITHIN + self.flows[stall.flow].work.every;
            self.queue
                .push(self.now + after, Event::CheckStall { stall });
        }
    }

    fn stalls_by(&self, fault: usize, flow: usize) -> bool {
        let flow = &self.flows[flow];
        let is_hit = match self.script.faults[fault].fault {
            Fault::FlowHole { .. } => flow.hole.is_some(),
            Fault::LargeLost { over, .. } => flow.work.size > over,
            Fault::PathLost { .. } => flow.is_misled() && self.is_well_known(flow.host),
            _ => false,
        };
        // A flow that has backed off in an earlier outage of this node sends nothing for long. Until
        // it sends, nothing shows that it is stuck.
        is_hit && flow.is_busy() && flow.sender.is_flowing(self.now)
    }

    /// So much was sent to the host without loss that the daemon's lost connects on a bad path do
    /// not look like loss on it, which would require more retransmissions.
    fn is_well_known(&self, host: usize) -> bool {
        let flows = self.flows.iter().filter(|flow| flow.host == host);
        flows.map(|flow| flow.sender.end).sum::<u64>() >= WELL_KNOWN
    }

    pub(super) fn check_stall(&mut self, mut stall: Stall) {
        if !self.is_only_fault(stall.fault) {
            return;
        }
        if self.is_in_doubt(stall) {
            stall.postponed = true;
            let later = self.now + POSTPONED_BY;
            self.queue.push(later, Event::CheckStall { stall });
            return;
        }
        let next = match stall.stage {
            Stage::Told => {
                self.check_told(stall);
                Some((Stage::Ended, ENDED_WITHIN - TOLD_WITHIN))
            }
            Stage::Ended => self
                .check_stall_ended(stall)
                .then_some((Stage::Over, OVER_WITHIN - ENDED_WITHIN)),
            Stage::Over => {
                self.check_over(stall);
                None
            }
        };
        if let Some((stage, after)) = next {
            stall.stage = stage;
            self.queue
                .push(self.now + after, Event::CheckStall { stall });
        }
    }

    /// The host itself is in doubt, or was until just now: what a flow sent before says nothing about
    /// the flow. While a flow is stuck, a host answers fewer keepalives than the daemon sends
    /// (`tcp_invalid_ratelimit`), so that doubts come; they may delay the checks, but only once.
    fn is_in_doubt(&self, stall: Stall) -> bool {
        let is_doubt = |state: &PeerState| {
            state.verdict != Verdict::Degraded && self.now.since(state.changed_at) < POSTPONED_BY
        };
        let state = self.states[stall.host].as_ref();
        stall.stage == Stage::Told && !stall.postponed && state.is_some_and(is_doubt)
    }

    fn check_told(&mut self, stall: Stall) {
        let Some(state) = self.states[stall.host].clone() else {
            return;
        };
        if !self.is_stuck(stall) {
            return;
        }
        self.checks.stats.stalls += 1;
        let is_told = match state.verdict {
            Verdict::Degraded => matches!(
                state.reason,
                Reason::FlowsStalled | Reason::LargeSegmentsLost
            ),
            // Another doubt may have come; the flow is counted all the same.
            verdict => verdict == Verdict::Suspect && stall.postponed,
        };
        if !is_told || state.stalled_flows == 0 {
            self.checks
                .broken("a stalled flow is told", format!("{stall:?}: {state:?}"));
            self.explain_violation(stall.host);
        }
    }

    /// Returns whether the check is over.
    fn check_stall_ended(&mut self, stall: Stall) -> bool {
        if !self.script.settings.destroy_sockets {
            return true;
        }
        if self.is_stuck(stall) && self.may_be_chance(stall) {
            let later = self.now + ms(1000);
            self.queue.push(later, Event::CheckStall { stall });
            return false;
        }
        if self.is_stuck(stall) {
            let state = self.states[stall.host].clone();
            self.checks
                .broken("a stalled flow is ended", format!("{stall:?}: {state:?}"));
            self.explain_violation(stall.host);
        } else {
            self.checks.stats.freed += 1;
        }
        true
    }

    /// One of several paths loses everything, so that those flows are lost too that could serve as
    /// the reference.
    fn may_be_chance(&self, stall: Stall) -> bool {
        let fault = &self.script.faults[stall.fault].fault;
        let has_few_answers = matches!(fault, Fault::PathLost { .. });
        has_few_answers && self.flows[stall.flow].sender.rto_count() < CERTAIN_AFTER
    }

    /// A hole is gone with its connection; where large segments are lost, a new one stalls as well.
    fn check_over(&mut self, stall: Stall) {
        let Some(state) = self.states[stall.host].clone() else {
            return;
        };
        let timed = self.script.faults[stall.fault];
        let lasts = START + timed.at + timed.lasts > self.now;
        let wrong = match timed.fault {
            Fault::FlowHole { .. } => !self.is_stuck(stall) && state.verdict != Verdict::Alive,
            Fault::LargeLost { .. } => lasts && state.reason != Reason::LargeSegmentsLost,
            _ => false,
        };
        if wrong && self.script.settings.destroy_sockets {
            self.checks.broken(
                "what comes of a stalled flow is told",
                format!("{stall:?}: {state:?}"),
            );
        }
    }

    /// It is still this connection, and still nothing is acknowledged.
    fn is_stuck(&self, stall: Stall) -> bool {
        let sender = &self.flows[stall.flow].sender;
        sender.cookie == stall.cookie && sender.is_stalled_for(self.now, STALLED)
    }

    /// No other fault was near it, nor is.
    pub(super) fn is_only_fault(&self, index: usize) -> bool {
        let (host, at) = {
            let timed = self.script.faults[index];
            (timed.fault.host(), timed.at)
        };
        let (from, now) = (at.saturating_sub(ms(5000)), self.now.since(START));
        let mut others = self.script.faults.iter().enumerate();
        !others.any(|(other, timed)| {
            let concerns = timed.fault.host().is_none() || timed.fault.host() == host;
            let starts = match timed.fault {
                Fault::PowerOff { start, .. } => start,
                _ => Duration::ZERO,
            };
            let until = timed.at + timed.lasts + starts;
            other != index && concerns && timed.at <= now && until >= from
        })
    }

    /// A host is back with another life: what it does not know any more ends soon.
    pub(super) fn expect_ended(&mut self, fault: usize, host: usize) {
        let interval = self.script.settings.idle_probe_interval;
        let is_asked = !interval.is_zero() && interval <= ms(500);
        if is_asked {
            let life = self.hosts[host].life;
            let event = Event::CheckEnded { fault, host, life };
            self.queue.push(self.now + RESTARTED, event);
        }
    }

    pub(super) fn check_ended(&mut self, fault: usize, host: usize, life: u32) {
        let is_this = self.hosts[host].life == life && self.hosts[host].is_reachable();
        if !is_this || !self.is_only_fault(fault) {
            return;
        }
        let waits = |flow: &&Flow| {
            let open = matches!(flow.sender.phase, Phase::Open | Phase::Closing);
            // What is lost on the way is answered by no reset.
            flow.host == host && open && flow.life != life && flow.hole.is_none()
        };
        self.checks.stats.restarts += 1;
        if let Some(flow) = self.flows.iter().find(waits) {
            let what = format!("{:?} of {}", flow.work, self.hosts[host].name);
            self.checks
                .broken("a call to a host that was started anew ends", what);
        }
    }

    /// Checks a teardown: a dead peer's sockets are not destroyed too early, and of a live peer
    /// only stalled ones are.
    pub(super) fn judge_teardown(&mut self, host: usize, sockets: &[(FlowId, u64)]) {
        if self.checks.found_dead(host) {
            self.judge_death(host, sockets.len());
            return;
        }
        let now = self.now;
        let is_named = |flow: &Flow| {
            let sender = &flow.sender;
            sockets.contains(&(sender.id, sender.cookie)) && sender.phase != Phase::Closed
        };
        let mut named = self.flows.iter().filter(|flow| is_named(flow));
        let is_back = self.is_path_back_since(host, now - ASKED_AGAIN);
        let is_lost =
            |flow: &Flow| is_back || flow.sender.is_stalled_for(now, STALLED) || !self.passes(flow);
        if let Some(flow) = named.find(|flow| !is_lost(flow)) {
            let what = format!("{:?} of {}", flow.sender, self.hosts[host].name);
            self.checks
                .broken("of a live peer only stalled flows are destroyed", what);
        }
    }

    /// One of several paths to a host lost everything, and has worked again since then.
    fn is_path_back_since(&self, host: usize, since: Time) -> bool {
        self.script.faults.iter().any(|timed| {
            let is_path = matches!(timed.fault, Fault::PathLost { host: lost } if lost == host);
            let end = START + timed.at + timed.lasts;
            is_path && since <= end && end <= self.now
        })
    }

    /// Another card has the address for a while, and the host itself is whole: its own card has
    /// answered since the daemon asks.
    fn is_kept_for_its_card(
        &self,
        host: usize,
        heard: Option<Duration>,
        asked: Option<Duration>,
    ) -> bool {
        let is_whole = self.hosts[host].off == 0
            && asked.is_some_and(|asked| !self.checks.was_cut_since(host, self.now - asked));
        is_whole && self.is_usurped(host) && heard.is_some_and(|heard| heard < CARD_SETTLES)
    }

    /// The destroy delay of a death with this many sockets. Few cannot agree. Those that ended in
    /// the silence count as well, so this is not exact near that number.
    fn destroy_delay(&self, sockets: usize) -> Duration {
        let settings = &self.script.settings;
        match sockets {
            0 | 1 => settings.destroy_delay,
            _ => settings.destroy_delay.min(settings.fast_destroy_delay),
        }
    }

    fn judge_death(&mut self, host: usize, sockets: usize) {
        let settings = &self.script.settings;
        let (now, name) = (self.now, self.hosts[host].name.clone());
        let since = |at: Option<Time>| at.map(|at| now.since(at));
        let heard = since(self.checks.last_answer_before(host, now - SNAPSHOT_TAKES));
        let asked = since(self.checks.asked_since(host));
        let own = self.own_link_down + self.own_switch_down > 0;
        // Of one that was found dead before and is back by now, nothing can be heard.
        let is_cut = !self.hosts[host].is_reachable() || self.checks.died_before_own(host, now);
        let what = format!("{name}: answered {heard:?} ago, asked for {asked:?}");
        // An answer that others overtook acknowledges nothing new when it comes.
        let blur = BLUR + self.hosts[host].wire.condition.jitter;
        let rule = if heard.is_some_and(|heard| heard + blur < self.destroy_delay(sockets)) {
            "nothing is destroyed before the destroy delay"
        } else if asked.is_none_or(|asked| asked + BLUR < settings.detection_time) {
            "nothing is destroyed before the daemon has asked for a detection time"
        } else if self.is_kept_for_its_card(host, heard, asked) {
            "nothing is destroyed while another card has the address"
        } else if own && !is_cut && !self.seems_dead_by_our_fault(host) {
            "nothing is destroyed while this node is cut off"
        } else {
            return;
        };
        self.checks.broken(rule, what);
    }
}
