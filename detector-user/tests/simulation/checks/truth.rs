//! The true state of the cluster, whatever the core believes.

use std::{collections::VecDeque, time::Duration};

use detector_user::model::Time;

use super::{Checks, HISTORY};

/// What a packet from a host proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Its card answers.
    Link,
    /// Segments come from it.
    Received,
    /// Its kernel has received what this node sent.
    Host,
}

impl Layer {
    const COUNT: usize = 3;
}

/// Longer than the interval at which a silent peer is probed.
const AT_ONCE: Duration = Duration::from_millis(50);

/// What is true of one host.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    pub(super) cut_since: Option<Time>,
    pub(super) cuts: u32,
    /// The longest burst of loss that may have come just before the last cut.
    pub(super) burst: Duration,
    pub(super) past: VecDeque<(Time, Time)>,
    /// The longest that an answer took when the last of them ended.
    pub(super) round_trip: Duration,
    /// When packets arrived, by what they prove.
    pub(super) heard: [VecDeque<Time>; Layer::COUNT],
    /// When the daemon itself first asked it.
    pub(super) asked_since: Option<Time>,
    /// When its path or program was last in trouble.
    pub(super) trouble: Option<Time>,
    pub(super) in_trouble: bool,
    pub(super) dead: bool,
    pub(super) dead_at: Option<Time>,
    pub(super) returned_at: Option<Time>,
    pub(super) looks: u32,
    pub(super) looked_at: Time,
}

impl Truth {
    /// The cuts, the present one until `now`. Two that follow one another at once are one: nothing
    /// may have been sent between them.
    pub(super) fn cuts_until(&self, now: Time) -> Vec<(Time, Time)> {
        let present = self.cut_since.map(|since| (since, now));
        let mut cuts: Vec<(Time, Time)> = Vec::new();
        for cut in self.past.iter().copied().chain(present) {
            match cuts.last_mut() {
                Some(last) if cut.0.since(last.1) < AT_ONCE => last.1 = cut.1,
                _ => cuts.push(cut),
            }
        }
        cuts
    }

    fn answers(&self) -> impl Iterator<Item = &Time> {
        self.heard[Layer::Host as usize].iter()
    }
}

impl Checks {
    pub fn heard(&mut self, host: usize, at: Time, layer: Layer) {
        let heard = &mut self.hosts[host].heard[layer as usize];
        if heard.len() == HISTORY {
            heard.pop_front();
        }
        heard.push_back(at);
    }

    /// Its only connection is gone silently; what it heard since the last snapshot is in no
    /// snapshot.
    pub fn forget_since_look(&mut self, host: usize) {
        let truth = &mut self.hosts[host];
        let looked_at = truth.looked_at;
        for heard in &mut truth.heard {
            heard.retain(|at| *at <= looked_at);
        }
    }

    pub fn own_trouble(&mut self, from: Time, until: Time) {
        if self.own.len() == HISTORY {
            self.own.pop_front();
        }
        self.own.push_back((from, until));
    }

    /// Since when nothing came from a host that was cut off at this time: a fault of this machine
    /// that lasted until then has silenced it before.
    pub(super) fn silent_since(&self, cut: Time) -> Time {
        let lasted = self
            .own
            .iter()
            .filter(|(from, until)| *from <= cut && cut <= *until);
        lasted.map(|(from, _)| *from).min().unwrap_or(cut)
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

    /// A burst of loss, of up to this length, may have come just before.
    pub fn cut_begins(&mut self, host: usize, now: Time, burst: Duration) -> u32 {
        self.stats.cuts += 1;
        let truth = &mut self.hosts[host];
        truth.cut_since = Some(now);
        truth.cuts += 1;
        truth.burst = burst;
        truth.cuts
    }

    /// Says which cut it was.
    pub fn cut_ends(&mut self, host: usize, now: Time, round_trip: Duration) -> u32 {
        let truth = &mut self.hosts[host];
        truth.round_trip = round_trip;
        if let Some(since) = truth.cut_since.take() {
            if truth.past.len() == HISTORY {
                truth.past.pop_front();
            }
            truth.past.push_back((since, now));
        }
        truth.returned_at = Some(now);
        truth.cuts
    }

    /// How long before `now` the host, or this machine, last had a fault other than a cut.
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

    /// Whether it was found dead before the current fault of this machine began.
    pub fn died_before_own(&self, host: usize, now: Time) -> bool {
        let own = self.own.iter().filter(|(_, until)| *until >= now);
        let began = own.map(|(from, _)| *from).min();
        self.hosts[host].dead_at < began.filter(|_| self.hosts[host].dead)
    }

    /// Whether a packet arrived that proves exactly this layer.
    pub fn heard_since(&self, host: usize, layer: Layer, from: Time) -> bool {
        let heard = &self.hosts[host].heard[layer as usize];
        heard.iter().any(|at| *at > from)
    }

    /// When the host last acknowledged something, which is a reason not to find it dead.
    pub fn last_answer(&self, host: usize) -> Option<Time> {
        self.hosts[host].answers().max().copied()
    }

    pub fn last_answer_before(&self, host: usize, at: Time) -> Option<Time> {
        let before = |answer: &&Time| **answer <= at;
        self.hosts[host].answers().filter(before).max().copied()
    }

    /// Since when the daemon has probed it.
    pub fn asked_since(&self, host: usize) -> Option<Time> {
        self.hosts[host].asked_since
    }

    /// There is a new daemon, which has probed no host and found none dead.
    pub fn daemon_restarted(&mut self) {
        for truth in &mut self.hosts {
            (truth.dead, truth.dead_at, truth.asked_since) = (false, None, None);
        }
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
}
