//! What a peer was before: its last transitions, and its round-trip time and loss over ten minutes.

use std::{collections::VecDeque, time::Duration};

use crate::model::{Breaker, PeerState, Reason, Time, Verdict};

/// The most transitions that are kept for a peer.
const TRANSITIONS: usize = 32;

/// The number of samples that are kept for a peer.
pub const SAMPLES: usize = 60;

/// The time between two samples.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// One change of a peer's verdict or breaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    pub at: Time,
    pub from: Verdict,
    pub to: Verdict,
    pub reason: Reason,
    /// The breaker after it, in enforce mode.
    pub breaker: Breaker,
    pub breaker_reason: Reason,
    /// That of the published change.
    pub revision: u64,
}

/// The worst of what was measured in the time until the next sample.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    at: Time,
    srtt_micros: u32,
    loss_permille: u32,
}

/// What a peer was before. Bounded.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Oldest first.
    transitions: VecDeque<Transition>,
    samples: VecDeque<Sample>,
}

/// A value for each [`SAMPLE_EVERY`], oldest first; the last one is of now. 0 where nothing is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    pub srtt_micros: Vec<u32>,
    pub loss_permille: Vec<u32>,
}

impl History {
    /// The last transitions, oldest first.
    pub fn transitions(&self) -> impl Iterator<Item = &Transition> {
        self.transitions.iter()
    }

    /// The round-trip time and the loss until `now`.
    pub fn samples(&self, now: Time) -> Samples {
        let at = |n: usize| {
            let steps = u32::try_from(SAMPLES - 1 - n).unwrap_or(u32::MAX);
            now - SAMPLE_EVERY * steps
        };
        let held = |n: usize| {
            let until = self.samples.partition_point(|sample| sample.at <= at(n));
            until.checked_sub(1).and_then(|last| self.samples.get(last))
        };
        let all: Vec<Option<&Sample>> = (0..SAMPLES).map(held).collect();
        let values = |of: fn(&Sample) -> u32| all.iter().map(|one| one.map_or(0, of)).collect();
        Samples {
            srtt_micros: values(|sample| sample.srtt_micros),
            loss_permille: values(|sample| sample.loss_permille),
        }
    }

    /// The state was published after `previous`.
    pub(super) fn published(&mut self, now: Time, previous: Option<&PeerState>, state: &PeerState) {
        let from = previous.map_or(Verdict::Unknown, |previous| previous.verdict);
        let before = previous.map_or(Breaker::Closed, |previous| previous.would_be_breaker);
        if (from, before) != (state.verdict, state.would_be_breaker) {
            if self.transitions.len() == TRANSITIONS {
                self.transitions.pop_front();
            }
            self.transitions.push_back(Transition {
                at: now,
                from,
                to: state.verdict,
                reason: state.reason,
                breaker: state.would_be_breaker,
                breaker_reason: state.breaker_reason,
                revision: state.revision,
            });
        }
        self.measured(now, state);
    }

    /// What was measured has changed.
    pub(super) fn measured(&mut self, now: Time, state: &PeerState) {
        let sample = Sample::of(now, state);
        match self.samples.back_mut() {
            Some(last) if now.since(last.at) < SAMPLE_EVERY && last.goes_with(&sample) => {
                last.add(&sample);
            }
            _ => {
                if self.samples.len() == SAMPLES {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
        }
    }
}

impl Sample {
    /// Nothing is measured of a dead peer.
    fn of(at: Time, state: &PeerState) -> Self {
        let measured = || {
            let paths = state
                .paths
                .iter()
                .filter(|_| state.verdict != Verdict::Dead);
            paths.map(|path| path.measured)
        };
        let srtt = measured().filter_map(|measured| measured.srtt).max();
        let loss = measured().map(|m| m.loss).fold(0.0, f64::max);
        Self {
            at,
            srtt_micros: srtt.map_or(0, |srtt| {
                u32::try_from(srtt.as_micros()).unwrap_or(u32::MAX)
            }),
            loss_permille: (loss * 1000.0).round() as u32,
        }
    }

    /// Whether both are of a time in which something was measured, or neither is: a death begins a
    /// gap at once.
    fn goes_with(&self, other: &Self) -> bool {
        (self.srtt_micros == 0) == (other.srtt_micros == 0)
    }

    fn add(&mut self, other: &Self) {
        self.srtt_micros = self.srtt_micros.max(other.srtt_micros);
        self.loss_permille = self.loss_permille.max(other.loss_permille);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::testing::unknown,
        model::{Measured, PathState},
    };

    fn at(seconds: u64) -> Time {
        Time::from_nanos((10_000 + seconds) * 1_000_000_000)
    }

    fn state(verdict: Verdict, micros: u64, loss: f64) -> PeerState {
        PeerState {
            verdict,
            paths: vec![PathState {
                address: [10, 0, 0, 4].into(),
                verdict,
                reason: Reason::PacketReceived,
                breaker: Breaker::Closed,
                last_heard: None,
                measured: Measured {
                    flows: 1,
                    srtt: Some(Duration::from_micros(micros)),
                    loss,
                },
            }],
            ..unknown("http://a:1")
        }
    }

    #[test]
    fn only_changes_of_verdict_or_breaker_are_transitions_and_the_last_are_kept() {
        let mut history = History::default();
        let alive = state(Verdict::Alive, 200, 0.0);
        history.published(at(0), None, &alive);
        history.published(at(1), Some(&alive), &alive);
        assert_eq!(history.transitions().count(), 1);
        let open = PeerState {
            would_be_breaker: Breaker::Open,
            ..state(Verdict::Dead, 200, 0.0)
        };
        for second in 0..100 {
            history.published(at(2 * second), Some(&alive), &open);
            history.published(at(2 * second + 1), Some(&open), &alive);
        }
        assert_eq!(history.transitions().count(), TRANSITIONS);
        let last = history.transitions().last().unwrap();
        assert_eq!(
            (last.at, last.from, last.to),
            (at(199), Verdict::Dead, Verdict::Alive)
        );
    }

    #[test]
    fn a_sample_is_the_worst_of_its_time_and_holds_until_the_next() {
        let mut history = History::default();
        history.measured(at(0), &state(Verdict::Alive, 200, 0.0));
        history.measured(at(5), &state(Verdict::Alive, 900, 0.05));
        history.measured(at(40), &state(Verdict::Alive, 300, 0.0));
        let samples = history.samples(at(60));
        let last = |values: &[u32]| values[SAMPLES - 7..].to_vec();
        assert_eq!(
            last(&samples.srtt_micros),
            [900, 900, 900, 900, 300, 300, 300]
        );
        assert_eq!(last(&samples.loss_permille), [50, 50, 50, 50, 0, 0, 0]);
        assert_eq!(samples.srtt_micros[0], 0, "nothing is known");
    }

    #[test]
    fn a_dead_peer_leaves_a_gap_and_nothing_grows() {
        let mut history = History::default();
        for second in 0..2000 {
            history.measured(at(second), &state(Verdict::Alive, 200, 0.0));
        }
        assert_eq!(history.samples.len(), SAMPLES);
        history.measured(at(2000), &state(Verdict::Dead, 200, 0.0));
        assert_eq!(history.samples(at(2300)).srtt_micros.last(), Some(&0));
        assert_eq!(history.samples.len(), SAMPLES);
    }
}
