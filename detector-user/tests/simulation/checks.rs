//! What must hold whatever happens, against what is true of the cluster.

use std::{collections::VecDeque, fmt, time::Duration};

use detector_user::core::{Breaker, Explanation, PeerState, Settings, Time, Verdict};

use crate::ticks::ms;

/// How far the truth and what the kernel tells of it may lie apart: stamps in jiffies,
/// delays on the way, the time that a look takes.
const BLUR: Duration = ms(25);

/// Looks at one peer's sockets in a second: one in 10 ms, and one more.
const MOST_LOOKS: u32 = 101;

/// Effects of one turn, for each peer.
const MOST_EFFECTS: usize = 40;

const HISTORY: usize = 64;

/// A rule that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
    /// From the start of the run.
    pub after: Duration,
    pub trace: Vec<String>,
}

/// What was seen over a run.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub deaths: u64,
    pub cuts: u64,
    /// Cuts that had to be found within the bound for a clean path.
    pub judged: u64,
    pub judged_lossy: u64,
    pub returns: u64,
    pub held: u64,
    /// Breakers that opened on reports alone.
    pub fenced: u64,
    pub looks: u64,
    pub probes: u64,
    pub turns: u64,
    /// From cut to Dead, of those judged on a clean path with the default settings.
    pub latencies: Vec<Duration>,
    /// From return to no longer Dead.
    pub recoveries: Vec<Duration>,
}

#[derive(Debug)]
pub struct Checks {
    settings: Settings,
    hosts: Vec<Truth>,
    /// When this machine itself was the trouble.
    own: VecDeque<(Time, Time)>,
    violation: Option<Violation>,
    second: u64,
    probes: u32,
    turns: u32,
    /// Turns in a row after which the next was due at once.
    behind: u32,
    pub stats: Stats,
}

/// What is true of one host.
#[derive(Clone, Debug, Default)]
struct Truth {
    cut_since: Option<Time>,
    cuts: u32,
    past: VecDeque<(Time, Time)>,
    heard: VecDeque<Time>,
    /// When its path or program was last in trouble.
    trouble: Option<Time>,
    in_trouble: bool,
    dead: bool,
    dead_at: Option<Time>,
    returned_at: Option<Time>,
    looks: u32,
}

