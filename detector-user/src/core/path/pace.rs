//! How often a path's sockets are read.

use std::time::Duration;

use super::Path;
use crate::core::{Time, Verdict, context::Around};

/// How often the sockets of a Dead peer are read, at most and at least: the interval doubles.
const DEAD: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// The same of a Degraded peer.
const DEGRADED: Duration = Duration::from_secs(1);

/// The same while all is well: keeps the path's history.
const IDLE: Duration = Duration::from_secs(10);

/// The same of a peer of which nothing is known, or that has no connection.
const UNKNOWN: Duration = Duration::from_secs(1);

/// How soon a new connection is read while all is well: a program that makes one for each
/// request causes no more reading than this.
pub(super) const CONNECTED: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Pace {
    dead_interval: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            dead_interval: DEAD.0,
        }
    }
}

impl Pace {
    pub(super) fn died(&mut self) {
        *self = Self::default();
    }

    fn next_dead(&mut self) -> Duration {
        let interval = self.dead_interval;
        self.dead_interval = (interval * 2).min(DEAD.1);
        interval
    }
}

impl Path {
    /// How long after a snapshot taken at `at` the next is due; `again_in` is when the rule
    /// may come to another answer, where something stands unanswered.
    pub(super) fn interval(
        &mut self,
        at: Time,
        again_in: Option<Duration>,
        around: Around<'_>,
    ) -> Duration {
        let usual = match (self.verdict(), again_in) {
            (Verdict::Dead, _) => self.pace.next_dead(),
            (_, Some(again_in)) => again_in,
            (Verdict::Degraded, None) => DEGRADED,
            (Verdict::Unknown, None) => self
                .until_weighed(at, around)
                .map_or(UNKNOWN, |until| until.min(UNKNOWN)),
            // A new connection is to be known before it can be cut.
            (_, None) if !self.evidence.is_connected() => UNKNOWN,
            // Whether it was heard after calls to it began to fail is soon to be known.
            (_, None) if self.failures.streak(at, around.settings).is_some() => UNKNOWN,
            (_, None) => IDLE,
        };
        let stall = self.evidence.next_stall(at, self.stalls_count_from(around));
        let freeing = self.freeing_due(around.settings);
        [stall, freeing]
            .into_iter()
            .flatten()
            .filter(|due| *due > at)
            .map(|due| due.since(at))
            .fold(usual, Duration::min)
    }
}
