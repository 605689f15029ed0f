//! The near end of a flow: its retransmissions, and what the hooks see of them.

mod acks;
mod timers;

use std::{collections::VecDeque, time::Duration};

use detector_user::model::{FlowEventKind, FlowId, FlowReading, TcpState, Time};

use crate::{
    ticks::{JIFFY, expiry, in_jiffies, jiffy, ms},
    work::MSS,
};

/// `TCP_RTO_MIN` (include/net/tcp.h).
const RTO_MIN: Duration = ms(200);
/// `TCP_TIMEOUT_MIN_US` (include/net/tcp.h).
const TIMEOUT_MIN: Duration = ms(2);
/// `TCP_TIMEOUT_INIT`, and `TCP_RTO_MAX` in jiffies.
const TIMEOUT_INIT: Duration = Duration::from_secs(1);
const RTO_MAX: u64 = 120 * 250;
/// `tcp_syn_linear_timeouts` (6.5+), and `tcp_syn_retries`.
const SYN_LINEAR: u32 = 4;
const SYN_RETRIES: u32 = 6;
const CONGESTION_WINDOW: u64 = 40;
const ETIMEDOUT: u32 = 110;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    SynSent,
    Open,
    /// A FIN is out.
    Closing,
    Closed,
}

/// What the sender does.
#[derive(Clone, Debug)]
pub enum Out {
    Syn,
    Segment(u64),
    /// A zero-window probe.
    WindowProbe,
    /// A hook fires.
    Event(FlowEventKind, Box<FlowReading>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Syn,
    LossProbe,
    Retransmit,
    Persist,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    sent: Time,
    resent: bool,
    sacked: bool,
    lost: bool,
}

#[derive(Clone, Debug)]
pub struct Sender {
    pub id: FlowId,
    pub cookie: u64,
    /// Bytes of data in each segment.
    pub size: u32,
    pub phase: Phase,
    /// First segment unacknowledged, next to be sent, end of what the program wrote.
    pub una: u64,
    pub nxt: u64,
    pub end: u64,
    pub heard: Option<Time>,
    /// When data was last sent, and when it last arrived.
    data_sent: Option<Time>,
    data_heard: Option<Time>,
    /// Since when what is in flight has not been acknowledged any further.
    pub owed_since: Option<Time>,
    segments: VecDeque<Segment>,
    window: u32,
    rto_count: u32,
    backoff: u32,
    probes_out: u32,
    srtt: Duration,
    /// In jiffies, backed off.
    rto: u64,
    /// In the Loss state until this is acknowledged.
    lossy: Option<u64>,
    /// In the Recovery state until this is acknowledged.
    recovering: Option<u64>,
    /// A tail loss probe is out; it is answered once this is acknowledged.
    loss_probe: Option<u64>,
    timer: Option<(Time, Timer)>,
    sent: u64,
    resent: u64,
    /// Segments that have arrived, whether they brought anything new or not.
    received: u32,
    /// Whether the kernel side keeps the flow, and whether its last record was a demand.
    pub tracked: bool,
    stalled: bool,
    /// `tcp_retries2`.
    retries: u32,
}

impl Sender {
    pub fn connect(
        now: Time,
        id: FlowId,
        cookie: u64,
        retries: u32,
        srtt: Duration,
        out: &mut Vec<Out>,
    ) -> Self {
        let rto = in_jiffies(TIMEOUT_INIT);
        out.push(Out::Syn);
        Self {
            id,
            cookie,
            size: MSS,
            phase: Phase::SynSent,
            una: 0,
            nxt: 0,
            end: 0,
            heard: None,
            data_sent: None,
            data_heard: None,
            owed_since: None,
            segments: VecDeque::new(),
            window: 0,
            rto_count: 0,
            backoff: 0,
            probes_out: 0,
            srtt,
            rto,
            lossy: None,
            recovering: None,
            loss_probe: None,
            timer: Some((expiry(now, rto), Timer::Syn)),
            sent: 0,
            resent: 0,
            received: 0,
            tracked: false,
            stalled: false,
            retries,
        }
    }

    /// How often what stands unanswered was sent again.
    pub fn rto_count(&self) -> u32 {
        self.rto_count
    }

    /// When [`Self::timeout`] is due.
    pub fn timer(&self) -> Option<Time> {
        self.timer.map(|(at, _)| at)
    }

