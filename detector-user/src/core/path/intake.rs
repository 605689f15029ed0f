//! Takes in evidence: events, probes, snapshots, changes of the network.

use super::{Path, pace};
use crate::{
    core::{
        context::Context,
        evidence::{Layer, Weight, means_gone},
        session::Turn,
    },
    model::{
        FlowEvent, FlowEventKind, FlowReading, NeighbourState, NetworkEvent, ProbeAnswer,
        ProbeEvent, ProbeOutcome, ProbeTarget, Reason, SourceKind, Time, Verdict,
    },
};

impl Path {
    /// Takes in an event. An event alone never makes a path Dead: it makes the detector read the
    /// sockets and probe the path.
    pub(in crate::core) fn event(
        &mut self,
        now: Time,
        event: &FlowEvent,
        context: &mut Context<'_>,
    ) -> Turn {
        let weight = self.evidence.event(event);
        match weight {
            Weight::Heard(_) if self.is_dead() || self.doubt.silence.is_some() => {
                self.snapshots.soon(now);
            }
            Weight::Heard(_) => self.snapshots.wake(now + pace::CONNECTED),
            Weight::Adverse => {
                self.snapshots.soon(now);
                self.doubt(now, event.at);
            }
            Weight::Unclear => self.snapshots.soon(now),
            Weight::Neutral => {}
        }
        if is_reset(event) {
            self.probing.flow_reset(event.at);
            self.snapshots.soon(now);
        }
        if let Weight::Heard(_) = weight {
            self.doubt.heard_exactly(event.at, self.session.death());
        }
        let reason = match weight {
            Weight::Heard(reason) => reason,
            _ => Reason::PacketReceived,
        };
        if self.awaits_connects {
            self.tell_awaiting(context);
        }
        self.heard(now, reason, context)
    }

    /// Takes in what became of a probe; a neighbour's answer counts only if `is_believed`.
    pub(in crate::core) fn probe(
        &mut self,
        now: Time,
        event: &ProbeEvent,
        is_believed: bool,
        context: &mut Context<'_>,
    ) -> Turn {
        let is_news = !matches!(event.outcome, ProbeOutcome::Sent);
        if is_news && (self.is_dead() || self.doubt.silence.is_some() || self.probing.in_doubt()) {
            self.evidence.note_probe(event);
        }
        if means_gone(event) {
            self.snapshots.soon(now);
        }
        let had_own = self.evidence.places.has_own();
        let answer = self.evidence.probe(event);
        if self.evidence.places.has_own() != had_own {
            self.set_routes(now, context.around());
        }
        let Some(answer) = answer else {
            return Turn::None;
        };
        let reason = match answer {
            ProbeAnswer::Neighbour(_) => {
                let turn = self.card_answered(now, event.at, is_believed);
                self.rest(now, context.around());
                return turn;
            }
            ProbeAnswer::Reset if matches!(event.target, ProbeTarget::Flow { .. }) => {
                self.probing.flow_reset(event.at);
                self.snapshots.soon(now);
                Reason::ResetReceived
            }
            ProbeAnswer::SynAck | ProbeAnswer::Ack => Reason::ProbeAnswered,
            ProbeAnswer::Reset | ProbeAnswer::Unreachable => Reason::ResetReceived,
        };
        self.probing.answered(event.at, event.target.is_connect());
        let is_open = self.doubt.silence.is_some() || self.evidence.has_stuck_flow();
        if is_open || self.verdict() == Verdict::Unknown {
            self.snapshots.soon(now);
        }
        let turn = self.heard(now, reason, context);
        self.rest(now, context.around());
        turn
    }

    /// A card answered for this address. A dead peer may then be back: its host is probed at once.
    fn card_answered(&mut self, now: Time, at: Time, is_believed: bool) -> Turn {
        if is_believed {
            self.evidence.heard_exactly(Layer::Link, at);
        }
        if self.is_dead() {
            self.probing.soon(now);
        }
        Turn::None
    }

    /// Takes in a change of this host's network.
    pub(in crate::core) fn network(
        &mut self,
        now: Time,
        at: Time,
        event: &NetworkEvent,
        is_believed: bool,
        context: &mut Context<'_>,
    ) -> Turn {
        self.evidence.note_network(at, event);
        match event {
            NetworkEvent::Neighbour { state, .. } => match state {
                NeighbourState::Reachable => {
                    self.card_answered(now, at, is_believed);
                }
                NeighbourState::Stale => {}
                NeighbourState::Failed => {
                    self.evidence.neighbour_failed(at);
                    self.doubt(now, at);
                }
            },
            NetworkEvent::Route { .. } => self.set_routes(now, context.around()),
            NetworkEvent::Link { .. } => self.probing.soon(now),
        }
        self.snapshots.soon(now);
        self.notice_links(now, context.around())
    }

    /// Does what follows for this path and for others if the host was heard.
    pub(in crate::core) fn heard(
        &mut self,
        now: Time,
        reason: Reason,
        context: &mut Context<'_>,
    ) -> Turn {
        let turn = self.heard_since_doubt(now, reason, context);
        self.tell_heard(context);
        turn
    }

    /// Takes in a complete socket snapshot. Only here may the path be found Dead.
    pub(in crate::core) fn sockets(
        &mut self,
        now: Time,
        at: Time,
        source: SourceKind,
        readings: Vec<FlowReading>,
        context: &mut Context<'_>,
    ) -> Turn {
        if let Some(last) = self.snapshots.last()
            && at < last
        {
            // Two sources read at the same time, and the later snapshot arrived first.
            let interval = self.interval(last, None, context.around());
            self.snapshots.came_back(now, last, interval, context.grid);
            return Turn::None;
        }
        self.evidence.read(at, source, readings);
        let network = &context.isolation.network;
        if self
            .evidence
            .notice_namespaces(|netns| network.is_other_namespace(netns))
        {
            self.set_routes(now, context.around());
        }
        let (turn, decided_again) = self.judge(at, context);
        self.tell_heard(context);
        self.measure(at, context);
        self.tell_awaiting(context);
        let news = self.refresh_vitals(at, turn);
        self.notice_traffic(at, context.settings);
        self.probe_after_reset(at, context);
        self.free_sockets(at, context);
        let interval = self.interval(at, decided_again, context.around());
        self.snapshots.came_back(now, at, interval, context.grid);
        self.rest(now, context.around());
        match turn {
            Turn::None if news => Turn::Changed,
            turn => turn,
        }
    }

    pub(in crate::core) fn sockets_unreadable(&mut self, now: Time) {
        self.snapshots.failed(now);
    }

    /// Takes in that the flows of a network namespace can no longer be seen.
    pub(in crate::core) fn forget_namespace(
        &mut self,
        now: Time,
        netns: u32,
        is_gone: bool,
        context: &mut Context<'_>,
    ) {
        if self.evidence.forget_namespace(netns, is_gone) {
            self.set_routes(now, context.around());
        }
        self.snapshots.soon(now);
    }

    /// Another network namespace is watched from now on: what its flows left unanswered until now
    /// is no evidence.
    pub(in crate::core) fn namespace_watched(&mut self, now: Time) {
        self.doubt.start_over(now);
        self.snapshots.soon(now);
    }
}

/// Whether the peer reset the flow: it may not know the other flows either.
fn is_reset(event: &FlowEvent) -> bool {
    const ECONNRESET: u32 = 104;
    // If nothing had happened on the flow before, the source reports the error alone.
    matches!(
        event.kind,
        FlowEventKind::Closed { errno: ECONNRESET }
            | FlowEventKind::ErrorReport { errno: ECONNRESET }
    )
}
