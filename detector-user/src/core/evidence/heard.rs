//! When the peer was last heard, by layer.
//!
//! | layer | what proves it | it proves |
//! |---|---|---|
//! | link | an ARP or NDP answer | a card that answers |
//! | received | any segment from the peer | the way from it to us |
//! | host | what acknowledges something that we sent | both ways, and a running kernel |
//!
//! What is heard on one layer is heard on those below it, and says nothing of those above.

use crate::core::{Time, evidence::tracked::HEARD_RESOLUTION};

/// The layers, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::core) enum Layer {
    Link,
    Received,
    Host,
}

#[derive(Clone, Copy, Debug, Default)]
pub(in crate::core) struct Heard {
    link: Option<Time>,
    /// The same of what a card answered, to the microsecond.
    card: Option<Time>,
    received: Option<Time>,
    host: Option<Time>,
    /// The same as `host`, of what is known to the microsecond.
    host_exactly: Option<Time>,
}

impl Heard {
    /// It was heard at `at`, by the kernel's coarse clock.
    pub(super) fn note(&mut self, layer: Layer, at: Time) {
        self.link = self.link.max(Some(at));
        if layer >= Layer::Received {
            self.received = self.received.max(Some(at));
        }
        if layer >= Layer::Host {
            self.host = self.host.max(Some(at));
        }
    }

    /// The same, to the microsecond.
    pub(super) fn note_exactly(&mut self, layer: Layer, at: Time) {
        self.note(layer, at);
        if layer == Layer::Link {
            self.card = self.card.max(Some(at));
        }
        if layer >= Layer::Host {
            self.host_exactly = self.host_exactly.max(Some(at));
        }
    }

    /// When it was last heard on this layer or above.
    pub(in crate::core) fn on(&self, layer: Layer) -> Option<Time> {
        match layer {
            Layer::Link => self.link,
            Layer::Received => self.received,
            Layer::Host => self.host,
        }
    }

    /// When its card, or one that is believed to be, last answered.
    pub(in crate::core) fn card(&self) -> Option<Time> {
        self.card
    }

    /// Since when its host was surely not heard, or might just not have been: the time of a
    /// segment is coarse.
    pub(in crate::core) fn surely(&self) -> Option<Time> {
        let coarse = self.host.map(|heard| heard - HEARD_RESOLUTION);
        coarse.max(self.host_exactly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    #[test]
    fn a_layer_is_heard_on_those_below_and_never_above() {
        let mut heard = Heard::default();
        heard.note(Layer::Link, ms(30));
        heard.note(Layer::Received, ms(20));
        heard.note_exactly(Layer::Host, ms(10));
        assert_eq!(heard.on(Layer::Link), Some(ms(30)));
        assert_eq!(heard.on(Layer::Received), Some(ms(20)));
        assert_eq!(heard.on(Layer::Host), Some(ms(10)));
        assert_eq!(heard.surely(), Some(ms(10)));
    }

    #[test]
    fn a_coarse_time_is_sure_only_within_its_resolution() {
        let mut heard = Heard::default();
        heard.note(Layer::Host, ms(100));
        assert_eq!(heard.surely(), Some(ms(90)));
    }
}
