//! Transmissions whose sockets are gone.

use std::time::Duration;

use super::{
    Evidence,
    tracked::{Sent, TrackedFlow},
    weight::gave_up,
};
use crate::model::{FlowEvent, FlowId, FlowReading, Reason};

/// Orphaned transmissions are forgotten after this time.
pub(super) const ORPHAN_LIFE: Duration = Duration::from_secs(30);

/// The most orphaned transmissions that are kept.
const ORPHANS_KEPT: usize = 64;

/// A transmission that was never answered and whose socket is gone: a connect that failed, or a
/// flow that the kernel gave up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphan {
    pub flow: FlowId,
    /// The cookie of its socket; 0 when not known.
    pub cookie: u64,
    pub sent: Sent,
    pub reason: Reason,
}

impl Evidence {
    pub(super) fn flow_gone(&mut self, event: &FlowEvent) {
        let id = event.flow;
        let gone = self.flows.remove(&id);
        if let Some(gone) = &gone {
            self.orphan(gone);
        }
        if gave_up(event.kind) {
            // The moment at which the kernel gave up counts as one more unanswered transmission.
            self.push_orphan(Orphan {
                flow: id,
                cookie: gone.map_or(0, |gone| gone.reading.cookie),
                sent: Sent::at(event.at),
                reason: Reason::ErrorReported,
            });
        }
    }

    pub(super) fn orphan(&mut self, gone: &TrackedFlow) {
        let Some(reason) = gone.demand() else { return };
        let FlowReading { id, cookie, .. } = gone.reading;
        if self.is_watched(&id) {
            for sent in gone.transmissions() {
                self.push_orphan(Orphan {
                    flow: id,
                    cookie,
                    sent,
                    reason,
                });
            }
        }
    }

    /// Drops the orphans of flows that are tracked again: a snapshot was taken before the flow
    /// ended, or an earlier one missed it. Their transmissions must not count twice.
    pub(super) fn drop_tracked_orphans(&mut self) {
        let flows = &self.flows;
        self.orphans.retain(|orphan| {
            let flow = flows.get(&orphan.flow);
            !flow.is_some_and(|flow| flow.is_same_connection(orphan.cookie))
        });
    }

    fn push_orphan(&mut self, orphan: Orphan) {
        if self.orphans.len() == ORPHANS_KEPT {
            self.orphans.pop_front();
        }
        self.orphans.push_back(orphan);
    }
}
