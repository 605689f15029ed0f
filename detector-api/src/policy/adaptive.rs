//! Deadlines: fixed, or computed from the round-trip time that the kernel measures.

use std::time::Duration;

use crate::Details;

/// The time limit of one attempt.
///
/// An adaptive deadline is `service + round_trips × (SRTT + 4 × RTTVAR)`, kept within its bounds.
/// The bracket is TCP's own retransmission time-out (RFC 6298, 2.3), which is how long the kernel
/// itself would wait for an answer from this peer. `service` is the time that the peer's program
/// may take, which no round-trip time shows.
///
/// ```
/// use std::time::Duration;
/// use detector_api::{Details, policy::Deadline};
///
/// let deadline = Deadline::Adaptive {
///     service: Duration::from_millis(500),
///     round_trips: 2,
///     at_least: Duration::from_millis(600),
///     at_most: Duration::from_secs(3),
/// };
/// let mut far = Details::default();
/// far.srtt = Some(Duration::from_millis(80));
/// far.rtt_variance = Some(Duration::from_millis(5));
/// assert_eq!(deadline.of(&far), Duration::from_millis(700));
/// // Nothing measured: the longest.
/// assert_eq!(deadline.of(&Details::default()), Duration::from_secs(3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deadline {
    /// Always the same.
    Fixed(Duration),
    /// Computed from the round-trip time, as above.
    Adaptive {
        /// The time that the peer's program may take.
        service: Duration,
        /// The number of round trips of the call, including a connect.
        round_trips: u32,
        /// The lower bound.
        at_least: Duration,
        /// The upper bound, and the deadline while no round-trip time is known.
        at_most: Duration,
    },
}

impl Deadline {
    /// The deadline for a peer with these details.
    ///
    /// ```
    /// use std::time::Duration;
    /// use detector_api::{Peer, policy::Deadline};
    ///
    /// let deadline = Deadline::Fixed(Duration::from_secs(3));
    /// let peer = Peer::unwatched("http://node4:9000");
    /// assert_eq!(deadline.of(&peer.details()), Duration::from_secs(3));
    /// ```
    pub fn of(&self, details: &Details) -> Duration {
        match *self {
            Self::Fixed(limit) => limit,
            Self::Adaptive {
                service,
                round_trips,
                at_least,
                at_most,
            } => {
                let (Some(srtt), Some(variance)) = (details.srtt, details.rtt_variance) else {
                    return at_most;
                };
                let timeout = srtt.saturating_add(variance.saturating_mul(4));
                service
                    .saturating_add(timeout.saturating_mul(round_trips))
                    // `clamp` would panic if the bounds were in the wrong order.
                    .max(at_least)
                    .min(at_most)
            }
        }
    }

    /// The longest that the deadline can be.
    ///
    /// ```
    /// use std::time::Duration;
    /// use detector_api::policy::Deadline;
    ///
    /// let limit = Duration::from_secs(3);
    /// assert_eq!(Deadline::Fixed(limit).at_most(), limit);
    /// ```
    pub fn at_most(&self) -> Duration {
        match *self {
            Self::Fixed(limit) => limit,
            Self::Adaptive { at_most, .. } => at_most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn of(srtt: Duration, at_least: Duration, at_most: Duration) -> Duration {
        Deadline::Adaptive {
            service: 10 * MS,
            round_trips: 1,
            at_least,
            at_most,
        }
        .of(&Details {
            srtt: Some(srtt),
            rtt_variance: Some(Duration::ZERO),
            ..Details::default()
        })
    }

    #[test]
    fn stays_within_its_bounds() {
        assert_eq!(of(5 * MS, MS, 100 * MS), 15 * MS);
        assert_eq!(of(5 * MS, 50 * MS, 100 * MS), 50 * MS);
        assert_eq!(of(500 * MS, 50 * MS, 100 * MS), 100 * MS);
        assert_eq!(of(Duration::MAX, 50 * MS, 100 * MS), 100 * MS);
        assert_eq!(
            of(5 * MS, 100 * MS, 50 * MS),
            50 * MS,
            "never above at_most"
        );
    }
}
