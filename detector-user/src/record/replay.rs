//! Runs a recording through the core again, in virtual time.

use std::{collections::BTreeMap, time::Duration};

use super::{Entry, Header, Input};
use crate::core::{Detector, Effect, Explanation, PeerName, PeerState, Settings, Time, Verdict};

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
}

impl Replay {
    /// A detector with these settings, at the beginning of the recording.
    pub fn new(header: &Header, settings: Settings, timeouts: Timeouts) -> Self {
        Self {
            detector: Detector::new(settings),
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
        match input {
            Input::Signal(signal) => {
                self.summary.signals += 1;
                self.detector.handle_signal(now, signal);
            }
            Input::Timeout => {
                self.summary.timeouts += 1;
                if self.timeouts == Timeouts::Recorded {
                    self.detector.handle_timeout(now);
                }
            }
            // With other settings a trial may not be given, or not taken back.
            Input::AcquireTrial { peer } => {
                self.summary.trials += 1;
                let _ = self.detector.acquire_trial(now, &peer);
            }
            Input::FinishTrial {
                peer,
                trial,
                outcome,
            } => {
                self.summary.trials += 1;
                let _ = self.detector.finish_trial(now, &peer, trial, outcome);
            }
            Input::End(_) => {}
        }
        self.drain(publish);
    }

    /// Lets the time pass, with what the core wanted to do in it.
    pub fn run_until(&mut self, until: Time, publish: &mut impl FnMut(Time, &PeerState)) {
        if self.timeouts == Timeouts::Own {
            let mut earliest = self.now;
            while let Some(at) = self.detector.poll_timeout().map(|at| at.max(earliest)) {
                if at > until {
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
                _ => {}
            }
        }
    }
}
