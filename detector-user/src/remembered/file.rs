//! The file of the dead peers. It is replaced as a whole, so that a crash leaves the old one or the
//! new one.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::{
    clock,
    model::{Memory, PeerName},
};

const NAME: &str = "dead.json";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Which boot of this machine its times are of.
    boot: String,
    dead: Vec<(PeerName, Vec<Memory>)>,
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
pub(super) fn save(directory: &Path, dead: &BTreeMap<PeerName, Vec<Memory>>) -> anyhow::Result<()> {
    let dead = dead.iter();
    let stored = Stored {
        boot: clock::boot(),
        dead: dead.map(|(peer, of)| (peer.clone(), of.clone())).collect(),
    };
    let path = directory.join(NAME);
    let failed = || {
        format!(
            "cannot write {}; see state_directory in the configuration",
            path.display()
        )
    };
    write(directory, &path, &serde_json::to_vec(&stored)?).with_context(failed)
}

fn write(directory: &Path, path: &Path, text: &[u8]) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(text)?;
    // Of a machine that crashes nothing is kept: it boots anew.
    file.persist(path)?;
    Ok(())
}
