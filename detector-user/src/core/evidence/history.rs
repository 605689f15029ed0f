//! What the path to a peer has shown so far, and how long a silence must last because of it.

use std::time::Duration;

use super::Spacing;
use crate::model::Time;

/// The half-life of old observations.
const HALF_LIFE: Duration = Duration::from_secs(30);

/// The accepted probability that one decision finds a live peer Dead because of loss.
const FALSE_DEAD_PROBABILITY: f64 = 1e-6;

/// The least round-trip loss that is assumed, where the peer can be probed at will: loss may start
/// at any moment, and its first seconds must not look like a death. It means that three segments in
/// ten are lost each way; the many probes that it requires cost little.
const MIN_LOSS_ASKED: f64 = 0.5;

/// The same where the daemon can only wait for the flows' own retransmissions.
const MIN_LOSS_UNASKED: f64 = 0.05;

/// Transmissions that are closer together than the detection time divided by this are often lost
/// together, and count as one moment.
const MOMENTS_IN_DETECTION_TIME: u32 = 50;

/// A peer may have been alive during a gap between probes that is longer than the detection time
/// divided by this.
const GAPS_IN_DETECTION_TIME: u32 = 12;

/// However long the detection time, transmissions further apart than this are separate moments.
const MOMENT_AT_MOST: Duration = Duration::from_millis(5);

/// The highest round-trip loss that is assumed; it bounds the number of transmissions required.
const MAX_ROUND_TRIP_LOSS: f64 = 0.8;

/// The most segments for which the lifetime totals of a newly seen flow count.
const FIRST_SIGHT_SEGMENTS: f64 = 200.0;

/// The most segments for which all that is known counts: a path that turns bad sends little, and
/// what it sent while it was good must not hide that.
const KEPT_SEGMENTS: f64 = 400.0;

/// The most segments for which the traffic between two snapshots counts.
const ADDED_SEGMENTS: f64 = 200.0;

/// Segments that are assumed to have been sent without loss before anything was seen, so that one
/// loss among a few segments does not look like a bad path.
const PRIOR_SEGMENTS: f64 = 20.0;

/// The detection time is at least the worst stall that recovered, times this factor.
const WORST_STALL_FACTOR: f64 = 1.5;

/// No answer to a probe counts as missing before this time.
const MIN_ANSWER_GRACE: Duration = Duration::from_millis(5);

/// An answer may take this factor longer than the slowest one so far.
const ANSWER_FACTOR: f64 = 2.0;

/// Recovered stalls count for at most this length; it bounds the detection time.
const MAX_LEARNT_STALL: Duration = Duration::from_secs(4);

/// Loss and stalls seen on the way to one peer, fading with time.
#[derive(Clone, Debug)]
pub(in crate::core) struct PathHistory {
    segments: f64,
    retransmitted: f64,
    worst_stall: Duration,
    /// The longest time that an answer to a probe took.
    worst_answer: Duration,
    as_of: Time,
}

impl PathHistory {
    pub(in crate::core) fn new(now: Time) -> Self {
        Self {
            segments: 0.0,
            retransmitted: 0.0,
            worst_stall: Duration::ZERO,
            worst_answer: Duration::ZERO,
            as_of: now,
        }
    }

    /// Adds a flow that is seen for the first time, with its lifetime totals.
    pub(in crate::core) fn first_sight(&mut self, now: Time, segments: u64, retransmitted: u64) {
        let weight = (FIRST_SIGHT_SEGMENTS / (segments as f64).max(1.0)).min(1.0);
        self.add(now, segments as f64 * weight, retransmitted as f64 * weight);
    }

    /// Adds what a flow has sent since the last snapshot.
    pub(in crate::core) fn progress(&mut self, now: Time, segments: u64, retransmitted: u64) {
        self.add(now, segments as f64, retransmitted as f64);
    }

    /// The same history, if these segments were lost on the path.
    pub(in crate::core) fn presuming_lost(&self, segments: u64) -> Self {
        let mut presumed = self.clone();
        presumed.segments += segments as f64;
        presumed.retransmitted += segments as f64;
        presumed
    }

    /// A suspicious silence ended: the peer was alive all the time.
    pub(in crate::core) fn stall_recovered(&mut self, now: Time, silence: Duration) {
        self.fade(now);
        self.worst_stall = self.worst_stall.max(silence.min(MAX_LEARNT_STALL));
    }

