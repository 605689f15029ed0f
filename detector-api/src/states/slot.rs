//! Where one peer's state is kept.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::Instant};

use super::{Source, State};
use crate::v1::{self, Breaker, Verdict};

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
}

impl Details {
    pub(crate) fn from_told(told: &v1::PeerState) -> Self {
        let duration = |d: Option<prost_types::Duration>| d.and_then(|d| d.try_into().ok());
        Self {
            since: told.changed_at.and_then(|at| at.try_into().ok()),
            srtt: duration(told.srtt),
            rtt_variance: duration(told.rtt_variance),
        }
    }
}

/// What is told of a peer: all of it, at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) state: State,
    pub(crate) details: Details,
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
        self.believed(self.word.load(Ordering::Acquire))
    }

    /// The state, if it may still be believed. The timer that ends states may be late when
    /// the runtime is busy, so the clock is asked as well, but only where it matters: for a
    /// peer that is not simply to be called.
    #[inline]
    fn believed(&self, word: u64) -> State {
        let state = State::from_word(word);
        let troubled = state.breaker != Breaker::Closed
            || !matches!(state.verdict, Verdict::Alive | Verdict::Unknown);
        if troubled && !self.source.holds() {
            return State::default();
        }
        state
    }

    pub(crate) fn told(&self) -> Told {
        self.lock().clone()
    }

    pub(crate) fn set(&self, told: Told) {
        let word = told.state.to_word();
        let mut held = self.lock();
        *held = told;
        self.word.store(word, Ordering::Release);
        self.changes
            .send_if_modified(|shown| std::mem::replace(shown, word) != word);
    }

    /// Goes back to knowing nothing.
    pub(crate) fn forget(&self) {
        self.set(Told::default());
    }

    /// The first state, now or later, of which `is` holds.
    pub(crate) async fn until(&self, is: impl Fn(State) -> bool) -> State {
        let mut changes = self.changes.subscribe();
        loop {
            let state = self.believed(*changes.borrow_and_update());
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
