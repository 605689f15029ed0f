//! The health score of a peer: 100, minus the penalties of four parts.
//!
//! | part | at most | what goes in |
//! |---|---|---|
//! | loss | 30 | the share of segments that were sent again, of the last 400 or so, halved every 30 s: three points for each percent |
//! | round-trip time | 20 | how far the kernel's smoothed time lies above the peer's own baseline: none up to 1.5 times it, all at 5 times |
//! | stalls | 25 | silences that looked bad and ended: five points each, and five more for each second that they lasted (four seconds at most), halved every two minutes; and stalled flows, as a share of all: all 25 where every flow is |
//! | time-outs | 25 | calls that the node reports as timed out or unreachable, as a share of all it reported of the peer: all at one half, halved every minute |
//!
//! The baseline follows the round-trip time slowly: up with a half-life of ten minutes, down with a
//! half-life of one minute. A baseline below one millisecond counts as one millisecond: on a fast
//! network it means nothing if a time doubles from 100 µs.

use std::time::Duration;

use crate::model::{Health, Time, Trend};

const LOSS: (f64, f64) = (30.0, 300.0);
const RTT: f64 = 20.0;
const STALLS: (f64, f64) = (25.0, 5.0);
const TIMEOUTS: (f64, f64) = (25.0, 50.0);

/// Up to the first factor above its baseline a round-trip time costs no points; from the second on,
/// all of them.
const RTT_DRIFT: (f64, f64) = (1.5, 5.0);

/// The least baseline.
const RTT_FLOOR: Duration = Duration::from_millis(1);

/// The half-lives with which the baseline follows: up, and down.
const BASELINE: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(60));

const STALLS_HALVE: Duration = Duration::from_secs(120);
const REPORTS_HALVE: Duration = Duration::from_secs(60);

/// The most time for which one stall counts.
const STALL_AT_MOST: Duration = Duration::from_secs(4);

/// How many calls are assumed to have been answered before any was reported, so that one failure
/// among few is not a large share.
const PRIOR_CALLS: f64 = 5.0;

/// The measurements from which the score is made.
#[derive(Debug)]
pub(super) struct Parts {
    loss: f64,
    /// The share of the flows that are stalled.
    stalled: f64,
    srtt: Option<Duration>,
    /// In seconds.
    baseline: f64,
    baseline_at: Time,
    stalls: Fading,
    calls: Fading,
    unanswered: Fading,
}

impl Parts {
    pub(super) fn new(now: Time) -> Self {
        Self {
            loss: 0.0,
            stalled: 0.0,
            srtt: None,
            baseline: 0.0,
            baseline_at: now,
            stalls: Fading::new(now, STALLS_HALVE),
            calls: Fading::new(now, REPORTS_HALVE),
            unanswered: Fading::new(now, REPORTS_HALVE),
        }
    }

    pub(super) fn looked(&mut self, at: Time, srtt: Option<Duration>, loss: f64, stalled: f64) {
        self.loss = loss;
        self.stalled = stalled;
        let Some(srtt) = srtt else { return };
        let now = srtt.as_secs_f64();
        if self.srtt.is_none() {
            self.baseline = now;
        }
        let (up, down) = BASELINE;
        let half_life = if now > self.baseline { up } else { down };
        let kept = faded(at.since(self.baseline_at), half_life);
        self.baseline = now + (self.baseline - now) * kept;
        self.baseline_at = self.baseline_at.max(at);
        self.srtt = Some(srtt);
    }

    pub(super) fn stall_recovered(&mut self, at: Time, lasted: Duration) {
        self.stalls
            .add(at, 1.0 + lasted.min(STALL_AT_MOST).as_secs_f64());
    }

    pub(super) fn reported(&mut self, at: Time, unanswered: bool) {
        self.calls.add(at, 1.0);
        self.unanswered.add(at, f64::from(u8::from(unanswered)));
    }

    pub(super) fn health(&self, now: Time, trend: Trend) -> Health {
        let points = |points: f64, most: f64| points.clamp(0.0, most).round() as u32;
        let share = self.unanswered.at(now) / (self.calls.at(now) + PRIOR_CALLS);
        let loss_penalty = points(self.loss * LOSS.1, LOSS.0);
        let rtt_penalty = points(self.drift() * RTT, RTT);
        let stalls = self.stalls.at(now) * STALLS.1 + self.stalled * STALLS.0;
        let stall_penalty = points(stalls, STALLS.0);
        let timeout_penalty = points(share * TIMEOUTS.1, TIMEOUTS.0);
        let taken = loss_penalty + rtt_penalty + stall_penalty + timeout_penalty;
        Health {
            score: 100_u32.saturating_sub(taken),
            trend,
            loss_penalty,
            rtt_penalty,
            stall_penalty,
            timeout_penalty,
        }
    }

    /// How far the round-trip time is above its baseline: from 0 (near) to 1 (far above).
    fn drift(&self) -> f64 {
        let Some(srtt) = self.srtt else { return 0.0 };
        let baseline = self.baseline.max(RTT_FLOOR.as_secs_f64());
        let (none, all) = RTT_DRIFT;
        ((srtt.as_secs_f64() / baseline - none) / (all - none)).clamp(0.0, 1.0)
    }
}

