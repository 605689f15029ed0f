//! When a path's sockets are read.

use std::time::Duration;

use super::Grid;
use crate::model::Time;

/// Two snapshots are at least this far apart.
const SPACING: Duration = Duration::from_millis(10);

/// A requested snapshot that has not come back is requested again after this time.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// Snapshots that are at least this far apart fall on multiples of it, so that one dump of the
/// sockets serves all peers that are due.
const COMMON_STEP: Duration = Duration::from_millis(100);

/// From this interval on, snapshots are taken at a common moment of all that can wait.
const CAN_WAIT: Duration = Duration::from_secs(1);

/// After a snapshot that failed, the next is due after this time.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The one snapshot that may be pending, and the time of the last.
#[derive(Debug)]
pub(in crate::core) struct Snapshots {
    next: Next,
    last: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Due(Time),
    /// Requested at `at`; `again` if something has happened since.
    Asked {
        at: Time,
        again: bool,
    },
}

impl Snapshots {
    pub(in crate::core) fn new(now: Time) -> Self {
        Self {
            next: Next::Due(now),
            last: None,
        }
    }

    /// The time at which the newest snapshot was taken.
    pub(in crate::core) fn last(&self) -> Option<Time> {
        self.last
    }

    /// When [`Self::take_due`] should be called.
    pub(in crate::core) fn timeout(&self) -> Time {
        match self.next {
            Next::Due(at) => at,
            Next::Asked { at, .. } => at + LOST_AFTER,
        }
    }

    /// Whether a snapshot is due now; if so, it counts as requested.
    pub(in crate::core) fn take_due(&mut self, now: Time) -> bool {
        let due = self.timeout() <= now;
        if due {
            self.next = Next::Asked {
                at: now,
                again: false,
            };
        }
        due
    }

    /// Something happened that a snapshot may explain.
    pub(in crate::core) fn soon(&mut self, now: Time) {
        match &mut self.next {
            Next::Asked { again, .. } => *again = true,
            Next::Due(due) => {
                let earliest = self.last.map_or(now, |at| now.max(at + SPACING));
                *due = earliest.min(*due);
            }
        }
    }

    /// The next snapshot comes no later than this. If one is pending, another follows it: the
    /// pending one may have been taken before the event that it should show.
    pub(in crate::core) fn wake(&mut self, at: Time) {
        match &mut self.next {
            Next::Asked { again, .. } => *again = true,
            Next::Due(due) => *due = at.min(*due),
        }
    }

    /// A snapshot came back, taken at `at`. The next is due `interval` after that, or a little
    /// earlier, at a moment that it shares with other peers.
    pub(in crate::core) fn came_back(
        &mut self,
        now: Time,
        at: Time,
        interval: Duration,
        grid: Grid,
    ) {
        let again = matches!(self.next, Next::Asked { again: true, .. });
        self.last = Some(at);
        let latest = at + interval;
        let due = if interval >= CAN_WAIT {
            // A moment just before a multiple belongs to it, or the interval would be halved.
            let slack = grid.longest().min(interval / 10);
            grid.before((latest + slack).floor(interval / 2), at)
        } else if interval >= COMMON_STEP {
            latest.floor(COMMON_STEP)
        } else {
            latest
        };
        self.next = Next::Due(due.max(now + SPACING));
        if again {
            self.soon(now);
        }
    }

    /// A snapshot could not be taken.
    pub(in crate::core) fn failed(&mut self, now: Time) {
        self.next = Next::Due(now + RETRY_AFTER);
    }
}
