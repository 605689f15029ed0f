//! How an acknowledgement ends states, and which losses it shows.

use detector_user::model::{FlowEventKind, Time};

use super::{super::Ack, Out, Phase, Sender};
use crate::ticks::us;

impl Sender {
    /// `tcp_ack` in net/ipv4/tcp_input.c.
    pub fn ack(&mut self, now: Time, ack: Ack, out: &mut Vec<Out>) {
        if matches!(self.phase, Phase::SynSent | Phase::Closed) || ack.next > self.nxt {
            return;
        }
        self.received = self.received.wrapping_add(1);
        self.heard = Some(now);
        self.probes_out = 0;
        if ack.next < self.una {
            return;
        }
        self.window = ack.window;
        let newest = self.take(now, &ack);
        let advanced = ack.next > self.una;
        if advanced {
            let acked = (ack.next - self.una) as usize;
            self.segments.drain(..acked);
            self.una = ack.next;
            (self.rto_count, self.backoff) = (0, 0);
            self.rto = self.fresh_rto();
            self.owed_since = (self.una < self.nxt).then_some(now);
        }
        self.leave_states(now, ack.sacked, out);
        if advanced || newest.is_some() || self.lossy.is_none() {
            self.resend_lost(now, newest, out);
        }
        if advanced || self.una == self.nxt {
            self.timer = None;
        }
        self.push(now, out);
        self.arm(now);
        if self.phase == Phase::Closing && self.una == self.end {
            self.end(now, 0, out);
        }
    }

    /// Marks what has arrived and takes the round trip; the time at which the newest of it
    /// was sent.
    fn take(&mut self, now: Time, ack: &Ack) -> Option<Time> {
        let una = self.una;
        let mut newest = None;
        let mut sample = None;
        for (offset, segment) in self.segments.iter_mut().enumerate() {
            let number = una + offset as u64;
            let beyond = number.checked_sub(ack.next + 1).filter(|bit| *bit < 64);
            let acked = number < ack.next;
            if acked || beyond.is_some_and(|bit| ack.sacked >> bit & 1 == 1) {
                if !segment.sacked {
                    newest = newest.max(Some(segment.sent));
                    if !segment.resent && acked {
                        sample = Some(now.since(segment.sent));
                    }
                }
                (segment.sacked, segment.lost) = (true, false);
            }
        }
        if let Some(sample) = sample {
            self.srtt = (self.srtt * 7 + sample.max(us(20))) / 8;
        }
        newest
    }

    /// `tcp_fastretrans_alert`: which states the acknowledgement ends or begins. Each
    /// change away from Loss or to another is seen by the hook, which tells of it when a
    /// demand was the last thing told.
    fn leave_states(&mut self, now: Time, sacked: u64, out: &mut Vec<Out>) {
        let una = self.una;
        let passed = |mark: Option<u64>| mark.is_some_and(|mark| una >= mark);
        let mut changed = false;
        if passed(self.lossy) {
            (self.lossy, changed) = (None, true);
        }
        if passed(self.recovering) {
            (self.recovering, changed) = (None, true);
        }
        if passed(self.loss_probe) {
            self.loss_probe = None;
            // Had the probe been needless, a DSACK would say so and no state would change.
            changed = true;
        }
        if sacked != 0 && self.recovering.is_none() && self.lossy.is_none() {
            self.recovering = Some(self.nxt);
            changed = true;
        }
        if changed && self.stalled {
            self.stalled = false;
            self.event(now, FlowEventKind::Recovered, 0, out);
        }
    }

    /// RACK (net/ipv4/tcp_recovery.c): what was sent a quarter of a round trip before
    /// something that has arrived is lost. After a time-out two segments go with each ACK that
    /// acknowledges anything: the window of one is full with the first of them.
    fn resend_lost(&mut self, now: Time, newest: Option<Time>, out: &mut Vec<Out>) {
        let window = self.srtt / 4;
        if let Some(newest) = newest
            && self.recovering.is_some()
        {
            for segment in &mut self.segments {
                segment.lost |= !segment.sacked && segment.sent + window < newest;
            }
        }
        let budget = if self.lossy.is_some() { 2 } else { usize::MAX };
        let lost = self.segments.iter().enumerate();
        let lost: Vec<u64> = lost
            .filter(|(_, segment)| segment.lost)
            .map(|(offset, _)| self.una + offset as u64)
            .take(budget)
            .collect();
        for number in lost {
            self.resend(now, number, out);
        }
    }
}
