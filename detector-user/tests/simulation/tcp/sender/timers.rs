//! The sender's timers: tail loss probes, time-outs, window probes.

use detector_user::model::{FlowEventKind, Time};

use super::{
    ETIMEDOUT, Out, RTO_MAX, RTO_MIN, SYN_LINEAR, SYN_RETRIES, Sender, TIMEOUT_MIN, Timer,
};
use crate::ticks::{expiry, in_jiffies};

impl Sender {
    pub fn timeout(&mut self, now: Time, out: &mut Vec<Out>) {
        let Some((at, timer)) = self.timer else {
            return;
        };
        if at > now {
            return;
        }
        self.timer = None;
        match timer {
            Timer::Syn => self.syn_timeout(now, out),
            Timer::LossProbe => self.send_loss_probe(now, out),
            Timer::Retransmit => self.retransmit_timeout(now, out),
            Timer::Persist => self.probe_window(now, out),
        }
    }

    /// Arms the timer that is due next, unless one runs.
    pub(super) fn arm(&mut self, now: Time) {
        if self.timer.is_some() {
            return;
        }
        if self.una == self.nxt {
            if self.end > self.nxt && self.window == 0 {
                // `tcp_probe0_when`.
                let jiffies = (self.rto << self.backoff.min(16)).min(RTO_MAX);
                self.timer = Some((expiry(now, jiffies), Timer::Persist));
            }
            return;
        }
        let calm = self.lossy.is_none() && self.recovering.is_none() && self.loss_probe.is_none();
        let sacked = self.segments.iter().any(|segment| segment.sacked);
        if calm && !sacked && self.rto_count == 0 {
            // `tcp_schedule_loss_probe` in net/ipv4/tcp_output.c.
            let extra = if self.in_flight() == 1 {
                RTO_MIN
            } else {
                TIMEOUT_MIN
            };
            let jiffies = in_jiffies(self.srtt * 2 + extra).min(self.rto);
            self.timer = Some((expiry(now, jiffies), Timer::LossProbe));
        } else {
            self.timer = Some((expiry(now, self.rto), Timer::Retransmit));
        }
    }

    /// `tcp_send_loss_probe`: new data where there is any, else the last segment again.
    fn send_loss_probe(&mut self, now: Time, out: &mut Vec<Out>) {
        if self.nxt < self.end && self.in_flight() < self.window {
            self.send_new(now, out);
        } else {
            let count = self.rto_count;
            self.event(now, FlowEventKind::Tlp, count, out);
            self.stalled = true;
            self.resend(now, self.nxt - 1, out);
        }
        self.loss_probe = Some(self.nxt);
        self.timer = Some((expiry(now, self.rto), Timer::Retransmit));
    }

    /// `tcp_retransmit_timer` in net/ipv4/tcp_timer.c.
    fn retransmit_timeout(&mut self, now: Time, out: &mut Vec<Out>) {
        if self.una == self.nxt {
            return;
        }
        // The receiver has taken back its window: our retransmissions become probes, and
        // do not count.
        let shrunk = self.window == 0;
        if !shrunk && self.rto_count >= self.retries {
            self.end(now, ETIMEDOUT, out);
            return;
        }
        let count = self.rto_count + 1;
        self.event(now, FlowEventKind::Rto { count }, count, out);
        self.stalled = true;
        if !shrunk {
            self.rto_count = count;
        }
        (self.lossy, self.recovering, self.loss_probe) = (Some(self.nxt), None, None);
        for segment in &mut self.segments {
            segment.lost = !segment.sacked;
        }
        self.resend(now, self.una, out);
        self.backoff += 1;
        self.rto = (self.rto * 2).min(RTO_MAX);
        self.timer = Some((expiry(now, self.rto), Timer::Retransmit));
    }

    fn syn_timeout(&mut self, now: Time, out: &mut Vec<Out>) {
        if self.rto_count >= SYN_RETRIES {
            self.end(now, ETIMEDOUT, out);
            return;
        }
        let count = self.rto_count + 1;
        self.event(now, FlowEventKind::SynRetransmit { count }, count, out);
        self.stalled = true;
        self.rto_count = count;
        if count > SYN_LINEAR {
            self.backoff += 1;
            self.rto *= 2;
        }
        out.push(Out::Syn);
        self.timer = Some((expiry(now, self.rto), Timer::Syn));
    }

    /// `tcp_send_probe0`.
    fn probe_window(&mut self, now: Time, out: &mut Vec<Out>) {
        self.probes_out += 1;
        self.backoff += 1;
        out.push(Out::WindowProbe);
        self.arm(now);
    }
}
