//! What unit tests share.

use std::time::Duration;

use crate::model::{
    Breaker, Endpoint, FlowId, FlowReading, Mode, Operation, OperationReport, Outcome, PeerName,
    PeerState, Reason, TcpState, Time, Verdict,
};

pub(crate) fn ms(millis: u64) -> Time {
    Time::from_nanos((1_000_000 + millis) * 1_000_000)
}

pub(super) fn endpoint() -> Endpoint {
    Endpoint {
        addr: [10, 0, 0, 4].into(),
        port: 9000,
    }
}

/// The `n`th flow to the endpoint, with two segments in flight.
pub(crate) fn established(n: u16, last_heard: Time) -> FlowReading {
    FlowReading {
        id: FlowId {
            netns: 1,
            local: ([10, 0, 0, 1], 40_000 + n).into(),
            remote: ([10, 0, 0, 4], 9000).into(),
        },
        cookie: u64::from(n) + 1,
        state: TcpState::Established,
        rto_count: 0,
        backoff: 0,
        probes_out: 0,
        unacked_segments: 2,
        unacked_bytes: 100,
        send_window_bytes: 65_535,
        last_heard: Some(last_heard),
        srtt: Duration::from_micros(200),
        rtt_variance: Duration::from_micros(50),
        rto: Duration::from_millis(204),
        segments_sent: 1000,
        segments_retransmitted: 0,
        segments_received: 0,
        bytes_acked: 0,
        mss: 0,
        awaiting_since: None,
    }
}

/// The first state that is published of a peer.
pub(crate) fn unknown(peer: &str) -> PeerState {
    PeerState {
        peer: PeerName::from_canonical(peer),
        verdict: Verdict::Unknown,
        breaker: Breaker::Closed,
        would_be_breaker: Breaker::Closed,
        reason: Reason::NoEvidence,
        isolated: false,
        generation: 1,
        revision: 1,
        mode: Mode::Enforce,
        addresses: Vec::new(),
        changed_at: Time::default(),
        last_heard: None,
        detection_latency: None,
        presumed_down: false,
        down_since: None,
        srtt: None,
        rtt_variance: None,
        health: None,
        breaker_reason: Reason::NoEvidence,
        stalled_flows: 0,
        oldest_stall: None,
        contested: false,
        overridden: None,
        paths: Vec::new(),
    }
}

/// A report of a call that just ended.
pub(crate) fn report(millis: u64, operation: Operation, outcome: Outcome) -> OperationReport {
    OperationReport {
        operation,
        outcome,
        peer: None,
        lock: None,
        ended_at: ms(millis),
        duration: Duration::from_millis(100),
        retries: 0,
    }
}
