//! The file of the dead peers. It is replaced as a whole, so that a crash leaves the old one or the
//! new one.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::{
    clock,
    core::{Memory, PeerName},
};

const NAME: &str = "dead.json";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    /// Which boot of this machine its times are of.
    boot: String,
    dead: Vec<(PeerName, Vec<Memory>)>,
}

impl Stored {
    pub(super) fn new(dead: &BTreeMap<PeerName, Vec<Memory>>) -> Self {
        let dead = dead.iter();
        Self {
            boot: clock::boot(),
            dead: dead.map(|(peer, of)| (peer.clone(), of.clone())).collect(),
        }
    }
}

/// Reads the file; none is there before the first death, and one of another boot holds nothing.
pub(super) fn load(directory: &Path) -> anyhow::Result<BTreeMap<PeerName, Vec<Memory>>> {
    let path = directory.join(NAME);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let stored: Stored = serde_json::from_slice(&text)
        .with_context(|| format!("{} holds no dead peers; remove it", path.display()))?;
    match stored.boot == clock::boot() {
        true => Ok(stored.dead.into_iter().collect()),
        false => Ok(BTreeMap::new()),
    }
}

/// Replaces the file.
pub(super) fn save(directory: &Path, stored: &Stored) -> anyhow::Result<()> {
    let path = directory.join(NAME);
    let failed = || {
        format!(
            "cannot write {}; see state_directory in the configuration",
            path.display()
        )
    };
    write(directory, &path, stored).with_context(failed)
}

fn write(directory: &Path, path: &Path, stored: &Stored) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut file = NamedTempFile::new_in(directory)?;
    serde_json::to_writer(&mut file, stored)?;
    // Of a machine that crashes nothing is kept: it boots anew.
    file.persist(path)?;
    Ok(())
}
