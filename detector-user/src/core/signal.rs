use std::net::IpAddr;

use super::{FlowId, FlowReading, PeerName, Time};

/// Which source saw it: for explanations and metrics, never for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceKind {
    Ebpf,
    SockDiag,
}

impl SourceKind {
    /// The word for it, in lower snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::SockDiag => "sock_diag",
        }
    }
}

/// An address and port of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub addr: IpAddr,
    pub port: u16,
}

/// What happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEventKind {
    /// A tail loss probe was sent.
    Tlp,
    /// The retransmission timer fired; the count includes this time.
    Rto { count: u32 },
    /// The SYN was sent again; the count includes this time.
    SynRetransmit { count: u32 },
    /// An ACK ended a stall.
    Recovered,
    /// A handshake was finished.
    Established,
    /// A connect failed; errno 0 means that the caller gave up.
    ConnectFailed { errno: u32 },
    /// The flow was closed; errno 0 means an orderly close.
    Closed { errno: u32 },
    /// The kernel reported an error on the flow.
    ErrorReport { errno: u32 },
}

impl FlowEventKind {
    /// The word for it, in lower snake case: the `kind` label of the signals metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tlp => "tlp",
            Self::Rto { .. } => "rto",
            Self::SynRetransmit { .. } => "syn_retransmit",
            Self::Recovered => "recovered",
            Self::Established => "established",
            Self::ConnectFailed { .. } => "connect_failed",
            Self::Closed { .. } => "closed",
            Self::ErrorReport { .. } => "error_report",
        }
    }
}

/// Something that happened to one flow, at its own time.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowEvent {
    pub at: Time,
    pub source: SourceKind,
    pub flow: FlowId,
    pub kind: FlowEventKind,
    /// The socket as it was then, where the source could read it.
    pub reading: Option<FlowReading>,
}

/// What a source saw.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the frequent one; signals are moved, not kept"
)]
pub enum Signal {
    /// A peer is to be watched under these endpoints; replaces what was known of it.
    /// `discovered` peers are only ever observed.
    PeerConfigured {
        peer: PeerName,
        endpoints: Vec<Endpoint>,
        discovered: bool,
    },
    /// A peer is no longer to be watched.
    PeerRemoved { peer: PeerName },
    /// Something happened to a flow.
    Flow(FlowEvent),
    /// All flows with a peer's addresses, complete, as they were at `at` or shortly after: of
    /// what happened since, some may be missing.
    SocketsRead {
        at: Time,
        source: SourceKind,
        peer: PeerName,
        flows: Vec<FlowReading>,
    },
    /// Reading the sockets failed; the verdict must do without.
    SocketsUnreadable { peer: PeerName },
}
