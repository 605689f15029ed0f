//! The status page: what `detector top` shows, for a browser.
//!
//! ```text
//!  board ──▶ Feed ──frames──▶ one stream for each viewer ──▶ page/status.js
//!  driver ─▶ Explanations ──▶ /status/peer/NAME
//! ```
//!
//! Everything that the page loads comes from here, and it can change nothing. It shows peers'
//! names and addresses, as the metrics do, but neither ports of connections nor settings.

mod explanations;
mod feed;
mod frame;

#[cfg(test)]
mod tests;

use std::convert::Infallible;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, State},
    http::{
        HeaderName, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use self::{explanations::Explanations, feed::Feed};
use super::connection::Ticket;
use crate::serve::{Request, board::Board};

/// Only what this daemon serves, and no script or style within the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const JSON: &str = "application/json";

/// What the page is made of, each with its path and its type.
const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("page/status.html")),
    ("/status", HTML, include_str!("page/status.html")),
    ("/status.css", STYLE, include_str!("page/status.css")),
    ("/status.js", SCRIPT, include_str!("page/status.js")),
    ("/status/text.js", SCRIPT, include_str!("page/text.js")),
    ("/status/detail.js", SCRIPT, include_str!("page/detail.js")),
    (
        "/status.svg",
        "image/svg+xml",
        include_str!("page/status.svg"),
    ),
];

/// What the page shows, and to whom. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Status {
    feed: Feed,
    explanations: Explanations,
}

impl Status {
    pub(super) fn new(board: Board, requests: mpsc::Sender<Request>) -> Self {
        Self {
            feed: Feed::new(board.clone(), requests.clone()),
            explanations: Explanations::new(board, requests),
        }
    }

    /// Ends all streams.
    pub(super) fn close(&self) {
        self.feed.close();
    }
}

pub(super) fn router(status: Status) -> Router {
    let mut router = Router::new()
        .route("/status/events", get(events))
        .route("/status/peer/{peer}", get(explain));
    for (path, kind, text) in FILES {
        router = router.route(path, get(async move || answer(kind, text)));
    }
    router.with_state(status)
}

fn answer(kind: &'static str, body: impl IntoResponse) -> Response {
    (HEADERS, [(CONTENT_TYPE, kind)], body).into_response()
}

/// A stream of events: everything first, then what changes.
async fn events(State(status): State<Status>, Extension(ticket): Extension<Ticket>) -> Response {
    let Some(frames) = status.feed.join(&ticket) else {
        let said = "too many status pages are open; close some\n";
        let busy = (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], said);
        return busy.into_response();
    };
    let frames = ReceiverStream::new(frames).map(Ok::<_, Infallible>);
    answer("text/event-stream", Body::from_stream(frames))
}

/// The evidence behind one peer's verdict.
async fn explain(State(status): State<Status>, Path(peer): Path<String>) -> Response {
    match status.explanations.of(&peer).await {
        Ok(json) => answer(JSON, json),
        Err((code, said)) => (code, said).into_response(),
    }
}
