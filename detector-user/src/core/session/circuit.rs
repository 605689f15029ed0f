//! The circuit breaker of one path: Closed, Open, HalfOpen with leased trials.

use crate::model::{Breaker, Settings, Time, Trial, TrialError};

#[derive(Clone, Debug)]
enum State {
    Closed,
    /// Becomes HalfOpen at `until` unless something is heard before.
    Open {
        until: Time,
    },
    HalfOpen {
        leases: Vec<Lease>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    id: u64,
    until: Time,
}

/// One path's breaker.
#[derive(Clone, Debug)]
pub(in crate::core) struct Circuit {
    state: State,
}

impl Circuit {
    pub(in crate::core) fn new() -> Self {
        Self {
            state: State::Closed,
        }
    }

    pub(in crate::core) fn breaker(&self) -> Breaker {
        match self.state {
            State::Closed => Breaker::Closed,
            State::Open { .. } => Breaker::Open,
            State::HalfOpen { .. } => Breaker::HalfOpen,
        }
    }

    pub(in crate::core) fn close(&mut self) {
        self.state = State::Closed;
    }

    pub(in crate::core) fn open(&mut self, now: Time, settings: &Settings) {
        self.state = State::Open {
            until: now + settings.recovery_timeout,
        };
    }

    /// Becomes HalfOpen: trials are admitted.
    pub(in crate::core) fn half_open(&mut self) {
        self.state = State::HalfOpen { leases: Vec::new() };
    }

    /// When the breaker should go from Open to HalfOpen.
    pub(in crate::core) fn timeout(&self) -> Option<Time> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    /// Whether it is time to go from Open to HalfOpen.
    pub(in crate::core) fn is_due(&self, now: Time) -> bool {
        self.timeout().is_some_and(|until| until <= now)
    }

    /// Leases a trial with this id.
    pub(in crate::core) fn acquire(
        &mut self,
        now: Time,
        id: u64,
        settings: &Settings,
    ) -> Result<Trial, TrialError> {
        let State::HalfOpen { leases } = &mut self.state else {
            return Err(TrialError::NotHalfOpen);
        };
        leases.retain(|lease| lease.until > now);
        if leases.len() >= settings.half_open_trials as usize {
            return Err(TrialError::Exhausted);
        }
        leases.push(Lease {
            id,
            until: now + settings.trial_lease,
        });
        Ok(Trial {
            id,
            lease: settings.trial_lease,
        })
    }

    /// Takes a trial back. The caller decides what its outcome means for the breaker.
    pub(in crate::core) fn finish(&mut self, now: Time, trial: u64) -> Result<(), TrialError> {
        let State::HalfOpen { leases } = &mut self.state else {
            return Err(TrialError::UnknownTrial);
        };
        leases.retain(|lease| lease.until > now);
        let index = leases
            .iter()
            .position(|lease| lease.id == trial)
            .ok_or(TrialError::UnknownTrial)?;
        leases.swap_remove(index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    fn half_open() -> (Circuit, Settings) {
        let settings = Settings {
            half_open_trials: 2,
            ..Settings::default()
        };
        let mut circuit = Circuit::new();
        circuit.open(at(0), &settings);
        assert!(circuit.is_due(at(30)));
        circuit.half_open();
        (circuit, settings)
    }

    #[test]
    fn half_opens_after_the_recovery_timeout_and_not_before() {
        let settings = Settings::default();
        let mut circuit = Circuit::new();
        assert!(!circuit.is_due(at(100)));
        circuit.open(at(0), &settings);
        assert!(!circuit.is_due(at(29)));
        assert_eq!(circuit.breaker(), Breaker::Open);
        assert!(circuit.is_due(at(30)));
        circuit.half_open();
        assert_eq!(circuit.breaker(), Breaker::HalfOpen);
    }

    #[test]
    fn trials_are_bounded_and_come_back() {
        let (mut circuit, settings) = half_open();
        let first = circuit.acquire(at(31), 1, &settings).unwrap();
        let second = circuit.acquire(at(31), 2, &settings).unwrap();
        assert_ne!(first.id, second.id);
        assert_eq!(
            circuit.acquire(at(31), 3, &settings),
            Err(TrialError::Exhausted)
        );
        circuit.finish(at(32), first.id).unwrap();
        assert_eq!(
            circuit.finish(at(32), first.id),
            Err(TrialError::UnknownTrial)
        );
        assert!(circuit.acquire(at(32), 4, &settings).is_ok());
    }

    #[test]
    fn a_lease_ends_by_itself() {
        let (mut circuit, settings) = half_open();
        let trial = circuit.acquire(at(31), 5, &settings).unwrap();
        circuit.acquire(at(31), 6, &settings).unwrap();
        assert_eq!(
            circuit.finish(at(36), trial.id),
            Err(TrialError::UnknownTrial)
        );
        assert!(circuit.acquire(at(36), 7, &settings).is_ok());
    }

    #[test]
    fn a_lease_that_ended_makes_room() {
        let (mut circuit, settings) = half_open();
        for id in [1, 2] {
            circuit.acquire(at(31), id, &settings).unwrap();
        }
        let early = circuit.acquire(at(35), 3, &settings);
        assert_eq!(early, Err(TrialError::Exhausted));
        assert!(circuit.acquire(at(36), 3, &settings).is_ok());
    }

    #[test]
    fn trials_are_only_for_half_open() {
        let mut circuit = Circuit::new();
        let settings = Settings::default();
        assert_eq!(
            circuit.acquire(at(0), 8, &settings),
            Err(TrialError::NotHalfOpen)
        );
        circuit.open(at(0), &settings);
        assert_eq!(
            circuit.acquire(at(1), 9, &settings),
            Err(TrialError::NotHalfOpen)
        );
    }
}
