//! An HTTP/1.1 client that uploads without end.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::{Request, body::Frame, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use super::event::{Event, OkReporter};
use crate::clock;

const CHUNK_BYTES: u32 = 16 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Uploads without end.
#[derive(Clone, Debug, clap::Args)]
pub struct HttpClient {
    /// Address and port of the server.
    #[arg(long)]
    pub target: SocketAddr,
    /// How fast to upload.
    #[arg(long, default_value_t = 4 << 20)]
    pub bytes_per_second: u32,
    /// Uploads at once, each on a connection of its own.
    #[arg(long, default_value_t = 1)]
    pub uploads: u32,
}

impl HttpClient {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let period = f64::from(CHUNK_BYTES) / f64::from(self.bytes_per_second);
        let period = Duration::try_from_secs_f64(period)
            .with_context(|| format!("--bytes-per-second {}", self.bytes_per_second))?;
        for number in 0..self.uploads {
            tokio::spawn(upload_forever(self.target, number, period));
        }
        std::future::pending().await
    }
}

async fn upload_forever(target: SocketAddr, number: u32, period: Duration) {
    let reporter = OkReporter::default();
    loop {
        let started = clock::now_ns();
        if let Err(error) = upload(target, number, period, &reporter).await {
            reporter.interrupted();
            Event::error(number, started, error.as_ref()).say();
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

async fn upload(
    target: SocketAddr,
    number: u32,
    period: Duration,
    reporter: &OkReporter,
) -> anyhow::Result<()> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(target))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
        .flatten()
        .with_context(|| format!("cannot connect to {target}"))?;
    Event::Connected {
        at_ns: clock::now_ns(),
        channel: number,
    }
    .say();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let (chunks, body) = mpsc::channel(4);
    let body = StreamBody::new(ReceiverStream::new(body));
    let request = Request::post("/upload")
        .header("host", target.to_string())
        .body(body)?;
    let response = async {
        let response = sender.send_request(request).await?;
        anyhow::bail!("the server answered {} in mid-upload", response.status())
    };
    tokio::select! {
        ended = connection => ended.context("the connection broke"),
        answered = response => answered,
        never = feed(chunks, number, period, reporter) => match never {},
    }
}

/// Hands over chunks at the asked rate for as long as the connection takes them.
async fn feed(
    chunks: mpsc::Sender<Result<Frame<Bytes>, io::Error>>,
    number: u32,
    period: Duration,
    reporter: &OkReporter,
) -> Infallible {
    let chunk = Bytes::from(vec![0; CHUNK_BYTES as usize]);
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if chunks.send(Ok(Frame::data(chunk.clone()))).await.is_err() {
            // The connection or the response says why.
            std::future::pending::<()>().await;
        }
        reporter.ok(number);
    }
}
