//! Uploads: acknowledged once all nodes but one have every shard and the commit.

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
    let row = encode(&first.data, node.nodes());
    let mut next = body.message().await?;
    if next.is_none() {
        // A small object's shards are in its metadata.
        return commit(node, &meta, (0..node.nodes()).collect(), Some(&row)).await;
    }
    let mut uploads = Uploads::start(node, &meta.object);
    uploads.write(&row).await?;
    while let Some(part) = next {
        meta.size += part.data.len() as u64;
        uploads.write(&encode(&part.data, node.nodes())).await?;
        next = body.message().await?;
    }
    let nodes = uploads.finish().await?;
    commit(node, &meta, nodes, None).await
}

/// From here on others can see it.
async fn commit(
    node: &Node,
    meta: &Meta,
    nodes: Vec<usize>,
    inline: Option<&[Bytes]>,
) -> Result<u32, Status> {
    let _lock = Lock::acquire(node, &meta.object, true).await?;
    let commit = |number, mut peer: Remote| {
        let inline = inline.map(|row| row[node.shard_of(number)].clone());
        let meta = Meta {
            inline,
            ..meta.clone()
        };
        async move { peer.commit(meta).await }
    };
    let answers = node
        .peers()
        .call_all(nodes, Operation::Control, commit)
        .await;
    let (done, failed): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, a)| a.is_ok());
    let last = failed.last().and_then(|(_, answer)| answer.as_ref().err());
    node.quorum(done.len(), last)?;
    Ok(done.len() as u32)
}

/// A stream of shards to each node that has taken all so far.
struct Uploads<'a> {
    node: &'a Node,
    object: &'a str,
    open: Vec<Upload>,
}

struct Upload {
    to: usize,
    rows: mpsc::Sender<Part>,
    answer: JoinHandle<Result<Empty, Failure>>,
}

impl<'a> Uploads<'a> {
    fn start(node: &'a Node, object: &'a str) -> Self {
        let open = (0..node.nodes()).map(|to| {
            let (rows, body) = mpsc::channel(1);
            let answer = tokio::spawn(upload(node.clone(), to, body));
            Upload { to, rows, answer }
        });
        let open = open.collect();
        Self { node, object, open }
    }

    async fn write(&mut self, row: &[Bytes]) -> Result<(), Status> {
        let sent = self.open.iter().map(|upload| {
            let data = row[self.node.shard_of(upload.to)].clone();
            let object = self.object.to_owned();
            upload.rows.send_timeout(Part { object, data }, WRITE_STALL)
        });
        let mut sent = join_all(sent).await.into_iter();
        self.open
            .retain(|_| sent.next().is_some_and(|sent| sent.is_ok()));
        self.node.quorum(self.open.len(), None)
    }

    /// The nodes that have every row.
    async fn finish(self) -> Result<Vec<usize>, Status> {
        let ended = self.open.into_iter().map(|upload| async move {
            drop(upload.rows);
            let answer = timeout(WRITE_STALL, upload.answer).await;
            matches!(answer, Ok(Ok(Ok(Empty {})))).then_some(upload.to)
        });
        let done: Vec<usize> = join_all(ended).await.into_iter().flatten().collect();
        self.node.quorum(done.len(), None)?;
        Ok(done)
    }
}

async fn upload(node: Node, to: usize, rows: mpsc::Receiver<Part>) -> Result<Empty, Failure> {
    let write = |mut peer: Remote| async move { peer.write(ReceiverStream::new(rows)).await };
    node.peers().call(to, Operation::Bulk, write).await
}
