//! A request's body that can be taken back.
//!
//! A connection that is blocked in a write neither reads more of the body nor drops it, even when
//! nobody waits for the answer any more. The code that feeds the body would hang.

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
    /// Lends the request's body if it is a stream; no code feeds any other body.
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

    /// Leaves the body with the connection.
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
            // This must not look like the end: the data sent so far would then look complete.
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
