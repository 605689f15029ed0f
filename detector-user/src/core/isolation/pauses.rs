//! When this machine, or the daemon's loop, was paused.
//!
//! A probe that is sent just before a pause and answered during it looks unanswered afterwards.
//! When the loop is called later than it requested, it was paused in between.

use std::{collections::VecDeque, time::Duration};

use crate::model::Time;

/// The most pauses that are remembered.
const KEPT: usize = 64;

/// A delay of no more than this is not a pause.
const LATE_AT_MOST: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(in crate::core) struct Pauses {
    /// Start and end of each pause, oldest first; they do not overlap.
    pauses: VecDeque<(Time, Time)>,
}

impl Pauses {
    /// Notes that a call which was due at `due` came at `now`: if that is late, it was a pause.
    pub(in crate::core) fn called(
        &mut self,
        due: Option<Time>,
        now: Time,
        detection_time: Duration,
    ) {
        let Some(due) = due else { return };
        let tolerated = (detection_time / 2).min(LATE_AT_MOST);
        if now.since(due) <= tolerated {
            return;
        }
        match self.pauses.back_mut() {
            Some((_, until)) if *until >= due => *until = now.max(*until),
            _ => {
                if self.pauses.len() == KEPT {
                    self.pauses.pop_front();
                }
                self.pauses.push_back((due, now));
            }
        }
    }

    /// When the last pause ended.
    pub(in crate::core) fn last_end(&self) -> Option<Time> {
        self.pauses.back().map(|(_, until)| *until)
    }

    /// How much of the time from `since` to `now` was spent in pauses.
    pub(in crate::core) fn within(&self, since: Time, now: Time) -> Duration {
        self.pauses
            .iter()
            .map(|&(from, until)| until.min(now).since(from.max(since)))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    const DETECTION_TIME: Duration = Duration::from_millis(250);

    #[test]
    fn a_little_late_is_no_pause() {
        let mut pauses = Pauses::default();
        pauses.called(None, ms(0), DETECTION_TIME);
        pauses.called(Some(ms(0)), ms(100), DETECTION_TIME);
        assert_eq!(pauses.last_end(), None);
        pauses.called(Some(ms(0)), ms(101), DETECTION_TIME);
        assert_eq!(pauses.within(ms(50), ms(80)), Duration::from_millis(30));
        assert_eq!(pauses.within(ms(50), ms(500)), Duration::from_millis(51));
    }

    #[test]
    fn the_same_pause_seen_twice_is_one() {
        let mut pauses = Pauses::default();
        pauses.called(Some(ms(0)), ms(200), DETECTION_TIME);
        pauses.called(Some(ms(0)), ms(300), DETECTION_TIME);
        assert_eq!(pauses.within(ms(0), ms(1000)), Duration::from_millis(300));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut pauses = Pauses::default();
        for n in 0..1000 {
            pauses.called(Some(ms(n * 1000)), ms(n * 1000 + 500), DETECTION_TIME);
        }
        assert!(pauses.pauses.len() <= KEPT);
    }
}
