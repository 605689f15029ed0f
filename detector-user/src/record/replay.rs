//! Runs a recording through the core again, in virtual time.

use std::{collections::BTreeMap, time::Duration};

use super::{Entry, Header, Input, questions::Questions};
use crate::{
    core::{Detector, Harness, Surroundings},
    model::{Effect, Explanation, PeerName, PeerState, Settings, Signal, Time, Verdict},
};

/// The smallest step of the virtual clock between two time-outs that the core requests.
const STEP: Duration = Duration::from_micros(1);

/// Which time-outs the core gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeouts {
    /// The recorded ones, at their recorded times. With the recorded settings, this gives exactly
    /// the recorded verdicts.
    Recorded,
    /// Its own, each at the moment that the core requests: other settings need this.
    Own,
    /// Its own, as on a loop that is never late. A recording that begins in the middle does not show
    /// what the recorded core had requested, and so not when its loop was late.
    Punctual,
}

/// A detector that gets the recorded inputs of another one.
#[derive(Debug)]
pub struct Replay {
    harness: Harness<Detector, Observer>,
    /// With the core's own time-outs: a second detector with the recorded settings, which shows
    /// when the recorded loop was late.
    recorded: Option<Detector>,
    timeouts: Timeouts,
}

/// Takes notes of the effects, and carries out none.
#[derive(Debug)]
struct Observer {
    questions: Questions,
    verdicts: BTreeMap<PeerName, Verdict>,
    summary: Summary,
    /// What was published and not passed on yet.
    published: Vec<PeerState>,
}

/// Statistics of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The time from the beginning of the recording to its last line.
    pub duration: Duration,
    pub signals: u64,
    /// The number of recorded time-outs, whether they were used or not.
    pub timeouts: u64,
    /// The number of requests for a trial and of finished trials.
    pub trials: u64,
    /// The number of changes of a peer's verdict.
    pub verdicts: u64,
    /// The number of sockets of dead peers that would have been destroyed.
    pub to_destroy: u64,
    /// When the first of them would have been destroyed.
    pub first_to_destroy: Option<Time>,
}

impl Replay {
    /// A detector with these settings, at the beginning of the recording.
    pub fn new(header: &Header, settings: Settings, timeouts: Timeouts) -> Self {
        let observer = Observer {
            questions: Questions::new(settings.bounds()),
            verdicts: BTreeMap::new(),
            summary: Summary::default(),
            published: Vec::new(),
        };
        Self {
            harness: Harness::of(Detector::new(settings), header.now, observer),
            recorded: (timeouts == Timeouts::Own).then(|| Detector::new(header.settings.clone())),
            timeouts,
        }
    }

    /// Feeds the next entry to the detector. `publish` is called with each published state and its
    /// time. All other effects are not carried out.
    pub fn step(&mut self, entry: Entry, publish: &mut impl FnMut(Time, &PeerState)) {
        let Entry { now, input } = entry;
        self.run_until(now, publish);
        let summary = &mut self.harness.summary;
        match &input {
            Input::Signal(_) => summary.signals += 1,
            Input::Timeout => summary.timeouts += 1,
            Input::AcquireTrial { .. } | Input::FinishTrial { .. } => summary.trials += 1,
            Input::Override { .. }
            | Input::Remember { .. }
            | Input::Settings(_)
            | Input::End(_) => {}
        }
        if let Some(recorded) = &mut self.recorded {
            tell(recorded, now, input.clone());
            while recorded.poll_effect().is_some() {}
        }
        let input = match (self.timeouts, input) {
            // With other settings than the recorded ones, these hold throughout.
            (Timeouts::Own | Timeouts::Punctual, Input::Timeout | Input::Settings(_)) => return,
            (Timeouts::Own | Timeouts::Punctual, Input::Signal(Signal::Probe(event))) => {
                Input::Signal(Signal::Probe(self.harness.questions.own(event)))
            }
            (_, input) => input,
        };
        tell(&mut self.harness.detector, now, input);
        self.harness.settle();
        self.pass_on(publish);
    }

    /// Advances the virtual time, and gives the core the time-outs that it requests until then.
    /// While the recorded loop was late, the replay is late as well: the machine may have been
    /// paused.
    pub fn run_until(&mut self, until: Time, publish: &mut impl FnMut(Time, &PeerState)) {
        if self.timeouts != Timeouts::Recorded {
            let late_from = self.recorded.as_ref().and_then(Detector::poll_timeout);
            let late_from = late_from.unwrap_or(until);
            let mut earliest = self.now();
            while let Some(due) = self.harness.detector.poll_timeout() {
                let due = due.max(earliest);
                let at = if due >= late_from { until } else { due };
                if due > until {
                    break;
                }
                self.pass(at);
                self.harness.timeout(at);
                self.pass_on(publish);
                earliest = at + STEP;
            }
        }
        self.pass(until);
    }

    /// The peers that are watched now.
    pub fn peers(&self) -> impl Iterator<Item = &PeerName> {
        self.harness.verdicts.keys()
    }

    /// The evidence for the peer's current verdict.
    pub fn explain(&self, peer: &PeerName) -> Option<Explanation> {
        self.harness.detector.explain(self.now(), peer)
    }

    /// The current virtual time.
    pub fn now(&self) -> Time {
        self.harness.now
    }

    pub fn summary(&self) -> &Summary {
        &self.harness.summary
    }

    fn pass(&mut self, to: Time) {
        let passed = to.since(self.now());
        self.harness.summary.duration += passed;
        self.harness.now = to.max(self.now());
    }

    fn pass_on(&mut self, publish: &mut impl FnMut(Time, &PeerState)) {
        let now = self.now();
        for state in self.harness.published.drain(..) {
            publish(now, &state);
        }
    }
}

impl Surroundings for Observer {
    fn carry_out(&mut self, now: Time, effects: Vec<Effect>) -> Vec<Signal> {
        for effect in effects {
            match effect {
                Effect::Publish(state) => {
                    let before = self.verdicts.insert(state.peer.clone(), state.verdict);
                    let changed = before.is_some_and(|before| before != state.verdict);
                    self.summary.verdicts += u64::from(changed);
                    self.published.push(state);
                }
                Effect::Retract { peer, .. } => {
                    self.verdicts.remove(&peer);
                }
                Effect::Probe { probe, target, .. } => self.questions.asked(now, probe, target),
                Effect::DestroySockets(teardown) => {
                    self.summary.to_destroy += teardown.sockets.len() as u64;
                    self.summary.first_to_destroy.get_or_insert(now);
                }
                _ => {}
            }
        }
        Vec::new()
    }
}

fn tell(detector: &mut Detector, now: Time, input: Input) {
    match input {
        Input::Signal(signal) => detector.handle_signal(now, signal),
        Input::Timeout => detector.handle_timeout(now),
        // With other settings, a trial may be refused, or its end may be unknown.
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
        Input::Override { peer, overridden } => {
            detector.set_override(now, &peer, overridden);
        }
        Input::Remember { peer, memory } => detector.remember(now, &peer, &memory),
        Input::Settings(settings) => detector.set_settings(now, settings),
        Input::End(_) => {}
    }
}
