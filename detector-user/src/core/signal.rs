use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::{FlowId, FlowReading, HardwareAddress, OperationReport, PeerName, Time};

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

/// Names one probe; never used twice by a detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProbeId(pub u64);

/// Whom a probe asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProbeTarget {
    /// An ARP request (RFC 826) or a neighbour solicitation (RFC 4861) on this link.
    Neighbour { addr: IpAddr, link: u32 },
    /// A TCP connect from the daemon's own namespace, ended as soon as it is answered.
    Connect(Endpoint),
    /// The same from another network namespace, in which the peer has flows.
    ConnectFrom { netns: u32, endpoint: Endpoint },
    /// A keepalive segment on this flow, sent from the flow's own network namespace.
    Flow { flow: FlowId, cookie: u64 },
}

impl ProbeTarget {
    /// The word for it, in lower snake case: the `kind` label of the probes metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Neighbour { .. } => "neighbour",
            Self::Connect(_) | Self::ConnectFrom { .. } => "connect",
            Self::Flow { .. } => "keepalive",
        }
    }

    /// Whether it is a TCP connect.
    pub const fn is_connect(self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectFrom { .. })
    }

    /// The address that is asked.
    pub const fn addr(self) -> IpAddr {
        match self {
            Self::Neighbour { addr, .. } => addr,
            Self::Connect(endpoint) | Self::ConnectFrom { endpoint, .. } => endpoint.addr,
            Self::Flow { flow, .. } => flow.remote.ip(),
        }
    }
}

impl fmt::Display for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Neighbour { addr, link } => write!(f, "{addr}%{link}"),
            Self::Connect(endpoint) => SocketAddr::from((endpoint.addr, endpoint.port)).fmt(f),
            Self::ConnectFrom { netns, endpoint } => {
                let addr = SocketAddr::from((endpoint.addr, endpoint.port));
                write!(f, "{addr} from {netns}")
            }
            Self::Flow { flow, .. } => flow.fmt(f),
        }
    }
}

/// How a probe was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProbeAnswer {
    /// An ARP reply or a neighbour advertisement by the card with this address: a card that
    /// answers, no more.
    Neighbour(HardwareAddress),
    /// The connect succeeded.
    SynAck,
    /// The connect, or the segment on a flow, was answered by a reset.
    Reset,
    /// The segment on a flow was acknowledged.
    Ack,
    /// The peer itself said by ICMP that it takes no such connect. Hosts limit how often they
    /// do (net.ipv4.icmp_ratelimit), so that it proves life, and its absence nothing.
    Unreachable,
}

impl ProbeAnswer {
    /// The word for it, in lower snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Neighbour(_) => "neighbour",
            Self::SynAck => "syn_ack",
            Self::Reset => "reset",
            Self::Ack => "ack",
            Self::Unreachable => "unreachable",
        }
    }
}

/// What became of a probe. One is [`Sent`](Self::Sent) or [`Failed`](Self::Failed) first;
/// that nothing else follows says that it is unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProbeOutcome {
    /// It left this host, as far as this host can tell.
    Sent,
    Answered(ProbeAnswer),
    /// It was not sent, or came back from this host itself: no evidence about the peer.
    Failed {
        errno: u32,
    },
}

impl ProbeOutcome {
    /// The word for it, in lower snake case: the `result` label of the probes metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Answered(answer) => answer.as_str(),
            Self::Failed { .. } => "failed",
        }
    }
}

/// Something that happened to one probe, at its own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeEvent {
    pub at: Time,
    pub probe: ProbeId,
    pub target: ProbeTarget,
    pub outcome: ProbeOutcome,
}

/// The way to an address, as the kernel routes it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Index of the link it leaves by.
    pub link: u32,
    /// The next hop; `None` where the address is on the link itself.
    pub gateway: Option<IpAddr>,
}

/// What the kernel believes of a neighbour, where it says something of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NeighbourState {
    /// It answered, or TCP heard from it.
    Reachable,
    /// Its hardware address is known, and was not confirmed lately: the address may be new.
    Stale,
    /// It was asked over and over and did not answer.
    Failed,
}

impl NeighbourState {
    /// The word for it, in lower snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Failed => "failed",
        }
    }
}

/// What the network of this host looks like has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkEvent {
    /// A link can carry traffic (carrier, administratively up), or cannot.
    Link { link: u32, name: String, up: bool },
    /// How an address that is asked about is reached; `None` when there is no route, or the
    /// address is this host's own.
    Route { addr: IpAddr, route: Option<Route> },
    /// A neighbour answered or did not.
    Neighbour {
        addr: IpAddr,
        link: u32,
        state: NeighbourState,
        /// The hardware address that the kernel sends to; `None` where it knows none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hardware: Option<HardwareAddress>,
    },
}

impl NetworkEvent {
    /// The word for it, in lower snake case: the `kind` label of the signals metric.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Link { up: true, .. } => "link_up",
            Self::Link { up: false, .. } => "link_down",
            Self::Route { .. } => "route",
            Self::Neighbour {
                state: NeighbourState::Reachable,
                ..
            } => "neighbour_reachable",
            Self::Neighbour {
                state: NeighbourState::Stale,
                ..
            } => "neighbour_stale",
            Self::Neighbour {
                state: NeighbourState::Failed,
                ..
            } => "neighbour_failed",
        }
    }
}

impl NetworkEvent {
    /// What it is about: a link or an address.
    pub fn subject(&self) -> String {
        match self {
            Self::Link { name, .. } => name.clone(),
            Self::Route { addr, .. } | Self::Neighbour { addr, .. } => addr.to_string(),
        }
    }
}

/// What became of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NamespaceChange {
    /// It is watched beside the daemon's own from now on: peers can be asked from it.
    Watched,
    /// Its sockets could not be read: what is known of its flows is no longer so.
    Unreadable,
    /// It is no longer there, or no longer watched.
    Gone,
}

impl NamespaceChange {
    /// The word for it, in lower snake case: the `kind` label of the signals metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watched => "namespace_watched",
            Self::Unreadable => "namespace_unreadable",
            Self::Gone => "namespace_gone",
        }
    }
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
