//! How many probes may be sent: a token bucket.

use crate::core::Time;

/// The part of the bucket that is reserved for urgent probes: routine ones get at most the rest.
const RESERVED: f64 = 0.5;

/// What a strict bucket may gain within a second beyond its rate, in probes: less than one, with
/// room for timers that are late.
const STRICT_GAIN: f64 = 0.9;

#[derive(Debug)]
pub(in crate::core) struct Budget {
    per_second: f64,
    /// The most probes that may be taken at once.
    size: f64,
    left: f64,
    as_of: Time,
}

/// Whether a probe can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Urgency {
    /// Nothing stands unanswered.
    Routine,
    /// A verdict depends on it.
    Urgent,
}

impl Budget {
    /// A full bucket: it holds the probes of a tenth of a second, but at least one.
    pub(in crate::core) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        let size = (per_second / 10.0).max(1.0);
        Self {
            per_second,
            size,
            left: size,
            as_of: Time::default(),
        }
    }

    /// A bucket from which no more than `per_second` probes are taken within any second: what is
    /// saved up and what is gained within the second are together less than `per_second` + 1.
    pub(in crate::core) fn strict(per_second: u32) -> Self {
        let size = (f64::from(per_second) / 2.0).max(1.0).floor();
        Self {
            per_second: f64::from(per_second) - size + STRICT_GAIN,
            size,
            left: size,
            as_of: Time::default(),
        }
    }

    /// Takes one probe out of the bucket, if it has one.
    pub(in crate::core) fn take(&mut self, now: Time, urgency: Urgency) -> bool {
        let size = self.size;
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
    fn a_strict_rate_is_never_exceeded_within_any_second() {
        let mut budget = Budget::strict(5);
        let taken: Vec<u64> = (0..10_000)
            .filter(|at| budget.take(ms(*at), Urgency::Urgent))
            .collect();
        assert!(taken.len() >= 30, "{}", taken.len());
        let within = |from: u64| {
            taken
                .iter()
                .filter(|at| (from..from + 1000).contains(at))
                .count()
        };
        assert!((0..9000).all(|from| within(from) <= 5));
    }

    #[test]
    fn one_probe_a_second_is_a_rate_too() {
        let mut budget = Budget::new(1);
        assert!(budget.take(ms(0), Urgency::Routine));
        assert!(!budget.take(ms(500), Urgency::Routine));
        assert!(budget.take(ms(1000), Urgency::Routine));
    }
}
