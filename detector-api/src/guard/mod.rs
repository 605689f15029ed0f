//! Ends waits for a peer at the moment when the peer goes down.
//!
//! No other mechanism does this. A call that waits for an answer has no data in flight, so no TCP
//! time-out ends it; and dropping a channel from a cache does not affect callers that hold a clone
//! of it. Such a call was seen to wait for 25 seconds. So the wait itself must end. [`Guard`] is
//! raced against it; the connections, tower services and bodies of this crate all hold one.

#[cfg(any(feature = "channel", feature = "hyper"))]
mod body;
#[cfg(any(feature = "channel", feature = "hyper"))]
mod call;
#[cfg(any(feature = "channel", feature = "hyper"))]
mod io;
#[cfg(test)]
pub(crate) mod testing;

use std::{fmt, future::Future};

use tokio::sync::watch;

#[cfg(any(feature = "channel", feature = "hyper"))]
pub(crate) use self::call::{Origin, call};
#[cfg(any(feature = "channel", feature = "hyper"))]
pub use self::{
    body::GuardedBody,
    call::Interrupted,
    io::{GuardedConnector, GuardedIo},
};
use crate::{Peer, PeerDown};

/// Watches one peer's breaker from the moment of its creation.
///
/// Work that is run under a guard ends when the breaker opens. After that, the guard stays *ended*
/// even when the peer is back, because everything that was begun before is lost. Make a new guard
/// for new work.
///
/// ```
/// use detector_api::{Guard, Peer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), detector_api::PeerDown> {
/// let peer = Peer::unwatched("http://node4:9000");
/// let answer = Guard::new(&peer).run(async { "what the peer answered" }).await?;
/// assert_eq!(answer, "what the peer answered");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Guard {
    peer: Peer,
    /// Marked as changed when the breaker opens after this guard was made.
    openings: watch::Receiver<Option<PeerDown>>,
}

impl Guard {
    /// Creates a guard that watches `peer` from now on.
    ///
    /// ```
    /// # use detector_api::{Guard, Peer};
    /// let guard = Guard::new(&Peer::unwatched("http://node4:9000"));
    /// assert!(guard.down().is_none());
    /// ```
    pub fn new(peer: &Peer) -> Self {
        Self {
            openings: peer.openings(),
            peer: peer.clone(),
        }
    }

    /// The peer that it watches.
    ///
    /// ```
    /// # use detector_api::{Guard, Peer};
    /// let guard = Guard::new(&Peer::unwatched("http://node4:9000"));
    /// assert_eq!(guard.peer().name(), "http://node4:9000");
    /// ```
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Why work under this guard is lost: the breaker is Open, or was Open since the guard was
    /// made.
    ///
    /// ```
    /// # use detector_api::{Guard, Peer};
    /// let guard = Guard::new(&Peer::unwatched("http://node4:9000"));
    /// assert!(guard.down().is_none(), "nobody says that it is down");
    /// ```
    pub fn down(&self) -> Option<PeerDown> {
        self.peer.down().or_else(|| self.opened())
    }

    /// Runs `work` until it completes or the peer goes down. If the peer goes down, `work` is
    /// dropped; if the peer is already down, `work` is not started.
    ///
    /// ```
    /// use detector_api::{Guard, Peer, PeerDown};
    ///
    /// async fn disk_info(guard: &Guard) -> Result<u64, PeerDown> {
    ///     guard.run(async { 4096 }).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let guard = Guard::new(&Peer::unwatched("http://node4:9000"));
    /// assert_eq!(disk_info(&guard).await, Ok(4096));
    /// # }
    /// ```
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, PeerDown> {
        if let Some(down) = self.down() {
            return Err(down);
        }
        // If the work completes at the moment when the peer goes down, its output is returned.
        tokio::select! {
            biased;
            output = work => Ok(output),
            down = self.clone().ended() => Err(down),
        }
    }

    /// Changes each time the breaker opens.
    #[cfg(feature = "connections")]
    pub(crate) fn openings(&self) -> watch::Receiver<Option<PeerDown>> {
        self.openings.clone()
    }

    /// Why the breaker opened since this guard was made; `None` if it did not.
    pub(crate) fn opened(&self) -> Option<PeerDown> {
        // The sender belongs to the peer, and lives as long as it.
        let opened = self.openings.has_changed().unwrap_or(false);
        opened.then(|| self.openings.borrow().clone()).flatten()
    }

    /// Completes when the breaker has opened.
    pub(crate) async fn ended(mut self) -> PeerDown {
        loop {
            if self.openings.changed().await.is_err() {
                // This cannot happen while `peer` is held.
                std::future::pending::<()>().await;
            }
            if let Some(down) = self.openings.borrow_and_update().clone() {
                return down;
            }
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("peer", &self.peer)
            .field("opened", &self.opened())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PeerStates, guard::testing, v1::Breaker};

    const PEER: &str = "http://node4:9000";

    fn watched() -> (PeerStates, Peer) {
        let states = testing::states();
        let peer = states.peer(PEER);
        (states, peer)
    }

    #[tokio::test]
    async fn what_waits_ends_when_the_breaker_opens() {
        let (states, peer) = watched();
        let guard = Guard::new(&peer);
        let waiting = tokio::spawn(async move { guard.run(std::future::pending::<()>()).await });
        tokio::task::yield_now().await;
        testing::set(&states, PEER, Breaker::Open);
        let down = testing::within(waiting).await.unwrap().unwrap_err();
        assert_eq!(down.peer, "http://node4:9000");
        assert_eq!(down.reason, testing::REASON);
    }

    #[tokio::test]
    async fn an_opening_too_brief_to_be_seen_ends_what_waits() {
        let (states, peer) = watched();
        let guard = Guard::new(&peer);
        testing::set(&states, PEER, Breaker::Open);
        testing::set(&states, PEER, Breaker::Closed);
        let ended = testing::within(guard.run(std::future::pending::<()>()));
        assert!(ended.await.is_err());
        assert!(Guard::new(&peer).run(async {}).await.is_ok());
    }

    #[tokio::test]
    async fn a_detector_that_goes_away_ends_nothing() {
        let (states, peer) = watched();
        testing::set(&states, PEER, Breaker::HalfOpen);
        let guard = Guard::new(&peer);
        testing::forget(&states);
        assert_eq!(guard.run(async { 1 }).await, Ok(1));
    }

    #[tokio::test]
    async fn what_is_done_is_done() {
        let (states, peer) = watched();
        let guard = Guard::new(&peer);
        let work = async {
            testing::set(&states, PEER, Breaker::Open);
            7
        };
        assert_eq!(guard.run(work).await, Ok(7));
    }
}
