//! Metrics and the status page over HTTP, for anyone who can reach the port. A client can cost the
//! other clients little, and it cannot delay verdicts.

mod connection;
mod status;

#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router, body::Bytes, extract::State, http::header::CONTENT_TYPE, response::IntoResponse,
    routing::get,
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use self::status::Status;
use super::{Metrics, Request, board::Board};
use crate::{clock, files, model::Time};

/// How long requests may take to end after the shutdown began; then they are cut.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// The most connections that are served at a time; further ones wait in the listener's queue.
const CONNECTIONS: usize = 64;

/// The time until the next attempt if another program uses the address.
const BIND_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The pause after a connection could not be accepted, which usually means that too many files are
/// open.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The most renderings in memory: the last one, and those that are not read yet. A client has some
/// seconds to read one.
const RENDERINGS: usize = 4;

/// How long a rendering is reused.
const RENDERING_LASTS: Duration = Duration::from_millis(200);

/// What is served.
#[derive(Clone, Debug)]
pub struct Pages {
    pub metrics: Metrics,
    pub board: Board,
    /// For what only the driver can answer.
    pub requests: mpsc::Sender<Request>,
}

/// Serves until `shutdown`, then returns within `SHUTDOWN_GRACE`. If the address is not available,
/// it retries for ever.
pub async fn serve(address: SocketAddr, pages: Pages, shutdown: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    let status = Status::new(pages.board, pages.requests);
    let router = router(pages.metrics, status.clone());
    tokio::select! {
        () = shutdown => {}
        never = accept_all(address, router, &mut connections) => match never {},
    }
    status.close();
    let ended = async { while connections.join_next().await.is_some() {} };
    // The remaining connections are cut when the set is dropped.
    let _ = timeout(SHUTDOWN_GRACE, ended).await;
}

async fn accept_all(
    address: SocketAddr,
    router: Router,
    connections: &mut JoinSet<()>,
) -> Infallible {
    let listener = listen(address).await;
    let most = CONNECTIONS.min(files::Shares::now().readers);
    let slots = Arc::new(Semaphore::new(most));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = connection::serve(stream, router.clone());
                connections.spawn(async move {
                    let _slot = slot;
                    served.await;
                });
            }
            Err(error) => {
                warn!(%error, "a connection for metrics was not accepted");
                sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Binds the address of the metrics as soon as that is possible.
async fn listen(address: SocketAddr) -> TcpListener {
    let mut was_refused = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if was_refused {
                    info!(%address, "metrics are served now");
                }
                return listener;
            }
            Err(error) if !was_refused => {
                warn!("{}", cannot_listen(address, &error));
                was_refused = true;
            }
            Err(_) => {}
        }
        sleep(BIND_AGAIN_AFTER).await;
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    format!(
        "cannot listen on {address} for metrics and the status page: {error}; the daemon runs without them and tries \
         again every {} s; choose another address with --metrics",
        BIND_AGAIN_AFTER.as_secs()
    )
}

fn router(metrics: Metrics, status: Status) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(render))
        .with_state(Renderings::of(metrics))
        .merge(status::router(status))
}

async fn render(State(renderings): State<Renderings>) -> impl IntoResponse {
    ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], renderings.now())
}

/// Renders the metrics, for all clients of a moment at once.
#[derive(Clone)]
struct Renderings {
    metrics: Metrics,
    last: Arc<Mutex<Option<(Time, Bytes)>>>,
    room: Arc<Semaphore>,
}

/// A rendering, until its last reader has read it.
struct Rendering {
    text: String,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Rendering {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Renderings {
    fn of(metrics: Metrics) -> Self {
        Self {
            metrics,
            last: Arc::default(),
            room: Arc::new(Semaphore::new(RENDERINGS)),
        }
    }

    /// The metrics now; if too many renderings are not read yet, the last one.
    fn now(&self) -> Bytes {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = last
            .as_ref()
            .map(|(at, text)| (clock::now().since(*at), text));
        match (kept, Arc::clone(&self.room).try_acquire_owned()) {
            (Some((age, text)), _) if age < RENDERING_LASTS => text.clone(),
            (_, Ok(room)) => {
                let rendering = Rendering {
                    text: self.metrics.render(),
                    _room: room,
                };
                let text = Bytes::from_owner(rendering);
                *last = Some((clock::now(), text.clone()));
                text
            }
            (kept, Err(_)) => kept.map(|(_, text)| text.clone()).unwrap_or_default(),
        }
    }
}
