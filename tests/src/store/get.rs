//! Downloads: the newest version that a read quorum of drives has, from any drives that give it.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{
    node::Node,
    proto::Meta,
    quorum::Lock,
    set::{SetError, last_failure},
    shards::Reader,
    wires::{Class, Failure},
};

/// An object that is found, its data to come.
#[derive(Debug)]
pub struct Found {
    pub meta: Meta,
    pub data: mpsc::Receiver<Result<Bytes, SetError>>,
}

/// Finds it under a shared lock, which is kept until the data has been given.
pub async fn get(node: &Node, class: Class, object: &str) -> Result<Found, SetError> {
    let lock = Lock::acquire(node, object, false).await?;
    let shards = newest(node, class, object).await?;
    let meta = shards[0].clone();
    let (to, data) = mpsc::channel(1);
    let node = node.clone();
    tokio::spawn(async move {
        let _lock = lock;
        let given = if shards[0].inline.is_empty() && shards[0].size > 0 {
            stream(&node, shards, &to).await
        } else {
            inline(&node, &shards, &to).await
        };
        if let Err(error) = given {
            let _gone = to.send(Err(error)).await;
        }
    });
    Ok(Found { meta, data })
}

/// The whole object, for small ones.
pub async fn read(node: &Node, class: Class, object: &str) -> Result<Bytes, SetError> {
    let mut found = get(node, class, object).await?;
    let mut whole = Vec::new();
    while let Some(data) = found.data.recv().await {
        whole.extend_from_slice(&data?);
    }
    match Sha256::digest(&whole)[..] == found.meta.sha256 {
        true => Ok(whole.into()),
        false => Err(SetError::Damaged(object.to_owned())),
    }
}

/// The metadata of all its shards that can be read.
async fn newest(node: &Node, class: Class, object: &str) -> Result<Vec<Meta>, SetError> {
    let answers = node.read_meta(class, object).await;
    let needed = node.code().data;
    let mut versions: BTreeMap<&str, Vec<&Meta>> = BTreeMap::new();
    for meta in answers
        .iter()
        .flat_map(|(_, answer)| answer.iter().flatten())
    {
        versions.entry(&meta.version).or_default().push(meta);
    }
    let whole = versions.values().rev().find(|metas| metas.len() >= needed);
    if let Some(metas) = whole {
        return Ok(metas.iter().map(|&meta| meta.clone()).collect());
    }
    let readable = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
    if readable >= needed && versions.is_empty() {
        return Err(SetError::NotFound(object.to_owned()));
    }
    Err(SetError::ReadQuorum {
        readable: versions.values().map(Vec::len).max().unwrap_or(readable),
        needed,
        last: last_failure(&answers),
    })
}

type To = mpsc::Sender<Result<Bytes, SetError>>;

async fn inline(node: &Node, shards: &[Meta], to: &To) -> Result<(), SetError> {
    let row: Vec<(usize, Bytes)> = shards
        .iter()
        .take(node.code().data)
        .map(|meta| (meta.shard as usize, meta.inline.clone()))
        .collect();
    let block = decode(node, &row, shards[0].size as usize)?;
    let _gone = to.send(Ok(block)).await;
    Ok(())
}

async fn stream(node: &Node, shards: Vec<Meta>, to: &To) -> Result<(), SetError> {
    let (size, block_bytes) = (shards[0].size, u64::from(shards[0].block_bytes.max(1)));
    let mut drives = Drives::new(node, shards);
    for row in 0..size.div_ceil(block_bytes) {
        let shards = drives.read(row).await?;
        let length = block_bytes.min(size - row * block_bytes) as usize;
        let block = decode(node, &shards, length)?;
        if to.send(Ok(block)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn decode(node: &Node, shards: &[(usize, Bytes)], length: usize) -> Result<Bytes, SetError> {
    let block = node.code().decode(shards, length);
    block.map_err(|error| SetError::Internal(format!("{error:#}")))
}

/// The drives that a download is read from, and those in reserve.
struct Drives<'a> {
    node: &'a Node,
    reading: Vec<(Meta, Option<Reader>)>,
    /// To be taken from the end.
    spare: Vec<Meta>,
    last: String,
}

impl<'a> Drives<'a> {
    /// Own drives first, then data before parity.
    fn new(node: &'a Node, mut shards: Vec<Meta>) -> Self {
        shards.sort_by_key(|meta| {
            let at = node.place(&meta.object, meta.shard as usize);
            (at.node != node.number(), meta.shard)
        });
        let mut spare = shards.split_off(node.code().data.min(shards.len()));
        spare.reverse();
        Self {
            node,
            reading: shards.into_iter().map(|meta| (meta, None)).collect(),
            spare,
            last: String::new(),
        }
    }

    /// A row of as many shards as it takes; a drive that fails is replaced.
    async fn read(&mut self, row: u64) -> Result<Vec<(usize, Bytes)>, SetError> {
        let node = self.node;
        let mut shards: Vec<(usize, Bytes)> = Vec::new();
        let mut wanted: Vec<usize> = (0..self.reading.len()).collect();
        loop {
            let reads = self.reading.iter_mut().enumerate();
            let reads = reads.filter(|(place, _)| wanted.contains(place));
            let read = join_all(reads.map(async |(place, (meta, reader))| {
                (
                    place,
                    meta.shard as usize,
                    next(node, meta, reader, row).await,
                )
            }))
            .await;
            wanted.clear();
            for (place, shard, bytes) in read {
                match bytes {
                    Ok(bytes) => shards.push((shard, bytes)),
                    Err(failure) => {
                        self.last = failure.to_string();
                        wanted.push(place);
                    }
                }
            }
            if wanted.is_empty() {
                return Ok(shards);
            }
            for &place in &wanted {
                let spare = self.spare.pop().ok_or_else(|| SetError::ReadQuorum {
                    readable: shards.len(),
                    needed: node.code().data,
                    last: self.last.clone(),
                })?;
                self.reading[place] = (spare, None);
            }
        }
    }
}

async fn next(
    node: &Node,
    meta: &Meta,
    reader: &mut Option<Reader>,
    row: u64,
) -> Result<Bytes, Failure> {
    let reader = match reader {
        Some(reader) => reader,
        None => reader.insert(node.reader(meta, row).await?),
    };
    reader.read().await
}
