//! Uploads: acknowledged when all nodes but one have stored every shard and the commit.

use std::time::Duration;

use bytes::Bytes;
use detector_api::v1::Operation;
use futures_util::future::join_all;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    code::encode,
    locks::Lock,
    node::Node,
    peers::{Failure, Remote},
    proto::{Empty, Meta, Part},
};

/// How long an upload of shards may stand still, in RustFS.
const WRITE_STALL: Duration = Duration::from_secs(30);

/// Stores what the client sends, and returns how many nodes have it.
pub async fn put(node: &Node, mut body: Streaming<Part>) -> Result<u32, Status> {
    let first = body.message().await?;
    let first = first.ok_or_else(|| Status::invalid_argument("an upload without a part"))?;
    let size = first.data.len() as u64;
    let mut meta = Meta {
        object: first.object,
        size,
        row_bytes: size,
        inline: None,
    };
    let row = encode(&first.data, node.peers.nodes());
    let mut next = body.message().await?;
    if next.is_none() {
        // A small object's shards are in its metadata.
        return commit(node, &meta, node.peers.all(), Some(&row)).await;
    }
    let mut uploads = start(node);
    write(node, &mut uploads, &meta.object, &row).await?;
    while let Some(part) = next {
        meta.size += part.data.len() as u64;
        let row = encode(&part.data, node.peers.nodes());
        write(node, &mut uploads, &meta.object, &row).await?;
        next = body.message().await?;
    }
    commit(node, &meta, finish(uploads).await, None).await
}

/// From here on others can see it.
async fn commit(
    node: &Node,
    meta: &Meta,
    nodes: Vec<usize>,
    inline: Option<&[Bytes]>,
) -> Result<u32, Status> {
    let _lock = Lock::acquire(node, &meta.object).await?;
    let commit = |number: usize, mut peer: Remote| {
        let inline = inline.map(|row| row[number].clone());
        let meta = Meta {
            inline,
            ..meta.clone()
        };
        async move { peer.commit(meta).await }
    };
    let answers = node.peers.call_all(nodes, Operation::Control, commit).await;
    let (done, failed): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, a)| a.is_ok());
    let last = failed.last().and_then(|(_, answer)| answer.as_ref().err());
    node.quorum(done.len(), last)?;
    Ok(done.len() as u32)
}

/// A stream of shards to one node.
struct Upload {
    to: usize,
    rows: mpsc::Sender<Part>,
    answer: JoinHandle<Result<Empty, Failure>>,
}

fn start(node: &Node) -> Vec<Upload> {
    let start = |to| {
        let (rows, body) = mpsc::channel(1);
        let node = node.clone();
        let write = |mut peer: Remote| async move { peer.write(ReceiverStream::new(body)).await };
        let upload = async move { node.peers.call(to, Operation::Bulk, write).await };
        let answer = tokio::spawn(upload);
        Upload { to, rows, answer }
    };
    node.peers.all().into_iter().map(start).collect()
}

/// A stream that does not take the row is given up.
async fn write(
    node: &Node,
    uploads: &mut Vec<Upload>,
    object: &str,
    row: &[Bytes],
) -> Result<(), Status> {
    let sent = uploads.iter().map(|upload| {
        let (object, data) = (object.to_owned(), row[upload.to].clone());
        let part = Part { object, data };
        upload.rows.send_timeout(part, WRITE_STALL)
    });
    let mut sent = join_all(sent).await.into_iter();
    uploads.retain(|_| sent.next().is_some_and(|sent| sent.is_ok()));
    node.quorum(uploads.len(), None)
}

/// The nodes that have every row.
async fn finish(uploads: Vec<Upload>) -> Vec<usize> {
    let ended = uploads.into_iter().map(|upload| async move {
        drop(upload.rows);
        let answer = timeout(WRITE_STALL, upload.answer).await;
        matches!(answer, Ok(Ok(Ok(Empty {})))).then_some(upload.to)
    });
    join_all(ended).await.into_iter().flatten().collect()
}
