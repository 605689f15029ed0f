//! What is kept about one peer: its flows, what they showed, and the silence they add up to.

mod orphans;
mod silence;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    net::IpAddr,
    time::Duration,
};

use self::orphans::Orphan;
pub(super) use self::silence::{Silence, Spacing};
use super::{
    Endpoint, EventLine, EventWhat, FlowEvent, FlowEventKind, FlowId, FlowReading, NetworkEvent,
    ProbeAnswer, ProbeEvent, Route, SourceKind, TcpState, Time,
    path::PathHistory,
    probes::{BESIDE_PORT, Probes},
    tracked::{HEARD_RESOLUTION, TrackedFlow},
    vitals::Rtt,
    weight::{Weight, weigh},
};

/// Signals kept for explanations.
const EVENTS_KEPT: usize = 32;

/// After a death connections send again all that was in flight; it takes them this long.
const RETURN_SETTLES: Duration = Duration::from_secs(1);

/// What a new set of endpoints replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    Nothing,
    Endpoints,
    /// Every address: nothing that is known is about the new host.
    Host,
}

#[derive(Debug)]
pub(super) struct Evidence {
    max_flows: usize,
    endpoints: Vec<Endpoint>,
    flows: BTreeMap<FlowId, TrackedFlow>,
    last_heard: Option<Time>,
    /// The same, of what is known to the microsecond.
    heard_exactly: Option<Time>,
    /// The same, of what TCP heard.
    heard_by_tcp: Option<Time>,
    /// When the kernel gave up asking for the neighbour's address.
    neighbour_failed: Option<Time>,
    /// `last_heard` when the path was last told what flows have sent.
    counted_at: Option<Time>,
    /// What was sent before is not loss: the peer was dead.
    learn_from: Time,
    orphans: VecDeque<Orphan>,
    /// The network namespaces beside the daemon's own in which it has, or had, flows.
    namespaces: BTreeSet<u32>,
    events: VecDeque<EventLine>,
    pub path: PathHistory,
    pub probes: Probes,
}

impl Evidence {
    pub(super) fn new(now: Time, max_flows: usize) -> Self {
        Self {
            max_flows,
            endpoints: Vec::new(),
            flows: BTreeMap::new(),
            last_heard: None,
            heard_exactly: None,
            heard_by_tcp: None,
            neighbour_failed: None,
            counted_at: None,
            learn_from: now,
            orphans: VecDeque::new(),
            namespaces: BTreeSet::new(),
            events: VecDeque::with_capacity(EVENTS_KEPT),
            path: PathHistory::new(now),
            probes: Probes::default(),
        }
    }

