//! Takes in signals: events, socket snapshots, probes.

use std::collections::btree_map::Entry;

use super::{
    CLOSED_PORT, Evidence,
    heard::Layer,
    tracked::TrackedFlow,
    weight::{Weight, is_refusal, weigh},
};
use crate::model::{
    EventLine, EventWhat, FlowEvent, FlowEventKind, FlowReading, HEARD_RESOLUTION, ProbeAnswer,
    ProbeEvent, ProbeTarget, SourceKind, TcpState, Time,
};

impl Evidence {
    /// Takes in what became of a probe; returns the answer, if it is one. A neighbour's answer is
    /// not taken for a sign of life here: the caller decides whether it is believed.
    pub(in crate::core) fn probe(&mut self, event: &ProbeEvent) -> Option<ProbeAnswer> {
        self.waiting.event(event);
        let answered = self.probes.event(event)?;
        if event.target.is_connect() && self.probes.is_other_host_here() {
            self.places.notice_other_host_here();
        }
        if matches!(event.target, ProbeTarget::Connect(_)) && !self.places.has_own() {
            return None;
        }
        // Answers around a death teach nothing: a connect to a dead peer waits in this host for the
        // neighbour's address, and is answered late when the peer is back.
        if let Some(after) = answered.after
            && event.at - after >= self.learn_from
        {
            self.history.answered(event.at, after);
        }
        match answered.answer {
            ProbeAnswer::Neighbour(_) => {}
            ProbeAnswer::SynAck
            | ProbeAnswer::Reset
            | ProbeAnswer::Ack
            | ProbeAnswer::Unreachable => self.heard_exactly(Layer::Host, event.at),
        }
        self.note_flow_answered(event, answered.answer);
        Some(answered.answer)
    }

    fn note_flow_answered(&mut self, event: &ProbeEvent, answer: ProbeAnswer) {
        if let (ProbeTarget::Flow { flow, .. }, ProbeAnswer::Ack) = (event.target, answer)
            && let Some(flow) = self.flows.get_mut(&flow)
        {
            flow.probe_answered = flow.probe_answered.max(Some(event.at));
        }
    }

    /// The kernel gave up resolving the neighbour's address.
    pub(in crate::core) fn neighbour_failed(&mut self, at: Time) {
        self.neighbour_failed = Some(at);
    }

    /// Takes in one event.
    pub(in crate::core) fn event(&mut self, event: &FlowEvent) -> Weight {
        self.note(EventLine {
            at: event.at,
            source: event.source,
            what: EventWhat::Flow(event.kind, event.flow),
        });
        // The daemon's own connect probes also connect or fail, but their SYNs are never sent
        // again.
        if let FlowEventKind::Established | FlowEventKind::SynRetransmit { .. } = event.kind {
            self.connected_at = self.connected_at.max(Some(event.at));
        }
        self.note_on_flow(event);
        if let Some(reading) = &event.reading {
            self.heard_on(Layer::of_glimpse(reading), reading.last_heard);
        }
        let weight = weigh(event.kind);
        if let Weight::Heard(_) = weight {
            self.heard_exactly(Layer::Host, event.at);
        }
        if is_refusal(event.kind) {
            self.refused = self.refused.max(Some(event.at));
        }
        if let FlowEventKind::ConnectFailed { .. } | FlowEventKind::Closed { .. } = event.kind {
            self.flow_gone(event);
        }
        weight
    }

