//! A flow as it is kept between readings.
//!
//! ```text
//! demand   what stands unanswered on it, and whether it is stuck
//! ```

mod demand;

use std::{collections::VecDeque, time::Duration};

use crate::model::{FlowReading, ProbeTarget, TcpState, Time};

/// The kernel's shortest retransmission time-out, unless it was tuned (`TCP_RTO_MIN`).
const RTO_MIN: Duration = Duration::from_millis(200);

/// The most retransmissions whose times are kept; the kernel itself gives up after 15
/// (`tcp_retries2`).
const RESENT_KEPT: usize = 16;

/// A transmission, sent between these two moments, as precisely as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Sent {
    pub earliest: Time,
    pub latest: Time,
}

impl Sent {
    pub(in crate::core) fn at(at: Time) -> Self {
        Self {
            earliest: at,
            latest: at,
        }
    }
}

/// One flow, with what was sent on it and is unanswered.
#[derive(Clone, Debug)]
pub(in crate::core) struct TrackedFlow {
    pub reading: FlowReading,
    /// When `reading` was taken.
    read_at: Time,
    /// When what stands unanswered was first sent; where that is not known, a later moment.
    original: Option<Time>,
    /// When it was sent again, oldest first.
    resent: VecDeque<Sent>,
    /// The expiries after which the host was heard while nothing was answered here: which one it
    /// was, and when. As few as the kernel's own count, which gives up below 256.
    outlived: Vec<(u32, Time)>,
    /// The time of the last ACK that an event reported.
    answered_at: Time,
    /// The retransmissions of data that was acknowledged in the end.
    retransmitted_and_acked: u64,
    /// The totals that the path's history already contains: segments sent and retransmitted.
    pub counted: Option<(u64, u64)>,
    /// When a probe on this flow was last acknowledged.
    pub probe_answered: Option<Time>,
    /// The flow was found stalled: what is sent on it says nothing about the peer any more.
    pub is_stalled: bool,
}

impl TrackedFlow {
    /// A flow that has just been found; [`Self::read`] or an event follows.
    pub(in crate::core) fn unseen(reading: &FlowReading) -> Self {
        Self {
            reading: FlowReading {
                rto_count: 0,
                ..reading.clone()
            },
            // Nothing is known of the time before, as if the flow had last been read at boot.
            read_at: Time::default(),
            original: None,
            resent: VecDeque::new(),
            outlived: Vec::new(),
            answered_at: Time::default(),
            retransmitted_and_acked: 0,
            counted: None,
            probe_answered: None,
            is_stalled: false,
        }
    }

    /// Takes in a full reading of the same connection; returns whether it shows a timer expiry that
    /// was not known yet.
    pub(in crate::core) fn read(&mut self, at: Time, reading: FlowReading) -> bool {
        let last = self.resent.back().map(|last| last.latest);
        if last.max(Some(self.answered_at)) > Some(at) {
            // A later event was taken in before this reading.
            self.reading.last_heard = self.reading.last_heard.max(reading.last_heard);
            return false;
        }
        // The kernel backed off at the last expiry, and the next expiry has not come yet: so the
        // last one is at most `rto` ago.
        let last_expiry = Sent {
            earliest: (at - reading.rto).max(self.read_at),
            latest: at,
        };
        let half = at - backed_off(&reading, 1);
        if reading.rto_count < self.reading.rto_count {
            self.answered();
        }
        let news = self.expired(reading.rto_count, last_expiry, half, &reading);
        self.note_acked(&reading);
        self.reading = FlowReading {
            last_heard: self.reading.last_heard.max(reading.last_heard),
            ..reading
        };
        self.read_at = at;
        self.settle();
        news
    }

    /// The moment after which a segment has arrived that brought nothing new, such as a
    /// retransmission: the kernel counts it and does not note its time.
    pub(in crate::core) fn received_after(&self, reading: &FlowReading) -> Option<Time> {
        let counts = [self.reading.segments_received, reading.segments_received];
        (!counts.contains(&0) && counts[0] != counts[1]).then_some(self.read_at)
    }

    /// Takes in the socket as an event showed it, which lacks some fields of a full reading.
    pub(in crate::core) fn glimpse(&mut self, reading: &FlowReading) {
        self.reading = FlowReading {
            last_heard: self.reading.last_heard.max(reading.last_heard),
            rto_count: self.reading.rto_count.min(reading.rto_count),
            rtt_variance: self.reading.rtt_variance,
            segments_sent: self.reading.segments_sent,
            segments_retransmitted: self.reading.segments_retransmitted,
            segments_received: self.reading.segments_received,
            bytes_acked: self.reading.bytes_acked,
            mss: self.reading.mss,
            awaiting_since: self.reading.awaiting_since,
            ..reading.clone()
        };
    }

    /// A tail loss probe was sent at `at`.
    pub(in crate::core) fn tlp(&mut self, at: Time) {
        if self.resent.back().is_some_and(|last| last.latest >= at) {
            // Already known: a source that lost events reports the latest event of each flow again.
            return;
        }
        // The timer of a lone segment allows for a delayed ACK, and starts with the segment
        // (tcp_schedule_loss_probe, net/ipv4/tcp_output.c).
        let is_lone = self.reading.unacked_segments == 1 && self.reading.rto >= RTO_MIN;
        let sent = if is_lone { at - RTO_MIN } else { at };
        self.original = self.original.or(Some(sent));
        self.push(Sent::at(at));
        self.settle();
    }

