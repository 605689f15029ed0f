//! A connection that ends when its peer goes down.

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use pin_project_lite::pin_project;
use tower::{Service, ServiceExt};

use super::{Guard, body::Ended};
use crate::{Peer, PeerDown};

/// Makes connections to one peer that end when the peer goes down, in the same way as when the
/// kernel destroys them: at once, with `ConnectionAborted`.
///
/// Ending the call is not enough if its connection is blocked in a write. Hyper drops neither the
/// connection nor the body that it sends before the write is done, so the code that feeds the body
/// hangs until TCP gives up. A pool does not learn either that its connections are dead. This
/// connector can wrap any connector of hyper's or tonic's;
/// [`Settings::connector_to`](crate::Settings::connector_to) makes one.
///
/// ```
/// use bytes::Bytes;
/// use detector_api::{GuardedConnector, Peer};
/// use http_body_util::Empty;
/// use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
///
/// # let peer = Peer::unwatched("http://node4:9000"); // states.peer("http://node4:9000")
/// let connector = GuardedConnector::new(HttpConnector::new(), peer);
/// let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
/// # drop(client);
/// ```
#[derive(Clone, Debug)]
pub struct GuardedConnector<C> {
    inner: C,
    peer: Peer,
}

impl<C> GuardedConnector<C> {
    /// Wraps `connector`. All its connections are assumed to lead to `peer`.
    ///
    /// ```
    /// # use detector_api::{GuardedConnector, Peer};
    /// # use hyper_util::client::legacy::connect::HttpConnector;
    /// # let peer = Peer::unwatched("http://node4:9000");
    /// let connector = GuardedConnector::new(HttpConnector::new(), peer);
    /// # drop(connector);
    /// ```
    pub fn new(connector: C, peer: Peer) -> Self {
        Self {
            inner: connector,
            peer,
        }
    }
}

impl<C> Service<Uri> for GuardedConnector<C>
where
    C: Service<Uri> + Clone + Send + 'static,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
    C::Future: Send,
{
    type Response = GuardedIo<C::Response>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let guard = Guard::new(&self.peer);
        let connector = self.inner.clone();
        Box::pin(async move {
            let connected = guard.run(connector.oneshot(uri)).await?;
            Ok(GuardedIo {
                inner: connected.map_err(Into::into)?,
                watched: Watched::Up(Box::pin(guard.ended())),
            })
        })
    }
}

pin_project! {
    /// A connection of a [`GuardedConnector`]. After its peer went down, every wait on it ends with
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted), caused by a [`PeerDown`]. One task
    /// must poll both directions, as hyper does: the end wakes only the last waiter.
    ///
    /// ```
    /// use detector_api::GuardedIo;
    /// use hyper_util::rt::TokioIo;
    /// use tokio::net::TcpStream;
    ///
    /// /// What a program's own connector around one of these returns.
    /// type Io = GuardedIo<TokioIo<TcpStream>>;
    /// ```
    pub struct GuardedIo<T> {
        #[pin]
        inner: T,
        watched: Watched,
    }
}

/// Whether the peer is down yet. One task polls both directions of a connection, so one waker is
/// enough.
enum Watched {
    Up(Ended),
    Down(PeerDown),
}

impl Watched {
    /// Returns `done` if it is ready; otherwise waits for the end.
    fn or_ended<R>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if done.is_ready() {
            return done;
        }
        if let Self::Up(ended) = self {
            match ended.as_mut().poll(cx) {
                Poll::Ready(down) => *self = Self::Down(down),
                Poll::Pending => return Poll::Pending,
            }
        }
        match self {
            Self::Up(_) => Poll::Pending,
            Self::Down(down) => Poll::Ready(Err(down.clone().into())),
        }
    }
}

impl<T: Read> Read for GuardedIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let read = this.inner.poll_read(cx, buffer);
        this.watched.or_ended(cx, read)
    }
}

impl<T: Write> Write for GuardedIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = this.inner.poll_write(cx, data);
        this.watched.or_ended(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let flushed = this.inner.poll_flush(cx);
        this.watched.or_ended(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let shut = this.inner.poll_shutdown(cx);
        this.watched.or_ended(cx, shut)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = this.inner.poll_write_vectored(cx, data);
        this.watched.or_ended(cx, written)
    }
}

impl<T: Connection> Connection for GuardedIo<T> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

impl<T: fmt::Debug> fmt::Debug for GuardedIo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardedIo").field(&self.inner).finish()
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::ReadBuf;

    use super::*;
    use crate::{PeerStates, guard::testing, v1::Breaker};

    const PEER: &str = "http://node4:9000";

    /// A connection on which every operation waits, or every operation completes.
    struct Fake {
        stalls: bool,
    }

    impl Fake {
        fn done<T>(&self, result: T) -> Poll<io::Result<T>> {
            match self.stalls {
                true => Poll::Pending,
                false => Poll::Ready(Ok(result)),
            }
        }
    }

    impl Read for Fake {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            self.done(())
        }
    }

    impl Write for Fake {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.done(data.len())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.done(())
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.done(())
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            data: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.done(data.len())
        }
    }

    fn guarded(states: &PeerStates, stalls: bool) -> GuardedIo<Fake> {
        let guard = Guard::new(&states.peer(PEER));
        GuardedIo {
            inner: Fake { stalls },
            watched: Watched::Up(Box::pin(guard.ended())),
        }
    }

    /// The result of every operation on a connection.
    fn all(io: &mut GuardedIo<Fake>) -> [Poll<io::Result<()>>; 5] {
        let mut io = Pin::new(io);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let mut room = [0; 8];
        let mut room = ReadBuf::new(&mut room);
        let slices = [io::IoSlice::new(b"data")];
        let nothing = |written: io::Result<usize>| written.map(drop);
        [
            io.as_mut().poll_read(cx, room.unfilled()),
            io.as_mut().poll_write(cx, b"data").map(nothing),
            io.as_mut().poll_write_vectored(cx, &slices).map(nothing),
            io.as_mut().poll_flush(cx),
            io.as_mut().poll_shutdown(cx),
        ]
    }

    #[tokio::test]
    async fn whatever_waits_for_the_connection_ends_and_goes_on_ending() {
        let states = testing::states();
        let mut io = guarded(&states, true);
        assert!(all(&mut io).iter().all(Poll::is_pending));
        testing::set(&states, PEER, Breaker::Open);
        testing::set(&states, PEER, Breaker::Closed);
        for end in all(&mut io) {
            let Poll::Ready(Err(error)) = end else {
                panic!("{end:?}");
            };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            assert_eq!(PeerDown::find(&error).unwrap().peer, PEER);
        }
    }

    #[tokio::test]
    async fn what_need_not_wait_is_done_though_the_peer_is_down() {
        let states = testing::states();
        let mut io = guarded(&states, false);
        testing::set(&states, PEER, Breaker::Open);
        for done in all(&mut io) {
            assert!(matches!(done, Poll::Ready(Ok(()))), "{done:?}");
        }
    }
}
