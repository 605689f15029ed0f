//! Where one peer's state is kept.

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

/// What is told of a peer beside its [`State`].
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
    /// Since when the state is what it is; `None` while nothing is known.
    pub since: Option<SystemTime>,
    /// The kernel's smoothed round-trip time to the peer.
    pub srtt: Option<Duration>,
    /// Its mean deviation.
    pub rtt_variance: Option<Duration>,
    /// Connections of this node with it whose own retransmissions go unanswered while it lives.
    pub stalled_flows: u32,
    /// For how long the oldest of them had been stalled when this was told.
    pub oldest_stall: Option<Duration>,
    /// Another network card answers ARP or NDP for one of its addresses: for the operator to see
    /// to.
    pub contested: bool,
}

/// What is believed of the way to one address of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Path {
    /// The address.
    pub address: IpAddr,
    /// What the daemon believes of it.
    pub verdict: Verdict,
    /// What the verdict rests on.
    pub reason: Reason,
    /// Whether to dial it.
    pub breaker: Breaker,
}

impl Path {
    /// What a newer daemon may tell and this crate does not know counts as nothing known;
    /// `None` where the address is none.
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

/// What is told of a peer: all of it, at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) state: State,
    pub(crate) details: Details,
    pub(crate) paths: Arc<[Path]>,
    /// The name by which the daemon watches it.
    pub(crate) watched_as: Option<Arc<str>>,
}

/// One peer's state under one of its names: read without a lock, and awaited.
#[derive(Debug)]
pub(crate) struct Slot {
    name: Box<str>,
    source: Arc<Source>,
    word: AtomicU64,
    told: Mutex<Told>,
    /// The same word, for those who wait for it to change.
    changes: watch::Sender<u64>,
    /// The last time that the breaker opened. Told apart from `changes`, so that a breaker which
    /// opens and is HalfOpen before anyone looks is not missed: what was in flight is lost.
    pub(super) openings: watch::Sender<Option<PeerDown>>,
    /// Taken by the one who asks for a trial; when the last one was refused.
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

    /// The state as a word, which stays in a register where a state would be copied through
    /// memory field by field.
    #[inline]
    pub(crate) fn word(&self) -> u64 {
        self.believed(self.word.load(Ordering::Acquire))
    }

    /// The word, if it may still be believed. The timer that ends states may be late when
    /// the runtime is busy, so the clock is asked as well, but only where it matters: for a
    /// peer that is not simply to be called.
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

    /// Changes each time that the breaker opens.
    #[cfg(any(feature = "connections", feature = "channel", feature = "hyper"))]
    pub(crate) fn openings(&self) -> watch::Receiver<Option<PeerDown>> {
        self.openings.subscribe()
    }

    /// Goes back to knowing nothing.
    pub(crate) fn forget(&self) {
        self.set(Told::default());
    }

    /// The first state, now or later, of which `is` holds.
    pub(crate) async fn until(&self, is: impl Fn(State) -> bool) -> State {
        let mut changes = self.changes.subscribe();
        loop {
            let state = State::from_word(self.believed(*changes.borrow_and_update()));
            if is(state) {
                return state;
            }
            if changes.changed().await.is_err() {
                // The sender is this slot's own: it outlives the wait.
                std::future::pending::<()>().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what is in flight is lost in going from one to the other. HalfOpen after Closed means
/// that the Open between them was not seen; after nothing known, it says nothing of what was begun
/// meanwhile.
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

    /// The first of them may come after nothing known.
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
