//! Counts what the test program allocates.

use std::{
    alloc::System,
    sync::{Mutex, PoisonError},
};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocations of the whole program are counted, so the tests run one at a time.
pub fn alone<T>(test: impl FnOnce() -> T) -> T {
    static TEST: Mutex<()> = Mutex::new(());
    let _alone = TEST.lock().unwrap_or_else(PoisonError::into_inner);
    test()
}

/// The bytes that are allocated now.
pub fn bytes() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// How often memory was allocated or grown since the start.
pub fn allocations() -> usize {
    let stats = HEAP.stats();
    stats.allocations + stats.reallocations
}
