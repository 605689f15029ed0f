//! The audit log: one JSON object a line, for each override that was set or has ended.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;

use super::Caller;
use crate::{
    clock,
    model::{Override, OverrideEnd, OverrideKind, PeerName},
};

/// The size from which a new file is begun. The one before is kept, and no more than that.
const FULL: u64 = 1 << 20;

/// One line.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Action {
    at: Timestamp,
    action: &'static str,
    peer: PeerName,
    kind: OverrideKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    /// The administrator's own words.
    reason: Arc<str>,
    /// Why it has ended: "administrator" or a word of [`OverrideEnd`].
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    /// Who has done it; nobody, if it has ended by itself.
    #[serde(flatten)]
    by: Option<By>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct By {
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
}

impl From<Caller> for By {
    fn from(Caller { uid, gid, pid }: Caller) -> Self {
        Self { uid, gid, pid }
    }
}

impl Action {
    fn new(action: &'static str, peer: &PeerName, held: &Override) -> Self {
        Self {
            at: clock::present(),
            action,
            peer: peer.clone(),
            kind: held.kind,
            until: None,
            reason: Arc::clone(&held.reason),
            why: None,
            by: None,
        }
    }

    pub(super) fn set(peer: &PeerName, held: &Override, caller: Caller) -> Self {
        let left = held.until.since(clock::now());
        let action = Self::new("set", peer, held);
        Self {
            until: action.at.checked_add(left).ok(),
            by: Some(caller.into()),
            ..action
        }
    }

    pub(super) fn ended_by(peer: &PeerName, held: &Override, caller: Caller) -> Self {
        Self {
            why: Some("administrator"),
            by: Some(caller.into()),
            ..Self::new("ended", peer, held)
        }
    }

    pub(super) fn ended(peer: &PeerName, held: &Override, why: OverrideEnd) -> Self {
        Self {
            why: Some(why.as_str()),
            ..Self::new("ended", peer, held)
        }
    }
}

#[derive(Debug)]
pub(super) struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self {
            path: directory.join("audit.log"),
        }
    }

    /// Appends to the file. It is opened anew each time, so that others may move it away.
    pub(super) fn append(&mut self, actions: &[Action]) -> anyhow::Result<()> {
        self.try_append(actions)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn try_append(&self, actions: &[Action]) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for action in actions {
            serde_json::to_writer(&mut lines, action)?;
            lines.push(b'\n');
        }
        let mut file = self.open()?;
        if file.metadata()?.len() >= FULL {
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
            file = self.open()?;
        }
        file.write_all(&lines)?;
        file.sync_data()?;
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
    }
}
