//! Why a verdict is what it is, as data: for `detector explain` and the API.

use std::{net::IpAddr, time::Duration};

use super::{
    Destroyed, FlowEventKind, FlowId, FlowReading, NeighbourState, NetworkEvent, Operation,
    Outcome, PeerState, ProbeAnswer, ProbeOutcome, ProbeTarget, Route, SourceKind, Time,
};

/// Why a peer's verdict is what it is, as data.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub state: PeerState,
    pub silence: SilenceLine,
    pub flows: Vec<FlowLine>,
    /// Oldest first.
    pub events: Vec<EventLine>,
    /// What the daemon can probe, and with what result.
    pub probes: Vec<ProbeLine>,
    /// How each address is reached.
    pub routes: Vec<RouteLine>,
    /// The result of the last teardown since the peer was last found Dead; `None` before the first.
    pub destroyed: Option<Destroyed>,
    /// One sentence for a person.
    pub summary: String,
    /// The rule, clause by clause.
    pub clauses: Vec<ClauseLine>,
}

/// One clause of the rule, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClauseLine {
    pub address: IpAddr,
    pub name: &'static str,
    pub measured: String,
    pub needed: String,
    pub holds: bool,
}

/// One target of probes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeLine {
    pub target: ProbeTarget,
    /// Whether the target is known to answer: only then does a missing answer count.
    pub known_to_answer: bool,
    pub sent: u64,
    pub answered: u64,
    /// Sent since the peer was last heard, and not answered in time.
    pub unanswered: u32,
    pub last_answer: Option<(Time, ProbeAnswer)>,
}

/// How one address of the peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteLine {
    pub addr: IpAddr,
    pub route: Route,
    /// Whether the link can carry traffic.
    pub link_up: bool,
    pub neighbour: Option<NeighbourState>,
}

/// The numbers that the verdict compares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SilenceLine {
    /// How long nothing was heard while a demand was unanswered.
    pub duration: Duration,
    /// How long the silence must last for Dead.
    pub detection_time: Duration,
    /// Separate moments, or transmissions where the peer cannot be probed, that went unanswered
    /// since the host was last heard.
    pub unanswered_transmissions: u32,
    pub required_transmissions: u32,
    /// Whether these two count moments.
    pub counts_moments: bool,
    /// Estimated probability that one transmission and its answer are lost: as observed, but at
    /// least what is always assumed.
    pub loss_estimate: f64,
    /// The share of sent segments that was lost lately.
    pub observed_loss: f64,
}

/// One flow, and whether a demand stands on it.
#[derive(Clone, Debug)]
pub struct FlowLine {
    pub reading: FlowReading,
    pub demand: bool,
    /// For how long its own retransmissions have gone unanswered while the peer lives.
    pub stalled_for: Option<Duration>,
}

/// One signal of the peer's recent past.
#[derive(Clone, Debug, PartialEq)]
pub struct EventLine {
    pub at: Time,
    pub source: SourceKind,
    pub what: EventWhat,
}

/// What was seen, and on what.
#[derive(Clone, Debug, PartialEq)]
pub enum EventWhat {
    Flow(FlowEventKind, FlowId),
    Probe(ProbeTarget, ProbeOutcome),
    Network(NetworkEvent),
    /// A call that failed.
    Report(Operation, Outcome),
}

impl EventWhat {
    /// The word for it, in lower snake case.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Flow(kind, _) => kind.as_str(),
            Self::Probe(_, outcome) => outcome.as_str(),
            Self::Network(event) => event.as_str(),
            Self::Report(_, outcome) => outcome.as_str(),
        }
    }

    /// What the event was seen on: a flow, a probe's target, a link, an address, a call.
    pub fn subject(&self) -> String {
        match self {
            Self::Flow(_, flow) => flow.to_string(),
            Self::Probe(target, _) => target.to_string(),
            Self::Network(event) => event.subject(),
            Self::Report(operation, _) => format!("call: {operation}"),
        }
    }
}
