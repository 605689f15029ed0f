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

use crate::{
    clock,
    model::{Override, OverrideKind, PeerName, Time},
};

const NAME: &str = "overrides.json";

/// An override as it is on the disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub peer: PeerName,
    pub kind: OverrideKind,
    /// By the wall clock, which may be set: it counts after another boot only.
    pub until: Timestamp,
    /// The same moment by the clock of this boot, which nobody sets.
    #[serde(default)]
    pub in_boot: Option<InBoot>,
    pub reason: Arc<str>,
    pub uid: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InBoot {
    pub boot: String,
    pub until: Time,
}

/// One moment, on both clocks.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub now: Time,
    pub present: Timestamp,
    /// The boot of which `now` is.
    pub boot: String,
}

impl Moment {
    pub(super) fn this() -> Self {
        Self {
            now: clock::now(),
            present: clock::present(),
            boot: clock::boot(),
        }
    }
}

impl Stored {
    pub(super) fn new(peer: &PeerName, held: &Override, at: &Moment) -> Self {
        let until = at.present.checked_add(held.until.since(at.now));
        Self {
            peer: peer.clone(),
            kind: held.kind,
            until: until.unwrap_or(Timestamp::MAX),
            in_boot: Some(InBoot {
                boot: at.boot.clone(),
                until: held.until,
            }),
            reason: Arc::clone(&held.reason),
            uid: held.uid,
        }
    }

    /// The override on the monotonic clock. What an earlier boot stored before a clock was set back
    /// holds no longer than the longest override.
    pub(super) fn here(self, at: &Moment) -> (PeerName, Override) {
        let by_wall = Duration::try_from(self.until.duration_since(at.present));
        let left = match self.in_boot {
            Some(InBoot { boot, until }) if boot == at.boot => until.since(at.now),
            _ => by_wall.unwrap_or_default(),
        };
        let overridden = Override {
            kind: self.kind,
            until: at.now + left.min(super::LONGEST),
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
