//! When a path is probed.

use std::time::Duration;

use super::{Grid, random};
use crate::{
    core::{evidence::PathHistory, rule::ANSWERS_WITHIN},
    model::Time,
};

/// How often every target is probed, to learn which ones answer.
const SURVEY_EVERY: Duration = Duration::from_secs(45);

/// Paths that are due for this within such a time are probed together.
const SURVEYS_TOGETHER: Duration = Duration::from_secs(5);

/// The first and the longest interval between probes of a dead peer: the interval doubles. After
/// the peer's return its breaker closes within the longest interval plus the time of the answer.
const DEAD: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(200));

/// Timers fire a little late, by varying amounts.
const TIMER_SLACK: Duration = Duration::from_millis(1);

/// No more probes than this are sent within a detection time, so that all can be remembered.
const KEPT_IN_DETECTION_TIME: u32 = 64;

/// The shortest and the longest interval between probes while something stands unanswered. It may
/// be longer where the detection time is long, or when the doubt has lasted long.
const DOUBT: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(25));

/// A doubt that has lasted for this many detection times will not be decided soon, even where the
/// longer host detection time applies: from then on the path is probed more and more rarely.
const DECIDED_WITHIN: u32 = 10;

/// However long a doubt lasts, probes are no further apart than this.
const LONG_DOUBT: Duration = Duration::from_millis(500);

/// All connects together are probed no more often than this.
const ALL_EVERY: Duration = Duration::from_millis(100);

/// Probes that are at most this far apart belong to one run.
const RUN_GAP: Duration = Duration::from_millis(100);

/// The rhythm of one path's probes.
#[derive(Debug)]
pub(in crate::core) struct Rhythm {
    pub due: Time,
    pub survey_due: Time,
    last_sent: Option<Time>,
    /// When the present run of probes began: probes with no long gap between them.
    run_since: Option<Time>,
    last_all: Option<Time>,
    dead_interval: Duration,
    /// For jitter: the same peer gets the same numbers in each run.
    random: u64,
}

impl Rhythm {
    pub(in crate::core) fn new(now: Time, seed: u64) -> Self {
        Self {
            due: now,
            survey_due: now,
            last_sent: None,
            run_since: None,
            last_all: None,
            dead_interval: DEAD.0,
            random: seed,
        }
    }

    /// Something happened that a probe may explain.
    pub(in crate::core) fn soon(&mut self, now: Time) {
        let earliest = self.last_sent.map_or(now, |sent| now.max(sent + DOUBT.0));
        self.due = self.due.min(earliest);
    }

    /// The next probe comes no later than this.
    pub(in crate::core) fn wake(&mut self, at: Time) {
        self.due = self.due.min(at);
    }

    /// Whether all connects may be probed now, because that was not done just before; if so, it
    /// counts as done.
    pub(in crate::core) fn take_all(&mut self, now: Time) -> bool {
        let free = self
            .last_all
            .is_none_or(|last| now.since(last) >= ALL_EVERY);
        if free {
            self.last_all = Some(now);
        }
        free
    }

    pub(in crate::core) fn sent(&mut self, now: Time) {
        let goes_on = self.has_sent_since(now - RUN_GAP);
        self.run_since = self.run_since.filter(|_| goes_on).or(Some(now));
        self.last_sent = Some(now);
    }

    /// When something was last sent.
    pub(in crate::core) fn last_sent(&self) -> Option<Time> {
        self.last_sent
    }

    /// Whether something was sent at this time or later.
    pub(in crate::core) fn has_sent_since(&self, at: Time) -> bool {
        self.last_sent.is_some_and(|sent| sent >= at)
    }

    /// Whether the last probe is no older than this, and the run of probes that it belongs to
    /// began long enough ago for an answer to have come.
    pub(in crate::core) fn is_fresh(&self, at: Time, than: Duration) -> bool {
        self.has_sent_since(at - than)
            && self
                .run_since
                .is_some_and(|since| at.since(since) >= ANSWERS_WITHIN)
    }

    /// All targets are being probed, to learn which ones answer.
    pub(in crate::core) fn surveyed(&mut self, now: Time, grid: Grid) {
        let next = now + self.jittered(SURVEY_EVERY, 10);
        self.survey_due = grid.before(next.floor(SURVEYS_TOGETHER), now);
        self.last_all = Some(now);
    }

