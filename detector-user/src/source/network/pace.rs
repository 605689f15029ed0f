//! When the routes are read again.

use std::time::Duration;

use crate::model::Time;

/// How long to wait after the last change of a burst, as from a routing daemon or an interface that
/// comes up.
const QUIET: Duration = Duration::from_millis(20);
/// The longest wait for a burst to end.
const LATEST: Duration = Duration::from_millis(100);
/// After a reading the thread rests for this many times the reading's duration: however much
/// changes, and however much is watched, reading takes at most a tenth of one CPU.
const REST: u32 = 9;
/// The wait after a reading that failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often everything is read without a change: the kernel does not report an ICMP redirect, or a
/// route that a cache learnt.
const STALE: Duration = Duration::from_secs(60);

/// When to read the routes again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The first and the last change since the last reading.
    changed: Option<(Time, Time)>,
    /// Read without waiting for the burst to end.
    at_once: bool,
    /// No reading before this.
    rested: Time,
    /// Everything is read at this time, even if nothing changes.
    stale: Time,
}

impl Pace {
    /// Something changed.
    pub(super) fn changed(&mut self, now: Time) {
        let (first, _) = self.changed.unwrap_or((now, now));
        self.changed = Some((first, now));
    }

    /// A reading is needed now, as far as the rest permits.
    pub(super) fn at_once(&mut self, now: Time) {
        self.changed(now);
        self.at_once = true;
    }

    /// When to read.
    pub(super) fn due(&self) -> Time {
        let wanted = match self.changed {
            None => self.stale,
            Some((first, _)) if self.at_once => first,
            Some((first, last)) => (last + QUIET).min(first + LATEST),
        };
        wanted.min(self.stale).max(self.rested)
    }

    /// Whether everything should be read, because the last full reading was long ago.
    pub(super) fn is_stale(&self, now: Time) -> bool {
        self.stale <= now
    }

    /// A reading begins: it sees everything that has changed until now.
    pub(super) fn begin(&mut self) {
        self.changed = None;
        self.at_once = false;
    }

    /// A reading has ended.
    pub(super) fn end(&mut self, begun: Time, ended: Time, everything: bool) {
        self.rested = ended + ended.since(begun) * REST;
        if everything {
            self.stale = ended + STALE;
        }
    }

    /// A reading has failed and must be repeated.
    pub(super) fn failed(&mut self, now: Time) {
        self.at_once(now);
        self.rested = now + RETRY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time::from_nanos(1_000_000_000_000 + ms * 1_000_000)
    }

    /// One that has looked at everything at 0.
    fn pace() -> Pace {
        let mut pace = Pace::default();
        pace.end(ms(0), ms(0), true);
        pace
    }

    #[test]
    fn the_first_look_is_due_at_once() {
        assert_eq!(Pace::default().due(), Time::default());
    }

    #[test]
    fn a_burst_is_waited_for_but_not_for_ever() {
        let mut pace = pace();
        pace.changed(ms(100));
        assert_eq!(pace.due(), ms(120));
        pace.changed(ms(115));
        assert_eq!(pace.due(), ms(135));
        for at in 116..300 {
            pace.changed(ms(at));
        }
        assert_eq!(pace.due(), ms(200));
    }

    #[test]
    fn what_is_wanted_at_once_does_not_wait_for_quiet() {
        let mut pace = pace();
        pace.at_once(ms(100));
        pace.changed(ms(101));
        assert_eq!(pace.due(), ms(100));
    }

    #[test]
    fn a_long_look_is_followed_by_nine_times_its_length_of_rest() {
        let mut pace = pace();
        pace.at_once(ms(100));
        pace.begin();
        pace.end(ms(100), ms(150), false);
        pace.at_once(ms(151));
        assert_eq!(pace.due(), ms(600));
    }

    #[test]
    fn a_change_during_a_look_is_looked_at_afterwards() {
        let mut pace = pace();
        pace.changed(ms(100));
        pace.begin();
        pace.changed(ms(121));
        pace.end(ms(120), ms(122), false);
        assert_eq!(pace.due(), ms(141));
    }

    #[test]
    fn without_changes_everything_is_looked_at_after_a_minute() {
        let mut pace = pace();
        assert_eq!(pace.due(), ms(60_000));
        assert!(!pace.is_stale(ms(59_999)));
        pace.changed(ms(59_990));
        assert_eq!(pace.due(), ms(60_000));
        assert!(pace.is_stale(ms(60_000)));
    }

    #[test]
    fn a_look_that_failed_is_taken_again_after_a_second() {
        let mut pace = pace();
        pace.failed(ms(100));
        pace.at_once(ms(200));
        assert_eq!(pace.due(), ms(1100));
    }
}
