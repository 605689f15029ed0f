//! What is kept about one peer: its flows, what they showed, and the silence they add up to.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use super::{
    Endpoint, EventLine, FlowEvent, FlowEventKind, FlowId, FlowReading, Reason, SourceKind,
    TcpState, Time,
    path::PathHistory,
    tracked::{HEARD_RESOLUTION, TrackedFlow},
};

/// Signals kept for explanations.
const EVENTS_KEPT: usize = 32;

/// Transmissions whose sockets are gone are forgotten after this time.
const ORPHAN_LIFE: Duration = Duration::from_secs(30);

/// The most of them that are kept.
const ORPHANS_KEPT: usize = 64;

/// `errno` values (asm-generic/errno.h) by what they say of the peer.
mod errno {
    pub const PIPE: u32 = 32;
    pub const CONNRESET: u32 = 104;
    pub const TIMEDOUT: u32 = 110;
    pub const CONNREFUSED: u32 = 111;
    pub const HOSTDOWN: u32 = 112;
    pub const HOSTUNREACH: u32 = 113;
}

/// How an event speaks for or against the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// The peer was heard.
    Heard(Reason),
    /// Something may be unanswered: look.
    Adverse,
    Neutral,
}

/// A transmission that was never answered and whose socket is gone: a connect that failed,
/// a flow that was given up.
#[derive(Clone, Copy, Debug)]
struct Orphan {
    at: Time,
    reason: Reason,
}

/// The silence of a peer while something stands unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// Since the last segment from the peer, or the first transmission after it.
    pub since: Time,
    /// What was sent to the peer since it was last heard, over all flows. What was sent
    /// before and is still unanswered does not count: the peer has answered others since,
    /// so that one flow's trouble is not the peer's.
    pub transmissions: u32,
    pub reason: Reason,
}

#[derive(Debug)]
pub(super) struct Evidence {
    max_flows: usize,
    endpoints: Vec<Endpoint>,
    flows: BTreeMap<FlowId, TrackedFlow>,
    last_heard: Option<Time>,
    orphans: VecDeque<Orphan>,
    events: VecDeque<EventLine>,
    pub path: PathHistory,
}

impl Evidence {
    pub(super) fn new(now: Time, max_flows: usize) -> Self {
        Self {
            max_flows,
            endpoints: Vec::new(),
            flows: BTreeMap::new(),
            last_heard: None,
            orphans: VecDeque::new(),
            events: VecDeque::with_capacity(EVENTS_KEPT),
            path: PathHistory::new(now),
        }
    }

