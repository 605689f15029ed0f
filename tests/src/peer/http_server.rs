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
}

impl HttpServer {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let listener = listen(self.listen).await?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(serve(stream));
                }
                Err(error) => {
                    eprintln!("accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream) {
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(sink))
        .await;
    if let Err(error) = served {
        eprintln!("connection: {error}");
    }
}

async fn sink(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut body = request.into_body();
    let mut status = StatusCode::NO_CONTENT;
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            status = StatusCode::BAD_REQUEST;
            break;
        }
    }
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}
