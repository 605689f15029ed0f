//! What the daemon may do, and how it gives up the rest.
//!
//! Most of what the daemon is privileged for it needs only while it starts. So `detector run` takes
//! three steps:
//!
//! 1. [`begin`], before there is a second thread: no new privileges from now on, and only the
//!    capabilities that the start or the work takes ([`CAPABILITIES`] says what for).
//! 2. [`thread_started`], on each other thread: what only the start takes is given up at once.
//! 3. [`Starting::finish`], when all is loaded: the first thread gives it up too, every thread gets
//!    the filter of system calls (`syscalls`), and all are looked at once more.
//!
//! Linux keeps capabilities for each thread, and nobody can take another thread's; therefore the
//! second step. The other commands (`doctor`, `tune`, clients) keep what they were started with.

mod capabilities;
mod needs;
mod status;
mod syscalls;

#[cfg(test)]
mod tests;

use std::{io, path::Path, sync::OnceLock, thread, time::Duration};

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use thiserror::Error;
use tracing::{error, info, warn};

pub use self::{
    capabilities::{CAPABILITIES, Capability, names},
    needs::Needs,
    status::effective,
    syscalls::{FilterError, check_filter},
};
use crate::{
    clock,
    config::{Config, Seccomp},
};

/// How long a thread has to come to its first instruction, on a busy machine.
const COMES_TO_IT_WITHIN: Duration = Duration::from_secs(10);
const LOOKS_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// What every thread keeps; unset in the other commands.
static KEPT: OnceLock<CapabilitySet> = OnceLock::new();

/// Why the daemon cannot give up its privileges.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    #[error("cannot {doing}: {source}")]
    Refused {
        doing: &'static str,
        source: io::Error,
    },
    #[error(
        "this process has given up its privileges before; start the daemon as a process of its own"
    )]
    Twice,
    #[error(
        "thread {thread} still has {held}, which the daemon has given up: report this, with the \
         configuration"
    )]
    Left { thread: String, held: String },
}

/// A daemon that starts: it still has what loading takes.
#[derive(Clone, Copy, Debug)]
pub struct Starting {
    kept: CapabilitySet,
}

/// What a daemon has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confined {
    /// The capabilities of every thread.
    pub kept: CapabilitySet,
    /// What the filter of system calls does.
    pub seccomp: Seccomp,
}

impl Confined {
    /// Whether it may destroy sockets, which a reload can turn on and off.
    pub fn may_destroy(&self) -> bool {
        self.kept.contains(CapabilitySet::NET_ADMIN)
    }
}

/// Gives up what neither the start nor the work takes. The process must have one thread.
pub fn begin(config: &Config, file: Option<&Path>) -> Result<Starting, PrivilegeError> {
    let refused = |doing| {
        move |errno: rustix::io::Errno| PrivilegeError::Refused {
            doing,
            source: errno.into(),
        }
    };
    set_no_new_privs(true).map_err(refused("turn off new privileges (PR_SET_NO_NEW_PRIVS)"))?;
    let held = capabilities(None).map_err(refused("read this process's capabilities"))?;
    let needs = Needs::of(config, file);
    let kept = needs.kept() & held.permitted;
    let starts_with = (kept | capabilities::at_start()) & held.permitted;
    // The bounding set first, because that takes CAP_SETPCAP; a unit has bounded it already.
    if held.effective.contains(CapabilitySet::SETPCAP) {
        bound(starts_with);
    }
    if let Err(errno) = hold(starts_with) {
        // A filter of an older unit's. What that unit gave is all that there is, too.
        warn!(%errno, "capabilities cannot be given up (capset): let the unit's filter pass it");
        let kept = held.permitted;
        return Ok(Starting { kept });
    }
    KEPT.set(kept).map_err(|_| PrivilegeError::Twice)?;
    Ok(Starting { kept })
}

/// A thread of the daemon begins: it needs nothing that only the start takes.
pub fn thread_started() {
    if let Some(kept) = KEPT.get()
        && let Err(errno) = hold(*kept)
    {
        // `Starting::finish` finds it, and ends the daemon.
        error!(%errno, "a thread cannot give up its capabilities");
    }
}

impl Starting {
    /// Gives up what only the start took, and filters the system calls of all threads.
    pub fn finish(self, config: &Config) -> Result<Confined, PrivilegeError> {
        thread_started();
        let seccomp = match syscalls::filter(config.seccomp, self.kept) {
            Ok(()) => config.seccomp,
            Err(error) => {
                warn!("no system calls are filtered: {error}; the daemon goes on without");
                Seccomp::Off
            }
        };
        match self.look() {
            // Out of files, or without /proc.
            Err(error @ PrivilegeError::Refused { .. }) => warn!("{error}; the daemon goes on"),
            looked => looked?,
        }
        let capabilities = names(self.kept);
        info!(
            capabilities,
            seccomp = seccomp.as_str(),
            "privileges given up"
        );
        Ok(Confined {
            kept: self.kept,
            seccomp,
        })
    }

    /// Waits until all threads have given up what they should: one that was started just now may not
    /// have come to it.
    fn look(self) -> Result<(), PrivilegeError> {
        let begun = clock::now();
        loop {
            match self.look_once()? {
                Some((thread, left)) if begun + COMES_TO_IT_WITHIN < clock::now() => {
                    let held = names(left);
                    return Err(PrivilegeError::Left { thread, held });
                }
                Some(_) => thread::sleep(LOOKS_AGAIN_AFTER),
                None => return Ok(()),
            }
        }
    }

    /// A thread that has more than it should, and what that is.
    fn look_once(self) -> Result<Option<(String, CapabilitySet)>, PrivilegeError> {
        let threads = status::of_threads().map_err(|source| PrivilegeError::Refused {
            doing: "look at the daemon's own threads (/proc/self/task)",
            source,
        })?;
        let left = threads
            .into_iter()
            .map(|(thread, permitted)| (thread, permitted - self.kept));
        Ok(left.into_iter().find(|(_, left)| !left.is_empty()))
    }
}

/// The calling thread has these, and no others for good.
fn hold(set: CapabilitySet) -> rustix::io::Result<()> {
    let sets = CapabilitySets {
        effective: set,
        permitted: set,
        // Nothing is executed; the ambient set ends with this one.
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)
}

/// No program that this process became could have others.
fn bound(set: CapabilitySet) {
    for capability in CapabilitySet::all().iter() {
        if !set.contains(capability) {
            // One that this kernel does not know.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
}
