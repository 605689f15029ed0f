//! One TCP flow, as a source reads it from the kernel.

use std::{fmt, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Time, nanos};

/// How far a `last_heard` may differ from the true time: two jiffies at HZ 250 and a rounded
/// millisecond.
pub const HEARD_RESOLUTION: Duration = Duration::from_millis(10);

/// Which connection: its addresses and the network namespace they belong to. Addresses are
/// canonical (no v4-mapped IPv6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowId {
    /// Inode of the network namespace; 0 when the source cannot tell.
    pub netns: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.local, self.remote)
    }
}

/// The TCP states that matter to a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TcpState {
    /// A connect that has not been answered.
    SynSent,
    Established,
    /// Any state in which data or a FIN may still await an ACK.
    Closing,
}

impl TcpState {
    /// The word for it, in lower snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SynSent => "syn_sent",
            Self::Established => "established",
            Self::Closing => "closing",
        }
    }
}

/// One flow as a source read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowReading {
    pub id: FlowId,
    /// The socket cookie; 0 when the source cannot tell.
    pub cookie: u64,
    pub state: TcpState,
    /// Timer expiries since the last ACK (`icsk_retransmits`).
    pub rto_count: u32,
    pub backoff: u32,
    /// Unanswered zero-window or keepalive probes of the kernel.
    pub probes_out: u32,
    /// Segments sent and not yet acknowledged.
    pub unacked_segments: u32,
    pub unacked_bytes: u32,
    /// The send window that the peer advertises; 0 is a zero window.
    pub send_window_bytes: u32,
    /// When a segment last arrived on this flow; `None` when none ever did.
    pub last_heard: Option<Time>,
    #[serde(with = "nanos")]
    pub srtt: Duration,
    /// The mean deviation of the round-trip time; zero where the source cannot read it.
    #[serde(default, with = "nanos", skip_serializing_if = "Duration::is_zero")]
    pub rtt_variance: Duration,
    /// The retransmission time-out now in force, with its back-off.
    #[serde(with = "nanos")]
    pub rto: Duration,
    /// Data segments sent over the flow's life, retransmissions included.
    pub segments_sent: u64,
    /// Segments retransmitted over the flow's life.
    pub segments_retransmitted: u64,
    /// Segments that have arrived over the flow's life, also those that brought nothing new; wraps
    /// around at 2^32. 0 where the source cannot read it.
    #[serde(default)]
    pub segments_received: u32,
    /// Bytes that the peer has acknowledged over the flow's life; 0 where the source cannot
    /// read it.
    #[serde(default)]
    pub bytes_acked: u64,
    /// The most bytes of data in one segment to the peer; 0 where the source cannot read it.
    #[serde(default)]
    pub mss: u32,
    /// When data was last sent, if no data is known to have arrived since: a call may be waiting
    /// for its reply. `None` otherwise, and where the source cannot read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaiting_since: Option<Time>,
}
