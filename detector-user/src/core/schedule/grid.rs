//! Common moments for work that can wait, so that one wake-up serves all peers.

use std::time::Duration;

use super::random;
use crate::model::{Settings, Time};

/// The interval between the moments where idle peers are not probed.
const WITHOUT_PROBES: Duration = Duration::from_secs(1);

/// The common moments, one in each idle probe interval.
///
/// Each is moved at random by up to half of the jitter, so that two follow each other within the
/// interval and its jitter. The random numbers come from the time of the start: nodes that were
/// started together do not stay in step.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Grid {
    interval: Duration,
    jitter_percent: u32,
    began: Option<Time>,
}

impl Grid {
    pub(in crate::core) fn new(settings: &Settings) -> Self {
        let interval = match settings.idle_probe_interval {
            Duration::ZERO => WITHOUT_PROBES,
            interval => interval,
        };
        Self {
            interval,
            jitter_percent: settings.idle_probe_jitter_percent,
            began: None,
        }
    }

    /// Moments by other settings; the first one stays.
    pub(in crate::core) fn set_settings(&mut self, settings: &Settings) {
        let began = self.began;
        *self = Self {
            began,
            ..Self::new(settings)
        };
    }

    /// The first call sets the first moment.
    pub(in crate::core) fn begin(&mut self, now: Time) {
        self.began.get_or_insert(now);
    }

    /// The longest time between two moments that follow each other.
    pub(in crate::core) fn longest(&self) -> Duration {
        self.interval + self.interval * self.jitter_percent / 100
    }

    /// The last moment that is not later than `latest`, if that is after `after`; otherwise
    /// `latest`.
    pub(in crate::core) fn before(&self, latest: Time, after: Time) -> Time {
        let number = self.number(latest);
        let moments = [number + 1, number, number.saturating_sub(1)];
        let mut fitting = moments.into_iter().map(|number| self.moment(number));
        fitting
            .find(|moment| *moment <= latest)
            .filter(|moment| *moment > after)
            .unwrap_or(latest)
    }

    /// The first moment that is not earlier than this.
    pub(in crate::core) fn from(&self, earliest: Time) -> Time {
        let number = self.number(earliest);
        let mut moments = (number.saturating_sub(1)..).map(|number| self.moment(number));
        let fitting = moments.find(|moment| *moment >= earliest);
        fitting.unwrap_or(earliest)
    }

    /// Which moment is about here.
    fn number(&self, at: Time) -> u64 {
        let passed = at.since(self.began.unwrap_or_default()).as_nanos();
        u64::try_from(passed / self.interval.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    fn moment(&self, number: u64) -> Time {
        let began = self.began.unwrap_or_default();
        let intervals = self.interval.as_secs_f64() * number as f64;
        let spread = self
            .interval
            .mul_f64(f64::from(self.jitter_percent) / 100.0);
        let moved = match number {
            0 => Duration::ZERO,
            _ => spread.mul_f64(random::unit(began.as_nanos().wrapping_add(number))),
        };
        began + Duration::try_from_secs_f64(intervals).unwrap_or(Duration::MAX) + moved - spread / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    fn grid(began: u64, jitter_percent: u32) -> Grid {
        let mut grid = Grid::new(&Settings {
            idle_probe_jitter_percent: jitter_percent,
            ..Settings::default()
        });
        grid.begin(ms(began));
        grid
    }

    fn moments(grid: &Grid, from: u64, count: usize) -> Vec<Time> {
        let following = |at: &Time| Some(grid.from(*at + Duration::from_nanos(1)));
        let moments = std::iter::successors(Some(grid.from(ms(from))), following);
        moments.take(count).collect()
    }

    #[test]
    fn moments_follow_each_other_within_the_interval_and_its_jitter() {
        for percent in [0, 10, 50] {
            let grid = grid(5000, percent);
            let moments = moments(&grid, 6000, 1000);
            let apart: Vec<_> = moments.windows(2).map(|two| two[1].since(two[0])).collect();
            let jitter = Duration::from_millis(350) * percent / 100;
            let least = Duration::from_millis(350) - jitter;
            assert!(
                apart
                    .iter()
                    .all(|apart| *apart >= least - Duration::from_micros(1))
            );
            assert!(
                apart
                    .iter()
                    .all(|apart| *apart <= grid.longest() + Duration::from_micros(1))
            );
            assert_eq!(apart.iter().min() < apart.iter().max(), percent > 0);
        }
    }

    #[test]
    fn nodes_that_were_started_at_different_times_do_not_keep_step() {
        let of = |began| moments(&grid(began, 10), 100_000, 100);
        let (one, other) = (of(5000), of(5350));
        let shared = one.iter().filter(|moment| other.contains(moment));
        assert_eq!(shared.count(), 0);
    }

    #[test]
    fn whoever_may_wait_for_the_longest_interval_finds_a_moment() {
        let grid = grid(0, 10);
        for after in 400..3000 {
            let latest = ms(after) + grid.longest();
            let found = grid.before(latest, ms(after));
            assert!(found > ms(after) && found <= latest);
            assert_eq!(found, grid.from(found), "{after}");
        }
    }

    #[test]
    fn who_cannot_wait_for_a_moment_does_not() {
        let grid = grid(0, 0);
        assert_eq!(grid.before(ms(690), ms(351)), ms(690));
        assert_eq!(grid.before(ms(701), ms(351)), ms(700));
    }
}
