//! What a storage node links to learn which of its peers are dead.
//!
//! [`v1`] is the protocol `detector.v1`, spoken over the daemon's Unix socket; [`connect`] is
//! the way there.

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
mod watch;

pub use self::{
    admission::{Admission, Refused},
    client::{ConnectError, connect},
    name::{NameError, PeerName},
    report::{Report, Reporter},
    states::{Details, Peer, PeerDown, PeerStates, State},
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
#[cfg(any(feature = "channel", feature = "hyper"))]
pub use self::{
    factory::{EnvError, Ping, Profile, Settings},
    guard::{GuardedBody, GuardedConnector, GuardedIo, Interrupted},
    renewing::Renewing,
};

/// The protocol `detector.v1`: messages, client and server.
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
