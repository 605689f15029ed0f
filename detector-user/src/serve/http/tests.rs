//! What is served, and what a client cannot hold.

use std::collections::BTreeSet;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
};

use super::{connection::MAX_HEADER_BYTES, *};
use crate::model::Bounds;

fn pages(metrics: Metrics) -> Pages {
    Pages {
        metrics,
        board: Board::new("one", Bounds::new(4)),
        requests: mpsc::channel(1).0,
    }
}

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
    let server = tokio::spawn(serve(address, pages(metrics), async {
        stopped.await.unwrap();
    }));

    let answer = fetch(address, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let content_type = "content-type: text/plain; version=0.0.4";
    assert!(answer.contains(content_type), "{answer}");
    let line = r#"detector_build_info{ebpf="true",version="1.2.3"} 1"#;
    assert!(answer.contains(line), "{answer}");
    assert!(fetch(address, "/").await.contains("<title>detector"));
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
    let server = tokio::spawn(serve(address, pages(metrics), std::future::pending()));
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
    let server = tokio::spawn(serve(address, pages(metrics), std::future::pending()));
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
    let server = tokio::spawn(serve(address, pages(metrics), std::future::pending()));
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
    let renderings = Renderings::of(metrics.clone());
    let first = renderings.now();
    metrics.set_build_info("1.2.3", true);
    assert_eq!(renderings.now(), first);
    *renderings.last.lock().unwrap() = None;
    assert_ne!(renderings.now(), first);
}

#[test]
fn renderings_that_are_not_read_are_bounded() {
    let renderings = Renderings::of(Metrics::new().unwrap());
    let next = || {
        let mut last = renderings.last.lock().unwrap();
        if let Some((at, _)) = &mut *last {
            *at = *at - 2 * RENDERING_LASTS;
        }
        drop(last);
        renderings.now()
    };
    let unread: Vec<_> = (0..2 * RENDERINGS).map(|_| next()).collect();
    let distinct: BTreeSet<_> = unread.iter().map(|text| text.as_ptr()).collect();
    assert_eq!(distinct.len(), RENDERINGS);
    assert!(unread.iter().all(|text| !text.is_empty()));
    drop(unread);
    assert_eq!(renderings.room.available_permits(), RENDERINGS - 1);
}
