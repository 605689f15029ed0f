//! What a request and its answer may take: large requests take turns, no others may be large, and
//! answers that a client does not read count against its share. So memory is bounded, whatever
//! clients send and however slowly, and no process delays the others.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::{BodyExt as _, Limited};
use tonic::{
    Status,
    body::Body,
    codegen::{
        Bytes,
        http::{HeaderMap, Request, Response},
    },
};
use tower::{Layer, Service};

use super::{
    MAX_REQUEST_BYTES,
    clients::Client,
    first::first_sent,
    shares::{Share, Taken},
};

type Frame = http_body::Frame<Bytes>;

/// The only method whose requests may be large.
const LARGE: &str = "/detector.v1.Detector/Report";

/// What a part of an answer takes in addition to its bytes.
const OVERHEAD: usize = 256;

/// Gives each request and its answer what its client's shares permit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fair;

impl<S> Layer<S> for Fair {
    type Service = Fairly<S>;

    fn layer(&self, inner: S) -> Fairly<S> {
        Fairly(inner)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Fairly<S>(S);

impl<S> Service<Request<Body>> for Fairly<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready is called.
        let next = self.0.clone();
        let mut inner = mem::replace(&mut self.0, next);
        Box::pin(async move {
            let Some(client) = request.extensions().get::<Client>().cloned() else {
                return Ok(Status::internal("the connection is unknown").into_http());
            };
            let is_large = request.uri().path() == LARGE;
            let (_turn, request) = if is_large {
                (client.shares.reports.take().await, request)
            } else {
                let small = |body| Body::new(Limited::new(body, MAX_REQUEST_BYTES));
                (None, request.map(small))
            };
            let answer = inner.call(request).await?;
            let unread = client.shares.unread.clone();
            Ok(first_sent(answer).map(|body| counted(body, unread)))
        })
    }
}

/// The answer; what is not read of it counts.
fn counted(body: Body, unread: Share) -> Body {
    Body::new(body.map_frame(move |frame| count(frame, &unread)))
}

/// A part of an answer that counts until it is sent; the end of the answer if it is too much.
fn count(frame: Frame, unread: &Share) -> Frame {
    let bytes = match frame.into_data() {
        Ok(bytes) => bytes,
        Err(other) => return other,
    };
    match unread.try_take(bytes.len() + OVERHEAD) {
        Some(taken) => Frame::data(Bytes::from_owner(Unread {
            bytes,
            _taken: taken,
        })),
        None => Frame::trailers(too_much()),
    }
}

/// Bytes on their way to a client. The connection drops them when they are sent.
struct Unread {
    bytes: Bytes,
    _taken: Taken,
}

impl AsRef<[u8]> for Unread {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn too_much() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let status = Status::resource_exhausted(
        "too much is unread; read the answers to this process's other calls first",
    );
    // Its text is valid in a header.
    let _ = status.add_header(&mut headers);
    headers
}
