//! Reads the clocks; time is read nowhere else.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use nix::time::{ClockId, clock_getres, clock_gettime};

use crate::model::Time;

/// The current time of `CLOCK_MONOTONIC`.
pub fn now() -> Time {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("every Linux kernel has CLOCK_MONOTONIC (clock_gettime(2))");
    Time::from_nanos(Duration::from(now).as_nanos() as u64)
}

/// Whether [`now`] is the clock of the kernel's own records. In a time namespace it may differ by an
/// offset (time_namespaces(7)); `bpf_ktime_get_ns` knows nothing of those.
pub fn is_the_kernels() -> bool {
    // A kernel without time namespaces has no such file.
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    !has_offset(&offsets)
}

fn has_offset(offsets: &str) -> bool {
    let monotonic = offsets
        .lines()
        .find_map(|line| line.strip_prefix("monotonic"));
    let mut parts = monotonic.unwrap_or_default().split_whitespace();
    parts.any(|part| part != "0")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_of_a_time_namespace_is_seen() {
        let offsets = |seconds, nanos| {
            format!("monotonic  {seconds:>10} {nanos:>9}\nboottime       5000         7\n")
        };
        assert!(!has_offset(&offsets(0, 0)));
        assert!(has_offset(&offsets(-1000, 0)));
        assert!(has_offset(&offsets(0, 1)));
        assert!(!has_offset(""));
    }

    #[test]
    fn it_does_not_go_back() {
        let first = now();
        assert!(first <= now());
    }
}
