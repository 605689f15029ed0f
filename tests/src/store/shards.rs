//! Shards of big objects between nodes: one HTTP/1.1 transfer a drive.

use std::{io, io::Write as _, time::Duration};

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Frame;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use super::{
    drive::{self, Drive, framed, take_shard},
    node::Node,
    proto::Meta,
    today::{READ_STALL, WRITE_STALL},
    wires::{Failure, Incoming, Wires},
};

/// Names the object in a request for its shards; the version is in the path.
const OBJECT: &str = "x-object";
const ROW: &str = "x-row";
const SHARD_BYTES: &str = "x-shard-bytes";

/// One drive's part of an upload.
#[derive(Debug)]
pub enum Writer {
    Local(Drive, String, std::fs::File),
    Remote(Upload),
}

#[derive(Debug)]
pub struct Upload {
    peer: String,
    rows: mpsc::Sender<io::Result<Frame<Bytes>>>,
    answer: JoinHandle<Result<(), Failure>>,
}

impl Upload {
    pub fn start(wires: &Wires, peer: &str, drive: usize, version: &str) -> Self {
        let (rows, body) = mpsc::channel(1);
        let uri = format!("{peer}/shards/{drive}/{version}");
        let (wires, peer) = (wires.clone(), peer.to_owned());
        let to = peer.clone();
        let answer = tokio::spawn(async move {
            let body = StreamBody::new(ReceiverStream::new(body)).boxed_unsync();
            let request = http::Request::put(uri).body(body);
            let request = request.map_err(|error| Failure::unreachable(&to, &error))?;
            let response = wires.transfer(&to, request).await?;
            accepted(&to, response.status())
        });
        Self { peer, rows, answer }
    }

    async fn write(&mut self, row: Bytes) -> Result<(), Failure> {
        tokio::select! {
            biased;
            // An answer before the end is none that is wanted.
            early = &mut self.answer => Err(match early {
                Ok(Err(failure)) => failure,
                _ => refused(&self.peer, "it answered in mid-upload"),
            }),
            sent = timeout(WRITE_STALL, self.rows.send(Ok(Frame::data(row)))) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(refused(&self.peer, "the transfer has ended")),
                Err(_) => Err(stalled(&self.peer, WRITE_STALL)),
            },
        }
    }

    async fn finish(mut self) -> Result<(), Failure> {
        // The body ends here.
        drop(std::mem::replace(&mut self.rows, mpsc::channel(1).0));
        match timeout(WRITE_STALL, &mut self.answer).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(panicked)) => Err(refused(&self.peer, &panicked.to_string())),
            Err(_) => Err(stalled(&self.peer, WRITE_STALL)),
        }
    }
}

impl Drop for Upload {
    /// The far side sees a body that breaks off, and keeps nothing.
    fn drop(&mut self) {
        self.answer.abort();
    }
}

impl Writer {
    pub async fn write(&mut self, shard: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Local(_, _, file) => file
                .write_all(&framed(shard))
                .map_err(|error| refused("this node", &error.to_string())),
            Self::Remote(upload) => upload.write(framed(shard)).await,
        }
    }

    /// Every row has arrived.
    pub async fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Local(..) => Ok(()),
            Self::Remote(upload) => upload.finish().await,
        }
    }

    /// The upload came to nothing.
    pub fn abandon(self) {
        if let Self::Local(drive, version, _) = self {
            drive.discard(&version);
        }
    }
}

/// One drive's part of a download.
#[derive(Debug)]
pub enum Reader {
    Local(std::fs::File),
    Remote {
        peer: String,
        body: Incoming,
        buffer: BytesMut,
    },
}

