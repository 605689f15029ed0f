//! The way to one address of a peer: its evidence, and what is believed of it.
//!
//! ```text
//! path       takes evidence in, and says when it wants to be called
//! judging    gathers the facts for the rule, and carries its decision out
//! probing    when the path is probed, and by what
//! pace       how often its sockets are read
//! freeing    which sockets are destroyed: a dead peer's, and stalled flows
//! reported   what the node's own reports do
//! shown      what is published and explained
//! ```

mod freeing;
mod judging;
mod pace;
mod probing;
mod reported;
mod shown;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
};

use self::{freeing::Freeing, judging::Doubt, pace::Pace, probing::Probing};
use super::{
    Destroyed, Effect, Endpoint, FlowEvent, FlowEventKind, FlowReading, NeighbourState,
    NetworkEvent, PeerName, ProbeAnswer, ProbeEvent, ProbeOutcome, ProbeTarget, Reason, Settings,
    SourceKind, Time, Trial, TrialError, TrialOutcome, Verdict,
    context::{Around, Context},
    evidence::{Evidence, Layer, Weight, means_gone, targets},
    isolation::Witness,
    reports::Failures,
    schedule::{Rhythm, Snapshots},
    session::{Administrator, Event, Session, State, Turn},
    vitals::Vitals,
};

/// How often it is told that the peer was heard, where nothing else changes.
const HEARD_TOLD_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Path {
    peer: PeerName,
    addr: IpAddr,
    discovered: bool,
    session: Session,
    evidence: Evidence,
    doubt: Doubt,
    snapshots: Snapshots,
    pace: Pace,
    probing: Probing,
    freeing: Freeing,
    failures: Failures,
    /// When it was last probed because of one.
    probed_on_report: Option<Time>,
    vitals: Vitals,
    /// When it was last heard, as was told.
    told_heard: Option<Time>,
    /// Whether the source was told to report finished handshakes.
    awaits_connects: bool,
}

impl Path {
    pub(super) fn new(
        now: Time,
        peer: PeerName,
        addr: IpAddr,
        discovered: bool,
        settings: &Settings,
    ) -> Self {
        let mut seed = DefaultHasher::new();
        (&peer, addr).hash(&mut seed);
        Self {
            peer,
            addr,
            discovered,
            session: Session::new(now),
            evidence: Evidence::new(now, settings.max_flows_per_peer),
            doubt: Doubt::new(now),
            snapshots: Snapshots::new(now),
            pace: Pace::default(),
            probing: Probing::new(Rhythm::new(now, seed.finish())),
            freeing: Freeing::default(),
            failures: Failures::default(),
            probed_on_report: None,
            vitals: Vitals::new(now),
            told_heard: None,
            awaits_connects: false,
        }
    }

    /// The endpoints at this address; says whether anything changed.
    pub(super) fn configure(
        &mut self,
        now: Time,
        endpoints: Vec<Endpoint>,
        discovered: bool,
        context: &mut Context<'_>,
    ) -> bool {
        let is_new = self.evidence.set_endpoints(endpoints);
        let changed = is_new || self.discovered != discovered;
        self.discovered = discovered;
        if is_new {
            self.snapshots.soon(now);
        }
        if changed {
            self.set_routes(now, context.around());
        }
        self.tell_awaiting(context);
        changed
    }

    pub(super) fn addr(&self) -> IpAddr {
        self.addr
    }

    pub(super) fn is_watched(&self, event: &FlowEvent) -> bool {
        self.evidence.is_watched(&event.flow)
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.session.verdict()
    }

    pub(super) fn administer(&mut self, now: Time, administrator: Administrator) -> bool {
        self.session.administer(now, administrator)
    }