    /// The handshake was answered; `told` when all such are reported.
    pub fn established(&mut self, now: Time, window: u32, told: bool, out: &mut Vec<Out>) {
        if self.phase != Phase::SynSent {
            return;
        }
        (self.phase, self.heard, self.window) = (Phase::Open, Some(now), window);
        (self.rto_count, self.backoff, self.timer) = (0, 0, None);
        self.rto = self.fresh_rto();
        if self.tracked || told {
            self.event(now, FlowEventKind::Established, 0, out);
        }
        self.stalled = false;
        self.push(now, out);
    }

    /// The program writes.
    pub fn write(&mut self, now: Time, segments: u64, out: &mut Vec<Out>) {
        if matches!(self.phase, Phase::Open | Phase::SynSent) {
            self.end += segments;
            self.push(now, out);
        }
    }

    /// The program closes: a FIN takes its place in the stream.
    pub fn close(&mut self, now: Time, out: &mut Vec<Out>) {
        if self.phase == Phase::Open {
            self.end += 1;
            self.phase = Phase::Closing;
            self.push(now, out);
        }
    }

    /// The socket is gone: reset, given up, destroyed or never answered.
    pub fn end(&mut self, now: Time, errno: u32, out: &mut Vec<Out>) {
        let connecting = self.phase == Phase::SynSent;
        let count = self.rto_count;
        if connecting {
            let kind = FlowEventKind::ConnectFailed { errno };
            self.event(now, kind, count, out);
        } else if self.tracked && self.phase != Phase::Closed {
            self.event(now, FlowEventKind::Closed { errno }, count, out);
        }
        (self.phase, self.timer) = (Phase::Closed, None);
    }

    /// Whoever kept the flow has forgotten it.
    pub fn untracked(&mut self) {
        (self.tracked, self.stalled) = (false, false);
    }

    /// Nothing that was sent has been acknowledged for so long, though the window is open.
    pub fn is_stalled_for(&self, now: Time, long: Duration) -> bool {
        let stuck = self
            .owed_since
            .is_some_and(|since| now.since(since) >= long);
        matches!(self.phase, Phase::Open | Phase::Closing) && self.window > 0 && stuck
    }

    /// Nothing went wrong of late, and what is owed is not old.
    pub fn is_flowing(&self, now: Time) -> bool {
        let fresh = |segment: &Segment| now.since(segment.sent) < ms(50) && !segment.resent;
        self.phase == Phase::Open
            && self.rto_count == 0
            && self.window > 0
            && self.lossy.is_none()
            && self.recovering.is_none()
            && self.loss_probe.is_none()
            && self.segments.iter().all(fresh)
    }

    /// So many more segments were sent and acknowledged, the last at `heard`.
    pub fn advance(&mut self, segments: u64, heard: Time) {
        self.sent += segments;
        self.received = self.received.wrapping_add(segments.max(1) as u32);
        self.catch_up();
        (self.una, self.nxt, self.end) = (
            self.una + segments,
            self.una + segments,
            self.una + segments,
        );
        self.heard = self.heard.max(Some(heard));
        self.data_sent = self.heard;
    }

    /// Data has arrived.
    pub fn data_arrived(&mut self, at: Time) {
        self.data_heard = self.data_heard.max(Some(at));
    }

    /// A segment has arrived whose data was there already. The kernel answers it before it looks at
    /// what the segment acknowledges (`tcp_validate_incoming` in net/ipv4/tcp_input.c), and counts
    /// it.
    pub fn duplicate_arrived(&mut self) {
        self.received = self.received.wrapping_add(1);
    }

    /// What is in flight has arrived.
    pub fn catch_up(&mut self) {
        self.sent += self.end - self.nxt;
        self.segments.clear();
        (self.una, self.nxt, self.timer) = (self.end, self.end, None);
        self.owed_since = None;
    }

    /// The socket as a dump shows it, `received` at that time: ages in whole jiffies, of
    /// which the reader takes one and a millisecond off (source/sock_diag/decode.rs).
    pub fn reading(&self, received: Time) -> FlowReading {
        let heard = self.heard.filter(|_| self.phase != Phase::SynSent);
        let last_heard = heard.map(|heard| {
            let age = JIFFY * (jiffy(received).saturating_sub(jiffy(heard))) as u32;
            received - age.saturating_sub(JIFFY + ms(1))
        });
        FlowReading {
            last_heard,
            segments_sent: self.sent,
            segments_retransmitted: self.resent,
            segments_received: self.received,
            awaiting_since: self.awaiting_since(received),
            send_window_bytes: match self.phase {
                Phase::SynSent => u32::MAX,
                _ => self.window * MSS,
            },
            unacked_bytes: match self.phase {
                Phase::SynSent => 0,
                _ => self.in_flight() * self.size,
            },
            ..self.raw_reading()
        }
    }

