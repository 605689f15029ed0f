//! Runs a recording through the core again, in virtual time.

use std::{collections::BTreeMap, time::Duration};

use super::{Entry, Header, Input, questions::Questions};
use crate::core::{
    Detector, Effect, Explanation, PeerName, PeerState, Settings, Signal, Time, Verdict,
};

/// The virtual clock's least step between two time-outs that the core asks for.
const STEP: Duration = Duration::from_micros(1);

/// Whose time-outs the core gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeouts {
    /// The recorded ones, at their times: with the recorded settings, this gives exactly the
    /// recorded verdicts.
    Recorded,
    /// Its own, each at the moment it asks for: what other settings need.
    Own,
}

/// A detector that is told what another one was told.
#[derive(Debug)]
pub struct Replay {
    detector: Detector,
    /// With time-outs of its own: what the recorded detector was, to know when it was late.
    recorded: Option<Detector>,
    questions: Questions,
    timeouts: Timeouts,
    now: Time,
    verdicts: BTreeMap<PeerName, Verdict>,
    summary: Summary,
}

/// What was replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// From the beginning of the recording to its last line.
    pub duration: Duration,
    pub signals: u64,
    /// The recorded time-outs, whether they were used or not.
    pub timeouts: u64,
    /// Trials that clients asked for or finished.
    pub trials: u64,
    /// Changes of a peer's verdict.
    pub verdicts: u64,
    /// Sockets of dead peers that were, or would have been, to be destroyed.
    pub to_destroy: u64,
    /// When the first of them were.
    pub first_to_destroy: Option<Time>,
}

impl Replay {
    /// A detector with these settings, at the beginning of the recording.
    pub fn new(header: &Header, settings: Settings, timeouts: Timeouts) -> Self {
        Self {
            detector: Detector::new(settings),
            recorded: (timeouts == Timeouts::Own).then(|| Detector::new(header.settings.clone())),
            questions: Questions::default(),
            timeouts,
            now: header.now,
            verdicts: BTreeMap::new(),
            summary: Summary::default(),
        }
    }

    /// Tells the detector what comes next; `publish` is called with what it publishes, and
    /// when. What it would have done beside that is not done.
    pub fn step(&mut self, entry: Entry, publish: &mut impl FnMut(Time, &PeerState)) {
        let Entry { now, input } = entry;
        self.run_until(now, publish);
        match &input {
            Input::Signal(_) => self.summary.signals += 1,
            Input::Timeout => self.summary.timeouts += 1,
            Input::AcquireTrial { .. } | Input::FinishTrial { .. } => self.summary.trials += 1,
            Input::End(_) => {}
        }
        if let Some(recorded) = &mut self.recorded {
            tell(recorded, now, input.clone());
            while recorded.poll_effect().is_some() {}
        }
        let input = match (self.timeouts, input) {
            (Timeouts::Own, Input::Timeout) => return,
            (Timeouts::Own, Input::Signal(Signal::Probe(event))) => {
                Input::Signal(Signal::Probe(self.questions.own(event)))
            }
            (_, input) => input,
        };
        tell(&mut self.detector, now, input);
        self.drain(publish);
    }

    /// Lets the time pass, with what the core wanted to do in it. While the recorded loop was
    /// late, this one is as well: the machine may have stood still.
    pub fn run_until(&mut self, until: Time, publish: &mut impl FnMut(Time, &PeerState)) {
        if let Some(recorded) = &self.recorded {
            let late_from = recorded.poll_timeout().unwrap_or(until);
            let mut earliest = self.now;
            while let Some(due) = self.detector.poll_timeout().map(|at| at.max(earliest)) {
                let at = if due >= late_from { until } else { due };
                if due > until {
                    break;
                }
                self.pass(at);
                self.detector.handle_timeout(at);
                self.drain(publish);
                earliest = at + STEP;
            }
        }
        self.pass(until);
    }

    /// The peers that are watched now.
    pub fn peers(&self) -> impl Iterator<Item = &PeerName> {
        self.verdicts.keys()
    }

    /// Why the peer's verdict is what it is now.
    pub fn explain(&self, peer: &PeerName) -> Option<Explanation> {
        self.detector.explain(self.now, peer)
    }

    /// The virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn pass(&mut self, to: Time) {
        self.summary.duration += to.since(self.now);
        self.now = self.now.max(to);
    }

    fn drain(&mut self, publish: &mut impl FnMut(Time, &PeerState)) {
        while let Some(effect) = self.detector.poll_effect() {
            match effect {
                Effect::Publish(state) => {
                    let before = self.verdicts.insert(state.peer.clone(), state.verdict);
                    let changed = before.is_some_and(|before| before != state.verdict);
                    self.summary.verdicts += u64::from(changed);
                    publish(self.now, &state);
                }
                Effect::Retract { peer, .. } => {
                    self.verdicts.remove(&peer);
                }
                Effect::Probe { probe, target, .. } => {
                    self.questions.asked(self.now, probe, target);
                }
                Effect::DestroySockets(teardown) => {
                    self.summary.to_destroy += teardown.sockets.len() as u64;
                    self.summary.first_to_destroy.get_or_insert(self.now);
                }
                _ => {}
            }
        }
    }
}

fn tell(detector: &mut Detector, now: Time, input: Input) {
    match input {
        Input::Signal(signal) => detector.handle_signal(now, signal),
        Input::Timeout => detector.handle_timeout(now),
        // With other settings a trial may not be given, or not taken back.
        Input::AcquireTrial { peer } => {
            let _ = detector.acquire_trial(now, &peer);
        }
        Input::FinishTrial {
            peer,
            trial,
            outcome,
        } => {
            let _ = detector.finish_trial(now, &peer, trial, outcome);
        }
        Input::End(_) => {}
    }
}
