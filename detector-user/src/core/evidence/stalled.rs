//! Stalled flows: their own retransmissions go unanswered while the peer lives, or calls wait on them
//! (`waiting`).

use std::time::Duration;

use super::{Evidence, PathHistory, tracked::TrackedFlow};
use crate::model::{FlowId, Time};

/// A flow is stalled no earlier than this after the transmission that stands unanswered.
pub(in crate::core) const STALLED_AFTER: Duration = Duration::from_secs(2);

/// The peer must have been heard within this time: it is probed once a second, and one probe may be
/// lost.
const HEARD_LATELY: Duration = Duration::from_millis(2200);

/// The accepted probability that all retransmissions of a flow that is not stalled are lost: that
/// of three lost in a row where one round trip in twenty is lost.
const FALSE_STALL_PROBABILITY: f64 = 0.05 * 0.05 * 0.05;

/// On a flow on which segments without data are known to pass, no more retransmissions than this are
/// required.
const MOST_WHERE_OTHERS_PASS: u32 = 5;

/// Before a flow is destroyed, so many unanswered retransmissions of each other flow are presumed to
/// be the path's loss. Any more may be that other flow's own.
const PRESUMED_LOST: u64 = 2;

/// Where less than this share of round trips is lost, three retransmissions and an answered probe
/// beside them show that a flow's large segments are lost.
const LITTLE_LOSS: f64 = 0.15;

/// A stalled flow, as a socket snapshot showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Stalled {
    pub flow: FlowId,
    pub cookie: u64,
    /// When what stands unanswered was first sent; of a flow on which a call waits, when it was last
    /// known to work.
    pub since: Time,
    /// The bytes of data in a lost segment, if segments without data are acknowledged on this very
    /// flow: then only its large segments are lost.
    pub large_segments: Option<u32>,
    /// Chance does not explain what is unanswered on this flow: it may be destroyed.
    pub is_certain: bool,
}

impl Evidence {
    /// The flows that are stalled. What was sent before `from` says nothing: the host was silent,
    /// or the demand is excused. Where a pause of this machine is the only excuse, from
    /// `paused_from` on, expiries that the host has outlived count all the same: on a machine that is
    /// never on time the next of them comes later than the next pause.
    pub(in crate::core) fn stalled(
        &self,
        now: Time,
        from: Time,
        paused_from: Time,
    ) -> Vec<Stalled> {
        let required = self
            .history
            .required_retransmissions(FALSE_STALL_PROBABILITY);
        let presumed_lost = |flow: &TrackedFlow| flow.unsettled().min(PRESUMED_LOST);
        let lost: u64 = self.watched_flows().map(presumed_lost).sum();
        self.watched_flows()
            .filter_map(|flow| {
                let all = flow.stuck_since(from);
                let all = all.map(|since| (since, flow.reading.rto_count));
                let outlived = flow.outlived_since(paused_from);
                let sent = [all, outlived].into_iter().flatten();
                let path = self.history.presuming_lost(lost - presumed_lost(flow));
                sent.filter_map(|sent| self.stalled_flow(flow, now, sent, required, &path))
                    .next()
            })
            .chain(self.stalled_waiting(now))
            .collect()
    }

    /// Returns the flow if it is stalled by what it has sent since a moment, with so many expiries.
    /// The peer must have been heard since the flow got stuck: otherwise the silence is the peer's.
    /// `path` is the history that decides whether the flow may be destroyed.
    fn stalled_flow(
        &self,
        flow: &TrackedFlow,
        now: Time,
        (since, expiries): (Time, u32),
        required: u32,
        path: &PathHistory,
    ) -> Option<Stalled> {
        let large_segments = flow.lost_segment_bytes(since);
        let id = flow.reading.id;
        let passes = large_segments.is_some() && self.waiting.passes(&id);
        // If segments without data pass on this very flow, the path itself is not that bad.
        let required = match passes {
            true => required.min(MOST_WHERE_OTHERS_PASS),
            false => required,
        };
        let is_stalled = expiries >= required
            && now.since(since) >= STALLED_AFTER
            && self.heard.surely() > Some((since + STALLED_AFTER / 2).max(now - HEARD_LATELY));
        is_stalled.then_some(Stalled {
            flow: id,
            cookie: flow.reading.cookie,
            since,
            large_segments,
            is_certain: match large_segments {
                Some(_) => passes || path.round_trip_loss(false) < LITTLE_LOSS,
                None => self.is_lost(flow, expiries, path),
            },
        })
    }

    /// Whether so much is unanswered on this flow, retransmissions and probes together, that loss by
    /// chance is as unlikely as for a dead host.
    fn is_lost(&self, flow: &TrackedFlow, expiries: u32, path: &PathHistory) -> bool {
        // A firewall may drop keepalives. With little loss the retransmissions alone say enough.
        let is_dropped =
            !self.probes.do_flows_answer() && path.round_trip_loss(false) >= LITTLE_LOSS;
        let probes = match is_dropped {
            true => 0,
            false => self.waiting.unanswered_on(&flow.reading.id),
        };
        let unanswered = expiries.saturating_add(probes);
        unanswered >= path.required_transmissions(false)
    }

    /// Whether the retransmissions of any flow go unanswered.
    pub(in crate::core) fn has_stuck_flow(&self) -> bool {
        self.watched_flows().any(TrackedFlow::is_stuck)
    }

    /// When the first stuck flow will count as stalled, if it stays stuck.
    pub(in crate::core) fn next_stall(&self, now: Time, from: Time) -> Option<Time> {
        self.watched_flows()
            .filter_map(|flow| Some(flow.stuck_since(from)? + STALLED_AFTER))
            .filter(|at| *at > now)
            .min()
    }
}
