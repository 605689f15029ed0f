//! What is published about the path, and how its verdict is explained.

use std::time::Duration;

use super::Path;
use crate::{
    core::{
        context::Around,
        evidence::TrackedFlow,
        rule::{Clause, decide, needed_silence},
        session::{State, Turn},
        vitals::Shown,
    },
    model::{
        ClauseLine, Destroyed, FlowLine, PathState, ProbeLine, Settings, SilenceLine, Time, Verdict,
    },
};

impl Path {
    /// Brings the round-trip time and the health up to date; returns whether that alone is worth
    /// publishing. Other changes are published anyway.
    pub(super) fn refresh_vitals(&mut self, at: Time, turn: Turn) -> bool {
        if self.is_dead() {
            return false;
        }
        let loss = self.evidence.history.observed_loss(at);
        let flows = self.evidence.watched_flows().count().max(1);
        let stalled = f64::from(self.freeing.stalled_flows()) / flows as f64;
        self.vitals.looked(at, self.evidence.rtt(), loss, stalled);
        let is_news = self.vitals.refresh(at, turn != Turn::None);
        is_news && self.verdict() != Verdict::Unknown
    }

    pub(in crate::core) fn state(&self) -> PathState {
        PathState {
            address: self.addr,
            verdict: self.verdict(),
            reason: self.session.reason(),
            breaker: self.session.breaker(),
            last_heard: self
                .evidence
                .heard
                .on(crate::core::evidence::Layer::Received),
            measured: self.measured,
        }
    }

    pub(in crate::core) fn session(&self) -> &crate::core::session::Session {
        &self.session
    }

    pub(in crate::core) fn vitals(&self) -> Shown {
        self.vitals.shown()
    }

    pub(in crate::core) fn stalled_flows(&self) -> u32 {
        self.freeing.stalled_flows()
    }

    pub(in crate::core) fn oldest_stall(&self) -> Option<Time> {
        self.freeing.oldest_stall()
    }

    pub(in crate::core) fn large_segments(&self) -> Option<u32> {
        self.freeing.large_segments()
    }

    /// Whether this node is cut off from the peer, or seems to be.
    pub(in crate::core) fn is_isolated(&self) -> bool {
        self.session.state() == State::Isolated || self.doubt.has_no_link
    }

    pub(in crate::core) fn destroyed_sockets(&self) -> Option<Destroyed> {
        self.freeing.result()
    }

    /// The numbers that the rule compares.
    pub(in crate::core) fn silence_line(&self, now: Time, around: Around<'_>) -> SilenceLine {
        let facts = self.facts(now, around);
        let silence = facts.silence;
        let needed = silence.map_or(facts.needs.detection_time, |silence| {
            needed_silence(&facts, &silence, around.settings)
        });
        SilenceLine {
            duration: silence.map_or(Duration::ZERO, |s| now.since(s.since)),
            detection_time: needed,
            unanswered_transmissions: silence.map_or(0, |s| match facts.needs.can_ask {
                true => s.moments,
                false => s.transmissions,
            }),
            required_transmissions: facts.needs.transmissions,
            counts_moments: facts.needs.can_ask,
            loss_estimate: self.evidence.history.round_trip_loss(facts.needs.can_ask),
            observed_loss: self.evidence.history.observed_loss(now),
        }
    }

    /// The clauses of the rule: as they held when the path was found Dead, or else as they stand
    /// now.
    pub(in crate::core) fn clause_lines(&self, now: Time, around: Around<'_>) -> Vec<ClauseLine> {
        let line = |clause: &Clause| ClauseLine {
            address: self.addr,
            name: clause.name,
            measured: clause.measured.to_string(),
            needed: clause.needed.to_string(),
            holds: clause.holds,
        };
        match self.session.death() {
            Some(death) => death.clauses.iter().map(line).collect(),
            None => {
                let decision = decide(&self.facts(now, around), around.settings);
                decision.clauses.iter().map(line).collect()
            }
        }
    }

    /// For a dead peer: when its sockets are destroyed, and why then.
    pub(in crate::core) fn destroy_line(&self, settings: &Settings) -> Option<String> {
        let (delay, certainty) = self.destroy_plan(settings)?;
        let delay = delay.as_millis();
        Some(format!(
            "its sockets are destroyed after {delay} ms of silence ({certainty})"
        ))
    }

    pub(in crate::core) fn flow_lines(&self, now: Time) -> Vec<FlowLine> {
        let stalled_for = |flow: &TrackedFlow| {
            let id = flow.reading.id;
            let mut stalled = self.freeing.stalled().iter();
            let found = stalled.find(|stalled| stalled.flow == id);
            found.map(|stalled| now.since(stalled.since))
        };
        let line = |flow: &TrackedFlow| FlowLine {
            reading: flow.reading.clone(),
            demand: flow.demand().is_some(),
            stalled_for: stalled_for(flow),
        };
        self.evidence.flows().map(line).collect()
    }

    pub(in crate::core) fn probe_lines(&self, now: Time) -> Vec<ProbeLine> {
        let grace = self.evidence.history.answer_grace(now);
        self.evidence.probes.lines(now, &self.evidence.heard, grace)
    }

    pub(in crate::core) fn event_lines(&self) -> Vec<crate::model::EventLine> {
        self.evidence.events().cloned().collect()
    }
}
