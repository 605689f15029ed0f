//! An HTTP/1.1 server that discards uploads.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::sleep};

use super::listen;

/// Takes uploads and throws them away.
#[derive(Debug, clap::Args)]
pub struct HttpServer {
    /// Address and port.
    #[arg(long)]
    pub listen: SocketAddr,
    /// How late every answer is: a slow disk.
    #[arg(long, default_value_t = 0)]
    pub delay_ms: u64,
    /// How long an upload's first bytes lie before more are read: the receive window
    /// closes, and the process is well.
    #[arg(long, default_value_t = 0)]
    pub stall_ms: u64,
}

/// What the server does late.
#[derive(Clone, Copy, Debug)]
struct Late {
    reading: Duration,
    answering: Duration,
}

impl HttpServer {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let listener = listen(self.listen).await?;
        let late = Late {
            reading: Duration::from_millis(self.stall_ms),
            answering: Duration::from_millis(self.delay_ms),
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(serve(stream, late));
                }
                Err(error) => {
                    eprintln!("accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, late: Late) {
    let served = http1::Builder::new()
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request| sink(request, late)),
        )
        .await;
    if let Err(error) = served {
        eprintln!("connection: {error}");
    }
}

async fn sink(
    request: Request<Incoming>,
    late: Late,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut body = request.into_body();
    sleep(late.reading).await;
    let mut status = StatusCode::NO_CONTENT;
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            status = StatusCode::BAD_REQUEST;
            break;
        }
    }
    sleep(late.answering).await;
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}
