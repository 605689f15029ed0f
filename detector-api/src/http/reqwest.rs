//! The same for reqwest, which has its own types of requests and responses.

mod loan;

use reqwest::{Error, Request, Response, ResponseBuilderExt};
use tower::Service;

use self::loan::Loan;
use super::PeerHttp;
use crate::{GuardedBody, Interrupted, Peer, guard};

impl Peer {
    /// Sends a reqwest request to this peer; it ends when the peer goes down, and so does the
    /// response's body. It is the same as [`PeerHttp::execute`] with the client of the request, so
    /// that a program with one client for all peers changes only the line that sends.
    ///
    /// The client's pool does not learn that its idle connections to the peer are dead. Over
    /// HTTP/1.1 that is harmless: a connection whose request or body is ended is closed and not
    /// reused, and an idle one owes nothing. An HTTP/2 connection (as a rule: over TLS) carries many
    /// requests and stays; after a cut it may retransmit only at long intervals, unless the daemon
    /// destroys it. With HTTP/2, keep a client for each peer in a
    /// [`ConnectionCache`](crate::ConnectionCache).
    ///
    /// ```
    /// use detector_api::Peer;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let client = reqwest::Client::new(); // the program's one
    /// let url = "http://127.0.0.1:1/shard";
    /// let sent = Peer::global(url).send(client.get(url)).await;
    /// assert!(sent.is_err(), "nobody listens there");
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of reqwest's `send`; fails at once if the peer is down.
    pub async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Response, Interrupted<Error>> {
        let (client, request) = request.build_split();
        let request = request.map_err(Interrupted::Failed)?;
        PeerHttp::new(client, self.clone()).execute(request).await
    }
}

impl<S> PeerHttp<S>
where
    S: Service<Request, Response = Response, Error = Error> + Clone,
{
    /// Sends a reqwest request. The response is reqwest's own type. If the peer goes down, a read
    /// of its body that waits ends with an error, and [`PeerDown::find`](crate::PeerDown::find)
    /// finds the cause in that error.
    ///
    /// ```
    /// use detector_api::{PeerHttp, PeerDown};
    ///
    /// async fn shard(
    ///     client: &PeerHttp<reqwest::Client>,
    ///     request: reqwest::Request,
    /// ) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    ///     let mut response = client.execute(request).await?.error_for_status()?;
    ///     let mut shard = Vec::new();
    ///     while let Some(chunk) = response.chunk().await? {
    ///         shard.extend_from_slice(&chunk);
    ///     }
    ///     Ok(shard)
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let peer = detector_api::Peer::unwatched("http://127.0.0.1:1");
    /// let client = PeerHttp::new(reqwest::Client::new(), peer);
    /// let request = reqwest::Request::new(
    ///     reqwest::Method::GET,
    ///     "http://127.0.0.1:1/shard".parse().expect("a URL"),
    /// );
    /// // Nobody listens there, which is no news of the detector's.
    /// let error = shard(&client, request).await.unwrap_err();
    /// assert!(PeerDown::find(&*error).is_none());
    /// # }
    /// ```
    ///
    /// When the peer goes down, or the caller goes away, the request's body is dropped at once, so
    /// that the code that feeds it notices. The connection itself may remain while it is blocked in
    /// a write, until the daemon destroys it or its `TCP_USER_TIMEOUT`
    /// ([`Settings::reqwest`](crate::Settings::reqwest)) expires: reqwest does not accept a
    /// [`GuardedConnector`](crate::GuardedConnector). To keep the connection from being reused,
    /// hold the client in a [`ConnectionCache`](crate::ConnectionCache), one for each peer:
    ///
    /// ```
    /// use detector_api::{ConnectionCache, PeerStates, Profile};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let states = PeerStates::unwatched(); // watch.states()
    /// let cache = ConnectionCache::new(states);
    /// let pool = || async { Profile::Bulk.settings().reqwest(reqwest::Client::builder()).build() };
    /// let client = cache.get_or_make("http://127.0.0.1:1", pool).await?.http();
    ///
    /// let url = "http://127.0.0.1:1/shard".parse()?;
    /// let request = reqwest::Request::new(reqwest::Method::GET, url);
    /// assert!(client.execute(request).await.is_err(), "nobody listens there");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of reqwest's `execute`; fails at once if the peer is down.
    pub async fn execute(&self, mut request: Request) -> Result<Response, Interrupted<Error>> {
        let (origin, client) = (self.origin.clone(), self.inner.clone());
        let loan = Loan::of(&mut request);
        let (response, guard) = guard::call(origin, client, |_| request).await?;
        // The server may answer before the body's end; then the rest is up to the client and the
        // server.
        loan.leave();
        let url = response.url().clone();
        let response: http::Response<reqwest::Body> = response.into();
        let (mut parts, body) = response.into_parts();
        // Reqwest expects the URL here when the response is converted back.
        if let Ok(with_url) = http::Response::builder().url(url).body(()) {
            parts.extensions.extend(with_url.into_parts().0.extensions);
        }
        let body = reqwest::Body::wrap(GuardedBody::new(body, guard));
        Ok(http::Response::from_parts(parts, body).into())
    }
}
