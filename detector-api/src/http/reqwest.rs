//! The same for reqwest, whose requests and responses are types of its own.

use reqwest::{Error, Request, Response, ResponseBuilderExt};
use tower::Service;

use super::PeerHttp;
use crate::{GuardedBody, Interrupted, guard};

impl<S> PeerHttp<S>
where
    S: Service<Request, Response = Response, Error = Error> + Clone,
{
    /// Sends a request of reqwest's. The response is reqwest's own too: a read of its body that
    /// stalls ends with an error when the peer goes down, in which
    /// [`PeerDown::find`](crate::PeerDown::find) finds why.
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
    /// # Errors
    /// As reqwest's `execute`, and at once when the peer is down.
    pub async fn execute(&self, request: Request) -> Result<Response, Interrupted<Error>> {
        let (origin, client) = (self.origin.clone(), self.inner.clone());
        let (response, guard) = guard::call(origin, client, |_| request).await?;
        let url = response.url().clone();
        let response: http::Response<reqwest::Body> = response.into();
        let (mut parts, body) = response.into_parts();
        // Where reqwest looks for the URL on the way back.
        if let Ok(with_url) = http::Response::builder().url(url).body(()) {
            parts.extensions.extend(with_url.into_parts().0.extensions);
        }
        let body = reqwest::Body::wrap(GuardedBody::new(body, guard));
        Ok(http::Response::from_parts(parts, body).into())
    }
}
