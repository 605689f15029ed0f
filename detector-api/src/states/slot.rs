//! Stores one peer's state.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::Instant};

use super::{PeerDown, Source, State, book::MAX_ADDRESSES};
use crate::v1::{self, Breaker, Reason, Verdict};

/// What is known about a peer besides its [`State`].
///
/// ```
/// use detector_api::{Details, PeerStates};
///
/// let peer = PeerStates::unwatched().peer("http://node4:9000");
/// assert_eq!(peer.details(), Details::default());
/// assert_eq!(peer.details().srtt, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// Since when the state is unchanged; `None` while nothing is known.
    pub since: Option<SystemTime>,
    /// The kernel's smoothed round-trip time to the peer.
    pub srtt: Option<Duration>,
    /// The mean deviation of the round-trip time.
    pub rtt_variance: Option<Duration>,
    /// The number of this node's connections with the peer whose own retransmissions go unanswered
    /// while the peer is alive.
    pub stalled_flows: u32,
    /// How long the oldest of them had been stalled when the state was published.
    pub oldest_stall: Option<Duration>,
    /// Whether another network card answers ARP or NDP for one of its addresses. The operator
    /// should look into it.
    pub contested: bool,
}

/// The state of one address of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Path {
    /// The address.
    pub address: IpAddr,
    /// The daemon's verdict on it.
    pub verdict: Verdict,
    /// The reason of the verdict.
    pub reason: Reason,
    /// Whether to dial the address.
    pub breaker: Breaker,
}

impl Path {
    /// Converts the daemon's message. A value that only a newer daemon knows counts as unknown.
    /// `None` if the address is invalid.
    fn from_told(told: &v1::PathState) -> Option<Self> {
        let state = State::from_told(&v1::PeerState {
            verdict: told.verdict,
            reason: told.reason,
            breaker: told.breaker,
            ..Default::default()
        });
        Some(Self {
            address: told.address.parse().ok()?,
            verdict: state.verdict,
            reason: state.reason,
            breaker: state.breaker,
        })
    }

    pub(crate) fn all_from_told(told: &v1::PeerState) -> Arc<[Self]> {
        let paths = told.paths.iter().take(MAX_ADDRESSES);
        paths.filter_map(Self::from_told).collect()
    }
}

impl Details {
    pub(crate) fn from_told(told: &v1::PeerState) -> Self {
        let duration = |d: Option<prost_types::Duration>| d.and_then(|d| d.try_into().ok());
        Self {
            since: told.changed_at.and_then(|at| at.try_into().ok()),
            srtt: duration(told.srtt),
            rtt_variance: duration(told.rtt_variance),
            stalled_flows: told.stalled_flows,
            oldest_stall: duration(told.oldest_stall),
            contested: told.contested,
        }
    }
}

/// Everything that is known about a peer, from one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) state: State,
    pub(crate) details: Details,
    pub(crate) paths: Arc<[Path]>,
    /// The daemon's name for the peer.
    pub(crate) watched_as: Option<Arc<str>>,
}

/// The state of one peer under one of its names. It is read without a lock, and can be awaited.
#[derive(Debug)]
pub(crate) struct Slot {
    name: Box<str>,
    source: Arc<Source>,
    word: AtomicU64,
    told: Mutex<Told>,
    /// The same word, for those who wait for a change.
    changes: watch::Sender<u64>,
    /// The last opening of the breaker. It is separate from `changes`, so that a breaker that opens
    /// and becomes HalfOpen before anyone reads the state is not missed: what was in flight is
    /// lost.
    pub(super) openings: watch::Sender<Option<PeerDown>>,
    /// Locked by the caller that asks for a trial. Holds the time of the last refusal.
    pub(crate) trials: tokio::sync::Mutex<Option<Instant>>,
}

