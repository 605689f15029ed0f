//! The detector with an optional recording of its inputs.

use super::{Entry, Input, Recorder};
use crate::core::{
    Core, Detector, Effect, Explanation, Memory, Override, PeerName, Settings, Signal, Time, Trial,
    TrialError, TrialOutcome,
};

/// The detector. If there is a recorder, every input is recorded.
#[derive(Debug)]
pub struct Taped {
    detector: Detector,
    recorder: Option<Recorder>,
}

impl Taped {
    pub fn new(settings: Settings, recorder: Option<Recorder>) -> Self {
        Self {
            detector: Detector::new(settings),
            recorder,
        }
    }

    /// [`Detector::acquire_trial`].
    pub fn acquire_trial(&mut self, now: Time, peer: &PeerName) -> Result<Trial, TrialError> {
        self.record(now, || Input::AcquireTrial { peer: peer.clone() });
        self.detector.acquire_trial(now, peer)
    }

    /// [`Detector::finish_trial`].
    pub fn finish_trial(
        &mut self,
        now: Time,
        peer: &PeerName,
        trial: u64,
        outcome: TrialOutcome,
    ) -> Result<(), TrialError> {
        self.record(now, || Input::FinishTrial {
            peer: peer.clone(),
            trial,
            outcome,
        });
        self.detector.finish_trial(now, peer, trial, outcome)
    }

    /// [`Detector::set_override`].
    pub fn set_override(
        &mut self,
        now: Time,
        peer: &PeerName,
        overridden: Option<Override>,
    ) -> bool {
        self.record(now, || Input::Override {
            peer: peer.clone(),
            overridden: overridden.clone(),
        });
        self.detector.set_override(now, peer, overridden)
    }

    /// [`Detector::memories`].
    pub fn memories(&self, peer: &PeerName) -> Vec<Memory> {
        self.detector.memories(peer)
    }

    /// [`Detector::remember`].
    pub fn remember(&mut self, now: Time, peer: &PeerName, memory: &Memory) {
        self.record(now, || Input::Remember {
            peer: peer.clone(),
            memory: memory.clone(),
        });
        self.detector.remember(now, peer, memory);
    }

    /// [`Detector::set_settings`].
    pub fn set_settings(&mut self, now: Time, settings: Settings) {
        self.record(now, || Input::Settings(settings.clone()));
        self.detector.set_settings(now, settings);
    }

    /// [`Detector::explain`].
    pub fn explain(&self, now: Time, peer: &PeerName) -> Option<Explanation> {
        self.detector.explain(now, peer)
    }

    /// Ends the recording, if there is one.
    pub fn finish(&mut self, now: Time) {
        if let Some(recorder) = self.recorder.take() {
            recorder.finish(now);
        }
    }

    fn record(&mut self, now: Time, input: impl FnOnce() -> Input) {
        if let Some(recorder) = self.recorder.as_mut().filter(|r| !r.is_over()) {
            let input = input();
            recorder.record(Entry { now, input });
        }
    }
}

impl Core for Taped {
    fn handle_signal(&mut self, now: Time, signal: Signal) {
        self.record(now, || Input::Signal(signal.clone()));
        self.detector.handle_signal(now, signal);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.record(now, || Input::Timeout);
        self.detector.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.detector.poll_timeout()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.detector.poll_effect()
    }
}