impl Checks {
    pub fn new(hosts: usize, settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
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

    /// Why the core did what broke a rule, where one was broken just now.
    pub fn explain_violation(&mut self, explanation: &Explanation, wire: &dyn fmt::Debug) {
        if let Some(violation) = &mut self.violation
            && !violation.what.contains(&explanation.summary)
        {
            let Explanation {
                summary, silence, ..
            } = explanation;
            violation.what += &format!("\n{summary}\n{silence:?}\nthe wire: {wire:?}");
        }
    }

    /// A rule is broken; the first is the one that is told.
    pub fn broken(&mut self, rule: &'static str, what: String) {
        self.violation.get_or_insert(Violation::new(rule, what));
    }

    // What is true.

    pub fn heard(&mut self, host: usize, at: Time) {
        let heard = &mut self.hosts[host].heard;
        if heard.len() == HISTORY {
            heard.pop_front();
        }
        heard.push_back(at);
    }

    pub fn own_trouble(&mut self, from: Time, until: Time) {
        if self.own.len() == HISTORY {
            self.own.pop_front();
        }
        self.own.push_back((from, until));
    }

    pub fn troubled(&mut self, host: usize, now: Time, is: bool) {
        let truth = &mut self.hosts[host];
        if is || truth.in_trouble {
            truth.trouble = Some(now);
        }
        truth.in_trouble = is;
    }

    pub fn is_cut(&self, host: usize) -> bool {
        self.hosts[host].cut_since.is_some()
    }

    pub fn is_this_cut(&self, host: usize, cut: u32) -> bool {
        self.is_cut(host) && self.hosts[host].cuts == cut
    }

    pub fn cut_since(&self, host: usize) -> Option<Time> {
        self.hosts[host].cut_since
    }

    pub fn cut_begins(&mut self, host: usize, now: Time) -> u32 {
        self.stats.cuts += 1;
        let truth = &mut self.hosts[host];
        truth.cut_since = Some(now);
        truth.cuts += 1;
        truth.cuts
    }

    /// Says which cut it was.
    pub fn cut_ends(&mut self, host: usize, now: Time) -> u32 {
        let truth = &mut self.hosts[host];
        if let Some(since) = truth.cut_since.take() {
            if truth.past.len() == HISTORY {
                truth.past.pop_front();
            }
            truth.past.push_back((since, now));
        }
        truth.returned_at = Some(now);
        truth.cuts
    }

    /// How long before `now` the host, or this machine, was last in trouble other than by
    /// being cut off.
    pub fn calm_for(&self, host: usize, now: Time) -> Duration {
        let truth = &self.hosts[host];
        if truth.in_trouble {
            return Duration::ZERO;
        }
        let trouble = truth.trouble.map_or(Duration::MAX, |at| now.since(at));
        let since = truth.past.iter().map(|(_, end)| now.since(*end)).min();
        trouble.min(since.unwrap_or(Duration::MAX))
    }

    pub fn own_trouble_since(&self, from: Time) -> bool {
        self.own.iter().any(|(_, until)| *until >= from)
    }

    pub fn heard_since(&self, host: usize, from: Time) -> bool {
        self.hosts[host].heard.iter().any(|at| *at > from)
    }

    pub fn was_cut_since(&self, host: usize, from: Time) -> bool {
        let mut past = self.hosts[host].past.iter();
        self.is_cut(host) || past.any(|(_, until)| *until >= from)
    }

    /// How many cuts there were, with the one that is.
    pub fn cuts(&self, host: usize) -> u32 {
        self.hosts[host].cuts
    }

    pub fn found_dead(&self, host: usize) -> bool {
        self.hosts[host].dead
    }

    // What the core does.

    /// A state was published: no peer is dead that is not cut off, or, where there is nobody
    /// else to show that it is not, seems so.
    pub fn published(&mut self, host: usize, now: Time, state: &PeerState, seems_dead: bool) {
        let is_dead = state.verdict == Verdict::Dead;
        let was_dead = std::mem::replace(&mut self.hosts[host].dead, is_dead);
        if state.isolated {
            self.stats.held += 1;
        }
        if state.by_reports && state.would_be_breaker == Breaker::Open && state.changed_at == now {
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
        if !seems_dead {
            self.died(host, state);
        }
    }

    /// Reports alone opened the breaker: of a peer that was heard while its calls failed, or
    /// that the kernel has a verdict on, they must not.
    fn opened_by_reports(&mut self, host: usize, now: Time, state: &PeerState) {
        self.stats.fenced += 1;
        let heard = self.hosts[host].heard.iter().max().copied();
        let is_heard = heard.is_some_and(|heard| now.since(heard) < self.settings.detection_time);
        if is_heard || state.verdict != Verdict::Unknown {
            self.broken(
                "reports open no breaker of a peer that is heard",
                format!("{} was heard at {heard:?}, and is {state:?}", state.peer),
            );
        }
    }

    fn died(&mut self, host: usize, state: &PeerState) {
        let found = state.changed_at;
        let detection_time = self.settings.detection_time;
        let truth = &self.hosts[host];
        let now_cut = truth.cut_since.map(|since| (since, found));
        let cut_for = truth
            .past
            .iter()
            .copied()
            .chain(now_cut)
            .filter(|(_, until)| *until + BLUR >= found)
            .map(|(since, until)| until.since(since))
            .max();
        let long_enough = cut_for.is_some_and(|cut_for| cut_for + BLUR >= detection_time);
        if !long_enough {
            self.broken(
                "a peer that answers is never Dead",
                format!(
                    "{} was cut off for {cut_for:?} when found {state:?}",
                    state.peer
                ),
            );
            return;
        }
        let heard = truth.heard.iter().rev().find(|at| **at <= found);
        if let Some(heard) = heard
            && found.since(*heard) + BLUR < detection_time
        {
            let ago = found.since(*heard);
            self.broken(
                "nobody is Dead who was heard within the detection time",
                format!(
                    "{} was heard {ago:?} before it was found {state:?}",
                    state.peer
                ),
            );
        }
    }

    /// It had to be found dead by now.
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

    /// It had to be found alive by now.
    pub fn returned(&mut self, host: usize, now: Time, state: &PeerState, is_open: bool) {
        self.stats.returns += 1;
        if is_open {
            let since = self.hosts[host].returned_at.map(|at| now.since(at));
            self.broken(
                "Open ends when the peer returns",
                format!(
                    "{} has been back for {since:?} and is {state:?}",
                    state.peer
                ),
            );
        }
    }

    pub fn looked(&mut self, host: usize, now: Time) {
        self.tick(now);
        self.stats.looks += 1;
        self.hosts[host].looks += 1;
        if self.hosts[host].looks > MOST_LOOKS {
            self.broken(
                "looks are bounded",
                format!("{} in a second at one peer", self.hosts[host].looks),
            );
        }
    }

    pub fn probed(&mut self, now: Time) {
        self.tick(now);
        self.stats.probes += 1;
        self.probes += 1;
        // Two seconds of the bucket may fall into one of ours.
        if self.probes > self.settings.max_probes_per_second.saturating_mul(2) {
            self.broken("probes are bounded", format!("{} in a second", self.probes));
        }
    }

    /// The driver's timeout was handled: the next lies ahead, and they are not too many.
    pub fn turned(&mut self, now: Time, next: Option<Time>) {
        self.tick(now);
        self.stats.turns += 1;
        self.turns += 1;
        // What is due may make something else due at once, of each peer.
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

impl Violation {
    pub fn new(rule: &'static str, what: String) -> Self {
        Self {
            rule,
            what,
            after: Duration::ZERO,
            trace: Vec::new(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "after {:.6} s: {}: {}",
            self.after.as_secs_f64(),
            self.rule,
            self.what
        )
    }
}

impl Stats {
    pub fn add(&mut self, other: &Self) {
        self.deaths += other.deaths;
        self.cuts += other.cuts;
        self.judged += other.judged;
        self.judged_lossy += other.judged_lossy;
        self.returns += other.returns;
        self.held += other.held;
        self.fenced += other.fenced;
        self.looks += other.looks;
        self.probes += other.probes;
        self.turns += other.turns;
        self.latencies.extend(&other.latencies);
        self.recoveries.extend(&other.recoveries);
    }
}
