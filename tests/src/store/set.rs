//! The erasure set: what is asked of every drive, whichever node it is on.

use futures_util::future::join_all;

use super::{
    node::{DriveAt, Node},
    proto::{CommitRequest, Meta, ReadMetaRequest},
    quorum::LockError,
    shards::{Reader, Upload, Writer},
    wires::{Class, Control, Failure},
};

/// Why an operation on the whole set failed.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("there is no {0}")]
    NotFound(String),
    #[error("{taken} of {needed} drives took the write: {last}")]
    WriteQuorum {
        taken: usize,
        needed: usize,
        last: String,
    },
    #[error("{readable} of {needed} drives can be read: {last}")]
    ReadQuorum {
        readable: usize,
        needed: usize,
        last: String,
    },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("the client's upload broke off: {0}")]
    Body(String),
    #[error("{0} differs from its checksum")]
    Damaged(String),
    #[error("{0}")]
    Internal(String),
}

/// What the drives said, by the numbers of the shards.
pub type Answers<T> = Vec<(usize, Result<T, Failure>)>;

/// The last failure among them, in words.
pub fn last_failure<T>(answers: &Answers<T>) -> String {
    let failures = answers.iter().rev();
    failures
        .filter_map(|(_, answer)| answer.as_ref().err())
        .map(ToString::to_string)
        .next()
        .unwrap_or_else(|| "no drive failed".to_owned())
}

impl Node {
    /// What all drives have of an object. Waits for every one of them, as RustFS does.
    pub async fn read_meta(&self, class: Class, object: &str) -> Answers<Vec<Meta>> {
        join_all((0..self.code().shards()).map(async |shard| {
            let at = self.place(object, shard);
            (shard, self.read_one_meta(class, at, object).await)
        }))
        .await
    }

    async fn read_one_meta(
        &self,
        class: Class,
        at: DriveAt,
        object: &str,
    ) -> Result<Vec<Meta>, Failure> {
        let Some(peer) = self.peer_of(at)? else {
            let drive = self.local(at)?;
            return drive.versions(object).map_err(|error| own(&error));
        };
        let call = |mut control: Control| {
            let request = ReadMetaRequest {
                drive: at.drive as u32,
                object: object.to_owned(),
            };
            async move { control.read_meta(request).await }
        };
        let answer = self.wires().call(class, peer, call).await?;
        Ok(answer.versions)
    }

    /// Makes the version visible on the drives of these shards, with what is each one's own.
    pub async fn commit(&self, metas: Vec<Meta>) -> Answers<()> {
        join_all(metas.into_iter().map(async |meta| {
            let shard = meta.shard as usize;
            (shard, self.commit_one(meta).await)
        }))
        .await
    }

    async fn commit_one(&self, meta: Meta) -> Result<(), Failure> {
        let at = self.place(&meta.object, meta.shard as usize);
        let Some(peer) = self.peer_of(at)? else {
            return self.local(at)?.commit(&meta).map_err(|error| own(&error));
        };
        let call = |mut control: Control| {
            let request = CommitRequest {
                drive: at.drive as u32,
                meta: Some(meta.clone()),
            };
            async move { control.commit(request).await }
        };
        self.wires().call(Class::Control, peer, call).await?;
        Ok(())
    }

    /// Where a shard of a new version goes.
    pub fn writer(&self, object: &str, shard: usize, version: &str) -> Result<Writer, Failure> {
        let at = self.place(object, shard);
        let Some(peer) = self.peer_of(at)? else {
            let drive = self.local(at)?;
            let file = drive.create(version).map_err(|error| own(&error))?;
            return Ok(Writer::Local(drive, version.to_owned(), file));
        };
        let upload = Upload::start(self.wires(), peer, at.drive, version);
        Ok(Writer::Remote(upload))
    }

    /// The shards of one drive, from this row on.
    pub async fn reader(&self, meta: &Meta, row: u64) -> Result<Reader, Failure> {
        let at = self.place(&meta.object, meta.shard as usize);
        let shard_bytes = self.code().shard_bytes(meta.block_bytes as usize);
        match self.peer_of(at)? {
            None => {
                let drive = self.local(at)?;
                let file = drive.read(&meta.object, &meta.version, row, shard_bytes);
                file.map(Reader::Local).map_err(|error| own(&error))
            }
            Some(peer) => {
                Reader::remote(self.wires(), peer, at.drive, meta, row, shard_bytes).await
            }
        }
    }

    /// The peer that has the drive, if it is not this node's own and is not known to be off.
    fn peer_of(&self, at: DriveAt) -> Result<Option<&str>, Failure> {
        if at.node == self.number() {
            return Ok(None);
        }
        let peer = &self.nodes()[at.node];
        match self.wires().drives_are_off(peer) {
            Some(failure) => Err(failure),
            None => Ok(Some(peer)),
        }
    }

    fn local(&self, at: DriveAt) -> Result<super::drive::Drive, Failure> {
        self.drive(at.drive).ok_or_else(|| Failure::Refused {
            peer: self.url().to_owned(),
            cause: format!("there is no drive {}", at.drive),
        })
    }
}

fn own(error: &std::io::Error) -> Failure {
    Failure::Refused {
        peer: "this node".to_owned(),
        cause: error.to_string(),
    }
}