    /// The timer expired at `at`, for the `count`th time.
    pub(in crate::core) fn rto(&mut self, at: Time, count: u32) {
        // The event is read before the kernel backs off: `rto` is the time-out that has just
        // expired.
        let reading = self.reading.clone();
        let newer = |last: &Sent| last.latest + reading.rto / 2 < at;
        if count <= reading.rto_count && self.resent.back().is_some_and(newer) {
            self.answered();
        }
        self.expired(count, Sent::at(at), at - reading.rto, &reading);
        self.reading.rto_count = self.reading.rto_count.max(count);
        self.settle();
    }

    /// An event reports that an ACK came at `at`.
    pub(in crate::core) fn recovered(&mut self, at: Time) {
        self.answered_at = self.answered_at.max(at);
        self.answered();
    }

    /// An ACK came: everything sent so far is answered.
    fn answered(&mut self) {
        self.reading.rto_count = 0;
        self.forget_sent();
    }

    fn forget_sent(&mut self) {
        self.original = None;
        self.resent.clear();
        self.outlived.clear();
    }

    /// Whether keepalives can be sent on it.
    pub(in crate::core) fn can_be_probed(&self) -> bool {
        self.reading.state == TcpState::Established && self.reading.cookie != 0
    }

    pub(in crate::core) fn target(&self) -> ProbeTarget {
        ProbeTarget::Flow {
            flow: self.reading.id,
            cookie: self.reading.cookie,
        }
    }

    /// Whether this flow is the connection whose socket has this cookie: ports are reused.
    pub(in crate::core) fn is_same_connection(&self, cookie: u64) -> bool {
        self.reading.cookie == 0 || cookie == 0 || self.reading.cookie == cookie
    }

    /// Whether this later reading shows that the peer has acknowledged something since. With a
    /// source that cannot read this (`mss` is 0) the answer is always yes.
    pub(in crate::core) fn is_acknowledged_by(&self, reading: &FlowReading) -> bool {
        reading.mss == 0 || self.reading.mss == 0 || reading.bytes_acked > self.reading.bytes_acked
    }

    /// The segments sent over the flow's life, and the retransmissions among them, without those
    /// of data that is not acknowledged: they may turn out to be a death, or a loss of this flow
    /// alone or of its large segments, and not a loss of the path.
    pub(in crate::core) fn settled_totals(&self) -> (u64, u64) {
        let unsettled = self.unsettled();
        (
            self.reading.segments_sent.saturating_sub(unsettled),
            self.reading
                .segments_retransmitted
                .saturating_sub(unsettled),
        )
    }

    /// The retransmissions of data that is not acknowledged.
    pub(in crate::core) fn unsettled(&self) -> u64 {
        let retransmitted = self.reading.segments_retransmitted;
        let unacked = retransmitted.saturating_sub(self.retransmitted_and_acked);
        unacked.max(self.resent.len() as u64)
    }

    /// Notes which retransmissions this later reading shows to be acknowledged: all if nothing is in
    /// flight. If something new was acknowledged, those of the earlier reading, because the newer
    /// ones may be of what follows it.
    fn note_acked(&mut self, reading: &FlowReading) {
        let cannot_be_read = reading.mss == 0;
        if reading.unacked_segments == 0 || cannot_be_read {
            self.retransmitted_and_acked = reading.segments_retransmitted;
        } else if self.reading.mss != 0 && self.is_acknowledged_by(reading) {
            self.retransmitted_and_acked = self.reading.segments_retransmitted;
        }
    }

    /// When the data that stands unanswered was first sent.
    pub(in crate::core) fn original(&self) -> Option<Sent> {
        self.original.map(Sent::at)
    }

    /// When the data that stands unanswered was sent: the original transmission, then each
    /// retransmission.
    pub(in crate::core) fn transmissions(&self) -> impl Iterator<Item = Sent> {
        self.original().into_iter().chain(self.resent())
    }

    /// When the data that stands unanswered was sent again.
    pub(in crate::core) fn resent(&self) -> impl Iterator<Item = Sent> {
        self.resent.iter().copied()
    }

    /// Notes the timer expiries up to the `count`th, the last of them at `last`; `sent` is a moment
    /// by which the data was surely out. Returns whether there were new ones.
    fn expired(&mut self, count: u32, last: Sent, sent: Time, reading: &FlowReading) -> bool {
        let missed = count.saturating_sub(self.reading.rto_count);
        if missed == 0 {
            return false;
        }
        self.original = Some(self.original.map_or(sent, |original| original.min(sent)));
        let mut times = vec![last];
        for n in 0..missed.min(RESENT_KEPT as u32).saturating_sub(1) {
            let after = times[times.len() - 1];
            times.push(Sent {
                earliest: after.earliest - backed_off(reading, n),
                latest: after.latest - backed_off(reading, n + 1),
            });
        }
        times.into_iter().rev().for_each(|sent| self.push(sent));
        true
    }

    fn push(&mut self, sent: Sent) {
        if self.resent.len() == RESENT_KEPT {
            self.resent.pop_front();
        }
        self.resent.push_back(sent);
    }

    /// Forgets what has been answered.
    fn settle(&mut self) {
        if self.demand().is_none() {
            self.forget_sent();
        }
    }
}

/// The retransmission time-out in force `steps` expiries ago.
fn backed_off(reading: &FlowReading, steps: u32) -> Duration {
    reading.rto / (1 << steps.min(reading.backoff).min(RESENT_KEPT as u32))
}

#[cfg(test)]
mod tests;