    /// Takes in an event. It never makes a path Dead by itself: it has the sockets read, and
    /// the path probed.
    pub(super) fn event(
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

    /// Takes in what became of a probe; a neighbour's answer counts where `is_believed`.
    pub(super) fn probe(
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
        let Some(answer) = self.evidence.probe(event) else {
            return Turn::None;
        };
        let reason = match answer {
            ProbeAnswer::Neighbour(_) => {
                return self.card_answered(now, event.at, is_believed);
            }
            ProbeAnswer::Reset if matches!(event.target, ProbeTarget::Flow { .. }) => {
                self.probing.flow_reset(event.at);
                self.snapshots.soon(now);
                Reason::ResetReceived
            }
            ProbeAnswer::SynAck | ProbeAnswer::Ack => Reason::ProbeAnswered,
            ProbeAnswer::Reset | ProbeAnswer::Unreachable => Reason::ResetReceived,
        };
        self.probing.answered();
        let is_open = self.doubt.silence.is_some() || self.evidence.has_stuck_flow();
        if is_open || self.verdict() == Verdict::Unknown {
            self.snapshots.soon(now);
        }
        self.heard(now, reason, context)
    }

    /// A card answered for this address. Of a dead peer it is a sign that it may be back: its
    /// host is probed at once.
    fn card_answered(&mut self, now: Time, at: Time, is_believed: bool) -> Turn {
        if is_believed {
            self.evidence.heard_exactly(Layer::Link, at);
        }
        if self.is_dead() {
            self.probing.soon(now);
        }
        Turn::None
    }

    /// Takes in that something about this host's network has changed.
    pub(super) fn network(
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

    /// The host may have been heard: what follows for it and for others.
    pub(super) fn heard(&mut self, now: Time, reason: Reason, context: &mut Context<'_>) -> Turn {
        let turn = self.heard_since_doubt(now, reason, context);
        self.tell_heard(context);
        turn
    }

    /// Tells others that this host was heard: that this node is not cut off, that its link
    /// carries, that the card in use is the right one.
    fn tell_heard(&mut self, context: &mut Context<'_>) {
        let Some(at) = self.evidence.heard.on(Layer::Host) else {
            return;
        };
        if !self.is_dead() && self.told_witness() < Some(at) {
            self.probing.told_witness = Some(at);
            context.isolation.host_heard(self.addr, at);
            if let Some(witness) = self.witness()
                && context.isolation.network.is_elsewhere(&[self.addr])
            {
                let witnesses = &mut context.isolation.witnesses;
                match at > self.doubt.began() {
                    true => witnesses.heard(witness),
                    false => witnesses.was_heard_before(witness),
                }
            }
        }
        let received = self.evidence.heard.on(Layer::Received);
        let is_due = received.is_some_and(|at| {
            self.told_heard
                .is_none_or(|told| at.since(told) >= HEARD_TOLD_EVERY)
        });
        if let (true, Some(at)) = (is_due, received) {
            self.told_heard = received;
            context.effects.push_back(Effect::Heard {
                peer: self.peer.clone(),
                at,
            });
        }
    }

    fn told_witness(&self) -> Option<Time> {
        self.probing.told_witness
    }

    /// Takes in a complete socket snapshot: here, and only here, the path may be found Dead.
    pub(super) fn sockets(
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
            // Two sources read side by side: a later one came first.
            let interval = self.interval(last, None, context.around());
            self.snapshots.came_back(now, last, interval);
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
        self.tell_awaiting(context);
        let news = self.refresh_vitals(at, turn);
        self.notice_traffic(at, context.settings);
        self.probe_after_reset(at, context);
        self.free_sockets(at, context);
        let interval = self.interval(at, decided_again, context.around());
        self.snapshots.came_back(now, at, interval);
        match turn {
            Turn::None if news => Turn::Changed,
            turn => turn,
        }
    }

    /// Tells the source whether finished handshakes are to be reported from now on: while it
    /// is dead they show that it is back, and while it has no connection that it has one,
    /// which may be cut at any moment.
    pub(super) fn tell_awaiting(&mut self, context: &mut Context<'_>) {
        let awaits = self.is_dead() || !self.evidence.is_connected();
        if awaits != self.awaits_connects {
            self.awaits_connects = awaits;
            context.effects.push_back(Effect::ReportEstablished {
                peer: self.peer.clone(),
                addr: self.addr,
                on: awaits,
            });
        }
    }

    /// Takes in that flows of a network namespace are not to be seen any more.
    pub(super) fn forget_namespace(
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

    /// Another network namespace is watched from now on: what its flows left unanswered before
    /// is no evidence.
    pub(super) fn namespace_watched(&mut self, now: Time) {
        self.doubt.start_over(now);
        self.snapshots.soon(now);
    }

    pub(super) fn sockets_unreadable(&mut self, now: Time) {
        self.snapshots.failed(now);
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(super) fn timeout(&self) -> Time {
        let due = self.snapshots.timeout().min(self.probing.timeout());
        self.session.timeout().map_or(due, |until| due.min(until))
    }

    /// Does what is due: probes, a socket snapshot, the breaker's next step.
    pub(super) fn handle_timeout(&mut self, now: Time, context: &mut Context<'_>) -> Turn {
        self.probe_when_due(now, context);
        let turn = self.recover_when_due(now, context.around());
        if self.snapshots.take_due(now) {
            context.effects.push_back(Effect::ReadSockets {
                peer: self.peer.clone(),
                addr: self.addr,
            });
        }
        turn
    }

    fn recover_when_due(&mut self, now: Time, around: Around<'_>) -> Turn {
        if !self.session.is_due(now) {
            return Turn::None;
        }
        // Where those who would answer are probed and do not, there is evidence.
        let event = match self.is_dead() && self.can_ask() {
            true => Event::StillDead,
            false => Event::RecoveryDue,
        };
        let reason = Reason::RecoveryTimeout;
        self.session
            .apply(now, event, reason, None, around.settings)
    }

    pub(super) fn acquire_trial(
        &mut self,
        now: Time,
        id: u64,
        settings: &Settings,
    ) -> Result<Trial, TrialError> {
        self.session.acquire_trial(now, id, settings)
    }

    /// When it was last heard has been told.
    pub(super) fn told(&mut self, heard: Option<Time>) {
        self.told_heard = heard;
    }

    pub(super) fn finish_trial(
        &mut self,
        now: Time,
        trial: u64,
        outcome: TrialOutcome,
        context: &mut Context<'_>,
    ) -> Result<Turn, TrialError> {
        self.session.return_trial(now, trial)?;
        let (event, reason) = match outcome {
            TrialOutcome::Succeeded => {
                self.evidence.heard_exactly(Layer::Host, now);
                self.failures.clear();
                (Event::TrialSucceeded, Reason::TrialSucceeded)
            }
            TrialOutcome::Failed => (Event::TrialFailed, Reason::TrialFailed),
        };
        self.snapshots.soon(now);
        let turn = self.turn(now, event, reason, None, context);
        self.tell_heard(context);
        match turn {
            Turn::None => Ok(Turn::Changed),
            turn => Ok(turn),
        }
    }

    /// The path's sockets were destroyed, or not.
    pub(super) fn destroyed(&mut self, generation: u64, result: Destroyed) {
        self.freeing
            .ended(generation, self.session.generation(), result);
    }

    /// What this path's last answer says for others: nothing if it is believed to be dead.
    pub(super) fn witness(&self) -> Option<Witness> {
        let witness = Witness {
            at: self.evidence.heard.on(Layer::Host)?,
            host: self.addr,
            can_ask: self.can_ask(),
            is_rare: false,
        };
        (!self.is_dead()).then_some(witness)
    }

    fn set_routes(&mut self, now: Time, around: Around<'_>) {
        let network = &around.isolation.network;
        let wanted = targets(
            self.evidence.endpoints(),
            &self.evidence.namespaces,
            |addr| network.route(addr),
            around.settings,
        );
        self.evidence.probes.set_targets(&wanted);
        self.probing.survey(now);
    }

    fn is_dead(&self) -> bool {
        self.session.state() == State::Dead
    }

    /// Whether those who are known to answer can be probed.
    fn can_ask(&self) -> bool {
        !self.discovered && self.evidence.probes.is_answerable()
    }
}

/// Whether the peer reset the flow: it may know none of the others either.
fn is_reset(event: &FlowEvent) -> bool {
    const ECONNRESET: u32 = 104;
    matches!(event.kind, FlowEventKind::Closed { errno: ECONNRESET })
}
