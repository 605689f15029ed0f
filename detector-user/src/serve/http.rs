//! Metrics over HTTP, for anyone who can reach the port. A client can cost the other clients
//! little, and it cannot delay verdicts.

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
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::Metrics;
use crate::{clock, core::Time};

/// How long requests may take to end after the shutdown began; then they are cut.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// The most connections that are served at a time; further ones wait in the listener's queue.
const CONNECTIONS: usize = 64;

/// The longest life of a connection, which serves one request.
const CONNECTION_LASTS: Duration = Duration::from_secs(10);

/// The time within which the headers of a request must arrive.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// The most memory for the headers of a request.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// The time until the next attempt if another program uses the address.
const BIND_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The pause after a connection could not be accepted, which usually means that too many files are
/// open.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How long a rendering is reused.
const RENDERING_LASTS: Duration = Duration::from_millis(200);

/// Serves until `shutdown`, then returns within `SHUTDOWN_GRACE`. If the address is not available,
/// it retries for ever.
pub async fn serve(address: SocketAddr, metrics: Metrics, shutdown: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    tokio::select! {
        () = shutdown => {}
        never = accept_all(address, metrics, &mut connections) => match never {},
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    // The remaining connections are cut when the set is dropped.
    let _ = timeout(SHUTDOWN_GRACE, ended).await;
}

async fn accept_all(
    address: SocketAddr,
    metrics: Metrics,
    connections: &mut JoinSet<()>,
) -> Infallible {
    let listener = listen(address).await;
    let router = router(metrics);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = connection(stream, router.clone());
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
        "cannot listen on {address} for metrics: {error}; the daemon runs without them and tries \
         again every {} s; choose another address with --metrics",
        BIND_AGAIN_AFTER.as_secs()
    )
}

async fn connection(stream: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Errors come from the client: it went away, or it did not send HTTP.
    let _ = timeout(CONNECTION_LASTS, served).await;
}

fn router(metrics: Metrics) -> Router {
    let rendering = Rendering {
        metrics,
        last: Arc::default(),
    };
    Router::new()
        .route(
            "/",
            get(async || "The detector's metrics are at /metrics.\n"),
        )
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(render))
        .with_state(rendering)
}

async fn render(State(rendering): State<Rendering>) -> impl IntoResponse {
    ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], rendering.now())
}

/// The last rendering of the metrics.
#[derive(Clone)]
struct Rendering {
    metrics: Metrics,
    last: Arc<Mutex<Option<(Time, Bytes)>>>,
}

impl Rendering {
    fn now(&self) -> Bytes {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, text)) = &*last
            && clock::now().since(*at) < RENDERING_LASTS
        {
            return text.clone();
        }
        let text = Bytes::from(self.metrics.render());
        *last = Some((clock::now(), text.clone()));
        text
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::oneshot,
    };

    use super::*;

    async fn free_address() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    /// Connects as soon as someone listens.
    async fn connect(address: SocketAddr) -> TcpStream {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = connect(address).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_are_served_until_the_shutdown() {
        let address = free_address().await;
        let metrics = Metrics::new().unwrap();
        metrics.set_build_info("1.2.3", true);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(address, metrics, async {
            stopped.await.unwrap();
        }));

        let answer = fetch(address, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let content_type = "content-type: text/plain; version=0.0.4";
        assert!(answer.contains(content_type), "{answer}");
        let line = r#"detector_build_info{ebpf="true",version="1.2.3"} 1"#;
        assert!(answer.contains(line), "{answer}");
        assert!(fetch(address, "/").await.contains("/metrics"));
        assert!(fetch(address, "/healthz").await.ends_with("ok\n"));
        assert!(fetch(address, "/x").await.starts_with("HTTP/1.1 404"));

        // A client that never sends a request does not delay the shutdown.
        let _idle = connect(address).await;
        stop.send(()).unwrap();
        timeout(Duration::from_secs(15), server)
            .await
            .expect("it ends")
            .unwrap();
    }

    /// Idle connections and half-sent headers are cut, and then other clients are served.
    #[tokio::test(start_paused = true)]
    async fn who_holds_every_connection_holds_them_for_seconds() {
        let address = free_address().await;
        let metrics = Metrics::new().unwrap();
        let server = tokio::spawn(serve(address, metrics, std::future::pending()));
        let mut held = Vec::new();
        for n in 0..2 * CONNECTIONS {
            let mut stream = connect(address).await;
            if n % 2 == 0 {
                stream.write_all(b"GET /metrics HT").await.unwrap();
            }
            held.push(stream);
        }
        assert!(fetch(address, "/healthz").await.ends_with("ok\n"));
        server.abort();
    }

    #[tokio::test]
    async fn headers_without_an_end_are_refused() {
        let address = free_address().await;
        let metrics = Metrics::new().unwrap();
        let server = tokio::spawn(serve(address, metrics, std::future::pending()));
        let mut stream = connect(address).await;
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(4 * MAX_HEADER_BYTES));
        // The server may close before it has read everything.
        let _ = stream.write_all(endless.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
        server.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_another_program_has_is_taken_once_it_is_free() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let metrics = Metrics::new().unwrap();
        let server = tokio::spawn(serve(address, metrics, std::future::pending()));
        sleep(2 * BIND_AGAIN_AFTER).await;
        drop(taken);
        assert!(fetch(address, "/healthz").await.ends_with("ok\n"));
        server.abort();
    }

    #[test]
    fn a_taken_address_names_the_flag() {
        let address = "127.0.0.1:9464".parse().unwrap();
        let error = io::Error::from(io::ErrorKind::AddrInUse);
        let text = cannot_listen(address, &error);
        assert!(
            text.contains("--metrics") && text.contains("127.0.0.1:9464"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_rendering_is_used_again() {
        let metrics = Metrics::new().unwrap();
        let rendering = Rendering {
            metrics: metrics.clone(),
            last: Arc::default(),
        };
        let first = rendering.now();
        metrics.set_build_info("1.2.3", true);
        assert_eq!(rendering.now(), first);
        *rendering.last.lock().unwrap() = None;
        assert_ne!(rendering.now(), first);
    }
}
