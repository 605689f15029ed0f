//! What the eBPF source has counted, on both sides.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use aya::maps::{MapData, PerCpuArray};
use detector_ebpf::counter;
use tracing::debug;

use super::decode;
use crate::{model::Signal, source::SourceCounters};

/// The counters that the ring's task, the thread of the map and the loop share.
pub(super) struct Counts {
    kernel: PerCpuArray<MapData, u64>,
    /// Records that could not be decoded.
    malformed: AtomicU64,
    /// Entries of the map of flows that this side removed.
    removed: AtomicU64,
}

impl Counts {
    pub const fn new(kernel: PerCpuArray<MapData, u64>) -> Self {
        Self {
            kernel,
            malformed: AtomicU64::new(0),
            removed: AtomicU64::new(0),
        }
    }

    /// The signal of a record; one that cannot be decoded is counted.
    pub fn signal(&self, bytes: &[u8]) -> Option<Signal> {
        match decode::record(bytes).and_then(|record| decode::event(&record)) {
            Ok(event) => event.map(Signal::Flow),
            Err(error) => {
                self.malformed.fetch_add(1, Ordering::Relaxed);
                debug!("a record was dropped: {error}");
                None
            }
        }
    }

    pub fn removed(&self) {
        self.removed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many records have found the ring full.
    pub fn ring_drops(&self) -> anyhow::Result<u64> {
        self.kernel(counter::RING_DROPS)
    }

    pub fn all(&self) -> SourceCounters {
        let kernel = |index| self.kernel(index).unwrap_or_default();
        let removed = kernel(counter::FLOWS_REMOVED) + self.removed.load(Ordering::Relaxed);
        SourceCounters {
            ring_drops: kernel(counter::RING_DROPS),
            flows_full: kernel(counter::FLOWS_FULL),
            retransmits: kernel(counter::RETRANSMITS),
            malformed_records: self.malformed.load(Ordering::Relaxed),
            flows_tracked: kernel(counter::FLOWS_ADDED).saturating_sub(removed),
        }
    }

    fn kernel(&self, index: u32) -> anyhow::Result<u64> {
        let values = self
            .kernel
            .get(&index, 0)
            .context("cannot read the kernel side's counters")?;
        Ok(values.iter().sum())
    }
}
