//! A request's body that can be taken back.
//!
//! A connection that is blocked in a write neither asks for more of the body nor drops it, even
//! when nobody waits for the answer any more; whoever feeds the body would hang.

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use reqwest::{Body, Request};

/// Takes the body back when it is dropped.
pub(super) struct Loan(Option<Lent>);

#[derive(Clone)]
struct Lent(Arc<Mutex<Option<Body>>>);

impl Loan {
    /// Of the request's body, where it is a stream; other bodies are nobody's to feed.
    pub(super) fn of(request: &mut Request) -> Self {
        let is_stream = |body: &Body| body.as_bytes().is_none();
        let body = request.body_mut();
        if !body.as_ref().is_some_and(is_stream) {
            return Self(None);
        }
        let lent = Lent(Arc::new(Mutex::new(body.take())));
        *body = Some(Body::wrap(lent.clone()));
        Self(Some(lent))
    }

    /// Leaves it where it is.
    pub(super) fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(lent) = &self.0 {
            let body = lent.lock().take();
            drop(body);
        }
    }
}

impl Lent {
    fn lock(&self) -> MutexGuard<'_, Option<Body>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self.lock() {
            Some(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            // Not the end, which would make what was sent look whole.
            None => Poll::Ready(Some(Err(
                io::Error::from(io::ErrorKind::ConnectionAborted).into()
            ))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lock().as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.lock();
        body.as_ref()
            .map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}
