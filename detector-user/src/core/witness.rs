//! Whether anybody else is heard: where nobody is, it may be this host that is cut off.

use std::{net::IpAddr, time::Duration};

use super::{Time, tracked::HEARD_RESOLUTION};

/// Who was heard this long before a silence began is expected to be heard during it, if it
/// can be asked.
const RECENTLY: Duration = Duration::from_secs(10);

/// The same of one that can only be waited for. And in a long silence, a witness must have
/// been heard this lately.
const LATELY: Duration = Duration::from_secs(1);

/// Another host that was heard: a peer, or a next hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub at: Time,
    /// Its (first) address: peers with several names are one witness.
    pub host: IpAddr,
    /// Whether it can be asked, so that its silence says something.
    pub can_ask: bool,
}

/// The two witnesses that were heard last: of any one host, one of them is another.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    latest: Option<Heard>,
    second: Option<Heard>,
    /// A verdict is held because nobody is heard; ended by whoever is.
    lost: bool,
}

impl Witnesses {
    /// A witness was heard.
    pub(super) fn heard(&mut self, heard: Heard) {
        let is_news = |known: &Option<Heard>| {
            known.is_none_or(|known| heard.at > known.at + HEARD_RESOLUTION)
        };
        self.lost &= !is_news(&self.latest);
        self.note(heard);
    }

    /// These, and no others, were heard: someone is no longer a witness.
    pub(super) fn reset(&mut self, heard: impl Iterator<Item = Heard>) {
        (self.latest, self.second) = (None, None);
        heard.for_each(|heard| self.note(heard));
    }

    /// A verdict is held because nobody is heard: until somebody is, that goes for everyone.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    /// Whether the silence of a host from `since` to `now` may be this host's own: others
    /// were heard shortly before it began, and none of them lately. What arrived as it began
    /// proves nothing, so that a witness must be heard in its second half.
    pub(super) fn none_but(
        &self,
        host: Option<IpAddr>,
        since: Time,
        now: Time,
        idle_interval: Duration,
    ) -> bool {
        let Some(other) = self.other_than(host) else {
            return false;
        };
        let window = (now.since(since) / 2).min(LATELY);
        let recently = match other.can_ask {
            true => RECENTLY.max(idle_interval * 3),
            false => LATELY,
        };
        let was_active = self.lost || other.at + recently >= since;
        was_active && other.at < now - window
    }

    fn note(&mut self, heard: Heard) {
        match &mut self.latest {
            Some(latest) if latest.host == heard.host => {
                latest.at = latest.at.max(heard.at);
                latest.can_ask = heard.can_ask;
            }
            Some(latest) if latest.at > heard.at => match &mut self.second {
                Some(second) if second.at > heard.at && second.host != heard.host => {}
                Some(second) if second.host == heard.host => {
                    second.at = second.at.max(heard.at);
                    second.can_ask = heard.can_ask;
                }
                second => *second = Some(heard),
            },
            latest => {
                let before = latest.replace(heard);
                if before.is_some() {
                    self.second = before;
                }
            }
        }
    }

    fn other_than(&self, host: Option<IpAddr>) -> Option<Heard> {
        [self.latest, self.second]
            .into_iter()
            .flatten()
            .find(|heard| Some(heard.host) != host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    fn host(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    fn heard(n: u8, at: u64) -> Heard {
        Heard {
            at: ms(at),
            host: host(n),
            can_ask: true,
        }
    }

    fn witnesses(all: &[(u8, u64)]) -> Witnesses {
        let mut witnesses = Witnesses::default();
        for &(n, at) in all {
            witnesses.heard(heard(n, at));
        }
        witnesses
    }

    /// Whether host 1 is silent from `since` to `now` as everyone is.
    fn alone(witnesses: &Witnesses, since: u64, now: u64) -> bool {
        witnesses.none_but(Some(host(1)), ms(since), ms(now), Duration::ZERO)
    }

    #[test]
    fn a_lone_peer_has_no_witnesses() {
        assert!(!alone(&witnesses(&[(1, 0), (1, 10)]), 0, 250));
    }

    #[test]
    fn others_that_fell_silent_too_make_it_our_own_fault() {
        for all in [[(1, 5), (2, 8)], [(2, 8), (1, 5)], [(2, 5), (1, 8)]] {
            assert!(alone(&witnesses(&all), 10, 260), "{all:?}");
        }
    }

    #[test]
    fn a_witness_must_be_heard_in_the_second_half() {
        assert!(alone(&witnesses(&[(1, 0), (2, 100)]), 0, 250));
        assert!(!alone(&witnesses(&[(1, 0), (2, 130), (3, 1)]), 0, 250));
    }

    #[test]
    fn who_was_silent_long_before_is_no_witness() {
        assert!(!alone(&witnesses(&[(2, 0), (1, 20_000)]), 20_000, 20_250));
    }

    #[test]
    fn who_cannot_be_asked_is_a_witness_for_a_shorter_time() {
        for (can_ask, expected) in [(true, true), (false, false)] {
            let mut witnesses = Witnesses::default();
            witnesses.heard(Heard {
                can_ask,
                ..heard(2, 0)
            });
            assert_eq!(alone(&witnesses, 3000, 3250), expected);
        }
    }

    #[test]
    fn once_nobody_is_heard_that_goes_for_everyone_until_somebody_is() {
        let mut witnesses = witnesses(&[(2, 0), (3, 0)]);
        assert!(!alone(&witnesses, 15_000, 15_250), "long silent anyway");
        witnesses.lose();
        assert!(alone(&witnesses, 15_000, 15_250));
        witnesses.heard(heard(2, 5));
        assert!(alone(&witnesses, 15_000, 15_250), "the clock is coarse");
        witnesses.heard(heard(3, 15_300));
        assert!(!alone(&witnesses, 15_000, 15_310));
        assert!(!alone(&witnesses, 30_000, 30_250));
    }

    #[test]
    fn the_two_latest_are_kept_in_whatever_order_they_come() {
        let witnesses = witnesses(&[(3, 30), (2, 20), (1, 10), (2, 25), (3, 5)]);
        let other = |n| witnesses.other_than(Some(host(n))).map(|heard| heard.at);
        assert_eq!(other(3), Some(ms(25)));
        assert_eq!(other(9), Some(ms(30)));
    }
}
