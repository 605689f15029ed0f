//! A body that ends when its peer goes down.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{Guard, Interrupted};
use crate::PeerDown;

pub(super) type Ended = Pin<Box<dyn Future<Output = PeerDown> + Send + Sync>>;

pin_project! {
    /// A request's or a response's body under a [`Guard`]: a stall ends when the peer goes down.
    ///
    /// What has arrived is handed on; the error comes in place of the waiting, once, and nothing
    /// after it. The body within is dropped at that moment, which with HTTP/1.1 closes its
    /// connection: a pool never gives it out again.
    ///
    /// ```
    /// use detector_api::{Guard, GuardedBody, Peer};
    /// use http_body_util::{BodyExt, Full};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let peer = Peer::unwatched("http://node4:9000");
    /// let shard = Full::new(&b"a shard's bytes"[..]);
    /// let shard = GuardedBody::new(shard, Guard::new(&peer));
    /// assert_eq!(shard.collect().await?.to_bytes(), "a shard's bytes");
    /// # Ok(())
    /// # }
    /// ```
    pub struct GuardedBody<B> {
        #[pin]
        inner: Option<B>,
        guard: Guard,
        ended: Ended,
    }
}

impl<B> GuardedBody<B> {
    /// Ends `body` when what `guard` watches goes down.
    ///
    /// ```
    /// # use detector_api::{Guard, GuardedBody, Peer};
    /// let guard = Guard::new(&Peer::unwatched("http://node4:9000"));
    /// let body = GuardedBody::new(http_body_util::Empty::<&[u8]>::new(), guard);
    /// # drop(body);
    /// ```
    pub fn new(body: B, guard: Guard) -> Self {
        Self {
            inner: Some(body),
            guard: guard.clone(),
            ended: Box::pin(guard.ended()),
        }
    }
}

impl<B> Body for GuardedBody<B>
where
    B: Body,
    B::Error: Error + 'static,
{
    type Data = B::Data;
    type Error = Interrupted<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let error = match inner.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => Interrupted::told_by(this.guard, error),
            Poll::Pending => Interrupted::Down(ready!(this.ended.as_mut().poll(cx))),
        };
        this.inner.set(None);
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl<B: fmt::Debug> fmt::Debug for GuardedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardedBody").field(&self.inner).finish()
    }
}