    /// A probe was answered after the time `after`.
    pub(in crate::core) fn answered(&mut self, now: Time, after: Duration) {
        self.add(now, 1.0, 0.0);
        self.worst_answer = self.worst_answer.max(after);
    }

    /// How long an answer to a probe may take before it counts as missing.
    pub(in crate::core) fn answer_grace(&self, now: Time) -> Duration {
        let worst = self.worst_answer.mul_f64(self.fading(now));
        MIN_ANSWER_GRACE + worst.mul_f64(ANSWER_FACTOR)
    }

    /// How transmissions count that are close together or far apart, given the path's detection
    /// time and whether the peer can be probed at will. Where it cannot, no gap is too long: the
    /// kernel alone decides when a flow retransmits.
    pub(in crate::core) fn spacing(detection_time: Duration, can_ask: bool) -> Spacing {
        Spacing {
            apart: (detection_time / MOMENTS_IN_DETECTION_TIME).min(MOMENT_AT_MOST),
            gap: if can_ask {
                detection_time / GAPS_IN_DETECTION_TIME
            } else {
                Duration::MAX
            },
        }
    }

    /// The share of sent segments that was lost, with the counts faded by `factor`.
    fn loss(&self, factor: f64) -> f64 {
        let (retransmitted, segments) = (self.retransmitted * factor, self.segments * factor);
        (retransmitted / (segments + PRIOR_SEGMENTS)).min(1.0)
    }

    /// The share of sent segments that was lost lately.
    pub(in crate::core) fn observed_loss(&self, now: Time) -> f64 {
        self.loss(self.fading(now))
    }

    /// How many retransmissions of one flow must go unanswered until loss by chance is about as
    /// unlikely as `wrong`: the nearest whole number, so that a `wrong` that is a power of the loss
    /// gives its exponent.
    pub(in crate::core) fn required_retransmissions(&self, wrong: f64) -> u32 {
        (wrong.ln() / self.round_trip_loss(false).ln()).round() as u32
    }

    /// The probability that a transmission or its answer is lost: as observed, but at least what is
    /// assumed where the peer can or cannot be probed.
    pub(in crate::core) fn round_trip_loss(&self, can_ask: bool) -> f64 {
        // A lost ACK leaves no trace, so both directions are assumed to lose as much as the one
        // that can be observed.
        let one_way = self.loss(1.0);
        let least = if can_ask {
            MIN_LOSS_ASKED
        } else {
            MIN_LOSS_UNASKED
        };
        (1.0 - (1.0 - one_way).powi(2)).clamp(least, MAX_ROUND_TRIP_LOSS)
    }

    /// How many transmissions must go unanswered until loss by chance is no more likely than
    /// [`FALSE_DEAD_PROBABILITY`].
    pub(in crate::core) fn required_transmissions(&self, can_ask: bool) -> u32 {
        (FALSE_DEAD_PROBABILITY.ln() / self.round_trip_loss(can_ask).ln()).ceil() as u32
    }

    /// The path's detection time: the operator's `detection_time`, or longer because of what the
    /// path has shown before.
    pub(in crate::core) fn detection_time(&self, now: Time, detection_time: Duration) -> Duration {
        let worst = self.worst_stall.mul_f64(self.fading(now));
        detection_time
            .max(worst.mul_f64(WORST_STALL_FACTOR))
            .max(self.answer_grace(now))
    }

    fn add(&mut self, now: Time, segments: f64, retransmitted: f64) {
        self.fade(now);
        let weight = (ADDED_SEGMENTS / segments.max(1.0)).min(1.0);
        let (segments, retransmitted) = (segments * weight, retransmitted * weight);
        let room = (KEPT_SEGMENTS - segments).max(0.0);
        let kept = (room / self.segments.max(1.0)).min(1.0);
        self.segments = self.segments * kept + segments;
        self.retransmitted = self.retransmitted * kept + retransmitted;
    }

    fn fade(&mut self, now: Time) {
        let factor = self.fading(now);
        self.segments *= factor;
        self.retransmitted *= factor;
        self.worst_stall = self.worst_stall.mul_f64(factor);
        self.worst_answer = self.worst_answer.mul_f64(factor);
        self.as_of = self.as_of.max(now);
    }

    fn fading(&self, now: Time) -> f64 {
        0.5_f64.powf(now.since(self.as_of).as_secs_f64() / HALF_LIFE.as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
