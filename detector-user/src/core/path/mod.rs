//! One path, the way to one address of a peer: its evidence, and its verdict.
//!
//! ```text
//! path       its parts, and when it should next be called
//! intake     takes in evidence
//! judging    gathers the facts for the rule, and carries out its decision
//! probing    when the path is probed, and on which targets
//! pace       how often its sockets are read
//! freeing    which sockets are destroyed: a dead peer's, and stalled flows
//! reported   what the node's own reports do
//! shown      what is published and explained
//! telling    what other parts learn of it between verdicts
//! ```

mod freeing;
mod intake;
mod judging;
mod pace;
mod probing;
mod reported;
mod shown;
mod telling;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    mem,
    net::IpAddr,
};

use self::{freeing::Freeing, judging::Doubt, pace::Pace, probing::Probing};
use super::{
    context::{Around, Context},
    evidence::{Evidence, Layer, targets},
    isolation::Witness,
    reports::Failures,
    schedule::{Rhythm, Snapshots},
    session::{Event, Session, State, Turn},
    vitals::Vitals,
};
use crate::model::{
    Destroyed, Effect, Endpoint, FlowEvent, Measured, Memory, OverrideKind, PeerName, Reason,
    Settings, Time, Trial, TrialError, TrialOutcome, Verdict,
};

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
    /// When the path was last probed because of a failed call.
    probed_on_report: Option<Time>,
    vitals: Vitals,
    /// The time at which it was last heard, as last published.
    told_heard: Option<Time>,
    measured: Measured,
    /// What was last told of that, and when.
    told_measured: (Option<Time>, Measured),
    /// Whether the source was requested to report finished handshakes.
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
            measured: Measured::default(),
            told_measured: (None, Measured::default()),
            awaits_connects: false,
        }
    }

    /// Sets the endpoints at this address; returns whether anything changed.
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

    /// Other settings apply: other targets may be probed, and the next snapshot is judged by them.
    pub(super) fn settings_changed(&mut self, now: Time, context: &mut Context<'_>) {
        self.set_routes(now, context.around());
        self.snapshots.soon(now);
    }

    pub(super) fn memory(&self) -> Memory {
        Memory {
            addr: self.addr,
            answers: self.evidence.probes.known_answers(),
        }
    }

    /// The path was Dead when the run before ended. Its breaker is open until the host is heard, and
    /// the path is probed at once.
    pub(super) fn take_memory(
        &mut self,
        now: Time,
        memory: &Memory,
        context: &mut Context<'_>,
    ) -> Turn {
        self.evidence.probes.remember(&memory.answers);
        self.probing.survey(now);
        if mem::replace(&mut self.evidence.was_there, true) {
            return Turn::None;
        }
        let event = Event::WasDead;
        self.turn(now, event, Reason::DeadBeforeStart, None, context)
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

    pub(super) fn set_override(&mut self, now: Time, overridden: Option<OverrideKind>) {
        self.session.set_override(now, overridden);
    }

    /// When [`Self::handle_timeout`] should be called.
    pub(super) fn timeout(&self) -> Time {
        let due = self.snapshots.timeout().min(self.probing.timeout());
        let others = [self.session.timeout(), self.evidence.waiting.timeout()];
        others.into_iter().flatten().fold(due, Time::min)
    }

    /// Does what is due: probes, a socket snapshot, a step of the breaker's recovery.
    pub(super) fn handle_timeout(&mut self, now: Time, context: &mut Context<'_>) -> Turn {
        self.probe_when_due(now, context);
        self.probe_waiting_when_due(now, context);
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
        // If targets that are known to answer are probed and do not, there is evidence.
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

    /// Takes in the result of a teardown.
    pub(super) fn destroyed(&mut self, at: Time, generation: u64, result: Destroyed) {
        let current = self.session.generation();
        self.freeing.ended(at, generation, current, result);
    }

    /// This path as a witness for others; `None` if it is Dead or was never heard.
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
            &self.evidence.places,
            |addr| network.route(addr),
            around.settings,
        );
        self.evidence.probes.set_targets(&wanted);
        self.probing.survey(now);
    }

    fn is_dead(&self) -> bool {
        self.session.state() == State::Dead
    }

    /// Whether there are targets that are known to answer, so that the peer can be probed at will.
    fn can_ask(&self) -> bool {
        !self.discovered && self.evidence.probes.is_answerable()
    }
}
