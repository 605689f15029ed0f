//! Which network card answers for an address, and whether it is the one to believe.
//!
//! Any host on a link may answer ARP for any address: a proxy, a second card of the same host, an
//! attacker. So an answer is believed only from the card through which TCP was last heard. An
//! answer from another card makes the address *contested*: that is published, but it is no
//! evidence.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::model::{Bounds, HardwareAddress, Time};

/// An address stays contested for this time after the last answer of the other card.
const CONTESTED_FOR: Duration = Duration::from_secs(60);

/// After a change of card, segments sent to the old card may still be acknowledged for this time.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// After the next hop's card changed, nothing behind it is destroyed for this time, unless TCP is
/// heard through the new card.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

/// Once the next hop has the trusted card again, hosts behind it need this time to be heard.
const HEARD_AGAIN_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(in crate::core) struct Cards {
    /// The most addresses that are kept.
    kept: usize,
    known: BTreeMap<IpAddr, Card>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Card {
    /// The card through which TCP was heard; where TCP was never heard, the first that answered.
    trusted: Option<HardwareAddress>,
    /// TCP was heard through `trusted`.
    by_tcp: bool,
    /// The card to which this host sends, and since when.
    current: Option<(HardwareAddress, Time)>,
    /// `current` was another card before.
    has_changed: bool,
    /// When a card other than `trusted` last answered.
    contested: Option<Time>,
    /// Any card has answered a probe of this address.
    answers_probes: bool,
}

impl Cards {
    pub(in crate::core) fn new(bounds: Bounds) -> Self {
        Self {
            kept: bounds.known_addresses(),
            known: BTreeMap::new(),
        }
    }

    /// A card answered for this address; returns whether the answer is believed.
    pub(in crate::core) fn answered(
        &mut self,
        addr: IpAddr,
        hardware: HardwareAddress,
        at: Time,
    ) -> bool {
        let Some(card) = self.card(addr) else {
            return false;
        };
        card.current.get_or_insert((hardware, at));
        let trusted = *card.trusted.get_or_insert(hardware);
        if trusted != hardware {
            card.contested = Some(at);
        }
        trusted == hardware
    }

    /// A probe of this address was answered.
    pub(in crate::core) fn probe_answered(&mut self, addr: IpAddr) {
        if let Some(card) = self.card(addr) {
            card.answers_probes = true;
        }
    }

    /// This host sends to this card from now on.
    pub(in crate::core) fn sends_to(&mut self, addr: IpAddr, hardware: HardwareAddress, at: Time) {
        if let Some(card) = self.card(addr)
            && card.current.is_none_or(|(current, _)| current != hardware)
        {
            card.has_changed = card.current.is_some();
            card.current = Some((hardware, at));
        }
    }

    /// TCP was heard through this next hop, from a host that acknowledged what was sent to the card
    /// in use: that card is trusted from now on.
    pub(in crate::core) fn heard_tcp(&mut self, next_hop: IpAddr, at: Time) {
        if let Some(card) = self.known.get_mut(&next_hop)
            && let Some((current, since)) = card.current
            && at > since + ON_ITS_WAY
            && !(card.by_tcp && card.trusted == Some(current))
        {
            (card.trusted, card.by_tcp, card.contested) = (Some(current), true, None);
        }
    }

    /// Whether another card has answered for this address lately.
    pub(in crate::core) fn is_contested(&self, addr: IpAddr, now: Time) -> bool {
        let card = self.known.get(&addr);
        let at = card.and_then(|card| card.contested);
        at.is_some_and(|at| now.since(at) < CONTESTED_FOR)
    }

    /// How long ago this next hop changed its card; `None` once TCP has had the time to be heard
    /// through the new card.
    pub(in crate::core) fn changed_for(&self, next_hop: IpAddr, now: Time) -> Option<Duration> {
        let card = self.known.get(&next_hop)?;
        let (current, since) = card.current?;
        let settles = match card.trusted == Some(current) {
            _ if !card.has_changed => Duration::ZERO,
            false => SETTLES_WITHIN,
            true => HEARD_AGAIN_WITHIN,
        };
        let lasts = now.since(since);
        (lasts < settles).then_some(lasts)
    }

    /// Whether a card answers probes of this next hop although TCP was never heard through it: the
    /// card may be another host's.
    pub(in crate::core) fn is_unproven(&self, next_hop: IpAddr) -> bool {
        let card = self.known.get(&next_hop);
        card.is_some_and(|card| card.answers_probes && !card.by_tcp)
    }

    /// Whether the card that answers for this address also answers for others: then its answers do
    /// not show that this host is there.
    pub(in crate::core) fn is_shared(&self, addr: IpAddr) -> bool {
        let Some(hardware) = self.known.get(&addr).and_then(|card| card.trusted) else {
            return false;
        };
        let same = |card: &Card| card.trusted == Some(hardware);
        self.known
            .values()
            .filter(|card| same(card))
            .nth(1)
            .is_some()
    }

    /// Forgets an address that no peer has any more.
    pub(in crate::core) fn forget(&mut self, addr: IpAddr) {
        self.known.remove(&addr);
    }

    fn card(&mut self, addr: IpAddr) -> Option<&mut Card> {
        let has_room = self.known.len() < self.kept || self.known.contains_key(&addr);
        has_room.then(|| self.known.entry(addr).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    const REAL: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 1]);
    const OTHER: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 2]);

    fn addr(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    fn heard() -> Cards {
        let mut cards = Cards::new(Bounds::new(4));
        cards.sends_to(addr(4), REAL, ms(0));
        cards.heard_tcp(addr(4), ms(510));
        cards
    }

    #[test]
    fn only_the_card_under_which_tcp_was_heard_is_believed() {
        let mut cards = heard();
        assert!(cards.answered(addr(4), REAL, ms(20)));
        assert!(!cards.answered(addr(4), OTHER, ms(30)));
        assert!(cards.is_contested(addr(4), ms(60_000)));
        assert!(!cards.is_contested(addr(4), ms(60_030)));
    }

    #[test]
    fn an_address_that_has_moved_is_believed_once_tcp_is_heard() {
        let mut cards = heard();
        cards.sends_to(addr(4), OTHER, ms(600));
        assert!(!cards.answered(addr(4), OTHER, ms(610)));
        assert_eq!(
            cards.changed_for(addr(4), ms(650)),
            Some(Duration::from_millis(50))
        );
        cards.heard_tcp(addr(4), ms(1101));
        assert!(cards.answered(addr(4), OTHER, ms(1110)));
        assert!(!cards.is_contested(addr(4), ms(1110)));
        assert!(cards.changed_for(addr(4), ms(1120)).is_some(), "just now");
        assert_eq!(cards.changed_for(addr(4), ms(2600)), None);
    }

    /// The daemon has just started: the card was seen, and nothing was heard by it yet.
    #[test]
    fn a_change_right_after_the_start_settles_as_long() {
        for answered in [false, true] {
            let mut cards = Cards::new(Bounds::new(4));
            cards.sends_to(addr(4), REAL, ms(0));
            if answered {
                cards.answered(addr(4), REAL, ms(10));
            }
            assert_eq!(cards.changed_for(addr(4), ms(20)), None);
            cards.sends_to(addr(4), OTHER, ms(600));
            assert!(cards.changed_for(addr(4), ms(10_599)).is_some());
        }
    }

    #[test]
    fn a_change_excuses_nobody_for_ever() {
        let mut cards = heard();
        cards.sends_to(addr(4), OTHER, ms(600));
        assert!(cards.changed_for(addr(4), ms(10_599)).is_some());
        assert_eq!(cards.changed_for(addr(4), ms(10_600)), None);
    }

    #[test]
    fn what_was_heard_before_the_change_trusts_nobody() {
        let mut cards = heard();
        cards.sends_to(addr(4), OTHER, ms(600));
        cards.heard_tcp(addr(4), ms(1100));
        assert!(!cards.answered(addr(4), OTHER, ms(610)));
    }

    #[test]
    fn a_card_that_answers_is_unproven_until_tcp_is_heard() {
        let mut cards = Cards::new(Bounds::new(4));
        cards.sends_to(addr(4), REAL, ms(0));
        cards.answered(addr(4), REAL, ms(0));
        assert!(!cards.is_unproven(addr(4)), "the kernel's table is history");
        cards.probe_answered(addr(4));
        assert!(cards.is_unproven(addr(4)));
        cards.heard_tcp(addr(4), ms(510));
        assert!(!cards.is_unproven(addr(4)));
    }

    #[test]
    fn a_card_that_answers_for_several_is_shared() {
        let mut cards = Cards::new(Bounds::new(4));
        cards.answered(addr(4), REAL, ms(0));
        assert!(!cards.is_shared(addr(4)));
        cards.answered(addr(5), REAL, ms(0));
        assert!(cards.is_shared(addr(4)));
        cards.forget(addr(5));
        assert!(!cards.is_shared(addr(4)));
    }
}
