//! What is kept about one path: its flows, what they showed, and the silence that follows.
//!
//! ```text
//! evidence   everything that is kept about a path
//! intake     takes in signals
//! heard      when the peer was last heard, by layer
//! tracked    one flow, and the demand that may stand unanswered on it
//! places     from which network namespaces it is reached
//! orphans    transmissions whose sockets are gone
//! probes     the daemon's own probes: their targets and results
//! history    loss and stalls of the path, and what silence they require
//! silence    derives the silence of the host from all of it
//! stalled    flows that are stuck while the peer lives
//! waiting    stuck flows and those on which calls wait, probed to learn whether they still carry anything
//! weight     what a single event says
//! ```

mod heard;
mod history;
mod intake;
mod orphans;
mod places;
mod probes;
mod silence;
mod stalled;
mod tracked;
mod waiting;
mod weight;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
};

pub(super) use self::{
    heard::{Heard, Layer},
    history::PathHistory,
    probes::{CLOSED_PORT, FlowTarget, GIVE_UP_AFTER, Probes, means_gone, targets},
    silence::{Silence, Spacing},
    stalled::Stalled,
    tracked::TrackedFlow,
    waiting::Waiting,
    weight::Weight,
};
use self::{orphans::Orphan, places::Places};
use super::vitals::Rtt;
use crate::model::{
    Endpoint, EventLine, EventWhat, FlowId, NetworkEvent, ProbeEvent, ProbeTarget, SourceKind,
    TcpState, Time,
};

/// How many signals are kept for explanations.
const EVENTS_KEPT: usize = 32;

/// After a peer's return its connections retransmit all that was in flight; that takes them this
/// long.
const RETURN_SETTLES: std::time::Duration = std::time::Duration::from_secs(1);

/// The most flows that are probed together after one was reset; the rest follows after the next
/// snapshot.
const FLOWS_AFTER_RESET: usize = 64;

/// The most flows of one path that are probed in turn.
const FLOWS_PROBED: usize = 8;

#[derive(Debug)]
pub(super) struct Evidence {
    max_flows: usize,
    endpoints: Vec<Endpoint>,
    flows: BTreeMap<FlowId, TrackedFlow>,
    pub heard: Heard,
    /// The peer was there before the daemon was restarted.
    pub was_there: bool,
    /// When the kernel gave up asking for the neighbour's address.
    neighbour_failed: Option<Time>,
    /// When a connect was last refused. That is no sure sign of the host: a router may refuse in its
    /// name. But it delays destroying.
    pub refused: Option<Time>,
    /// When the host was last heard, at the time when flows were last added to the history.
    counted_at: Option<Time>,
    /// What was sent before this moment is not counted as loss: the peer was dead.
    learn_from: Time,
    orphans: VecDeque<Orphan>,
    pub places: Places,
    events: VecDeque<EventLine>,
    /// When there was last a connection with one of the endpoints, or an attempt at one.
    pub connected_at: Option<Time>,
    pub history: PathHistory,
    pub probes: Probes,
    pub waiting: Waiting,
}

impl Evidence {
    pub(super) fn new(now: Time, max_flows: usize) -> Self {
        Self {
            max_flows,
            endpoints: Vec::new(),
            flows: BTreeMap::new(),
            heard: Heard::default(),
            was_there: false,
            neighbour_failed: None,
            refused: None,
            counted_at: None,
            learn_from: now,
            orphans: VecDeque::new(),
            places: Places::default(),
            events: VecDeque::with_capacity(EVENTS_KEPT),
            connected_at: None,
            history: PathHistory::new(now),
            probes: Probes::default(),
            waiting: Waiting::default(),
        }
    }

    /// Replaces the endpoints, all of one address; returns whether they are different ones.
    pub(super) fn set_endpoints(&mut self, endpoints: Vec<Endpoint>) -> bool {
        let is_new = self.endpoints != endpoints;
        self.endpoints = endpoints;
        is_new
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Remembers in which of the watched namespaces the peer has flows; returns whether there is a
    /// new one.
    pub(super) fn notice_namespaces(&mut self, is_other: impl Fn(u32) -> bool) -> bool {
        let found = self.flows.keys().map(|flow| flow.netns);
        self.places.notice(found.filter(|netns| is_other(*netns)))
    }

    /// Forgets the flows of a namespace that can no longer be seen, with all that they left
    /// unanswered: they ended with the namespace, or may have been answered unseen. If the
    /// namespace `is_gone` the peer can no longer be probed from there; returns whether it could
    /// before.
    pub(super) fn forget_namespace(&mut self, netns: u32, is_gone: bool) -> bool {
        self.flows.retain(|flow, _| flow.netns != netns);
        self.orphans.retain(|orphan| orphan.flow.netns != netns);
        is_gone && self.places.forget(netns)
    }

    /// When a segment last arrived on one of the flows, as of the last socket snapshot.
    pub(super) fn heard_on_flows(&self) -> Option<Time> {
        self.flows
            .values()
            .filter_map(|flow| flow.reading.last_heard)
            .max()
    }

    /// Whether there is a connection with one of the peer's endpoints.
    pub(super) fn is_connected(&self) -> bool {
        self.watched_flows()
            .any(|flow| flow.reading.state != TcpState::SynSent)
    }

    /// The flows with the peer's endpoints.
    pub(super) fn watched_flows(&self) -> impl Iterator<Item = &TrackedFlow> {
        self.flows()
            .filter(|flow| self.is_watched(&flow.reading.id))
    }

    pub(super) fn flows(&self) -> impl Iterator<Item = &TrackedFlow> {
        self.flows.values()
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &EventLine> {
        self.events.iter()
    }

    /// Whether the flow is with one of the peer's endpoints, dialled or accepted. Other flows with
    /// its addresses can show that it lives, but never that it is dead: a firewall may block
    /// another port.
    pub(super) fn is_watched(&self, flow: &FlowId) -> bool {
        self.endpoints.iter().any(|endpoint| {
            endpoint.addr == flow.remote.ip()
                && (endpoint.port == flow.remote.port() || endpoint.port == flow.local.port())
        })
    }

    fn is_address(&self, addr: IpAddr) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.addr == addr)
    }

