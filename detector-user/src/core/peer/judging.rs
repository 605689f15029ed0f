//! The rule of the verdict.

use std::time::Duration;

use super::{Change, Death, Peer, SUSPECT_AFTER, Surroundings};
use crate::core::{Reason, Time, Verdict, evidence::Silence, path::PathHistory};

/// The part of the detection time for which the peer must have been asked again and again: data
/// that was lost once, and asked about late, is no long silence.
pub(super) const ASKED_FOR: f64 = 0.9;

/// A silence that is longer than the detection time by this factor, pauses of this machine left
/// out, is one even if the daemon was never on time.
const STARVED_FACTOR: u32 = 10;

/// Without a flow, a peer heard this long ago is no longer known to be alive. Longer than
/// the time between two surveys of its probes.
const ALIVE_WITHOUT_FLOW: Duration = Duration::from_secs(90);

/// The time that witnesses have to answer.
const WITNESSES_ANSWER_WITHIN: Duration = Duration::from_millis(40);

/// A peer that was not asked for so long may have come back unnoticed.
const QUESTION_IS_OLD_AFTER: Duration = Duration::from_millis(100);

/// The time that the peer has to answer the last question.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_millis(25);

impl Peer {
    /// The rule of the verdict.
    pub(super) fn judge(&mut self, at: Time, around: Surroundings<'_>) -> Change {
        if self.verdict == Verdict::Dead {
            return self.heard_again(at, Reason::PacketReceived);
        }
        let was_held = std::mem::take(&mut self.held);
        let (verdict, reason) = match self.silence {
            Some(silence) if self.is_long_enough(at, &silence, around) => {
                if self.cut_off || self.is_alone_silent(at, &silence, around) {
                    self.held = true;
                    self.deaf_since = Some(silence.since);
                    (Verdict::Suspect, Reason::Isolated)
                } else if was_held || std::mem::take(&mut self.alone) {
                    // Nobody was heard until just now: the detection time begins anew.
                    self.held_until = at;
                    self.asking.hold_ended(at);
                    self.deaf_since = Some(silence.since);
                    (Verdict::Suspect, silence.reason)
                } else if self.is_to_be_asked_once_more(at) {
                    self.deaf_since = Some(silence.since);
                    (Verdict::Suspect, silence.reason)
                } else {
                    self.asked_once_more = None;
                    self.detection_latency = Some(at.since(silence.since));
                    self.deaf_since = Some(at);
                    self.death = Some(Death {
                        silent_since: silence.since,
                        unheard_since: self.unheard_since(&silence, around),
                    });
                    (Verdict::Dead, silence.reason)
                }
            }
            Some(silence) if at.since(silence.since) >= SUSPECT_AFTER => {
                self.alone |= self.is_alone_half_way(at, &silence, around);
                self.deaf_since = Some(silence.since);
                (Verdict::Suspect, silence.reason)
            }
            // Too early to say: what was believed before still stands.
            Some(_) => {
                self.held = was_held;
                return Change::None;
            }
            None => {
                self.alone = false;
                self.asked_once_more = None;
                self.failures.forget(at, around.settings.failure_window);
                self.without_demand(at)
            }
        };
        if self.held && !was_held {
            self.evidence.died();
        } else if was_held && !self.held {
            self.evidence.returned(at);
        }
        let change = self.set_verdict(at, verdict, reason, around.settings);
        if change == Change::None && was_held != self.held {
            self.reason = reason;
            self.changed_at = at;
            return Change::State;
        }
        change
    }

    /// Questions about a long silence are far apart: before it is called a death, the peer is
    /// asked again, unless it was just now.
    fn is_to_be_asked_once_more(&mut self, at: Time) -> bool {
        let is_fresh = self.asking.has_asked_since(at - QUESTION_IS_OLD_AFTER);
        if is_fresh || !self.can_ask() {
            return false;
        }
        let begun = *self.asked_once_more.get_or_insert(at);
        self.asking.soon(at);
        at.since(begun) < ANSWERS_WITHIN
    }

    /// When the peer was last heard, or if that was longer before the silence than it takes to
    /// find out, then so much before it: a call that waits for a reply is stuck from then on.
    fn unheard_since(&self, silence: &Silence, around: Surroundings<'_>) -> Time {
        let idle = around.settings.idle_probe_interval;
        let jitter = idle * around.settings.idle_probe_jitter_percent / 100;
        let heard = self.evidence.last_heard().unwrap_or_default();
        let earliest = heard.max(self.excused(around));
        earliest
            .max(silence.since - (idle + jitter))
            .min(silence.since)
    }

    fn is_long_enough(&self, at: Time, silence: &Silence, around: Surroundings<'_>) -> bool {
        let detection_time = self
            .evidence
            .path
            .detection_time(at, around.settings.detection_time);
        let is_now = at.since(silence.since) >= detection_time
            && silence.asked_for >= detection_time.mul_f64(ASKED_FOR)
            && self.is_asked_enough(silence);
        is_now || self.is_long_enough_over_pauses(at, detection_time, around)
    }

