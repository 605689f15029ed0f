//! A handle of one peer.

use std::{fmt, sync::Arc, time::SystemTime};

use super::{Details, Path, Slot, Source, State};
use crate::{
    PeerName,
    name::without_path,
    v1::{Breaker, Reason},
};

/// One peer that is looked up once and then queried any number of times. Cheap to clone.
///
/// ```
/// use detector_api::{Peer, PeerDown};
///
/// # async fn call(_peer: &str) -> &'static str { "answer" }
/// // Fails at once when the peer is down, and during the call when it goes down.
/// async fn careful(peer: &Peer) -> Result<&'static str, PeerDown> {
///     if let Some(down) = peer.down() {
///         return Err(down);
///     }
///     tokio::select! {
///         answer = call(peer.name()) => Ok(answer),
///         down = peer.until_down() => Err(down),
///     }
/// }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # assert_eq!(careful(&Peer::unwatched("http://node4:9000")).await, Ok("answer"));
/// # });
/// ```
#[derive(Clone)]
pub struct Peer {
    slot: Arc<Slot>,
}

impl Peer {
    pub(crate) fn new(slot: Arc<Slot>) -> Self {
        Self { slot }
    }

    /// A peer without a daemon: it stays Unknown, and its breaker Closed. Any spelling of its name
    /// will do.
    ///
    /// ```
    /// use detector_api::{Peer, State};
    ///
    /// let peer = Peer::unwatched("http://node4:9000");
    /// assert_eq!(peer.state(), State::default());
    /// ```
    pub fn unwatched(name: &str) -> Self {
        let parsed = PeerName::parse(without_path(name));
        let name = parsed.as_ref().map_or(name, PeerName::as_str);
        Self::new(Arc::new(Slot::new(name, Source::none())))
    }

    /// The canonical form of the name by which it was looked up: scheme, host and port, as in
    /// `http://node4:9000`.
    ///
    /// ```
    /// use detector_api::PeerStates;
    ///
    /// let peer = PeerStates::unwatched().peer("node4:9000");
    /// assert_eq!(peer.name(), "http://node4:9000");
    /// ```
    pub fn name(&self) -> &str {
        self.slot.name()
    }

    /// The daemon's name for the peer, which differs from [`name`](Self::name) if the peer was
    /// looked up by an address; `None` while it is not watched.
    ///
    /// ```
    /// use detector_api::PeerStates;
    ///
    /// let peer = PeerStates::unwatched().peer("http://10.0.0.4:9000");
    /// assert_eq!(peer.watched_as(), None);
    /// ```
    pub fn watched_as(&self) -> Option<Arc<str>> {
        self.slot.told().watched_as
    }

    /// The current state; reading it takes a few nanoseconds. As with
    /// [`PeerStates::get`](super::PeerStates::get), an Open or HalfOpen breaker is never valid
    /// beyond its time to live.
    ///
    /// ```
    /// use detector_api::{Peer, v1::Breaker};
    ///
    /// assert_eq!(Peer::unwatched("http://node4:9000").state().breaker, Breaker::Closed);
    /// ```
    pub fn state(&self) -> State {
        self.slot.state()
    }

    /// Further information about the peer.
    ///
    /// ```
    /// use detector_api::Peer;
    ///
    /// assert_eq!(Peer::unwatched("http://node4:9000").details().since, None);
    /// ```
    pub fn details(&self) -> Details {
        self.slot.told().details
    }

    /// The state of each of its addresses, as in the daemon's last message; the peer's state
    /// summarises them. A program that chooses addresses itself should skip those whose breaker is
    /// Open.
    ///
    /// ```
    /// use std::net::IpAddr;
    ///
    /// use detector_api::{Peer, v1::Breaker};
    ///
    /// /// The addresses worth dialling, in the order given.
    /// fn worth_dialling(peer: &Peer, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    ///     let paths = peer.paths();
    ///     let is_dead = |address: &IpAddr| {
    ///         let mut told = paths.iter().filter(|path| path.address == *address);
    ///         told.any(|path| path.breaker == Breaker::Open)
    ///     };
    ///     addresses.into_iter().filter(|address| !is_dead(address)).collect()
    /// }
    ///
    /// let addresses = vec![IpAddr::from([10, 0, 0, 4])];
    /// let unwatched = Peer::unwatched("http://node4:9000");
    /// assert_eq!(worth_dialling(&unwatched, addresses.clone()), addresses);
    /// ```
    pub fn paths(&self) -> Arc<[Path]> {
        self.slot.told().paths
    }

    /// Why the peer should not be called; `None` unless its breaker is Open.
    ///
    /// ```
    /// use detector_api::Peer;
    ///
    /// assert_eq!(Peer::unwatched("http://node4:9000").down(), None);
    /// ```
    pub fn down(&self) -> Option<PeerDown> {
        let state = self.state();
        (state.breaker == Breaker::Open).then(|| self.as_down(state))
    }

    /// Completes when the breaker is Open; at once if it is Open now. Cancel-safe.
    ///
    /// ```no_run
    /// # async fn example(peer: detector_api::Peer) {
    /// let down = peer.until_down().await;
    /// println!("{down}"); // http://node4:9000 is down: rto_unanswered
    /// # }
    /// ```
    pub async fn until_down(&self) -> PeerDown {
        let state = self.until(|state| state.breaker == Breaker::Open).await;
        self.as_down(state)
    }

    /// Completes with the first state, now or later, for which `is` returns true. A state that is
    /// replaced before it is read may be missed. Cancel-safe.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use detector_api::{Peer, v1::Breaker};
    ///
    /// let peer = Peer::unwatched("http://node4:9000");
    /// let state = peer.until(|state| state.breaker == Breaker::Closed).await;
    /// assert_eq!(state, peer.state());
    /// # });
    /// ```
    pub async fn until(&self, is: impl Fn(State) -> bool) -> State {
        self.slot.until(is).await
    }

    /// Changes each time the breaker opens, however briefly.
    #[cfg(any(feature = "connections", feature = "channel", feature = "hyper"))]
    pub(crate) fn openings(&self) -> tokio::sync::watch::Receiver<Option<PeerDown>> {
        self.slot.openings()
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(crate) fn as_down(&self, state: State) -> PeerDown {
        PeerDown {
            peer: self.name().to_owned(),
            reason: state.breaker_reason,
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
///
/// ```
/// use detector_api::{PeerDown, v1::Reason};
///
/// let down = PeerDown {
///     peer: "http://node4:9000".to_owned(),
///     reason: Reason::RtoUnanswered,
///     since: None,
/// };
/// assert_eq!(down.to_string(), "http://node4:9000 is down: rto_unanswered");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{peer} is down: {reason}")]
pub struct PeerDown {
    /// The name by which the peer was looked up.
    pub peer: String,
    /// The reason of the breaker.
    pub reason: Reason,
    /// Since when, as wall-clock time.
    pub since: Option<SystemTime>,
}