    /// Marks the stalled flows: what is sent on them is no demand on the peer.
    pub(super) fn set_stalled(&mut self, stalled: &[Stalled]) {
        let stalled: BTreeSet<FlowId> = stalled.iter().map(|stalled| stalled.flow).collect();
        for (id, flow) in &mut self.flows {
            flow.is_stalled = stalled.contains(id);
        }
        let probed = self.flow_targets();
        self.probes.set_flows(&probed);
    }

    /// The flows that may be probed: those with unanswered retransmissions first, then those that
    /// were heard last.
    fn flow_targets(&self) -> Vec<FlowTarget> {
        let mut flows: Vec<_> = self
            .watched_flows()
            .filter(|flow| flow.can_be_probed())
            .collect();
        flows.sort_by_key(|flow| {
            let heard = flow.reading.last_heard;
            (flow.reading.rto_count == 0, std::cmp::Reverse(heard))
        });
        let target = |flow: &TrackedFlow| FlowTarget {
            flow: flow.reading.id,
            cookie: flow.reading.cookie,
            is_troubled: flow.reading.rto_count > 0,
            is_stalled: flow.is_stalled,
            is_contradicted: flow.is_contradicted(self.heard.surely()) && !flow.answers_probes(),
        };
        let stalled = flows.iter().filter(|flow| flow.is_stalled);
        let others = flows.iter().filter(|flow| !flow.is_stalled);
        let stalled = stalled.take(FLOWS_PROBED);
        let all = stalled.chain(others.take(FLOWS_PROBED));
        all.map(|flow| target(flow)).collect()
    }

    /// The established flows on which nothing was heard since `at`.
    pub(super) fn flows_unheard_since(&self, at: Time) -> Vec<ProbeTarget> {
        self.watched_flows()
            .filter(|flow| flow.can_be_probed() && flow.reading.last_heard < Some(at))
            .take(FLOWS_AFTER_RESET)
            .map(TrackedFlow::target)
            .collect()
    }

    /// Forgets probes that can no longer be answered.
    pub(super) fn settle_probes(&mut self, now: Time) {
        self.probes
            .settle(now, &self.heard, self.learn_from, &mut self.history);
    }

    /// Notes the outcome of a probe, for explanations.
    pub(super) fn note_probe(&mut self, event: &ProbeEvent) {
        self.note(EventLine {
            at: event.at,
            source: SourceKind::Probe,
            what: EventWhat::Probe(event.target, event.outcome),
        });
    }

    /// Notes a change of this host's network, for explanations.
    pub(super) fn note_network(&mut self, at: Time, event: &NetworkEvent) {
        self.note(EventLine {
            at,
            source: SourceKind::Rtnetlink,
            what: EventWhat::Network(event.clone()),
        });
    }

    pub(super) fn note(&mut self, event: EventLine) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// A suspicious silence from `since` to `heard` ended: the peer was alive all the time. Just
    /// after the return of a dead peer such a silence says nothing about the path: switches and
    /// neighbours are still learning where the peer is. Returns whether the history learnt from it.
    pub(super) fn stall_recovered(&mut self, at: Time, since: Time, heard: Time) -> bool {
        let learns = since >= self.learn_from;
        if learns {
            self.history.stall_recovered(at, heard.since(since));
        }
        learns
    }

    /// The round-trip time of the flow that was heard last, among those that have measured one.
    pub(super) fn rtt(&self) -> Option<Rtt> {
        let measured = self
            .watched_flows()
            .map(|flow| &flow.reading)
            .filter(|reading| reading.last_heard.is_some() && !reading.srtt.is_zero());
        let latest = measured.max_by_key(|reading| reading.last_heard)?;
        Some(Rtt {
            srtt: latest.srtt,
            variance: latest.rtt_variance,
        })
    }

    /// The peer was found dead, or this node is isolated: until that is over the path's history
    /// learns nothing.
    pub(super) fn died(&mut self) {
        self.learn_from = Time::from_nanos(u64::MAX);
    }

    /// The dead peer is back, or this node is no longer isolated.
    pub(super) fn returned(&mut self, at: Time) {
        self.learn_from = at + RETURN_SETTLES;
    }
}
