//! When a peer's sockets are to be looked at.

use std::time::Duration;

use crate::core::Time;

/// Two looks lie at least this far apart.
const SPACING: Duration = Duration::from_millis(10);

/// A look that was asked for and has not come back is asked for again after this time.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// Snapshots that are at least this far apart fall on multiples of it, so that one dump of the
/// sockets serves all peers that are due.
const COMMON_STEP: Duration = Duration::from_millis(100);

/// After a snapshot that failed, the next is due after this time.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The one look at a time, and the time of the last.
#[derive(Debug)]
pub(in crate::core) struct Snapshots {
    next: Next,
    last: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Due(Time),
    /// Asked for at `at`; `again` when something has happened since.
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

    /// Of when the newest look is that came back.
    pub(in crate::core) fn last(&self) -> Option<Time> {
        self.last
    }

    /// When [`Self::take_due`] is to be asked.
    pub(in crate::core) fn timeout(&self) -> Time {
        match self.next {
            Next::Due(at) => at,
            Next::Asked { at, .. } => at + LOST_AFTER,
        }
    }

    /// Whether a snapshot is to be asked for now; it counts as asked for then.
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

    /// The next look comes no later than this. One that is under way may have been taken
    /// before what it is to show.
    pub(in crate::core) fn wake(&mut self, at: Time) {
        match &mut self.next {
            Next::Asked { again, .. } => *again = true,
            Next::Due(due) => *due = at.min(*due),
        }
    }

    /// A look came back, taken at `at`; the next is due `interval` after that, or a little
    /// before, at a moment that it shares with other peers.
    pub(in crate::core) fn came_back(&mut self, now: Time, at: Time, interval: Duration) {
        let again = matches!(self.next, Next::Asked { again: true, .. });
        self.last = Some(at);
        let due = if interval >= COMMON_STEP {
            (at + interval).floor(COMMON_STEP)
        } else {
            at + interval
        };
        self.next = Next::Due(due.max(now + SPACING));
        if again {
            self.soon(now);
        }
    }

    /// A look could not be taken.
    pub(in crate::core) fn failed(&mut self, now: Time) {
        self.next = Next::Due(now + RETRY_AFTER);
    }
}
