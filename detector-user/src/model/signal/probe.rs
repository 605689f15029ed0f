//! The daemon's own probes, and what becomes of them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::Endpoint;
use crate::model::{FlowId, HardwareAddress, Time};

/// The number of one probe; a detector never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProbeId(pub u64);

/// What a probe is sent to, and how.
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

    /// Whether the probe is a TCP connect.
    pub const fn is_connect(self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectFrom { .. })
    }

    /// The address that is probed.
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
    /// An ARP reply or a neighbour advertisement by the card with this address: this proves a card
    /// that answers, no more.
    Neighbour(HardwareAddress),
    /// The connect succeeded.
    SynAck,
    /// The connect, or the segment on a flow, was answered by a reset.
    Reset,
    /// The segment on a flow was acknowledged.
    Ack,
    /// The peer itself refused the connect by ICMP. Hosts limit the rate of these messages
    /// (net.ipv4.icmp_ratelimit): one proves that the host lives, but a missing one proves nothing.
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

/// What became of a probe. First it is [`Sent`](Self::Sent) or [`Failed`](Self::Failed); a sent
/// probe after which nothing else follows is unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProbeOutcome {
    /// The probe left this host, as far as this host can tell.
    Sent,
    Answered(ProbeAnswer),
    /// The probe was not sent, or was answered by this host itself: no evidence about the peer.
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
