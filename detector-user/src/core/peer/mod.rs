//! One peer: its evidence, the verdict on it, and its breaker.
//!
//! ```text
//! peer      takes evidence in, and has the rule of the verdict
//! asking    when the peer is probed, and who of it is asked
//! ending    what is done to the sockets of a dead peer
//! shown     what is published and explained
//! ```

mod asking;
mod ending;
mod shown;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

pub(super) use self::{asking::Asking, ending::Ending};
use super::{
    Destroyed, Endpoint, FlowEvent, FlowReading, NeighbourState, NetworkEvent, PeerName,
    ProbeAnswer, ProbeEvent, ProbeOutcome, Reason, Settings, SourceKind, Time, Trial, TrialError,
    TrialOutcome, Verdict,
    breaker::Circuit,
    evidence::{Evidence, Replaced, Silence},
    look::Looks,
    network::Network,
    path::PathHistory,
    pauses::Pauses,
    rhythm::Rhythm,
    weight::Weight,
    witness::Witnesses,
};

/// How long a demand stands before the peer is Suspect: longer than a LAN's answer takes.
const SUSPECT_AFTER: Duration = Duration::from_millis(20);

/// The part of the patience for which the peer must have been asked again and again: data
/// that was lost once, and asked about late, is no long silence.
const ASKED_FOR: f64 = 0.9;

/// A silence that is longer than the patience by this factor, pauses of this machine left
/// out, is one even if the daemon was never on time.
const STARVED_FACTOR: u32 = 10;

/// How often a Suspect peer is looked at, at first, and when it has been so for long.
const LOOK_SUSPECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// How often a Dead peer is looked at, at most and at least: the interval doubles.
const LOOK_DEAD: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// How often a Slow peer is looked at.
const LOOK_SLOW: Duration = Duration::from_secs(1);

/// How often a peer is looked at while all is well: keeps the path's history.
const LOOK_IDLE: Duration = Duration::from_secs(10);

/// How often a peer is looked at of which nothing is known, or that has no connection.
const LOOK_UNKNOWN: Duration = Duration::from_secs(1);

/// Without a flow, a peer heard this long ago is no longer known to be alive. Longer than
/// the time between two surveys of its probes.
const ALIVE_WITHOUT_FLOW: Duration = Duration::from_secs(90);

