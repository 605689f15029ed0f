//! The eBPF source: the programs of `detector-ebpf`, loaded, fed and read.
//!
//! ```text
//!                                  ┌─ ring ───────────┬─ counts ── decode ──> Signal
//! BTF ─ btf ─> load ─> the kernel ─┤                  │
//!                          ^       └─ FLOWS ── flows ─┘ (when the ring was full)
//!               watch ─────┘
//! ```
//!
//! The ring only notifies; the map holds the state. The kernel side counts each record for which
//! the ring is full. When that count has risen, the latest record of every flow is read from the
//! map, so that a burst may lose intermediate events but no flow.

mod btf;
mod counts;
mod decode;
mod flows;
mod keys;
mod load;
mod ring;
mod sequences;
mod tracepoints;
mod watch;

use std::{collections::BTreeSet, fmt, io, net::IpAddr, sync::Arc};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError, RingBuf},
};
use aya_log::EbpfLogger;
use tokio::{sync::Notify, task::JoinSet};
use tracing::warn;

pub(super) use self::tracepoints::TRACEPOINTS;
pub use self::{
    btf::{BtfError, FieldError, KernelTypes, VMLINUX, any_types},
    decode::{DecodeError, any_record},
    load::{EbpfOptions, EbpfUnavailable, Loaded},
    sequences::SequenceReader,
    tracepoints::Tracepoint,
    watch::WatchError,
};
use self::{
    counts::Counts,
    flows::{Flows, Wanted},
    keys::KernelKeys,
    ring::Ring,
    watch::WatchSet,
};
use super::{Source, SourceCounters, Watched};
use crate::{
    model::{PeerName, SourceKind},
    netns::Set,
    object::{Part, Programs},
    readable::readable,
    signals::SignalSender,
    worker::{Inbox, Worker},
};

/// Signals from tracepoints.
pub struct EbpfSource {
    /// Reads the map of flows; its inbox has the set of watched endpoints.
    flows: Worker<Wanted>,
    /// The namespaces that are watched besides the daemon's own.
    namespaces: HashMap<MapData, u32, u32>,
    /// The same, held.
    held: Arc<Set>,
    counts: Arc<Counts>,
    attached: Vec<Tracepoint>,
    /// Makes the task of the ring look for records that found it full.
    check: Arc<Notify>,
    /// Those that read the ring and the programs' debug messages.
    _tasks: JoinSet<()>,
    /// Holds the programs and their attachments.
    _programs: Programs,
}

impl EbpfSource {
    /// Loads the programs, attaches them, and sends a signal for each of their records. Must be
    /// called within a tokio runtime.
    pub fn load(options: &EbpfOptions, signals: SignalSender) -> Result<Self, EbpfUnavailable> {
        let Loaded {
            mut programs,
            attached,
        } = Loaded::load(options)?;
        let mut tasks = JoinSet::new();
        if options.log {
            start_logger(&mut programs.ebpf, &mut tasks);
        }
        let failed = |error: io::Error| {
            Part::Source.not_taken("follow the programs' maps", MapError::from(error))
        };
        let watched = KernelKeys::new(
            programs.take_map("WATCHED")?,
            programs.take_map("ADDRESSES")?,
        );
        let watched = WatchSet::new(watched, options.max_watched as usize);
        let counts = Arc::new(Counts::new(programs.take_map("COUNTERS")?));
        let flows = Flows {
            map: programs.take_map("FLOWS")?,
            most: options.max_flows.max(1) as usize,
            counts: Arc::clone(&counts),
            signals: signals.clone(),
        };
        let inbox = Inbox::new(Wanted::new(watched));
        let flows = Worker::essential("flow-map", &signals, inbox, |wanted| flows.run(wanted))
            .map_err(failed)?;
        let ring: RingBuf<_> = programs.take_map("EVENTS")?;
        let ring = readable(ring).map_err(failed)?;
        let ring = Ring::new(ring, Arc::clone(&counts), flows.share(), signals);
        let check = ring.check();
        tasks.spawn(ring.run());
        Ok(Self {
            flows,
            namespaces: programs.take_map("NAMESPACES")?,
            held: Arc::default(),
            counts,
            attached,
            check,
            _tasks: tasks,
            _programs: programs,
        })
    }

    /// The tracepoints in use.
    pub fn attached(&self) -> &[Tracepoint] {
        &self.attached
    }
}

impl Source for EbpfSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Ebpf
    }

    fn watch(&mut self, watched: &Watched) -> anyhow::Result<()> {
        let change = |wanted: &mut Wanted| -> anyhow::Result<()> {
            if wanted.watched.watch(watched)? {
                wanted.forget_unwatched();
            }
            Ok(())
        };
        self.flows.inbox().put(change)
    }

    fn look_at(&mut self, namespaces: &Arc<Set>) -> anyhow::Result<()> {
        let wanted: BTreeSet<u32> = namespaces.keys().copied().collect();
        let known: BTreeSet<u32> = self
            .namespaces
            .keys()
            .collect::<Result<_, _>>()
            .context("cannot read the map of network namespaces")?;
        // Removals come first: the kernel may reuse an inode number as soon as the namespace is
        // released.
        for gone in known.difference(&wanted) {
            self.namespaces
                .remove(gone)
                .context("cannot remove a network namespace from the programs' map")?;
        }
        for new in wanted.difference(&known) {
            self.namespaces
                .insert(new, 1, 0)
                .context("cannot add a network namespace to the programs' map")?;
        }
        let gone = known.difference(&wanted);
        let gone = gone.map(|netns| (*netns, self.held.get(netns).cloned()));
        self.flows
            .inbox()
            .put(|flows| flows.forget_elsewhere(gone, &wanted));
        self.held = Arc::clone(namespaces);
        Ok(())
    }

    fn report_established(
        &mut self,
        peer: &PeerName,
        addr: IpAddr,
        on: bool,
    ) -> anyhow::Result<()> {
        let change = |wanted: &mut Wanted| wanted.watched.report_established(peer, addr, on);
        Ok(self.flows.inbox().take(change)?)
    }

    fn chores(&mut self) {
        self.check.notify_one();
    }

    fn counters(&self) -> SourceCounters {
        self.counts.all()
    }
}

impl fmt::Debug for EbpfSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EbpfSource")
            .field("attached", &self.attached)
            .finish_non_exhaustive()
    }
}

/// Forwards the programs' debug messages to the log.
fn start_logger(ebpf: &mut Ebpf, tasks: &mut JoinSet<()>) {
    let logger = EbpfLogger::init(ebpf)
        .map_err(|error| error.to_string())
        .and_then(|logger| readable(logger).map_err(|error| error.to_string()));
    let mut logger = match logger {
        Ok(logger) => logger,
        Err(error) => return warn!("going without the programs' debug messages: {error}"),
    };
    tasks.spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
}
