//! A client library for storage nodes: it tells a node which of its peers are dead, within half a
//! second of a power cut, from the kernel's own evidence.
//!
//! The detector's daemon runs next to the node and serves a Unix socket. This crate follows it and
//! answers the one question that every remote call has: *is it worth trying?*
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
//! # Overview
//!
//! - [`PeerWatch`] follows the daemon. [`PeerStates`] holds the states of the peers;
//!   [`get`](PeerStates::get) takes no lock. [`Peer`] is one peer, to be queried and awaited. A
//!   [`State`] is a verdict and a breaker, each with its reason; [`Details`] describe stalled
//!   connections, [`Path`] a single address.
//! - [`Peer::admit`] lets a bounded number of calls try a peer that may be back.
//! - [`PeerWatch::start_global`] starts the one watch of a program that makes its connections in
//!   several crates; [`Peer::global`] and [`PeerStates::global`] read it from anywhere.
//! - [`Reporter`] reports the outcomes of the program's own operations to the daemon.
//! - [`PeerName`] turns the many spellings of a peer into one name.
//! - With the feature `connections`: `ConnectionCache` dials once for all callers, and refuses to
//!   dial a peer that is down. When a peer goes down, it drops the peer's connections and ends the
//!   calls on them.
//! - With `channel`: `PeerLayer` does that for each request of a tonic `Channel`, and for the
//!   streams that answer it; see the module `channel`.
//! - With `hyper` or `reqwest`: `HttpLayer` does it for HTTP, including uploads and downloads; see
//!   the module `http`.
//! - With any of the last three: `GuardedConnector` makes connections that end with their peer, and
//!   `Profile` sets up connections for control traffic and for bulk data.
//! - With `policy`: `policy::Caller` makes calls with the deadlines of their kind, retries those
//!   that may be repeated, reports their outcomes, and calls many peers at once.
//! - [`v1`] is the protocol `detector.v1` itself; [`connect`] connects to the daemon for programs
//!   that use it directly.
//!
//! # It fails open
//!
//! If there is no daemon, or if it died, is stopped, hangs, or speaks another version of the
//! protocol, every peer is [`Unknown`](v1::Verdict::Unknown), every breaker
//! [`Closed`](v1::Breaker::Closed) and every call admitted: the program behaves as it would without
//! this crate. A state is valid for the time to live that the daemon sets (3 s), and no longer, on
//! any thread: see [`PeerWatch`].

mod admission;
#[cfg(feature = "channel")]
pub mod channel;
mod client;
#[cfg(feature = "connections")]
mod connection;
mod errors;
#[cfg(any(feature = "channel", feature = "hyper"))]
pub mod factory;
mod global;
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
    states::{Details, NotWatched, Path, Peer, PeerDown, PeerStates, State},
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

/// The protocol `detector.v1`: messages and client; with the feature `server`, also the server.
///
/// It is for what this crate does not wrap, such as asking why a peer is believed to be dead. The
/// fields of the messages are explained in `proto/detector/v1/detector.proto`.
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
#[expect(
    clippy::large_enum_variant,
    reason = "most messages of a watch are changes, the largest"
)]
pub mod v1 {
    // Made from the proto file by tests/generated.rs, which sees that it is fresh.
    include!("generated/detector.v1.rs");

    /// The encoded file descriptors, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/detector.v1.bin");
}

/// The README's example is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The default path of the daemon's socket.
pub const DEFAULT_SOCKET: &str = "/run/detector/detector.sock";

/// The version of the protocol that this crate speaks.
pub const PROTOCOL: u32 = 1;
