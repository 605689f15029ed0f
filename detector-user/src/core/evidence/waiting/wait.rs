//! A flow that waits for an answer: what is known of the probes on it.

use super::{ANSWERED_EVERY, rounds::ROUND_EVERY};
use crate::model::Time;

/// With this many times the required answers missing, a flow is probed as rarely as a good one.
const LONG_MISSING: u32 = 4;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wait {
    pub cookie: u64,
    /// Its own retransmissions are unanswered.
    pub is_stuck: bool,
    /// When a probe on it was last answered.
    pub answered: Option<Time>,
    pub missing: Missed,
    /// Of the probes since the flow began to wait, how many were answered and how many were not.
    pub total: (u32, u32),
}

/// The probes that have gone unanswered since the last answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missed {
    /// When the first of them was sent.
    pub since: Option<Time>,
    pub count: u32,
    /// How many of them were sent so far apart that the host would have answered each.
    pub apart: u32,
    /// When the last of these was sent.
    last_apart: Option<Time>,
}

impl Missed {
    pub(super) fn add(&mut self, sent: Time) {
        self.since.get_or_insert(sent);
        self.count += 1;
        let last = self.last_apart;
        if last.is_none_or(|last| sent.since(last) >= ANSWERED_EVERY) {
            self.apart += 1;
            self.last_apart = Some(sent);
        }
    }
}

impl Wait {
    /// Nothing is known of it but that it was probed just now.
    pub(super) fn is_new(&self) -> bool {
        self.answered.is_none() && self.missing.since.is_none()
    }

    pub(super) fn is_missing_lately(&self, required: u32) -> bool {
        let long = required.saturating_mul(LONG_MISSING);
        self.missing.since.is_some() && self.missing.count < long
    }

    /// Whether the flow comes before those of which nothing is known but that a call waits: an
    /// answer is missing, or it is stuck and was not probed just now.
    pub(super) fn is_urgent(&self, now: Time, required: u32) -> bool {
        let is_due = self.answered.is_none_or(|at| now.since(at) >= ROUND_EVERY);
        let is_new = self.is_stuck && self.missing.since.is_none();
        self.is_missing_lately(required) || (is_new && is_due)
    }
}
