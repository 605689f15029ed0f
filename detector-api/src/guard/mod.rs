//! Ends what waits for a peer at the moment that the peer goes down.
//!
//! Nothing else does. A call that waits for an answer has nothing in flight that a time-out of
//! TCP could fall for, and dropping a channel from a cache frees nobody who holds a clone of it:
//! such a call was seen to wait for 25 seconds. So the waiting itself is what must end, and
//! [`Guard`] is what it is raced against: the connections, the tower services and the bodies of
//! this crate all hold one.

#[cfg(any(feature = "channel", feature = "hyper"))]
mod body;
#[cfg(any(feature = "channel", feature = "hyper"))]
mod call;
#[cfg(any(feature = "channel", feature = "hyper"))]
mod io;
#[cfg(test)]
pub(crate) mod testing;

use std::{error::Error, fmt, future::Future};

use tokio::sync::watch;

#[cfg(any(feature = "channel", feature = "hyper"))]
pub(crate) use self::call::{Origin, call};
#[cfg(any(feature = "channel", feature = "hyper"))]
pub use self::{
    body::GuardedBody,
    call::Interrupted,
    io::{GuardedConnector, GuardedIo},
};
use crate::{Peer, PeerDown, Refused};

/// One peer's breaker, watched from the moment that this was made.
///
/// What is run under a guard ends when the breaker opens. A guard stays *ended* after that, even
/// when the peer is back: what was begun before is lost. Make a new one for what is begun anew.
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
    /// Has changed once the breaker has opened since this guard was made.
    openings: watch::Receiver<Option<PeerDown>>,
}

impl Guard {
    /// Watches `peer` from now on.
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

    /// Whom it watches.
    ///
    /// ```
    /// # use detector_api::{Guard, Peer};
    /// let guard = Guard::new(&Peer::unwatched("http://node4:9000"));
    /// assert_eq!(guard.peer().name(), "http://node4:9000");
    /// ```
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Why what is under this guard is lost: the breaker is Open, or has been since the guard was
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

    /// Runs `work` until it is done or the peer is down, whichever is first. `work` is dropped
    /// when it is ended, and not begun when the peer is down already.
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
        // What is done by the time that the peer goes down is done.
        tokio::select! {
            biased;
            output = work => Ok(output),
            down = self.clone().ended() => Err(down),
        }
    }

    /// Changes each time that the breaker opens.
    #[cfg(feature = "connections")]
    pub(crate) fn openings(&self) -> watch::Receiver<Option<PeerDown>> {
        self.openings.clone()
    }

    /// The opening since this guard was made.
    pub(crate) fn opened(&self) -> Option<PeerDown> {
        // The sender is the peer's own and lives as long as the peer.
        let opened = self.openings.has_changed().unwrap_or(false);
        opened.then(|| self.openings.borrow().clone()).flatten()
    }

    /// Completes when the breaker has opened.
    pub(crate) async fn ended(mut self) -> PeerDown {
        loop {
            if self.openings.changed().await.is_err() {
                // Not while `peer` is held.
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

impl PeerDown {
    /// The `PeerDown` that an error was caused by, however deep it lies: in a tonic `Status`, in
    /// an error of hyper's or reqwest's, in one of this crate's own.
    ///
    /// ```
    /// use detector_api::{PeerDown, v1::Reason};
    ///
    /// let down = PeerDown {
    ///     peer: "http://node4:9000".to_owned(),
    ///     reason: Reason::ProbeUnanswered,
    ///     since: None,
    /// };
    /// let error = std::io::Error::other(down.clone());
    /// assert_eq!(PeerDown::find(&error), Some(&down));
    /// ```
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |&error| error.source()).find_map(Self::find_in)
    }

    /// In one link of the chain. An error that wraps another as its own self, or as something that
    /// it does not name as its source, is looked into.
    fn find_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        if let Some(Refused::Down(down)) = error.downcast_ref() {
            return Some(down);
        }
        let io = error.downcast_ref::<std::io::Error>();
        if let Some(inner) = io.and_then(std::io::Error::get_ref) {
            return Self::find(inner);
        }
        error.downcast_ref()
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
