//! What is published about the peer, and how its verdict is explained.

use std::time::Duration;

use super::{Change, Peer, Surroundings};
use crate::core::{
    Breaker, EventLine, Explanation, FlowLine, Health, Mode, PeerState, Settings, SilenceLine,
    Time, Verdict, explain, vitals::Shown,
};

/// How often it is told that the peer was heard, where nothing else changes.
const HEARD_TOLD_EVERY: Duration = Duration::from_secs(1);

impl Peer {
    /// When the peer was last heard has been told.
    pub(in crate::core) fn told(&mut self, heard: Option<Time>) {
        self.told_heard = heard;
    }

    /// When the peer was last heard, if that is news.
    pub(in crate::core) fn take_news_of_hearing(&mut self) -> Option<Time> {
        let heard = self.evidence.last_heard()?;
        let is_news = self
            .told_heard
            .is_none_or(|told| heard.since(told) >= HEARD_TOLD_EVERY);
        is_news.then(|| {
            self.told_heard = Some(heard);
            heard
        })
    }

    /// Brings the round-trip time and the health up to date; what else changed is published
    /// anyway.
    pub(super) fn refresh_vitals(&mut self, at: Time, change: Change) -> Change {
        if self.verdict == Verdict::Dead {
            return Change::None;
        }
        let loss = self.evidence.path.observed_loss(at);
        self.vitals.looked(at, self.evidence.rtt(), loss);
        let is_news = self.vitals.refresh(at, change != Change::None);
        match is_news && self.verdict != Verdict::Unknown {
            true => Change::State,
            false => Change::None,
        }
    }

    pub(in crate::core) fn state(&self, settings: &Settings) -> PeerState {
        let mode = if self.discovered {
            Mode::Observe
        } else {
            settings.mode
        };
        let Shown { rtt, health } = self.vitals.shown();
        let closed = PeerState {
            peer: self.name.clone(),
            verdict: self.verdict,
            breaker: Breaker::Closed,
            would_be_breaker: Breaker::Closed,
            reason: self.reason,
            isolated: self.held || self.cut_off,
            generation: self.generation,
            revision: self.revision,
            mode,
            addresses: self.evidence.addresses(),
            changed_at: self.changed_at,
            last_heard: self.evidence.last_heard(),
            detection_latency: self.detection_latency,
            by_reports: self.open_on_reports.is_some(),
            down_since: self.down_since(),
            srtt: rtt.map(|rtt| rtt.srtt),
            rtt_variance: rtt.map(|rtt| rtt.variance),
            health: match self.verdict {
                Verdict::Unknown => None,
                Verdict::Dead => Some(Health { score: 0, ..health }),
                Verdict::Alive | Verdict::Suspect | Verdict::Degraded => Some(health),
            },
            breaker_reason: self.reason,
            stalled_flows: 0,
            oldest_stall: None,
            contested: false,
            paths: Vec::new(),
        };
        closed.with_breaker(self.circuit.breaker())
    }

    pub(in crate::core) fn explain(&self, now: Time, around: Surroundings<'_>) -> Explanation {
        let settings = around.settings;
        let silence = self.silence_at(now, around);
        let line = SilenceLine {
            duration: silence.map_or(Duration::ZERO, |s| now.since(s.since)),
            detection_time: self
                .evidence
                .path
                .detection_time(now, settings.detection_time),
            unanswered_transmissions: silence.map_or(0, |s| self.unanswered(&s)),
            required_transmissions: self.required(),
            loss_estimate: self.evidence.path.round_trip_loss(self.can_ask()),
        };
        let grace = self.evidence.path.answer_grace(now);
        let probes = self
            .evidence
            .probes
            .lines(now, self.evidence.last_heard(), grace);
        let flows: Vec<_> = self
            .evidence
            .flows()
            .map(|flow| FlowLine {
                reading: flow.reading.clone(),
                demand: flow.demand().is_some(),
                stalled_for: None,
            })
            .collect();
        let state = self.state(settings);
        Explanation {
            summary: explain::summary(now, &state, &line, flows.len()),
            state,
            silence: line,
            flows,
            events: self.evidence.events().cloned().collect::<Vec<EventLine>>(),
            probes,
            routes: around.network.lines(&self.evidence.addresses()),
            destroyed: self.ending.result(),
            clauses: Vec::new(),
        }
    }
}
