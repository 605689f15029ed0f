//! The maps, and how events are counted.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use detector_ebpf::{FILTER_WORDS, FlowKey, FlowRecord, MAX_NAMESPACES, WatchKey, counter};

/// The endpoints to watch, filled by the daemon; the values are bits of
/// `detector_ebpf::watch_flag`. User space sets the size.
#[map]
pub static WATCHED: HashMap<WatchKey, u32> = HashMap::with_max_entries(16_384, 0);

/// A bit for each watched address (`detector_ebpf::filter_bit`): nearly all connections of a machine
/// are not watched, and need no search in `WATCHED`.
#[map]
pub static ADDRESSES: Array<u64> = Array::with_max_entries(FILTER_WORDS, 0);

/// The inodes of the network namespaces that are watched besides the daemon's own; the values have
/// no meaning.
#[map]
pub static NAMESPACES: HashMap<u32, u32> = HashMap::with_max_entries(MAX_NAMESPACES, 0);

/// The state: the latest record of each flow that had an event. It is preallocated, because tracing
/// programs require that before 6.1. User space sets its size and that of `EVENTS`.
#[map]
pub static FLOWS: HashMap<FlowKey, FlowRecord> = HashMap::with_max_entries(16_384, 0);

/// The doorbell.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// The counters that `detector_ebpf::counter` names.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

/// Adds one to a counter.
#[inline(always)]
pub fn count(index: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the map gave the pointer for this CPU's own slot.
        unsafe { *value = (*value).wrapping_add(1) };
    }
}
