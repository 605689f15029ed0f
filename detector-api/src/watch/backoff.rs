//! The pause between two attempts.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles from 100 ms to 5 s. Between half of that and all of it is waited, at random, so that the
/// programs of a node do not all reconnect at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    pub(super) fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_bound_and_starts_anew() {
        let mut backoff = Backoff::new();
        for whole in [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            let whole = Duration::from_millis(whole);
            let wait = backoff.next();
            assert!((whole / 2..=whole).contains(&wait), "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }

    #[test]
    fn no_two_wait_alike() {
        let waits = |mut backoff: Backoff| -> Vec<_> { (0..8).map(|_| backoff.next()).collect() };
        assert_ne!(waits(Backoff::new()), waits(Backoff::new()));
    }
}