impl Reader {
    /// Begins at this row.
    pub async fn remote(
        wires: &Wires,
        peer: &str,
        drive: usize,
        meta: &Meta,
        row: u64,
        shard_bytes: usize,
    ) -> Result<Self, Failure> {
        let request = http::Request::get(format!("{peer}/shards/{drive}/{}", meta.version))
            .header(OBJECT, &meta.object)
            .header(ROW, row)
            .header(SHARD_BYTES, shard_bytes)
            .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
            .map_err(|error| Failure::unreachable(peer, &error))?;
        let asked = timeout(READ_STALL, wires.transfer(peer, request)).await;
        let response = asked.unwrap_or_else(|_| Err(stalled(peer, READ_STALL)))?;
        accepted(peer, response.status())?;
        Ok(Self::Remote {
            peer: peer.to_owned(),
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }

    /// The next row's shard.
    pub async fn read(&mut self) -> Result<Bytes, Failure> {
        match self {
            Self::Local(file) => match drive::read_shard(file) {
                Ok(Some(shard)) => Ok(shard),
                Ok(None) => Err(refused("this node", "the shard file ends early")),
                Err(error) => Err(refused("this node", &error.to_string())),
            },
            Self::Remote { peer, body, buffer } => loop {
                match take_shard(buffer) {
                    Ok(Some(shard)) => return Ok(shard),
                    Ok(None) => {}
                    Err(damaged) => return Err(refused(peer, &damaged.to_string())),
                }
                match timeout(READ_STALL, body.frame()).await {
                    Ok(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data() {
                            buffer.extend_from_slice(&data);
                        }
                    }
                    Ok(Some(Err(error))) => {
                        return Err(Failure::unreachable(peer, error.as_ref()));
                    }
                    Ok(None) => return Err(refused(peer, "the transfer ends early")),
                    Err(_) => return Err(stalled(peer, READ_STALL)),
                }
            },
        }
    }
}

fn refused(peer: &str, cause: &str) -> Failure {
    Failure::Refused {
        peer: peer.to_owned(),
        cause: cause.to_owned(),
    }
}

fn stalled(peer: &str, within: Duration) -> Failure {
    Failure::TimedOut {
        peer: peer.to_owned(),
        within,
    }
}

fn accepted(peer: &str, status: StatusCode) -> Result<(), Failure> {
    match status.is_success() {
        true => Ok(()),
        false => Err(refused(peer, &format!("shards: {status}"))),
    }
}

/// PUT /shards/{drive}/{version}
pub async fn take(
    State(node): State<Node>,
    Path((drive, version)): Path<(usize, String)>,
    body: Body,
) -> Response {
    let Some(drive) = node.drive(drive) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match receive(&drive, &version, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            drive.discard(&version);
            (StatusCode::BAD_REQUEST, error.to_string()).into_response()
        }
    }
}

async fn receive(drive: &Drive, version: &str, body: Body) -> io::Result<()> {
    let mut file = drive.create(version)?;
    let mut body = body.into_data_stream();
    let mut buffer = BytesMut::new();
    while let Some(data) = body.next().await {
        buffer.extend_from_slice(&data.map_err(io::Error::other)?);
        while let Some(shard) = take_shard(&mut buffer)? {
            file.write_all(&framed(&shard))?;
        }
    }
    match buffer.is_empty() {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// GET /shards/{drive}/{version}
pub async fn give(
    State(node): State<Node>,
    Path((drive, version)): Path<(usize, String)>,
    headers: HeaderMap,
) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name).and_then(|text| text.parse::<u64>().ok());
    let (Some(drive), Some(object), Some(row), Some(shard_bytes)) = (
        node.drive(drive),
        text(OBJECT),
        number(ROW),
        number(SHARD_BYTES),
    ) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match drive.read(object, &version, row, shard_bytes as usize) {
        Ok(file) => Body::from_stream(stream::unfold(Some(file), async |file| {
            let mut file = file?;
            match drive::read_shard(&mut file) {
                Ok(None) => None,
                Ok(Some(shard)) => Some((Ok(framed(&shard)), Some(file))),
                Err(error) => Some((Err(error), None)),
            }
        }))
        .into_response(),
        Err(error) => (StatusCode::NOT_FOUND, error.to_string()).into_response(),
    }
}
