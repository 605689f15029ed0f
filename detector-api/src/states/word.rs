//! A peer's state in one machine word, so that it is read and written as a whole.

use crate::v1::{self, Breaker, Reason, Verdict};

/// The current state of a peer.
///
/// ```
/// use detector_api::{State, v1::{Breaker, Verdict}};
///
/// // What is believed of a peer that nobody knows: call it.
/// let state = State::default();
/// assert_eq!(state.verdict, Verdict::Unknown);
/// assert_eq!(state.breaker, Breaker::Closed);
/// ```
///
/// Its text form is for logs: the verdict and the breaker, each with its reason.
///
/// ```
/// use detector_api::{State, v1::{Reason, Verdict}};
///
/// let state = State {
///     verdict: Verdict::Degraded,
///     reason: Reason::FlowsStalled,
///     breaker_reason: Reason::PacketReceived,
///     ..State::default()
/// };
/// assert_eq!(state.to_string(), "degraded: flows_stalled; breaker closed: packet_received");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The daemon's verdict on the peer.
    pub verdict: Verdict,
    /// Whether to call the peer. Only `Open` and `HalfOpen` need anything but a plain call.
    pub breaker: Breaker,
    /// The reason of the verdict.
    pub reason: Reason,
    /// The reason of the breaker. It differs from the verdict's if reports, trials or an
    /// administrator moved the breaker.
    pub breaker_reason: Reason,
    /// The health score, 0 to 100, if the daemon has one.
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
            breaker_reason: Reason::NoEvidence,
            health: None,
            generation: 0,
        }
    }
}

impl State {
    /// Converts the daemon's message. A value that only a newer daemon knows counts as unknown.
    pub(crate) fn from_told(told: &v1::PeerState) -> Self {
        let reason = known(told.reason()).unwrap_or(Reason::NoEvidence);
        Self {
            verdict: match told.verdict() {
                Verdict::Unspecified => Verdict::Unknown,
                verdict => verdict,
            },
            breaker: match told.breaker() {
                Breaker::Unspecified => Breaker::Closed,
                breaker => breaker,
            },
            reason,
            // If a daemon sends only one reason, it applies to both.
            breaker_reason: known(told.breaker_reason()).unwrap_or(reason),
            health: told.health.map(|health| health.score.min(100) as u8),
            // The word has room for the lower half, which is enough to distinguish successive
            // verdicts.
            generation: told.generation as u32,
        }
    }
}

fn known(reason: Reason) -> Option<Reason> {
    (reason != Reason::Unspecified).then_some(reason)
}

/// Stands for "no health score" in the word.
const NO_HEALTH: u8 = u8::MAX;

// The verdict and the breaker take four bits each, the two reasons and the health a byte each.
impl State {
    pub(crate) fn to_word(self) -> u64 {
        let half = |value: i32, place: u32| (value as u64 & 0xf) << place;
        let byte = |value: i32, place: u32| (value as u64 & 0xff) << place;
        half(self.verdict as i32, 0)
            | half(self.breaker as i32, 4)
            | byte(self.reason as i32, 8)
            | byte(self.breaker_reason as i32, 16)
            | u64::from(self.health.unwrap_or(NO_HEALTH)) << 24
            | u64::from(self.generation) << 32
    }

    #[inline]
    pub(crate) fn from_word(word: u64) -> Self {
        let half = |place: u32| i32::from((word >> place) as u8 & 0xf);
        let byte = |place: u32| i32::from((word >> place) as u8);
        let reason = |place| Reason::try_from(byte(place)).unwrap_or(Reason::NoEvidence);
        Self {
            verdict: Verdict::try_from(half(0)).unwrap_or(Verdict::Unknown),
            breaker: Breaker::try_from(half(4)).unwrap_or(Breaker::Closed),
            reason: reason(8),
            breaker_reason: reason(16),
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
    fn a_daemon_that_tells_one_reason_means_both() {
        let mut told = v1::PeerState {
            reason: Reason::RtoUnanswered.into(),
            ..Default::default()
        };
        let state = State::from_told(&told);
        assert_eq!(state.breaker_reason, Reason::RtoUnanswered);
        told.breaker_reason = Reason::ForcedOpen.into();
        let state = State::from_told(&told);
        assert_eq!(
            (state.reason, state.breaker_reason),
            (Reason::RtoUnanswered, Reason::ForcedOpen)
        );
    }

    /// All values of an enum of the protocol.
    fn all<T: TryFrom<i32>>() -> Vec<T> {
        (0..=255).filter_map(|n| T::try_from(n).ok()).collect()
    }

    #[test]
    fn a_state_survives_its_word() {
        let (verdicts, breakers, reasons) = (all(), all(), all::<Reason>());
        assert!(verdicts.len() <= 16 && breakers.len() <= 16, "half a byte");
        for &verdict in &verdicts {
            for &breaker in &breakers {
                for &reason in &reasons {
                    for breaker_reason in [reason, Reason::ForcedClosed, Reason::NoEvidence] {
                        let state = State {
                            verdict,
                            breaker,
                            reason,
                            breaker_reason,
                            health: Some(100),
                            generation: u32::MAX,
                        };
                        assert_eq!(State::from_word(state.to_word()), state);
                    }
                }
            }
        }
        assert_eq!(
            State::from_word(State::default().to_word()),
            State::default()
        );
    }
}
