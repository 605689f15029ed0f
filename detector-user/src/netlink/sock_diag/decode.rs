//! Decodes the bytes of a socket dump into [`FlowReading`]s. Pure, so that it can be tested by
//! itself.

use std::{net::SocketAddr, time::Duration};

use netlink_packet_core::{NLM_F_DUMP_INTR, NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2,
    TCP_LAST_ACK, TCP_SYN_SENT,
    inet::{SocketId, nlas::Nla},
};

use super::error::SockDiagError;
use crate::model::{FlowId, FlowReading, TcpState, Time};

/// One socket of a dump.
pub(super) type Response = netlink_packet_sock_diag::inet::InetResponse;

/// Whether an answer is complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Done,
    /// The kernel acknowledged a request that is not a dump.
    Acknowledged,
    /// The kernel aborted the dump, or refused the request, with this errno.
    Refused(i32),
}

/// When and where a socket was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadAt {
    /// When the reply was received: never before the kernel read the socket.
    pub(super) received: Time,
    /// The resolution of the kernel's ages.
    pub(super) jiffy: Duration,
    pub(super) netns: u32,
}

/// Passes on the sockets of one datagram. Messages of another dump are ignored.
pub(super) fn datagram(
    mut bytes: &[u8],
    sequence: u32,
    mut each: impl FnMut(&Response) -> Result<(), SockDiagError>,
) -> Result<Progress, SockDiagError> {
    if bytes.is_empty() {
        return Err(malformed("an empty datagram"));
    }
    while !bytes.is_empty() {
        let header = NetlinkBuffer::new_checked(bytes).map_err(malformed)?;
        let length = header.length() as usize;
        let (number, flags) = (header.sequence_number(), header.flags());
        let (message, rest) = (&bytes[..length], &bytes[align(length).min(bytes.len())..]);
        bytes = rest;
        if number != sequence {
            continue;
        }
        if flags & NLM_F_DUMP_INTR != 0 {
            return Err(SockDiagError::Interrupted);
        }
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(message).map_err(malformed)?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                each(&response)?;
            }
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Ok(Progress::Refused(done.code.saturating_neg()));
            }
            NetlinkPayload::Done(_) => return Ok(Progress::Done),
            NetlinkPayload::Error(error) => match error.code {
                Some(code) => return Ok(Progress::Refused(code.get().saturating_abs())),
                None => return Ok(Progress::Acknowledged),
            },
            NetlinkPayload::Overrun(_) => return Err(SockDiagError::Overrun),
            NetlinkPayload::Noop => {}
            other => {
                let kind = other.message_type();
                return Err(malformed(format!("an unexpected message of type {kind}")));
            }
        }
    }
    Ok(Progress::More)
}

/// Netlink messages are aligned to 4 bytes.
fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

pub(super) fn malformed(what: impl ToString) -> SockDiagError {
    SockDiagError::Malformed(what.to_string())
}

/// One socket as a flow; `None` for a socket without timers (no `INET_DIAG_INFO`).
pub(super) fn reading(
    response: &Response,
    at: ReadAt,
) -> Result<Option<FlowReading>, SockDiagError> {
    let info = response.nlas.iter().find_map(|nla| match nla {
        Nla::TcpInfo(bytes) => Some(TcpInfo(bytes)),
        _ => None,
    });
    let (Some(state), Some(info)) = (tcp_state(response.header.state), info) else {
        return Ok(None);
    };
    info.check()?;

    let id = &response.header.socket_id;
    let unacked_segments = info.u32(info::UNACKED);
    // The send queue covers everything from the first unacknowledged byte to the last written one.
    let queued = response.header.send_queue;
    let in_flight = queued.saturating_sub(info.optional_u32(info::NOTSENT_BYTES).unwrap_or(0));
    Ok(Some(FlowReading {
        id: FlowId {
            netns: at.netns,
            local: SocketAddr::new(id.source_address.to_canonical(), id.source_port),
            remote: SocketAddr::new(id.destination_address.to_canonical(), id.destination_port),
        },
        cookie: cookie(id),
        state,
        rto_count: info.u8(info::RETRANSMITS).into(),
        backoff: info.u8(info::BACKOFF).into(),
        probes_out: info.u8(info::PROBES).into(),
        unacked_segments,
        unacked_bytes: if unacked_segments == 0 { 0 } else { in_flight },
        send_window_bytes: send_window(state, info),
        last_heard: last_heard(state, info, at),
        srtt: Duration::from_micros(info.u32(info::RTT).into()),
        rtt_variance: Duration::from_micros(info.u32(info::RTT_VARIANCE).into()),
        rto: Duration::from_micros(info.u32(info::RTO).into()),
        segments_sent: info.optional_u32(info::DATA_SEGS_OUT).unwrap_or(0).into(),
        segments_retransmitted: info.u32(info::TOTAL_RETRANS).into(),
        segments_received: info.optional_u32(info::SEGS_IN).unwrap_or(0),
        bytes_acked: info.optional_u64(info::BYTES_ACKED).unwrap_or(0),
        mss: info.u32(info::SND_MSS),
        awaiting_since: awaiting_since(info, at),
    }))
}

