//! How many probes may be sent: a token bucket.

use crate::model::Time;

/// How much of the bucket is left to more urgent probes: what is less urgent gets what they leave.
const RESERVED_FROM_DEAD: f64 = 0.75;
const RESERVED_FROM_ROUTINE: f64 = 0.5;
const RESERVED_FROM_URGENT: f64 = 0.1;

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

/// Whether a probe can wait, the least urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Urgency {
    /// The peer is Dead, and may be back. A thousand dead peers must not use up the budget.
    Dead,
    /// Nothing stands unanswered.
    Routine,
    /// A verdict depends on it.
    Urgent,
    /// All verdicts depend on it: without witnesses every silence may be this node's own fault.
    Witness,
}

impl Urgency {
    const fn reserved(self) -> f64 {
        match self {
            Self::Dead => RESERVED_FROM_DEAD,
            Self::Routine => RESERVED_FROM_ROUTINE,
            Self::Urgent => RESERVED_FROM_URGENT,
            Self::Witness => 0.0,
        }
    }
}

impl Budget {
    /// A full bucket: it holds the probes of a quarter of a second, but at least one. All idle peers
    /// are probed at the same moment, out of what is not reserved.
    pub(in crate::core) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        let size = (per_second / 4.0).max(1.0);
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

    /// Takes one probe out of the bucket, if it has one beyond what is reserved.
    pub(in crate::core) fn take(&mut self, now: Time, urgency: Urgency) -> bool {
        let size = self.size;
        // A small bucket has nothing to reserve.
        let floor = match size >= 2.0 {
            true => (size * urgency.reserved()).min(size - 1.0),
            false => 0.0,
        };
        self.take_of(now, floor + 1.0)
    }

    /// Takes one probe out of the bucket, if it holds so many, or is full.
    pub(in crate::core) fn take_of(&mut self, now: Time, least: f64) -> bool {
        let gained = now.since(self.as_of).as_secs_f64() * self.per_second;
        self.left = (self.left + gained).min(self.size);
        self.as_of = self.as_of.max(now);
        let granted = self.left >= least.min(self.size);
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
    fn no_more_than_the_rate_and_some_of_it_is_kept_for_what_is_more_urgent() {
        let mut budget = Budget::new(100);
        let mut taken = |at, urgency| (0..100).filter(|_| budget.take(ms(at), urgency)).count();
        assert_eq!(taken(0, Urgency::Dead), 6);
        assert_eq!(taken(0, Urgency::Routine), 6);
        assert_eq!(taken(0, Urgency::Urgent), 10);
        assert_eq!(taken(0, Urgency::Urgent), 0);
        assert_eq!(taken(0, Urgency::Witness), 3);
        assert_eq!(taken(50, Urgency::Urgent), 2);
        assert_eq!(taken(10_000, Urgency::Witness), 25);
    }

    #[test]
    fn a_strict_rate_is_never_exceeded_within_any_second() {
        let mut budget = Budget::strict(5);
        let taken: Vec<u64> = (0..10_000)
            .filter(|at| budget.take(ms(*at), Urgency::Witness))
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
