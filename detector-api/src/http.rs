//! HTTP requests, uploads and downloads that end when their peer goes down: a tower layer around
//! hyper's client or reqwest's.
//!
//! It does for HTTP what [`channel`](crate::channel) does for gRPC: it refuses requests at once
//! while the breaker is Open, uses trials while it is HalfOpen, and ends what is in flight when it
//! opens. That includes
//! - a request that waits for its answer;
//! - an upload whose peer no longer reads: the request is dropped, with its connection and the body
//!   that was being sent;
//! - a download that stalls: the body ends with an error, and its connection is closed.
//!
//! Data that has arrived is passed on first, so a body that has arrived completely is complete.
//!
//! Idle connections in a pool are not in flight, and the pool does not learn that they are dead. So
//! give each peer a pool of its own that is dropped when the peer goes down: in a
//! [`ConnectionCache`](crate::ConnectionCache) (take [`Connection::http`](crate::Connection::http)
//! from it), or in a [`Renewing`](crate::Renewing):
//!
//! ```
//! # #[cfg(feature = "hyper")] {
//! use bytes::Bytes;
//! use detector_api::{HttpLayer, PeerStates, Profile, Renewing};
//! use http_body_util::Empty;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let states = PeerStates::unwatched(); // watch.states()
//! let peer = states.peer("http://127.0.0.1:1");
//! let bulk = Profile::Bulk.settings();
//! let pool = Renewing::new(peer.clone(), move || {
//!     Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(bulk.connector())
//! });
//! let client = HttpLayer::new(peer).layer(pool);
//!
//! let request = http::Request::get("http://127.0.0.1:1/shard").body(Empty::new())?;
//! // Nobody listens there.
//! assert!(client.oneshot(request).await.is_err());
//! # Ok(())
//! # }
//! # }
//! ```

#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(test)]
mod tests;

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tower::{Layer, Service};

use crate::{
    GuardedBody, Interrupted, Peer,
    guard::{self, Origin},
};

/// Turns an HTTP client into a [`PeerHttp`]. See the [module's documentation](crate::http).
///
/// ```
/// use bytes::Bytes;
/// use detector_api::{HttpLayer, Peer};
/// use http_body_util::Empty;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::Layer;
///
/// # let peer = Peer::unwatched("http://node4:9000");
/// let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
/// let client = HttpLayer::new(peer).layer(client);
/// # drop(client);
/// ```
#[derive(Clone, Debug)]
pub struct HttpLayer {
    peer: Peer,
}

impl HttpLayer {
    /// A layer for requests to `peer`.
    ///
    /// ```
    /// # use detector_api::{HttpLayer, Peer};
    /// let layer = HttpLayer::new(Peer::unwatched("http://node4:9000"));
    /// # drop(layer);
    /// ```
    pub fn new(peer: Peer) -> Self {
        Self { peer }
    }
}

impl<S> Layer<S> for HttpLayer {
    type Service = PeerHttp<S>;

    fn layer(&self, inner: S) -> PeerHttp<S> {
        PeerHttp::new(inner, self.peer.clone())
    }
}

/// An HTTP client whose requests end when their peer goes down. See the [module's
/// documentation](crate::http).
///
/// All its requests are assumed to go to that one peer, whatever their URL.
///
/// ```
/// use bytes::Bytes;
/// use detector_api::{GuardedBody, Interrupted, PeerHttp};
/// use http_body_util::{BodyExt, Empty};
/// use hyper::body::Incoming;
/// use hyper_util::client::legacy::{Client, Error, connect::HttpConnector};
/// use tower::ServiceExt;
///
/// async fn shard(
///     client: PeerHttp<Client<HttpConnector, Empty<Bytes>>>,
///     request: http::Request<Empty<Bytes>>,
/// ) -> Result<http::Response<GuardedBody<Incoming>>, Interrupted<Error>> {
///     client.oneshot(request).await
/// }
/// ```
#[derive(Clone)]
pub struct PeerHttp<S> {
    inner: S,
    origin: Origin,
}

impl<S> PeerHttp<S> {
    /// Wraps a client for requests to `peer`, as [`HttpLayer`] does.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use detector_api::{Peer, PeerHttp};
    /// use http_body_util::Empty;
    /// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    ///
    /// # let peer = Peer::unwatched("http://node4:9000"); // states.peer("http://node4:9000")
    /// let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    /// let client = PeerHttp::new(client, peer);
    /// # drop(client);
    /// ```
    pub fn new(client: S, peer: Peer) -> Self {
        Self {
            inner: client,
            origin: Origin::Request(peer),
        }
    }

    #[cfg(feature = "connections")]
    pub(crate) fn of_connection(inner: S, guard: crate::Guard) -> Self {
        Self {
            inner,
            origin: Origin::Connection(guard),
        }
    }
}

impl<S, B, R> Service<http::Request<B>> for PeerHttp<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>> + Clone + Send + 'static,
    S::Error: Error + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = http::Response<GuardedBody<R>>;
    type Error = Interrupted<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (client, origin) = (self.inner.clone(), self.origin.clone());
        Box::pin(async move {
            let (response, guard) = guard::call(origin, client, |_| request).await?;
            Ok(response.map(|body| GuardedBody::new(body, guard)))
        })
    }
}

impl<S> fmt::Debug for PeerHttp<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerHttp")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
