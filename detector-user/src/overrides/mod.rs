//! Administrators' overrides of breakers: who may set them, keeping them over a restart, and the
//! audit log.
//!
//! The core applies an override and ends it ([`Detector::set_override`](crate::core::Detector)).
//! [`Overrides`] is the loop's list of those that hold. Files are written by a thread of their own:
//!
//! ```text
//! administrators   who may override
//! file             DIRECTORY/overrides.json: those that hold
//! audit            DIRECTORY/audit.log: each that was set or has ended, by whom and why
//! ```

mod administrators;
mod audit;
mod file;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, convert::Infallible, io, mem, path::Path, time::Duration};

use thiserror::Error;
use tokio::sync::oneshot;
use tracing::{info, warn};

pub use self::administrators::{Administrators, Caller, UnknownAdministrator};
use self::{
    audit::{Action, AuditLog},
    file::{Moment, Stored},
};
use crate::{
    clock,
    model::{Override, OverrideEnd, OverrideKind, PeerName, Time},
    worker::{Inbox, Worker},
};

/// The longest that an override may hold: one that is forgotten must end by itself.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The most actions that wait for the disk; those beyond are not in the audit log.
const MOST_WAITING: usize = 1024;

/// The most bytes of an administrator's own words.
pub const LONGEST_REASON: usize = 256;

/// An administrator's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Set {
        kind: OverrideKind,
        lasts: Duration,
        reason: String,
    },
    End,
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OverrideError {
    #[error("no such peer is watched; `detector peers` lists them")]
    UnknownPeer,
    #[error("the peer has no override")]
    NoOverride,
    #[error("{0} peers have overrides, and that is the most (max_peers); end some of them")]
    TooMany(usize),
}

/// A command was carried out; the error says why it would not outlast a restart of the daemon, or
/// is not in the audit log.
pub type Written = Result<(), String>;

/// Where the answer to a command goes.
pub type Reply = oneshot::Sender<Result<Written, OverrideError>>;

/// The overrides that hold, also those of peers that are not watched at the moment.
#[derive(Debug)]
pub struct Overrides {
    held: BTreeMap<PeerName, Override>,
    most: usize,
    writer: Worker<Pending>,
}

/// What waits for the disk.
#[derive(Debug, Default)]
struct Pending {
    /// The overrides that hold now.
    held: Option<Vec<Stored>>,
    actions: Vec<Action>,
    replies: Vec<Reply>,
}

impl Overrides {
    /// Reads those that were kept in the directory and still hold. A file that cannot be read is
    /// reported, and holds none.
    pub fn start(directory: &Path, most: usize) -> io::Result<Self> {
        let at = Moment::this();
        let stored = file::load(directory).unwrap_or_else(|error| {
            warn!(error = format!("{error:#}"), "no kept override is applied");
            Vec::new()
        });
        let held = stored.into_iter().filter_map(|stored| {
            let (peer, overridden) = stored.here(&at);
            info!(%peer, kind = overridden.kind.as_str(), "a kept override");
            (overridden.until > at.now).then_some((peer, overridden))
        });
        let held = held.collect();
        let directory = directory.to_owned();
        let writer = Worker::optional("overrides", Inbox::new(Pending::default()), move |inbox| {
            let mut audit = AuditLog::in_directory(&directory);
            while let Some(pending) = inbox.wait(Pending::take) {
                pending.write(&directory, &mut audit);
            }
            Ok::<_, Infallible>(())
        })?;
        Ok(Self { held, most, writer })
    }

    /// Whether there is room for an override of the peer.
    pub fn admits(&self, peer: &PeerName) -> Result<(), OverrideError> {
        match self.held.len() >= self.most && !self.held.contains_key(peer) {
            true => Err(OverrideError::TooMany(self.held.len())),
            false => Ok(()),
        }
    }

    /// The override that holds for the peer.
    pub fn of(&self, peer: &PeerName) -> Option<&Override> {
        self.held.get(peer)
    }

    /// An administrator has set an override. The reply is sent when it is on the disk.
    pub fn set(&mut self, peer: &PeerName, overridden: Override, caller: Caller, reply: Reply) {
        info!(
            %peer,
            kind = overridden.kind.as_str(),
            lasts = ?overridden.until.since(clock::now()),
            reason = &*overridden.reason,
            uid = caller.uid,
            "override set"
        );
        let action = Action::set(peer, &overridden, caller);
        self.held.insert(peer.clone(), overridden);
        self.write(action, Some(reply));
    }

    /// An administrator has ended the peer's override.
    pub fn end(&mut self, peer: &PeerName, caller: Caller, reply: Reply) {
        let Some(ended) = self.held.remove(peer) else {
            // A client that no longer waits for its answer is no error.
            let _ = reply.send(Err(OverrideError::NoOverride));
            return;
        };
        info!(%peer, kind = ended.kind.as_str(), uid = caller.uid, "override ended");
        self.write(Action::ended_by(peer, &ended, caller), Some(reply));
    }

    /// The peer's override has ended by itself.
    pub fn ended(&mut self, peer: &PeerName, why: OverrideEnd) {
        if let Some(ended) = self.held.remove(peer) {
            info!(%peer, kind = ended.kind.as_str(), why = why.as_str(), "override ended");
            self.write(Action::ended(peer, &ended, why), None);
        }
    }

    /// Drops those whose time is over although nobody watches their peer.
    pub fn drop_expired(&mut self, now: Time) {
        let over = |(peer, held): (&PeerName, &Override)| (held.until <= now).then(|| peer.clone());
        let expired: Vec<_> = self.held.iter().filter_map(over).collect();
        for peer in expired {
            self.ended(&peer, OverrideEnd::Expired);
        }
    }

    fn write(&self, action: Action, reply: Option<Reply>) {
        let at = Moment::this();
        let stored = self.held.iter();
        let stored = stored.map(|(peer, held)| Stored::new(peer, held, &at));
        let stored = stored.collect();
        self.writer.inbox().put(|pending| {
            pending.held = Some(stored);
            if pending.actions.len() < MOST_WAITING {
                pending.actions.push(action);
                pending.replies.extend(reply);
            }
        });
    }
}

impl Pending {
    fn take(&mut self) -> Option<Self> {
        let pending = mem::take(self);
        pending.held.is_some().then_some(pending)
    }

    fn write(self, directory: &Path, audit: &mut AuditLog) {
        let held = self.held.unwrap_or_default();
        let written = file::save(directory, &held).and_then(|()| audit.append(&self.actions));
        let written = written.map_err(|error| format!("{error:#}"));
        if let Err(error) = &written {
            warn!(error, "an override is not kept");
        }
        for reply in self.replies {
            let _ = reply.send(Ok(written.clone()));
        }
    }
}