    /// Whether chance is no explanation for the missing answers.
    fn is_asked_enough(&self, silence: &Silence) -> bool {
        self.unanswered(silence) >= self.required()
    }

    /// How much was asked in vain: where the peer can be asked, at how many moments.
    pub(super) fn unanswered(&self, silence: &Silence) -> u32 {
        match self.can_ask() {
            true => silence.moments,
            false => silence.transmissions,
        }
    }

    /// How much must be asked in vain.
    pub(super) fn required(&self) -> u32 {
        self.evidence.path.required_transmissions(self.can_ask())
    }

    pub(super) fn can_ask(&self) -> bool {
        !self.discovered && self.evidence.probes.is_answerable()
    }

    /// The silence when pauses of this machine excuse nothing but themselves.
    fn is_long_enough_over_pauses(
        &self,
        at: Time,
        detection_time: Duration,
        around: Surroundings<'_>,
    ) -> bool {
        let usable = around.network.usable_since(&self.evidence.addresses());
        let excused = usable.unwrap_or_default().max(self.held_until);
        let spacing = PathHistory::spacing(detection_time, self.can_ask());
        let Some(silence) = self.evidence.silence(at, excused, spacing) else {
            return false;
        };
        let paused = around.pauses.within(silence.since, at);
        let silent = at.since(silence.since).saturating_sub(paused);
        silent >= detection_time * STARVED_FACTOR && self.is_asked_enough(&silence)
    }

    /// Whether others fell silent with it, and nobody is heard.
    fn is_alone_silent(&self, at: Time, silence: &Silence, around: Surroundings<'_>) -> bool {
        let host = self.evidence.addresses().first().copied();
        let idle = around.settings.idle_probe_interval;
        around.witnesses.none_but(host, silence.since, at, idle)
    }

    /// The same before the detection time is over, once witnesses were asked, which a suspicion has
    /// done, and have had the time to answer.
    fn is_alone_half_way(&self, at: Time, silence: &Silence, around: Surroundings<'_>) -> bool {
        let detection_time = self
            .evidence
            .path
            .detection_time(at, around.settings.detection_time);
        let suspected = self.verdict == Verdict::Suspect
            && at.since(self.changed_at) >= WITNESSES_ANSWER_WITHIN;
        suspected
            && at.since(silence.since) >= detection_time / 2
            && self.is_alone_silent(at, silence, around)
    }

    /// The silence as this look shows it. One that goes on began when it was first seen to,
    /// even if what showed it then is forgotten.
    pub(super) fn silence_at(&self, at: Time, around: Surroundings<'_>) -> Option<Silence> {
        let excused = self.excused(around);
        let detection_time = self
            .evidence
            .path
            .detection_time(at, around.settings.detection_time);
        let spacing = PathHistory::spacing(detection_time, self.can_ask());
        let silence = self.evidence.silence(at, excused, spacing)?;
        let heard = self.evidence.last_heard().unwrap_or_default().max(excused);
        let since = match self.silence {
            Some(before) => before.since.max(heard).min(silence.since),
            None => silence.since,
        };
        Some(Silence { since, ..silence })
    }

    /// What was sent before is no evidence: this machine stood still, or had no link.
    pub(super) fn excused(&self, around: Surroundings<'_>) -> Time {
        let usable = around.network.usable_since(&self.evidence.addresses());
        let paused = around.pauses.last_end();
        usable
            .unwrap_or_default()
            .max(paused.unwrap_or_default())
            .max(self.held_until)
    }

    pub(super) fn notice_cut_off(&mut self, now: Time, around: Surroundings<'_>) -> Change {
        let cut_off = around.network.is_cut_off(&self.evidence.addresses(), now);
        if self.cut_off == cut_off {
            return Change::None;
        }
        self.cut_off = cut_off;
        Change::State
    }

    fn without_demand(&self, at: Time) -> (Verdict, Reason) {
        if self.evidence.flows().any(|flow| flow.is_zero_window()) {
            return (Verdict::Degraded, Reason::ZeroWindow);
        }
        let heard = self.evidence.last_heard();
        if !self.is_heard_again() {
            // Never heard; or the demand went away with its socket, and no answer came.
            return (Verdict::Unknown, Reason::NoEvidence);
        }
        let connected = self
            .evidence
            .flows()
            .any(|f| f.reading.last_heard.is_some());
        let recently = heard.is_some_and(|heard| at.since(heard) < ALIVE_WITHOUT_FLOW);
        if self.failures.is_slow() && (connected || recently) {
            (Verdict::Degraded, Reason::SlownessReported)
        } else if connected {
            (Verdict::Alive, Reason::PacketReceived)
        } else if recently {
            (Verdict::Alive, Reason::ProbeAnswered)
        } else {
            (Verdict::Unknown, Reason::NoEvidence)
        }
    }
}
