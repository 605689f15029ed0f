//! How well a peer works, whatever its verdict: its round-trip time, and its health.
//!
//! ```text
//! vitals   what is published of both, and when
//! health   the score, 0 to 100, and its penalties
//! trend    whether the score rises or falls
//! ```
//!
//! These values change a little all the time. They are published together with other changes of the
//! peer. Alone they are published only if they differ enough, and at most once per
//! [`PUBLISHED_EVERY`], so that watchers are not flooded.

mod health;
mod trend;

use std::time::Duration;

use self::{health::Parts, trend::History};
use crate::model::{Health, Time, Trend};

/// The shortest time between publications of these changes alone.
const PUBLISHED_EVERY: Duration = Duration::from_secs(5);

/// By how much the score must differ from the published one.
const SCORE_STEP: u32 = 5;

/// A time must differ from the published one by that time divided by this.
const TIME_STEP: u32 = 4;

/// The kernel's smoothed round-trip time of one flow, and its mean deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtt {
    pub srtt: Duration,
    /// Zero where the source could not read it.
    pub variance: Duration,
}

/// The published values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub rtt: Option<Rtt>,
    pub health: Health,
}

/// The vitals of one peer.
#[derive(Debug)]
pub(super) struct Vitals {
    rtt: Option<Rtt>,
    parts: Parts,
    history: History,
    shown: Shown,
    due: Time,
}

impl Vitals {
    pub(super) fn new(now: Time) -> Self {
        Self {
            rtt: None,
            parts: Parts::new(now),
            history: History::default(),
            shown: Shown::default(),
            due: now,
        }
    }

    /// A snapshot was taken: the flow that was heard last has this round-trip time; `loss` and
    /// `stalled` are the shares of lost segments and of stalled flows.
    pub(super) fn looked(&mut self, at: Time, rtt: Option<Rtt>, loss: f64, stalled: f64) {
        self.rtt = rtt.or(self.rtt);
        self.parts
            .looked(at, rtt.map(|rtt| rtt.srtt), loss, stalled);
    }

    /// A suspicious silence ended: the peer was alive all the time.
    pub(super) fn stall_recovered(&mut self, at: Time, lasted: Duration) {
        self.parts.stall_recovered(at, lasted);
    }

    /// A call was reported.
    pub(super) fn reported(&mut self, at: Time, unanswered: bool) {
        self.parts.reported(at, unanswered);
    }

    /// Brings what is published up to date; returns whether that alone is worth publishing.
    /// `published` says that the peer is published anyway.
    pub(super) fn refresh(&mut self, now: Time, published: bool) -> bool {
        let score = self.parts.health(now, Trend::Steady).score;
        let health = self.parts.health(now, self.history.trend(now, score));
        if !published && now < self.due {
            return false;
        }
        let news = Shown {
            rtt: match differs(self.shown.rtt, self.rtt) {
                true => self.rtt,
                false => self.shown.rtt,
            },
            health: match self.shown.health.differs(&health) {
                true => health,
                false => self.shown.health,
            },
        };
        let is_news = news != self.shown;
        if is_news {
            self.shown = news;
            self.due = now + PUBLISHED_EVERY;
        }
        is_news
    }

    pub(super) fn shown(&self) -> Shown {
        self.shown
    }
}

impl Health {
    fn differs(&self, other: &Self) -> bool {
        self.trend != other.trend || self.score.abs_diff(other.score) >= SCORE_STEP
    }
}

fn differs(shown: Option<Rtt>, rtt: Option<Rtt>) -> bool {
    let by_a_step = |shown: Duration, time: Duration| shown.abs_diff(time) > shown / TIME_STEP;
    match (shown, rtt) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(shown), Some(rtt)) => {
            by_a_step(shown.srtt, rtt.srtt) || by_a_step(shown.variance, rtt.variance)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    fn rtt(srtt: u64, variance: u64) -> Option<Rtt> {
        Some(Rtt {
            srtt: Duration::from_micros(srtt),
            variance: Duration::from_micros(variance),
        })
    }

    #[test]
    fn times_are_published_when_they_differ_by_more_than_a_quarter() {
        let mut vitals = Vitals::new(ms(0));
        for (n, (srtt, variance, news)) in [
            (400, 100, true),
            (500, 125, false),
            (501, 100, true),
            (501, 76, false),
            (501, 74, true),
            (376, 74, false),
            (375, 74, true),
        ]
        .into_iter()
        .enumerate()
        {
            let at = ms(n as u64 * 5000);
            vitals.looked(at, rtt(srtt, variance), 0.0, 0.0);
            assert_eq!(vitals.refresh(at, false), news, "{n}");
            let shown = vitals.shown().rtt;
            assert_eq!(shown == rtt(srtt, variance), news, "{n}");
        }
    }

    #[test]
    fn a_peer_whose_every_look_is_different_is_published_twelve_times_a_minute() {
        let mut vitals = Vitals::new(ms(0));
        let mut published = 0;
        for n in 0..600 {
            let at = ms(n * 100);
            vitals.looked(
                at,
                rtt(100 << (n % 8), 10 << (n % 5)),
                (n % 3) as f64 / 20.0,
                0.0,
            );
            vitals.stall_recovered(at, Duration::from_secs(n % 2));
            vitals.reported(at, n % 7 == 0);
            published += u32::from(vitals.refresh(at, false));
        }
        assert!((6..=12).contains(&published), "{published}");
    }

    #[test]
    fn what_is_published_anyway_takes_news_along_and_nothing_else() {
        let mut vitals = Vitals::new(ms(0));
        vitals.looked(ms(0), rtt(400, 100), 0.0, 0.0);
        assert!(vitals.refresh(ms(0), true));
        vitals.looked(ms(1), rtt(410, 100), 0.013, 0.0);
        assert!(!vitals.refresh(ms(1), true), "a little");
        assert_eq!(vitals.shown().rtt, rtt(400, 100));
        vitals.looked(ms(2), rtt(800, 100), 0.1, 0.0);
        assert!(!vitals.refresh(ms(2), false), "too soon");
        assert!(vitals.refresh(ms(2), true));
        assert_eq!(vitals.shown().rtt, rtt(800, 100));
        assert!(vitals.shown().health.score <= 80);
    }

    #[test]
    fn a_score_is_published_in_steps_of_five() {
        let mut vitals = Vitals::new(ms(0));
        vitals.looked(ms(0), None, 0.0, 0.0);
        vitals.refresh(ms(0), false);
        vitals.looked(ms(10_000), None, 0.013, 0.0);
        assert!(!vitals.refresh(ms(10_000), false), "four points");
        vitals.looked(ms(20_000), None, 0.0167, 0.0);
        assert!(vitals.refresh(ms(20_000), false), "five points");
        assert_eq!(vitals.shown().health.score, 95);
    }
}
