//! The rules that must always hold, compared with the true state of the cluster.

mod clauses;
mod shown;
mod stats;
mod truth;

use std::{collections::VecDeque, fmt, time::Duration};

use detector_user::model::{Breaker, Explanation, PeerState, Reason, Settings, Time, Verdict};

use self::truth::Truth;
pub use self::{
    shown::state,
    stats::{Stats, Violation},
    truth::Layer,
};
use crate::{script::Script, ticks::ms};

/// The largest difference between the truth and what the kernel reports: time stamps in jiffies,
/// delays on the way, and the duration of a snapshot.
pub const BLUR: Duration = ms(25);

/// The most snapshots of one peer's sockets in a second: one in 10 ms, and one more.
const MOST_SNAPSHOTS: u32 = 101;

/// The most effects of one turn for each peer.
const MOST_EFFECTS: usize = 40;

const HISTORY: usize = 64;

#[derive(Debug)]
pub struct Checks {
    settings: Settings,
    hosts: Vec<Truth>,
    /// The times at which this machine itself had a fault.
    own: VecDeque<(Time, Time)>,
    violation: Option<Violation>,
    second: u64,
    probes: u32,
    turns: u32,
    /// The number of consecutive turns after which the next was due at once.
    behind: u32,
    pub stats: Stats,
}

impl Checks {
    pub fn new(hosts: usize, script: &Script) -> Self {
        Self {
            settings: script.settings.clone(),
            hosts: vec![Truth::default(); hosts],
            own: VecDeque::new(),
            violation: None,
            second: 0,
            probes: 0,
            turns: 0,
            behind: 0,
            stats: Stats::default(),
        }
    }

    pub fn take_violation(&mut self) -> Option<Violation> {
        self.violation.take()
    }

    /// Records why the core did what has just broken a rule.
    pub fn explain_violation(&mut self, explanation: &Explanation, wire: &dyn fmt::Debug) {
        if let Some(violation) = &mut self.violation
            && !violation.what.contains(&explanation.summary)
        {
            let Explanation {
                summary,
                silence,
                clauses,
                ..
            } = explanation;
            violation.what += &format!("\n{summary}\n{silence:?}\nthe wire: {wire:?}");
            for clause in clauses {
                violation.what += &format!("\n{}", shown::clause(clause));
            }
        }
    }

    /// A rule is broken; only the first violation is reported.
    pub fn broken(&mut self, rule: &'static str, what: String) {
        self.violation.get_or_insert(Violation::new(rule, what));
    }

    /// A state was published. No peer may be dead unless it is cut off, or unless it seems to be
    /// and no other host can show that it is not.
    pub fn published(&mut self, host: usize, now: Time, state: &PeerState, seems_dead: bool) {
        let is_dead = state.verdict == Verdict::Dead;
        let was_dead = std::mem::replace(&mut self.hosts[host].dead, is_dead);
        if state.isolated {
            self.stats.held += 1;
        }
        if state.presumed_down && state.would_be_breaker == Breaker::Open && state.changed_at == now
        {
            self.opened_by_reports(host, now, state);
        }
        if was_dead && !is_dead {
            if let Some(at) = self.hosts[host].returned_at
                && !self.is_cut(host)
                && self.hosts[host].dead_at < Some(at)
            {
                self.stats.recoveries.push(now.since(at));
            }
            return;
        }
        if was_dead || !is_dead {
            return;
        }
        self.stats.deaths += 1;
        self.hosts[host].dead_at = Some(now);
        let gray = matches!(
            state.reason,
            Reason::HostUnanswered | Reason::SendsUnanswered
        );
        self.stats.gray += u64::from(gray);
        if !seems_dead {
            self.died(host, state);
        }
    }

    /// The breaker opened because of reports alone. This must not happen to a peer that was heard
    /// while its calls failed, or on which the kernel has a verdict.
    fn opened_by_reports(&mut self, host: usize, now: Time, state: &PeerState) {
        self.stats.fenced += 1;
        let heard = self.last_answer(host);
        let is_heard = heard.is_some_and(|heard| now.since(heard) < self.settings.detection_time);
        if is_heard || state.verdict != Verdict::Unknown {
            self.broken(
                "reports open no breaker of a peer that is heard",
                format!("{}: heard {}", shown::state(state), shown::ago(now, heard)),
            );
        }
    }

