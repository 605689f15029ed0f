//! What is kept about one peer: its flows, what they showed, and the silence they add up to.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    net::IpAddr,
    time::Duration,
};

use super::{
    Endpoint, EventLine, EventWhat, FlowEvent, FlowEventKind, FlowId, FlowReading, NetworkEvent,
    ProbeAnswer, ProbeEvent, Reason, Route, SourceKind, TcpState, Time,
    path::PathHistory,
    probes::{BESIDE_PORT, Probes},
    tracked::{HEARD_RESOLUTION, Sent, TrackedFlow},
    weight::{Weight, gave_up, weigh},
};

/// Signals kept for explanations.
const EVENTS_KEPT: usize = 32;

/// Transmissions whose sockets are gone are forgotten after this time.
const ORPHAN_LIFE: Duration = Duration::from_secs(30);

/// After a death connections send again all that was in flight; it takes them this long.
const RETURN_SETTLES: Duration = Duration::from_secs(1);

/// The most orphaned transmissions that are kept.
const ORPHANS_KEPT: usize = 64;

/// What a new set of endpoints replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    Nothing,
    Endpoints,
    /// Every address: nothing that is known is about the new host.
    Host,
}

/// A transmission that was never answered and whose socket is gone: a connect that failed,
/// a flow that was given up.
#[derive(Clone, Copy, Debug)]
struct Orphan {
    flow: FlowId,
    /// The cookie of its socket; 0 when not known.
    cookie: u64,
    sent: Sent,
    reason: Reason,
}

/// What the kernel asks before it gives up on a neighbour (`ucast_probes` and
/// `mcast_probes`, net/ipv4/arp.c and net/ipv6/ndisc.c), the latest of them counted.
const NEIGHBOUR_PROBES: usize = 3;

/// The silence of a peer while something stands unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// Since the last segment from the peer, or the first transmission after it.
    pub since: Time,
    /// For how long it has been asked again and again: by retransmissions, by probes.
    pub asked_for: Duration,
    /// What was sent to the peer since it was last heard, over all flows. What was sent
    /// before and is still unanswered does not count: the peer has answered others since,
    /// so that one flow's trouble is not the peer's.
    pub transmissions: u32,
    /// The moments at which that was sent: what was sent at once may be lost at once.
    pub moments: u32,
    pub reason: Reason,
}

