//! How often a peer is looked at.

use std::time::Duration;

use super::{
    Peer, SUSPECT_AFTER, Surroundings,
    judging::{ANSWERS_WITHIN, ASKED_FOR},
};
use crate::core::{Settings, Time, Verdict, evidence::Silence};

/// How often a Suspect peer is looked at, at first, and when it has been so for long.
const LOOK_SUSPECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// How often a Dead peer is looked at, at most and at least: the interval doubles.
pub(super) const LOOK_DEAD: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(500));

/// How often a Degraded peer is looked at.
const LOOK_DEGRADED: Duration = Duration::from_secs(1);

/// How often a peer is looked at while all is well: keeps the path's history.
const LOOK_IDLE: Duration = Duration::from_secs(10);

/// How often a peer is looked at of which nothing is known, or that has no connection.
const LOOK_UNKNOWN: Duration = Duration::from_secs(1);

/// How soon a new connection is looked at while all is well: a program that makes one for
/// each request has us look no more often than this.
pub(super) const LOOK_CONNECTED: Duration = Duration::from_millis(100);

impl Peer {
    /// How long after a look taken at `at` the next is due.
    pub(super) fn interval(&mut self, at: Time, around: Surroundings<'_>) -> Duration {
        match (self.verdict, self.silence) {
            (Verdict::Dead, _) => {
                let interval = self.dead_interval;
                self.dead_interval = (interval * 2).min(LOOK_DEAD.1);
                self.ending
                    .due(around.settings)
                    .filter(|due| *due > at)
                    .map_or(interval, |due| interval.min(due.since(at)))
            }
            (_, Some(_)) if self.asked_once_more.is_some() => ANSWERS_WITHIN,
            (_, Some(silence)) => self.until_decision(at, &silence, around.settings),
            (Verdict::Degraded, None) => LOOK_DEGRADED,
            (Verdict::Unknown, None) => self
                .until_weighed(at, around)
                .map_or(LOOK_UNKNOWN, |until| until.min(LOOK_UNKNOWN)),
            // A new connection is to be known before it can be cut.
            (_, None) if !self.evidence.is_connected() => LOOK_UNKNOWN,
            // Whether it was heard after calls to it began to fail is soon to be known.
            (_, None) if self.failures.streak(at, around.settings).is_some() => LOOK_UNKNOWN,
            (_, None) => LOOK_IDLE,
        }
    }

    /// The next moment at which the rule may come to another answer.
    fn until_decision(&self, at: Time, silence: &Silence, settings: &Settings) -> Duration {
        let detection_time = self
            .evidence
            .path
            .detection_time(at, settings.detection_time);
        let lasted = at.since(silence.since);
        let longest = (lasted / 20).clamp(LOOK_SUSPECT.0, LOOK_SUSPECT.1);
        [
            silence.since + SUSPECT_AFTER,
            silence.since + detection_time,
            at + detection_time
                .mul_f64(ASKED_FOR)
                .saturating_sub(silence.asked_for),
        ]
        .into_iter()
        .filter(|&moment| moment > at)
        .map(|moment| moment.since(at))
        .fold(longest, Duration::min)
    }
}
