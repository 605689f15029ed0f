//! The silence as a snapshot shows it, and what excuses it.

use std::time::Duration;

use crate::{
    core::{
        context::Around,
        evidence::{Layer, PathHistory, Silence},
        path::{Path, probing::connects_after},
        rule::{STARVED_FACTOR, Starved},
    },
    model::{Settings, Time},
};

/// In a silence of the host that lasts this long a flow is retransmitted more than once: this
/// proves nothing about the flow.
const LONG_SILENCE: Duration = Duration::from_millis(500);

/// The same, counted from when the host is asked by connects. Before that its flows alone may be
/// silent. Both together are less than a third retransmission takes (1.4 s at the least time-out),
/// before which no flow is stalled.
const LONG_WITH_CONNECTS: Duration = Duration::from_millis(250);

impl Path {
    /// The silence as this snapshot shows it. A silence that goes on keeps its first beginning,
    /// even if the demand that showed it then is forgotten.
    pub(in crate::core::path) fn silence_at(
        &self,
        at: Time,
        around: Around<'_>,
    ) -> Option<Silence> {
        let excused = self.excused(around);
        let wanted = around.settings.detection_time;
        let detection_time = self.evidence.history.detection_time(at, wanted);
        let spacing = PathHistory::spacing(detection_time, self.can_ask());
        let Some(silence) = self.evidence.silence(at, excused, spacing) else {
            return self.starved_silence(at, detection_time, around);
        };
        let heard = self.evidence.heard.on(Layer::Host);
        let heard = heard.unwrap_or_default().max(excused);
        let since = match self.doubt.silence {
            Some(before) => before.since.max(heard).min(silence.since),
            None => silence.since,
        };
        Some(Silence { since, ..silence })
    }

    /// The silence on a machine that is never on time, where each pause would excuse all that was
    /// sent before it.
    fn starved_silence(
        &self,
        at: Time,
        detection_time: Duration,
        around: Around<'_>,
    ) -> Option<Silence> {
        self.starved(at, detection_time, around)
            .filter(|starved| starved.silent >= detection_time * STARVED_FACTOR)
            .map(|starved| starved.silence)
    }

    /// The silence if pauses of this machine are only subtracted from its length, and excuse no
    /// demand.
    pub(super) fn starved(
        &self,
        at: Time,
        detection_time: Duration,
        around: Around<'_>,
    ) -> Option<Starved> {
        let excused = self.excused_but_for_pauses(around);
        let spacing = PathHistory::spacing(detection_time, self.can_ask());
        let silence = self.evidence.silence(at, excused, spacing)?;
        let paused = around.isolation.pauses.within(silence.since, at);
        Some(Starved {
            silence,
            silent: at.since(silence.since).saturating_sub(paused),
        })
    }

    /// What was sent before this moment is no evidence: this machine was paused, had no link, or
    /// was not watching yet.
    pub(in crate::core::path) fn excused(&self, around: Around<'_>) -> Time {
        let paused = around.isolation.pauses.last_end();
        let other = self.excused_but_for_pauses(around);
        other.max(paused.unwrap_or_default())
    }

    fn excused_but_for_pauses(&self, around: Around<'_>) -> Time {
        let usable = around.isolation.network.usable_since(self.addr);
        usable.unwrap_or_default().max(self.doubt.excused)
    }

    /// What a flow sent before this moment says nothing about the flow: its host was silent, or the
    /// demand is excused.
    pub(in crate::core::path) fn stalls_count_from(&self, around: Around<'_>) -> Time {
        self.excused(around).max(self.doubt.heard_again)
    }

    /// The same if pauses of this machine excuse nothing.
    pub(super) fn outlived_count_from(&self, around: Around<'_>) -> Time {
        let other = self.excused_but_for_pauses(around);
        other.max(self.doubt.heard_again)
    }

    pub(super) fn notice_heard_again(&mut self, at: Time, around: Around<'_>) {
        let wanted = around.settings.detection_time;
        let by_connects = match self.evidence.probes.has_flow() {
            true => connects_after(self.evidence.history.detection_time(at, wanted)),
            false => Duration::ZERO,
        };
        let long = LONG_SILENCE.max(by_connects + LONG_WITH_CONNECTS);
        let heard = self.evidence.heard.on(Layer::Host);
        if let (Some(silence), Some(heard)) = (self.doubt.silence, heard)
            && heard.since(silence.since) >= long
        {
            self.doubt.heard_again = heard;
        }
    }

    /// When the peer was last heard, but no earlier than one idle probe interval before the
    /// silence, which is the longest that a loss of the peer goes unnoticed. From then on a call
    /// that waits for a reply is stuck. Any segment counts as heard here: on a flow that is seen
    /// for the first time it is not known whether its segments acknowledged anything.
    pub(super) fn unheard_since(&self, silence: &Silence, around: Around<'_>) -> Time {
        let Settings {
            idle_probe_interval: idle,
            idle_probe_jitter_percent,
            ..
        } = *around.settings;
        let jitter = idle * idle_probe_jitter_percent / 100;
        let heard = self.evidence.heard.on(Layer::Received);
        heard
            .unwrap_or_default()
            .max(self.excused(around))
            .max(silence.since - (idle + jitter))
            .min(silence.since)
    }
}
