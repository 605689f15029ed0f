//! The clock that cuts, peers and watchers share: `CLOCK_MONOTONIC`, which is the same in
//! every process and network namespace of this machine.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("every Linux kernel has CLOCK_MONOTONIC (clock_gettime(2))");
    Duration::from(now).as_nanos() as u64
}

/// From one moment to a later one; zero when it is not later.
pub fn between(from_ns: u64, to_ns: u64) -> Duration {
    Duration::from_nanos(to_ns.saturating_sub(from_ns))
}
