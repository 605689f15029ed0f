//! What this process knows of its peers: read by every call, without a lock.

mod slot;
mod word;

pub use self::{slot::Details, word::State};

use std::{fmt, sync::Arc, time::SystemTime};

use self::slot::Slot;
use crate::v1::{Breaker, Reason};

/// One peer, found once and then asked as often as one likes.
#[derive(Clone)]
pub struct Peer {
    slot: Arc<Slot>,
}

impl Peer {
    /// A peer that no daemon tells of: unknown, and to be called, for ever.
    pub fn unwatched(name: &str) -> Self {
        Self {
            slot: Arc::new(Slot::new(name)),
        }
    }

    /// Its name: scheme, host and port, as in `http://node4:9000`.
    pub fn name(&self) -> &str {
        self.slot.name()
    }

    /// What is believed of it now.
    pub fn state(&self) -> State {
        self.slot.state()
    }

    /// What else was told of it.
    pub fn details(&self) -> Details {
        self.slot.details()
    }

    /// Why not to call it; `None` unless the breaker is Open.
    pub fn down(&self) -> Option<PeerDown> {
        (self.state().breaker == Breaker::Open).then(|| self.as_down())
    }

    /// Completes when the breaker is Open, at once if it is so now.
    pub async fn until_down(&self) -> PeerDown {
        self.slot
            .until(|state| state.breaker == Breaker::Open)
            .await;
        self.as_down()
    }

    fn as_down(&self) -> PeerDown {
        PeerDown {
            peer: self.name().to_owned(),
            reason: self.state().reason,
            since: self.details().since,
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish()
    }
}

/// A call was not made, or was ended, because the peer's breaker is Open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{peer} is down: {}", .reason.as_str_name())]
pub struct PeerDown {
    pub peer: String,
    pub reason: Reason,
    /// Since when, by the wall clock.
    pub since: Option<SystemTime>,
}
