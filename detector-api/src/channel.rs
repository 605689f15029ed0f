//! gRPC calls that end when their peer goes down: a tower layer around tonic's `Channel`.
//!
//! For each request the layer
//! - refuses at once while the breaker is Open: no dial, no queue;
//! - asks for one of the bounded number of trials while the breaker is HalfOpen, and reports the
//!   trial's outcome to the daemon. Without this bound, all waiting callers would call at once;
//! - ends what is in flight when the breaker opens. This covers the request and also the response's
//!   body, so that a stream that is cut midway ends with an error, and does not just fall silent.
//!
//! The first and the last end with a [`Status`] with the code `UNAVAILABLE`, which programs that look
//! at the code treat as a network failure. A call that gets no trial ends with `RESOURCE_EXHAUSTED`:
//! nothing is known against the peer, so it must not be counted as a failure of the peer's, nor cost
//! it a connection. The cause is in the status: see
//! [`PeerDown::from_status`](crate::PeerDown::from_status) and [`Refused::find`](crate::Refused::find).
//!
//! ```
//! # use detector_api::Peer;
//! use detector_api::{PeerChannel, v1::detector_client::DetectorClient};
//! use tonic::transport::Endpoint;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let peer = Peer::unwatched("http://node4:9000"); // states.peer("http://node4:9000")
//! let channel = Endpoint::from_static("http://node4:9000").connect_lazy();
//! // Any generated client takes it in the place of the channel.
//! let client = DetectorClient::new(PeerChannel::new(channel, peer));
//! # }
//! ```
//!
//! # Which connection
//! A channel that is kept while its peer is away still has its old connection, which may by then
//! retransmit only at long intervals. So keep the channel in a
//! [`ConnectionCache`](crate::ConnectionCache) and take
//! [`Connection::service`](crate::Connection::service) from it, or put
//! [`Renewing`](crate::Renewing) around the channel: both dial again. Or let the connections
//! themselves end, with [`Settings::connector_to`](crate::Settings::connector_to).
//!
//! # The least change
//! That connector alone, without the layer, already ends what is in flight and refuses to dial; it
//! is one line where a program connects. A call in flight then ends as if the kernel had destroyed
//! its socket: with `UNKNOWN`, "transport error", and without a [`PeerDown`](crate::PeerDown),
//! because HTTP/2 passes on only the text of an error. A dial ends with `UNAVAILABLE` and the `PeerDown`. The connector
//! does not use trials: every caller calls a peer whose breaker is HalfOpen.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::BodyExt;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::{
    GuardedBody, Peer,
    guard::{self, Guard, Interrupted, Origin},
};

/// Turns a channel into a [`PeerChannel`].
///
/// ```
/// # use detector_api::{Peer, PeerLayer};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use tower::ServiceBuilder;
///
/// # let peer = Peer::unwatched("http://node4:9000");
/// let channel = tonic::transport::Channel::from_static("http://node4:9000").connect_lazy();
/// let channel = ServiceBuilder::new().layer(PeerLayer::new(peer)).service(channel);
/// # drop(channel);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PeerLayer {
    peer: Peer,
}

impl PeerLayer {
    /// A layer for channels to `peer`.
    ///
    /// ```
    /// # use detector_api::{Peer, PeerLayer};
    /// let layer = PeerLayer::new(Peer::unwatched("http://node4:9000"));
    /// # drop(layer);
    /// ```
    pub fn new(peer: Peer) -> Self {
        Self { peer }
    }
}

impl<S> Layer<S> for PeerLayer {
    type Service = PeerChannel<S>;

    fn layer(&self, inner: S) -> PeerChannel<S> {
        PeerChannel::new(inner, self.peer.clone())
    }
}

/// A channel whose requests end when their peer goes down. Generated clients accept it in place of
/// a `Channel`. See [`PeerLayer`] and the [module's documentation](crate::channel).
///
/// It is always ready: the channel's own readiness is awaited as part of the request, where the
/// wait can be ended.
///
/// ```
/// use detector_api::{Peer, PeerChannel, v1::detector_client::DetectorClient};
/// use tonic::transport::{Channel, Endpoint};
///
/// /// What a function that returns a client for one peer returns.
/// fn client(peer: &Peer, channel: Channel) -> DetectorClient<PeerChannel<Channel>> {
///     DetectorClient::new(PeerChannel::new(channel, peer.clone()))
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let channel = Endpoint::from_static("http://node4:9000").connect_lazy();
/// # drop(client(&Peer::unwatched("http://node4:9000"), channel));
/// # }
/// ```
#[derive(Clone)]
pub struct PeerChannel<S> {
    inner: S,
    origin: Origin,
}

impl<S> PeerChannel<S> {
    /// Wraps a channel to `peer`, as [`PeerLayer`] does.
    ///
    /// ```
    /// # use detector_api::{Peer, PeerChannel};
    /// # use tonic::transport::Endpoint;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let peer = Peer::unwatched("http://node4:9000"); // states.peer("http://node4:9000")
    /// let channel = Endpoint::from_static("http://node4:9000").connect_lazy();
    /// let channel = PeerChannel::new(channel, peer);
    /// # drop(channel);
    /// # }
    /// ```
    pub fn new(channel: S, peer: Peer) -> Self {
        Self {
            inner: channel,
            origin: Origin::Request(peer),
        }
    }

    #[cfg(feature = "connections")]
    pub(crate) fn of_connection(inner: S, guard: Guard) -> Self {
        Self {
            inner,
            origin: Origin::Connection(guard),
        }
    }
}

impl<S> Service<http::Request<Body>> for PeerChannel<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Error: Into<tonic::codegen::StdError>,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let channel = tower::util::MapErr::new(self.inner.clone(), |error: S::Error| {
            Status::from_error(error.into())
        });
        let origin = self.origin.clone();
        Box::pin(async move {
            let (response, guard) = guard::call(origin, channel, |guard| {
                request.map(|body| guarded(body, guard.clone()))
            })
            .await
            .map_err(status)?;
            Ok(response.map(|body| guarded(body, guard)))
        })
    }
}

impl<S> fmt::Debug for PeerChannel<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerChannel")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

fn guarded(body: Body, guard: Guard) -> Body {
    Body::new(GuardedBody::new(body, guard).map_err(status))
}

/// The status with which a call ends. An error from the channel itself is passed on unchanged.
fn status(error: Interrupted<Status>) -> Status {
    match error {
        Interrupted::Failed(status) => status,
        Interrupted::Down(down) => down.into(),
        Interrupted::Refused(refused) => refused.into(),
    }
}

#[cfg(test)]
mod tests;
