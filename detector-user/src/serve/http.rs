//! Metrics over HTTP.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get,
};
use thiserror::Error;
use tokio::{net::TcpListener, sync::oneshot, time::sleep};

use super::Metrics;

/// How long requests may take to end after the shutdown began; then they are cut.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Why metrics cannot be served.
#[derive(Debug, Error)]
pub enum HttpError {
    #[error(
        "cannot listen on {address} for metrics: {source}; choose another address with --metrics"
    )]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("serving metrics failed: {0}")]
    Serve(#[source] io::Error),
}

/// Takes the address that metrics are served on.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| HttpError::Bind { address, source })
}

/// Serves until `shutdown`, and returns within [`SHUTDOWN_GRACE`] of it.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), HttpError> {
    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(listener, router(metrics)).with_graceful_shutdown(async move {
        shutdown.await;
        // The receiver is gone only when the server is.
        let _ = stopping.send(());
    });
    let cut = async {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        served = server.into_future() => served.map_err(HttpError::Serve),
        () = cut => Ok(()),
    }
}

fn router(metrics: Metrics) -> Router {
    Router::new()
        .route(
            "/",
            get(async || "The detector's metrics are at /metrics.\n"),
        )
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(render))
        .with_state(metrics)
}

async fn render(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.render())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_are_served_until_the_shutdown() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new().unwrap();
        metrics.set_build_info("1.2.3", true);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, metrics, async {
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

        // A client that never asks does not hold the shutdown up.
        let _idle = TcpStream::connect(address).await.unwrap();
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(15), server)
            .await
            .expect("it ends")
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_taken_address_names_the_flag() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address).await.unwrap_err().to_string();
        assert!(error.contains("--metrics"), "{error}");
        assert!(error.contains(&address.to_string()), "{error}");
    }
}
