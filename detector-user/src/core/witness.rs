//! Whether anybody else is heard: where nobody is, it may be this host that is cut off.

use std::time::Duration;

use super::{PeerName, Time};

/// Who was heard this long before a silence began is expected to be heard during it.
const RECENTLY: Duration = Duration::from_secs(10);

/// In a long silence, a witness must have been heard this lately.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// One who can bear witness that this host is not cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    Peer(PeerName),
    /// A next hop.
    Gateway(std::net::IpAddr),
}

/// The two witnesses that were heard last: of any one peer, one of them is another.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    latest: Option<(Time, Witness)>,
    second: Option<(Time, Witness)>,
}

impl Witnesses {
    /// A witness was heard at `at`.
    pub(super) fn heard(&mut self, witness: &Witness, at: Time) {
        match &mut self.latest {
            Some((latest, who)) if who == witness => *latest = at.max(*latest),
            Some((latest, _)) if *latest > at => match &mut self.second {
                Some((second, who)) if who == witness => *second = at.max(*second),
                Some((second, _)) if *second > at => {}
                second => *second = Some((at, witness.clone())),
            },
            latest => {
                let before = latest.replace((at, witness.clone()));
                if before.is_some() {
                    self.second = before;
                }
            }
        }
    }

    /// These, and no others, were heard: someone is no longer a witness.
    pub(super) fn reset(&mut self, heard: impl Iterator<Item = (Time, Witness)>) {
        *self = Self::default();
        for (at, witness) in heard {
            self.heard(&witness, at);
        }
    }

    /// Whether the silence of `peer` from `since` to `now` may be this host's own: others
    /// were heard shortly before it began, and none of them lately. What arrived as it began
    /// proves nothing, so that a witness must be heard in its second half.
    pub(super) fn none_but(
        &self,
        peer: &PeerName,
        since: Time,
        now: Time,
        idle_interval: Duration,
    ) -> bool {
        let Some(heard) = self.other_than(peer) else {
            return false;
        };
        let window = (now.since(since) / 2).min(HEARD_WITHIN);
        let was_active = heard + RECENTLY.max(idle_interval * 3) >= since;
        was_active && heard < now - window
    }

    fn other_than(&self, peer: &PeerName) -> Option<Time> {
        [&self.latest, &self.second]
            .into_iter()
            .flatten()
            .find(|(_, witness)| !matches!(witness, Witness::Peer(name) if name == peer))
            .map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    fn name(n: u8) -> PeerName {
        PeerName::from_canonical(&format!("http://node{n}:9000"))
    }

    fn witnesses(heard: &[(u8, u64)]) -> Witnesses {
        let mut witnesses = Witnesses::default();
        for &(n, at) in heard {
            witnesses.heard(&Witness::Peer(name(n)), ms(at));
        }
        witnesses
    }

    #[test]
    fn a_lone_peer_has_no_witnesses() {
        let witnesses = witnesses(&[(1, 0), (1, 10)]);
        assert!(!witnesses.none_but(&name(1), ms(0), ms(250), Duration::ZERO));
    }

    #[test]
    fn others_that_fell_silent_too_make_it_our_own_fault() {
        for heard in [[(1, 5), (2, 8)], [(2, 8), (1, 5)], [(2, 5), (1, 8)]] {
            let witnesses = witnesses(&heard);
            assert!(
                witnesses.none_but(&name(1), ms(10), ms(260), Duration::ZERO),
                "{heard:?}"
            );
        }
    }

    #[test]
    fn a_witness_must_be_heard_in_the_second_half() {
        let early = witnesses(&[(1, 0), (2, 100)]);
        assert!(early.none_but(&name(1), ms(0), ms(250), Duration::ZERO));
        let late = witnesses(&[(1, 0), (2, 130), (3, 1)]);
        assert!(!late.none_but(&name(1), ms(0), ms(250), Duration::ZERO));
    }

    #[test]
    fn who_was_silent_long_before_is_no_witness() {
        let witnesses = witnesses(&[(2, 0), (1, 20_000)]);
        assert!(!witnesses.none_but(&name(1), ms(20_000), ms(20_250), Duration::ZERO));
    }

    #[test]
    fn a_gateway_is_a_witness_as_well() {
        let mut witnesses = witnesses(&[(1, 0)]);
        witnesses.heard(&Witness::Gateway([10, 0, 0, 1].into()), ms(200));
        assert!(!witnesses.none_but(&name(1), ms(0), ms(250), Duration::ZERO));
    }

    #[test]
    fn the_two_latest_are_kept_in_whatever_order_they_come() {
        let witnesses = witnesses(&[(3, 30), (2, 20), (1, 10), (2, 25), (3, 5)]);
        assert_eq!(witnesses.other_than(&name(3)), Some(ms(25)));
        assert_eq!(witnesses.other_than(&name(9)), Some(ms(30)));
    }
}
