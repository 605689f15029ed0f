//! The same for reqwest, which has its own types of requests and responses.

mod loan;

use reqwest::{Error, Request, Response, ResponseBuilderExt};
use tower::Service;

use self::loan::Loan;
use super::PeerHttp;
use crate::{GuardedBody, Interrupted, guard};

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
    /// # use tower::Layer;
    /// # let peer = detector_api::Peer::unwatched("http://127.0.0.1:1");
    /// let client = reqwest::Client::new();
    /// let client = detector_api::HttpLayer::new(peer).layer(client);
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
    /// let pool = || Profile::Bulk.settings().reqwest(reqwest::Client::builder()).build();
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
