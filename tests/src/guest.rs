//! A guest of `cargo xtask test-vm`: a machine of its own, whose clock may be set and which may
//! sleep. Any other machine is left alone.

use std::{fs, time::Duration};

use anyhow::{Context as _, ensure};
use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime, clock_settime},
};

/// The word on a guest's kernel command line (`xtask/src/vm/guest.rs`).
const WORD: &str = "detector.guest";

/// The clock that wakes a machine (Documentation/ABI/testing/sysfs-class-rtc).
const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";

/// Whether this is one. If not, it says that the test is skipped.
pub fn is_here() -> bool {
    let is_guest = is_guest();
    if !is_guest {
        println!("skipped: it sets the clock or suspends the machine; cargo xtask test-vm does so");
    }
    is_guest
}

fn is_guest() -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_whitespace().any(|word| word == WORD)
}

/// Sets the wall clock forward by so many seconds, or back.
pub fn step_wall_clock(seconds: i64) -> anyhow::Result<()> {
    ensure!(is_guest(), "only a guest's clock may be set");
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    let set = TimeSpec::new(now.tv_sec() + seconds, now.tv_nsec());
    clock_settime(ClockId::CLOCK_REALTIME, set).context("cannot set the clock")
}

/// Suspends to memory; the alarm clock wakes the machine after `seconds`. Returns for how long its
/// monotonic clock stood still.
pub fn suspend(seconds: u32) -> anyhow::Result<Duration> {
    ensure!(is_guest(), "only a guest may be suspended");
    let before = slept()?;
    fs::write(ALARM, format!("+{seconds}")).with_context(|| format!("cannot write {ALARM}"))?;
    fs::write("/sys/power/state", "mem").context("cannot suspend")?;
    Ok(slept()?.saturating_sub(before))
}

/// How long this machine has slept since its start.
fn slept() -> anyhow::Result<Duration> {
    let since_start = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
    let awake = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    Ok(since_start.saturating_sub(awake))
}
