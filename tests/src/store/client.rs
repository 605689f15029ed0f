//! A client of the store, on one of its nodes: every answer is checked.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Frame, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep_until};

use super::{
    drive,
    front::{Acknowledged, SHA256, Shows},
};
use crate::{Host, PEER_PORT};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What an object of this size and seed consists of, piece by piece: the same each time.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    pub seed: u64,
    pub size: u64,
}

const PIECE: u64 = 64 << 10;

impl Content {
    fn piece(self, number: u64) -> Option<Bytes> {
        let begin = number * PIECE;
        let length = self.size.checked_sub(begin).filter(|n| *n > 0)?.min(PIECE);
        let mut piece = vec![0; length as usize];
        fastrand::Rng::with_seed(self.seed ^ number << 32).fill(&mut piece);
        Some(piece.into())
    }

    fn pieces(self) -> impl Iterator<Item = Bytes> {
        (0..).map_while(move |number| self.piece(number))
    }

    /// Its SHA-256, in hexadecimal.
    pub fn sha256(self) -> String {
        let mut sum = Sha256::new();
        self.pieces().for_each(|piece| sum.update(&piece));
        drive::hex(&sum.finalize())
    }
}

/// When the byte `position` is due at this pace, at most; none is due later than it is read.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub bytes_per_second: u64,
}

impl Pace {
    /// How long so many bytes take.
    pub fn time(self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64)
    }
}

/// Talks to the node of one host, from that host itself.
#[derive(Clone, Debug)]
pub struct Client {
    host: Host,
}

impl Client {
    pub fn new(host: &Host) -> Self {
        Self { host: host.clone() }
    }

    pub async fn console(&self) -> anyhow::Result<Vec<Shows>> {
        let response = self.ask(Request::get("/console"), empty()).await?;
        Ok(serde_json::from_slice(&whole(response).await?)?)
    }

    pub async fn login(&self, user: &str) -> anyhow::Result<()> {
        let request = Request::post(format!("/login/{user}"));
        whole(self.ask(request, empty()).await?).await.map(|_| ())
    }

    /// Returns once the lock is there; the node gives it back at once.
    pub async fn lock(&self, resource: &str) -> anyhow::Result<()> {
        let uri = format!("/lock/{resource}");
        whole(self.ask(Request::post(uri), empty()).await?)
            .await
            .map(|_| ())
    }

    /// Uploads, and sees that what was acknowledged is what was sent.
    pub async fn put(
        &self,
        object: &str,
        content: Content,
        pace: Option<Pace>,
    ) -> anyhow::Result<Acknowledged> {
        let request =
            Request::put(format!("/objects/{object}")).header("content-length", content.size);
        let begun = now();
        let body = stream::unfold(0, move |number| async move {
            let piece = content.piece(number)?;
            if let Some(pace) = pace {
                sleep_until(begun + pace.time(number * PIECE)).await;
            }
            Some((Ok(Frame::data(piece)), number + 1))
        });
        let response = self
            .ask(request, StreamBody::new(body).boxed_unsync())
            .await?;
        let stored: Acknowledged = serde_json::from_slice(&whole(response).await?)?;
        ensure!(
            stored.size == content.size && stored.sha256 == content.sha256(),
            "{object} was acknowledged as something else: {stored:?}"
        );
        Ok(stored)
    }

    /// Downloads, and sees that it is what was uploaded.
    pub async fn get(
        &self,
        object: &str,
        content: Content,
        pace: Option<Pace>,
    ) -> anyhow::Result<()> {
        let request = Request::get(format!("/objects/{object}"));
        let mut response = self.ask(request, empty()).await?;
        ensure!(
            response.headers().get(SHA256).is_some(),
            "{object} came without its checksum"
        );
        let (begun, mut received) = (now(), 0);
        let mut sum = Sha256::new();
        while let Some(frame) = response.frame().await {
            let frame = frame.with_context(|| format!("{object} broke off at {received}"))?;
            if let Ok(data) = frame.into_data() {
                sum.update(&data);
                received += data.len() as u64;
            }
            if let Some(pace) = pace {
                sleep_until(begun + pace.time(received)).await;
            }
        }
        ensure!(received == content.size, "{object} ended at {received}");
        let sum = drive::hex(&sum.finalize());
        ensure!(sum == content.sha256(), "{object} was altered: {sum}");
        Ok(())
    }

    async fn ask(
        &self,
        request: http::request::Builder,
        body: Body,
    ) -> anyhow::Result<Response<Incoming>> {
        let stream = self.connect()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = request.header("host", "store").body(body)?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        if !status.is_success() {
            let said = response.into_body().collect().await?.to_bytes();
            bail!("{status}: {}", String::from_utf8_lossy(&said));
        }
        Ok(response)
    }

    /// Loopback: no cut is in its way.
    fn connect(&self) -> anyhow::Result<tokio::net::TcpStream> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PEER_PORT));
        let stream = self.host.within(|| TcpStream::connect(address))?;
        let stream = stream.with_context(|| format!("no node on {}", self.host.name()))?;
        stream.set_nonblocking(true)?;
        Ok(tokio::net::TcpStream::from_std(stream)?)
    }
}

fn now() -> Instant {
    Instant::now()
}

fn empty() -> Body {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn whole(response: Response<Incoming>) -> anyhow::Result<Bytes> {
    Ok(response.into_body().collect().await?.to_bytes())
}