    /// The peer has died: it is probed at growing intervals until it answers.
    pub(in crate::core) fn died(&mut self, now: Time) {
        self.dead_interval = DEAD.0;
        self.due = now;
    }

    /// Sets the time of the next probe of a dead peer.
    pub(in crate::core) fn next_dead(&mut self, now: Time) {
        self.due = now + self.dead_interval;
        self.dead_interval = (self.dead_interval * 2).min(DEAD.1);
    }

    /// Sets the time of the next probe of a dead peer to a random one.
    pub(in crate::core) fn next_dead_by_chance(&mut self, now: Time) {
        self.due = now + self.jittered(DEAD.1, 50);
    }

    /// Sets the time of the next probe in a doubt that has lasted for `lasted`: twice as many
    /// probes as are `required` fit into the detection time.
    pub(in crate::core) fn next_in_doubt(
        &mut self,
        now: Time,
        lasted: Duration,
        detection_time: Duration,
        required: u32,
    ) {
        let at_most = DOUBT.1.max(detection_time / KEPT_IN_DETECTION_TIME);
        let wanted = detection_time / required.saturating_mul(2).max(1);
        // Probes closer together than this count as one.
        let counted = PathHistory::spacing(detection_time, true);
        let spacing = wanted.max(counted.apart + TIMER_SLACK);
        // Beyond the detection time, probes only need to be close enough for the gaps to count.
        let unhurried = match lasted > detection_time {
            true => counted.gap.saturating_sub(TIMER_SLACK),
            false => Duration::ZERO,
        };
        let spacing = spacing.max(unhurried).clamp(DOUBT.0, at_most);
        let beyond = lasted.saturating_sub(detection_time * DECIDED_WITHIN);
        let slowed = (beyond / 20).min(LONG_DOUBT);
        self.due = now + spacing.max(slowed);
    }

    /// An interval, varied at random by up to this percentage.
    pub(in crate::core) fn jittered(&mut self, interval: Duration, percent: u32) -> Duration {
        self.random = self.random.wrapping_add(1);
        let unit = random::unit(self.random);
        let factor = 1.0 + f64::from(percent) / 100.0 * (2.0 * unit - 1.0);
        interval.mul_f64(factor.max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    #[test]
    fn jitter_stays_within_its_bounds_and_is_not_constant() {
        let mut rhythm = Rhythm::new(ms(0), 7);
        let interval = Duration::from_millis(350);
        let drawn: Vec<_> = (0..1000).map(|_| rhythm.jittered(interval, 10)).collect();
        assert!(drawn.iter().all(|d| (315..=385).contains(&d.as_millis())));
        assert!(drawn.iter().any(|d| d.as_millis() < 325));
        assert!(drawn.iter().any(|d| d.as_millis() > 375));
        assert_eq!(rhythm.jittered(interval, 0), interval);
    }

    #[test]
    fn a_dead_peer_is_asked_less_and_less_often() {
        let mut rhythm = Rhythm::new(ms(0), 7);
        rhythm.died(ms(0));
        let mut asked = Vec::new();
        for _ in 0..5 {
            asked.push(rhythm.due);
            rhythm.next_dead(rhythm.due);
        }
        assert_eq!(asked, [0, 50, 150, 350, 550].map(ms));
    }

    #[test]
    fn a_bad_path_is_asked_faster_and_a_long_doubt_slower() {
        let mut rhythm = Rhythm::new(ms(0), 7);
        let detection_time = Duration::from_millis(250);
        let mut next = |lasted_ms, required| {
            rhythm.next_in_doubt(
                ms(0),
                Duration::from_millis(lasted_ms),
                detection_time,
                required,
            );
            rhythm.due.since(ms(0))
        };
        assert_eq!(next(0, 5), Duration::from_millis(25));
        assert_eq!(next(0, 25), Duration::from_millis(6));
        assert_eq!(next(0, 62), Duration::from_millis(6));
        assert_eq!(next(250, 20), detection_time / 40);
        assert_eq!(next(251, 20), detection_time / 12 - TIMER_SLACK);
        assert_eq!(next(2500, 5), Duration::from_millis(25));
        assert_eq!(next(6500, 5), Duration::from_millis(200));
        assert_eq!(next(100_000, 5), LONG_DOUBT);
    }
}
