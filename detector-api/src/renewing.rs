//! A client that is replaced after its peer was down.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tower::{Service, ServiceExt, util::Oneshot};

use crate::{Guard, Peer};

/// A client, or a pool of connections, to one peer. It is replaced after the peer was down.
///
/// A pool does not know that its connections are dead. It reuses them, and requests on them wait
/// for retransmissions, which have backed off by then. So after the peer's breaker has opened, the
/// next use gets a new client without connections. (A [`ConnectionCache`](crate::ConnectionCache)
/// does the same for many peers, and drops the connections at once.)
///
/// It is a tower service if its client is one, so the layers of this crate can wrap it.
///
/// ```
/// use detector_api::{Peer, PeerLayer, Renewing, v1::detector_client::DetectorClient};
/// use tonic::transport::Endpoint;
/// use tower::Layer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let peer = Peer::unwatched("http://node4:9000"); // states.peer("http://node4:9000")
/// let endpoint = Endpoint::from_static("http://node4:9000");
/// let channel = Renewing::new(peer.clone(), move || endpoint.connect_lazy());
/// // To be kept for as long as the program runs.
/// let client = DetectorClient::new(PeerLayer::new(peer).layer(channel));
/// # drop(client);
/// # }
/// ```
pub struct Renewing<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    make: Box<dyn Fn() -> S + Send + Sync>,
    current: Mutex<(Guard, S)>,
}

impl<S: Clone> Renewing<S> {
    /// Makes a client for `peer` with `make`, and a new one after each time the peer was down.
    ///
    /// ```
    /// # use detector_api::{Peer, Renewing};
    /// let client = Renewing::new(Peer::unwatched("http://node4:9000"), || "a client");
    /// # drop(client);
    /// ```
    pub fn new(peer: Peer, make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        let current = Mutex::new((Guard::new(&peer), make()));
        let make = Box::new(make);
        Self {
            shared: Arc::new(Shared { make, current }),
        }
    }

    /// The current client, with the guard that ends the calls on it.
    ///
    /// ```
    /// # use detector_api::{Peer, Renewing};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), detector_api::PeerDown> {
    /// let client = Renewing::new(Peer::unwatched("http://node4:9000"), || "a client");
    /// let (guard, client) = client.current();
    /// let answer = guard.run(async { client.len() }).await?;
    /// # drop(answer);
    /// # Ok(())
    /// # }
    /// ```
    pub fn current(&self) -> (Guard, S) {
        let current = self.shared.current.lock();
        let mut current = current.unwrap_or_else(PoisonError::into_inner);
        let (guard, _) = &*current;
        if guard.opened().is_some() {
            *current = (Guard::new(guard.peer()), (self.shared.make)());
        }
        current.clone()
    }
}

impl<S, R> Service<R> for Renewing<S>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Oneshot<S, R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (_, client) = self.current();
        client.oneshot(request)
    }
}

impl<S> Clone for Renewing<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S> fmt::Debug for Renewing<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing").finish_non_exhaustive()
    }
}