    /// Replaces the endpoints, and forgets what was about addresses that are no longer the
    /// peer's.
    pub(super) fn set_endpoints(&mut self, now: Time, endpoints: Vec<Endpoint>) -> Replaced {
        if self.endpoints == endpoints {
            return Replaced::Nothing;
        }
        let before = self.addresses();
        self.endpoints = endpoints;
        let addresses = self.addresses();
        let is_known = |id: &FlowId| addresses.contains(&id.remote.ip());
        self.flows.retain(|id, _| is_known(id));
        self.orphans.retain(|orphan| is_known(&orphan.flow));
        if before.is_empty() || before.iter().any(|addr| addresses.contains(addr)) {
            return Replaced::Endpoints;
        }
        (self.last_heard, self.counted_at) = (None, None);
        (self.heard_exactly, self.heard_by_tcp) = (None, None);
        self.neighbour_failed = None;
        self.namespaces.clear();
        self.path = PathHistory::new(now);
        Replaced::Host
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<_> = self.endpoints.iter().map(|e| e.addr).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    pub(super) fn last_heard(&self) -> Option<Time> {
        self.last_heard
    }

    /// When a segment last arrived from the peer: a program of its may be there.
    pub(super) fn heard_by_tcp(&self) -> Option<Time> {
        self.heard_by_tcp
    }

    /// How the ways to the peer are known: whom it can be asked by.
    pub(super) fn set_routes(&mut self, route: impl Fn(IpAddr) -> Option<Route>) {
        self.probes
            .set_targets(&self.endpoints, &self.namespaces, route);
    }

    /// Remembers in which of the watched namespaces the peer has flows; says whether there is
    /// a new one. It stays when they end: a dead peer's are destroyed, and it is still to be
    /// asked from there whether it is back.
    pub(super) fn notice_namespaces(&mut self, is_other: impl Fn(u32) -> bool) -> bool {
        let before = self.namespaces.len();
        let found = self.flows.keys().map(|flow| flow.netns);
        self.namespaces
            .extend(found.filter(|netns| is_other(*netns)));
        self.namespaces.len() > before
    }

    /// Forgets the flows of a namespace that are not to be seen any more, with all that they
    /// left unanswered: they ended with their own host, or may have been answered unseen. The
    /// peer can no longer be asked from there if it `is_gone`; says whether it could.
    pub(super) fn forget_namespace(&mut self, netns: u32, is_gone: bool) -> bool {
        self.flows.retain(|flow, _| flow.netns != netns);
        self.orphans.retain(|orphan| orphan.flow.netns != netns);
        is_gone && self.namespaces.remove(&netns)
    }

    /// Takes in what became of a probe; says whether it was answered.
    pub(super) fn probe(&mut self, event: &ProbeEvent) -> Option<ProbeAnswer> {
        let answered = self.probes.event(event)?;
        // A connect to a dead peer waits in this host for the neighbour's address, and is
        // answered late when the peer is back.
        if let Some(after) = answered.after
            && event.at - after >= self.learn_from
        {
            self.path.answered(event.at, after);
        }
        match answered.answer {
            ProbeAnswer::Neighbour(_) => self.heard_neighbour(event.at),
            ProbeAnswer::SynAck | ProbeAnswer::Reset | ProbeAnswer::Ack => {
                self.heard_segment(event.at)
            }
        }
        Some(answered.answer)
    }

    /// The kernel gave up asking for the neighbour's address.
    pub(super) fn neighbour_failed(&mut self, at: Time) {
        self.neighbour_failed = Some(at);
    }

    /// When a segment last arrived on one of the flows, as of the last look.
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

    /// Whether the flow is with one of the peer's endpoints, dialled or accepted. Other
    /// flows with its addresses can show that it lives, never that it is dead: a firewall
    /// may stand before another port.
    pub(super) fn is_watched(&self, flow: &FlowId) -> bool {
        self.endpoints.iter().any(|endpoint| {
            endpoint.addr == flow.remote.ip()
                && (endpoint.port == flow.remote.port() || endpoint.port == flow.local.port())
        })
    }

    /// Takes in one event.
    pub(super) fn event(&mut self, event: &FlowEvent) -> Weight {
        self.note(EventLine {
            at: event.at,
            source: event.source,
            what: EventWhat::Flow(event.kind, event.flow),
        });
        if event.flow.netns == 0 && !self.flows.contains_key(&self.known_id(event.flow)) {
            // It may be another namespace's flow with another host of the same address:
            // a reason to look, not evidence.
            return Weight::Adverse;
        }
        self.note_on_flow(event);
        if let Some(heard) = event.reading.as_ref().and_then(|r| r.last_heard) {
            self.heard(heard);
        }
        let weight = weigh(event.kind);
        if let Weight::Heard(_) = weight {
            self.heard_segment(event.at);
        }
        if let FlowEventKind::ConnectFailed { .. } | FlowEventKind::Closed { .. } = event.kind {
            self.flow_gone(event);
        }
        weight
    }

    /// Takes in all flows with the peer's addresses, as they were at `at`.
    pub(super) fn read(&mut self, at: Time, source: SourceKind, mut readings: Vec<FlowReading>) {
        // They may have been asked for under other addresses, and questions of our own are
        // told by the probes.
        let addresses = self.addresses();
        readings.retain(|reading| {
            let remote = reading.id.remote;
            addresses.contains(&remote.ip()) && remote.port() != BESIDE_PORT
        });
        let mut old = std::mem::take(&mut self.flows);
        if let Some(heard) = readings.iter().filter_map(|r| r.last_heard).max() {
            self.heard(heard);
        }
        let (kept, left_out) = bounded(readings, self.max_flows);
        for reading in kept {
            let id = reading.id;
            let mut flow = match old.remove(&id) {
                Some(flow) if flow.is_same_connection(reading.cookie) => flow,
                other => {
                    other.iter().for_each(|gone| self.orphan(gone));
                    TrackedFlow::unseen(&reading)
                }
            };
            let kind = expiry(&reading);
            if flow.read(at, reading) {
                self.note(EventLine {
                    at,
                    source,
                    what: EventWhat::Flow(kind, id),
                });
            }
            self.flows.insert(id, flow);
        }
        for reading in left_out {
            // Forgotten, but not gone: should it be kept again, it tells for itself.
            old.remove(&reading.id);
        }
        for gone in old.into_values() {
            self.orphan(&gone);
        }
        self.drop_tracked_orphans();
        // The same segment may look a little younger each time it is read.
        if self.last_heard > self.counted_at.map(|counted| counted + HEARD_RESOLUTION) {
            self.counted_at = self.last_heard;
            self.count_progress(at);
        }
    }

    /// Since when the peer was surely not heard, or might just not have been: a reading's
    /// clock is coarse.
    pub(super) fn surely_heard(&self) -> Option<Time> {
        let coarse = self.last_heard.map(|heard| heard - HEARD_RESOLUTION);
        coarse.max(self.heard_exactly)
    }

    /// Forgets probes that can no longer be answered.
    pub(super) fn settle_probes(&mut self, now: Time) {
        self.probes
            .settle(now, self.last_heard, self.learn_from, &mut self.path);
    }

    /// What a probe came to, where it says something.
    pub(super) fn note_probe(&mut self, event: &ProbeEvent) {
        self.note(EventLine {
            at: event.at,
            source: SourceKind::Probe,
            what: EventWhat::Probe(event.target, event.outcome),
        });
    }

    /// What this host's network did.
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

    fn note_on_flow(&mut self, event: &FlowEvent) {
        let id = self.known_id(event.flow);
        if let Some(reading) = &event.reading
            && self.flows.len() < self.max_flows
            && let Entry::Vacant(entry) = self.flows.entry(id)
        {
            entry.insert(TrackedFlow::unseen(reading));
            self.drop_tracked_orphans();
        }
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if let Some(reading) = &event.reading {
            if flow.is_same_connection(reading.cookie) {
                flow.glimpse(reading);
            } else {
                let gone = std::mem::replace(flow, TrackedFlow::unseen(reading));
                self.orphan(&gone);
            }
        }
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        match event.kind {
            FlowEventKind::Tlp => flow.tlp(event.at),
            FlowEventKind::Rto { count } | FlowEventKind::SynRetransmit { count } => {
                flow.rto(event.at, count);
            }
            FlowEventKind::Recovered | FlowEventKind::Established => flow.answered(),
            _ => {}
        }
    }

    /// The flow an event is about: a source that cannot tell the namespace gives 0.
    fn known_id(&self, flow: FlowId) -> FlowId {
        if flow.netns != 0 {
            return flow;
        }
        self.flows
            .keys()
            .find(|known| known.local == flow.local && known.remote == flow.remote)
            .copied()
            .unwrap_or(flow)
    }

    /// A segment from the peer arrived at `at`, by the kernel's coarse clock.
    pub(super) fn heard(&mut self, at: Time) {
        self.heard_by_tcp = self.heard_by_tcp.max(Some(at));
        self.heard_anything(at);
    }

    /// A segment from the peer arrived at `at`, exactly.
    pub(super) fn heard_segment(&mut self, at: Time) {
        self.heard_exactly = self.heard_exactly.max(Some(at));
        self.heard(at);
    }

    /// The peer's kernel answered on the link at `at`, exactly.
    pub(super) fn heard_neighbour(&mut self, at: Time) {
        self.heard_exactly = self.heard_exactly.max(Some(at));
        self.heard_anything(at);
    }

    fn heard_anything(&mut self, at: Time) {
        self.last_heard = self.last_heard.max(Some(at));
        self.probes.heard(at);
        self.orphans.retain(|orphan| orphan.sent.earliest > at);
        self.neighbour_failed = self.neighbour_failed.filter(|failed| *failed > at);
    }

    /// A silence from `since` to `heard` looked bad and ended: the peer was alive all the
    /// while. One of a peer that has just come back from the dead says nothing of its path:
    /// switches and neighbours are still learning where it is. Says whether it was learnt from.
    pub(super) fn stall_recovered(&mut self, at: Time, since: Time, heard: Time) -> bool {
        let learns = since >= self.learn_from;
        if learns {
            self.path.stall_recovered(at, heard.since(since));
        }
        learns
    }

    /// The round-trip time of the flow that was heard last, of those that have one.
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

    /// The peer was found dead, or would be if the verdict were not held: until it returns
    /// nothing is learnt of the path.
    pub(super) fn died(&mut self) {
        self.learn_from = Time::from_nanos(u64::MAX);
    }

    /// The peer is back from the dead, or the verdict is no longer held.
    pub(super) fn returned(&mut self, at: Time) {
        self.learn_from = at + RETURN_SETTLES;
    }

    /// Tells the path what flows have sent. Only once the peer was heard: what a dead peer
    /// does not answer is not loss.
    fn count_progress(&mut self, at: Time) {
        for flow in self.flows.values_mut() {
            let total = flow.settled_totals();
            match flow.counted {
                _ if at < self.learn_from => {}
                None => self.path.first_sight(at, total.0, total.1),
                Some(counted) => self.path.progress(
                    at,
                    total.0.saturating_sub(counted.0),
                    total.1.saturating_sub(counted.1),
                ),
            }
            flow.counted = Some(total);
        }
    }
}

/// The timer expiry that a reading shows.
fn expiry(reading: &FlowReading) -> FlowEventKind {
    let count = reading.rto_count;
    match reading.state {
        TcpState::SynSent => FlowEventKind::SynRetransmit { count },
        TcpState::Established | TcpState::Closing => FlowEventKind::Rto { count },
    }
}

/// At most `limit` readings, those with something in flight first, and the rest.
fn bounded(mut readings: Vec<FlowReading>, limit: usize) -> (Vec<FlowReading>, Vec<FlowReading>) {
    if readings.len() > limit {
        readings.sort_by_key(|r| (r.rto_count == 0, r.unacked_bytes == 0, r.id));
    }
    let rest = readings.split_off(limit.min(readings.len()));
    (readings, rest)
}
