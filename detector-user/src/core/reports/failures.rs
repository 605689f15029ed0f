//! The failed calls to one peer in a row, with no answered call between them.

use std::{collections::VecDeque, time::Duration};

use crate::model::{Settings, Time};

/// The most failures that are remembered for one peer: more than any threshold.
const KEPT: usize = 128;

/// Failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Streak {
    /// When the first of the failed calls ended.
    pub first: Time,
    /// When the report arrived with which there were enough of them.
    pub told: Time,
}

/// Failures since the last answered call.
#[derive(Debug, Default)]
pub(in crate::core) struct Failures {
    /// When each failed call ended, in that order. When there are too many, the first is kept: it
    /// shows since when calls fail.
    ended: VecDeque<Time>,
    told: Option<Time>,
    /// The peer was heard while calls to it failed: it counts as slow until calls are answered, or
    /// until none has failed for the window.
    slow: bool,
}

impl Failures {
    /// A call that ended at `ended_at` failed.
    pub(in crate::core) fn failed(&mut self, now: Time, ended_at: Time, settings: &Settings) {
        self.forget(now, settings.failure_window);
        if self.ended.len() == KEPT {
            self.ended.remove(1);
        }
        let place = self.ended.partition_point(|ended| *ended <= ended_at);
        self.ended.insert(place, ended_at);
        let threshold = settings.failure_threshold as usize;
        if self.ended.len() < threshold {
            self.told = None;
        } else {
            self.told.get_or_insert(now);
        }
    }

    /// A call that ended at `ended_at` was answered: what failed before no longer counts.
    pub(in crate::core) fn answered(&mut self, ended_at: Time, settings: &Settings) {
        self.ended.retain(|ended| *ended > ended_at);
        if self.ended.len() < settings.failure_threshold as usize {
            self.told = None;
            self.slow = false;
        }
    }

    pub(in crate::core) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets failures that are older than the window.
    pub(in crate::core) fn forget(&mut self, now: Time, window: Duration) {
        self.slow &= self
            .ended
            .back()
            .is_some_and(|last| now.since(*last) <= window);
        while self
            .ended
            .front()
            .is_some_and(|first| now.since(*first) > window)
        {
            self.ended.pop_front();
        }
    }

    /// The failures, if there are enough of them within the window.
    pub(in crate::core) fn streak(&self, now: Time, settings: &Settings) -> Option<Streak> {
        let threshold = settings.failure_threshold as usize;
        let mut recent = self
            .ended
            .iter()
            .skip_while(|ended| now.since(**ended) > settings.failure_window);
        let first = *recent.next()?;
        let enough = threshold > 0 && 1 + recent.count() >= threshold;
        enough.then_some(Streak {
            first,
            told: self.told?,
        })
    }

    /// Whether there are any failures.
    pub(in crate::core) fn is_pending(&self) -> bool {
        !self.ended.is_empty()
    }

    /// When the first of the failed calls ended.
    pub(in crate::core) fn first(&self) -> Option<Time> {
        self.ended.front().copied()
    }

    /// The peer was heard after the first failure.
    pub(in crate::core) fn set_slow(&mut self) {
        self.slow = true;
    }

    pub(in crate::core) fn is_slow(&self) -> bool {
        self.slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    fn failed(failures: &mut Failures, millis: u64) {
        failures.failed(ms(millis), ms(millis), &Settings::default());
    }

    fn first(failures: &Failures, millis: u64) -> Option<Time> {
        let streak = failures.streak(ms(millis), &Settings::default());
        streak.map(|streak| streak.first)
    }

    #[test]
    fn three_in_a_row_are_a_streak_and_an_answer_ends_it() {
        let mut failures = Failures::default();
        failed(&mut failures, 0);
        failed(&mut failures, 1000);
        assert_eq!(first(&failures, 1000), None);
        failed(&mut failures, 2000);
        failed(&mut failures, 3000);
        assert_eq!(first(&failures, 3000), Some(ms(0)));
        failures.answered(ms(1000), &Settings::default());
        assert_eq!(
            first(&failures, 3000),
            None,
            "two are younger than the answer"
        );
        failed(&mut failures, 4000);
        assert_eq!(first(&failures, 4000), Some(ms(2000)));
        failures.answered(ms(4000), &Settings::default());
        failed(&mut failures, 5000);
        assert_eq!(first(&failures, 5000), None);
    }

    #[test]
    fn failures_far_apart_are_no_streak() {
        let mut failures = Failures::default();
        for millis in [0, 59_000, 61_000] {
            failed(&mut failures, millis);
        }
        assert_eq!(first(&failures, 61_000), None);
        failed(&mut failures, 62_000);
        assert_eq!(first(&failures, 62_000), Some(ms(59_000)));
        assert_eq!(first(&failures, 120_000), None);
    }

    #[test]
    fn reports_may_come_in_any_order() {
        let mut failures = Failures::default();
        let settings = Settings::default();
        for ended in [30, 10, 20] {
            failures.failed(ms(50), ms(ended), &settings);
        }
        let streak = failures.streak(ms(50), &settings);
        assert_eq!(
            streak,
            Some(Streak {
                first: ms(10),
                told: ms(50)
            })
        );
    }

    #[test]
    fn many_are_bounded_and_the_first_is_kept() {
        let mut failures = Failures::default();
        for millis in 0..10_000 {
            failed(&mut failures, millis);
        }
        assert_eq!(failures.ended.len(), KEPT);
        assert_eq!(first(&failures, 10_000), Some(ms(0)));
    }

    #[test]
    fn a_threshold_of_zero_is_never_reached() {
        let settings = Settings {
            failure_threshold: 0,
            ..Settings::default()
        };
        let mut failures = Failures::default();
        for millis in 0..10 {
            failures.failed(ms(millis), ms(millis), &settings);
        }
        assert_eq!(failures.streak(ms(10), &settings), None);
    }

    #[test]
    fn slowness_ends_when_there_are_no_more_failures_for_the_window() {
        let mut failures = Failures::default();
        for millis in [0, 10, 20] {
            failed(&mut failures, millis);
        }
        failures.set_slow();
        failures.forget(ms(60_020), Settings::default().failure_window);
        assert!(failures.is_slow());
        failures.forget(ms(60_021), Settings::default().failure_window);
        assert!(!failures.is_slow());
    }
}
