//! The health of each lock, from the reports about it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::LockHealth;
use crate::model::{Operation, OperationReport, Outcome, Time};

/// The most locks that are kept.
const KEPT: usize = 256;

/// A lock without reports for this long is forgotten.
const LIFE: Duration = Duration::from_secs(600);

/// This many consecutive time-outs make a lock Unhealthy.
const CONSECUTIVE: u32 = 3;

/// With at least this many attempts, a lock is also Unhealthy if half of them timed out.
const SHARE_OF: u32 = 10;

/// The share of time-outs covers at most this many recent attempts, and at least half as many: old
/// attempts must not hide the present.
const SHARE_KEPT: u32 = 100;

/// How long a lock stays Degraded after a time-out.
const DEGRADED: Duration = Duration::from_secs(30);

/// The state of one lock.
#[derive(Clone, Debug, PartialEq)]
pub struct LockLine {
    pub lock: Arc<str>,
    pub health: LockHealth,
    pub counts: LockCounts,
}

/// What was reported of one lock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LockCounts {
    pub attempts: u64,
    pub timeouts: u64,
    pub consecutive_timeouts: u32,
    pub last_timeout: Option<Time>,
    pub last_success: Option<Time>,
}

#[derive(Debug, Default)]
struct Stats {
    counts: LockCounts,
    /// The recent attempts and time-outs, from which the share is computed.
    recent: (u32, u32),
    touched: Time,
}

#[derive(Debug, Default)]
pub(super) struct Locks {
    locks: BTreeMap<Arc<str>, Stats>,
    beyond_bound: u64,
}

impl Locks {
    /// Takes in a report, if it is about a lock.
    pub(super) fn reported(&mut self, now: Time, report: &OperationReport) {
        let is_attempt = matches!(report.operation, Operation::Lock | Operation::IamRead);
        let Some(lock) = report.lock.as_ref().filter(|_| is_attempt) else {
            return;
        };
        if !self.locks.contains_key(lock) && self.locks.len() >= KEPT {
            self.locks
                .retain(|_, stats| now.since(stats.touched) < LIFE);
            if self.locks.len() >= KEPT {
                self.beyond_bound += 1;
                return;
            }
        }
        let stats = self.locks.entry(Arc::clone(lock)).or_default();
        if now.since(stats.touched) >= LIFE {
            *stats = Stats::default();
        }
        stats.take(report);
        stats.touched = now;
    }

    pub(super) fn is_kept(&self, lock: &str) -> bool {
        self.locks.contains_key(lock)
    }

    pub(super) fn lines(&self, now: Time) -> Vec<LockLine> {
        let young = self
            .locks
            .iter()
            .filter(|(_, s)| now.since(s.touched) < LIFE);
        young
            .map(|(lock, stats)| LockLine {
                lock: Arc::clone(lock),
                health: stats.health(now),
                counts: stats.counts,
            })
            .collect()
    }

    pub(super) fn beyond_bound(&self) -> u64 {
        self.beyond_bound
    }
}

impl Stats {
    fn take(&mut self, report: &OperationReport) {
        let counts = &mut self.counts;
        counts.attempts += 1;
        if self.recent.0 >= SHARE_KEPT {
            self.recent = (self.recent.0 / 2, self.recent.1 / 2);
        }
        self.recent.0 += 1;
        match report.outcome {
            Outcome::TimedOut => {
                counts.timeouts += 1;
                self.recent.1 += 1;
                counts.consecutive_timeouts = counts.consecutive_timeouts.saturating_add(1);
                counts.last_timeout = counts.last_timeout.max(Some(report.ended_at));
            }
            Outcome::Succeeded | Outcome::Refused => {
                counts.consecutive_timeouts = 0;
                counts.last_success = counts.last_success.max(Some(report.ended_at));
            }
            Outcome::Unreachable | Outcome::QuorumLost => {}
        }
    }

