//! A peer's state in one machine word, so that it is read and written whole.

use crate::v1::{self, Breaker, Reason, Verdict};

/// What is believed of a peer now.
///
/// ```
/// use detector_api::{State, v1::{Breaker, Verdict}};
///
/// // What is believed of a peer that nobody knows: call it.
/// let state = State::default();
/// assert_eq!(state.verdict, Verdict::Unknown);
/// assert_eq!(state.breaker, Breaker::Closed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// What is held of the peer.
    pub verdict: Verdict,
    /// Whether to call it. Only `Open` and `HalfOpen` ever ask for anything but a plain call.
    pub breaker: Breaker,
    /// What the verdict rests on.
    pub reason: Reason,
    /// The health score, 0 to 100, where the daemon has one.
    pub health: Option<u8>,
    /// Rises with each change of the verdict, modulo 2³².
    pub generation: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            verdict: Verdict::Unknown,
            breaker: Breaker::Closed,
            reason: Reason::NoEvidence,
            health: None,
            generation: 0,
        }
    }
}

impl State {
    /// What a newer daemon may tell and this crate does not know counts as nothing known.
    pub(crate) fn from_told(told: &v1::PeerState) -> Self {
        Self {
            verdict: match told.verdict() {
                Verdict::Unspecified => Verdict::Unknown,
                verdict => verdict,
            },
            breaker: match told.breaker() {
                Breaker::Unspecified => Breaker::Closed,
                breaker => breaker,
            },
            reason: match told.reason() {
                Reason::Unspecified => Reason::NoEvidence,
                reason => reason,
            },
            health: told.health.map(|health| health.score.min(100) as u8),
            // The word has room for its lower half: enough to tell one verdict from the next.
            generation: told.generation as u32,
        }
    }
}

/// The word of "no health score".
const NO_HEALTH: u8 = u8::MAX;

impl State {
    pub(crate) fn to_word(self) -> u64 {
        let byte = |value: i32, place: u32| (value as u64 & 0xff) << place;
        byte(self.verdict as i32, 0)
            | byte(self.breaker as i32, 8)
            | byte(self.reason as i32, 16)
            | u64::from(self.health.unwrap_or(NO_HEALTH)) << 24
            | u64::from(self.generation) << 32
    }

    #[inline]
    pub(crate) fn from_word(word: u64) -> Self {
        let byte = |place: u32| i32::from((word >> place) as u8);
        Self {
            verdict: Verdict::try_from(byte(0)).unwrap_or(Verdict::Unknown),
            breaker: Breaker::try_from(byte(8)).unwrap_or(Breaker::Closed),
            reason: Reason::try_from(byte(16)).unwrap_or(Reason::NoEvidence),
            health: Some((word >> 24) as u8).filter(|&score| score != NO_HEALTH),
            generation: (word >> 32) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_daemon_tells_is_nothing_known() {
        let told = v1::PeerState {
            verdict: 77,
            breaker: 77,
            reason: 77,
            health: Some(v1::Health {
                score: 1000,
                ..Default::default()
            }),
            ..Default::default()
        };
        let expected = State {
            health: Some(100),
            ..State::default()
        };
        assert_eq!(State::from_told(&told), expected);
        assert_eq!(
            State::from_told(&v1::PeerState::default()),
            State::default()
        );
    }

    #[test]
    fn a_state_survives_its_word() {
        for state in [
            State::default(),
            State {
                verdict: Verdict::Dead,
                breaker: Breaker::HalfOpen,
                reason: Reason::SlownessReported,
                health: Some(100),
                generation: u32::MAX,
            },
        ] {
            assert_eq!(State::from_word(state.to_word()), state);
        }
    }
}
