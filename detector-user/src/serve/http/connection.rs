//! One connection, which serves one request: how long it may last.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tower::ServiceExt as _;

/// The longest life of a connection whose answer is no stream.
const LASTS: Duration = Duration::from_secs(10);

/// The longest life of a stream. The browser opens the next one by itself, so a reader that is gone
/// without a word holds its place no longer.
const STREAM_LASTS: Duration = Duration::from_secs(300);

/// The time within which the headers of a request must arrive.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// The most memory for the headers of a request.
pub(super) const MAX_HEADER_BYTES: usize = 16 * 1024;

/// The most bytes that the kernel keeps for a client that does not read them.
const SEND_BUFFER: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Request,
    Stream,
    Cut,
}

/// What a handler can do to its connection.
#[derive(Clone, Debug)]
pub(super) struct Ticket(Arc<watch::Sender<Phase>>);

impl Ticket {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Request)))
    }

    /// The answer is a stream, which lasts longer.
    pub(super) fn streams(&self) {
        self.0.send_replace(Phase::Stream);
    }

    /// Ends the connection at once, whether or not its client reads.
    pub(super) fn cut(&self) {
        self.0.send_replace(Phase::Cut);
    }

    /// Returns when the connection must end.
    pub(super) async fn over(&self) {
        let mut phase = self.0.subscribe();
        let asked = phase.wait_for(|phase| *phase != Phase::Request);
        if timeout(LASTS, asked).await.is_err() {
            return;
        }
        // Either it is cut, or its time is over.
        let _ = timeout(STREAM_LASTS, phase.wait_for(|phase| *phase == Phase::Cut)).await;
    }
}

/// Serves one request.
pub(super) async fn serve(stream: TcpStream, router: Router) {
    // A kernel that refuses only keeps more.
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let ticket = Ticket::new();
    let given = ticket.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(given.clone());
        router.clone().oneshot(request.map(Body::new))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // Errors come from the client: it went away, or it did not send HTTP.
        _ = served => {}
        () = ticket.over() => {}
    }
}
