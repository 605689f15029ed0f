//! What a storage node links to learn which of its peers are dead, within half a second of a
//! power cut, from the kernel's own evidence.
//!
//! The detector's daemon runs beside the node and speaks over a Unix socket. This crate listens
//! to it and answers the one question that every remote call has: *is it worth trying?*
//!
//! ```
//! use std::time::Duration;
//!
//! use detector_api::{
//!     DEFAULT_SOCKET, Peer, PeerWatch, Report, Reporter,
//!     v1::{Operation, Outcome},
//! };
//! use tokio::time::{Instant, timeout};
//!
//! # async fn read_iam(_peer: &str) -> std::io::Result<&'static str> { Ok("alice") }
//! type Failure = Box<dyn std::error::Error>;
//!
//! async fn load_user(peer: &Peer, reporter: &Reporter) -> Result<&'static str, Failure> {
//!     // Fails at once while the peer is down; takes one of a few trials when it comes back.
//!     let admission = peer.admit().await?;
//!     let started = Instant::now();
//!     let (answer, outcome) = tokio::select! {
//!         // Ends the call when the peer goes down, however long it would have hung.
//!         down = peer.until_down() => (Err(down.into()), Outcome::Unreachable),
//!         answer = timeout(Duration::from_secs(10), read_iam(peer.name())) => match answer {
//!             Ok(Ok(user)) => (Ok(user), Outcome::Succeeded),
//!             Ok(Err(error)) => (Err(Failure::from(error)), Outcome::Unreachable),
//!             Err(late) => (Err(late.into()), Outcome::TimedOut),
//!         },
//!     };
//!     match outcome {
//!         Outcome::Succeeded => admission.succeeded(),
//!         _ => admission.failed(),
//!     }
//!     // Never waits; the daemon correlates it with everything else that it sees.
//!     reporter.report(Report {
//!         peer: peer.name(),
//!         ..Report::new(Operation::IamRead, outcome, started.elapsed())
//!     });
//!     answer
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! // One watch for the whole program. Without a daemon, it changes nothing.
//! let watch = PeerWatch::start(DEFAULT_SOCKET);
//! let peer = watch.states().peer("http://node4:9000/data/rustfs1");
//! assert_eq!(load_user(&peer, &watch.reporter()).await.unwrap(), "alice");
//! # });
//! ```
//!
//! # What is here
//!
//! - [`PeerWatch`] follows the daemon, for as long as it lives; [`PeerStates`] are what it
//!   knows: [`get`](PeerStates::get) takes no lock. [`Peer`] is one peer, to be asked and
//!   awaited. A [`State`] is a verdict and a breaker, each with its reason; [`Details`] tell of
//!   stalled connections, [`Path`] of a single address.
//! - [`Peer::admit`] lets a bounded number of calls try a peer that may be back.
//! - [`Reporter`] tells the daemon how the program's own operations went.
//! - [`PeerName`] makes one name of the many spellings of a peer.
//! - With the feature `connections`: `ConnectionCache` dials once for all who ask, refuses to
//!   dial a peer that is down, and drops its connections and ends what is run on them when it goes
//!   down.
//! - With `channel`: `PeerLayer` does that for each request of a tonic `Channel`, and for the
//!   streams that answer it; the module `channel` says how.
//! - With `hyper` or `reqwest`: `HttpLayer` does it for HTTP, uploads and downloads too; see the
//!   module `http`.
//! - With any of the last three: `GuardedConnector` makes connections that end with their peer, and
//!   `Profile` sets up connections for control traffic and for bulk data.
//! - With `policy`: `policy::Caller` makes calls within the deadlines of their kind, tries again
//!   what may be repeated, reports how they went, and asks many peers at once.
//! - [`v1`] is the protocol `detector.v1` itself; [`connect`] is the way to the daemon for those
//!   who want to speak it.
//!
//! # It fails open
//!
//! Without a daemon, with one that died, is stopped, hangs, or speaks another version, every
//! peer is [`Unknown`](v1::Verdict::Unknown), every breaker [`Closed`](v1::Breaker::Closed) and
//! every call admitted: the program does what it would do without this crate. What was told is
//! believed for the time to live that the daemon names (3 s) and not a moment longer, on any
//! thread: see [`PeerWatch`].

mod admission;
#[cfg(feature = "channel")]
pub mod channel;
mod client;
#[cfg(feature = "connections")]
mod connection;
#[cfg(any(feature = "channel", feature = "hyper"))]
pub mod factory;
#[cfg(any(feature = "connections", feature = "channel", feature = "hyper"))]
mod guard;
#[cfg(feature = "hyper")]
pub mod http;
mod name;
#[cfg(feature = "policy")]
pub mod policy;
#[cfg(any(feature = "channel", feature = "hyper"))]
mod renewing;
mod report;
mod states;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
#[cfg(any(feature = "channel", feature = "hyper", feature = "policy"))]
mod variable;
mod watch;

pub use self::{
    admission::{Admission, Refused},
    client::{ConnectError, connect},
    name::{NameError, PeerName},
    report::{Report, Reporter},
    states::{Details, Path, Peer, PeerDown, PeerStates, State},
    watch::{PeerWatch, WatchStatus},
};

#[cfg(feature = "channel")]
pub use self::channel::{PeerChannel, PeerLayer};
#[cfg(feature = "connections")]
pub use self::connection::{Connection, ConnectionCache, ConnectionError, Limits};
#[cfg(any(feature = "connections", feature = "channel", feature = "hyper"))]
pub use self::guard::Guard;
#[cfg(feature = "hyper")]
pub use self::http::{HttpLayer, PeerHttp};
#[cfg(any(feature = "channel", feature = "hyper", feature = "policy"))]
pub use self::variable::VariableError;
#[cfg(any(feature = "channel", feature = "hyper"))]
pub use self::{
    factory::{Ping, Profile, Settings},
    guard::{GuardedBody, GuardedConnector, GuardedIo, Interrupted},
    renewing::Renewing,
};

/// The protocol `detector.v1`: messages and client; with the feature `server`, its server.
///
/// For what the crate does not do for its user, as asking why a peer is believed dead. The fields
/// of the messages are explained in `proto/detector/v1/detector.proto`.
///
/// ```
/// use detector_api::v1::{Breaker, ListPeersRequest};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let daemon = detector_api::testing::FakeDaemon::start().await;
/// # daemon.open("http://node4:9000");
/// # let socket = daemon.socket();
/// let mut detector = detector_api::connect(socket).await?;
/// let peers = detector.list_peers(ListPeersRequest {}).await?.into_inner().peers;
/// assert_eq!(peers[0].peer, "http://node4:9000");
/// assert_eq!(peers[0].breaker(), Breaker::Open);
/// # Ok(())
/// # }
/// ```
#[expect(
    clippy::allow_attributes_without_reason,
    reason = "generated code gives none"
)]
pub mod v1 {
    tonic::include_proto!("detector.v1");

    /// The encoded file descriptors, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/detector.v1.bin"));
}

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/detector/detector.sock";

/// The version of the protocol that this crate speaks.
pub const PROTOCOL: u32 = 1;
