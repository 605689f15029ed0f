//! The core on a virtual clock. Unit tests, tests of recordings and replays drive the core with it.
//!
//! A [`Harness`] gives the core its signals and time-outs. After each of them it passes what the
//! core requests to the [`Surroundings`], and their answers back to the core, until nothing is
//! requested any more.
//!
//! ```text
//! signal, timeout ──▶ Core ── effects ──▶ Surroundings
//!                      ▲                      │
//!                      └────── answers ───────┘
//! ```

use std::{
    iter,
    ops::{Deref, DerefMut},
};

use super::Detector;
use crate::model::{
    Effect, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Signal, Time,
};

/// How often in a row the core may request a time-out for the present moment: an answer may make
/// something due at once.
const AT_ONCE: u32 = 5;

/// A [`Detector`], or one whose inputs are recorded.
pub trait Core {
    /// [`Detector::handle_signal`].
    fn handle_signal(&mut self, now: Time, signal: Signal);

    /// [`Detector::handle_timeout`].
    fn handle_timeout(&mut self, now: Time);

    /// [`Detector::poll_timeout`].
    fn poll_timeout(&self) -> Option<Time>;

    /// [`Detector::poll_effect`].
    fn poll_effect(&mut self) -> Option<Effect>;
}

impl Core for Detector {
    fn handle_signal(&mut self, now: Time, signal: Signal) {
        self.handle_signal(now, signal);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.poll_timeout()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.poll_effect()
    }
}

/// What becomes of a probe that is sent at once, and answered at once or not at all.
pub fn probed(
    at: Time,
    probe: ProbeId,
    target: ProbeTarget,
    answer: Option<ProbeAnswer>,
) -> impl Iterator<Item = Signal> {
    let answered = answer.map(ProbeOutcome::Answered);
    let outcomes = iter::once(ProbeOutcome::Sent).chain(answered);
    outcomes.map(move |outcome| {
        Signal::Probe(ProbeEvent {
            at,
            probe,
            target,
            outcome,
        })
    })
}

/// What is around the core: a simulated kernel and peers, or somebody who only takes notes.
pub trait Surroundings {
    /// Carries out effects. The core gets the returned signals at once, in this order.
    fn carry_out(&mut self, now: Time, effects: Vec<Effect>) -> Vec<Signal>;
}

/// A core and its surroundings, which are reached by dereferencing.
#[derive(Debug)]
pub struct Harness<C, S> {
    pub detector: C,
    pub now: Time,
    surroundings: S,
}

impl<C: Core, S: Surroundings> Harness<C, S> {
    pub fn of(detector: C, now: Time, surroundings: S) -> Self {
        Self {
            detector,
            now,
            surroundings,
        }
    }

    /// Something happens now.
    pub fn signal(&mut self, signal: Signal) {
        self.detector.handle_signal(self.now, signal);
        self.settle();
    }

    /// It is this late, and what is due is done.
    pub fn timeout(&mut self, at: Time) {
        self.now = at.max(self.now);
        self.detector.handle_timeout(self.now);
        self.settle();
    }

    /// Time passes, and whatever falls due is done on time.
    ///
    /// # Panics
    ///
    /// If the core requests a time-out for the same moment again and again.
    pub fn run_until(&mut self, until: Time) {
        let mut at_once = 0;
        while let Some(due) = self.detector.poll_timeout()
            && due <= until
        {
            at_once = if due > self.now { 0 } else { at_once + 1 };
            assert!(at_once < AT_ONCE, "it stays due: {due:?}");
            self.timeout(due);
        }
        self.now = until;
    }

    /// Carries out effects, until the core requests nothing more.
    pub fn settle(&mut self) {
        loop {
            let effects = iter::from_fn(|| self.detector.poll_effect()).collect();
            let answers = self.surroundings.carry_out(self.now, effects);
            if answers.is_empty() {
                return;
            }
            for answer in answers {
                self.detector.handle_signal(self.now, answer);
            }
        }
    }
}

impl<C, S> Deref for Harness<C, S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.surroundings
    }
}

impl<C, S> DerefMut for Harness<C, S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.surroundings
    }
}
