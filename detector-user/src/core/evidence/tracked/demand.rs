//! What stands unanswered on a flow, and whether the flow is stuck.

use std::time::Duration;

use super::TrackedFlow;
use crate::model::{HEARD_RESOLUTION, Reason, TcpState, Time};

impl TrackedFlow {
    /// Whether the flow's own retransmissions go unanswered.
    pub(in crate::core) fn is_stuck(&self) -> bool {
        self.demand() == Some(Reason::RtoUnanswered)
    }

    /// Whether the host was heard, last at `heard`, after a retransmission that goes unanswered:
    /// then the trouble is the flow's own.
    pub(in crate::core) fn is_contradicted(&self, heard: Option<Time>) -> bool {
        let first = self.resent.front();
        self.is_stuck() && first.is_some_and(|first| heard > Some(first.latest))
    }

    /// Whether a probe on this flow was acknowledged since its first unanswered retransmission.
    pub(in crate::core) fn answers_probes(&self) -> bool {
        let first = self.resent.front().map(|first| first.latest);
        self.probe_answered > first
    }

    /// The time of the first unanswered transmission that was sent at `from` or later; `None` if
    /// the flow is not stuck.
    pub(in crate::core) fn stuck_since(&self, from: Time) -> Option<Time> {
        let mut sent = self.transmissions().map(|sent| sent.earliest);
        sent.find(|at| *at >= from).filter(|_| self.is_stuck())
    }

    /// Notes whether the host has outlived the last expiry. It was heard, at last at `heard`, after
    /// the time `grace` that an answer takes, and before the reading that shows none on this flow:
    /// so no pause of this machine has hidden the answer.
    pub(in crate::core) fn notice_outlived(&mut self, heard: Option<Time>, grace: Duration) {
        let (Some(last), Some(heard)) = (self.resent.back(), heard) else {
            return;
        };
        let (count, sent) = (self.reading.rto_count, last.latest);
        let is_new = self.outlived.last().is_none_or(|known| known.0 < count);
        if self.is_stuck() && is_new && heard > sent + grace && heard <= self.read_at {
            self.outlived.push((count, sent));
        }
    }

    /// When the first of the expiries that the host has outlived came, and how many these are, from
    /// `from` on.
    pub(in crate::core) fn outlived_since(&self, from: Time) -> Option<(Time, u32)> {
        let mut outlived = self.outlived.iter().filter(|(_, at)| *at >= from);
        let (_, first) = *outlived.next()?;
        Some((first, 1 + outlived.count() as u32))
    }

    /// The bytes of data in a segment that is lost again and again, if a probe without data was
    /// acknowledged on this flow after `since`.
    pub(in crate::core) fn lost_segment_bytes(&self, since: Time) -> Option<u32> {
        let answered = self.is_stuck() && self.probe_answered? > since;
        let segments = self.reading.unacked_segments.max(1);
        answered.then(|| {
            self.reading
                .unacked_bytes
                .div_ceil(segments)
                .min(self.reading.mss)
        })
    }

    /// Why something sent counts as unanswered; `None` if nothing does.
    pub(in crate::core) fn demand(&self) -> Option<Reason> {
        let reading = &self.reading;
        if reading.state == TcpState::SynSent {
            return (reading.rto_count > 0).then_some(Reason::ConnectUnanswered);
        }
        let in_flight = reading.unacked_segments > 0 || reading.unacked_bytes > 0;
        if !in_flight || reading.send_window_bytes == 0 {
            return None;
        }
        let resent_since_heard = self.resent.back().is_some_and(|last| {
            reading
                .last_heard
                .is_none_or(|heard| heard <= last.earliest + HEARD_RESOLUTION)
        });
        match (reading.rto_count, resent_since_heard) {
            (0, false) => None,
            (0, true) => Some(Reason::TlpUnanswered),
            _ => Some(Reason::RtoUnanswered),
        }
    }

    /// Whether data waits for a closed window: the peer's kernel answers, but its program does not
    /// read. After an answered window probe `probes_out` is 0, but the timer stays backed off.
    pub(in crate::core) fn is_zero_window(&self) -> bool {
        let reading = &self.reading;
        reading.state == TcpState::Established
            && reading.send_window_bytes == 0
            && (reading.unacked_bytes > 0 || reading.probes_out > 0 || reading.backoff > 0)
    }
}
