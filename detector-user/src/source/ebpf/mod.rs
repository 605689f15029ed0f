//! The eBPF source: the programs of `detector-ebpf`, loaded, fed and read.
//!
//! ```text
//!                                ┌─ ring ── decode ──> Signal
//! BTF ─ btf ─> load ─> the kernel ─┤
//!                          ^     └─ FLOWS (when the ring was full)
//!               watch ─────┘
//! ```
//!
//! The ring only notifies; the map holds the state. The kernel side counts each record for which
//! the ring is full. When that count has risen, the latest record of every flow is read from the
//! map, so that a burst may lose intermediate events but no flow.

mod btf;
mod decode;
mod load;
mod sequences;
mod tracepoints;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::IpAddr,
    os::fd::AsRawFd,
    time::Duration,
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
};
use aya_log::EbpfLogger;
use detector_ebpf::{FlowKey, FlowRecord, counter};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval},
};
use tracing::{debug, warn};
use zerocopy::FromBytes;

pub(super) use self::tracepoints::TRACEPOINTS;
use self::watch::{KeyBytes, WatchSet};
pub use self::{
    btf::{BtfError, FieldError, KernelTypes, VMLINUX},
    decode::DecodeError,
    load::{EbpfOptions, EbpfUnavailable, Loaded},
    sequences::{SequenceReader, SequencesUnavailable},
    tracepoints::Tracepoint,
    watch::WatchError,
};
use super::{Source, SourceCounters, Watched};
use crate::{
    clock,
    core::{PeerName, Signal, Time},
};

/// The most records in a batch.
const MAX_BATCH: usize = 1024;
/// How often the count of records that found the ring full is read while the ring is quiet.
const DROPS_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two readings of the whole map.
const HEAL_SPACING: Duration = Duration::from_millis(100);
/// The most entries that are read if the map changes meanwhile, as a multiple of its size.
const MAX_READINGS: usize = 4;

type FlowKeyBytes = [u8; size_of::<FlowKey>()];
type FlowRecordBytes = [u8; size_of::<FlowRecord>()];

/// Signals from tracepoints.
pub struct EbpfSource {
    ring: AsyncFd<RingBuf<MapData>>,
    flows: HashMap<MapData, FlowKeyBytes, FlowRecordBytes>,
    counters: PerCpuArray<MapData, u64>,
    watched: WatchSet<HashMap<MapData, KeyBytes, u32>>,
    /// The namespaces that are watched besides the daemon's own.
    namespaces: HashMap<MapData, u32, u32>,
    drops_check: Interval,
    /// The most entries that the map of flows holds.
    max_flows: usize,
    /// The count of ring drops that are already healed, and when they were.
    healed_drops: u64,
    healed_at: Time,
    /// Records that could not be decoded.
    malformed: u64,
    /// Entries of the map that this side removed.
    flows_removed: u64,
    attached: Vec<Tracepoint>,
    logger: Option<JoinHandle<()>>,
    /// Holds the programs and their attachments.
    _ebpf: Ebpf,
}

