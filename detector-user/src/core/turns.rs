//! How often the paths in doubt are probed, when there are more than the budget can serve at once.
//!
//! A path is found Dead only if it was probed throughout its detection time. If a thousand paths
//! shared a budget that is enough for a hundred, each would have gaps, and none would ever be found
//! Dead. So when there are many, each is probed only as often as the rule requires. When there are
//! more, they take turns: those that fell silent first are probed, and the others wait until these
//! are decided.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::Time;

/// The probes of a second to one path: at the full rate, which is twice what the rule requires, on
/// flows and by SYNs; and at the spare rate.
const FULL: u32 = 300;
const SPARE: u32 = 100;

/// A path that did not ask for its turn for this long is no longer in doubt.
const IN_DOUBT: Duration = Duration::from_millis(100);

/// How often it is decided again whose turn it is.
const EVERY: Duration = Duration::from_millis(5);

/// When a path asks again whether it is its turn.
pub(super) const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

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
    at_full_rate: usize,
    at_once: usize,
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
            at_full_rate: room(FULL),
            at_once: room(SPARE),
            doubtful: BTreeMap::new(),
            next: None,
            due: Time::default(),
        }
    }

    /// How the path that has been in doubt `since` then is probed now.
    pub(super) fn rate(&mut self, now: Time, since: Time, addr: IpAddr) -> Rate {
        let place = (since, addr);
        self.doubtful.insert(place, now);
        if self.doubtful.len() > self.at_full_rate && now >= self.due {
            self.due = now + EVERY;
            self.doubtful
                .retain(|_, asked| now.since(*asked) < IN_DOUBT);
            self.next = self.doubtful.keys().nth(self.at_once).copied();
        }
        match self.doubtful.len() {
            few if few <= self.at_full_rate => Rate::Full,
            many if many <= self.at_once => Rate::Spare,
            _ if self.next.is_none_or(|next| place < next) => Rate::Spare,
            _ => Rate::Wait,
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
