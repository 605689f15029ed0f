//! One peer: its evidence, the verdict on it, its breaker, and when to look again.

use std::time::Duration;

use super::{
    Breaker, Endpoint, EventLine, Explanation, FlowEvent, FlowLine, FlowReading, Mode, PeerName,
    PeerState, Reason, Settings, SilenceLine, SourceKind, Time, Trial, TrialError, TrialOutcome,
    Verdict,
    breaker::Circuit,
    evidence::{Evidence, Replaced, Silence},
    look::Looks,
    weight::Weight,
};

/// How long a demand stands before the peer is Suspect: longer than a LAN's answer takes.
const SUSPECT_AFTER: Duration = Duration::from_millis(20);

/// How often a Suspect peer is looked at.
const LOOK_SUSPECT: Duration = Duration::from_millis(50);

/// How often a Dead peer is looked at, at most and at least: the interval doubles.
const LOOK_DEAD: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// How often a Slow peer is looked at.
const LOOK_SLOW: Duration = Duration::from_secs(1);

/// How often a peer is looked at while all is well: keeps the path's history.
const LOOK_IDLE: Duration = Duration::from_secs(10);

/// How often a peer is looked at of which nothing is known.
const LOOK_UNKNOWN: Duration = Duration::from_secs(1);

/// Without a flow, a peer heard this long ago is no longer known to be alive.
const ALIVE_WITHOUT_FLOW: Duration = Duration::from_secs(60);

/// What changed, for the detector to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Verdict, breaker or addresses.
    State,
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
}