impl EbpfSource {
    /// Loads the programs and attaches them. Must be called within a tokio runtime.
    pub fn load(options: &EbpfOptions) -> Result<Self, EbpfUnavailable> {
        let Loaded { mut ebpf, attached } = Loaded::load(options)?;
        let logger = if options.log {
            start_logger(&mut ebpf)
        } else {
            None
        };
        let failed = |error: MapError| load::NEEDS.not_taken("open the programs' maps", error);
        let ring = RingBuf::try_from(take(&mut ebpf, "EVENTS").map_err(failed)?).map_err(failed)?;
        let mut drops_check = interval(DROPS_INTERVAL);
        drops_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            ring: async_fd(ring).map_err(|error| failed(error.into()))?,
            flows: take(&mut ebpf, "FLOWS")
                .and_then(TryInto::try_into)
                .map_err(failed)?,
            counters: take(&mut ebpf, "COUNTERS")
                .and_then(TryInto::try_into)
                .map_err(failed)?,
            watched: WatchSet::new(
                take(&mut ebpf, "WATCHED")
                    .and_then(TryInto::try_into)
                    .map_err(failed)?,
                options.max_watched as usize,
            ),
            namespaces: take(&mut ebpf, "NAMESPACES")
                .and_then(TryInto::try_into)
                .map_err(failed)?,
            drops_check,
            max_flows: options.max_flows.max(1) as usize,
            healed_drops: 0,
            healed_at: Time::default(),
            malformed: 0,
            flows_removed: 0,
            attached,
            logger,
            _ebpf: ebpf,
        })
    }

    /// The tracepoints in use.
    pub fn attached(&self) -> &[Tracepoint] {
        &self.attached
    }

    /// Reads every flow's latest record from the map if the ring has been full since the last time.
    /// Call this only with the ring drained, or older records would follow newer ones.
    fn heal(&mut self, signals: &mut Vec<Signal>) -> anyhow::Result<()> {
        let drops = self.counter(counter::RING_DROPS)?;
        let now = clock::now();
        if drops == self.healed_drops || now.since(self.healed_at) < HEAL_SPACING {
            return Ok(());
        }
        warn!(
            "{} records found the ring full; reading the flows from the map",
            drops - self.healed_drops
        );
        for (key, bytes) in self.entries()? {
            if is_final(&key) {
                self.remove_flow(&key)?;
            }
            take_record(&bytes, signals, &mut self.malformed);
        }
        self.healed_drops = drops;
        self.healed_at = now;
        Ok(())
    }

    /// Removes flows that are no longer watched from the map: the kernel side handles only watched
    /// flows, and would not see them close.
    fn forget_unwatched(&mut self) -> anyhow::Result<()> {
        for (key, bytes) in self.entries()? {
            let is_watched = decode::record(&bytes).is_ok_and(|record| {
                let ports = [record.remote_port, record.local_port];
                self.watched.covers(record.remote_addr, ports)
            });
            if !is_watched {
                self.remove_flow(&key)?;
            }
        }
        Ok(())
    }

    /// Removes the flows of namespaces that are no longer watched from the map.
    fn forget_elsewhere(&mut self, gone: BTreeSet<u32>) -> anyhow::Result<()> {
        for key in self.entries()?.into_keys() {
            let is_gone = FlowKey::read_from_bytes(&key).is_ok_and(|key| gone.contains(&key.netns));
            if is_gone {
                self.remove_flow(&key)?;
            }
        }
        Ok(())
    }

    /// The map's entries. Programs change the map meanwhile, and if the entry that was read last is
    /// gone the kernel starts over: so entries may come twice, and the reading is bounded.
    fn entries(&self) -> anyhow::Result<BTreeMap<FlowKeyBytes, FlowRecordBytes>> {
        let mut entries = BTreeMap::new();
        for entry in self.flows.iter().take(MAX_READINGS * self.max_flows) {
            match entry {
                Ok((key, bytes)) => {
                    entries.insert(key, bytes);
                }
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("cannot read the map of flows"),
            }
        }
        Ok(entries)
    }

    fn remove_flow(&mut self, key: &FlowKeyBytes) -> anyhow::Result<()> {
        match self.flows.remove(key) {
            Ok(()) => self.flows_removed += 1,
            // The flow closed meanwhile.
            Err(MapError::KeyNotFound) => {}
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("cannot remove a flow from the map"),
        }
        Ok(())
    }

    fn counter(&self, index: u32) -> anyhow::Result<u64> {
        let values = self
            .counters
            .get(&index, 0)
            .context("cannot read the kernel side's counters")?;
        Ok(values.iter().sum())
    }
}

impl Source for EbpfSource {
    fn watch(&mut self, watched: &Watched) -> anyhow::Result<()> {
        if self.watched.watch(watched)? {
            self.forget_unwatched()?;
        }
        Ok(())
    }

    fn look_at(&mut self, namespaces: &BTreeSet<u32>) -> anyhow::Result<()> {
        let known: BTreeSet<u32> = self
            .namespaces
            .keys()
            .collect::<Result<_, _>>()
            .context("cannot read the map of network namespaces")?;
        // Removals come first: the kernel may reuse an inode number as soon as the namespace is
        // released.
        for gone in known.difference(namespaces) {
            self.namespaces
                .remove(gone)
                .context("cannot remove a network namespace from the programs' map")?;
        }
        for new in namespaces.difference(&known) {
            self.namespaces
                .insert(new, 1, 0)
                .context("cannot add a network namespace to the programs' map")?;
        }
        if known.is_subset(namespaces) {
            return Ok(());
        }
        self.forget_elsewhere(&known - namespaces)
    }

