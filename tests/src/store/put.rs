//! Uploads: acknowledged once a write quorum of drives has every shard and the commit.

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use tokio_stream::{Stream, StreamExt as _};

use super::{
    node::Node,
    proto::Meta,
    quorum::Lock,
    set::{Answers, SetError, last_failure},
    shards::Writer,
    wires::Failure,
};

/// Up to this, an object is whole in its drives' metadata: no shards go by HTTP.
const INLINE_BYTES: usize = 128 << 10;
/// What one row of shards holds.
pub const BLOCK_BYTES: usize = 1 << 20;

/// What was acknowledged.
#[derive(Clone, Debug)]
pub struct Stored {
    pub size: u64,
    pub sha256: Bytes,
    /// Drives that have it.
    pub drives: usize,
}

/// Blocks of a body.
struct Blocks<S> {
    body: S,
    buffer: BytesMut,
    sum: Sha256,
    size: u64,
}

impl<S, E> Blocks<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    /// At most so many bytes, fewer only at the end; empty behind it.
    async fn next(&mut self, bytes: usize) -> Result<Bytes, SetError> {
        while self.buffer.len() < bytes {
            match self.body.next().await {
                Some(Ok(data)) => self.buffer.extend_from_slice(&data),
                Some(Err(error)) => return Err(SetError::Body(error.to_string())),
                None => break,
            }
        }
        let block = self.buffer.split_to(bytes.min(self.buffer.len())).freeze();
        self.sum.update(&block);
        self.size += block.len() as u64;
        Ok(block)
    }
}

/// Stores the body under this name.
pub async fn put<S, E>(node: &Node, object: &str, body: S) -> Result<Stored, SetError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let mut blocks = Blocks {
        body,
        buffer: BytesMut::new(),
        sum: Sha256::new(),
        size: 0,
    };
    let version = node.new_version();
    // One byte more tells whether this is all of it.
    let mut first = blocks.next(INLINE_BYTES + 1).await?;
    let (shards, inline) = if first.len() <= INLINE_BYTES {
        let row = encode(node, &first)?;
        ((0..row.len()).collect(), Some(row))
    } else {
        let rest = blocks.next(BLOCK_BYTES - first.len()).await?;
        first = [first, rest].concat().into();
        (
            stream(node, object, &version, first, &mut blocks).await?,
            None,
        )
    };
    let meta = Meta {
        object: object.to_owned(),
        version,
        size: blocks.size,
        sha256: Bytes::copy_from_slice(&blocks.sum.finalize()),
        data_shards: node.code().data as u32,
        parity_shards: node.code().parity as u32,
        block_bytes: BLOCK_BYTES as u32,
        ..Meta::default()
    };
    let metas = shards.into_iter().map(|shard| {
        let inline = inline
            .as_ref()
            .map_or_else(Bytes::new, |row| row[shard].clone());
        Meta {
            shard: shard as u32,
            crc32: crc32fast::hash(&inline),
            inline,
            ..meta.clone()
        }
    });
    // From here on others could see it.
    let _lock = Lock::acquire(node, object, true).await?;
    let committed = node.commit(metas.collect()).await;
    Ok(Stored {
        size: meta.size,
        sha256: meta.sha256,
        drives: quorum(node, &committed)?,
    })
}

fn encode(node: &Node, block: &[u8]) -> Result<Vec<Bytes>, SetError> {
    let row = node.code().encode(block);
    row.map_err(|error| SetError::Internal(format!("{error:#}")))
}

/// Sends every block to the drives; gives the shards whose drives have all of them.
async fn stream<S, E>(
    node: &Node,
    object: &str,
    version: &str,
    first: Bytes,
    blocks: &mut Blocks<S>,
) -> Result<Vec<usize>, SetError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let mut drives = Drives::open(node, object, version);
    let sent = async {
        let mut block = first;
        while !block.is_empty() {
            drives.write(node, &block).await?;
            block = blocks.next(BLOCK_BYTES).await?;
        }
        drives.finish(node).await
    };
    let sent = sent.await;
    if sent.is_err() {
        drives.abandon();
    }
    sent
}

/// The drives that take part in an upload.
struct Drives {
    writers: Vec<Option<Writer>>,
    failures: Answers<()>,
}

impl Drives {
    fn open(node: &Node, object: &str, version: &str) -> Self {
        let mut drives = Self {
            writers: Vec::new(),
            failures: Vec::new(),
        };
        for shard in 0..node.code().shards() {
            let opened = node.writer(object, shard, version);
            let kept = drives.kept(shard, opened);
            drives.writers.push(kept);
        }
        drives
    }

    async fn write(&mut self, node: &Node, block: &[u8]) -> Result<(), SetError> {
        let row = encode(node, block)?;
        let writes = self
            .writers
            .iter_mut()
            .zip(&row)
            .map(async |(writer, shard)| match writer {
                Some(writer) => writer.write(shard).await,
                None => Ok(()),
            });
        let written = join_all(writes).await;
        for (shard, ended) in written.into_iter().enumerate() {
            if let Err(failure) = ended {
                self.writers[shard] = None;
                self.failures.push((shard, Err(failure)));
            }
        }
        self.enough(node, self.writers.iter().flatten().count())
    }

    async fn finish(&mut self, node: &Node) -> Result<Vec<usize>, SetError> {
        let finished = join_all(
            self.writers
                .iter_mut()
                .map(async |writer| match writer.take() {
                    Some(writer) => Some(writer.finish().await),
                    None => None,
                }),
        )
        .await;
        let mut done = Vec::new();
        for (shard, ended) in finished.into_iter().enumerate() {
            if let Some(ended) = ended
                && self.kept(shard, ended).is_some()
            {
                done.push(shard);
            }
        }
        self.enough(node, done.len())?;
        Ok(done)
    }

    fn kept<T>(&mut self, shard: usize, ended: Result<T, Failure>) -> Option<T> {
        match ended {
            Ok(kept) => Some(kept),
            Err(failure) => {
                self.failures.push((shard, Err(failure)));
                None
            }
        }
    }

    fn enough(&self, node: &Node, taken: usize) -> Result<(), SetError> {
        let needed = node.code().write_quorum();
        if taken >= needed {
            return Ok(());
        }
        Err(SetError::WriteQuorum {
            taken,
            needed,
            last: last_failure(&self.failures),
        })
    }

    fn abandon(self) {
        for writer in self.writers.into_iter().flatten() {
            writer.abandon();
        }
    }
}

/// How many drives did it, if they are enough.
fn quorum(node: &Node, answers: &Answers<()>) -> Result<usize, SetError> {
    let taken = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
    let needed = node.code().write_quorum();
    if taken >= needed {
        return Ok(taken);
    }
    Err(SetError::WriteQuorum {
        taken,
        needed,
        last: last_failure(answers),
    })
}
