//! Downloads: from all nodes but one, whichever have the object.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use detector_api::v1::Operation;
use futures_util::future::join_all;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

use super::{
    code::{PARITY, decode},
    node::Node,
    peers::Remote,
    proto::{Meta, Name, Part, ReadRequest},
};

/// How long a download of shards may stand still, in RustFS.
const READ_STALL: Duration = Duration::from_secs(10);

type To = mpsc::Sender<Result<Part, Status>>;
type Shard = (usize, Bytes);

pub async fn get(
    node: &Node,
    operation: Operation,
    object: String,
) -> Result<mpsc::Receiver<Result<Part, Status>>, Status> {
    let metas = find(node, operation, object).await?;
    let (to, parts) = mpsc::channel(1);
    let node = node.clone();
    tokio::spawn(async move {
        if let Err(error) = give(&node, metas, &to).await {
            let _gone = to.send(Err(error)).await;
        }
    });
    Ok(parts)
}

/// What the nodes have of the object, data before parity.
async fn find(
    node: &Node,
    operation: Operation,
    name: String,
) -> Result<Vec<(usize, Meta)>, Status> {
    let read = |_, mut peer: Remote| {
        let name = name.clone();
        async move { peer.read_meta(Name { name }).await }
    };
    let all = node.peers.all();
    let (mut metas, mut last) = (Vec::new(), None);
    for (number, answer) in node.peers.call_all(all, operation, read).await {
        match answer {
            Ok(found) => metas.extend(found.meta.map(|meta| (number, meta))),
            Err(failure) => last = Some(failure),
        }
    }
    node.quorum(metas.len(), last.as_ref())?;
    metas.sort_by_key(|(number, _)| *number == PARITY);
    Ok(metas)
}

async fn give(node: &Node, metas: Vec<(usize, Meta)>, to: &To) -> Result<(), Status> {
    let (meta, needed) = (metas[0].1.clone(), node.peers.nodes() - 1);
    let mut nodes: Vec<usize> = metas.iter().map(|(number, _)| *number).collect();
    if meta.inline.is_some() {
        let shards = metas
            .into_iter()
            .map(|(_, meta)| meta.inline.unwrap_or_default());
        let row: Vec<Shard> = nodes.into_iter().zip(shards).take(needed).collect();
        let _gone = to.send(Ok(part(&row, meta.size))).await;
        return Ok(());
    }
    let mut row = 0;
    while let Err(failed) = stream(node, &meta, &nodes[..needed], &mut row, to).await {
        nodes.retain(|number| !failed.contains(number));
        node.quorum(nodes.len(), None)?;
    }
    Ok(())
}

/// Gives the rows from this one on, or says which nodes cannot be read any more.
async fn stream(
    node: &Node,
    meta: &Meta,
    nodes: &[usize],
    row: &mut u64,
    to: &To,
) -> Result<(), Vec<usize>> {
    let opened = nodes
        .iter()
        .map(|&from| (from, open(node, from, &meta.object, *row)));
    let mut streams = all(opened).await?;
    while *row * meta.row_bytes < meta.size {
        let parts = streams
            .iter_mut()
            .map(|(from, stream)| (*from, next(stream)));
        let shards = all(parts).await?;
        let length = meta.row_bytes.min(meta.size - *row * meta.row_bytes);
        if to.send(Ok(part(&shards, length))).await.is_err() {
            break;
        }
        *row += 1;
    }
    Ok(())
}

/// All that came in time, or the nodes from which it did not.
async fn all<T>(
    reads: impl Iterator<Item = (usize, impl Future<Output = Option<T>>)>,
) -> Result<Vec<(usize, T)>, Vec<usize>> {
    let read = reads.map(|(from, read)| async move {
        let read = timeout(READ_STALL, read).await.ok().flatten();
        read.map(|read| (from, read)).ok_or(from)
    });
    let read = join_all(read).await;
    let failed: Vec<usize> = read
        .iter()
        .filter_map(|read| read.as_ref().err().copied())
        .collect();
    match failed.is_empty() {
        true => Ok(read.into_iter().flatten().collect()),
        false => Err(failed),
    }
}

async fn open(node: &Node, from: usize, object: &str, row: u64) -> Option<Streaming<Part>> {
    let object = object.to_owned();
    let read = |mut peer: Remote| async move { peer.read(ReadRequest { object, row }).await };
    node.peers.call(from, Operation::Bulk, read).await.ok()
}

async fn next(stream: &mut Streaming<Part>) -> Option<Bytes> {
    let part = stream.message().await.ok()??;
    Some(part.data)
}

fn part(row: &[Shard], length: u64) -> Part {
    let object = String::new();
    let data = decode(row, length as usize).into();
    Part { object, data }
}
