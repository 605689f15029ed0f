//! How many probes may be sent: a bucket that fills up as time goes by.

use super::Time;

/// What is left for probes that cannot wait: the others get at most the other half.
const RESERVED: f64 = 0.5;

#[derive(Debug)]
pub(super) struct Budget {
    per_second: f64,
    left: f64,
    as_of: Time,
}

/// Whether a probe can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Nothing stands unanswered.
    Routine,
    /// A verdict hangs on it.
    Urgent,
}

impl Budget {
    /// A full bucket: it holds what a tenth of a second may use, but one probe at least.
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self {
            per_second,
            left: (per_second / 10.0).max(1.0),
            as_of: Time::default(),
        }
    }

    /// Takes one probe out, if there is one to be had.
    pub(super) fn take(&mut self, now: Time, urgency: Urgency) -> bool {
        let size = (self.per_second / 10.0).max(1.0);
        let gained = now.since(self.as_of).as_secs_f64() * self.per_second;
        self.left = (self.left + gained).min(size);
        self.as_of = self.as_of.max(now);
        let floor = match urgency {
            Urgency::Routine if size >= 2.0 => size * RESERVED,
            Urgency::Routine | Urgency::Urgent => 0.0,
        };
        let granted = self.left >= floor + 1.0;
        if granted {
            self.left -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    #[test]
    fn no_more_than_the_rate_and_half_of_it_is_kept_for_what_is_urgent() {
        let mut budget = Budget::new(100);
        let mut taken = |at, urgency| (0..100).filter(|_| budget.take(ms(at), urgency)).count();
        assert_eq!(taken(0, Urgency::Routine), 5);
        assert_eq!(taken(0, Urgency::Urgent), 5);
        assert_eq!(taken(0, Urgency::Urgent), 0);
        assert_eq!(taken(50, Urgency::Urgent), 5);
        assert_eq!(taken(10_000, Urgency::Urgent), 10);
    }

    #[test]
    fn one_probe_a_second_is_a_rate_too() {
        let mut budget = Budget::new(1);
        assert!(budget.take(ms(0), Urgency::Routine));
        assert!(!budget.take(ms(500), Urgency::Routine));
        assert!(budget.take(ms(1000), Urgency::Routine));
    }
}
