//! The file of the overrides that hold. It is replaced as a whole, so that a crash leaves the old
//! one or the new one.

use std::{
    fs::{self, DirBuilder},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::model::{Override, OverrideKind, PeerName, Time};

const NAME: &str = "overrides.json";

/// An override as it is on the disk, where no monotonic clock can be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub peer: PeerName,
    pub kind: OverrideKind,
    pub until: Timestamp,
    pub reason: Arc<str>,
    pub uid: u32,
}

impl Stored {
    /// `now` and `present` are the same moment, on the two clocks.
    pub(super) fn new(peer: &PeerName, held: &Override, now: Time, present: Timestamp) -> Self {
        let until = present.checked_add(held.until.since(now));
        Self {
            peer: peer.clone(),
            kind: held.kind,
            until: until.unwrap_or(Timestamp::MAX),
            reason: Arc::clone(&held.reason),
            uid: held.uid,
        }
    }

    /// The override on the monotonic clock. What was stored before a clock was set back holds no
    /// longer than the longest override.
    pub(super) fn here(self, now: Time, present: Timestamp) -> (PeerName, Override) {
        let left = Duration::try_from(self.until.duration_since(present)).unwrap_or_default();
        let overridden = Override {
            kind: self.kind,
            until: now + left.min(super::LONGEST),
            reason: self.reason,
            uid: self.uid,
        };
        (self.peer, overridden)
    }
}

/// Reads the file; none is there before the first override.
pub(super) fn load(directory: &Path) -> anyhow::Result<Vec<Stored>> {
    let path = directory.join(NAME);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    serde_json::from_slice(&text)
        .with_context(|| format!("{} holds no overrides; remove it", path.display()))
}

/// Replaces the file.
pub(super) fn save(directory: &Path, held: &[Stored]) -> anyhow::Result<()> {
    let path = directory.join(NAME);
    let failed = || {
        format!(
            "cannot write {}; see state_directory in the configuration",
            path.display()
        )
    };
    write(directory, &path, &serde_json::to_vec_pretty(held)?).with_context(failed)
}

fn write(directory: &Path, path: &Path, text: &[u8]) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    // Readable by its owner alone.
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(text)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
