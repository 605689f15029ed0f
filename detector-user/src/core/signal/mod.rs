//! What the sources tell the core.

mod network;
mod probe;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::{
    network::{NamespaceChange, NeighbourState, NetworkEvent, Route},
    probe::{ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget},
};
use super::{FlowId, FlowReading, OperationReport, PeerName, Time};

/// Which source saw it: for explanations and metrics, never for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceKind {
    Ebpf,
    SockDiag,
    /// The daemon's own probes.
    Probe,
    /// Neighbours, links and routes as the kernel tells of them.
    Rtnetlink,
    /// The node's own programs.
    Reports,
}

impl SourceKind {
    /// The word for it, in lower snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::SockDiag => "sock_diag",
            Self::Probe => "probe",
            Self::Rtnetlink => "rtnetlink",
            Self::Reports => "reports",
        }
    }
}

/// An address and port of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub addr: IpAddr,
    pub port: u16,
}

/// What became of sockets that were to be destroyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destroyed {
    pub destroyed: u32,
    /// Heard from after all, at the last look.
    pub spared: u32,
    /// Gone before they could be destroyed.
    pub gone: u32,
    /// The kernel refused.
    pub failed: u32,
}

impl Destroyed {
    /// The sum of both.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            destroyed: self.destroyed + other.destroyed,
            spared: self.spared + other.spared,
            gone: self.gone + other.gone,
            failed: self.failed + other.failed,
        }
    }
}

/// What happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowEvent {
    pub at: Time,
    pub source: SourceKind,
    pub flow: FlowId,
    pub kind: FlowEventKind,
    /// The socket as it was then, where the source could read it.
    pub reading: Option<FlowReading>,
}

/// What a source saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
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
    /// All flows with one of a peer's addresses, complete, as they were at `at` or shortly after: of
    /// what happened since, some may be missing.
    SocketsRead {
        at: Time,
        source: SourceKind,
        peer: PeerName,
        addr: IpAddr,
        flows: Vec<FlowReading>,
    },
    /// Reading the sockets failed; the verdict must do without.
    SocketsUnreadable { peer: PeerName, addr: IpAddr },
    /// Something happened to a probe.
    Probe(ProbeEvent),
    /// Something changed about links, routes or neighbours.
    Network { at: Time, event: NetworkEvent },
    /// Something changed about a watched network namespace. Flows that are not to be seen any
    /// more because of it are forgotten, with what they left unanswered: that a container was
    /// stopped says nothing about its peers.
    Namespace {
        at: Time,
        netns: u32,
        change: NamespaceChange,
    },
    /// The answer to [`Effect::DestroySockets`](super::Effect::DestroySockets).
    SocketsDestroyed {
        at: Time,
        peer: PeerName,
        addr: IpAddr,
        generation: u64,
        result: Destroyed,
    },
    /// What the node's own programs say of their operations.
    Reported { reports: Vec<OperationReport> },
}
