//! The driver's loop around the core, as in driver/mod.rs: one event at a time, then all effects.
//! It is late while the daemon does not run.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use detector_user::{
    core::Detector,
    model::{Effect, PeerState, Settings, Signal, Time},
    record::{self, Entry, Header, Replay, Timeouts},
};

/// The recorded inputs of the core, for a second core.
#[derive(Clone, Debug)]
pub enum Input {
    Signal(Time, Box<Signal>),
    Timeout(Time),
    /// The daemon ended and was started again.
    Restart,
}

#[derive(Debug)]
pub struct Driver {
    pub detector: Detector,
    settings: Settings,
    /// The time-out for which the driver sleeps; earlier requested ones have no effect.
    pub sleeping_for: Option<Time>,
    /// Signals that were sent to it while it did not run.
    pub backlog: VecDeque<Signal>,
    recorded: Option<Vec<Input>>,
    published: Vec<PeerState>,
    digest: DefaultHasher,
}

impl Driver {
    pub fn new(settings: Settings, record: bool) -> Self {
        Self {
            detector: Detector::new(settings.clone()),
            settings,
            sleeping_for: None,
            backlog: VecDeque::new(),
            recorded: record.then(Vec::new),
            published: Vec::new(),
            digest: DefaultHasher::new(),
        }
    }

    pub fn signal(&mut self, now: Time, signal: Signal) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(Input::Signal(now, Box::new(signal.clone())));
        }
        self.detector.handle_signal(now, signal);
    }

    pub fn timeout(&mut self, now: Time) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(Input::Timeout(now));
        }
        self.detector.handle_timeout(now);
    }

    /// A new daemon has none of the previous one's knowledge.
    pub fn restart(&mut self) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(Input::Restart);
        }
        self.detector = Detector::new(self.settings.clone());
        self.sleeping_for = None;
        self.backlog.clear();
    }

    /// The next effect; published states are recorded for comparison.
    pub fn effect(&mut self) -> Option<Effect> {
        let effect = self.detector.poll_effect()?;
        if let Effect::Publish(state) = &effect {
            format!("{state:?}").hash(&mut self.digest);
            if self.recorded.is_some() {
                self.published.push(state.clone());
            }
        }
        Some(effect)
    }

    /// A number that identifies everything that was published.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    pub fn recorded(&self) -> &[Input] {
        self.recorded.as_deref().unwrap_or_default()
    }

    /// Replays the recorded inputs; an error says where something else is published.
    pub fn replay(&self) -> Result<(), String> {
        let mut expected = self.published.iter();
        let mut replay = self.new_replay();
        for input in self.recorded.iter().flatten() {
            let (now, input) = match input.clone() {
                Input::Signal(now, signal) => (now, record::Input::Signal(*signal)),
                Input::Timeout(now) => (now, record::Input::Timeout),
                Input::Restart => {
                    replay = self.new_replay();
                    continue;
                }
            };
            let mut difference = None;
            replay.step(Entry { now, input }, &mut |_, state| {
                let before = expected.next();
                if before != Some(state) && difference.is_none() {
                    difference = Some(format!("replayed {state:?}, but it was {before:?}"));
                }
            });
            difference.map_or(Ok(()), Err)?;
        }
        match expected.next() {
            Some(missing) => Err(format!("not replayed: {missing:?}")),
            None => Ok(()),
        }
    }

    /// The same replay as that of `detector replay`.
    fn new_replay(&self) -> Replay {
        let header = Header::here(&self.settings);
        Replay::new(&header, self.settings.clone(), Timeouts::Recorded)
    }
}
