//! Detects cascades: initial failures and the failures that follow from them.
//!
//! An initial failure opens an incident for each pattern that begins with it. Two failures of the
//! kinds that follow, within the pattern's window, make the incident a cascade. It is detected
//! once, however many failures follow. If the same failure of the same component repeats, it stays
//! one initial failure until it has been absent for the window.

mod totals;

use std::{collections::VecDeque, time::Duration};

pub use self::totals::EventTotal;
use self::totals::Totals;
use super::{
    FailureKind,
    patterns::{PATTERNS, Pattern},
};
use crate::model::Time;

/// The number of following failures that make a cascade.
const FOLLOWING: u32 = 2;

/// How long failures are remembered, in case the initial failure is reported after them.
const EVENT_LIFE: Duration = Duration::from_secs(300);

/// The most failures that are remembered.
const EVENTS_KEPT: usize = 1024;

/// The most incidents that are kept at a time; the oldest are dropped first.
const INCIDENTS_KEPT: usize = 256;

/// How late a report may arrive.
const LATE: Duration = Duration::from_secs(60);

/// The most cascades that are listed.
const CASCADES_KEPT: usize = 64;

/// How long cascades are listed and count towards recurrence.
const HOUR: Duration = Duration::from_secs(3600);

/// The number of cascades within the hour that makes a pattern recurring.
const RECURRING: usize = 3;

/// An initial failure and the failures that followed from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cascade {
    pub pattern: &'static Pattern,
    /// What failed first: the peer, or the lock.
    pub component: Box<str>,
    /// Whether the initial failure is the kernel's verdict.
    pub kernel_verdict: bool,
    pub followed: u32,
    pub began_at: Time,
    pub detected_at: Time,
    /// Whether it is the third or a later one of its pattern within the hour.
    pub recurring: bool,
}

impl Cascade {
    /// One sentence for a person.
    pub fn summary(&self) -> String {
        let Self {
            component,
            followed,
            ..
        } = self;
        let root = match (self.pattern.initial, self.kernel_verdict) {
            (FailureKind::PeerUnreachable, true) => {
                format!("{component} is dead by the kernel's evidence: that is the root cause")
            }
            (FailureKind::PeerUnreachable, false) => {
                format!("calls to {component} failed first; the kernel did not call it dead")
            }
            _ => format!("the lock {component} timed out first"),
        };
        let [a, b] = self.pattern.follows.map(FailureKind::as_str);
        let again = if self.recurring {
            ", and not for the first time this hour"
        } else {
            ""
        };
        format!("{root}; {followed} failures ({a}, {b}) followed{again}.")
    }
}

/// A failure of a component.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub at: Time,
    pub kind: FailureKind,
    pub component: Box<str>,
    /// Whether it may be an initial failure. A failure that is known to continue may not.
    pub begins: bool,
    pub kernel_verdict: bool,
}

#[derive(Debug)]
struct Incident {
    pattern: &'static Pattern,
    component: Box<str>,
    kernel_verdict: bool,
    began_at: Time,
    /// When the initial failure was last seen.
    last: Time,
    followed: u32,
    /// The number of its cascade, if it has become one.
    cascade: Option<u64>,
}

#[derive(Debug, Default)]
struct Recurrence {
    detected: u64,
    /// The times of the last detections, at most as many as make it recurring.
    times: VecDeque<Time>,
}

#[derive(Debug, Default)]
pub(super) struct Cascades {
    events: VecDeque<(Time, FailureKind)>,
    incidents: VecDeque<Incident>,
    cascades: VecDeque<(u64, Cascade)>,
    next_cascade: u64,
    /// The numbers of cascades that were detected but not taken yet.
    fresh: Vec<u64>,
    recurrences: [Recurrence; PATTERNS.len()],
    totals: Totals,
}

impl Cascades {
    /// Takes in a failure.
    pub(super) fn failed(&mut self, now: Time, failure: Failure) {
        self.expire(now);
        self.totals.count(now, failure.kind, &failure.component);
        for index in 0..self.incidents.len() {
            let incident = &mut self.incidents[index];
            if incident.is_followed_by(failure.at, failure.kind) {
                incident.followed = incident.followed.saturating_add(1);
                self.settle(now, index);
            }
        }
        for pattern in PATTERNS.iter().filter(|p| p.initial == failure.kind) {
            self.begin(now, pattern, &failure);
        }
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back((failure.at, failure.kind));
    }

    pub(super) fn list(&self, now: Time) -> Vec<Cascade> {
        let recent = |cascade: &&Cascade| now.since(cascade.detected_at) < HOUR;
        let newest_first = self.cascades.iter().rev().map(|(_, cascade)| cascade);
        newest_first.filter(recent).cloned().collect()
    }

