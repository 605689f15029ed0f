//! The trend of the score: it is compared with the score of some minutes ago.

use std::{collections::VecDeque, time::Duration};

use crate::model::{Time, Trend};

/// How often a score is noted.
const NOTED_EVERY: Duration = Duration::from_secs(30);

/// The score is compared with the oldest noted one that is no older than the first time, and at
/// least as old as the second.
const COMPARED: (Duration, Duration) = (Duration::from_secs(180), Duration::from_secs(60));

/// A difference of this many points begins a trend.
const BEGINS: i64 = 10;

/// A difference of fewer points than this ends it; in between, a trend continues.
const ENDS: i64 = 5;

/// Past scores.
#[derive(Debug)]
pub(super) struct History {
    scores: VecDeque<(Time, u32)>,
    trend: Trend,
}

impl History {
    /// Notes the present score; returns the trend.
    pub(super) fn trend(&mut self, now: Time, score: u32) -> Trend {
        let (oldest, youngest) = COMPARED;
        while self
            .scores
            .front()
            .is_some_and(|(at, _)| now.since(*at) > oldest)
        {
            self.scores.pop_front();
        }
        let then = self
            .scores
            .front()
            .filter(|(at, _)| now.since(*at) >= youngest);
        let difference = then.map_or(0, |(_, then)| i64::from(score) - i64::from(*then));
        let needed = |trend| if self.trend == trend { ENDS } else { BEGINS };
        self.trend = if -difference >= needed(Trend::Worsening) {
            Trend::Worsening
        } else if difference >= needed(Trend::Improving) {
            Trend::Improving
        } else {
            Trend::Steady
        };
        if self
            .scores
            .back()
            .is_none_or(|(at, _)| now.since(*at) >= NOTED_EVERY)
        {
            self.scores.push_back((now, score));
        }
        self.trend
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            scores: VecDeque::new(),
            trend: Trend::Steady,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    /// The trends of scores that are ten seconds apart.
    fn trends(scores: impl IntoIterator<Item = u32>) -> Vec<Trend> {
        let mut history = History::default();
        let trends = scores
            .into_iter()
            .enumerate()
            .map(|(n, score)| history.trend(ms(n as u64 * 10_000), score));
        trends.collect()
    }

    #[test]
    fn what_falls_slowly_is_worsening_and_what_rises_again_improving() {
        let down = (0..=30).map(|n| 100 - n);
        let up = (0..=30).map(|n| 70 + n);
        let trends = trends(down.chain(up));
        assert_eq!(
            trends[9],
            Trend::Steady,
            "nine points in a minute and a half"
        );
        assert_eq!(trends[10], Trend::Worsening, "ten points");
        assert_eq!(trends[30], Trend::Worsening);
        assert_eq!(trends[61], Trend::Improving);
    }

    #[test]
    fn a_trend_ends_later_than_it_begins() {
        let mut history = History::default();
        for (second, score, trend) in [
            (0, 90, Trend::Steady),
            (60, 81, Trend::Steady),
            (70, 80, Trend::Worsening),
            (80, 85, Trend::Worsening),
            (90, 86, Trend::Steady),
            (100, 81, Trend::Steady),
            (110, 100, Trend::Improving),
            (120, 95, Trend::Improving),
            (130, 94, Trend::Steady),
        ] {
            assert_eq!(history.trend(ms(second * 1000), score), trend, "{second}");
        }
    }

    #[test]
    fn a_first_minute_has_no_trend() {
        let mut history = History::default();
        for second in 0..60 {
            let score = 100 - second as u32;
            assert_eq!(history.trend(ms(second * 1000), score), Trend::Steady);
        }
        assert_eq!(history.trend(ms(60_000), 40), Trend::Worsening);
    }

    #[test]
    fn what_was_long_ago_is_not_compared_and_little_is_kept() {
        let mut history = History::default();
        history.trend(ms(0), 100);
        assert_eq!(history.trend(ms(180_001), 50), Trend::Steady);
        for n in 0..10_000 {
            history.trend(ms(200_000 + n * 100), 50);
        }
        assert!(history.scores.len() <= 8, "{}", history.scores.len());
    }
}
