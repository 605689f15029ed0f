//! Links, routes and neighbours, as the kernel's rtnetlink (`rtnetlink(7)`) reports them. Reading
//! it needs no privilege.
//!
//! ```text
//!   multicast ──▶ Events ───┐                ┌─▶ Signal::Network
//!                           ├─▶ State (told?)┤
//!   dumps, lookups ◀▶ Requests             └─▶ Pace (look again, when?)
//! ```
//!
//! One thread receives the changes. A change of a link or a neighbour is reported at once. A route
//! is looked up: a table alone does not show what the kernel does with its rules, tables and next
//! hops. So each watched address is looked up (`RTM_GETROUTE`) whenever something changed on which
//! its route may depend, once for each burst of changes.
//!
//! The source cannot see routes that differ by socket (marks, VRFs, source addresses, uids other
//! than the daemon's). Of several equal routes it reports the one that the kernel returns.
//!
//! The kernel reports a lost carrier at once, unless it reported a change of any link of the
//! machine less than a second ago: then it waits for that second to end (`linkwatch_nextevent` of
//! net/core/link_watch.c; a veth or VLAN, and a bond and its ports, are exempt). With a flapping
//! port, or on a host with many containers, the report would come too late.
//! [`NetworkSource::check_links`] reads the links without waiting for it.
//!
//! The source sees one network namespace: that of the thread which started it.

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
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use thiserror::Error;
use tracing::warn;

pub(in crate::source) use self::table::NeighbourTable;
use self::worker::Following;
pub use self::{
    decode::{Malformed, any_datagram},
    local::{LocalAddresses, any_is_local},
    survey::{Survey, survey},
};
use crate::{
    model::Bounds,
    netlink::socket::SocketError,
    signals::SignalSender,
    worker::{Inbox, Worker},
};

/// Room for some thousand changes; the kernel doubles it, and takes it only when needed.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Why links, routes and neighbours could not be read.
#[derive(Debug, Error)]
pub enum NetworkError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("cannot enter the network namespace: {0}; this needs CAP_SYS_ADMIN")]
    Enter(#[source] io::Error),
    #[error("cannot have the kernel tell of changed {what}: {source}")]
    Join {
        what: &'static str,
        source: io::Error,
    },
    #[error("the kernel refused to dump its {what}: {source}")]
    Refused {
        what: &'static str,
        source: io::Error,
    },
    #[error("the {what} changed during each dump (NLM_F_DUMP_INTR)")]
    Interrupted { what: &'static str },
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What the source has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Times that everything was read again because the kernel dropped changes (ENOBUFS).
    pub resyncs: u64,
    /// Messages that could not be decoded.
    pub malformed: u64,
}

/// Reports links, routes and neighbours until it is dropped. While they cannot be read the daemon
/// runs with less evidence.
#[derive(Debug)]
pub struct NetworkSource {
    worker: Worker<Wanted>,
    counts: Arc<Counts>,
    /// The most addresses whose routes are looked up.
    most: usize,
}

impl NetworkSource {
    /// Starts the thread, in the caller's network namespace. It reports only
    /// [`Signal::Network`](crate::model::Signal::Network) on `signals`, and nothing before
    /// [`Self::watch`] is called.
    pub fn start(signals: SignalSender, bounds: Bounds) -> anyhow::Result<Self> {
        Self::with_receive_buffer(signals, bounds, RECEIVE_BUFFER)
    }

    /// Like [`Self::start`], with room for this many bytes of changes that were not read yet.
    pub fn with_receive_buffer(
        signals: SignalSender,
        bounds: Bounds,
        bytes: usize,
    ) -> anyhow::Result<Self> {
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let inbox = Inbox::polled(Wanted::default())?;
        let worker = Worker::optional("rtnetlink", inbox, move |wanted| {
            let following = Following::new(bytes, Arc::clone(&shared), signals.clone());
            following.map(|following| following.run(wanted)).context(
                "doing without links, routes and neighbours: a cut of this host itself is not \
                 told by its links, and peers are not asked by ARP or neighbour discovery",
            )
        });
        Ok(Self {
            worker: worker?,
            counts,
            most: bounds.addresses(),
        })
    }

    /// Replaces the addresses of interest. Never blocks. The route of each address is reported, and
    /// again whenever it changes. The same goes for the outgoing links of those routes, and for the
    /// neighbour that each leads to first: the address itself or its gateway.
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
        self.worker.inbox().put(|wanted| wanted.addrs = Some(addrs));
    }

    /// Makes the outgoing links of the routes be read now. Call this when a peer falls silent,
    /// because the kernel may report a lost carrier late. Never blocks; calls at the same time
    /// count as one.
    pub fn check_links(&self) {
        self.worker.inbox().put(|wanted| wanted.check = true);
    }

    /// What the source has counted since it started.
    pub fn counters(&self) -> NetworkCounters {
        NetworkCounters {
            resyncs: self.counts.resyncs.load(Ordering::Relaxed),
            malformed: self.counts.malformed.load(Ordering::Relaxed),
        }
    }
}

/// What the owner wants of the thread.
#[derive(Debug, Default)]
struct Wanted {
    /// The new addresses of interest.
    addrs: Option<BTreeSet<IpAddr>>,
    /// Whether the links should be read now.
    check: bool,
}

#[derive(Debug, Default)]
struct Counts {
    resyncs: AtomicU64,
    malformed: AtomicU64,
}

impl Counts {
    fn resync(&self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a malformed message; returns whether it is the first.
    fn count_malformed(&self) -> bool {
        self.malformed.fetch_add(1, Ordering::Relaxed) == 0
    }
}
