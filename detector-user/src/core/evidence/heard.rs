//! When the peer was last heard, by layer.
//!
//! | layer | what proves it | it proves |
//! |---|---|---|
//! | link | an ARP or NDP answer | a card that answers |
//! | received | any segment from the peer | the way from it to this node |
//! | host | what acknowledges something that this node sent | both ways, and a running kernel |
//!
//! The fourth layer, flow, is kept per flow, in `tracked.rs`.
//!
//! What is heard on one layer is also heard on those below it, and says nothing about those above.

use crate::model::{HEARD_RESOLUTION, Time};

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
    /// When a card last answered, to the microsecond.
    card: Option<Time>,
    received: Option<Time>,
    host: Option<Time>,
    /// Like `host`, but only from times that are known to the microsecond.
    host_exactly: Option<Time>,
}

impl Heard {
    /// The peer was heard at `at`, a time of the kernel's coarse clock.
    pub(super) fn note(&mut self, layer: Layer, at: Time) {
        self.link = self.link.max(Some(at));
        if layer >= Layer::Received {
            self.received = self.received.max(Some(at));
        }
        if layer >= Layer::Host {
            self.host = self.host.max(Some(at));
        }
    }

    /// The peer was heard at `at`, a time known to the microsecond.
    pub(super) fn note_exactly(&mut self, layer: Layer, at: Time) {
        self.note(layer, at);
        if layer == Layer::Link {
            self.card = self.card.max(Some(at));
        }
        if layer >= Layer::Host {
            self.host_exactly = self.host_exactly.max(Some(at));
        }
    }

    /// When the peer was last heard on this layer or above.
    pub(in crate::core) fn on(&self, layer: Layer) -> Option<Time> {
        match layer {
            Layer::Link => self.link,
            Layer::Received => self.received,
            Layer::Host => self.host,
        }
    }

    /// When a card that is believed to be the peer's last answered.
    pub(in crate::core) fn card(&self) -> Option<Time> {
        self.card
    }

    /// The latest moment at or after which the host was certainly heard. The time of a segment is
    /// coarse: its host may have been silent since up to [`HEARD_RESOLUTION`] earlier.
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
