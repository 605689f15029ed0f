//! Links, routes and neighbours, as the kernel's rtnetlink (`rtnetlink(7)`) tells of them.
//! Anyone may read it.
//!
//! ```text
//!   multicast ──▶ Events ───┐                ┌─▶ Signal::Network
//!                           ├─▶ State (told?)┤
//!   dumps, lookups ◀▶ Requests             └─▶ Pace (look again, when?)
//! ```
//!
//! One thread hears what changes. A link or a neighbour is told at once. A route is asked
//! for: what a table says is not what the kernel does with its rules, tables and next hops,
//! so each watched address is looked up (`RTM_GETROUTE`) whenever something changed that its
//! route may depend on, once for each burst of changes.
//!
//! What it cannot see: routes that differ by socket (marks, VRFs, source addresses, uids other
//! than the daemon's); of several equal ways it names the one that the kernel names.
//!
//! The kernel tells of a lost carrier at once, unless it told of a change of any link of the
//! machine less than a second ago: then it waits for that second to end (`linkwatch_nextevent`
//! of net/core/link_watch.c; a veth or VLAN, and a bond and its ports, are exempt). A flapping
//! port, or a host of containers, would so be told of too late.
//! [`NetworkSource::check_links`] asks.
//!
//! It sees one network namespace: that of the thread which started it.

mod decode;
mod local;
mod neighbour;
mod pace;
mod request;
mod socket;
mod state;
mod survey;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    net::IpAddr,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use thiserror::Error;
use tokio::sync::mpsc::Sender;
use tracing::warn;

pub(in crate::source) use self::table::NeighbourTable;
pub use self::{
    decode::Malformed,
    local::LocalAddresses,
    survey::{Survey, survey},
};
use self::{socket::Events, worker::Worker};
use crate::core::{Bounds, Signal};

/// Room for some thousand changes; the kernel doubles it, and takes it only when needed.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Why links, routes and neighbours could not be read.
#[derive(Debug, Error)]
pub enum NetworkError {
    #[error("cannot open a netlink socket for rtnetlink: {0}; is AF_NETLINK allowed here?")]
    Open(#[source] io::Error),
    #[error("cannot have the kernel tell of changed {what}: {source}")]
    Join {
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot ask the kernel for links, routes and neighbours: {0}")]
    Send(#[source] io::Error),
    #[error("cannot read what the kernel tells of links, routes and neighbours: {0}")]
    Receive(#[source] io::Error),
    #[error("the kernel refused to dump its {what}: {source}")]
    Refused {
        what: &'static str,
        source: io::Error,
    },
    #[error("the {what} changed during each dump (NLM_F_DUMP_INTR)")]
    Interrupted { what: &'static str },
    #[error("a datagram of rtnetlink has {length} bytes, the buffer only {capacity}")]
    Truncated { length: usize, capacity: usize },
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("cannot start the thread that reads links, routes and neighbours: {0}")]
    Thread(#[source] io::Error),
}

/// What the source has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Times that everything was read again because the kernel dropped changes (ENOBUFS).
    pub resyncs: u64,
    /// Messages that could not be decoded.
    pub malformed: u64,
}

/// Tells of links, routes and neighbours until it is dropped.
#[derive(Debug)]
pub struct NetworkSource {
    shared: Arc<Shared>,
    /// A byte wakes the thread; the end of the stream ends it.
    wake: UnixStream,
    /// The most addresses that are asked about.
    most: usize,
}

impl NetworkSource {
    /// Starts the thread, in the caller's network namespace. All it tells is a
    /// [`Signal::Network`] on `signals`; nothing is told before [`Self::watch`] is called.
    pub fn start(signals: Sender<Signal>, bounds: Bounds) -> Result<Self, NetworkError> {
        Self::with_receive_buffer(signals, bounds, RECEIVE_BUFFER)
    }

    /// As [`Self::start`], with room for this many bytes of changes that were not yet read.
    pub fn with_receive_buffer(
        signals: Sender<Signal>,
        bounds: Bounds,
        bytes: usize,
    ) -> Result<Self, NetworkError> {
        let shared = Arc::new(Shared::default());
        let (wake, woken) = UnixStream::pair().map_err(NetworkError::Thread)?;
        for end in [&wake, &woken] {
            end.set_nonblocking(true).map_err(NetworkError::Thread)?;
        }
        // Heard from before the links are read: nothing falls between.
        let events = Events::open(bytes)?;
        let worker = Worker::new(events, Arc::clone(&shared), woken, signals)?;
        thread::Builder::new()
            .name("rtnetlink".into())
            .spawn(move || worker.run())
            .map_err(NetworkError::Thread)?;
        let most = bounds.addresses();
        Ok(Self { shared, wake, most })
    }

    /// Replaces the addresses of interest. Never blocks. The route of each is told, and told
    /// again when it changes; so are the links that those routes leave by, and the neighbours
    /// that they lead to first: the address itself or its gateway.
    pub fn watch(&self, addrs: BTreeSet<IpAddr>) {
        let mut addrs: BTreeSet<_> = addrs.iter().map(IpAddr::to_canonical).collect();
        if let Some(first) = addrs.iter().nth(self.most).copied() {
            warn!(
                "the routes of {} addresses are asked for; those beyond {} are not",
                addrs.len(),
                self.most
            );
            addrs.split_off(&first);
        }
        self.shared.want(addrs);
        // Full, or the thread has ended: either needs no other byte.
        let _ = (&self.wake).write(&[0]);
    }

    /// Reads the links that routes leave by, now: to be called when a peer falls silent, for
    /// the kernel may be late to tell. Never blocks; calls that come together are one.
    pub fn check_links(&self) {
        self.shared.check.store(true, Ordering::Release);
        let _ = (&self.wake).write(&[0]);
    }

    /// What the source has counted since it started.
    pub fn counters(&self) -> NetworkCounters {
        NetworkCounters {
            resyncs: self.shared.resyncs.load(Ordering::Relaxed),
            malformed: self.shared.malformed.load(Ordering::Relaxed),
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Option<BTreeSet<IpAddr>>>,
    /// Whether the links are to be read now.
    check: AtomicBool,
    resyncs: AtomicU64,
    malformed: AtomicU64,
}

impl Shared {
    fn want(&self, addrs: BTreeSet<IpAddr>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(addrs);
    }

    fn take_wanted(&self) -> Option<BTreeSet<IpAddr>> {
        self.wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn resync(&self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is the first.
    fn count_malformed(&self) -> bool {
        self.malformed.fetch_add(1, Ordering::Relaxed) == 0
    }
}