/// How questions count that lie close together or far apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spacing {
    /// What follows within this time is the same moment: it may be lost with the other.
    pub apart: Duration,
    /// A question speaks for this long after it at most: nobody was asked beyond.
    pub gap: Duration,
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
            ProbeAnswer::Neighbour => self.heard_neighbour(event.at),
            ProbeAnswer::SynAck | ProbeAnswer::Reset => self.heard_segment(event.at),
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

    /// The silence now, where a demand stands. What was sent before `excused` does not
    /// count.
    pub(super) fn silence(&self, now: Time, excused: Time, spacing: Spacing) -> Option<Silence> {
        let heard = self.last_heard.unwrap_or_default().max(excused);
        // In doubt it was sent before the peer was heard, and the silence began late.
        let floor = self.surely_heard().unwrap_or_default().max(excused);
        let counts = |sent: &Sent| sent.earliest > floor;
        let all = self.demands(now).filter(|(sent, _)| counts(sent));
        let silence = all.fold(None, |silence: Option<Silence>, (sent, reason)| {
            let silence = silence.unwrap_or(Silence {
                since: sent.latest,
                asked_for: Duration::ZERO,
                transmissions: 0,
                moments: 0,
                reason,
            });
            Some(Silence {
                since: silence.since.min(sent.latest),
                transmissions: silence.transmissions.saturating_add(1),
                reason: stronger(silence.reason, reason),
                ..silence
            })
        })?;
        let again = self.asked_again(now).map(|sent| sent.latest);
        let all = self.demands(now).filter(|(sent, _)| counts(sent));
        Some(Silence {
            since: silence.since.max(heard),
            asked_for: spacing.asked_for(again.filter(|sent| *sent > heard).collect(), now),
            moments: spacing.moments(all.map(|(sent, _)| sent.latest).collect()),
            ..silence
        })
    }

    /// Everything that was sent to the peer and is not answered, and what it says.
    fn demands(&self, now: Time) -> impl Iterator<Item = (Sent, Reason)> + '_ {
        let standing = self
            .standing()
            .flat_map(|(reason, flow)| flow.transmissions().map(move |sent| (sent, reason)));
        let orphans = self.orphans(now).map(|orphan| (orphan.sent, orphan.reason));
        let probes = self
            .unanswered_probes(now)
            .map(|sent| (sent, Reason::ProbeUnanswered));
        let neighbour = self.neighbour_failed.into_iter().flat_map(|at| {
            std::iter::repeat_n((Sent::at(at), Reason::NeighbourFailed), NEIGHBOUR_PROBES)
        });
        standing.chain(orphans).chain(probes).chain(neighbour)
    }

    /// Of those, what was not the first to be sent.
    fn asked_again(&self, now: Time) -> impl Iterator<Item = Sent> + '_ {
        let resent = self.standing().flat_map(|(_, flow)| flow.resent());
        let orphans = self.orphans(now).map(|orphan| orphan.sent);
        let neighbour = self.neighbour_failed.map(Sent::at);
        resent
            .chain(orphans)
            .chain(self.unanswered_probes(now))
            .chain(neighbour)
    }

    fn standing(&self) -> impl Iterator<Item = (Reason, &TrackedFlow)> {
        self.watched_flows()
            .filter_map(|flow| Some((flow.demand()?, flow)))
    }

    fn orphans(&self, now: Time) -> impl Iterator<Item = &Orphan> {
        let is_young = move |orphan: &&Orphan| now.since(orphan.sent.latest) < ORPHAN_LIFE;
        self.orphans.iter().filter(is_young)
    }

    fn unanswered_probes(&self, now: Time) -> impl Iterator<Item = Sent> + '_ {
        self.probes.unanswered(now, self.path.answer_grace(now))
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

    fn flow_gone(&mut self, event: &FlowEvent) {
        let id = self.known_id(event.flow);
        let gone = self.flows.remove(&id);
        if let Some(gone) = &gone {
            self.orphan(gone);
        }
        if gave_up(event.kind) {
            // What the kernel gave up on was sent; that it gave up is one more answer missing.
            self.push_orphan(Orphan {
                flow: id,
                cookie: gone.map_or(0, |gone| gone.reading.cookie),
                sent: Sent::at(event.at),
                reason: Reason::ErrorReported,
            });
        }
    }

    fn orphan(&mut self, gone: &TrackedFlow) {
        let Some(reason) = gone.demand() else { return };
        let FlowReading { id, cookie, .. } = gone.reading;
        if self.is_watched(&id) {
            for sent in gone.transmissions() {
                self.push_orphan(Orphan {
                    flow: id,
                    cookie,
                    sent,
                    reason,
                });
            }
        }
    }

    /// A flow that was read before it ended, or was missed by one reading, is here again: its
    /// transmissions must not count twice.
    fn drop_tracked_orphans(&mut self) {
        let flows = &self.flows;
        self.orphans.retain(|orphan| {
            let flow = flows.get(&orphan.flow);
            !flow.is_some_and(|flow| flow.is_same_connection(orphan.cookie))
        });
    }

    fn push_orphan(&mut self, orphan: Orphan) {
        if self.orphans.len() == ORPHANS_KEPT {
            self.orphans.pop_front();
        }
        self.orphans.push_back(orphan);
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

impl Spacing {
    /// How many moments these are.
    fn moments(self, mut times: Vec<Time>) -> u32 {
        times.sort_unstable();
        let mut last = None;
        let is_another = |at: &&Time| {
            let another = last.is_none_or(|last: Time| at.since(last) >= self.apart);
            if another {
                last = Some(**at);
            }
            another
        };
        u32::try_from(times.iter().filter(is_another).count()).unwrap_or(u32::MAX)
    }

    /// For how long the peer was asked, at these times.
    fn asked_for(self, mut times: Vec<Time>, now: Time) -> Duration {
        times.sort_unstable();
        times.push(now);
        let gap = |pair: &[Time]| pair[1].since(pair[0]).min(self.gap);
        times.windows(2).map(gap).sum()
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

/// The reason that says more about why a peer is not answering.
fn stronger(a: Reason, b: Reason) -> Reason {
    let strength = |reason| match reason {
        Reason::RtoUnanswered => 6,
        Reason::ConnectUnanswered => 5,
        Reason::ErrorReported => 4,
        Reason::NeighbourFailed => 3,
        Reason::ProbeUnanswered => 2,
        Reason::TlpUnanswered => 1,
        _ => 0,
    };
    if strength(b) > strength(a) { b } else { a }
}
