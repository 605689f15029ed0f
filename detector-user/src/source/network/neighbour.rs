//! Which neighbour entries say something about the host.
//!
//! An entry turns REACHABLE in two ways (net/core/neighbour.c). One is an answer: an ARP reply, or
//! a solicited neighbour advertisement (`neigh_update`). The other is progress of TCP: an ACK marks
//! the socket (`sk_dst_confirm`), and what the socket *sends next* stamps the entry
//! (`sock_confirm_neigh`), which a timer may turn from DELAY to REACHABLE up to 5 s after that
//! (`neigh_timer_handler`). Both are packets from the neighbour, but the stamp of the second is
//! that of our own transmission: a peer may have been dead for long when a socket that was idle
//! sends again. An answer changes the entry at the same moment at which it confirms it; only that
//! is taken for a sign of life. TCP's own progress is seen on the sockets, with more precise times.

use std::time::Duration;

use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState as Nud};

use super::decode::{CLOCK_TICK, Neighbour};
use crate::model::{NeighbourState, Time};

/// An answer that is older says nothing about the present.
const FRESH: Duration = Duration::from_secs(1);

/// The state that the entry shows as evidence, and since when.
pub(super) fn evidence(entry: &Neighbour, received: Time) -> Option<(Time, NeighbourState)> {
    // A process set the entry, a routing daemon learnt it elsewhere, or this host is a proxy for
    // it.
    let set = NeighbourFlags::ExtLearned | NeighbourFlags::Proxy;
    if entry.by_request || entry.flags.intersects(set) {
        return None;
    }
    let ages = entry.ages?;
    match entry.state {
        Nud::Reachable => {
            let apart = ages.confirmed.abs_diff(ages.updated);
            let answered = apart <= CLOCK_TICK && ages.confirmed <= FRESH;
            answered.then(|| (received - ages.confirmed, NeighbourState::Reachable))
        }
        Nud::Failed => Some((received - ages.updated, NeighbourState::Failed)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::decode::Ages, *};

    const NOW: Time = Time::from_nanos(100_000_000_000);

    fn entry(state: Nud, confirmed_ms: u64, updated_ms: u64) -> Neighbour {
        Neighbour {
            addr: [10, 77, 0, 2].into(),
            link: 2,
            state,
            flags: NeighbourFlags::empty(),
            hardware: None,
            ages: Some(Ages {
                confirmed: Duration::from_millis(confirmed_ms),
                updated: Duration::from_millis(updated_ms),
            }),
            by_request: false,
        }
    }

    #[test]
    fn an_answer_is_heard_when_it_came() {
        let heard = |age| Some((NOW - Duration::from_millis(age), NeighbourState::Reachable));
        assert_eq!(evidence(&entry(Nud::Reachable, 0, 0), NOW), heard(0));
        assert_eq!(evidence(&entry(Nud::Reachable, 10, 0), NOW), heard(10));
        assert_eq!(
            evidence(&entry(Nud::Reachable, 1000, 1000), NOW),
            heard(1000)
        );
    }

    #[test]
    fn an_old_answer_is_none() {
        assert_eq!(evidence(&entry(Nud::Reachable, 1010, 1010), NOW), None);
    }

    /// The timer turned it REACHABLE, or a socket stamped it: both with our own sending.
    #[test]
    fn a_stamp_of_our_own_sending_is_no_answer() {
        assert_eq!(evidence(&entry(Nud::Reachable, 4990, 0), NOW), None);
        assert_eq!(evidence(&entry(Nud::Reachable, 500, 0), NOW), None);
        assert_eq!(evidence(&entry(Nud::Reachable, 0, 20_000), NOW), None);
    }

    #[test]
    fn a_failure_is_told_with_its_own_time_whatever_its_age() {
        let failed = Some((NOW - Duration::from_secs(40), NeighbourState::Failed));
        assert_eq!(evidence(&entry(Nud::Failed, 60_000, 40_000), NOW), failed);
    }

    #[test]
    fn what_was_set_is_no_evidence() {
        for state in [Nud::Reachable, Nud::Failed] {
            let by_request = Neighbour {
                by_request: true,
                ..entry(state, 0, 0)
            };
            assert_eq!(evidence(&by_request, NOW), None);
            for flags in [NeighbourFlags::ExtLearned, NeighbourFlags::Proxy] {
                let set = Neighbour {
                    flags,
                    ..entry(state, 0, 0)
                };
                assert_eq!(evidence(&set, NOW), None);
            }
        }
        for state in [Nud::Permanent, Nud::Noarp] {
            assert_eq!(evidence(&entry(state, 0, 0), NOW), None);
        }
    }

    #[test]
    fn what_is_on_the_way_is_no_evidence() {
        for state in [
            Nud::None,
            Nud::Incomplete,
            Nud::Stale,
            Nud::Delay,
            Nud::Probe,
        ] {
            assert_eq!(evidence(&entry(state, 0, 0), NOW), None);
        }
    }

    #[test]
    fn without_ages_nothing_is_known() {
        let ageless = Neighbour {
            ages: None,
            ..entry(Nud::Reachable, 0, 0)
        };
        assert_eq!(evidence(&ageless, NOW), None);
    }
}
