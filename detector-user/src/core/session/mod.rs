//! The state of one path as others see it: its verdict, its breaker, and the reason of each.
//!
//! ```text
//! session      holds the state; [`Session::apply`] alone changes it
//! transition   the transition table
//! circuit      the breaker: Closed, Open, HalfOpen with leased trials
//! ```

mod circuit;
mod transition;

use std::time::Duration;

use self::circuit::Circuit;
pub(super) use self::transition::{Event, State};
use self::transition::{Move, next};
use super::rule::{Certainty, Clause};
use crate::model::{Breaker, OverrideKind, Reason, Settings, Time, Trial, TrialError, Verdict};

/// The silence in which a path was found Dead.
#[derive(Clone, Debug)]
pub(super) struct Death {
    /// Since when something stood unanswered. Anything heard from the host after this ends the
    /// death.
    pub silent_since: Time,
    /// Since when nothing was heard at all. A program that waits for a reply has been stuck since
    /// then, so the destroy delay counts from here.
    pub unheard_since: Time,
    pub found_at: Time,
    /// The clauses as they held then.
    pub clauses: Vec<Clause>,
    pub certainty: Certainty,
}

/// What a transition means for the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing changed that is published.
    None,
    Changed,
    Died,
    /// The path was Dead and has been heard again.
    Returned,
}

#[derive(Debug)]
pub(super) struct Session {
    state: State,
    reason: Reason,
    death: Option<Death>,
    circuit: Circuit,
    breaker_reason: Reason,
    /// Since when the breaker has been open, or half open, without evidence of this run: because of
    /// the node's own reports, or of a death before the daemon's start.
    presumed_down: Option<Time>,
    overridden: Option<OverrideKind>,
    generation: u64,
    changed_at: Time,
}

impl Session {
    pub(super) fn new(now: Time) -> Self {
        Self {
            state: State::Unknown,
            reason: Reason::NoEvidence,
            death: None,
            circuit: Circuit::new(),
            breaker_reason: Reason::NoEvidence,
            presumed_down: None,
            overridden: None,
            generation: 0,
            changed_at: now,
        }
    }

    /// Applies an event with its reason; `death` comes with the decision that the path is Dead.
    /// Apart from [`Self::set_reason`] and [`Self::set_override`], nothing else changes the verdict,
    /// the breaker or their reasons.
    pub(super) fn apply(
        &mut self,
        now: Time,
        event: Event,
        reason: Reason,
        death: Option<Death>,
        settings: &Settings,
    ) -> Turn {
        let presumed_down = self.presumed_down.is_some();
        let (state, moved) = next(self.state, self.circuit.breaker(), presumed_down, event);
        let turned = self.turn(now, state, reason, death);
        let was = self.circuit.breaker();
        self.move_breaker(now, moved, event, reason, settings);
        match turned {
            Turn::None if self.circuit.breaker() != was => {
                self.changed_at = now;
                Turn::Changed
            }
            turn => turn,
        }
    }

    fn turn(&mut self, now: Time, state: State, reason: Reason, death: Option<Death>) -> Turn {
        if state == self.state {
            return Turn::None;
        }
        let (was, verdict) = (self.state, self.verdict());
        self.state = state;
        self.reason = reason;
        self.changed_at = now;
        self.generation += u64::from(verdict != self.verdict());
        self.death = death.filter(|_| state == State::Dead);
        match (was, state) {
            (State::Dead, _) => Turn::Returned,
            (_, State::Dead) => Turn::Died,
            _ => Turn::Changed,
        }
    }

    fn move_breaker(
        &mut self,
        now: Time,
        moved: Move,
        event: Event,
        reason: Reason,
        settings: &Settings,
    ) {
        match moved {
            Move::Stay => return,
            Move::Open => self.circuit.open(now, settings),
            Move::HalfOpen => self.circuit.half_open(),
            Move::Close => self.circuit.close(),
        }
        self.presumed_down = match event {
            Event::WasDead | Event::FailuresReported => Some(now),
            Event::TrialFailed => self.presumed_down.map(|_| now),
            Event::RecoveryDue | Event::StillDead => self.presumed_down,
            _ => None,
        };
        if event != Event::StillDead {
            self.breaker_reason = reason;
        }
    }

    /// Changes the reason within one state; a new reason is published.
    pub(super) fn set_reason(&mut self, now: Time, reason: Reason) -> Turn {
        if self.reason == reason {
            return Turn::None;
        }
        self.reason = reason;
        self.changed_at = now;
        Turn::Changed
    }

    /// Applies an administrator's override, or ends it.
    pub(super) fn set_override(&mut self, now: Time, overridden: Option<OverrideKind>) {
        if self.overridden != overridden {
            self.overridden = overridden;
            self.changed_at = now;
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn verdict(&self) -> Verdict {
        match self.state {
            State::Unknown => Verdict::Unknown,
            State::Alive => Verdict::Alive,
            State::Degraded => Verdict::Degraded,
            State::Suspect | State::Isolated => Verdict::Suspect,
            State::Dead => Verdict::Dead,
        }
    }

    pub(super) fn reason(&self) -> Reason {
        self.reason
    }

    /// The published breaker: an administrator's, or else what the evidence made it.
    pub(super) fn breaker(&self) -> Breaker {
        match self.overridden {
            None => self.circuit.breaker(),
            Some(OverrideKind::Maintenance | OverrideKind::Open) => Breaker::Open,
            Some(OverrideKind::Closed) => Breaker::Closed,
        }
    }

    pub(super) fn breaker_reason(&self) -> Reason {
        match self.overridden {
            None => self.breaker_reason,
            Some(OverrideKind::Maintenance) => Reason::Maintenance,
            Some(OverrideKind::Open) => Reason::ForcedOpen,
            Some(OverrideKind::Closed) => Reason::ForcedClosed,
        }
    }

    /// Whether the breaker is Closed by the evidence, whatever an administrator has set.
    pub(super) fn is_closed_by_evidence(&self) -> bool {
        self.circuit.breaker() == Breaker::Closed
    }

    /// Whether sockets may be destroyed.
    pub(super) fn may_destroy(&self) -> bool {
        self.overridden != Some(OverrideKind::Closed)
    }

    pub(super) fn presumed_down(&self) -> Option<Time> {
        self.presumed_down
    }

    pub(super) fn death(&self) -> Option<&Death> {
        self.death.as_ref()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn changed_at(&self) -> Time {
        self.changed_at
    }

    /// For Dead: the time from the first unanswered demand to the verdict.
    pub(super) fn detection_latency(&self) -> Option<Duration> {
        let death = self.death.as_ref()?;
        Some(death.found_at.since(death.silent_since))
    }

    /// When the breaker should go from Open to HalfOpen.
    pub(super) fn timeout(&self) -> Option<Time> {
        self.circuit.timeout()
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.circuit.is_due(now)
    }

    pub(super) fn acquire_trial(
        &mut self,
        now: Time,
        id: u64,
        settings: &Settings,
    ) -> Result<Trial, TrialError> {
        self.circuit.acquire(now, id, settings)
    }

    /// Takes a trial back; its outcome is an [`Event`].
    pub(super) fn return_trial(&mut self, now: Time, trial: u64) -> Result<(), TrialError> {
        self.circuit.finish(now, trial)
    }
}

impl From<Verdict> for State {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Unknown => Self::Unknown,
            Verdict::Alive => Self::Alive,
            Verdict::Suspect => Self::Suspect,
            Verdict::Degraded => Self::Degraded,
            Verdict::Dead => Self::Dead,
        }
    }
}
