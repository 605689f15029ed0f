//! The lines of a recording. Moments are nanoseconds of `CLOCK_MONOTONIC`; durations are
//! nanoseconds.

use std::{fs, mem::size_of};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Ending;
use crate::{
    clock,
    model::{
        FlowReading, Memory, OperationReport, Override, PeerName, Settings, Signal, Time,
        TrialOutcome,
    },
};

/// The version of the format. It rises with each change that would make older recordings be
/// misread.
pub(super) const FORMAT: u32 = 1;

/// The first line: what is needed to interpret the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of the format.
    pub detector_recording: u32,
    /// The version of the detector that made the recording.
    pub detector: String,
    /// The kernel's release.
    pub kernel: String,
    /// The wall-clock time, RFC 3339, at the monotonic moment `now`.
    pub started_at: Timestamp,
    pub now: Time,
    /// The settings of the core.
    pub settings: Settings,
    /// It begins in the middle of a run: its first entries tell what was known by then, and a
    /// replay's core finds its verdicts anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub excerpt: bool,
}

impl Header {
    /// The header of a recording that begins now, made by this detector on this machine.
    pub fn here(settings: &Settings) -> Self {
        let now = clock::now();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            detector_recording: FORMAT,
            detector: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: kernel.trim().to_owned(),
            started_at: Timestamp::try_from(clock::wall(now)).unwrap_or_default(),
            now,
            settings: settings.clone(),
            excerpt: false,
        }
    }

    /// The header of what was recorded from this moment on, with these settings.
    pub(super) fn excerpt(&self, now: Time, settings: Settings) -> Self {
        Self {
            started_at: self.wall(now).unwrap_or(self.started_at),
            now,
            settings,
            excerpt: true,
            ..self.clone()
        }
    }

    /// The wall-clock time of a recorded moment. It is wrong if the wall clock was set after the
    /// recording began, or if the machine was suspended: the monotonic clock stops then.
    pub fn wall(&self, at: Time) -> Option<Timestamp> {
        let after = self.started_at.checked_add(at.since(self.now)).ok()?;
        after.checked_sub(self.now.since(at)).ok()
    }

    /// The recorded moment of a wall-clock time. For any earlier time, it is the beginning.
    pub fn moment(&self, at: Timestamp) -> Time {
        let after = at.duration_since(self.started_at);
        self.now + after.try_into().unwrap_or_default()
    }
}

/// Any line after the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The time that was passed to the core. It never goes back from one line to the next.
    pub now: Time,
    #[serde(rename = "in")]
    pub input: Input,
}

/// One call of the core, or the end of the recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Input {
    /// [`Detector::handle_signal`](crate::core::Detector::handle_signal).
    Signal(Signal),
    /// [`Detector::handle_timeout`](crate::core::Detector::handle_timeout).
    Timeout,
    /// [`Detector::acquire_trial`](crate::core::Detector::acquire_trial).
    AcquireTrial {
        peer: PeerName,
    },
    /// [`Detector::finish_trial`](crate::core::Detector::finish_trial).
    FinishTrial {
        peer: PeerName,
        trial: u64,
        outcome: TrialOutcome,
    },
    /// [`Detector::set_override`](crate::core::Detector::set_override).
    Override {
        peer: PeerName,
        overridden: Option<Override>,
    },
    /// [`Detector::remember`](crate::core::Detector::remember).
    Remember {
        peer: PeerName,
        memory: Memory,
    },
    /// [`Detector::set_settings`](crate::core::Detector::set_settings).
    Settings(Settings),
    End(Ending),
}

impl Entry {
    /// Roughly the memory that it takes, in bytes.
    pub(super) fn weight(&self) -> usize {
        let more = match &self.input {
            Input::Signal(Signal::SocketsRead { flows, .. }) => {
                flows.len() * size_of::<FlowReading>()
            }
            Input::Signal(Signal::PeerConfigured { endpoints, .. }) => size_of_val(&**endpoints),
            Input::Signal(Signal::Reported { reports }) => {
                let lock = |report: &OperationReport| report.lock.as_ref().map_or(0, |l| l.len());
                size_of_val(&**reports) + reports.iter().map(lock).sum::<usize>()
            }
            _ => 0,
        };
        size_of::<Self>() + more
    }
}
