//! The detector with a recording of its inputs: of the last minute always, of all on request.

use std::sync::Arc;

use super::{Entry, Excerpt, Header, Input, Recent, Recorder};
use crate::{
    core::{Core, Detector},
    model::{
        Effect, Explanation, Memory, Override, PeerName, Settings, Signal, Time, Trial, TrialError,
        TrialOutcome,
    },
};

/// The detector. The inputs of the last minute are kept, and if there is a recorder, every input is
/// recorded.
#[derive(Debug)]
pub struct Taped {
    detector: Detector,
    recent: Recent,
    recorder: Option<Recorder>,
}

impl Taped {
    pub fn new(settings: Settings, recorder: Option<Recorder>) -> Self {
        let recent = Recent::new(Header::here(&settings));
        Self::keeping(recent, settings, recorder)
    }

    pub(super) fn keeping(recent: Recent, settings: Settings, recorder: Option<Recorder>) -> Self {
        Self {
            detector: Detector::new(settings),
            recent,
            recorder,
        }
    }

    /// The recording of the last minute.
    pub fn excerpt(&self, now: Time) -> Excerpt {
        self.recent.excerpt(now, &self.detector)
    }

    /// The recording of the minute around the peer's death, if it was the last one.
    pub fn death(&self, peer: &PeerName) -> Option<Excerpt> {
        self.recent.death(peer)
    }

    /// [`Detector::acquire_trial`].
    pub fn acquire_trial(&mut self, now: Time, peer: &PeerName) -> Result<Trial, TrialError> {
        self.record(now, Input::AcquireTrial { peer: peer.clone() });
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
        self.record(
            now,
            Input::FinishTrial {
                peer: peer.clone(),
                trial,
                outcome,
            },
        );
        self.detector.finish_trial(now, peer, trial, outcome)
    }

    /// [`Detector::set_override`].
    pub fn set_override(
        &mut self,
        now: Time,
        peer: &PeerName,
        overridden: Option<Override>,
    ) -> bool {
        self.record(
            now,
            Input::Override {
                peer: peer.clone(),
                overridden: overridden.clone(),
            },
        );
        self.detector.set_override(now, peer, overridden)
    }

    /// [`Detector::memories`].
    pub fn memories(&self, peer: &PeerName) -> Vec<Memory> {
        self.detector.memories(peer)
    }

    /// [`Detector::remember`].
    pub fn remember(&mut self, now: Time, peer: &PeerName, memory: &Memory) {
        self.record(
            now,
            Input::Remember {
                peer: peer.clone(),
                memory: memory.clone(),
            },
        );
        self.detector.remember(now, peer, memory);
    }

    /// [`Detector::set_settings`].
    pub fn set_settings(&mut self, now: Time, settings: Settings) {
        self.record(now, Input::Settings(settings.clone()));
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

    fn record(&mut self, now: Time, input: Input) {
        let entry = Arc::new(Entry { now, input });
        if let Some(recorder) = self.recorder.as_mut().filter(|r| !r.is_over()) {
            recorder.record(Arc::clone(&entry));
        }
        self.recent.record(entry, &self.detector);
    }
}

impl Core for Taped {
    fn handle_signal(&mut self, now: Time, signal: Signal) {
        self.record(now, Input::Signal(signal.clone()));
        self.detector.handle_signal(now, signal);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.record(now, Input::Timeout);
        self.detector.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.detector.poll_timeout()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.detector.poll_effect();
        if let Some(effect) = &effect {
            self.recent.effect(effect);
        }
        effect
    }
}
