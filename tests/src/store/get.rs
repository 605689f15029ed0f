//! Downloads: from all nodes but one, whichever have the object.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use detector_api::v1::Operation;
use futures_util::future::join_all;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

use super::{
    code::decode,
    locks::Lock,
    node::Node,
    peers::Remote,
    proto::{Meta, Name, Part, ReadRequest},
};

/// How long a download of shards may stand still, in RustFS.
const READ_STALL: Duration = Duration::from_secs(10);

type To = mpsc::Sender<Result<Part, Status>>;
type Shard = (usize, Bytes);

/// Finds the object under a shared lock, which is kept until the data has been given.
pub async fn get(
    node: &Node,
    operation: Operation,
    object: String,
) -> Result<mpsc::Receiver<Result<Part, Status>>, Status> {
    let lock = Lock::acquire(node, &object, false).await?;
    let metas = find(node, operation, object).await?;
    let (to, parts) = mpsc::channel(1);
    let node = node.clone();
    tokio::spawn(async move {
        let _lock = lock;
        if let Err(error) = give(&node, metas, &to).await {
            let _gone = to.send(Err(error)).await;
        }
    });
    Ok(parts)
}

/// The metadata by the shards that their nodes have, data before parity.
async fn find(
    node: &Node,
    operation: Operation,
    name: String,
) -> Result<Vec<(usize, Meta)>, Status> {
    let read = |_, mut peer: Remote| {
        let name = name.clone();
        async move { peer.read_meta(Name { name }).await }
    };
    let answers = node
        .peers()
        .call_all(0..node.nodes(), operation, read)
        .await;
    let (mut metas, mut last) = (Vec::new(), None);
    for (number, answer) in answers {
        match answer {
            Ok(found) => metas.extend(found.meta.map(|meta| (node.shard_of(number), meta))),
            Err(failure) => last = Some(failure),
        }
    }
    node.quorum(metas.len(), last.as_ref())?;
    metas.sort_by_key(|(shard, _)| *shard);
    Ok(metas)
}

async fn give(node: &Node, metas: Vec<(usize, Meta)>, to: &To) -> Result<(), Status> {
    let (meta, needed) = (metas[0].1.clone(), node.nodes() - 1);
    if meta.inline.is_some() {
        let inline = |(shard, meta): (usize, Meta)| Some((shard, meta.inline?));
        let row: Vec<Shard> = metas.into_iter().filter_map(inline).take(needed).collect();
        let _gone = to.send(Ok(part(&row, meta.size))).await;
        return Ok(());
    }
    let mut shards: Vec<usize> = metas.iter().map(|(shard, _)| *shard).collect();
    let mut row = 0;
    while let Err(failed) = stream(node, &meta, &shards[..needed], &mut row, to).await {
        shards.retain(|shard| !failed.contains(shard));
        node.quorum(shards.len(), None)?;
    }
    Ok(())
}

/// Gives the rows from this one on, or says which shards cannot be read any more.
async fn stream(
    node: &Node,
    meta: &Meta,
    shards: &[usize],
    row: &mut u64,
    to: &To,
) -> Result<(), Vec<usize>> {
    let opened = shards
        .iter()
        .map(|&shard| (shard, open(node, shard, &meta.object, *row)));
    let mut streams = all(opened).await?;
    while *row * meta.row_bytes < meta.size {
        let parts = streams
            .iter_mut()
            .map(|(shard, stream)| (*shard, next(stream)));
        let shards = all(parts).await?;
        let length = meta.row_bytes.min(meta.size - *row * meta.row_bytes);
        if to.send(Ok(part(&shards, length))).await.is_err() {
            break;
        }
        *row += 1;
    }
    Ok(())
}

/// All that came in time, or the shards of which it did not.
async fn all<T, F>(reads: impl Iterator<Item = (usize, F)>) -> Result<Vec<(usize, T)>, Vec<usize>>
where
    F: Future<Output = Result<T, Status>>,
{
    let read = reads.map(|(shard, read)| async move {
        let read = timeout(READ_STALL, read).await;
        read.ok()
            .and_then(Result::ok)
            .map(|read| (shard, read))
            .ok_or(shard)
    });
    let (read, failed): (Vec<_>, Vec<_>) =
        join_all(read).await.into_iter().partition(Result::is_ok);
    match failed.is_empty() {
        true => Ok(read.into_iter().flatten().collect()),
        false => Err(failed.into_iter().filter_map(Result::err).collect()),
    }
}

async fn open(
    node: &Node,
    shard: usize,
    object: &str,
    row: u64,
) -> Result<Streaming<Part>, Status> {
    let object = object.to_owned();
    let read = |mut peer: Remote| async move { peer.read(ReadRequest { object, row }).await };
    let opened = node
        .peers()
        .call(node.node_of(shard), Operation::Bulk, read)
        .await;
    opened.map_err(|failure| Status::unavailable(failure.to_string()))
}

async fn next(stream: &mut Streaming<Part>) -> Result<Bytes, Status> {
    let part = stream.message().await?;
    let part = part.ok_or_else(|| Status::data_loss("a download ends early"))?;
    Ok(part.data)
}

fn part(row: &[Shard], length: u64) -> Part {
    Part {
        object: String::new(),
        data: decode(row, length as usize).into(),
    }
}
