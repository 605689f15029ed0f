//! The clock that cuts, peers and watchers share: `CLOCK_MONOTONIC`, which is the same in
//! every process and network namespace of this machine.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("every Linux kernel has CLOCK_MONOTONIC (clock_gettime(2))");
    Duration::from(now).as_nanos() as u64
}

/// When this was by the wall clock, in nanoseconds of this one.
pub fn of_wall(at: SystemTime) -> u64 {
    let age = wall().duration_since(at).unwrap_or_default();
    now_ns().saturating_sub(age.as_nanos() as u64)
}

/// How long it is until then by the wall clock; zero when it is over.
pub fn until_wall(at: SystemTime) -> Duration {
    at.duration_since(wall()).unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the daemon gives wall-clock times, and tests compare them with their own"
)]
fn wall() -> SystemTime {
    SystemTime::now()
}

/// From one moment to a later one; zero when it is not later.
pub fn between(from_ns: u64, to_ns: u64) -> Duration {
    Duration::from_nanos(to_ns.saturating_sub(from_ns))
}