    /// Replaces the endpoints; says whether that changed anything.
    pub(super) fn set_endpoints(&mut self, endpoints: Vec<Endpoint>) -> bool {
        if self.endpoints == endpoints {
            return false;
        }
        self.endpoints = endpoints;
        let addresses = self.addresses();
        self.flows
            .retain(|id, _| addresses.contains(&id.remote.ip()));
        true
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
            kind: event.kind,
            flow: event.flow,
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
            self.heard(event.at);
        }
        if let FlowEventKind::ConnectFailed { .. } | FlowEventKind::Closed { .. } = event.kind {
            self.flow_gone(event);
        }
        weight
    }

    /// Takes in all flows with the peer's addresses, as they were at `at`.
    pub(super) fn read(&mut self, at: Time, source: SourceKind, readings: Vec<FlowReading>) {
        let mut old = std::mem::take(&mut self.flows);
        let heard_before = self.last_heard;
        if let Some(heard) = readings.iter().filter_map(|r| r.last_heard).max() {
            self.heard(heard);
        }
        for reading in bounded(readings, self.max_flows) {
            let id = reading.id;
            let known = old
                .remove(&id)
                .filter(|flow| flow.is_same_connection(&reading));
            let mut flow = known.unwrap_or_else(|| TrackedFlow::unseen(&reading));
            let kind = expiry(&reading);
            if flow.read(at, reading) {
                self.note(EventLine {
                    at,
                    source,
                    kind,
                    flow: id,
                });
            }
            self.flows.insert(id, flow);
        }
        for gone in old.into_values() {
            self.orphan(&gone);
        }
        if self.last_heard > heard_before || heard_before.is_none() {
            self.count_progress(at);
        }
    }

    /// The silence now, where a demand stands.
    pub(super) fn silence(&self, now: Time) -> Option<Silence> {
        let heard = self.last_heard.unwrap_or_default();
        let floor = heard - HEARD_RESOLUTION;
        let standing = self
            .flows
            .values()
            .filter(|flow| self.is_watched(&flow.reading.id))
            .filter_map(|flow| Some((flow.demand()?, flow)))
            .flat_map(|(reason, flow)| flow.transmissions().map(move |at| Orphan { at, reason }));
        let orphans = self
            .orphans
            .iter()
            .filter(|orphan| now.since(orphan.at) < ORPHAN_LIFE)
            .copied();
        standing
            .chain(orphans)
            .filter(|sent| sent.at > floor)
            .fold(None, |silence: Option<Silence>, sent| {
                let silence = silence.unwrap_or(Silence {
                    since: sent.at,
                    transmissions: 0,
                    reason: sent.reason,
                });
                Some(Silence {
                    since: silence.since.min(sent.at),
                    transmissions: silence.transmissions.saturating_add(1),
                    reason: stronger(silence.reason, sent.reason),
                })
            })
            .map(|silence| Silence {
                since: silence.since.max(heard),
                ..silence
            })
    }

    fn note(&mut self, event: EventLine) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn note_on_flow(&mut self, event: &FlowEvent) {
        let id = self.known_id(event.flow);
        if let Some(reading) = &event.reading
            && self.flows.len() < self.max_flows
        {
            self.flows
                .entry(id)
                .or_insert_with(|| TrackedFlow::unseen(reading));
        }
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if let Some(reading) = &event.reading {
            if flow.is_same_connection(reading) {
                flow.glimpse(reading);
            } else {
                *flow = TrackedFlow::unseen(reading);
            }
        }
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

    fn flow_gone(&mut self, event: &FlowEvent) {
        let id = self.known_id(event.flow);
        if let Some(gone) = self.flows.remove(&id) {
            self.orphan(&gone);
        }
        if gave_up(event.kind) {
            // What the kernel gave up on was sent; that it gave up is one more answer missing.
            self.push_orphan(Orphan {
                at: event.at,
                reason: Reason::ErrorReported,
            });
        }
    }

    fn orphan(&mut self, gone: &TrackedFlow) {
        let Some(reason) = gone.demand() else { return };
        if self.is_watched(&gone.reading.id) {
            for at in gone.transmissions() {
                self.push_orphan(Orphan { at, reason });
            }
        }
    }

    fn push_orphan(&mut self, orphan: Orphan) {
        if self.orphans.len() == ORPHANS_KEPT {
            self.orphans.pop_front();
        }
        self.orphans.push_back(orphan);
    }

    /// A segment from the peer arrived at `at`.
    pub(super) fn heard(&mut self, at: Time) {
        self.last_heard = self.last_heard.max(Some(at));
        self.orphans.retain(|orphan| orphan.at > at);
    }

    /// Tells the path what flows have sent. Only once the peer was heard: what a dead peer
    /// does not answer is not loss.
    fn count_progress(&mut self, at: Time) {
        for flow in self.flows.values_mut() {
            let total = flow.settled_totals();
            match flow.counted {
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

/// What an event of this kind says, by itself.
fn weigh(kind: FlowEventKind) -> Weight {
    match kind {
        FlowEventKind::Tlp | FlowEventKind::Rto { .. } | FlowEventKind::SynRetransmit { .. } => {
            Weight::Adverse
        }
        FlowEventKind::Recovered => Weight::Heard(Reason::PacketReceived),
        FlowEventKind::Established => Weight::Heard(Reason::ConnectSucceeded),
        FlowEventKind::ConnectFailed { errno }
        | FlowEventKind::Closed { errno }
        | FlowEventKind::ErrorReport { errno } => match errno {
            errno::CONNREFUSED | errno::CONNRESET | errno::PIPE => {
                Weight::Heard(Reason::ResetReceived)
            }
            errno::TIMEDOUT | errno::HOSTUNREACH | errno::HOSTDOWN => Weight::Adverse,
            // A connect that its caller gave up: whether that says anything, the SYNs that
            // were sent again tell.
            0 if matches!(kind, FlowEventKind::ConnectFailed { .. }) => Weight::Adverse,
            _ => Weight::Neutral,
        },
    }
}

/// Whether the kernel gave up on the flow for want of an answer.
fn gave_up(kind: FlowEventKind) -> bool {
    match kind {
        FlowEventKind::ConnectFailed { errno } | FlowEventKind::Closed { errno } => matches!(
            errno,
            errno::TIMEDOUT | errno::HOSTUNREACH | errno::HOSTDOWN
        ),
        _ => false,
    }
}

/// At most `limit` readings, those with something in flight first.
fn bounded(mut readings: Vec<FlowReading>, limit: usize) -> Vec<FlowReading> {
    if readings.len() > limit {
        readings.sort_by_key(|r| (r.rto_count == 0, r.unacked_bytes == 0, r.id));
        readings.truncate(limit);
    }
    readings
}

/// The reason that says more about why a peer is not answering.
fn stronger(a: Reason, b: Reason) -> Reason {
    let strength = |reason| match reason {
        Reason::RtoUnanswered => 4,
        Reason::ConnectUnanswered => 3,
        Reason::ErrorReported => 2,
        Reason::TlpUnanswered => 1,
        _ => 0,
    };
    if strength(b) > strength(a) { b } else { a }
}
