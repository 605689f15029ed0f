//! Turns a record of the kernel side into an event for the core. Pure.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use detector_ebpf::{FlowRecord, WatchKey, record_flag, record_kind};
use thiserror::Error;
use zerocopy::FromBytes;

use crate::model::{
    Endpoint, FlowEvent, FlowEventKind, FlowId, FlowReading, SourceKind, TcpState, Time,
};

/// `TCP_SYN_SENT` in include/net/tcp_states.h.
const SYN_SENT: u8 = 2;
/// The last state of include/net/tcp_states.h, `TCP_BOUND_INACTIVE`.
const LAST_STATE: u8 = 13;
const KNOWN_FLAGS: u8 = record_flag::NOT_SENT;

/// Why a record cannot be an event.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("a record has {found} bytes, not {}", size_of::<FlowRecord>())]
    Size { found: usize },
    #[error("unknown record kind {0}")]
    Kind(u32),
    #[error("unknown TCP state {0}")]
    State(u8),
    #[error("unknown flags {0:#x}")]
    Flags(u8),
    #[error("the remote end {0} is no endpoint")]
    Remote(SocketAddr),
}

/// Reads a record as it lies on the ring or in the map.
pub fn record(bytes: &[u8]) -> Result<FlowRecord, DecodeError> {
    FlowRecord::read_from_bytes(bytes).map_err(|_| DecodeError::Size { found: bytes.len() })
}

/// The event that a record describes; `None` if it says nothing about the peer.
pub fn event(record: &FlowRecord) -> Result<Option<FlowEvent>, DecodeError> {
    if record.flags & !KNOWN_FLAGS != 0 {
        return Err(DecodeError::Flags(record.flags));
    }
    if record.tcp_state > LAST_STATE {
        return Err(DecodeError::State(record.tcp_state));
    }
    let flow = flow_id(record);
    if flow.remote.port() == 0 || flow.remote.ip().is_unspecified() {
        return Err(DecodeError::Remote(flow.remote));
    }
    let kind = event_kind(record)?;
    if record.flags & record_flag::NOT_SENT != 0 {
        return Ok(None);
    }
    let at = Time::from_nanos(record.at_ns);
    // An error may be reported after the socket was closed: then its fields are out of date.
    let is_current = record.kind != record_kind::ERROR_REPORT;
    Ok(Some(FlowEvent {
        at,
        source: SourceKind::Ebpf,
        flow,
        kind,
        reading: is_current.then(|| reading(record, flow, at)),
    }))
}

/// Reads any bytes: see [`hostile`](crate::hostile).
pub fn any_record(bytes: &[u8]) {
    if let Ok(Some(event)) = record(bytes).and_then(|record| event(&record)) {
        let remote = event.flow.remote;
        assert!(remote.port() != 0 && !remote.ip().is_unspecified());
        let heard = event
            .reading
            .as_ref()
            .and_then(|reading| reading.last_heard);
        assert!(heard.is_none_or(|heard| heard <= event.at), "{event:?}");
    }
}

fn event_kind(record: &FlowRecord) -> Result<FlowEventKind, DecodeError> {
    let count = u32::from(record.rto_count);
    let errno = record.errno;
    Ok(match record.kind {
        record_kind::TLP => FlowEventKind::Tlp,
        record_kind::RTO => FlowEventKind::Rto { count },
        record_kind::SYN_RETRANSMIT => FlowEventKind::SynRetransmit { count },
        record_kind::RECOVERED => FlowEventKind::Recovered,
        record_kind::ESTABLISHED => FlowEventKind::Established,
        record_kind::CONNECT_FAILED => FlowEventKind::ConnectFailed { errno },
        record_kind::CLOSED => FlowEventKind::Closed { errno },
        record_kind::ERROR_REPORT => FlowEventKind::ErrorReport { errno },
        unknown => return Err(DecodeError::Kind(unknown)),
    })
}

fn flow_id(record: &FlowRecord) -> FlowId {
    FlowId {
        netns: record.netns,
        local: SocketAddr::new(plain(record.local_addr), record.local_port),
        remote: SocketAddr::new(plain(record.remote_addr), record.remote_port),
    }
}

fn reading(record: &FlowRecord, id: FlowId, at: Time) -> FlowReading {
    let state = match record.tcp_state {
        SYN_SENT => TcpState::SynSent,
        // 1 is established, 3 a handshake being accepted; 0 is unknown.
        0 | 1 | 3 => TcpState::Established,
        _ => TcpState::Closing,
    };
    // A connecting socket has received nothing, and its time stamps are not set.
    let heard_age = record.last_ack_age_ns.min(record.last_data_age_ns);
    let last_heard = (state != TcpState::SynSent).then(|| at - Duration::from_nanos(heard_age));
    FlowReading {
        id,
        cookie: record.cookie,
        state,
        rto_count: u32::from(record.rto_count),
        backoff: u32::from(record.backoff),
        probes_out: u32::from(record.probes_out),
        unacked_segments: record.packets_out,
        unacked_bytes: record.unacked_bytes,
        send_window_bytes: record.snd_wnd_bytes,
        last_heard,
        srtt: Duration::from_micros(u64::from(record.srtt_us)),
        rtt_variance: Duration::ZERO,
        rto: Duration::from_micros(u64::from(record.rto_us)),
        segments_sent: 0,
        segments_retransmitted: 0,
        segments_received: 0,
        bytes_acked: 0,
        mss: 0,
        awaiting_since: None,
    }
}

/// The key under which the kernel side finds an endpoint.
pub fn watch_key(endpoint: &Endpoint) -> WatchKey {
    WatchKey::of(endpoint.addr, endpoint.port)
}

/// The address in a record, in canonical form.
fn plain(octets: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(octets).to_canonical()
}

#[cfg(test)]
mod tests;