    fn report_established(
        &mut self,
        peer: &PeerName,
        addr: IpAddr,
        on: bool,
    ) -> anyhow::Result<()> {
        Ok(self.watched.report_established(peer, addr, on)?)
    }

    async fn next(&mut self) -> anyhow::Result<Vec<Signal>> {
        loop {
            // Both branches only wait. The records stay in the ring until they are taken without
            // awaiting, so a dropped future loses nothing.
            let (mut signals, is_empty) = tokio::select! {
                ready = self.ring.readable_mut() => {
                    let mut ready = ready.context("cannot wait for the ring")?;
                    let drained = drain(ready.get_inner_mut(), &mut self.malformed);
                    if drained.1 {
                        ready.clear_ready();
                    }
                    drained
                }
                _ = self.drops_check.tick() => drain(self.ring.get_mut(), &mut self.malformed),
            };
            if is_empty && let Err(error) = self.heal(&mut signals) {
                // This is tried again with the next record or within a second.
                warn!("cannot heal what the ring dropped: {error:#}");
            }
            if !signals.is_empty() {
                return Ok(signals);
            }
        }
    }

    fn counters(&self) -> SourceCounters {
        let read = |index| self.counter(index).unwrap_or_default();
        let removed = read(counter::FLOWS_REMOVED) + self.flows_removed;
        SourceCounters {
            ring_drops: read(counter::RING_DROPS),
            flows_full: read(counter::FLOWS_FULL),
            retransmits: read(counter::RETRANSMITS),
            malformed_records: self.malformed,
            flows_tracked: read(counter::FLOWS_ADDED).saturating_sub(removed),
        }
    }
}

impl Drop for EbpfSource {
    fn drop(&mut self) {
        if let Some(logger) = &self.logger {
            logger.abort();
        }
    }
}

impl fmt::Debug for EbpfSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EbpfSource")
            .field("attached", &self.attached)
            .finish_non_exhaustive()
    }
}

/// Takes up to a batch from the ring; also returns whether that emptied the ring.
fn drain(ring: &mut RingBuf<MapData>, malformed: &mut u64) -> (Vec<Signal>, bool) {
    let mut signals = Vec::new();
    for _ in 0..MAX_BATCH {
        let Some(item) = ring.next() else {
            return (signals, true);
        };
        take_record(&item, &mut signals, malformed);
    }
    (signals, false)
}

/// Adds a record's event; a record that cannot be decoded is counted.
fn take_record(bytes: &[u8], signals: &mut Vec<Signal>, malformed: &mut u64) {
    match decode::record(bytes).and_then(|record| decode::event(&record)) {
        Ok(event) => signals.extend(event.map(Signal::Flow)),
        Err(error) => {
            *malformed += 1;
            debug!("a record was dropped: {error}");
        }
    }
}

/// Whether an entry is a flow's last record, which the kernel side will not remove.
fn is_final(key: &FlowKeyBytes) -> bool {
    FlowKey::read_from_bytes(key).is_ok_and(|key| key.is_final != 0)
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, MapError> {
    ebpf.take_map(name).ok_or_else(|| MapError::InvalidName {
        name: name.to_owned(),
    })
}

#[expect(
    deprecated,
    reason = "its replacement is unsafe because a type may change its descriptor while it is \
              registered; both types used here keep one descriptor until they are dropped"
)]
fn async_fd<T: AsRawFd>(inner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(inner, Interest::READABLE)
}

/// Forwards the programs' debug messages to the log.
fn start_logger(ebpf: &mut Ebpf) -> Option<JoinHandle<()>> {
    let logger = EbpfLogger::init(ebpf)
        .map_err(|error| error.to_string())
        .and_then(|logger| async_fd(logger).map_err(|error| error.to_string()));
    let mut logger = match logger {
        Ok(logger) => logger,
        Err(error) => {
            warn!("going without the programs' debug messages: {error}");
            return None;
        }
    };
    Some(tokio::spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }))
}
