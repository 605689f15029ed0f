//! Where one peer's state is kept.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::State;

/// What is told of a peer beside its [`State`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Since when the state is what it is; `None` while nothing is known.
    pub since: Option<SystemTime>,
    /// The kernel's smoothed round-trip time to the peer.
    pub srtt: Option<Duration>,
    /// Its mean deviation.
    pub rtt_variance: Option<Duration>,
}

/// One peer's state: read without a lock, and awaited.
#[derive(Debug)]
pub(crate) struct Slot {
    name: Box<str>,
    word: AtomicU64,
    details: Mutex<Details>,
    /// The same word, for those who wait for it to change.
    changes: watch::Sender<u64>,
}

impl Slot {
    pub(crate) fn new(name: &str) -> Self {
        let word = State::default().to_word();
        Self {
            name: name.into(),
            word: AtomicU64::new(word),
            details: Mutex::default(),
            changes: watch::Sender::new(word),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn state(&self) -> State {
        State::from_word(self.word.load(Ordering::Acquire))
    }

    pub(crate) fn details(&self) -> Details {
        *self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, state: State, details: Details) {
        *self.details.lock().unwrap_or_else(PoisonError::into_inner) = details;
        let word = state.to_word();
        self.word.store(word, Ordering::Release);
        self.changes.send_replace(word);
    }

    /// Goes back to knowing nothing.
    pub(crate) fn forget(&self) {
        self.set(State::default(), Details::default());
    }

    /// The first state, now or later, of which `is` holds.
    pub(crate) async fn until(&self, is: impl Fn(State) -> bool) -> State {
        let mut changes = self.changes.subscribe();
        match changes.wait_for(|&word| is(State::from_word(word))).await {
            Ok(word) => State::from_word(*word),
            // The sender is this slot's own: it outlives the wait.
            Err(_) => std::future::pending().await,
        }
    }
}
