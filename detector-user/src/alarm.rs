//! Wakes a thread of tokio at a moment, once.
//!
//! tokio's own timers wake a thread in steps: it sleeps to a multiple of 64 ms first, and then to
//! the millisecond after the moment. A timer of the kernel wakes it once, and at the moment.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    unistd::read,
};
use tokio::io::unix::AsyncFd;
use tracing::warn;

use crate::{clock, model::Time, readable::readable};

#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A timer of the kernel.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<Timer>,
    /// The moment that the kernel knows.
    set: Option<Time>,
}

impl Alarm {
    /// Must be called within a tokio runtime.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        Ok(Self {
            timer: readable(Timer(timer))?,
            set: None,
        })
    }

    /// Waits until this moment. Cancel-safe.
    pub async fn until(&mut self, at: Time) {
        while clock::now() < at {
            if let Err(errno) = self.set(at) {
                // Whoever waits for something else as well tries again after that.
                warn!(%errno, "a timer cannot be set");
                return std::future::pending().await;
            }
            if let Ok(mut ready) = self.timer.readable().await {
                ready.clear_ready();
                // It counts how often it has fired, which does not matter.
                let _ = read(self.timer.get_ref().0.as_fd(), &mut [0; 8]);
                self.set = None;
            }
        }
    }

    fn set(&mut self, at: Time) -> Result<(), Errno> {
        if self.set == Some(at) {
            return Ok(());
        }
        let at_spec = TimeSpec::from(Duration::from_nanos(at.as_nanos()));
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME;
        self.timer
            .get_ref()
            .0
            .set(Expiration::OneShot(at_spec), flags)?;
        self.set = Some(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn it_wakes_at_the_moment_and_never_before() {
        let mut alarm = Alarm::new().unwrap();
        alarm.until(Time::default()).await;
        for wait in [1, 20, 3] {
            let at = clock::now() + Duration::from_millis(wait);
            alarm.until(at).await;
            assert!(clock::now() >= at);
        }
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_changes_nothing_for_the_next() {
        let mut alarm = Alarm::new().unwrap();
        let late = clock::now() + LONG;
        assert!(timeout(Duration::ZERO, alarm.until(late)).await.is_err());
        let soon = clock::now() + Duration::from_millis(1);
        assert!(timeout(LONG, alarm.until(soon)).await.is_ok());
        assert!(clock::now() < late);
    }
}