    fn died(&mut self, host: usize, state: &PeerState) {
        let found = state.changed_at;
        let detection_time = self.settings.detection_time;
        let truth = &self.hosts[host];
        let cut_for = truth
            .cuts_until(found)
            .into_iter()
            .filter(|(_, until)| *until + truth.round_trip + BLUR >= found)
            .map(|(since, until)| until.since(self.silent_since(since)))
            .max();
        let Some(cut_for) = cut_for else {
            let what = format!("{}: it was not cut off", shown::state(state));
            self.broken("a peer that answers is never Dead", what);
            return;
        };
        let blur = BLUR + truth.burst;
        if cut_for + blur < detection_time {
            let what = format!(
                "{}: cut off for {cut_for:?}, needed {detection_time:?} - {blur:?}",
                shown::state(state)
            );
            self.broken("a peer is not Dead before the detection time", what);
            return;
        }
        let heard = self.last_answer_before(host, found);
        if let Some(heard) = heard
            && found.since(heard) + BLUR < detection_time
        {
            let ago = found.since(heard);
            self.broken(
                "nobody is Dead who was heard within the detection time",
                format!("{}: heard {ago:?} before that", shown::state(state)),
            );
        }
    }

    /// The host must have been found dead by now.
    pub fn judged(&mut self, host: usize, now: Time, clean: bool, name: &dyn fmt::Display) {
        let truth = &self.hosts[host];
        let since = truth.cut_since.unwrap_or(now);
        if !truth.dead {
            self.broken(
                "a peer that is cut off while something is owed is Dead in time",
                format!("{name} has been cut off for {:?}", now.since(since)),
            );
            return;
        }
        let latency = truth.dead_at.map(|at| at.since(since));
        if clean {
            self.stats.judged += 1;
            if self.settings == Settings::default() {
                self.stats.latencies.extend(latency);
            }
        } else {
            self.stats.judged_lossy += 1;
        }
    }

    /// The host must have been found alive by now.
    pub fn returned(&mut self, host: usize, now: Time, state: &PeerState, is_open: bool) {
        self.stats.returns += 1;
        if is_open {
            let back = shown::ago(now, self.hosts[host].returned_at);
            let what = format!("{}: came back {back}", shown::state(state));
            self.broken("Open ends when the peer returns", what);
        }
    }

    pub fn looked(&mut self, host: usize, now: Time) {
        self.tick(now);
        self.stats.snapshots += 1;
        self.hosts[host].looks += 1;
        self.hosts[host].looked_at = now;
        if self.hosts[host].looks > MOST_SNAPSHOTS {
            self.broken(
                "snapshots are bounded",
                format!("{} in a second at one peer", self.hosts[host].looks),
            );
        }
    }

    /// A probe was requested, of this host or of no host.
    pub fn probed(&mut self, now: Time, host: Option<usize>) {
        self.tick(now);
        if let Some(host) = host {
            self.hosts[host].asked_since.get_or_insert(now);
        }
        self.stats.probes += 1;
        self.probes += 1;
        // Two seconds of the limiter may fall into one of the test's.
        if self.probes > self.settings.max_probes_per_second.saturating_mul(2) {
            self.broken("probes are bounded", format!("{} in a second", self.probes));
        }
    }

    /// The driver's time-out was handled: the next must lie ahead, and there must not be too many.
    pub fn turned(&mut self, now: Time, next: Option<Time>) {
        self.tick(now);
        self.stats.turns += 1;
        self.turns += 1;
        // For each peer, an event that is due may make another one due at once.
        let behind = next.is_some_and(|next| next <= now);
        self.behind = if behind { self.behind + 1 } else { 0 };
        if self.behind as usize > self.hosts.len() + 1 {
            self.broken(
                "a timeout that was handled lies behind",
                format!("{next:?} at {now:?}"),
            );
        }
        let most = 1000 + self.settings.max_probes_per_second;
        if self.turns > most {
            self.broken(
                "the loop is not busy",
                format!("{} turns in a second", self.turns),
            );
        }
    }

    pub fn effects(&mut self, count: usize) {
        if count > MOST_EFFECTS * self.hosts.len() {
            self.broken("effects of a turn are bounded", format!("{count} effects"));
        }
    }

    pub fn explained(&mut self, explanation: &Explanation) {
        let sizes = [
            explanation.flows.len(),
            explanation.events.len(),
            explanation.probes.len(),
            explanation.routes.len(),
        ];
        let most = [self.settings.max_flows_per_peer, 32, 16, 16];
        if sizes.iter().zip(most).any(|(size, most)| *size > most) {
            self.broken(
                "state is bounded",
                format!("flows, events, probes, routes: {sizes:?}"),
            );
        }
    }

    fn tick(&mut self, now: Time) {
        let second = now.as_nanos() / 1_000_000_000;
        if second != self.second {
            (self.second, self.probes, self.turns) = (second, 0, 0);
            self.hosts.iter_mut().for_each(|truth| truth.looks = 0);
        }
    }
}
