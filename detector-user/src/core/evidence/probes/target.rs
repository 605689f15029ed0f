//! One target of probes.

use std::{net::IpAddr, time::Duration};

use super::CLOSED_PORT;
use crate::{
    core::evidence::{places::Places, silence::Way},
    model::{
        Endpoint, FlowId, ProbeAnswer, ProbeEvent, ProbeLine, ProbeOutcome, ProbeTarget,
        Remembered, Route, Settings, Time,
    },
};

/// After this many missing answers in a row, while the peer is heard otherwise, a target no longer
/// counts.
const MAX_MISSES: u32 = 8;

/// A port may be opened or closed between two answers that are further apart.
const AT_THE_SAME_TIME: Duration = Duration::from_millis(100);

/// The most targets of one path, not counting flows.
const TARGETS_KEPT: usize = 48;

/// These errors mean that the kernel or the daemon's privileges do not allow keepalives: `EPERM`,
/// `EOPNOTSUPP`.
const NOT_HERE: [u32; 2] = [1, 95];

#[derive(Debug)]
pub(in crate::core) struct Target {
    pub target: ProbeTarget,
    pub last_answer: Option<(Time, ProbeAnswer)>,
    /// How many answers were missing in a row while the peer was heard otherwise.
    pub misses: u32,
    pub sent: u64,
    answered: u64,
    /// For a flow: its own retransmissions are unanswered.
    pub is_troubled: bool,
    /// For a flow: it is stalled while its peer lives.
    pub is_stalled: bool,
    /// For a flow: the host was heard since the flow got stuck, and nothing is answered on the
    /// flow.
    pub is_contradicted: bool,
}

/// A flow that can be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct FlowTarget {
    pub flow: FlowId,
    pub cookie: u64,
    pub is_troubled: bool,
    pub is_stalled: bool,
    pub is_contradicted: bool,
}

impl FlowTarget {
    pub(in crate::core) fn target(&self) -> ProbeTarget {
        ProbeTarget::Flow {
            flow: self.flow,
            cookie: self.cookie,
        }
    }
}

impl Target {
    pub(super) fn new(target: ProbeTarget) -> Self {
        Self {
            target,
            last_answer: None,
            misses: 0,
            sent: 0,
            answered: 0,
            is_troubled: false,
            is_stalled: false,
            is_contradicted: false,
        }
    }

    pub(super) fn answered(&mut self, at: Time, answer: ProbeAnswer) {
        self.last_answer = Some((at, answer));
        self.misses = 0;
        self.answered += 1;
    }

    /// Whether this connect was accepted and the other one reset, or the reverse, at the same time.
    pub(super) fn contradicts(&self, other: &Self) -> bool {
        let (Some((at, answer)), Some((other_at, other))) = (self.last_answer, other.last_answer)
        else {
            return false;
        };
        let kinds = [answer, other];
        let differ = kinds.contains(&ProbeAnswer::SynAck) && kinds.contains(&ProbeAnswer::Reset);
        differ && at.max(other_at).since(at.min(other_at)) <= AT_THE_SAME_TIME
    }

    /// For the next run of the daemon. Flows and namespaces may be others by then.
    pub(super) fn memory(&self) -> Option<Remembered> {
        let outlasts = matches!(
            self.target,
            ProbeTarget::Connect(_) | ProbeTarget::Neighbour { .. }
        );
        let (at, answer) = self.last_answer.filter(|_| outlasts)?;
        Some(Remembered {
            target: self.target,
            at,
            answer,
        })
    }

    /// It is known to answer if it was before, and has not answered since.
    pub(super) fn remember(&mut self, answers: &[Remembered]) {
        let mut known = answers.iter();
        if self.last_answer.is_none()
            && let Some(known) = known.find(|known| known.target == self.target)
        {
            self.last_answer = Some((known.at, known.answer));
        }
    }

    /// Whether a missing answer counts. TCP must acknowledge a keepalive (RFC 9293, 3.10.7.4), but
    /// a firewall may drop it: it counts if one was answered on this path, or if the flow's own
    /// retransmissions are unanswered, too.
    pub(super) fn counts(&self, flows_answer: bool) -> bool {
        let is_known = match (self.target, self.last_answer) {
            (ProbeTarget::Flow { .. }, _) => flows_answer || self.is_troubled,
            (_, None | Some((_, ProbeAnswer::Unreachable))) => false,
            (_, Some(_)) => true,
        };
        is_known && self.may_answer() && !self.is_contradicted
    }

    /// Whether the target may still answer: it has not left too many probes unanswered.
    pub(super) fn may_answer(&self) -> bool {
        self.misses < MAX_MISSES
    }

    /// How much a probe of this target disturbs the peer; 0 is least.
    pub(super) fn disturbance(&self) -> u8 {
        match (self.target, self.last_answer) {
            (ProbeTarget::Neighbour { .. }, _) => 0,
            (_, Some((_, ProbeAnswer::Reset))) => 1,
            _ => 2,
        }
    }

    pub(super) fn line(&self, known_to_answer: bool, unanswered: usize) -> ProbeLine {
        ProbeLine {
            target: self.target,
            known_to_answer,
            sent: self.sent,
            answered: self.answered,
            unanswered: u32::try_from(unanswered).unwrap_or(u32::MAX),
            last_answer: self.last_answer,
        }
    }
}

/// The way by which a probe of this target goes.
pub(in crate::core) fn way_of(target: ProbeTarget) -> Way {
    match target {
        ProbeTarget::Neighbour { .. } => Way::Link,
        ProbeTarget::Connect(_) | ProbeTarget::ConnectFrom { .. } => Way::Connect,
        ProbeTarget::Flow { .. } => Way::Flow,
    }
}

/// Whether the event shows that the flow no longer exists: `ENOENT`, `ENOTCONN`, `ESTALE`.
pub(in crate::core) fn means_gone(event: &ProbeEvent) -> bool {
    let ProbeOutcome::Failed { errno } = event.outcome else {
        return false;
    };
    way_of(event.target) == Way::Flow && [2, 107, 116].contains(&errno)
}

/// Whether this failure shows that no keepalive can be sent at all.
pub(super) fn means_no_keepalives(target: ProbeTarget, errno: u32) -> bool {
    way_of(target) == Way::Flow && NOT_HERE.contains(&errno)
}

/// The targets of an address other than its flows. Connects come from where the peer has flows.
pub(in crate::core) fn targets(
    endpoints: &[Endpoint],
    places: &Places,
    route: impl Fn(IpAddr) -> Option<Route>,
    settings: &Settings,
) -> Vec<ProbeTarget> {
    let mut wanted = Vec::new();
    for endpoint in endpoints {
        if let Some(Route {
            link,
            gateway: None,
        }) = route(endpoint.addr)
            && settings.neighbour_probes
        {
            let addr = endpoint.addr;
            wanted.push(ProbeTarget::Neighbour { addr, link });
        }
        let closed = settings.probe_closed_port.then_some(Endpoint {
            port: CLOSED_PORT,
            ..*endpoint
        });
        for endpoint in closed.into_iter().chain([*endpoint]) {
            let own = places.has_own().then_some(ProbeTarget::Connect(endpoint));
            let from = |netns| ProbeTarget::ConnectFrom { netns, endpoint };
            wanted.extend(own.into_iter().chain(places.others().map(from)));
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted.truncate(TARGETS_KEPT);
    wanted
}
