//! One peer: its evidence, the verdict on it, and its breaker.
//!
//! ```text
//! peer      takes evidence in, and says when it wants to look
//! judging   the rule of the verdict
//! turning   what follows when the verdict turns
//! pace      how often the peer is looked at
//! asking    when the peer is probed, and who of it is asked
//! ending    what is done to the sockets of a dead peer
//! reported  what the node's own reports do
//! shown     what is published and explained
//! ```

mod asking;
mod ending;
mod judging;
mod pace;
mod reported;
mod shown;
mod turning;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use self::pace::{LOOK_CONNECTED, LOOK_DEAD};
pub(super) use self::{
    asking::Asking,
    ending::{Death, Ending},
};
use super::{
    Destroyed, Endpoint, FlowEvent, FlowReading, NeighbourState, NetworkEvent, PeerName,
    ProbeAnswer, ProbeEvent, ProbeOutcome, Reason, Settings, SourceKind, Time, Trial, TrialError,
    TrialOutcome, Verdict,
    breaker::Circuit,
    evidence::{Evidence, Replaced, Silence},
    look::Looks,
    network::Network,
    pauses::Pauses,
    reports::Failures,
    rhythm::Rhythm,
    vitals::Vitals,
    weight::Weight,
    witness::Witnesses,
};

/// How long a demand stands before the peer is Suspect: longer than a LAN's answer takes.
const SUSPECT_AFTER: Duration = Duration::from_millis(10);

/// What changed, for the detector to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Verdict, breaker, addresses, or whether the verdict is held.
    State,
    /// The peer is back: its breaker goes through HalfOpen to Closed.
    Closing,
}

impl Change {
    /// The first that is one.
    fn or(self, other: Self) -> Self {
        match self {
            Self::None => other,
            change => change,
        }
    }
}

/// What a decision needs beside the peer's own evidence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    pub settings: &'a Settings,
    pub network: &'a Network,
    pub witnesses: &'a Witnesses,
    pub pauses: &'a Pauses,
}

#[derive(Debug)]
pub(super) struct Peer {
    name: PeerName,
    discovered: bool,
    verdict: Verdict,
    reason: Reason,
    generation: u64,
    pub revision: u64,
    changed_at: Time,
    detection_latency: Option<Duration>,
    evidence: Evidence,
    circuit: Circuit,
    looks: Looks,
    dead_interval: Duration,
    /// The silence as of the last look, to be learnt from should it end.
    silence: Option<Silence>,
    /// The moment after which the peer must be heard for a Suspect or Dead verdict to end
    /// well.
    deaf_since: Option<Time>,
    /// While it is Dead: the silence in which it was found so.
    death: Option<Death>,
    /// The verdict would be Dead, were it not for what surrounds it.
    held: bool,
    /// Nobody was heard for half of the detection time: should somebody be now, it begins anew.
    alone: bool,
    /// Since when all speaks for Dead, but for a question that is not too old.
    asked_once_more: Option<Time>,
    /// When the verdict was held last: what was sent before is no evidence.
    held_until: Time,
    /// This host's own links do not reach it.
    cut_off: bool,
    /// It is back from the dead by its neighbour's answer alone: TCP is still to answer.
    awaits_tcp: bool,
    asking: Asking,
    ending: Ending,
    failures: Failures,
    /// Since when its breaker is open, or half open, on reports alone.
    open_on_reports: Option<Time>,
    /// When it was last asked because of one.
    asked_on_report: Option<Time>,
    vitals: Vitals,
    /// When it was last heard, as was told.
    told_heard: Option<Time>,
    /// Whether the source was told to report finished handshakes.
    awaits_connects: bool,
}

impl Peer {
    pub(super) fn new(now: Time, name: PeerName, discovered: bool, settings: &Settings) -> Self {
        let mut seed = DefaultHasher::new();
        name.hash(&mut seed);
        Self {
            name,
            discovered,
            verdict: Verdict::Unknown,
            reason: Reason::NoEvidence,
            generation: 0,
            revision: 0,
            changed_at: now,
            detection_latency: None,
            evidence: Evidence::new(now, settings.max_flows_per_peer),
            circuit: Circuit::new(),
            looks: Looks::new(now),
            dead_interval: LOOK_DEAD.0,
            silence: None,
            deaf_since: None,
            death: None,
            held: false,
            alone: false,
            asked_once_more: None,
            held_until: Time::default(),
            cut_off: false,
            awaits_tcp: false,
            asking: Asking::new(Rhythm::new(now, seed.finish())),
            ending: Ending::default(),
            failures: Failures::default(),
            open_on_reports: None,
            asked_on_report: None,
            vitals: Vitals::new(now),
            told_heard: None,
            awaits_connects: false,
        }
    }