impl Peer {
    pub(super) fn new(now: Time, name: PeerName, discovered: bool, settings: &Settings) -> Self {
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
        }
    }

    pub(super) fn configure(
        &mut self,
        now: Time,
        endpoints: Vec<Endpoint>,
        discovered: bool,
    ) -> Change {
        let replaced = self.evidence.set_endpoints(now, endpoints);
        if replaced == Replaced::Host {
            (self.silence, self.deaf_since) = (None, None);
            self.circuit.close();
            if self.verdict != Verdict::Unknown {
                self.become_verdict(now, Verdict::Unknown, Reason::NoEvidence);
            }
        }
        if replaced != Replaced::Nothing {
            self.looks.soon(now);
        }
        let changed = replaced != Replaced::Nothing || self.discovered != discovered;
        self.discovered = discovered;
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

    /// Takes in an event. It never makes a peer Dead by itself: it makes us look.
    pub(super) fn event(&mut self, now: Time, event: &FlowEvent) -> Change {
        match self.evidence.event(event) {
            Weight::Heard(reason) => {
                self.looks.soon(now);
                // It may have happened before the look that found the peer Dead and be told
                // only now; its time is exact, unlike that of a reading.
                if self.silent_since.is_some_and(|since| event.at > since) {
                    self.deaf_since = self.silent_since;
                }
                self.heard_since_death(now, reason)
            }
            Weight::Adverse => {
                self.looks.soon(now);
                self.heard_since_death(now, Reason::PacketReceived)
            }
            Weight::Neutral => self.heard_since_death(now, Reason::PacketReceived),
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
        settings: &Settings,
    ) -> Change {
        if let Some(last) = self.looks.last()
            && at < last
        {
            // Two sources read side by side: a later look came first.
            let interval = self.interval(last, settings);
            self.looks.came_back(now, last, interval);
            return Change::None;
        }
        self.evidence.read(at, source, readings);
        self.learn_from_recovery(at);
        self.silence = self.evidence.silence(at);
        let change = self.judge(at, settings);
        let interval = self.interval(at, settings);
        self.looks.came_back(now, at, interval);
        change
    }

    pub(super) fn sockets_unreadable(&mut self, now: Time) {
        self.looks.failed(now);
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(super) fn timeout(&self) -> Time {
        let look = self.looks.timeout();
        self.circuit.timeout().map_or(look, |until| look.min(until))
    }

    /// What is due: whether a look is to be asked for, and what changed.
    pub(super) fn handle_timeout(&mut self, now: Time) -> (bool, Change) {
        let change = if self.circuit.handle_timeout(now) {
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
                self.evidence.heard(now);
                self.set_verdict(now, Verdict::Alive, Reason::TrialSucceeded, settings);
            }
            TrialOutcome::Failed => {
                self.circuit.open(now, settings);
                self.reason = Reason::TrialFailed;
                self.changed_at = now;
            }
        }
        self.looks.soon(now);
        Ok(())
    }

    pub(super) fn state(&self, settings: &Settings) -> PeerState {
        let mode = if self.discovered {
            Mode::Observe
        } else {
            settings.mode
        };
        let would_be_breaker = self.circuit.breaker();
        PeerState {
            peer: self.name.clone(),
            verdict: self.verdict,
            breaker: match mode {
                Mode::Enforce => would_be_breaker,
                Mode::Observe => Breaker::Closed,
            },
            would_be_breaker,
            reason: self.reason,
            isolated: false,
            generation: self.generation,
            revision: self.revision,
            mode,
            addresses: self.evidence.addresses(),
            changed_at: self.changed_at,
            last_heard: self.evidence.last_heard(),
            detection_latency: self.detection_latency,
        }
    }

    pub(super) fn explain(&self, now: Time, settings: &Settings) -> Explanation {
        let silence = self.evidence.silence(now);
        let line = SilenceLine {
            duration: silence.map_or(Duration::ZERO, |s| now.since(s.since)),
            patience: self.evidence.path.patience(now, settings.patience),
            unanswered_transmissions: silence.map_or(0, |s| s.transmissions),
            required_transmissions: self.evidence.path.required_transmissions(),
            loss_estimate: self.evidence.path.round_trip_loss(),
        };
        let flows: Vec<_> = self
            .evidence
            .flows()
            .map(|flow| FlowLine {
                reading: flow.reading.clone(),
                demand: flow.demand().is_some(),
            })
            .collect();
        let state = self.state(settings);
        Explanation {
            summary: super::explain::summary(now, &state, &line, flows.len()),
            state,
            silence: line,
            flows,
            events: self.evidence.events().copied().collect::<Vec<EventLine>>(),
            probes: Vec::new(),
            routes: Vec::new(),
            destroyed: None,
        }
    }

    /// The rule of the verdict.
    fn judge(&mut self, at: Time, settings: &Settings) -> Change {
        if self.verdict == Verdict::Dead {
            return self.heard_since_death(at, Reason::PacketReceived);
        }
        let (verdict, reason) = match self.silence {
            Some(silence) if self.is_long_enough(at, &silence, settings) => {
                self.detection_latency = Some(at.since(silence.since));
                self.deaf_since = Some(at);
                self.silent_since = Some(silence.since);
                (Verdict::Dead, silence.reason)
            }
            Some(silence) if at.since(silence.since) >= SUSPECT_AFTER => {
                self.deaf_since = Some(silence.since);
                (Verdict::Suspect, silence.reason)
            }
            // Too early to say: what was believed before still stands.
            Some(_) => return Change::None,
            None => self.without_demand(at),
        };
        self.set_verdict(at, verdict, reason, settings)
    }

    fn is_long_enough(&self, at: Time, silence: &Silence, settings: &Settings) -> bool {
        let path = &self.evidence.path;
        at.since(silence.since) >= path.patience(at, settings.patience)
            && silence.transmissions >= path.required_transmissions()
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
        if connected || recently {
            (Verdict::Alive, Reason::PacketReceived)
        } else {
            (Verdict::Unknown, Reason::NoEvidence)
        }
    }

    /// Ends a death as soon as the peer was heard after it.
    fn heard_since_death(&mut self, at: Time, reason: Reason) -> Change {
        if self.verdict != Verdict::Dead || !self.is_heard_again() {
            return Change::None;
        }
        self.become_verdict(at, Verdict::Alive, reason);
        self.circuit.close();
        Change::State
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
                self.dead_interval = LOOK_DEAD.0;
                self.circuit.open(at, settings);
            }
            Verdict::Alive => self.circuit.close(),
            Verdict::Unknown | Verdict::Suspect | Verdict::Slow => {}
        }
        Change::State
    }

    fn become_verdict(&mut self, at: Time, verdict: Verdict, reason: Reason) {
        if verdict == Verdict::Dead {
            self.evidence.died();
        } else if self.verdict == Verdict::Dead {
            self.evidence.returned(at);
        }
        self.verdict = verdict;
        self.reason = reason;
        self.generation += 1;
        self.changed_at = at;
        if verdict != Verdict::Dead {
            self.detection_latency = None;
            self.silent_since = None;
        }
    }

    /// A silence that ended while the peer was still only Suspect was a live peer's.
    fn learn_from_recovery(&mut self, at: Time) {
        let (Some(silence), Some(heard)) = (self.silence, self.evidence.last_heard()) else {
            return;
        };
        if self.verdict == Verdict::Suspect && heard > silence.since {
            let stall = heard.since(silence.since);
            self.evidence.path.stall_recovered(at, stall);
        }
    }

    /// How long after a look taken at `at` the next is due.
    fn interval(&mut self, at: Time, settings: &Settings) -> Duration {
        match (self.verdict, self.silence) {
            (Verdict::Dead, _) => {
                let interval = self.dead_interval;
                self.dead_interval = (interval * 2).min(LOOK_DEAD.1);
                interval
            }
            (_, Some(silence)) => self.until_decision(at, &silence, settings),
            (Verdict::Slow, None) => LOOK_SLOW,
            (Verdict::Unknown, None) => LOOK_UNKNOWN,
            (_, None) => LOOK_IDLE,
        }
    }

    /// The next moment at which the rule may come to another answer.
    fn until_decision(&self, at: Time, silence: &Silence, settings: &Settings) -> Duration {
        let silent = at.since(silence.since);
        let patience = self.evidence.path.patience(at, settings.patience);
        [SUSPECT_AFTER, patience]
            .into_iter()
            .filter(|&threshold| threshold > silent)
            .map(|threshold| threshold - silent)
            .fold(LOOK_SUSPECT, Duration::min)
    }
}
