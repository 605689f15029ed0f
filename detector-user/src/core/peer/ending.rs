//! What is done to the sockets of a dead peer: at destroy delay, once for each time it is found
//! Dead, they are to be destroyed.

use super::{Peer, Surroundings};
use crate::core::{Breaker, Destroyed, FlowId, Settings, Time, Verdict};

/// The most sockets that are destroyed at a time; programs that have more make new ones.
const SOCKETS_AT_MOST: usize = 65_536;

/// The silence in which a peer was found Dead.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Death {
    /// Since when something stood unanswered. What was heard after it ends the death.
    pub silent_since: Time,
    /// Since when nothing was heard, which is what a program that waits for a reply suffers
    /// from: the destroy delay counts from here.
    pub unheard_since: Time,
}

#[derive(Debug, Default)]
pub(in crate::core) struct Ending {
    /// The generation that is to end, and its death.
    pending: Option<(u64, Death)>,
    /// The sockets to destroy now, until the detector takes them.
    order: Option<Order>,
    result: Option<(u64, Destroyed)>,
}

/// Sockets that are to be destroyed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core) struct Order {
    pub generation: u64,
    pub silent_since: Time,
    pub sockets: Vec<(FlowId, u64)>,
}

impl Ending {
    /// When the sockets are to be destroyed.
    pub(super) fn due(&self, settings: &Settings) -> Option<Time> {
        let (_, death) = self.pending?;
        settings
            .destroy_sockets
            .then(|| death.unheard_since + settings.destroy_delay)
    }

    pub(super) fn died(&mut self, generation: u64, death: Option<Death>) {
        self.pending = death.map(|death| (generation, death));
        self.result = None;
    }

    pub(super) fn called_off(&mut self) {
        self.pending = None;
        self.order = None;
    }

    /// The answer to an order.
    pub(super) fn ended(&mut self, generation: u64, death: Option<Death>, result: Destroyed) {
        self.result = Some((generation, result));
        // Heard after all, it was said. Should the next look not show so, it is tried again.
        if result.spared > 0 {
            self.pending = death.map(|death| (generation, death));
        }
    }

    pub(super) fn result(&self) -> Option<Destroyed> {
        self.result.map(|(_, result)| result)
    }
}

impl Peer {
    /// After a look: whether it is time.
    pub(super) fn end_sockets(&mut self, at: Time, around: Surroundings<'_>) {
        let is_open =
            self.verdict == Verdict::Dead && self.state(around.settings).breaker == Breaker::Open;
        let Some((generation, death)) = self.ending.pending else {
            return;
        };
        let is_due = self
            .ending
            .due(around.settings)
            .is_some_and(|due| due <= at);
        if !is_due || !is_open || self.cut_off {
            return;
        }
        self.ending.pending = None;
        let sockets: Vec<_> = self
            .evidence
            .watched_flows()
            .filter(|flow| flow.reading.cookie != 0)
            .map(|flow| (flow.reading.id, flow.reading.cookie))
            .take(SOCKETS_AT_MOST)
            .collect();
        if !sockets.is_empty() {
            self.ending.order = Some(Order {
                generation,
                silent_since: death.silent_since,
                sockets,
            });
        }
    }

    /// What is to be destroyed now.
    pub(in crate::core) fn take_order(&mut self) -> Option<Order> {
        self.ending.order.take()
    }
}
