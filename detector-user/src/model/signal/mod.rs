//! What goes into the core: what the sources, clients and operators report.

mod network;
mod probe;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::{
    network::{NamespaceChange, NeighbourState, NetworkEvent, Route},
    probe::{ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget},
};
use super::{FlowId, FlowReading, OperationReport, PeerName, Time};

/// Which source saw something: for explanations and metrics, never for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceKind {
    Ebpf,
    SockDiag,
    /// The daemon's own probes.
    Probe,
    /// The kernel's reports of neighbours, links and routes.
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

/// What became of the sockets of a teardown, as counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destroyed {
    pub destroyed: u32,
    /// Spared by the last reading before they would have been destroyed.
    pub spared: u32,
    /// Already gone before they could be destroyed.
    pub gone: u32,
    /// The kernel refused to destroy them.
    pub failed: u32,
}

impl Destroyed {
    /// The sum of both.
    pub(crate) fn plus(self, other: Self) -> Self {
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
    /// Watch a peer under these endpoints; they replace the earlier ones. `discovered` peers are
    /// only ever observed.
    PeerConfigured {
        peer: PeerName,
        endpoints: Vec<Endpoint>,
        discovered: bool,
    },
    /// Stop watching a peer.
    PeerRemoved { peer: PeerName },
    /// Something happened to a flow.
    Flow(FlowEvent),
    /// All flows with one of a peer's addresses, complete, as they were at `at` or shortly after.
    /// What happened after `at` may be missing.
    SocketsRead {
        at: Time,
        source: SourceKind,
        peer: PeerName,
        addr: IpAddr,
        flows: Vec<FlowReading>,
    },
    /// Reading the sockets failed; the verdict is made without them.
    SocketsUnreadable { peer: PeerName, addr: IpAddr },
    /// Something happened to a probe.
    Probe(ProbeEvent),
    /// Something changed about links, routes or neighbours.
    Network { at: Time, event: NetworkEvent },
    /// Something changed about a watched network namespace. Flows that can no longer be seen
    /// because of it are forgotten, with what they left unanswered: a stopped container says
    /// nothing about its peers.
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
    /// The node's own programs report their operations.
    Reported { reports: Vec<OperationReport> },
}