/// What changed, for the detector to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Verdict, breaker, addresses, or whether the verdict is held.
    State,
    /// The peer is back: its breaker goes through HalfOpen to Closed.
    Closing,
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
    /// While it is Dead: since when it was silent as it was found so.
    silent_since: Option<Time>,
    /// The verdict would be Dead, were it not for what surrounds it.
    held: bool,
    /// Nobody was heard for half of the patience: should somebody be now, it begins anew.
    alone: bool,
    /// When the verdict was held last: what was sent before is no evidence.
    held_until: Time,
    /// This host's own links do not reach it.
    cut_off: bool,
    /// It is back from the dead by its neighbour's answer alone: TCP is still to answer.
    awaits_tcp: bool,
    asking: Asking,
    ending: Ending,
    /// When it was last heard, as was told.
    told_heard: Option<Time>,
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
            silent_since: None,
            held: false,
            alone: false,
            held_until: Time::default(),
            cut_off: false,
            awaits_tcp: false,
            asking: Asking::new(Rhythm::new(now, seed.finish())),
            ending: Ending::default(),
            told_heard: None,
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
                self.looks.soon(now);
                // It may have happened before the look that found the peer Dead and be told
                // only now; its time is exact, unlike that of a reading.
                if self.silent_since.is_some_and(|since| event.at > since) {
                    self.deaf_since = self.silent_since;
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
            ProbeAnswer::Neighbour | ProbeAnswer::SynAck => Reason::ProbeAnswered,
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
                self.circuit.close();
                self.reason = Reason::TrialSucceeded;
                self.changed_at = now;
            }
            TrialOutcome::Failed => {
                self.awaits_tcp = false;
                self.circuit.open(now, settings);
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
            self.ending.ended(generation, self.silent_since, result);
        }
    }

    /// The rule of the verdict.
    fn judge(&mut self, at: Time, around: Surroundings<'_>) -> Change {
        if self.verdict == Verdict::Dead {
            return self.heard_again(at, Reason::PacketReceived);
        }
        let was_held = std::mem::take(&mut self.held);
        let (verdict, reason) = match self.silence {
            Some(silence) if self.is_long_enough(at, &silence, around) => {
                if self.cut_off || self.is_alone_silent(at, &silence, around) {
                    self.held = true;
                    self.deaf_since = Some(silence.since);
                    (Verdict::Suspect, Reason::Isolated)
                } else if was_held || std::mem::take(&mut self.alone) {
                    // Nobody was heard until just now: the patience begins anew.
                    self.held_until = at;
                    self.asking.hold_ended(at);
                    self.deaf_since = Some(silence.since);
                    (Verdict::Suspect, silence.reason)
                } else {
                    self.detection_latency = Some(at.since(silence.since));
                    self.deaf_since = Some(at);
                    self.silent_since = Some(silence.since);
                    (Verdict::Dead, silence.reason)
                }
            }
            Some(silence) if at.since(silence.since) >= SUSPECT_AFTER => {
                self.alone |= self.is_alone_half_way(at, &silence, around);
                self.deaf_since = Some(silence.since);
                (Verdict::Suspect, silence.reason)
            }
            // Too early to say: what was believed before still stands.
            Some(_) => {
                self.held = was_held;
                return Change::None;
            }
            None => {
                self.alone = false;
                self.without_demand(at)
            }
        };
        if self.held && !was_held {
            self.evidence.died();
        } else if was_held && !self.held {
            self.evidence.returned(at);
        }
        let change = self.set_verdict(at, verdict, reason, around.settings);
        if change == Change::None && was_held != self.held {
            self.reason = reason;
            self.changed_at = at;
            return Change::State;
        }
        change
    }

    fn is_long_enough(&self, at: Time, silence: &Silence, around: Surroundings<'_>) -> bool {
        let patience = self.evidence.path.patience(at, around.settings.patience);
        let is_now = at.since(silence.since) >= patience
            && silence.asked_for >= patience.mul_f64(ASKED_FOR)
            && self.is_asked_enough(silence);
        is_now || self.is_long_enough_over_pauses(at, patience, around)
    }

    /// Whether chance is no explanation for the missing answers.
    fn is_asked_enough(&self, silence: &Silence) -> bool {
        self.unanswered(silence) >= self.required()
    }

    /// How much was asked in vain: where the peer can be asked, at how many moments.
    fn unanswered(&self, silence: &Silence) -> u32 {
        match self.can_ask() {
            true => silence.moments,
            false => silence.transmissions,
        }
    }

    /// How much must be asked in vain.
    fn required(&self) -> u32 {
        self.evidence.path.required_transmissions(self.can_ask())
    }

    fn can_ask(&self) -> bool {
        !self.discovered && self.evidence.probes.is_answerable()
    }

    /// The silence when pauses of this machine excuse nothing but themselves.
    fn is_long_enough_over_pauses(
        &self,
        at: Time,
        patience: Duration,
        around: Surroundings<'_>,
    ) -> bool {
        let usable = around.network.usable_since(&self.evidence.addresses());
        let excused = usable.unwrap_or_default().max(self.held_until);
        let spacing = PathHistory::spacing(patience, self.can_ask());
        let Some(silence) = self.evidence.silence(at, excused, spacing) else {
            return false;
        };
        let paused = around.pauses.within(silence.since, at);
        let silent = at.since(silence.since).saturating_sub(paused);
        silent >= patience * STARVED_FACTOR && self.is_asked_enough(&silence)
    }

    /// Whether others fell silent with it, and nobody is heard.
    fn is_alone_silent(&self, at: Time, silence: &Silence, around: Surroundings<'_>) -> bool {
        let host = self.evidence.addresses().first().copied();
        let idle = around.settings.idle_probe_interval;
        around.witnesses.none_but(host, silence.since, at, idle)
    }

    /// The silence as this look shows it. One that goes on began when it was first seen to,
    /// even if what showed it then is forgotten.
    fn silence_at(&self, at: Time, around: Surroundings<'_>) -> Option<Silence> {
        let excused = self.excused(around);
        let patience = self.evidence.path.patience(at, around.settings.patience);
        let spacing = PathHistory::spacing(patience, self.can_ask());
        let silence = self.evidence.silence(at, excused, spacing)?;
        let heard = self.evidence.last_heard().unwrap_or_default().max(excused);
        let since = match self.silence {
            Some(before) => before.since.max(heard).min(silence.since),
            None => silence.since,
        };
        Some(Silence { since, ..silence })
    }

    /// The same before the patience is over, once witnesses have had the time to answer.
    fn is_alone_half_way(&self, at: Time, silence: &Silence, around: Surroundings<'_>) -> bool {
        let patience = self.evidence.path.patience(at, around.settings.patience);
        let half = (patience / 2).max(SUSPECT_AFTER * 2);
        at.since(silence.since) >= half && self.is_alone_silent(at, silence, around)
    }

    /// What was sent before is no evidence: this machine stood still, or had no link.
    fn excused(&self, around: Surroundings<'_>) -> Time {
        let usable = around.network.usable_since(&self.evidence.addresses());
        let paused = around.pauses.last_end();
        usable
            .unwrap_or_default()
            .max(paused.unwrap_or_default())
            .max(self.held_until)
    }

    fn notice_cut_off(&mut self, now: Time, around: Surroundings<'_>) -> Change {
        let cut_off = around.network.is_cut_off(&self.evidence.addresses(), now);
        if self.cut_off == cut_off {
            return Change::None;
        }
        self.cut_off = cut_off;
        Change::State
    }

    fn without_demand(&self, at: Time) -> (Verdict, Reason) {
        if self.evidence.flows().any(|flow| flow.is_zero_window()) {
            return (Verdict::Slow, Reason::ZeroWindow);
        }
        let heard = self.evidence.last_heard();
        if !self.is_heard_again() {
            // Never heard; or the demand went away with its socket, and no answer came.
            return (Verdict::Unknown, Reason::NoEvidence);
        }
        let connected = self
            .evidence
            .flows()
            .any(|f| f.reading.last_heard.is_some());
        let recently = heard.is_some_and(|heard| at.since(heard) < ALIVE_WITHOUT_FLOW);
        if connected {
            (Verdict::Alive, Reason::PacketReceived)
        } else if recently {
            (Verdict::Alive, Reason::ProbeAnswered)
        } else {
            (Verdict::Unknown, Reason::NoEvidence)
        }
    }

    /// Ends a death as soon as the peer was heard after it. A neighbour's answer shows that
    /// the host is there: its breaker is HalfOpen until TCP answers too, where it ever did.
    fn heard_again(&mut self, at: Time, reason: Reason) -> Change {
        let by_tcp = self.evidence.heard_by_tcp() > self.deaf_since;
        if self.verdict == Verdict::Dead && self.is_heard_again() {
            self.become_verdict(at, Verdict::Alive, reason);
            if by_tcp || !self.evidence.probes.has_connect() {
                self.circuit.close();
                return Change::Closing;
            }
            self.awaits_tcp = true;
            self.circuit.half_open();
            self.asking.soon(at);
            return Change::State;
        }
        if self.awaits_tcp && by_tcp {
            self.awaits_tcp = false;
            self.circuit.close();
            self.reason = reason;
            self.changed_at = at;
            return Change::State;
        }
        Change::None
    }

    fn is_heard_again(&self) -> bool {
        self.evidence.last_heard() > self.deaf_since
    }

    fn set_verdict(
        &mut self,
        at: Time,
        verdict: Verdict,
        reason: Reason,
        settings: &Settings,
    ) -> Change {
        if verdict == self.verdict {
            return Change::None;
        }
        self.become_verdict(at, verdict, reason);
        match verdict {
            Verdict::Dead => {
                self.awaits_tcp = false;
                self.circuit.open(at, settings);
            }
            Verdict::Alive if !self.awaits_tcp => self.circuit.close(),
            Verdict::Unknown | Verdict::Alive | Verdict::Suspect | Verdict::Slow => {}
        }
        Change::State
    }

    fn become_verdict(&mut self, at: Time, verdict: Verdict, reason: Reason) {
        self.verdict = verdict;
        self.reason = reason;
        self.generation += 1;
        self.changed_at = at;
        if verdict == Verdict::Dead {
            self.evidence.died();
            self.dead_interval = LOOK_DEAD.0;
            self.asking.died(at);
            self.ending
                .died(self.generation, self.silent_since.unwrap_or(at));
        } else {
            if self.silent_since.take().is_some() {
                self.evidence.returned(at);
                self.ending.called_off();
            }
            self.detection_latency = None;
        }
    }

    /// A silence that ended while the peer was still only Suspect was a live peer's.
    fn learn_from_recovery(&mut self, at: Time) {
        let (Some(silence), Some(heard)) = (self.silence, self.evidence.last_heard()) else {
            return;
        };
        if self.verdict == Verdict::Suspect && !self.held && !self.cut_off && heard > silence.since
        {
            // What was this host's own fault is not the peer's stall.
            let stall = heard.since(silence.since.max(self.held_until));
            self.evidence.path.stall_recovered(at, stall);
        }
    }

    /// How long after a look taken at `at` the next is due.
    fn interval(&mut self, at: Time, around: Surroundings<'_>) -> Duration {
        match (self.verdict, self.silence) {
            (Verdict::Dead, _) => {
                let interval = self.dead_interval;
                self.dead_interval = (interval * 2).min(LOOK_DEAD.1);
                self.ending
                    .due(around.settings)
                    .filter(|due| *due > at)
                    .map_or(interval, |due| interval.min(due.since(at)))
            }
            (_, Some(silence)) => self.until_decision(at, &silence, around.settings),
            (Verdict::Slow, None) => LOOK_SLOW,
            (Verdict::Unknown, None) => LOOK_UNKNOWN,
            // A new connection is to be known before it can be cut.
            (_, None) if !self.evidence.is_connected() => LOOK_UNKNOWN,
            (_, None) => LOOK_IDLE,
        }
    }

    /// The next moment at which the rule may come to another answer.
    fn until_decision(&self, at: Time, silence: &Silence, settings: &Settings) -> Duration {
        let patience = self.evidence.path.patience(at, settings.patience);
        let lasted = at.since(silence.since);
        let longest = (lasted / 20).clamp(LOOK_SUSPECT.0, LOOK_SUSPECT.1);
        [
            silence.since + SUSPECT_AFTER,
            silence.since + patience,
            at + patience
                .mul_f64(ASKED_FOR)
                .saturating_sub(silence.asked_for),
        ]
        .into_iter()
        .filter(|&moment| moment > at)
        .map(|moment| moment.since(at))
        .fold(longest, Duration::min)
    }
}
