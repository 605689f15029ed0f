//! Gathers the facts for the rule.

use std::time::Duration;

use crate::{
    core::{
        context::Around,
        evidence::{Layer, Silence},
        isolation::{Isolated, WITNESSES_ANSWER_WITHIN},
        path::Path,
        rule::{ANSWERS_WITHIN, Facts, LastProbe, Life, Link, Needs, Stuck},
        session::State,
    },
    model::{Time, Verdict},
};

/// A peer that was not probed for this long may have come back unnoticed.
const PROBE_IS_OLD_AFTER: Duration = Duration::from_millis(100);

impl Path {
    /// The facts of this moment.
    pub(in crate::core::path) fn facts(&self, at: Time, around: Around<'_>) -> Facts {
        let detection_time = self
            .evidence
            .history
            .detection_time(at, around.settings.detection_time);
        let silence = self.silence_at(at, around);
        let heard = self.evidence.heard.on(Layer::Received);
        let (freed, freed_large) = self.freeing.freed_lately(at);
        Facts {
            now: at,
            believed: (self.verdict(), self.session.reason()),
            silence,
            starved: self.starved(at, detection_time, around),
            needs: Needs {
                detection_time,
                transmissions: self.required(),
                can_ask: self.can_ask(),
            },
            link: silence.map_or(Link::Unknown, |_| self.link(at)),
            is_receiving: silence.is_some_and(|silence| self.is_receiving(at, &silence)),
            has_flow: self.can_ask() && self.evidence.probes.has_flow(),
            has_connect: self.can_ask() && self.evidence.probes.has_connect(),
            last_probe: self.last_probe(at),
            isolated: silence.map_or(Isolated::No, |silence| self.isolated(at, &silence, around)),
            was_isolated: self.session.state() == State::Isolated || self.doubt.were_others_silent,
            stuck: Stuck {
                zero_window: self.evidence.flows().any(|flow| flow.is_zero_window()),
                flows_stalled: freed || self.freeing.stalled_flows() > 0,
                large_segments_lost: freed_large || self.freeing.large_segments().is_some(),
                calls_fail: self.failures.is_slow(),
            },
            life: Life {
                heard_since_doubt: self.evidence.heard.on(Layer::Host) > self.doubt.since,
                is_connected: self.evidence.heard_on_flows().is_some(),
                heard_ago: heard.map(|heard| at.since(heard)),
            },
            was_there: heard.is_some() || self.evidence.was_there,
        }
    }

    fn last_probe(&self, at: Time) -> LastProbe {
        let was_sent = self
            .doubt
            .last_probe_due
            .is_some_and(|due| at.since(due) >= ANSWERS_WITHIN && self.probing.has_sent_since(due));
        match !self.can_ask() || was_sent || self.probing.is_fresh(at, PROBE_IS_OLD_AFTER) {
            true => LastProbe::Fresh,
            false => LastProbe::Due,
        }
    }

    /// How many transmissions, or moments, must go unanswered.
    pub(in crate::core::path) fn required(&self) -> u32 {
        self.evidence.history.required_transmissions(self.can_ask())
    }

    /// Whether the card has answered since the host was last heard.
    pub(in crate::core::path) fn link(&self, at: Time) -> Link {
        let evidence = &self.evidence;
        let heard = evidence.heard.on(Layer::Link);
        let asked = evidence.probes.neighbour_waits_since(heard);
        let grace = evidence.history.answer_grace(at);
        let is_missing = asked.is_some_and(|asked| at.since(asked) >= grace);
        if is_missing {
            Link::Silent
        } else if evidence.heard.card() > evidence.heard.on(Layer::Host) {
            Link::Answers
        } else {
            Link::Unknown
        }
    }

    /// Whether segments still arrive. What arrived just as the silence began proves nothing.
    fn is_receiving(&self, at: Time, silence: &Silence) -> bool {
        let half = at.since(silence.since) / 2;
        self.evidence.heard.on(Layer::Received) > Some(at - half)
    }

    fn isolated(&self, at: Time, silence: &Silence, around: Around<'_>) -> Isolated {
        match self.doubt.has_no_link {
            true => Isolated::NoLink,
            false if self.are_others_silent(at, silence.since, around) => Isolated::NobodyHeard,
            false => Isolated::No,
        }
    }

    /// Whether other hosts are as silent as this one.
    pub(in crate::core::path) fn are_others_silent(
        &self,
        at: Time,
        since: Time,
        around: Around<'_>,
    ) -> bool {
        let idle = around.settings.idle_probe_interval;
        around
            .isolation
            .witnesses
            .none_but(Some(self.addr), since, at, idle)
    }

    /// The same, already after half of the silence that is needed, once witnesses have had the time to
    /// answer: they are probed as soon as the path is Suspect, at intervals that fit this silence.
    pub(super) fn are_others_silent_half_way(
        &self,
        at: Time,
        silence: &Silence,
        around: Around<'_>,
    ) -> bool {
        let wanted = around.settings.detection_time;
        let detection_time = self.evidence.history.detection_time(at, wanted);
        let needed = self.doubt.needed.unwrap_or(detection_time);
        let suspected = self.verdict() == Verdict::Suspect
            && at.since(self.session.changed_at()) >= WITNESSES_ANSWER_WITHIN;
        suspected
            && at.since(silence.since) >= needed / 2
            && self.are_others_silent(at, silence.since, around)
    }
}