    /// A call waits for its reply, with nothing in flight.
    pub fn is_waiting(&self, now: Time) -> bool {
        let may_wait = self.awaiting_since(now).is_some();
        self.phase == Phase::Open && may_wait && self.una == self.end
    }

    /// When data was last sent, if none arrived in a later jiffy.
    fn awaiting_since(&self, received: Time) -> Option<Time> {
        let sent = self.data_sent?;
        let may_wait = self
            .data_heard
            .is_none_or(|heard| jiffy(heard) <= jiffy(sent));
        let age = JIFFY * (jiffy(received).saturating_sub(jiffy(sent))) as u32;
        may_wait.then(|| received - age)
    }

    fn raw_reading(&self) -> FlowReading {
        let connecting = self.phase == Phase::SynSent;
        FlowReading {
            id: self.id,
            cookie: self.cookie,
            state: match self.phase {
                Phase::SynSent => TcpState::SynSent,
                Phase::Open => TcpState::Established,
                Phase::Closing | Phase::Closed => TcpState::Closing,
            },
            rto_count: self.rto_count,
            backoff: self.backoff,
            probes_out: self.probes_out,
            unacked_segments: if connecting { 1 } else { self.in_flight() },
            unacked_bytes: if connecting {
                1
            } else {
                self.in_flight() * self.size
            },
            send_window_bytes: self.window * MSS,
            last_heard: None,
            srtt: self.srtt,
            rtt_variance: self.srtt / 4,
            rto: JIFFY * self.rto as u32,
            segments_sent: 0,
            segments_retransmitted: 0,
            segments_received: 0,
            bytes_acked: self.una * u64::from(self.size),
            mss: MSS,
            awaiting_since: None,
        }
    }

    /// A hook fires; the reading is as source/ebpf/decode.rs gives it.
    fn event(&mut self, now: Time, kind: FlowEventKind, count: u32, out: &mut Vec<Out>) {
        let age = |heard| JIFFY * (jiffy(now) - jiffy(heard)) as u32;
        let reading = FlowReading {
            rto_count: count,
            last_heard: self.heard.map(|heard| now - age(heard)),
            ..self.raw_reading()
        };
        self.tracked |= !matches!(kind, FlowEventKind::Established);
        out.push(Out::Event(kind, Box::new(reading)));
    }

    fn in_flight(&self) -> u32 {
        (self.nxt - self.una) as u32
    }

    /// `srtt` and its variance, which is never taken for less than RTO_MIN
    /// (`tcp_rtt_estimator` and `__tcp_set_rto`).
    fn fresh_rto(&self) -> u64 {
        in_jiffies(self.srtt + RTO_MIN.max(self.srtt / 2)).min(RTO_MAX)
    }

    /// Sends what the windows allow.
    fn push(&mut self, now: Time, out: &mut Vec<Out>) {
        if !matches!(self.phase, Phase::Open | Phase::Closing) {
            return;
        }
        let before = self.nxt;
        // After a time-out one segment at a time: the lost ones go first.
        let limit = if self.lossy.is_some() {
            2
        } else {
            CONGESTION_WINDOW
        };
        let limit = limit.min(u64::from(self.window));
        while self.nxt < self.end && u64::from(self.in_flight()) < limit {
            self.send_new(now, out);
        }
        if self.nxt > before && !matches!(self.timer, Some((_, Timer::Retransmit))) {
            self.timer = None;
        }
        self.arm(now);
    }

    fn send_new(&mut self, now: Time, out: &mut Vec<Out>) {
        self.owed_since.get_or_insert(now);
        self.data_sent = Some(now);
        self.segments.push_back(Segment {
            sent: now,
            resent: false,
            sacked: false,
            lost: false,
        });
        out.push(Out::Segment(self.nxt));
        self.nxt += 1;
        self.sent += 1;
    }

    fn resend(&mut self, now: Time, number: u64, out: &mut Vec<Out>) {
        if let Some(segment) = self.segments.get_mut((number - self.una) as usize) {
            (segment.sent, segment.resent, segment.lost) = (now, true, false);
            self.data_sent = Some(now);
            self.resent += 1;
            self.sent += 1;
            out.push(Out::Segment(number));
        }
    }
}