/// Reads any bytes: see [`hostile`](crate::hostile).
pub fn any_datagram(bytes: &[u8]) {
    let at = ReadAt {
        received: Time::from_nanos(1_000_000_000_000_000),
        jiffy: Duration::from_millis(4),
        netns: 7,
    };
    let mut flows = 0;
    // The samples answer the first request of a socket.
    let _ = datagram(bytes, 1, |response| {
        let Some(flow) = reading(response, at)? else {
            return Ok(());
        };
        flows += 1;
        assert!(flow.last_heard <= Some(at.received), "{flow:?}");
        assert!(flow.awaiting_since <= Some(at.received), "{flow:?}");
        Ok(())
    });
    assert!(flows * info::REQUIRED <= bytes.len(), "{flows} flows");
}

fn tcp_state(state: u8) -> Option<TcpState> {
    match state {
        TCP_SYN_SENT => Some(TcpState::SynSent),
        TCP_ESTABLISHED => Some(TcpState::Established),
        TCP_FIN_WAIT1 | TCP_FIN_WAIT2 | TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING => {
            Some(TcpState::Closing)
        }
        _ => None,
    }
}

/// The kernel gives the cookie as two words in native byte order, the low one first.
fn cookie(id: &SocketId) -> u64 {
    let [a, b, c, d, e, f, g, h] = id.cookie;
    let low = u32::from_ne_bytes([a, b, c, d]);
    let high = u32::from_ne_bytes([e, f, g, h]);
    u64::from(high) << 32 | u64::from(low)
}

/// The window counts as open where it is unknown: before the handshake, and on kernels that do not
/// report it (before 5.4). A window that is wrongly called closed would excuse a dead peer for
/// ever.
fn send_window(state: TcpState, info: TcpInfo<'_>) -> u32 {
    match state {
        TcpState::SynSent => u32::MAX,
        _ => info.optional_u32(info::SND_WND).unwrap_or(u32::MAX),
    }
}

/// When a segment last arrived: the younger of the last ACK and the last data.
///
/// The kernel counts both in whole jiffies and rounds up to milliseconds, so an age may be too
/// large by one of each. Here it is made too small instead, because calling a live peer silent is
/// the worst error.
fn last_heard(state: TcpState, info: TcpInfo<'_>, at: ReadAt) -> Option<Time> {
    const ROUNDED_UP: Duration = Duration::from_millis(1);
    if state == TcpState::SynSent {
        return None;
    }
    let age = info
        .u32(info::LAST_ACK_RECV)
        .min(info.u32(info::LAST_DATA_RECV));
    let age = Duration::from_millis(age.into()).saturating_sub(at.jiffy + ROUNDED_UP);
    // A time stamp that was never set has an age of about the uptime, or more.
    (age < at.received.since(Time::default())).then(|| at.received - age)
}

/// When data was last sent, if none arrived later. Both times are in jiffies: what was sent and what
/// arrived within the same one may have come in either order.
fn awaiting_since(info: TcpInfo<'_>, at: ReadAt) -> Option<Time> {
    let (sent, arrived) = (
        info.u32(info::LAST_DATA_SENT),
        info.u32(info::LAST_DATA_RECV),
    );
    // Both times begin with the connection.
    let has_sent = info.optional_u32(info::DATA_SEGS_OUT) > Some(0);
    let has_received = info.optional_u32(info::DATA_SEGS_IN) > Some(0);
    let may_wait = has_sent && (sent <= arrived || !has_received);
    may_wait.then(|| at.received - Duration::from_millis(sent.into()))
}

/// The bytes of `struct tcp_info` (include/uapi/linux/tcp.h). The struct only grows at its end: the
/// part that every supported kernel has is checked once, and the rest is optional.
#[derive(Clone, Copy)]
struct TcpInfo<'a>(&'a [u8]);

/// The offsets of the fields that are read.
mod info {
    pub(super) const RETRANSMITS: usize = 2;
    pub(super) const PROBES: usize = 3;
    pub(super) const BACKOFF: usize = 4;
    pub(super) const RTO: usize = 8;
    pub(super) const SND_MSS: usize = 16;
    pub(super) const UNACKED: usize = 24;
    pub(super) const LAST_DATA_SENT: usize = 44;
    pub(super) const LAST_DATA_RECV: usize = 52;
    pub(super) const LAST_ACK_RECV: usize = 56;
    pub(super) const RTT: usize = 68;
    pub(super) const RTT_VARIANCE: usize = 72;
    pub(super) const TOTAL_RETRANS: usize = 100;
    /// The end of the part that exists since Linux 2.6.
    pub(super) const REQUIRED: usize = 104;
    pub(super) const BYTES_ACKED: usize = 120;
    pub(super) const SEGS_IN: usize = 140;
    pub(super) const NOTSENT_BYTES: usize = 144;
    pub(super) const DATA_SEGS_IN: usize = 152;
    pub(super) const DATA_SEGS_OUT: usize = 156;
    pub(super) const SND_WND: usize = 228;
}

impl TcpInfo<'_> {
    fn check(self) -> Result<(), SockDiagError> {
        if self.0.len() < info::REQUIRED {
            return Err(malformed(format!(
                "INET_DIAG_INFO has {} bytes, at least {} are needed",
                self.0.len(),
                info::REQUIRED
            )));
        }
        Ok(())
    }

    fn u8(self, offset: usize) -> u8 {
        self.0.get(offset).copied().unwrap_or(0)
    }

    fn u32(self, offset: usize) -> u32 {
        self.optional_u32(offset).unwrap_or(0)
    }

    fn optional_u32(self, offset: usize) -> Option<u32> {
        let bytes = self.0.get(offset..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    }

    fn optional_u64(self, offset: usize) -> Option<u64> {
        let bytes = self.0.get(offset..)?.first_chunk()?;
        Some(u64::from_ne_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests;