/// A sum whose terms decay exponentially with time.
#[derive(Clone, Copy, Debug)]
struct Fading {
    sum: f64,
    as_of: Time,
    half_life: Duration,
}

impl Fading {
    fn new(now: Time, half_life: Duration) -> Self {
        Self {
            sum: 0.0,
            as_of: now,
            half_life,
        }
    }

    fn add(&mut self, at: Time, term: f64) {
        self.sum = self.at(at) + term;
        self.as_of = self.as_of.max(at);
    }

    fn at(&self, now: Time) -> f64 {
        self.sum * faded(now.since(self.as_of), self.half_life)
    }
}

fn faded(after: Duration, half_life: Duration) -> f64 {
    0.5_f64.powf(after.as_secs_f64() / half_life.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    fn health(parts: &Parts, millis: u64) -> Health {
        parts.health(ms(millis), Trend::Steady)
    }

    fn srtt(millis: u64) -> Option<Duration> {
        Some(Duration::from_millis(millis))
    }

    #[test]
    fn nothing_wrong_is_a_hundred() {
        let mut parts = Parts::new(ms(0));
        parts.looked(ms(0), srtt(1), 0.0, 0.0);
        parts.reported(ms(0), false);
        assert_eq!(health(&parts, 0), Health::default());
    }

    #[test]
    fn loss_takes_three_points_a_percent_and_thirty_at_most() {
        for (loss, penalty) in [(0.001, 0), (0.01, 3), (0.05, 15), (0.1, 30), (0.9, 30)] {
            let mut parts = Parts::new(ms(0));
            parts.looked(ms(0), None, loss, 0.0);
            assert_eq!(health(&parts, 0).loss_penalty, penalty, "{loss}");
            assert_eq!(health(&parts, 0).score, 100 - penalty);
        }
    }

    #[test]
    fn a_round_trip_time_far_above_its_baseline_takes_twenty() {
        for (now, penalty) in [(2, 0), (3, 0), (10, 20), (7, 11), (100, 20)] {
            let mut parts = Parts::new(ms(0));
            parts.looked(ms(0), srtt(2), 0.0, 0.0);
            parts.looked(ms(1), srtt(now), 0.0, 0.0);
            assert_eq!(health(&parts, 1).rtt_penalty, penalty, "{now}");
        }
    }

    #[test]
    fn below_a_millisecond_nothing_drifts() {
        let mut parts = Parts::new(ms(0));
        parts.looked(ms(0), Some(Duration::from_micros(50)), 0.0, 0.0);
        parts.looked(ms(1), Some(Duration::from_micros(1500)), 0.0, 0.0);
        assert_eq!(health(&parts, 1).rtt_penalty, 0);
    }

    #[test]
    fn the_baseline_follows_up_in_ten_minutes_and_down_in_one() {
        let mut parts = Parts::new(ms(0));
        parts.looked(ms(0), srtt(2), 0.0, 0.0);
        parts.looked(ms(600_000), srtt(10), 0.0, 0.0);
        assert!((parts.baseline - 0.006).abs() < 1e-9, "{}", parts.baseline);
        parts.looked(ms(660_000), srtt(2), 0.0, 0.0);
        assert!((parts.baseline - 0.004).abs() < 1e-9, "{}", parts.baseline);
    }

    #[test]
    fn stalls_take_five_each_and_fade_in_two_minutes() {
        let mut parts = Parts::new(ms(0));
        parts.stall_recovered(ms(0), Duration::from_millis(20));
        assert_eq!(health(&parts, 0).stall_penalty, 5);
        parts.stall_recovered(ms(0), Duration::from_secs(1));
        assert_eq!(health(&parts, 0).stall_penalty, 15);
        assert_eq!(health(&parts, 120_000).stall_penalty, 8);
        parts.stall_recovered(ms(0), Duration::from_secs(60));
        assert_eq!(health(&parts, 0).stall_penalty, 25);
    }

    #[test]
    fn time_outs_count_as_a_share_of_what_was_reported() {
        let mut parts = Parts::new(ms(0));
        for _ in 0..5 {
            parts.reported(ms(0), true);
        }
        assert_eq!(health(&parts, 0).timeout_penalty, 25);
        for _ in 0..90 {
            parts.reported(ms(0), false);
        }
        assert_eq!(health(&parts, 0).timeout_penalty, 3, "five of a hundred");
        let mut parts = Parts::new(ms(0));
        parts.reported(ms(0), true);
        assert_eq!(health(&parts, 0).timeout_penalty, 8, "one of one");
        assert_eq!(health(&parts, 300_000).timeout_penalty, 0);
    }

    #[test]
    fn all_of_it_together_is_nought() {
        let mut parts = Parts::new(ms(0));
        parts.looked(ms(0), srtt(2), 0.0, 0.0);
        parts.looked(ms(1), srtt(100), 1.0, 0.0);
        for _ in 0..10 {
            parts.stall_recovered(ms(1), Duration::from_secs(1));
            parts.reported(ms(1), true);
        }
        assert_eq!(health(&parts, 1).score, 0);
    }
}