impl Slot {
    pub(crate) fn new(name: &str, source: Arc<Source>) -> Self {
        let word = State::default().to_word();
        Self {
            name: name.into(),
            source,
            word: AtomicU64::new(word),
            told: Mutex::default(),
            changes: watch::Sender::new(word),
            openings: watch::Sender::new(None),
            trials: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        State::from_word(self.word())
    }

    /// The state as a word. A word stays in a register, while a state would be copied through
    /// memory field by field.
    #[inline]
    pub(crate) fn word(&self) -> u64 {
        self.believed(self.word.load(Ordering::Acquire))
    }

    /// The word if it is still valid, else that of the default state. The timer that resets states
    /// may be late when the runtime is busy, so the clock is checked as well, but only where it
    /// matters: for peers that are not in a plain callable state.
    #[inline]
    fn believed(&self, word: u64) -> u64 {
        let state = State::from_word(word);
        let troubled = state.breaker != Breaker::Closed
            || !matches!(state.verdict, Verdict::Alive | Verdict::Unknown);
        if troubled && !self.source.holds() {
            return State::default().to_word();
        }
        word
    }

    pub(crate) fn told(&self) -> Told {
        self.lock().clone()
    }

    pub(crate) fn set(&self, told: Told) {
        let word = told.state.to_word();
        let State {
            breaker,
            breaker_reason: reason,
            ..
        } = told.state;
        let since = told.details.since;
        let mut held = self.lock();
        let before = std::mem::replace(&mut *held, told);
        self.word.store(word, Ordering::Release);
        self.changes
            .send_if_modified(|shown| std::mem::replace(shown, word) != word);
        if opens(&before, breaker) {
            let peer = self.name().to_owned();
            let down = PeerDown {
                peer,
                reason,
                since,
            };
            self.openings.send_replace(Some(down));
        }
    }

    /// Changes each time the breaker opens.
    #[cfg(any(feature = "connections", feature = "channel", feature = "hyper"))]
    pub(crate) fn openings(&self) -> watch::Receiver<Option<PeerDown>> {
        self.openings.subscribe()
    }

    /// Resets it: nothing is known.
    pub(crate) fn forget(&self) {
        self.set(Told::default());
    }

    /// The first state, now or later, for which `is` returns true.
    pub(crate) async fn until(&self, is: impl Fn(State) -> bool) -> State {
        let mut changes = self.changes.subscribe();
        loop {
            let state = State::from_word(self.believed(*changes.borrow_and_update()));
            if is(state) {
                return state;
            }
            if changes.changed().await.is_err() {
                // The sender belongs to this slot, which outlives the wait.
                std::future::pending::<()>().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether calls in flight are lost when the state goes from `before` to `after`. If the breaker is
/// HalfOpen after Closed, the Open state between them was missed. After an unknown state, HalfOpen
/// says nothing about calls that were begun meanwhile.
fn opens(before: &Told, after: Breaker) -> bool {
    let is_known = before.watched_as.is_some();
    let before = before.state.breaker;
    match after {
        Breaker::Open => before != Breaker::Open,
        Breaker::HalfOpen => is_known && !matches!(before, Breaker::Open | Breaker::HalfOpen),
        Breaker::Closed | Breaker::Unspecified => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the openings; before the first state nothing is known.
    fn openings_in(breakers: &[Breaker]) -> u32 {
        let slot = Slot::new("http://node4:9000", Source::none());
        let mut seen = slot.openings.subscribe();
        let mut openings = 0;
        for &breaker in breakers {
            let state = State {
                breaker,
                ..State::default()
            };
            slot.set(Told {
                state,
                watched_as: Some("http://node4:9000".into()),
                ..Told::default()
            });
            openings += u32::from(seen.has_changed().expect("the slot lives"));
            seen.mark_unchanged();
        }
        openings
    }

    #[test]
    fn an_opening_is_told_once_and_not_missed() {
        use Breaker::{Closed, HalfOpen, Open};
        assert_eq!(openings_in(&[Closed, Open, Open, HalfOpen, Closed]), 1);
        assert_eq!(openings_in(&[Open, HalfOpen, Open]), 2);
        assert_eq!(openings_in(&[Closed, HalfOpen, HalfOpen]), 1);
        assert_eq!(openings_in(&[HalfOpen, HalfOpen]), 0, "begun meanwhile");
        assert_eq!(openings_in(&[Open]), 1);
    }
}
