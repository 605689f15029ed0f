//! How often the paths in doubt are probed, when there are more than the budget can serve at once.
//!
//! A path is found Dead only if it was probed throughout its detection time. If a thousand paths
//! shared a budget that is enough for a hundred, each would have gaps, and none would ever be found
//! Dead. So with many paths in doubt, each is probed only as often as the rule requires. If even that
//! exceeds the budget, they take turns: those that fell silent first are probed, and the others wait
//! until these are decided.
//!
//! A machine on which everything stalls is busy, too. If it cannot send as many probes as the budget
//! allows, they leave late, and a late probe is worth nothing. So while probes leave late fewer paths
//! are probed at once.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::model::{ProbeId, Time};

/// The probes of a second to one path: at the full rate, which is twice what the rule requires, on
/// flows and by SYNs; and at the spare rate.
const FULL: u32 = 300;
const SPARE: u32 = 100;

/// A path that did not ask for its turn for this long is no longer in doubt.
const IN_DOUBT: Duration = Duration::from_millis(100);

/// How often it is decided again whose turn it is.
const EVERY: Duration = Duration::from_millis(5);

/// When a path asks again whether it is its turn.
pub(super) const ASK_AGAIN_AFTER: Duration = Duration::from_millis(40);

/// A probe that is sent this much later than it was requested is late.
const LATE: Duration = Duration::from_millis(10);

/// A probe without a report for this long still waits to be sent, or the core is late itself. Either
/// way there is too much to do.
const UNHEARD: Duration = Duration::from_millis(150);

/// How long fewer paths at once take to show in how late probes leave.
const SETTLES_WITHIN: Duration = Duration::from_millis(100);

/// A probe of which nothing was heard for this long is lost.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// However busy the machine is, so many paths are probed at once.
const LEAST_AT_ONCE: usize = 32;

/// Those that fell silent first come first.
type Place = (Time, IpAddr);

/// How a path in doubt is probed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rate {
    Full,
    /// No more often than the rule requires.
    Spare,
    /// Others come first.
    Wait,
}

#[derive(Debug)]
pub(super) struct Turns {
    most_at_full_rate: usize,
    most_at_once: usize,
    /// As many as this machine can serve now.
    at_once: usize,
    /// A probe of which it is not known yet whether it left late, and when it was requested.
    sample: Option<(ProbeId, Time)>,
    slowed_at: Time,
    /// The paths in doubt, and when each was last here.
    doubtful: BTreeMap<Place, Time>,
    /// The first one whose turn it is not yet.
    next: Option<Place>,
    due: Time,
}

impl Turns {
    pub(super) fn new(probes_per_second: u32) -> Self {
        let room = |rate: u32| (probes_per_second / rate).max(1) as usize;
        Self {
            most_at_full_rate: room(FULL),
            most_at_once: room(SPARE),
            at_once: room(SPARE),
            sample: None,
            slowed_at: Time::default(),
            doubtful: BTreeMap::new(),
            next: None,
            due: Time::default(),
        }
    }

    /// How the path that has been in doubt `since` then is probed now.
    pub(super) fn rate(&mut self, now: Time, since: Time, addr: IpAddr) -> Rate {
        let place = (since, addr);
        self.doubtful.insert(place, now);
        let at_full_rate = self.at_full_rate();
        if self.doubtful.len() > at_full_rate && now >= self.due {
            self.due = now + EVERY;
            self.doubtful
                .retain(|_, asked| now.since(*asked) < IN_DOUBT);
            self.next = self.doubtful.keys().nth(self.at_once).copied();
        }
        match self.doubtful.len() {
            few if few <= at_full_rate => Rate::Full,
            many if many <= self.at_once => Rate::Spare,
            _ if self.next.is_none_or(|next| place < next) => Rate::Spare,
            _ => Rate::Wait,
        }
    }

    /// As many as take the same number of probes at the full rate.
    fn at_full_rate(&self) -> usize {
        self.at_once * self.most_at_full_rate / self.most_at_once
    }

    /// A probe was requested.
    pub(super) fn asked(&mut self, now: Time, probe: ProbeId) {
        match self.sample {
            Some((_, at)) if now.since(at) >= LOST_AFTER => self.sample = Some((probe, now)),
            Some(_) if self.are_late(now) => self.slow(now),
            Some(_) => {}
            None => self.sample = Some((probe, now)),
        }
    }

    /// The core hears that a probe was sent, or could not be, at this moment.
    pub(super) fn told(&mut self, now: Time, probe: ProbeId, sent: Time) {
        let Some((_, asked)) = self.sample.take_if(|sample| sample.0 == probe) else {
            return;
        };
        if sent.since(asked) >= LATE {
            return self.slow(now);
        }
        let more = self.at_once + self.at_once.div_ceil(8);
        self.at_once = more.min(self.most_at_once);
    }

    /// Whether a probe that was requested a while ago has had no report yet.
    pub(super) fn are_late(&self, now: Time) -> bool {
        self.sample
            .is_some_and(|(_, asked)| (UNHEARD..LOST_AFTER).contains(&now.since(asked)))
    }