    /// Takes in all flows with the path's address, as they were at `at`.
    pub(in crate::core) fn read(
        &mut self,
        at: Time,
        source: SourceKind,
        mut readings: Vec<FlowReading>,
    ) {
        // The snapshot may have been requested under an earlier address, and the probe source
        // itself reports the daemon's own probes.
        readings.retain(|reading| {
            let remote = reading.id.remote;
            self.is_address(remote.ip()) && remote.port() != CLOSED_PORT
        });
        let (heard, grace) = (self.heard.surely(), self.history.answer_grace(at));
        let mut old = std::mem::take(&mut self.flows);
        let (kept, left_out) = bounded(readings, self.max_flows);
        for reading in kept {
            let id = reading.id;
            let mut flow = match old.remove(&id) {
                Some(flow) if flow.is_same_connection(reading.cookie) => {
                    self.heard_on(Layer::of_reading(&flow, &reading), reading.last_heard);
                    self.heard_on(Layer::Received, flow.received_after(&reading));
                    flow
                }
                other => {
                    other.iter().for_each(|gone| self.orphan(gone));
                    self.heard_on(Layer::of_first_sight(&reading), reading.last_heard);
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
            flow.notice_outlived(heard, grace);
            self.flows.insert(id, flow);
        }
        for reading in left_out {
            // This flow is no longer tracked, but it still exists and was heard. Its unanswered
            // transmissions are dropped: if it is tracked again, it shows them itself.
            let layer = match old.remove(&reading.id) {
                Some(flow) if flow.is_same_connection(reading.cookie) => {
                    Layer::of_reading(&flow, &reading)
                }
                _ => Layer::of_first_sight(&reading),
            };
            self.heard_on(layer, reading.last_heard);
        }
        for gone in old.into_values() {
            self.orphan(&gone);
        }
        self.drop_tracked_orphans();
        if self.is_connected() {
            self.connected_at = Some(at);
        }
        self.count_new_progress(at);
    }

    fn note_on_flow(&mut self, event: &FlowEvent) {
        let id = event.flow;
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
            FlowEventKind::Recovered | FlowEventKind::Established => flow.recovered(event.at),
            _ => {}
        }
    }

    fn heard_on(&mut self, layer: Layer, at: Option<Time>) {
        if let Some(at) = at {
            self.heard.note(layer, at);
            self.answered(layer, at);
        }
    }

    /// The peer was heard at `at`, a time known to the microsecond.
    pub(in crate::core) fn heard_exactly(&mut self, layer: Layer, at: Time) {
        self.heard.note_exactly(layer, at);
        self.answered(layer, at);
    }

    /// What is heard on a layer answers the demands on that layer and below.
    fn answered(&mut self, layer: Layer, at: Time) {
        self.probes.heard(layer, at);
        self.neighbour_failed = self.neighbour_failed.filter(|failed| *failed > at);
        if layer == Layer::Host {
            self.orphans.retain(|orphan| orphan.sent.earliest > at);
        }
    }

    /// Adds what the flows have sent to the path's history, if the host was heard since the last
    /// time: what a dead peer does not answer is not loss.
    fn count_new_progress(&mut self, at: Time) {
        let heard = self.heard.on(Layer::Host);
        // The kernel's coarse clock may make the same segment look a little younger at each
        // reading.
        if heard > self.counted_at.map(|counted| counted + HEARD_RESOLUTION) {
            self.counted_at = heard;
            self.count_progress(at);
        }
    }

    fn count_progress(&mut self, at: Time) {
        for flow in self.flows.values_mut() {
            let total = flow.settled_totals();
            match flow.counted {
                _ if at < self.learn_from => {}
                None => self.history.first_sight(at, total.0, total.1),
                Some(counted) => self.history.progress(
                    at,
                    total.0.saturating_sub(counted.0),
                    total.1.saturating_sub(counted.1),
                ),
            }
            flow.counted = Some(total);
        }
    }
}

impl Layer {
    /// What the last segment of a flow proves, given the flow's earlier state: that segments
    /// arrive, or also that they acknowledge something.
    fn of_reading(known: &TrackedFlow, reading: &FlowReading) -> Self {
        match known.is_acknowledged_by(reading) {
            true => Self::Host,
            false => Self::Received,
        }
    }

    /// The same for a flow that is seen for the first time: it proves the host if everything sent
    /// is acknowledged.
    fn of_first_sight(reading: &FlowReading) -> Self {
        match reading.mss == 0 || reading.unacked_segments == 0 {
            true => Self::Host,
            false => Self::Received,
        }
    }

    /// The same for the reading of an event, which lacks the count of acknowledged bytes.
    fn of_glimpse(reading: &FlowReading) -> Self {
        match reading.mss {
            0 if reading.segments_sent > 0 => Self::Host,
            _ => Self::Received,
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
