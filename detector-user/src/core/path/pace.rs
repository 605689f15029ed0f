//! How often a path's sockets are read.

use std::time::Duration;

use super::Path;
use crate::{
    core::context::Around,
    model::{Time, Verdict},
};

/// The first and the longest interval between snapshots of a Dead peer: the interval doubles.
const DEAD: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// The interval for a Degraded peer.
const DEGRADED: Duration = Duration::from_secs(1);

/// The interval while nothing is wrong: it keeps the path's history up to date.
const IDLE: Duration = Duration::from_secs(10);

/// The interval for a peer of which nothing is known, or that has no connection.
const UNKNOWN: Duration = Duration::from_secs(1);

/// How long after a new connection a snapshot is taken while nothing is wrong: programs that
/// connect for each request cause no more than one snapshot in this time.
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
    /// How long after a snapshot taken at `at` the next is due. `again_in` says when the rule may
    /// decide otherwise, if something stands unanswered.
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
            // A new connection should be known before it may be cut.
            (_, None) if !self.evidence.is_connected() => UNKNOWN,
            // It should soon be known whether the peer was heard after calls to it began to fail.
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
