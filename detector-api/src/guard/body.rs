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
    /// The body of a request or a response under a [`Guard`]: a wait for data ends when the peer
    /// goes down.
    ///
    /// Data that has arrived is still passed on. The error replaces the wait; it comes once, and
    /// nothing comes after it. At that moment the inner body is dropped. With HTTP/1.1 this closes
    /// its connection, so a pool never reuses it.
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
    /// Ends `body` when the peer of `guard` goes down.
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

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, io, sync::Arc};

    use http_body_util::BodyExt;

    use super::*;
    use crate::{guard::testing, v1::Breaker};

    const PEER: &str = "http://node4:9000";

    /// A body that yields one frame or error, and then nothing more.
    struct Stalling<E> {
        next: Option<Result<Frame<&'static [u8]>, E>>,
        _held: Arc<()>,
    }

    fn stalling<E>(next: Result<Frame<&'static [u8]>, E>, held: &Arc<()>) -> Stalling<E> {
        Stalling {
            next: Some(next),
            _held: Arc::clone(held),
        }
    }

    impl<E: Unpin> Body for Stalling<E> {
        type Data = &'static [u8];
        type Error = E;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, E>>> {
            match self.next.take() {
                Some(next) => Poll::Ready(Some(next)),
                None => Poll::Pending,
            }
        }
    }

    #[tokio::test]
    async fn what_came_is_handed_on_and_then_the_body_within_is_let_go() {
        let states = testing::states();
        let (held, first) = (Arc::new(()), Frame::data(&b"half"[..]));
        let body = stalling(Ok::<_, Infallible>(first), &held);
        let mut body = GuardedBody::new(body, Guard::new(&states.peer(PEER)));
        testing::set(&states, PEER, Breaker::Open);
        let half = body.frame().await.unwrap().unwrap();
        assert_eq!(half.into_data().unwrap(), b"half");
        let end = testing::within(body.frame()).await.unwrap().unwrap_err();
        assert!(matches!(end, Interrupted::Down(_)), "{end:?}");
        assert_eq!(Arc::strong_count(&held), 1, "still held");
        assert!(body.frame().await.is_none(), "the error comes once");
    }

    #[tokio::test]
    async fn a_connection_destroyed_with_its_peer_is_its_peers_going_down() {
        let states = testing::states();
        let guard = Guard::new(&states.peer(PEER));
        let aborted = || io::Error::from(io::ErrorKind::ConnectionAborted);
        let failing = || stalling(Err(aborted()), &Arc::default());
        let before = GuardedBody::new(failing(), guard.clone()).frame().await;
        assert!(matches!(before, Some(Err(Interrupted::Failed(_)))));
        testing::set(&states, PEER, Breaker::Open);
        let after = GuardedBody::new(failing(), guard).frame().await;
        assert!(matches!(after, Some(Err(Interrupted::Down(_)))));
    }
}