    pub(super) fn configure(
        &mut self,
        now: Time,
        endpoints: Vec<Endpoint>,
        discovered: bool,
        around: Surroundings<'_>,
    ) -> Change {
        let replaced = self.evidence.set_endpoints(now, endpoints);
        if replaced == Replaced::Host {
            (self.silence, self.deaf_since) = (None, None);
            self.awaits_tcp = false;
            self.open_on_reports = None;
            self.failures.clear();
            self.vitals = Vitals::new(now);
            self.circuit.close();
            if self.verdict != Verdict::Unknown {
                self.become_verdict(now, Verdict::Unknown, Reason::NoEvidence);
            }
        }
        let changed = replaced != Replaced::Nothing || self.discovered != discovered;
        self.discovered = discovered;
        if replaced != Replaced::Nothing {
            self.looks.soon(now);
        }
        if changed {
            self.set_routes(now, around);
        }
        if changed { Change::State } else { Change::None }
    }

    pub(super) fn addresses(&self) -> Vec<std::net::IpAddr> {
        self.evidence.addresses()
    }

    pub(super) fn is_watched(&self, event: &FlowEvent) -> bool {
        self.evidence.is_watched(&event.flow)
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(super) fn last_heard(&self) -> Option<Time> {
        self.evidence.last_heard()
    }

    /// Takes in an event. It never makes a peer Dead by itself: it makes us look, and ask.
    pub(super) fn event(&mut self, now: Time, event: &FlowEvent) -> Change {
        match self.evidence.event(event) {
            Weight::Heard(reason) => {
                if self.verdict == Verdict::Dead || self.silence.is_some() {
                    self.looks.soon(now);
                } else {
                    self.looks.wake(now + LOOK_CONNECTED);
                }
                // It may have happened before the look that found the peer Dead and be told
                // only now; its time is exact, unlike that of a reading.
                if let Some(death) = self.death
                    && event.at > death.silent_since
                {
                    self.deaf_since = Some(death.silent_since);
                }
                self.heard_again(now, reason)
            }
            Weight::Adverse => {
                self.looks.soon(now);
                self.doubt(now, event.at);
                self.heard_again(now, Reason::PacketReceived)
            }
            Weight::Unclear => {
                self.looks.soon(now);
                self.heard_again(now, Reason::PacketReceived)
            }
            Weight::Neutral => self.heard_again(now, Reason::PacketReceived),
        }
    }

    /// Whether finished handshakes are to be reported from now on, if that is news: while it
    /// is dead they show that it is back, and while it has no connection that it has one,
    /// which may be cut at any moment.
    pub(super) fn take_news_of_awaiting(&mut self) -> Option<bool> {
        let awaits = self.verdict == Verdict::Dead || !self.evidence.is_connected();
        let was = std::mem::replace(&mut self.awaits_connects, awaits);
        (was != awaits).then_some(awaits)
    }

    /// Takes in what became of a probe.
    pub(super) fn probe(&mut self, now: Time, event: &ProbeEvent) -> Change {
        if self.verdict == Verdict::Dead || self.silence.is_some() || self.asking.in_doubt() {
            let is_news = !matches!(event.outcome, ProbeOutcome::Sent);
            if is_news {
                self.evidence.note_probe(event);
            }
        }
        let Some(answer) = self.evidence.probe(event) else {
            return Change::None;
        };
        self.asking.answered();
        if self.silence.is_some() || self.verdict == Verdict::Unknown {
            self.looks.soon(now);
        }
        let reason = match answer {
            ProbeAnswer::Neighbour(_) | ProbeAnswer::SynAck | ProbeAnswer::Ack => {
                Reason::ProbeAnswered
            }
            ProbeAnswer::Reset => Reason::ResetReceived,
        };
        self.heard_again(now, reason)
    }

    /// Takes in that something about this host's network has changed.
    pub(super) fn network(
        &mut self,
        now: Time,
        at: Time,
        event: &NetworkEvent,
        around: Surroundings<'_>,
    ) -> Change {
        self.evidence.note_network(at, event);
        let mut change = Change::None;
        match event {
            NetworkEvent::Neighbour { state, .. } => match state {
                NeighbourState::Reachable => {
                    self.evidence.heard_neighbour(at);
                    self.asking.answered();
                    change = self.heard_again(now, Reason::PacketReceived);
                }
                NeighbourState::Stale => {}
                NeighbourState::Failed => {
                    self.evidence.neighbour_failed(at);
                    self.doubt(now, at);
                }
            },
            NetworkEvent::Route { .. } => self.set_routes(now, around),
            NetworkEvent::Link { .. } => self.asking.soon(now),
        }
        self.looks.soon(now);
        match self.notice_cut_off(now, around) {
            Change::None => change,
            noticed => noticed,
        }
    }

    /// Takes in a complete look at the peer's sockets: here, and only here, it may be found
    /// Dead.
    pub(super) fn sockets(
        &mut self,
        now: Time,
        at: Time,
        source: SourceKind,
        readings: Vec<FlowReading>,
        around: Surroundings<'_>,
    ) -> Change {
        if let Some(last) = self.looks.last()
            && at < last
        {
            // Two sources read side by side: a later look came first.
            let interval = self.interval(last, around);
            self.looks.came_back(now, last, interval);
            return Change::None;
        }
        self.evidence.read(at, source, readings);
        if self
            .evidence
            .notice_namespaces(|netns| around.network.is_other_namespace(netns))
        {
            self.set_routes(now, around);
        }
        self.evidence.settle_probes(at);
        self.learn_from_recovery(at);
        self.silence = self.silence_at(at, around);
        self.asking.looked(at, self.silence.is_some());
        let cut_off = self.notice_cut_off(at, around);
        let mut change = self.judge(at, around);
        if change == Change::None {
            change = cut_off;
        }
        change = change.or(self.close_if_heard(at, Reason::PacketReceived));
        // One change of the verdict at a time: what has turned is weighed at the next look.
        if change == Change::None {
            change = self.weigh_failures(at, around, true);
        }
        change = change.or(self.refresh_vitals(at, change));
        self.notice_traffic(at, around);
        self.end_sockets(at, around);
        let interval = self.interval(at, around);
        self.looks.came_back(now, at, interval);
        change
    }

    /// Takes in that flows of a network namespace are not to be seen any more.
    pub(super) fn forget_namespace(
        &mut self,
        now: Time,
        netns: u32,
        is_gone: bool,
        around: Surroundings<'_>,
    ) {
        if self.evidence.forget_namespace(netns, is_gone) {
            self.set_routes(now, around);
        }
        self.looks.soon(now);
    }

    pub(super) fn sockets_unreadable(&mut self, now: Time) {
        self.looks.failed(now);
    }

    /// When [`Self::handle_timeout`] or [`Self::take_questions`] wants to be called.
    pub(super) fn timeout(&self) -> Time {
        let due = self.looks.timeout().min(self.asking.timeout());
        self.circuit.timeout().map_or(due, |until| due.min(until))
    }

    /// What is due: whether a look is to be asked for, and what changed.
    pub(super) fn handle_timeout(&mut self, now: Time, around: Surroundings<'_>) -> (bool, Change) {
        let change = if self.circuit.is_due(now) && self.is_known_dead() {
            // There is evidence: those who would answer do not.
            self.circuit.open(now, around.settings);
            Change::None
        } else if self.circuit.handle_timeout(now) {
            self.changed_at = now;
            self.reason = Reason::RecoveryTimeout;
            Change::State
        } else {
            Change::None
        };
        (self.looks.take_due(now), change)
    }

    pub(super) fn acquire_trial(
        &mut self,
        now: Time,
        settings: &Settings,
    ) -> Result<Trial, TrialError> {
        self.circuit.acquire(now, settings)
    }

    pub(super) fn finish_trial(
        &mut self,
        now: Time,
        trial: u64,
        outcome: TrialOutcome,
        settings: &Settings,
    ) -> Result<(), TrialError> {
        self.circuit.finish(now, trial)?;
        match outcome {
            TrialOutcome::Succeeded => {
                self.evidence.heard_segment(now);
                self.set_verdict(now, Verdict::Alive, Reason::TrialSucceeded, settings);
                self.awaits_tcp = false;
                self.open_on_reports = None;
                self.failures.clear();
                self.circuit.close();
                self.reason = Reason::TrialSucceeded;
                self.changed_at = now;
            }
            TrialOutcome::Failed => {
                self.circuit.open(now, settings);
                self.open_on_reports = self.open_on_reports.map(|_| now);
                self.reason = Reason::TrialFailed;
                self.changed_at = now;
            }
        }
        self.looks.soon(now);
        Ok(())
    }

    /// The peer's sockets were destroyed, or not.
    pub(super) fn destroyed(&mut self, generation: u64, result: Destroyed) {
        if generation == self.generation {
            self.ending.ended(generation, self.death, result);
        }
    }
}