    fn health(&self, now: Time) -> LockHealth {
        let (attempts, timeouts) = self.recent;
        let is_half = attempts >= SHARE_OF && timeouts * 2 >= attempts;
        if self.counts.consecutive_timeouts >= CONSECUTIVE || is_half {
            LockHealth::Unhealthy
        } else if self
            .counts
            .last_timeout
            .is_some_and(|at| now.since(at) < DEGRADED)
        {
            LockHealth::Degraded
        } else {
            LockHealth::Healthy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{ms, report};

    fn tell(locks: &mut Locks, millis: u64, lock: &str, outcome: Outcome) {
        let report = OperationReport {
            lock: Some(lock.into()),
            ..report(millis, Operation::Lock, outcome)
        };
        locks.reported(ms(millis), &report);
    }

    fn health(locks: &Locks, millis: u64) -> LockHealth {
        locks.lines(ms(millis))[0].health
    }

    #[test]
    fn three_timeouts_in_a_row_are_unhealthy_and_a_success_ends_that() {
        let mut locks = Locks::default();
        for millis in [0, 1, 2] {
            tell(&mut locks, millis, "iam", Outcome::TimedOut);
            let expected = [LockHealth::Degraded, LockHealth::Unhealthy][usize::from(millis == 2)];
            assert_eq!(health(&locks, millis), expected);
        }
        assert_eq!(health(&locks, 599_000), LockHealth::Unhealthy);
        tell(&mut locks, 3, "iam", Outcome::Succeeded);
        assert_eq!(health(&locks, 30_001), LockHealth::Degraded);
        assert_eq!(health(&locks, 30_002), LockHealth::Healthy);
        let expected = LockCounts {
            attempts: 4,
            timeouts: 3,
            consecutive_timeouts: 0,
            last_timeout: Some(ms(2)),
            last_success: Some(ms(3)),
        };
        assert_eq!(locks.lines(ms(4))[0].counts, expected);
    }

    #[test]
    fn half_of_ten_attempts_are_unhealthy() {
        let mut locks = Locks::default();
        for n in 0..9 {
            let outcome = [Outcome::TimedOut, Outcome::Succeeded][n as usize % 2];
            tell(&mut locks, n, "iam", outcome);
        }
        tell(&mut locks, 9, "iam", Outcome::Succeeded);
        assert_eq!(health(&locks, 9), LockHealth::Unhealthy);
        tell(&mut locks, 10, "iam", Outcome::Succeeded);
        assert_eq!(health(&locks, 10), LockHealth::Degraded, "five of eleven");
    }

    #[test]
    fn nine_attempts_are_too_few_for_a_share() {
        let mut locks = Locks::default();
        for n in 0..9 {
            let outcome = [Outcome::TimedOut, Outcome::Succeeded][n as usize % 2];
            tell(&mut locks, n, "iam", outcome);
        }
        assert_eq!(health(&locks, 9), LockHealth::Degraded, "five of nine");
    }

    #[test]
    fn a_bad_past_does_not_drown_a_good_present() {
        let mut locks = Locks::default();
        for n in 0..1000 {
            tell(&mut locks, n, "iam", Outcome::TimedOut);
        }
        for n in 1000..1100 {
            tell(&mut locks, n, "iam", Outcome::Succeeded);
        }
        assert_eq!(health(&locks, 40_000), LockHealth::Healthy);
    }

    #[test]
    fn locks_are_bounded_counted_beyond_and_forgotten() {
        let mut locks = Locks::default();
        for n in 0..KEPT {
            tell(
                &mut locks,
                n as u64,
                &format!("lock{n}"),
                Outcome::Succeeded,
            );
        }
        tell(&mut locks, 1000, "one more", Outcome::TimedOut);
        assert_eq!(
            (locks.lines(ms(1000)).len(), locks.beyond_bound()),
            (KEPT, 1)
        );
        assert!(!locks.is_kept("one more"));
        assert_eq!(locks.lines(ms(601_000)).len(), 0);
        tell(&mut locks, 601_000, "one more", Outcome::TimedOut);
        assert_eq!((locks.locks.len(), locks.beyond_bound()), (1, 1));
        tell(&mut locks, 1_202_000, "one more", Outcome::Succeeded);
        assert_eq!(
            locks.lines(ms(1_202_000))[0].counts.timeouts,
            0,
            "it begins anew"
        );
    }

    #[test]
    fn what_is_not_about_taking_a_lock_is_no_attempt() {
        let mut locks = Locks::default();
        let upload = OperationReport {
            lock: Some("iam".into()),
            ..report(0, Operation::Upload, Outcome::TimedOut)
        };
        locks.reported(ms(0), &upload);
        locks.reported(ms(0), &report(0, Operation::Lock, Outcome::TimedOut));
        assert_eq!(locks.lines(ms(0)), []);
    }
}
