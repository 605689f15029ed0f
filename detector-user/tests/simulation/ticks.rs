//! The kernel's timer clock: jiffies at HZ 250, and the timer wheel that rounds them up.

use std::time::Duration;

use detector_user::model::Time;

pub const JIFFY: Duration = Duration::from_millis(4);

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// The jiffy that a moment lies in.
pub fn jiffy(at: Time) -> u64 {
    at.as_nanos() / JIFFY.as_nanos() as u64
}

/// A span in jiffies, rounded up as `usecs_to_jiffies` does.
pub fn in_jiffies(span: Duration) -> u64 {
    span.as_nanos().div_ceil(JIFFY.as_nanos()) as u64
}

/// When a timer expires that is armed now for this many jiffies: never early, and with a resolution
/// that gets coarser by a factor of eight with each level of the wheel (`calc_index` and
/// `calc_wheel_index` in kernel/time/timer.c, since 4.8; the extra tick since 5.9).
pub fn expiry(now: Time, jiffies: u64) -> Time {
    let mut shift = 0;
    while jiffies >= 63 << shift && shift < 21 {
        shift += 3;
    }
    let expires = (((jiffy(now) + jiffies) >> shift) + 1) << shift;
    Time::from_nanos(expires * JIFFY.as_nanos() as u64)
}
