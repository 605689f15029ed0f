//! The seam: all that differs between the two builds of the store is how a node calls another.
//!
//! [`Today`] has RustFS's caches and time-outs. [`Detected`] keeps every one of them and adds
//! `detector-api`. Everything else in the store is the same code.

use std::{fmt, future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use tonic::{Code, Response, Status};
use tower::{BoxError, util::BoxCloneSyncService};

use super::{detected::Detected, proto::node_client::NodeClient, today::Today};

/// A control channel, whatever is between it and the wire.
pub type ControlService = BoxCloneSyncService<
    http::Request<tonic::body::Body>,
    http::Response<tonic::body::Body>,
    Status,
>;
/// A client of another node.
pub type Control = NodeClient<ControlService>;
/// Shards on their way out.
pub type Outgoing = UnsyncBoxBody<Bytes, io::Error>;
/// Shards that come in.
pub type Incoming = UnsyncBoxBody<Bytes, BoxError>;

/// What a call is about: its deadline depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Metadata and commits.
    Control,
    IamRead,
    Console,
    Lock,
}

/// Why a call to another node came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// It was not made, or was ended, because the detector knows that the peer is down.
    #[error("{0}")]
    Down(String),
    /// It was not made: the peer failed three times, and has not answered since.
    #[error("{peer} is marked offline: it is asked again every 5 s")]
    Offline { peer: String },
    #[error("{peer} cannot be reached: {cause}")]
    Unreachable { peer: String, cause: String },
    #[error("{peer} did not answer within {within:?}")]
    TimedOut { peer: String, within: Duration },
    /// The peer lives, and says no.
    #[error("{peer} refused: {cause}")]
    Refused { peer: String, cause: String },
}

impl Failure {
    /// What a failed call says of its peer.
    pub fn of_status(peer: &str, status: &Status) -> Self {
        let (peer, cause) = (peer.to_owned(), chain(status));
        if is_network_like(status) {
            Self::Unreachable { peer, cause }
        } else {
            Self::Refused { peer, cause }
        }
    }

    /// Of a connection that failed.
    pub fn unreachable(peer: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Unreachable {
            peer: peer.to_owned(),
            cause: chain(error),
        }
    }

    /// Whether it speaks against the peer: a call that was not made says nothing.
    pub fn is_evidence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }
}

/// As RustFS tells a broken connection from an answer that says no.
fn is_network_like(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::DeadlineExceeded | Code::Cancelled
    ) || std::error::Error::source(status).is_some()
}

/// hyper's and tonic's errors keep the cause beneath.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

/// One part of the console's answer.
#[derive(Clone, Debug)]
pub enum Shown<T> {
    Online(T),
    /// With why: known without asking, or found out by asking.
    Offline(String),
}

/// How this node calls the others.
#[derive(Clone)]
pub enum Wires {
    Today(Arc<Today>),
    Detected(Arc<Detected>),
}

impl fmt::Debug for Wires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Today(_) => "Today",
            Self::Detected(_) => "Detected",
        })
    }
}

impl Wires {
    /// An empty socket path is the opt-in's "off".
    pub fn new(socket: Option<&str>, peers: &[String]) -> Self {
        let today = Today::new(peers);
        match socket.filter(|path| !path.is_empty()) {
            None => Self::Today(Arc::new(today)),
            Some(socket) => Self::Detected(Arc::new(Detected::new(socket, today, peers))),
        }
    }

    /// One control call. `key` is the caller's spelling of the peer.
    pub async fn call<T, F>(
        &self,
        class: Class,
        key: &str,
        call: impl Fn(Control) -> F + Send + Sync,
    ) -> Result<T, Failure>
    where
        T: Send,
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        match self {
            Self::Today(today) => today.call(class, key, call).await,
            Self::Detected(detected) => detected.call(class, key, call).await,
        }
    }

    /// One transfer of shards: the answer's head, its body still to come.
    pub async fn transfer(
        &self,
        peer: &str,
        request: http::Request<Outgoing>,
    ) -> Result<http::Response<Incoming>, Failure> {
        match self {
            Self::Today(today) => today.transfer(peer, request).await,
            Self::Detected(detected) => detected.transfer(peer, request).await,
        }
    }

    /// Asks all peers at once, for the console: what came within its time.
    pub async fn ask_all<T, F>(
        &self,
        peers: &[String],
        call: impl Fn(Control) -> F + Send + Sync,
    ) -> Vec<(String, Shown<T>)>
    where
        T: Send,
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        match self {
            Self::Today(today) => today.ask_all(peers, call).await,
            Self::Detected(detected) => detected.ask_all(peers, call).await,
        }
    }

    /// Why a peer's drives are not to be asked at all, where that is known.
    pub fn drives_are_off(&self, peer: &str) -> Option<Failure> {
        match self {
            Self::Today(today) => today.drives_are_off(peer),
            Self::Detected(detected) => detected.drives_are_off(peer),
        }
    }

    /// Whether the peer is known to be down: only a detector knows.
    pub fn is_down(&self, peer: &str) -> bool {
        match self {
            Self::Today(_) => false,
            Self::Detected(detected) => detected.is_down(peer),
        }
    }
}
