//! Reads a daemon's metrics over HTTP.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// More than the metrics of as many peers as a daemon may have.
const MAX_BYTES: usize = 64 << 20;

/// The page `/metrics` at this address.
pub async fn fetch(address: SocketAddr) -> anyhow::Result<String> {
    let stream = TcpStream::connect(address)
        .await
        .context("cannot connect")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/metrics")
        .header(HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let asked = async {
        let answer = sender.send_request(request).await?;
        ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        match body {
            Ok(body) => Ok(String::from_utf8(body.to_bytes().into())?),
            Err(error) => bail!("the answer was cut: {error}"),
        }
    };
    tokio::pin!(asked);
    tokio::select! {
        // The connection also ends when everything was sent, so it is asked last.
        biased;
        answer = &mut asked => answer,
        ended = connection => {
            ended?;
            asked.await
        }
    }
}
