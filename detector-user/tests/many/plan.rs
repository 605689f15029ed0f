//! Who is there, what happens to them, and what the kernel and the hosts say of it.

use std::{net::IpAddr, time::Duration};

use detector_user::model::{
    Endpoint, FlowEventKind, FlowId, FlowReading, HardwareAddress, PeerName, ProbeAnswer,
    ProbeTarget, TcpState, Time,
};

/// What the kernel does to a flow with something in flight, so many milliseconds after the cut.
pub const UNANSWERED: [(u64, FlowEventKind); 4] = [
    (10, FlowEventKind::Tlp),
    (214, FlowEventKind::Rto { count: 1 }),
    (626, FlowEventKind::Rto { count: 2 }),
    (1_460, FlowEventKind::Rto { count: 3 }),
];

pub fn ms(millis: u64) -> Time {
    Time::from_nanos(987_654_321_000_000 + millis * 1_000_000)
}

pub fn name(n: usize) -> PeerName {
    PeerName::from_canonical(&format!("http://node{n:04}:9000"))
}

pub fn addr(n: usize) -> IpAddr {
    [10, 1, (n / 250) as u8, (n % 250) as u8 + 1].into()
}

/// Who is there, and what happens to them.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub peers: usize,
    /// The connections with this peer.
    pub flows: fn(usize) -> u16,
    /// When this peer is cut off, and when it is back, in milliseconds.
    pub cut: fn(usize) -> Option<(u64, u64)>,
    /// How long a dump takes for each socket of the table.
    pub a_socket_takes: Duration,
}

impl Plan {
    pub fn is_silent(&self, n: usize, now: Time) -> bool {
        (self.cut)(n).is_some_and(|(cut, back)| now >= ms(cut) && now < ms(back))
    }

    /// A connection as the kernel shows it at this moment. While its peer is silent two segments are in flight.
    pub fn reading(&self, now: Time, n: usize, flow: u16) -> FlowReading {
        let silent = self.is_silent(n, now);
        let since = (self.cut)(n).map_or(0, |(cut, _)| cut);
        let passed = UNANSWERED[1..].iter();
        let timeouts = passed.filter(|(after, _)| silent && now >= ms(since + after));
        let rto_count = timeouts.count() as u32;
        FlowReading {
            id: FlowId {
                netns: 1,
                local: ([10, 0, 0, 1], 20_000 + flow).into(),
                remote: (addr(n), 9000).into(),
            },
            cookie: cookie(n, flow),
            state: TcpState::Established,
            rto_count,
            backoff: rto_count,
            probes_out: 0,
            unacked_segments: if silent { 2 } else { 0 },
            unacked_bytes: if silent { 200 } else { 0 },
            send_window_bytes: 65_535,
            // Nothing has come on it since it was opened: its host answers probes.
            last_heard: Some(ms(0)),
            srtt: Duration::from_micros(200),
            rtt_variance: Duration::from_micros(50),
            rto: Duration::from_millis(204 << rto_count),
            segments_sent: 1_000,
            segments_retransmitted: u64::from(rto_count),
            segments_received: 0,
            bytes_acked: 0,
            mss: 1_448,
            awaiting_since: None,
        }
    }
}

pub fn cookie(n: usize, flow: u16) -> u64 {
    n as u64 * 1_000 + u64::from(flow) + 1
}

/// What a living host answers.
pub fn answer(target: ProbeTarget) -> ProbeAnswer {
    match target {
        ProbeTarget::Neighbour { .. } => ProbeAnswer::Neighbour(HardwareAddress([2; 6])),
        ProbeTarget::Connect(Endpoint { port: 9000, .. })
        | ProbeTarget::ConnectFrom {
            endpoint: Endpoint { port: 9000, .. },
            ..
        } => ProbeAnswer::SynAck,
        ProbeTarget::Connect(_) | ProbeTarget::ConnectFrom { .. } => ProbeAnswer::Reset,
        ProbeTarget::Flow { .. } => ProbeAnswer::Ack,
    }
}