    fn slow(&mut self, now: Time) {
        if now.since(self.slowed_at) >= SETTLES_WITHIN {
            self.slowed_at = now;
            let least = LEAST_AT_ONCE.min(self.most_at_once);
            self.at_once = (self.at_once / 2).max(least);
        }
    }

    /// The doubt that began at `since` is over.
    pub(super) fn over(&mut self, since: Time, addr: IpAddr) {
        self.doubtful.remove(&(since, addr));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    /// Room for one path at the full rate, and for three at the spare one.
    const BUDGET: u32 = 3 * SPARE;

    fn rate(turns: &mut Turns, at: u64, n: u8) -> Rate {
        turns.rate(ms(at), ms(u64::from(n)), [10, 0, 0, n].into())
    }

    /// Those of these paths that are probed; path `n` has been in doubt since `n` ms.
    fn probed(turns: &mut Turns, at: u64, paths: &[u8]) -> Vec<u8> {
        // All are known after the first pass.
        for n in paths {
            rate(turns, at, *n);
        }
        let is_probed = |n: &u8| rate(turns, at, *n) != Rate::Wait;
        paths.iter().copied().filter(is_probed).collect()
    }

    #[test]
    fn few_are_probed_often_and_more_as_often_as_they_need() {
        let mut turns = Turns::new(BUDGET);
        assert_eq!(rate(&mut turns, 20, 0), Rate::Full);
        for n in [1, 2] {
            assert_eq!(rate(&mut turns, 20, n), Rate::Spare);
        }
        assert_eq!(rate(&mut turns, 21, 0), Rate::Spare);
        for n in [1, 2] {
            turns.over(ms(u64::from(n)), [10, 0, 0, n].into());
        }
        assert_eq!(rate(&mut turns, 22, 0), Rate::Full);
    }

    #[test]
    fn who_fell_silent_first_comes_first_and_the_others_follow() {
        let mut turns = Turns::new(BUDGET);
        let all: Vec<u8> = (0..10).collect();
        probed(&mut turns, 30, &all);
        assert_eq!(probed(&mut turns, 40, &all), [0, 1, 2]);
        turns.over(ms(1), [10, 0, 0, 1].into());
        let left: Vec<u8> = all.into_iter().filter(|n| *n != 1).collect();
        assert_eq!(probed(&mut turns, 50, &left), [0, 2, 3]);
    }

    /// The share of the paths that are probed at once, after the fates of some probes.
    #[test]
    fn where_probes_leave_late_fewer_paths_are_probed_at_once() {
        let mut turns = Turns::new(200 * SPARE);
        let mut left_after = |at: u64, delay: u64| {
            turns.asked(ms(at), ProbeId(at));
            turns.asked(ms(at + 1), ProbeId(0));
            turns.told(ms(at + 1), ProbeId(0), ms(at + 1));
            turns.told(ms(at + 60), ProbeId(at), ms(at + delay));
            (turns.at_once, turns.at_full_rate())
        };
        assert_eq!(left_after(1_000, 9), (200, 66));
        assert_eq!(left_after(1_100, 10), (100, 33));
        assert_eq!(left_after(1_199, 50), (100, 33), "too soon to show");
        assert_eq!(left_after(1_300, 30), (50, 16));
        assert_eq!(left_after(2_000, 60), (LEAST_AT_ONCE, 10));
        assert_eq!(left_after(3_000, 5), (36, 11));
        let recovered = (0..15).map(|n| left_after(4_000 + 100 * n, 5)).last();
        assert_eq!(recovered, Some((200, 66)));
    }

    #[test]
    fn a_probe_of_which_nothing_is_heard_is_forgotten() {
        let mut turns = Turns::new(200 * SPARE);
        turns.asked(ms(1_000), ProbeId(1));
        assert!(!turns.are_late(ms(1_149)) && turns.are_late(ms(1_150)));
        assert!(
            turns.are_late(ms(3_999)) && !turns.are_late(ms(4_000)),
            "lost"
        );
        turns.asked(ms(1_149), ProbeId(2));
        assert_eq!(turns.at_once, 200);
        turns.asked(ms(1_150), ProbeId(2));
        assert_eq!(turns.at_once, 100, "it is late already");
        turns.told(ms(3_990), ProbeId(2), ms(3_990));
        turns.asked(ms(4_000), ProbeId(3));
        assert!(!turns.are_late(ms(4_001)));
        turns.told(ms(4_001), ProbeId(3), ms(4_001));
        assert_eq!(turns.at_once, 113);
    }

    #[test]
    fn who_does_not_ask_any_more_gives_way() {
        let mut turns = Turns::new(BUDGET);
        probed(&mut turns, 20, &(0..10).collect::<Vec<_>>());
        let left: Vec<u8> = (5..10).collect();
        probed(&mut turns, 90, &left);
        assert_eq!(probed(&mut turns, 130, &left), [5, 6, 7]);
        assert_eq!(turns.doubtful.len(), 5, "nothing is kept of the others");
    }
}
