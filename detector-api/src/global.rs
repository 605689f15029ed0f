//! The one watch of a process, for programs that make their connections in several crates.

use std::{path::Path, sync::OnceLock};

use crate::{Peer, PeerStates, PeerWatch};

static WATCH: OnceLock<PeerWatch> = OnceLock::new();

impl PeerWatch {
    /// Starts the process's one watch, on the current runtime; [`PeerStates::global`] and
    /// [`Peer::global`] then read it. If it was started before, that watch is returned, and
    /// `socket` is ignored.
    ///
    /// Start it before the first connection to a peer is made. A handle that was taken before stays
    /// unwatched for ever.
    ///
    /// ```
    /// use detector_api::{Peer, PeerWatch};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let watch = PeerWatch::start_global("/run/detector/detector.sock");
    /// // In any other crate of the program:
    /// let peer = Peer::global("http://node4:9000");
    /// assert!(peer.down().is_none());
    /// watch.shutdown().await;
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with time and I/O enabled.
    pub fn start_global(socket: impl AsRef<Path>) -> &'static Self {
        WATCH.get_or_init(|| Self::start(socket))
    }

    /// The process's one watch, if it was started.
    ///
    /// ```
    /// use detector_api::PeerWatch;
    ///
    /// assert!(PeerWatch::global().is_none());
    /// ```
    pub fn global() -> Option<&'static Self> {
        WATCH.get()
    }
}

impl PeerStates {
    /// The states of the process's one watch; [`unwatched`](Self::unwatched) if it was not started.
    ///
    /// ```
    /// use detector_api::PeerStates;
    ///
    /// assert!(!PeerStates::global().is_fresh());
    /// ```
    pub fn global() -> Self {
        match WATCH.get() {
            Some(watch) => watch.states(),
            None => Self::unwatched(),
        }
    }
}

impl Peer {
    /// A peer of the process's one watch, by any of its names;
    /// [`unwatched`](Self::unwatched) if the watch was not started.
    ///
    /// It costs as much as [`PeerStates::peer`]: tens of nanoseconds for a peer that is watched.
    ///
    /// ```
    /// use detector_api::Peer;
    ///
    /// assert!(Peer::global("http://node4:9000/data/rustfs1").down().is_none());
    /// ```
    pub fn global(peer: &str) -> Self {
        match WATCH.get() {
            Some(watch) => watch.states.peer(peer),
            None => Self::unwatched(peer),
        }
    }
}
