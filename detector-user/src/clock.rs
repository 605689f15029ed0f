//! Reads the clocks; time is read nowhere else.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use nix::time::{ClockId, clock_getres, clock_gettime};

use crate::core::Time;

/// The current time of `CLOCK_MONOTONIC`.
pub fn now() -> Time {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("every Linux kernel has CLOCK_MONOTONIC (clock_gettime(2))");
    Time::from_nanos(Duration::from(now).as_nanos() as u64)
}

/// The wall-clock time of a monotonic moment, by the current difference of the two clocks.
pub fn wall(at: Time) -> SystemTime {
    let now = now();
    present_wall() - now.since(at) + at.since(now)
}

/// The present wall-clock time.
pub fn present() -> Timestamp {
    Timestamp::try_from(present_wall()).unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this module is where time is read"
)]
fn present_wall() -> SystemTime {
    SystemTime::now()
}

/// Like [`wall`], in a form for people to read.
pub fn timestamp(at: Time) -> Option<Timestamp> {
    Timestamp::try_from(wall(at)).ok()
}

/// The length of a jiffy. It is the resolution of the coarse clock, which the kernel defines as
/// `NSEC_PER_SEC / HZ` (`KTIME_LOW_RES`).
pub fn jiffy() -> Duration {
    clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::from_millis(4), Duration::from)
}

/// Which boot of this machine this is, for times that outlast a restart of the daemon.
pub fn boot() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}
