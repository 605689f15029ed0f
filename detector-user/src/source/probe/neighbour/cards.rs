//! The cards that neighbours are known to have: a probe goes to that card.
//!
//! A request to one card disturbs no other host, and is not answered by hosts that would answer for
//! others. So a request goes to all cards only if no card is known, or if the known one left a
//! request unanswered: the address may have moved.

use std::{collections::HashMap, net::IpAddr};

use crate::{model::HardwareAddress, source::network::NeighbourTable};

/// An address on a link.
pub(super) type Key = (IpAddr, u32);

/// What was learnt from answers, or else what the kernel knows.
#[derive(Debug)]
pub(super) struct Cards {
    /// The most cards that are kept.
    most: usize,
    known: HashMap<Key, Card>,
    kernel: NeighbourTable,
}

#[derive(Clone, Copy, Debug)]
struct Card {
    hardware: HardwareAddress,
    /// The last request to it was unanswered, or answered by another card.
    is_doubted: bool,
}

impl Cards {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            known: HashMap::new(),
            kernel: NeighbourTable::default(),
        }
    }

    /// The card to which a request should go; `None` for all cards.
    pub(super) fn whom(&mut self, (addr, link): Key) -> Option<HardwareAddress> {
        let known = self.known.get(&(addr, link));
        if let Some(card) = known {
            return (!card.is_doubted).then_some(card.hardware);
        }
        let hardware = self.kernel.hardware(addr, link)?;
        self.learn((addr, link), hardware);
        Some(hardware)
    }

    /// A request to the card `asked`, or to all, was answered by the card `by`.
    pub(super) fn answered(
        &mut self,
        key: Key,
        asked: Option<HardwareAddress>,
        by: HardwareAddress,
    ) {
        match asked {
            // Another card answered; the one that was asked did not.
            Some(card) if card != by => self.unanswered(key, asked),
            _ => self.learn(key, by),
        }
    }

    /// A request to this card, or to all, was not answered in time.
    pub(super) fn unanswered(&mut self, key: Key, asked: Option<HardwareAddress>) {
        if let Some(card) = self.known.get_mut(&key)
            && Some(card.hardware) == asked
        {
            card.is_doubted = true;
        }
    }

    fn learn(&mut self, key: Key, hardware: HardwareAddress) {
        if self.known.len() >= self.most && !self.known.contains_key(&key) {
            self.known.clear();
        }
        let card = Card {
            hardware,
            is_doubted: false,
        };
        self.known.insert(key, card);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 1]);
    const OTHER: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 2]);

    /// On a link that is not there: the kernel knows nobody on it.
    fn key(last: u8) -> Key {
        ([10, 77, 0, last].into(), 0x7fff_fff0)
    }

    #[test]
    fn a_card_is_asked_alone_until_it_does_not_answer() {
        let mut cards = Cards::new(16);
        assert_eq!(cards.whom(key(2)), None, "none is known");
        cards.answered(key(2), None, CARD);
        assert_eq!(cards.whom(key(2)), Some(CARD));
        assert_eq!(cards.whom(key(3)), None, "another address");
        cards.answered(key(2), Some(CARD), CARD);
        assert_eq!(cards.whom(key(2)), Some(CARD));
        cards.unanswered(key(2), Some(CARD));
        assert_eq!(cards.whom(key(2)), None);
        cards.unanswered(key(2), None);
        assert_eq!(cards.whom(key(2)), None);
        cards.answered(key(2), None, OTHER);
        assert_eq!(cards.whom(key(2)), Some(OTHER));
    }

    /// Several questions may be on the way.
    #[test]
    fn what_an_earlier_card_left_unanswered_is_not_held_against_the_next() {
        let mut cards = Cards::new(16);
        cards.answered(key(2), None, OTHER);
        cards.unanswered(key(2), Some(CARD));
        cards.unanswered(key(2), None);
        assert_eq!(cards.whom(key(2)), Some(OTHER));
    }

    #[test]
    fn an_answer_by_another_card_is_a_reason_to_ask_all() {
        let mut cards = Cards::new(16);
        cards.answered(key(2), None, CARD);
        cards.answered(key(2), Some(CARD), OTHER);
        assert_eq!(cards.whom(key(2)), None);
        cards.answered(key(2), None, CARD);
        assert_eq!(cards.whom(key(2)), Some(CARD));
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut cards = Cards::new(16);
        for link in 0..=16 {
            cards.answered((key(2).0, u32::MAX - link), None, CARD);
            assert!(cards.known.len() <= 16);
        }
    }
}