    pub(super) fn take_detected(&mut self) -> Vec<Cascade> {
        let fresh = std::mem::take(&mut self.fresh);
        let cascades = self.cascades.iter();
        let is_fresh = |(number, _): &&(u64, Cascade)| fresh.contains(number);
        cascades.filter(is_fresh).map(|(_, c)| c.clone()).collect()
    }

    pub(super) fn totals(&self) -> impl Iterator<Item = EventTotal<'_>> {
        self.totals.iter()
    }

    pub(super) fn pattern_totals(
        &self,
        now: Time,
    ) -> impl Iterator<Item = (&'static Pattern, u64, bool)> {
        PATTERNS
            .iter()
            .zip(&self.recurrences)
            .map(move |(pattern, seen)| (pattern, seen.detected, seen.is_recurring(now)))
    }

    /// Handles an initial failure: either a new one, or one that continues.
    fn begin(&mut self, now: Time, pattern: &'static Pattern, failure: &Failure) {
        let same = |incident: &Incident| {
            let goes_on = failure.at <= incident.last + pattern.window
                && failure.at + pattern.window >= incident.began_at;
            incident.pattern == pattern && incident.component == failure.component && goes_on
        };
        let known = self.incidents.iter().rposition(same);
        let index = match known {
            Some(index) => index,
            None if !failure.begins => return,
            None => {
                if self.incidents.len() == INCIDENTS_KEPT {
                    self.incidents.pop_front();
                }
                self.incidents.push_back(Incident::new(pattern, failure));
                self.incidents.len() - 1
            }
        };
        let incident = &mut self.incidents[index];
        incident.last = incident.last.max(failure.at);
        incident.kernel_verdict |= failure.kernel_verdict;
        if known.is_none() || failure.at < incident.began_at {
            // The initial failure was reported after the failures that followed from it.
            incident.began_at = incident.began_at.min(failure.at);
            let events = self.events.iter();
            let followed = events.filter(|(at, kind)| incident.is_followed_by(*at, *kind));
            let followed = u32::try_from(followed.count()).unwrap_or(u32::MAX);
            incident.followed = incident.followed.max(followed);
        }
        self.settle(now, index);
    }

    /// Called after the incident has changed: it may be a cascade now, or its cascade has grown.
    fn settle(&mut self, now: Time, index: usize) {
        let incident = &mut self.incidents[index];
        if incident.followed < FOLLOWING {
            return;
        }
        if let Some(number) = incident.cascade {
            let known = self.cascades.iter_mut().find(|(n, _)| *n == number);
            if let Some((_, cascade)) = known {
                cascade.followed = incident.followed;
                cascade.kernel_verdict = incident.kernel_verdict;
                cascade.began_at = incident.began_at;
            }
            return;
        }
        let number = self.next_cascade;
        self.next_cascade += 1;
        incident.cascade = Some(number);
        let place = PATTERNS.iter().position(|p| p == incident.pattern);
        let seen = &mut self.recurrences[place.unwrap_or(0)];
        seen.detected(now);
        if self.cascades.len() == CASCADES_KEPT {
            self.cascades.pop_front();
        }
        self.cascades.push_back((
            number,
            Cascade {
                pattern: incident.pattern,
                component: incident.component.clone(),
                kernel_verdict: incident.kernel_verdict,
                followed: incident.followed,
                began_at: incident.began_at,
                detected_at: now,
                recurring: seen.is_recurring(now),
            },
        ));
        self.fresh.push(number);
    }

    fn expire(&mut self, now: Time) {
        while self
            .events
            .front()
            .is_some_and(|(at, _)| now.since(*at) > EVENT_LIFE)
        {
            self.events.pop_front();
        }
        let over = |incident: &Incident| incident.last + incident.pattern.window + LATE < now;
        self.incidents.retain(|incident| !over(incident));
        self.totals.expire(now);
    }
}

impl Incident {
    fn new(pattern: &'static Pattern, failure: &Failure) -> Self {
        Self {
            pattern,
            component: failure.component.clone(),
            kernel_verdict: failure.kernel_verdict,
            began_at: failure.at,
            last: failure.at,
            followed: 0,
            cascade: None,
        }
    }

    fn is_followed_by(&self, at: Time, kind: FailureKind) -> bool {
        self.pattern.follows.contains(&kind)
            && (self.began_at..=self.began_at + self.pattern.window).contains(&at)
    }
}

impl Recurrence {
    fn detected(&mut self, now: Time) {
        self.detected += 1;
        if self.times.len() == RECURRING {
            self.times.pop_front();
        }
        self.times.push_back(now);
    }

    fn is_recurring(&self, now: Time) -> bool {
        let recent = self.times.iter().filter(|at| now.since(**at) < HOUR);
        recent.count() >= RECURRING
    }
}

#[cfg(test)]
mod tests;
