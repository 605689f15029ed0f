//! Connections to peers: dialled once, shared by all callers, and dropped when their peer goes
//! down.

mod cache;
mod dial;
mod entries;
mod error;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trial_tests;

use std::{fmt, future::Future, ops::Deref};

pub use self::{
    cache::{ConnectionCache, Limits},
    error::ConnectionError,
};
use crate::{Guard, Peer, PeerDown};

/// A connection from a [`ConnectionCache`]: a clone of what was dialled, with the means to end the
/// calls on it.
///
/// It derefs to what was dialled. But calls that are made that way do not end when the peer goes
/// down: make calls through [`run`](Self::run), or through [`service`](Self::service) for gRPC.
///
/// A connection is of no use after its peer went down. After the breaker has opened, everything
/// that is run on it ends at once, even when the peer is back. Then ask the cache for another
/// connection.
///
/// ```
/// use detector_api::{ConnectionCache, PeerStates};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let states = PeerStates::unwatched();
/// let cache = ConnectionCache::new(states);
/// let dial = || async { Ok::<_, std::io::Error>("a client".to_owned()) };
/// let connection = cache.get_or_connect("http://node4:9000", dial).await?;
/// assert_eq!(connection.len(), "a client".len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connection<C> {
    client: C,
    guard: Guard,
}

impl<C> Connection<C> {
    fn new(client: C, guard: Guard) -> Self {
        Self { client, guard }
    }

    /// Runs `call` until it completes or the peer's breaker opens. In the latter case, `call` is
    /// dropped.
    ///
    /// While the breaker is HalfOpen, this does not ask for a trial, because it cannot distinguish
    /// a good outcome from a bad one. [`Peer::admit`] does ask, and so does the result of
    /// [`service`](Self::service) for each request.
    ///
    /// ```
    /// use detector_api::{Connection, PeerDown};
    /// use tokio::sync::mpsc;
    ///
    /// async fn next(
    ///     connection: &Connection<String>,
    ///     answers: &mut mpsc::Receiver<u8>,
    /// ) -> Result<Option<u8>, PeerDown> {
    ///     connection.run(answers.recv()).await
    /// }
    /// ```
    pub async fn run<F: Future>(&self, call: F) -> Result<F::Output, PeerDown> {
        self.guard.run(call).await
    }

    /// The peer of this connection.
    ///
    /// ```
    /// # use detector_api::Connection;
    /// fn log<C>(connection: &Connection<C>) {
    ///     println!("calling {}", connection.peer().name());
    /// }
    /// ```
    pub fn peer(&self) -> &Peer {
        self.guard.peer()
    }

    /// The guard that ends calls on this connection, for work that does not fit [`run`](Self::run).
    ///
    /// ```
    /// # use detector_api::Connection;
    /// fn is_usable<C>(connection: &Connection<C>) -> bool {
    ///     connection.guard().down().is_none()
    /// }
    /// ```
    pub fn guard(&self) -> &Guard {
        &self.guard
    }
}

#[cfg(feature = "channel")]
impl<C: Clone> Connection<C> {
    /// The channel as a service for generated clients. Its requests, and the streams that answer
    /// them, end when the peer goes down. See [`channel`](crate::channel).
    ///
    /// ```
    /// use detector_api::{ConnectionCache, PeerStates, v1::detector_client::DetectorClient};
    /// use tonic::transport::Endpoint;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = ConnectionCache::new(PeerStates::unwatched());
    /// // As a rule `get_or_connect` and `Endpoint::connect`; a lazy channel leaves the dialling to
    /// // the first call.
    /// let endpoint = Endpoint::from_static("http://node4:9000");
    /// let make = || async move { Ok::<_, tonic::transport::Error>(endpoint.connect_lazy()) };
    /// let connection = cache.get_or_make("http://node4:9000", make).await?;
    /// let client = DetectorClient::new(connection.service());
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn service(&self) -> crate::PeerChannel<C> {
        crate::PeerChannel::of_connection(self.client.clone(), self.guard.clone())
    }
}

#[cfg(feature = "hyper")]
impl<C: Clone> Connection<C> {
    /// The HTTP client, or pool, as a service whose requests and bodies end when the peer goes
    /// down. See [`http`](crate::http).
    ///
    /// ```
    /// use bytes::Bytes;
    /// use detector_api::{ConnectionCache, PeerStates, Profile};
    /// use http_body_util::Empty;
    /// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = ConnectionCache::new(PeerStates::unwatched());
    /// // One pool a peer: it goes when its peer does, and its dead connections with it.
    /// let pool = || async {
    ///     let connector = Profile::Bulk.settings().connector();
    ///     let pool = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    ///     Ok::<_, std::convert::Infallible>(pool)
    /// };
    /// let connection = cache.get_or_make("http://node4:9000", pool).await?;
    /// let client = connection.http();
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn http(&self) -> crate::PeerHttp<C> {
        crate::PeerHttp::of_connection(self.client.clone(), self.guard.clone())
    }
}

impl<C> Deref for Connection<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.client
    }
}

impl<C> fmt::Debug for Connection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}
